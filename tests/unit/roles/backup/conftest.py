"""Make the program of the role backup importable, as it is on the hosts."""

from __future__ import annotations

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[4] / "roles/backup/files/program"))
