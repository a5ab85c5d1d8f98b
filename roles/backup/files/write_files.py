"""Write files, given on standard input as JSON (path and content of each), in one execution instead of one for each."""

from __future__ import annotations

import json
import os
import sys

for entry in json.load(sys.stdin):
    temporary = f"{entry['path']}.new"
    with open(temporary, "w", encoding="utf-8") as handle:
        handle.write(entry["content"])
    os.chmod(temporary, 0o644)
    os.replace(temporary, entry["path"])
