"""Which certificates can serve, and which are to be signed or installed."""

from __future__ import annotations

import datetime
import ipaddress
from typing import Any, NamedTuple

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils.edge_certificates import Known, chain, faults, judge
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

NOW = datetime.datetime(2026, 6, 1, 12, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)


class Pair(NamedTuple):
    certificate: str
    key: str
    public: str


def pem(value: Any) -> str:
    return value.public_bytes(serialization.Encoding.PEM).decode()


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def make(*names: str, days: int = 90, start: int = -1, subject: str = "leaf", issuer: Pair | None = None) -> Pair:
    """Return a certificate for names and addresses, self-signed or signed by the issuer."""
    key = ec.generate_private_key(ec.SECP256R1())
    signer = serialization.load_pem_private_key(issuer.key.encode(), None) if issuer else key
    parent = x509.load_pem_x509_certificate(issuer.certificate.encode()).subject if issuer else name(subject)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(parent)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + start * DAY)
        .not_valid_after(NOW + days * DAY)
    )
    if names:
        alternatives = [
            x509.IPAddress(ipaddress.ip_address(one)) if ":" in one or one[0].isdigit() else x509.DNSName(one)
            for one in names
        ]
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    encoding = serialization.Encoding.PEM
    public = key.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Pair(pem(builder.sign(signer, hashes.SHA256())), private.decode(), public.decode())


CA = make(subject="ca")
OTHER = make("other.test")
GOOD = make("odoo.test", "10.0.0.1", issuer=CA)
DOMAINS = ["odoo.test", "10.0.0.1"]


def test_good_certificate_has_no_fault() -> None:
    assert faults(GOOD.certificate, public_key=GOOD.public, domains=DOMAINS, now=NOW, days=30) == []


@pytest.mark.parametrize(
    ("pair", "public", "fault"),
    [
        (make("odoo.test", days=-1, start=-9), None, "it expired on 2026-05-31"),
        (make("odoo.test", days=30), None, "it expires on 2026-07-01"),
        (make("odoo.test", start=2), None, "it is not valid before 2026-06-03"),
        (OTHER, None, "it does not name odoo.test"),
        (make(), None, "it does not name odoo.test"),
        (GOOD, OTHER.public, "the private key belongs to another certificate"),
        (GOOD, "", "its private key is missing or cannot be read"),
        (Pair("no certificate", "", ""), None, "it is not a PEM certificate"),
        (Pair("", "", ""), None, "it is not a PEM certificate"),
    ],
)
def test_fault_is_found(pair: Pair, public: str | None, fault: str) -> None:
    key = pair.public if public is None else public or None
    found = faults(pair.certificate, public_key=key, domains=["odoo.test"], now=NOW, days=30)
    assert any(line.startswith(fault) for line in found), found


@pytest.mark.parametrize(
    ("names", "domain", "covered"),
    [
        (["*.odoo.test"], "a.odoo.test", True),
        (["*.odoo.test"], "*.odoo.test", True),
        (["*.odoo.test"], "odoo.test", False),
        (["*.odoo.test"], "a.b.odoo.test", False),
        (["ODOO.test"], "odoo.test", True),
        (["fd00::1"], "fd00:0:0::1", True),
        (["10.0.0.1"], "10.0.0.2", False),
    ],
)
def test_names_cover_domains(names: list[str], domain: str, covered: bool) -> None:
    pair = make(*names)
    found = faults(pair.certificate, public_key=pair.public, domains=[domain], now=NOW)
    assert (found == []) is covered


def site(source: str) -> dict[str, Any]:
    tls = {"source": source, "certificate": "/c", "private_key": "/k"}
    return {"name": "main", "domains": DOMAINS, "tls": {**tls, "certificate_src": "c", "private_key_src": "k"}}


def judged(source: str, *, there: Pair | None = None, given: Pair = GOOD, public: str | None = None) -> Any:
    known = Known(
        found={"/c": there.certificate if there else None},
        public_keys={"/k": public or (there.public if there else None)},
        sources={"c": given.certificate, "k": given.key},
        ca=CA.certificate,
        renew_days=30,
        now=NOW,
    )
    (one,) = judge([site(source)], known=known)
    return one


def test_signed_certificate_is_kept() -> None:
    one = judged("ca", there=GOOD)
    assert (one.action, one.reasons, one.problems, one.days_left) == ("keep", (), (), 90)
    leaf = x509.load_pem_x509_certificate(GOOD.certificate.encode())
    assert one.sha256 == leaf.fingerprint(hashes.SHA256()).hex()


@pytest.mark.parametrize(
    ("there", "public", "reason"),
    [
        (None, None, "there is none yet"),
        (make(*DOMAINS, days=29, issuer=CA), None, "it expires on 2026-06-30"),
        (make(*DOMAINS, days=-1, start=-9, issuer=CA), None, "it expired"),
        (make("odoo.test", issuer=CA), None, "it does not name 10.0.0.1"),
        (make(*DOMAINS, "old.test", issuer=CA), None, "it still names old.test"),
        (make(*DOMAINS), None, "another CA signed it"),
        (make(*DOMAINS, issuer=make(subject="ca")), None, "another CA signed it"),
        (GOOD, OTHER.public, "the private key belongs to another certificate"),
    ],
)
def test_reason_to_sign(there: Pair | None, public: str | None, reason: str) -> None:
    one = judged("ca", there=there, public=public)
    assert (one.action, one.problems) == ("sign", ())
    assert any(line.startswith(reason) for line in one.reasons), one.reasons


def test_given_certificate_is_kept_once_installed() -> None:
    with_newline = GOOD._replace(certificate=f"\n{GOOD.certificate}\n\n")
    assert judged("controller", there=with_newline).action == "keep"


@pytest.mark.parametrize(
    ("there", "public", "reason"),
    [
        (None, None, "there is none yet"),
        (OTHER, None, "another one is given"),
        (GOOD._replace(public=""), None, "the key on the host is another one"),
        (GOOD, OTHER.public, "the key on the host is another one"),
    ],
)
def test_reason_to_install(there: Pair | None, public: str | None, reason: str) -> None:
    if there and not there.public:
        there = there._replace(public=None)
    one = judged("controller", there=there, public=public)
    assert (one.action, one.reasons, one.problems) == ("install", (reason,), ())


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (OTHER, "it does not name odoo.test, 10.0.0.1"),
        (GOOD._replace(key=OTHER.key), "the private key belongs to another certificate"),
        (GOOD._replace(key="no key"), "its private key is missing or cannot be read"),
        (make(*DOMAINS, days=-1, start=-9), "it expired on"),
    ],
)
def test_bad_given_certificate_is_refused(given: Pair, problem: str) -> None:
    one = judged("controller", there=GOOD, given=given)
    assert any(line.startswith(f"certificate of site main: {problem}") for line in one.problems), one.problems


def test_key_with_passphrase_is_refused() -> None:
    key = serialization.load_pem_private_key(GOOD.key.encode(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"passphrase"),
    )
    one = judged("controller", given=GOOD._replace(key=locked.decode()))
    assert one.problems == ("certificate of site main: its private key is missing or cannot be read",)


def test_certificate_on_the_host_is_never_touched() -> None:
    assert judged("target", there=GOOD) == judged("ca", there=GOOD)
    assert judged("target").problems == ("certificate of site main: /c is not on the host",)
    expired = judged("target", there=make(*DOMAINS, days=-1, start=-9))
    assert (expired.action, expired.reasons) == ("keep", ())
    assert "it expired" in expired.problems[0]


def test_chain_has_what_clients_lack() -> None:
    between = make(subject="between", issuer=CA)
    assert chain(CA.certificate) == ""
    assert chain(between.certificate + CA.certificate) == between.certificate


def test_chain_of_no_certificate_is_refused() -> None:
    with pytest.raises(ValueError, match="PEM"):
        chain("nothing")


@pytest.mark.parametrize(
    ("found", "orders", "action", "reason"),
    [
        (None, {}, "order", "there is none yet"),
        (GOOD, {"main": "https://ca.test/dir"}, "keep", ""),
        (GOOD, {"main": "https://other.test/dir"}, "order", "it comes from another ACME server"),
        (OTHER, {"main": "https://ca.test/dir"}, "order", "it does not name odoo.test"),
        (make("odoo.test", "10.0.0.1", days=1), {"main": "https://ca.test/dir"}, "keep", ""),
    ],
)
def test_certificate_by_acme_is_ordered_when_it_cannot_serve_and_renewed_by_its_own_timer(
    found: Pair | None, orders: dict[str, str], action: str, reason: str
) -> None:
    site = {"name": "main", "domains": DOMAINS, "tls": {"source": "acme", "certificate": "/c", "private_key": "/k"}}
    known = Known(
        found={"/c": found.certificate if found else None},
        public_keys={"/k": found.public if found else None},
        sources={},
        ca="",
        renew_days=30,
        now=NOW,
        orders=orders,
        directory="https://ca.test/dir",
    )
    (judged,) = judge([site], known=known)
    assert (judged.action, judged.problems) == (action, ())
    assert any(line.startswith(reason) for line in judged.reasons) or not reason


def test_server_that_sees_to_acme_itself_is_left_to_it() -> None:
    site = {"name": "main", "domains": DOMAINS, "tls": {"source": "acme", "certificate": "", "private_key": ""}}
    known = Known(found={}, public_keys={}, sources={}, ca="", renew_days=30, now=NOW)
    (judged,) = judge([site], known=known)
    assert (judged.action, judged.reasons, judged.sha256) == ("keep", (), "")
