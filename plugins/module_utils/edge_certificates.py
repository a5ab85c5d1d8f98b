# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge the certificates of an edge: which can serve, which are to be signed or installed, and why.

Works on the contents of files, on the controller. Of the hosts' private keys it only sees the public half.
"""

from __future__ import annotations

import dataclasses
import datetime
import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
except ImportError as error:
    IMPORT_ERROR: ImportError | None = error
else:
    IMPORT_ERROR = None


@dataclasses.dataclass(frozen=True)
class Known:
    """What there is to judge by.

    :ivar found: contents of the certificate files on the host by path; None where there is none
    :ivar public_keys: PEM of the public half of the key files on the host by path; None where there is none
    :ivar sources: contents of the files on the controller by path, private keys among them
    :ivar ca: PEM of the CA that signs; empty where none does
    :ivar renew_days: a signed certificate with no more days left is signed anew
    :ivar orders: the ACME server that each certificate of certbot's comes from, by the site's name
    :ivar directory: the ACME server that they are to come from
    """

    found: Mapping[str, str | None]
    public_keys: Mapping[str, str | None]
    sources: Mapping[str, str]
    ca: str
    renew_days: int
    now: datetime.datetime
    orders: Mapping[str, str] = dataclasses.field(default_factory=dict)
    directory: str = ""


@dataclasses.dataclass(frozen=True)
class Judged:
    """What to do about one site's certificate.

    ``action`` is ``keep``, ``sign``, ``install`` or ``order`` (from an ACME server), with ``reasons``; with
    ``problems`` the site cannot be served. ``sha256`` is the fingerprint of the certificate that is there now,
    ``days_left`` what is left of its life.
    """

    site: str
    action: str
    reasons: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    sha256: str = ""
    days_left: int | None = None


def judge(sites: Sequence[Mapping[str, Any]], *, known: Known) -> list[Judged]:
    """Decide for each of the plain sites of ``edge_policy``."""
    return [_judge_site(site, known=known) for site in sites]


def chain(ca: str) -> str:
    """Return the certificates that a server must send besides its own: those of the CA that are no root."""
    return "".join(
        one.public_bytes(serialization.Encoding.PEM).decode()
        for one in x509.load_pem_x509_certificates(ca.encode())
        if one.subject != one.issuer
    )


def faults(
    certificate: str, *, public_key: str | None, domains: Sequence[str], now: datetime.datetime, days: int = 0
) -> list[str]:
    """Say why a certificate cannot serve some domains at a time, or with less than so many days left.

    :param public_key: PEM of the public half of its key; None where there is no key that can be read
    """
    leaf = _leaf(certificate)
    if leaf is None:
        return ["it is not a PEM certificate"]
    out = []
    end = leaf.not_valid_after_utc
    if end <= now:
        out.append(f"it expired on {end:%Y-%m-%d}")
    elif end <= now + datetime.timedelta(days=days):
        out.append(f"it expires on {end:%Y-%m-%d}")
    if leaf.not_valid_before_utc > now:
        out.append(f"it is not valid before {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC")
    names = names_of(leaf)
    missing = [domain for domain in domains if not _covers(names, domain)]
    if missing:
        out.append("it does not name {}".format(", ".join(missing)))
    if public_key is None:
        out.append("its private key is missing or cannot be read")
    elif _public(serialization.load_pem_public_key(public_key.encode())) != _public(leaf.public_key()):
        out.append("the private key belongs to another certificate")
    return out


def names_of(certificate: x509.Certificate) -> set[str]:
    """Return the host names and addresses that a certificate is for, in lower case."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    names = {name.lower() for name in extension.get_values_for_type(x509.DNSName)}
    return names | {str(address) for address in extension.get_values_for_type(x509.IPAddress)}


def _judge_site(site: Mapping[str, Any], *, known: Known) -> Judged:
    tls, domains = site["tls"], site["domains"]
    present, key = known.found.get(tls["certificate"]), known.public_keys.get(tls["private_key"])
    action, reasons, problems = "keep", [], []
    if tls["source"] == "target":
        problems = [f"{tls['certificate']} is not on the host"]
        if present is not None:
            problems = faults(present, public_key=key, domains=domains, now=known.now)
    elif tls["source"] == "controller":
        wanted = known.sources[tls["certificate_src"]]
        wanted_key = _public_half(known.sources[tls["private_key_src"]])
        problems = faults(wanted, public_key=wanted_key, domains=domains, now=known.now)
        reasons = _reasons_to_install(present, key=key, wanted=wanted, wanted_key=wanted_key)
        action = "install" if reasons else "keep"
    elif tls["source"] == "acme":
        reasons = _reasons_to_order(present, key=key, site=site, known=known) if tls["certificate"] else []
        action = "order" if reasons else "keep"
    else:
        reasons = _reasons_to_sign(present, key=key, domains=domains, known=known)
        action = "sign" if reasons else "keep"
    leaf = _leaf(present or "")
    return Judged(
        site=site["name"],
        action=action,
        reasons=tuple(reasons),
        problems=tuple(f"certificate of site {site['name']}: {problem}" for problem in problems),
        sha256=leaf.fingerprint(hashes.SHA256()).hex() if leaf else "",
        days_left=(leaf.not_valid_after_utc - known.now).days if leaf else None,
    )


def _reasons_to_install(present: str | None, *, key: str | None, wanted: str, wanted_key: str | None) -> list[str]:
    if present is None:
        return ["there is none yet"]
    if present.strip() != wanted.strip():
        return ["another one is given"]
    if key is None or (wanted_key and _pem_public(key) != _pem_public(wanted_key)):
        return ["the key on the host is another one"]
    return []


def _reasons_to_order(present: str | None, *, key: str | None, site: Mapping[str, Any], known: Known) -> list[str]:
    # Its renewal is the business of the client's own timer.
    if present is None:
        return ["there is none yet"]
    reasons = faults(present, public_key=key, domains=site["domains"], now=known.now)
    if known.orders.get(site["name"]) != known.directory:
        reasons.append("it comes from another ACME server")
    return reasons


def _reasons_to_sign(present: str | None, *, key: str | None, domains: Sequence[str], known: Known) -> list[str]:
    if present is None:
        return ["there is none yet"]
    reasons = faults(present, public_key=key, domains=domains, now=known.now, days=known.renew_days)
    leaf = _leaf(present)
    if leaf is not None:
        extra = names_of(leaf) - {_canonical(domain) for domain in domains}
        if extra:
            reasons.append("it still names {}".format(", ".join(sorted(extra))))
        if not _issued_by(leaf, ca=known.ca):
            reasons.append("another CA signed it")
    return reasons


def _issued_by(leaf: x509.Certificate, *, ca: str) -> bool:
    issuer = _leaf(ca)
    if issuer is None:
        return False
    try:
        leaf.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _leaf(text: str) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificates(text.encode())[0]
    except ValueError:
        return None


def _public_half(private_key: str) -> str | None:
    """Return the public half of an unencrypted PEM key, None where it is not one."""
    try:
        key = serialization.load_pem_private_key(private_key.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def _pem_public(text: str) -> bytes:
    return _public(serialization.load_pem_public_key(text.encode()))


def _public(key: Any) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _canonical(domain: str) -> str:
    try:
        return str(ipaddress.ip_address(domain))
    except ValueError:
        return domain.lower()


def _covers(names: set[str], domain: str) -> bool:
    """Tell whether a certificate's names cover a domain; a wildcard stands for one label."""
    domain = _canonical(domain)
    return domain in names or "*." + domain.partition(".")[2] in names
