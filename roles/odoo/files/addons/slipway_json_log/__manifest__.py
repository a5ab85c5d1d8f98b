{
    "name": "Slipway JSON log",
    "summary": "Writes the server's log as one JSON object per line",
    "version": "1.0",
    "author": "Slipway contributors",
    "license": "LGPL-3",
    "category": "Hidden",
    "depends": ["base"],
    # Loaded server-wide by name; there is nothing in it to install into a database.
    "installable": True,
    "post_load": "post_load",
}
