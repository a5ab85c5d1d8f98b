"""Print, as JSON, where this host differs from what role base wants of it.

Reads the wish as JSON from standard input and changes nothing. Runs on the host, in one remote task.
"""

from __future__ import annotations

import grp
import json
import os
import pathlib
import pwd
import subprocess
import sys
import time
from typing import Any

LISTS = "/var/lib/apt/lists"
LISTS_STAMP = "/var/lib/apt/periodic/update-success-stamp"
DPKG_JOURNAL = "/var/lib/dpkg/updates"
CERTIFICATES = "/usr/local/share/ca-certificates"
TRUST_STORE = "/etc/ssl/certs"
LOCALTIME = "/etc/localtime"
ZONES = "/usr/share/zoneinfo"
JOURNALD = "systemd-journald.service"
TIMESYNCD = "systemd-timesyncd.service"


def output(*command: str) -> str:
    """Return what a command prints; its return code may say no more than "not all of them"."""
    return subprocess.run(command, capture_output=True, check=False, text=True).stdout


def ownership(path: pathlib.Path) -> tuple[str, str, str]:
    """Return mode, owner and group in the notation of the role's inputs."""
    status = path.stat()
    try:
        owner, group = pwd.getpwuid(status.st_uid).pw_name, grp.getgrgid(status.st_gid).gr_name
    except KeyError:
        owner, group = str(status.st_uid), str(status.st_gid)
    return f"{status.st_mode & 0o7777:04o}", owner, group


def directory_differs(wanted: dict[str, str]) -> bool:
    path = pathlib.Path(wanted["path"])
    return not path.is_dir() or ownership(path) != (
        wanted["mode"],
        wanted.get("owner", "root"),
        wanted.get("group", "root"),
    )


def file_differs(path: pathlib.Path, content: str) -> bool:
    return not path.is_file() or path.read_bytes() != content.encode() or ownership(path) != ("0644", "root", "root")


def missing_packages(names: list[str]) -> list[str]:
    lines = output("dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *names).splitlines()
    return [name for name in names if f"{name} installed" not in lines]


def dpkg_interrupted() -> bool:
    """Return whether dpkg left its journal behind, as apt looks at it: it refuses every installation then."""
    return any(entry.name.isdigit() for entry in pathlib.Path(DPKG_JOURNAL).iterdir())


def package_lists(valid_time: int) -> str:
    """Return "missing", "stale" or nothing; the age is what ansible.builtin.apt takes for it."""
    lists = pathlib.Path(LISTS)
    if not any(lists.glob("*Release")):
        return "missing"
    stamp = pathlib.Path(LISTS_STAMP)
    age = time.time() - (stamp if stamp.exists() else lists).stat().st_mtime
    return "stale" if age > valid_time else ""


def certificate(name: str) -> pathlib.Path:
    return pathlib.Path(CERTIFICATES, f"slipway-{name}.crt")


def trust_store_task(certificates: dict[str, str], *, files_differ: bool) -> str:
    """Return "add", "rebuild" or nothing.

    A certificate that is replaced or goes leaves links behind that only a rebuild removes. Links and bundle
    are looked at too, since a run may have been killed between the files and the trust store.
    """
    links = {link.stem for link in pathlib.Path(TRUST_STORE).glob("slipway-*.pem")}
    if not files_differ and links == {f"slipway-{name}" for name in certificates}:
        bundle = pathlib.Path(TRUST_STORE, "ca-certificates.crt")
        trusted = bundle.read_text() if certificates else ""
        if all(content in trusted for content in certificates.values()):
            return ""
    return "rebuild" if links else "add"


def timezone_differs(name: str) -> bool:
    link = pathlib.Path(LOCALTIME)
    return not link.is_symlink() or os.readlink(link) != f"{ZONES}/{name}"


def unit_properties(*units: str) -> dict[str, dict[str, str]]:
    shown = output(
        "systemctl",
        "show",
        "--timestamp=unix",
        "--property=Id,ActiveState,UnitFileState,ActiveEnterTimestamp",
        *units,
    )
    blocks = [dict(line.split("=", 1) for line in block.splitlines()) for block in shown.strip().split("\n\n")]
    return {block["Id"]: block for block in blocks}


def is_behind(unit: dict[str, str], drop_ins: pathlib.Path) -> bool:
    """Return whether a drop-in came or went after the unit started.

    A run may have been killed between the two. Times to come stem from a clock that has been set back
    since, and tell nothing.
    """
    started = int(unit["ActiveEnterTimestamp"].lstrip("@") or 0)
    return drop_ins.is_dir() and started < int(drop_ins.stat().st_mtime) <= time.time()


def find_drift(wanted: dict[str, Any], *, container: bool) -> dict[str, Any]:
    """Compare the host with the wish; every value is falsy where nothing differs."""
    files = [path for path, content in wanted["files"].items() if file_differs(pathlib.Path(path), content)]
    contents = {certificate(name): content for name, content in wanted["certificates"].items()}
    certificates = [path for path, content in contents.items() if file_differs(path, content)]
    surplus = [path for path in pathlib.Path(CERTIFICATES).glob("slipway-*.crt") if path not in contents]
    trust_store = trust_store_task(wanted["certificates"], files_differ=bool(certificates or surplus))
    surplus += [path for path in map(pathlib.Path, wanted["surplus_files"]) if path.exists()]
    parents = {pathlib.Path(path).parent for path in files}
    units = unit_properties(JOURNALD, TIMESYNCD)

    def must_restart(unit: str, path: str) -> bool:
        drop_in = pathlib.Path(path)
        return (
            path in files
            or drop_in in surplus
            or units[unit]["ActiveState"] != "active"
            or is_behind(units[unit], drop_in.parent)
        )

    return {
        "dpkg": dpkg_interrupted(),
        "package_lists": package_lists(wanted["apt_cache_valid_time"]),
        "packages": missing_packages(wanted["packages"]),
        "directories": [entry["path"] for entry in wanted["directories"] if directory_differs(entry)],
        "file_directories": sorted(str(parent) for parent in parents if not parent.is_dir()),
        "files": files,
        "certificates": [str(path) for path in certificates],
        "surplus": [str(path) for path in surplus],
        "trust_store": trust_store,
        "timezone_unknown": not pathlib.Path(ZONES, wanted["timezone"]).is_file(),
        "timezone": timezone_differs(wanted["timezone"]),
        "journald": must_restart(JOURNALD, wanted["journald_file"]),
        "time_sync": wanted["time_sync"]
        and (
            units[TIMESYNCD]["UnitFileState"] != "enabled"
            or (not container and must_restart(TIMESYNCD, wanted["timesyncd_file"]))
        ),
    }


def main() -> None:
    container = subprocess.run(["systemd-detect-virt", "--container", "--quiet"], check=False).returncode == 0
    drift = find_drift(json.load(sys.stdin), container=container)
    json.dump({"container": container, "drift": drift}, sys.stdout)


if __name__ == "__main__":
    main()
