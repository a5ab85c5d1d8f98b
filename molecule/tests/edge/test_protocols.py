"""Protocols and TLS"""

from __future__ import annotations

import json
import ssl
import subprocess
import time
from typing import Any

import pytest
from edge_lab import ACME, BOX, ODOO, PROBE
from edge_wire import CLOSED, Connection, ask, context

# The lab's own CA has no revocation, and the policy stages HSTS, beginning with minutes.
NOT_ABOUT_THE_EDGE = {"cert_revocation", "HSTS_time"}


def curl(client: Any, *options: str, url: str = f"https://{PROBE}/x") -> tuple[int, str]:
    done = client.run(
        "curl --silent --show-error --max-time 10 --output /dev/null --write-out '%%{http_version}' "
        + " ".join(options)
        + " %s",
        url,
    )
    return done.rc, done.stdout + done.stderr


def test_redirect(application, observed) -> None:
    """Plain HTTP is sent to the same address on HTTPS, for good, whatever the method."""
    for method in ("GET", "POST"):
        answer = ask("/a/b?c=d%20e&f", method, body=b"" if method == "POST" else None, tls=False)
        assert answer.status in (301, 308)
        assert answer.value("Location") == f"https://{PROBE}/a/b?c=d%20e&f"
    assert application.seen == []
    observed(str(answer.status))


def test_redirect_to_no_other_host(observed) -> None:
    """The redirect leads to no host but the site's own."""
    answer = ask("//evil.example/x", tls=False)
    assert answer.status in (301, 308)
    assert answer.value("Location").startswith(f"https://{PROBE}/")
    observed("the site's own")


def test_http2(application, all_hosts, observed) -> None:
    """HTTP/2 is spoken with those who can."""
    assert curl(all_hosts["client1"], "--http2") == (0, "2")
    observed("2")


def test_http3(application, all_hosts, observed) -> None:
    """HTTP/3 is spoken where the policy has it, and announced."""
    assert "h3" in ask("/x").value("Alt-Svc")
    assert curl(all_hosts["client1"], "--http3-only") == (0, "3")
    observed("3")


def test_http10(application, observed) -> None:
    """A client of HTTP/1.0 is answered, too."""
    with Connection() as connection:
        connection.send(f"GET /x HTTP/1.0\r\nHost: {PROBE}\r\n\r\n".encode())
        assert connection.read().status == 200
    observed("200")


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
def test_old_tls(all_hosts, observed, version: str) -> None:
    """{version} is refused."""
    option = {"TLSv1": "-tls1", "TLSv1_1": "-tls1_1"}[version]
    done = all_hosts["client1"].run(
        f"openssl s_client -connect {BOX}:443 -servername {PROBE} {option} -cipher DEFAULT:@SECLEVEL=0 </dev/null"
    )
    assert done.rc != 0
    assert "alert" in done.stderr
    observed("refused")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_new_tls(application, observed, version: ssl.TLSVersion) -> None:
    """{version.name} is spoken, with forward secrecy and authenticated encryption."""
    trust = context()
    trust.minimum_version = trust.maximum_version = version
    with Connection(trust=trust) as connection:
        cipher = connection.sock.cipher()[0]
        assert connection.ask("/x").status == 200
    assert cipher.startswith(("TLS_", "ECDHE-"))
    assert "GCM" in cipher or "CHACHA20" in cipher
    observed(version.name)


def test_weak_ciphers(observed) -> None:
    """Ciphers without forward secrecy are refused."""
    trust = context()
    trust.maximum_version = ssl.TLSVersion.TLSv1_2
    trust.set_ciphers("AES128-SHA:AES256-SHA:AES128-GCM-SHA256:ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0")
    with pytest.raises(CLOSED):
        Connection(trust=trust)
    observed("refused")


@pytest.mark.parametrize("site", [ODOO, PROBE, "pair.demo.test"])
def test_certificate(observed, site: str) -> None:
    """{site} shows its own certificate, signed by the CA of the policy."""
    with Connection(site) as connection:
        certificate = connection.sock.getpeercert()
    assert ("DNS", site) in certificate["subjectAltName"]
    days = (ssl.cert_time_to_seconds(certificate["notAfter"]) - time.time()) / 86400
    assert 360 < days < 366
    observed("its own")


def test_loopback_only(edge, application, observed) -> None:
    """Metrics and revision are there on loopback, and nowhere else."""
    assert (
        "# TYPE" in (text := edge.check_output("curl --silent --fail http://127.0.0.1:8180/metrics"))
        or "nginx_" in text
    )
    revision = edge.check_output("curl --silent --fail http://127.0.0.1:8180/revision")
    assert len(revision.strip()) == 64
    for port in (8180, 2019):
        done = subprocess.run(["curl", "--silent", "--max-time", "3", f"http://{BOX}:{port}/metrics"], check=False)
        assert done.returncode == 7
    for path in ("/metrics", "/revision", "/status", "/config/"):
        assert ask(path).echo.target == path
    observed("loopback only")


@pytest.mark.last
def test_testssl(examination, observed) -> None:
    """testssl.sh finds nothing old or weak and no known hole, and gives grade A or better."""
    found = json.loads(examination())
    by_id = {one["id"]: one for one in found}
    bad = [
        one
        for one in found
        if one["severity"] in ("MEDIUM", "HIGH", "CRITICAL") and one["id"] not in NOT_ABOUT_THE_EDGE
    ]
    assert [f"{one['id']}: {one['finding']}" for one in bad] == []
    for old in ("SSLv2", "SSLv3", "TLS1", "TLS1_1"):
        assert "not offered" in by_id[old]["finding"]
    grade = by_id["overall_grade"]["finding"]
    reasons = [one["finding"] for name, one in by_id.items() if name.startswith("grade_cap_reason")]
    assert grade.startswith("A"), (grade, reasons)
    observed(f"grade {grade}")


def test_acme_certificate_is_another(observed) -> None:
    """The site with ACME shows a certificate that the lab's CA did not sign."""
    with pytest.raises(ssl.SSLCertVerificationError):
        Connection(ACME)
    observed("not the lab's CA")
