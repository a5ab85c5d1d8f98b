# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell in JSON what a host has of its edge. Reads only; takes one JSON argument that says what to look at."""

from __future__ import annotations

import glob
import grp
import http.client
import json
import os
import pwd
import re
import subprocess
import sys
import urllib.request

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


def candidate(package: str, *options: str) -> str:
    """The version of a package that apt would install, or has installed; empty when it knows none."""
    shown = output("apt-cache", *options, "policy", package)
    found = re.search(r"^  Candidate: (?:\d+:)?([0-9.]+)", shown, re.MULTILINE)
    return found.group(1) if found else ""


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


def process_groups(process: str) -> set[int]:
    """The groups of a process."""
    groups = re.search(r"^Groups:(.*)$", text_of(f"/proc/{process}/status") or "", re.MULTILINE)
    return {int(one) for one in groups.group(1).split()} if groups else set()


def serving_groups(unit: str) -> list[set[int]]:
    """The groups of each process of a server that takes new connections."""
    main = output("systemctl", "show", "--property=MainPID", "--value", unit).strip()
    if not main.isdigit() or main == "0":
        return []
    if unit != "nginx.service":
        return [process_groups(main)]
    found = []
    for worker in (text_of(f"/proc/{main}/task/{main}/children") or "").split():
        title = text_of(f"/proc/{worker}/cmdline") or ""
        if "worker process" in title and "shutting down" not in title:
            found.append(process_groups(worker))
    return found


def group(name: str, *, user: str, processes: list[set[int]]) -> dict[str, bool]:
    """Whether a group exists, has the user as a member, and whether all serving processes are in it."""
    try:
        entry = grp.getgrnam(name)
    except KeyError:
        return {"exists": False, "member": False, "live": False}
    return {
        "exists": True,
        "member": user in entry.gr_mem,
        "live": bool(processes) and all(entry.gr_gid in one for one in processes),
    }


def has_user(name: str) -> bool:
    """Whether there is a user of this name."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def revision(port: int) -> str:
    """The configuration that the running server has loaded; empty when it does not say."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/revision", timeout=3) as answer:
            return answer.read(100).decode().strip()
    except (OSError, ValueError, http.client.HTTPException):
        return ""


def nginx() -> dict[str, str]:
    """Version and build of nginx, or the version that would be installed."""
    shown = output("/usr/sbin/nginx", "-V")
    version = re.search(r"nginx/([0-9.]+)", shown)
    return {
        "version": version.group(1) if version else "",
        "candidate": candidate("nginx"),
        "build": shown,
    }


def caddy(backports: str) -> dict[str, str | bool]:
    """The version of Debian's Caddy, its suite where that has to be named, and whether Caddy's user is there."""
    newer = candidate("caddy", f"--option=APT::Default-Release={backports}")
    return {
        "candidate": newer or candidate("caddy"),
        "suite": backports if newer else "",
        "user": has_user("caddy"),
    }


def orders(pattern: str) -> dict[str, str]:
    """The ACME server that each of our certificates of certbot's comes from, by the certificate's name."""
    found = {}
    for path in sorted(glob.glob(pattern)):
        server = re.search(r"^server *= *(\S+)", text_of(path) or "", re.MULTILINE)
        if server:
            found[os.path.basename(path)[: -len(".conf")]] = server.group(1)
    return found


def main() -> None:
    """Print everything."""
    asked = json.loads(sys.argv[1])
    processes = serving_groups(asked["unit"])
    link, target = DEFAULT_SITE
    json.dump(
        {
            "missing": missing(asked["packages"]),
            "package_lists": bool(glob.glob("/var/lib/apt/lists/*_Packages*")),
            "nginx": nginx(),
            "caddy": caddy(asked["backports"]),
            "active": [one for one in asked["units"] if output("systemctl", "is-active", one).strip() == "active"],
            "enabled": [one for one in asked["units"] if output("systemctl", "is-enabled", one).strip() == "enabled"],
            "ipv6": os.path.exists("/proc/net/if_inet6"),
            "default_site": os.path.islink(link) and os.path.realpath(link) == target,
            "revision": revision(asked["status_port"]),
            "certificates": {path: text_of(path) for path in asked["certificates"]},
            "public_keys": {path: public_key(path) for path in asked["private_keys"]},
            "orders": orders(asked["orders"]),
            "own_files": sorted(glob.glob(os.path.join(asked["certificate_directory"], "*"))),
            "groups": {name: group(name, user=asked["user"], processes=processes) for name in asked["groups"]},
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
