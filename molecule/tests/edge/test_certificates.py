"""Certificates by ACME"""

from __future__ import annotations

import ssl
import time
from typing import Any

import pytest
from edge_lab import ACME, SERVER
from edge_wire import Connection, ask, context

CADDY = "/usr/local/bin/caddy reload --address unix//run/caddy/admin.sock --force --config"
RENEW = {
    # As its timer has it, but at once.
    "nginx": "env $(systemctl show --property Environment --value certbot.service)"
    " certbot renew --cert-name slipway-acme --force-renewal --no-random-sleep-on-renew",
    # Caddy keeps what it manages in memory: it forgets the name for a moment, and finds no file when it has it again.
    "caddy": "sed s/acme.demo.test/gone.demo.test/g /etc/caddy/caddy.json > /run/caddy/gone.json"
    f" && {CADDY} /run/caddy/gone.json && find /var/lib/caddy -depth -path '*/acme.demo.test*' -delete"
    " && systemctl reload caddy; rm /run/caddy/gone.json",
}


def shown(name: str) -> str:
    trust = ssl.create_default_context()
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    with Connection(name, trust=trust) as connection:
        return ssl.DER_cert_to_PEM_cert(connection.sock.getpeercert(binary_form=True))


@pytest.fixture
def acme_root(all_hosts: Any, tmp_path: Any) -> Any:
    """The CA of the ACME server, which makes a new one each time it starts."""
    path = tmp_path / "root.pem"
    path.write_text(
        all_hosts["client1"].check_output("curl --silent --fail https://127.0.0.1:15000/roots/0 --insecure")
    )
    return path


def test_issued(application, acme_root, observed) -> None:
    """The site's certificate comes from the ACME server, with its chain."""
    with Connection(ACME, trust=context(ca=acme_root)) as connection:
        certificate = connection.sock.getpeercert()
        assert connection.ask("/x").status == 200
    assert ("DNS", ACME) in certificate["subjectAltName"]
    observed("trusted by the ACME server's root")


def test_renewal(application, acme_root, edge, observed) -> None:
    """A renewal is shown by the running server, which is not restarted for it and refuses nobody meanwhile."""
    before, process = shown(ACME), edge.check_output("systemctl show --property MainPID %s", f"{SERVER}.service")
    done = edge.run(RENEW[SERVER])
    assert done.rc == 0, done.stderr[-2000:]
    deadline = time.monotonic() + 40
    while shown_or_nothing() in (before, ""):
        assert time.monotonic() < deadline, "the old certificate is still shown"
        assert ask("/x").status == 200
        time.sleep(0.5)
    with Connection(ACME, trust=context(ca=acme_root)) as connection:
        assert connection.ask("/x").status == 200
    assert edge.check_output("systemctl show --property MainPID %s", f"{SERVER}.service") == process
    observed("another serial, the same process")


def shown_or_nothing() -> str:
    try:
        return shown(ACME)
    except OSError:
        return ""


def test_challenges(observed) -> None:
    """The path of challenges lists and leads nowhere else."""
    for path in (
        "/.well-known/acme-challenge/",
        "/.well-known/acme-challenge/nothing",
        "/.well-known/acme-challenge/..%2f..%2fetc/passwd",
    ):
        answer = ask(path, site=ACME, tls=False)
        assert answer.status in (301, 308, 400, 403, 404)
        assert b"root:" not in answer.body
    observed("nothing")


def test_renewal_is_planned(edge, observed) -> None:
    """Renewal is seen to by a timer or by the server itself."""
    if SERVER == "nginx":
        assert edge.check_output("systemctl is-enabled certbot.timer") == "enabled"
        assert edge.check_output("systemctl is-active certbot.timer") == "active"
    else:
        assert edge.run("find /var/lib/caddy -path '*acme.demo.test.crt' | grep .").rc == 0
    observed("planned")
