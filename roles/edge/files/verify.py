# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the edge on this host for each of its sites: tell their state in JSON, or what is wrong, and exit 1.

Takes one JSON argument: ``sites`` (by domain the SHA-256 of the certificate, empty where it is not known beforehand),
``status_port``, ``revision``, ``log`` (where the server says what is wrong), ``fail_days`` (a certificate with fewer
days left is a fault) and ``wait`` (seconds). A reload takes effect a moment later, so faults count only once that
time is over.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import ssl
import subprocess
import sys
import time
import urllib.request

HERE = "127.0.0.1"
UNHEALTHY = 503


class Connection(http.client.HTTPSConnection):
    """HTTPS to this host, whatever the name resolves to."""

    def connect(self) -> None:
        """Connect, with the name in the handshake; addresses are never named there."""
        sock = socket.create_connection((HERE, 443), self.timeout)
        self.sock = self._context.wrap_socket(sock, server_hostname=self.host)


def loaded_revision(port: int) -> str:
    """The configuration that the server has loaded."""
    with urllib.request.urlopen(f"http://{HERE}:{port}/revision", timeout=5) as answer:
        return answer.read(100).decode().strip()


def secure(domain: str) -> tuple[bytes, int]:
    """The certificate (DER) shown for a domain, and the status of its health."""
    # Whether clients trust the certificate is not known here; its fingerprint tells that it is the right one.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # With the port said, an IPv6 address is not taken apart in search of one.
    connection = Connection(domain, 443, timeout=30, context=context)
    try:
        connection.request("GET", "/health")
        certificate = connection.sock.getpeercert(binary_form=True) or b""
        return certificate, connection.getresponse().status
    finally:
        connection.close()


def days_left(certificate: bytes) -> int:
    """Whole days until a certificate (DER) expires; negative when it has."""
    command = ["openssl", "x509", "-inform", "DER", "-noout", "-enddate"]
    shown = subprocess.run(command, input=certificate, stdout=subprocess.PIPE, check=True).stdout.decode()
    return int((ssl.cert_time_to_seconds(shown.strip().partition("=")[2]) - time.time()) // 86400)


def plain(host: str) -> tuple[int, str]:
    """Status and Location of ``/`` over HTTP; 0 when the connection is closed without an answer."""
    connection = http.client.HTTPConnection(HERE, 80, timeout=10)
    try:
        connection.request("GET", "/", headers={"Host": host})
        answer = connection.getresponse()
        return answer.status, answer.getheader("Location", "")
    except ConnectionError:  # RemoteDisconnected is one
        return 0, ""
    finally:
        connection.close()


def faults_of(domain: str, *, sha256: str, fail_days: int, states: dict[str, dict]) -> list[str]:
    """What is wrong with one site; what was seen of it is noted."""
    found = []
    certificate, health = secure(domain)
    shown, days = hashlib.sha256(certificate).hexdigest(), days_left(certificate)
    states[domain] = {"health": health, "sha256": shown, "days_left": days}
    if sha256 and shown != sha256:
        found.append(f"{domain}: another certificate is shown (SHA-256 {shown})")
    if days < fail_days:
        found.append(f"{domain}: its certificate has {days} days left, and {fail_days} are wanted (edge_tls_fail_days)")
    if not 200 <= health < 300 and health != UNHEALTHY:
        found.append(f"{domain}: /health answers {health}")
    host = f"[{domain}]" if ":" in domain else domain
    if plain(host) != (301, f"https://{host}/"):
        found.append(f"{domain}: http:// does not lead to https:// but {plain(host)}")
    return found


def check(asked: dict, states: dict[str, dict]) -> list[str]:
    """All faults there are at this moment."""
    found = []
    try:
        if loaded_revision(asked["status_port"]) != asked["revision"]:
            found.append(f"the server has not loaded what was written; {asked['log']} says why")
        if plain("unknown.invalid")[0] != 0:
            found.append("a host name of no site is answered")
    except (OSError, http.client.HTTPException) as error:
        found.append(f"no answer: {error!r}")
    for domain, sha256 in asked["sites"].items():
        name = domain.replace("*", "slipway-probe")
        try:
            found += faults_of(name, sha256=sha256, fail_days=asked["fail_days"], states=states)
        except (OSError, http.client.HTTPException) as error:
            found.append(f"{domain}: no answer: {error!r}")
    return found


def main() -> int:
    """Check until there is no fault or no time left."""
    asked = json.loads(sys.argv[1])
    deadline = time.monotonic() + asked["wait"]
    states: dict[str, dict] = {}
    while True:
        faults = check(asked, states)
        if not faults:
            json.dump(states, sys.stdout)
            return 0
        if time.monotonic() > deadline:
            print("\n".join(faults), file=sys.stderr)
            return 1
        time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
