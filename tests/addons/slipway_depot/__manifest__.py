{
    "name": "Slipway test: depots",
    "version": "19.0.1.0.0",
    "category": "Hidden/Tests",
    "author": "Slipway contributors",
    "license": "LGPL-3",
    "depends": ["web"],
    "data": [
        "security/ir.model.access.csv",
        "data/depots.xml",
        "views/depots.xml",
    ],
    "assets": {
        "web.assets_backend": ["slipway_depot/static/src/**/*.js"],
    },
}
