# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every fault in an edge policy as its user wrote it, one sentence each that names where it is."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
KEYS = ("address", "authorization", "site")

RATE = re.compile(r"([1-9][0-9]{0,6})r/([sm])")
_SITE_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_LIMIT_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_LABEL = r"(?!-)[a-z0-9-]{1,63}(?<!-)"
_HOST_NAME = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")
_UPSTREAM = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):([0-9]{1,5})")
_SIZE = re.compile(r"[0-9]+[kmg]?")
_FILE = re.compile(r"/[A-Za-z0-9._/@+-]*[A-Za-z0-9._@+-]")
_ACCOUNT = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(?::[0-9]{1,5})?")
_NETWORK = re.compile(r"[0-9A-Fa-f:.]+(?:/[0-9]{1,3})?")
_HEALTH = re.compile(r"/[A-Za-z0-9._~/?&=%-]*")
_ADDRESS_OF_SERVER = re.compile(r"https://[A-Za-z0-9.:\[\]-]+/\S*")
_MAIL = re.compile(r"[^\s@\"'\\]+@[A-Za-z0-9.-]+")
# No server's configuration can quote these, or each does it in its own way; a brace begins a placeholder of Caddy's.
_UNQUOTABLE = re.compile(r'[\x00-\x1f\x7f"\\${}]')
_UNQUOTABLE_IN_PATTERN = re.compile(r"[\x00-\x20\x7f\"]|\\[trn\\\"']")
# What Python and nginx (PCRE) understand and Caddy (RE2) does not: looking around, references, atoms.
# A group may be (...), (?:...) or (?i:...): names would be variables of nginx.
_NOT_RE2 = re.compile(r"\(\?(?!i?:)|\\[1-9AGKQEZz]|(?<!\\)[*+?}]\+|\{,")

_NOT_FOR_POLICY = frozenset(
    {
        "alt-svc", "cache-control", "connection", "content-disposition", "content-encoding", "content-length",
        "content-type", "date", "etag", "expires", "last-modified", "location", "retry-after", "server", "set-cookie",
        "transfer-encoding", "upgrade", "vary",
    }
)  # fmt: skip

_SECONDS = (
    "read_timeout", "connect_timeout", "header_timeout", "keepalive_timeout", "upstream_fail_timeout",
    "store_seconds", "maintenance_retry_after",
)  # fmt: skip


def is_address(domain: str) -> bool:
    """Tell whether a domain is an IPv4 or IPv6 address, without a zone."""
    if "%" in domain:
        return False
    try:
        ipaddress.ip_address(domain)
    except ValueError:
        return False
    return True


def given_tls(site: Mapping[str, Any]) -> dict[str, Any]:
    """What a site says of its certificate."""
    return {key: value for key, value in (site.get("tls") or {}).items() if value}


def faults(policy: Mapping[str, Any]) -> list[str]:
    """Find all faults of a policy, as :func:`edge_policy.plan` takes it."""
    return [
        *_site_problems(policy),
        *_limit_problems(policy),
        *_cors_problems(policy["cors"]),
        *_path_problems(policy),
        *_network_problems(policy["networks"]),
        *_header_problems(policy),
        *_acme_problems(policy),
        *_other_problems(policy),
    ]


def _site_problems(policy: Mapping[str, Any]) -> Iterator[str]:
    sites = policy["sites"]
    for name in _repeated(site["name"] for site in sites):
        yield f"site {name}: there is more than one of this name"
    for domain in _repeated(domain.lower() for site in sites for domain in site["domains"]):
        owners = sorted({site["name"] for site in sites if domain in [one.lower() for one in site["domains"]]})
        yield "domain {}: given more than once (in {})".format(domain, ", ".join(owners))
    with_address = [site["name"] for site in sites if any(is_address(domain) for domain in site["domains"])]
    if len(with_address) > 1:
        yield (
            "sites {}: only one site can be reached by address, since TLS clients name no address "
            "when they ask for a certificate".format(", ".join(with_address))
        )
    for site in sites:
        for problem in _problems_of(site, policy=policy):
            yield "site {}: {}".format(site["name"], problem)


def _problems_of(site: Mapping[str, Any], *, policy: Mapping[str, Any]) -> Iterator[str]:
    if not _SITE_NAME.fullmatch(site["name"]):
        yield "the name must be a letter and at most 31 more of a-z, 0-9, - and _"
    if not site["domains"]:
        yield "domains is empty"
    for domain in site["domains"]:
        if not (is_address(domain) or (len(domain) <= 253 and _HOST_NAME.fullmatch(domain))):
            yield f"{domain!r} is neither an address nor a host name in lower case (as xn--... if need be)"
    if not site["upstreams"]:
        yield "upstreams is empty"
    for upstream in [*site["upstreams"], *(site.get("websocket_upstreams") or [])]:
        found = _UPSTREAM.fullmatch(upstream)
        if not found or not 0 < int(found.group(2)) < 65536:
            yield f"upstream {upstream!r} is not HOST:PORT"
    yield from _tls_problems(site, policy=policy)
    files = site.get("internal_files") or {}
    if files and not (_FILE.fullmatch(files["path"]) and _ACCOUNT.fullmatch(files["group"])):
        yield "internal_files needs an absolute path and a group"
    if site.get("max_body_size") and not _SIZE.fullmatch(site["max_body_size"]):
        yield "max_body_size {!r} is not a number with k, m or g".format(site["max_body_size"])
    if (site.get("read_timeout") or 1) < 1:
        yield "read_timeout must be at least 1 second"
    if site.get("health") and not _HEALTH.fullmatch(site["health"]):
        yield "health {!r} is not a path, with a query if need be".format(site["health"])


def _tls_problems(site: Mapping[str, Any], *, policy: Mapping[str, Any]) -> Iterator[str]:
    given = given_tls(site)
    if not given:
        if not policy["has_ca"]:
            yield "there is no certificate: give tls, or edge_tls_ca to have one signed"
    elif given.get("acme"):
        yield from _acme_site_problems(site, acme=policy["acme"])
    elif set(given) not in ({"certificate", "private_key"}, {"certificate_src", "private_key_src"}):
        yield "tls needs certificate and private_key, or certificate_src and private_key_src, or acme"
    for key in ("certificate", "private_key"):
        if given.get(key) and not _FILE.fullmatch(given[key]):
            yield f"tls.{key} {given[key]!r} is not a plain absolute path"


def _acme_site_problems(site: Mapping[str, Any], *, acme: Mapping[str, Any]) -> Iterator[str]:
    if len(given_tls(site)) > 1:
        yield "tls.acme and a certificate that is given exclude each other"
    if not acme:
        yield "tls.acme needs edge_acme, which names the ACME server"
    for domain in site["domains"]:
        if is_address(domain) or domain.startswith("*."):
            yield f"{domain}: ACME over HTTP certifies no address and no wildcard: give a certificate, or leave it out"


def _acme_problems(policy: Mapping[str, Any]) -> Iterator[str]:
    acme = policy["acme"]
    if not acme:
        return
    if not _ADDRESS_OF_SERVER.fullmatch(acme.get("directory") or ""):
        yield "edge_acme.directory {!r} is not the https:// address of an ACME directory".format(acme.get("directory"))
    if acme.get("email") and not _MAIL.fullmatch(acme["email"]):
        yield "edge_acme.email {!r} is not a mail address".format(acme["email"])
    if not acme.get("terms_agreed"):
        yield "edge_acme.terms_agreed must be true: read the terms of service of the ACME server first"


def _limit_problems(policy: Mapping[str, Any]) -> Iterator[str]:
    limits = policy["rate_limits"]
    for name in _repeated(limit["name"] for limit in limits):
        yield f"rate limit {name}: there is more than one of this name"
    for number, limit in enumerate(limits):
        label = "rate limit {}: ".format(limit["name"])
        if not _LIMIT_NAME.fullmatch(limit["name"]):
            yield label + "the name must be a letter and at most 31 more of a-z, 0-9 and _"
        for method in limit.get("methods") or []:
            if method not in METHODS:
                yield label + "unknown method {!r} (known: {})".format(method, ", ".join(METHODS))
        for path in limit.get("paths") or []:
            for problem in _pattern_problems(path):
                yield label + problem
        if (limit.get("key") or "address") not in KEYS:
            yield label + "unknown key {!r} (known: {})".format(limit["key"], ", ".join(KEYS))
        rate = limit.get("rate") or ""
        if rate and not RATE.fullmatch(rate):
            yield label + f"rate {rate!r} is not like 10r/s or 300r/m"
        if (limit.get("burst") or 0) < 0:
            yield label + "burst must not be negative"
        if not limit.get("methods") and not limit.get("paths") and number < len(limits) - 1:
            yield label + "it matches every request, so the limits after it never count: put it last"


def _cors_problems(entries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for number, entry in enumerate(entries, start=1):
        label = f"CORS entry {number}: "
        origins = entry.get("origins") or []
        if not origins:
            yield label + "origins is empty"
        for origin in origins:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                yield label + f"origin {origin!r} is not like https://app.example.com, in lower case and without a path"
        if "*" in origins and len(origins) > 1:
            yield label + "the origin * stands for all: name no others"
        if "*" in origins and entry.get("credentials"):
            yield (
                label
                + "credentials for every origin would let any site act for a user who is logged in: name the origins"
            )
        for method in entry.get("methods") or []:
            if method not in METHODS:
                yield label + "unknown method {!r} (known: {})".format(method, ", ".join(METHODS))
        for header in [*(entry.get("headers") or []), *(entry.get("expose_headers") or [])]:
            if not _HEADER.fullmatch(header):
                yield label + f"{header!r} is not a header's name"
        if (entry.get("max_age") or 0) < 0:
            yield label + "max_age must not be negative"


def _path_problems(policy: Mapping[str, Any]) -> Iterator[str]:
    named = {
        "closed path": policy["blocked_paths"],
        "back office path": policy["back_office_paths"],
        "browser cache": [path for entry in policy["browser_cache"] for path in entry.get("paths") or []],
        "CORS path": [path for entry in policy["cors"] for path in entry.get("paths") or []],
    }
    for label, paths in named.items():
        for path in paths:
            for problem in _pattern_problems(path):
                yield f"{label}: {problem}"
    for entry in policy["browser_cache"]:
        if not entry.get("paths"):
            yield "browser cache: an entry has no paths"
        if entry.get("seconds", 0) < 0:
            yield "browser cache: seconds must not be negative"
    restricted = policy["networks"]["back_office_allow"] or policy["networks"]["back_office_deny"]
    if restricted and not policy["back_office_paths"]:
        yield "edge_back_office_paths is empty, so the lists of networks would close nothing"


def _network_problems(networks: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for name, given in networks.items():
        for network in given:
            if not _NETWORK.fullmatch(network):
                yield f"edge_{name}: {network!r} is not an address or a network such as 10.0.0.0/8"
                continue
            try:
                ipaddress.ip_network(network)
            except ValueError as error:
                yield f"edge_{name}: {error}"


def _header_problems(policy: Mapping[str, Any]) -> Iterator[str]:
    headers = policy["security_headers"]
    for name in _repeated(name.lower() for name in headers):
        yield f"security header {name}: given more than once"
    for name, value in headers.items():
        if not _HEADER.fullmatch(name):
            yield f"security header {name!r}: not a header's name"
        elif name.lower() == "strict-transport-security":
            yield f"security header {name}: set edge_hsts_max_age instead"
        elif name.lower() == "content-security-policy-report-only":
            yield f"security header {name}: set edge_csp instead"
        elif name.lower() in _NOT_FOR_POLICY or name.lower().startswith("access-control-"):
            yield f"security header {name}: this one is the application's or the edge's own"
        if not isinstance(value, str) or not value or _UNQUOTABLE.search(value):
            yield f'security header {name}: the value must be text without ", \\, $, braces and line breaks'
    if _UNQUOTABLE.search(policy["csp"]):
        yield 'edge_csp must be one line without ", \\, $ and braces'
    if policy["csp"] and not policy["csp_report_only"]:
        for name in headers:
            if name.lower() == "content-security-policy":
                yield f"security header {name}: edge_csp is there too, and is not report-only"


def _other_problems(policy: Mapping[str, Any]) -> Iterator[str]:
    if not _SIZE.fullmatch(policy["max_body_size"]):
        yield "max_body_size {!r} is not a number with k, m or g".format(policy["max_body_size"])
    if policy["store_size"] and not _SIZE.fullmatch(policy["store_size"]):
        yield "edge_store_size {!r} is not a number with k, m or g".format(policy["store_size"])
    if not 1 <= policy["status_port"] <= 65535 or policy["status_port"] in (80, 443):
        yield "edge_status_port {} is not a port of its own".format(policy["status_port"])
    for name in _SECONDS:
        if policy[name] < 1:
            yield f"{name} must be at least 1 second"
    for name in ("body_timeout", "send_timeout"):
        if policy[name] < 0:
            yield f"{name} must not be negative; 0 waits for ever"
    if not 0 < policy["tls_renew_days"] < policy["tls_days"]:
        yield "edge_tls_renew_days must be more than 0 and less than edge_tls_days, a certificate's life"


def _pattern_problems(pattern: str) -> Iterator[str]:
    """Faults of a pattern for the beginning of a path."""
    if not pattern.startswith(("/", "(")):
        yield f"pattern {pattern!r} must start with /"
    if _UNQUOTABLE_IN_PATTERN.search(pattern):
        yield f"pattern {pattern!r} holds a space, a quote or an escaped one"
    if _NOT_RE2.search(pattern):
        yield f"pattern {pattern!r} holds what the servers' regular expressions do not have in common"
    try:
        re.compile(pattern)
    except re.error as error:
        yield f"pattern {pattern!r} is not a regular expression: {error}"


def _repeated(names: Iterator[str]) -> Sequence[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)
