{
    "name": "Slipway test: lines of depots",
    "version": "19.0.1.0.0",
    "category": "Hidden/Tests",
    "author": "Slipway contributors",
    "license": "LGPL-3",
    "depends": ["slipway_depot"],
    "data": ["security/ir.model.access.csv"],
}
