{
    "name": "Slipway test: labels, installed by themselves",
    "version": "19.0.1.0.0",
    "category": "Hidden/Tests",
    "author": "Slipway contributors",
    "license": "LGPL-3",
    "depends": ["slipway_depot_line", "contacts"],
    "auto_install": True,
}
