"""Print, as JSON, where this host differs from what role logrotate wants of it.

Reads the wish as JSON from standard input and changes nothing. Runs on the host, in one remote task.
"""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
import sys
from typing import Any

LISTS = "/var/lib/apt/lists"
CONFIG = "/etc/logrotate.conf"
ENTRIES = "/etc/logrotate.d"
TIMER = "logrotate.timer"


def missing_packages(names: list[str]) -> list[str]:
    query = ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *names]
    lines = subprocess.run(query, capture_output=True, check=False, text=True).stdout.splitlines()
    return [name for name in names if f"{name} installed" not in lines]


def file_differs(path: pathlib.Path, content: str) -> bool:
    if not path.is_file() or path.read_bytes() != content.encode():
        return True
    status = path.stat()
    return (status.st_mode & 0o7777, status.st_uid, status.st_gid) != (0o644, 0, 0)


def released(overlaps: list[pathlib.Path], content: str) -> list[dict[str, str]]:
    """Return the entries of packages that this role once replaced and no longer has a reason to.

    Each comes with its newest copy that is the package's own, and none of an earlier replacement.
    """
    header = content.splitlines()[0].encode()
    found = []
    for path in pathlib.Path(ENTRIES).glob("*[!~]"):
        if path in overlaps or file_differs(path, content):
            continue
        copies = [copy for copy in path.parent.glob(f"{path.name}.*~") if header not in copy.read_bytes()]
        if copies:
            newest = max(copies, key=lambda copy: copy.stat().st_ctime)
            found.append({"path": str(path), "original": str(newest)})
    return found


def timer_differs() -> bool:
    """Return whether systemd runs the timer otherwise than its files say: a run may have been killed."""
    command = ["systemctl", "show", "--property=UnitFileState,ActiveState,NeedDaemonReload", TIMER]
    shown = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    return dict(line.split("=", 1) for line in shown.splitlines()) != {
        "UnitFileState": "enabled",
        "ActiveState": "active",
        "NeedDaemonReload": "no",
    }


def complaints() -> list[str]:
    """Return what logrotate finds wrong with the whole configuration, even where its return code is 0."""
    if shutil.which("logrotate") is None:
        return []
    command = ["logrotate", "--debug", "--state", "/dev/null", CONFIG]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    found = [line for line in done.stderr.splitlines() if line.startswith("error:") or "unknown option" in line]
    return found or ([f"logrotate ended with {done.returncode}"] if done.returncode else [])


def find_drift(wanted: dict[str, Any]) -> dict[str, Any]:
    """Compare the host with the wish; every value is falsy where nothing differs."""
    contents = {pathlib.Path(path): content for path, content in wanted["files"].items()}
    files = [path for path, content in contents.items() if content and file_differs(path, content)]
    surplus = [path for path, content in contents.items() if not content and path.exists()]
    overlaps = [path for path in map(pathlib.Path, wanted["overlaps"]) if path.exists()]
    timer = pathlib.Path(wanted["timer_file"])
    packages = missing_packages(wanted["packages"])
    return {
        "package_lists_missing": bool(packages) and not any(pathlib.Path(LISTS).glob("*Release")),
        "packages": packages,
        "files": [str(path) for path in files],
        "surplus": [str(path) for path in surplus],
        "overlaps": [str(path) for path in overlaps if file_differs(path, wanted["overlap_content"])],
        "released": released(overlaps, wanted["overlap_content"]),
        "timer": timer in files or timer in surplus or timer_differs(),
        "complaints": complaints(),
    }


if __name__ == "__main__":
    json.dump(find_drift(json.load(sys.stdin)), sys.stdout)
