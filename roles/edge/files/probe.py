# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell in JSON what a host has of its edge. Reads only; takes one JSON argument that says what to look at."""

from __future__ import annotations

import glob
import grp
import json
import os
import re
import subprocess
import sys
import urllib.request

PID_FILE = "/run/nginx.pid"
DEFAULT_SITE = ("/etc/nginx/sites-enabled/default", "/etc/nginx/sites-available/default")


def output(*command: str) -> str:
    """What a command prints, errors included; empty when it is not installed."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout


def missing(packages: list[str]) -> list[str]:
    """The packages that are not installed, in the order asked for."""
    shown = output("dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\\n", *packages)
    return [package for package in packages if f"{package} installed" not in shown.splitlines()]


def text_of(path: str) -> str | None:
    """The text of a file; None where there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return None


def public_key(path: str) -> str | None:
    """The public half of a private key in PEM; None where there is no key that opens without a passphrase."""
    shown = output("openssl", "pkey", "-in", path, "-passin", "pass:", "-pubout")
    return shown if shown.startswith("-----BEGIN PUBLIC KEY-----") else None


def worker_groups() -> list[set[int]]:
    """The groups of each nginx worker that takes new connections."""
    master = (text_of(PID_FILE) or "").strip()
    found = []
    for worker in (text_of(f"/proc/{master}/task/{master}/children") or "").split():
        title = text_of(f"/proc/{worker}/cmdline") or ""
        if "worker process" in title and "shutting down" not in title:
            groups = re.search(r"^Groups:(.*)$", text_of(f"/proc/{worker}/status") or "", re.MULTILINE)
            found.append({int(one) for one in groups.group(1).split()} if groups else set())
    return found


def group(name: str, *, user: str, workers: list[set[int]]) -> dict[str, bool]:
    """Whether a group exists, has the user as a member, and whether all running workers are in it."""
    try:
        entry = grp.getgrnam(name)
    except KeyError:
        return {"exists": False, "member": False, "live": False}
    return {
        "exists": True,
        "member": user in entry.gr_mem,
        "live": bool(workers) and all(entry.gr_gid in one for one in workers),
    }


def revision(port: int) -> str:
    """The configuration that the running server has loaded; empty when it does not say."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/revision", timeout=3) as answer:
            return answer.read(100).decode().strip()
    except (OSError, ValueError):
        return ""


def main() -> None:
    """Print everything."""
    asked = json.loads(sys.argv[1])
    workers = worker_groups()
    version = re.search(r"nginx/([0-9.]+)", output("/usr/sbin/nginx", "-v"))
    link, target = DEFAULT_SITE
    json.dump(
        {
            "missing": missing(asked["packages"]),
            "package_lists": bool(glob.glob("/var/lib/apt/lists/*_Packages*")),
            "nginx": version.group(1) if version else "",
            "ipv6": os.path.exists("/proc/net/if_inet6"),
            "default_site": os.path.islink(link) and os.path.realpath(link) == target,
            "revision": revision(asked["status_port"]),
            "certificates": {path: text_of(path) for path in asked["certificates"]},
            "public_keys": {path: public_key(path) for path in asked["private_keys"]},
            "own_files": sorted(glob.glob(os.path.join(asked["certificate_directory"], "*"))),
            "groups": {name: group(name, user=asked["user"], workers=workers) for name in asked["groups"]},
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
