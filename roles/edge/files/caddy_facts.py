# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell in JSON what a Caddy is made of, without running it: takes the path of the binary.

Go writes the modules that a program was built with into it, as lines ``dep TAB path TAB version TAB sum``
(https://pkg.go.dev/runtime/debug#BuildInfo).
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import re
import sys


def facts(content: bytes) -> dict[str, object]:
    """SHA-256 and Go modules by path; no modules in what Go did not make."""
    found = re.findall(rb"^(?:dep|mod)\t(\S+)\t(\S+)", content, re.MULTILINE)
    return {
        "sha256": hashlib.sha256(content).hexdigest(),
        "modules": {path.decode(): version.decode() for path, version in found},
    }


if __name__ == "__main__":
    json.dump(facts(pathlib.Path(sys.argv[1]).read_bytes()), sys.stdout)
