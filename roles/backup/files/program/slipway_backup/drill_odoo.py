# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts Odoo, logs in over HTTP and ends it; runs inside of the drill's own network, as Odoo's user.

Reads one JSON object from standard input (it holds the password) and writes one to standard output. Stands alone.
"""

from __future__ import annotations

import http.cookiejar
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import Any


def post(opener: urllib.request.OpenerDirector, url: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """Call a JSON route of Odoo."""
    body = json.dumps({"jsonrpc": "2.0", "method": "call", "params": parameters}).encode()
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})  # noqa: S310
    with opener.open(request, timeout=120) as answer:
        document = json.loads(answer.read())
    if "error" in document:
        fault = document["error"].get("data") or document["error"]
        sys.exit(f"{url} answers an error: {fault.get('message') or fault}")
    return dict(document.get("result") or {})


def wait(opener: urllib.request.OpenerDirector, url: str, server: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait until the server is well."""
    deadline, fault = time.monotonic() + seconds, "it answers another status than 200"
    while True:
        try:
            with opener.open(f"{url}/web/health", timeout=10) as answer:
                if answer.status == 200:
                    return
        except (OSError, urllib.error.URLError) as error:
            fault = str(error)
        if server.poll() is not None:
            sys.exit(f"Odoo ended with {server.returncode} before it answered")
        if time.monotonic() > deadline:
            sys.exit(f"Odoo did not answer within {seconds:.0f} s: {fault}")
        time.sleep(0.1)


def log_in(order: dict[str, Any], server: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Log in, and ask with the session who we are."""
    # No proxy: there is nothing but this machine's loopback.
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
    )
    clock = time.monotonic()
    wait(opener, order["url"], server, order["timeout"])
    answered = time.monotonic() - clock
    given = {"db": order["database"], "login": order["login"], "password": order["password"]}
    first = post(opener, f"{order['url']}/web/session/authenticate", given)
    second = post(opener, f"{order['url']}/web/session/get_session_info", {})
    if not first.get("uid") or first["uid"] != second.get("uid"):
        sys.exit(f"the log-in answers user {first.get('uid')}, and its session belongs to {second.get('uid')}")
    return {
        "uid": first["uid"],
        "version": first.get("server_version"),
        "answered_s": round(answered, 3),
        "logged_in_s": round(time.monotonic() - clock, 3),
    }


def main() -> None:
    order = json.load(sys.stdin)
    server = subprocess.Popen(order["command"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        found = log_in(order, server)
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
