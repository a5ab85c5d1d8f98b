# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One edge policy, made plain: defaults filled in, patterns put together, and every fault in it found.

Nothing in here knows a web server: a renderer turns the result into its server's own words.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

# Odoo's http_routing serves a path with a language in front as the same path without it.
DATABASE_MANAGER = ("(?:/[^/]+)?/web/database(?:/|$)", "(?:/[^/]+)?/xmlrpc/(?:2/)?db(?:/|$)")
# Its service `db` is named in the body, which an edge does not read: the whole path is closed.
JSONRPC = "(?:/[^/]+)?/jsonrpc(?:/|$)"

_SITE_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_LIMIT_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_LABEL = r"(?!-)[a-z0-9-]{1,63}(?<!-)"
_HOST_NAME = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")
_UPSTREAM = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):([0-9]{1,5})")
_RATE = re.compile(r"([1-9][0-9]{0,6})r/([sm])")
_SIZE = re.compile(r"[0-9]+[kmg]?")
_FILE = re.compile(r"/[A-Za-z0-9._/@+-]*[A-Za-z0-9._@+-]")
_ACCOUNT = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
# No server's configuration can quote these, or each does it in its own way.
_UNQUOTABLE = re.compile(r'[\x00-\x1f\x7f"\\$]')
_UNQUOTABLE_IN_PATTERN = re.compile(r"[\x00-\x20\x7f\"]|\\[trn\\\"']")


@dataclasses.dataclass(frozen=True)
class Tls:
    """Where a site's certificate and key are on the host, and where they come from.

    ``source`` is ``ca`` (signed by the given CA), ``controller`` (copied from it) or ``target`` (there).
    """

    source: str
    certificate: str
    private_key: str
    certificate_src: str = ""
    private_key_src: str = ""


@dataclasses.dataclass(frozen=True)
class Site:
    """``addresses`` are the domains that are IP addresses; ``read_timeout`` is in seconds."""

    name: str
    domains: tuple[str, ...]
    addresses: tuple[str, ...]
    upstreams: tuple[str, ...]
    websocket_upstreams: tuple[str, ...]
    tls: Tls
    internal_files: Mapping[str, str] | None
    max_body_size: str
    read_timeout: int


@dataclasses.dataclass(frozen=True)
class Limit:
    """``pattern`` is matched against ``METHOD /path``; an empty ``rate`` sets no limit.

    ``retry_after`` is the time in seconds after which one more request passes.
    """

    name: str
    pattern: str
    rate: str
    burst: int
    retry_after: int


@dataclasses.dataclass(frozen=True)
class Policy:
    """A policy that a renderer can take as it is, if ``problems`` is empty.

    The first limit that matches counts. A security header with an empty value is only passed on from Odoo.
    """

    sites: tuple[Site, ...]
    limits: tuple[Limit, ...]
    closed: str
    security_headers: Mapping[str, str]
    address_site: str
    problems: tuple[str, ...]


def plan(policy: Mapping[str, Any]) -> Policy:
    """Fill in what the policy leaves open and find its faults.

    :param policy: ``sites``, ``rate_limits``, ``security_headers``, ``jsonrpc``, ``max_body_size`` and
        ``read_timeout`` (seconds) as the role ``edge`` takes them, ``closed_paths`` (patterns), ``networks``
        (lists of them by the name of their input), ``tls_days``, ``tls_renew_days``,
        ``certificate_directory`` and ``has_ca`` (bool)
    :returns: the plain policy; each fault is one line in ``problems``
    """
    problems = [*_site_problems(policy), *_limit_problems(policy), *_other_problems(policy)]
    doors = [*DATABASE_MANAGER, *([] if policy["jsonrpc"] else [JSONRPC]), *policy["closed_paths"]]
    sites = tuple(_site(site, policy=policy) for site in policy["sites"])
    return Policy(
        sites=sites,
        limits=tuple(_limit(limit) for limit in policy["rate_limits"]),
        closed="^(?:{})".format("|".join(doors)),
        security_headers=_security_headers(policy["security_headers"]),
        address_site=next((site.name for site in sites if site.addresses), ""),
        problems=tuple(problems),
    )


def as_data(value: Any) -> Any:
    """Return dataclasses and tuples as the mappings and lists that Ansible compares and loops over."""
    if dataclasses.is_dataclass(value):
        return {field.name: as_data(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: as_data(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_data(one) for one in value]
    return value


def is_address(domain: str) -> bool:
    """Tell whether a domain is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(domain)
    except ValueError:
        return False
    return True


def retry_after(rate: str) -> int:
    """Return the seconds between two requests at a rate such as ``20r/m``, rounded up; without a rate 1."""
    found = _RATE.fullmatch(rate)
    if not found or found.group(2) == "s":
        return 1
    return -(-60 // int(found.group(1)))


def _security_headers(headers: Mapping[str, str]) -> dict[str, str]:
    # Odoo's own policy for images keeps a script in an uploaded one from running. It has to be named here:
    # with a file that Odoo leaves to the edge, the edge sends only the headers that it knows of.
    if any(name.lower() == "content-security-policy" for name in headers):
        return dict(headers)
    return {**headers, "Content-Security-Policy": ""}


def _site(site: Mapping[str, Any], *, policy: Mapping[str, Any]) -> Site:
    domains = tuple(site["domains"])
    return Site(
        name=site["name"],
        domains=domains,
        addresses=tuple(domain for domain in domains if is_address(domain)),
        upstreams=tuple(site["upstreams"]),
        websocket_upstreams=tuple(site.get("websocket_upstreams") or site["upstreams"]),
        tls=_tls(site, directory=policy["certificate_directory"]),
        internal_files=site.get("internal_files") or None,
        max_body_size=site.get("max_body_size") or policy["max_body_size"],
        read_timeout=site.get("read_timeout") or policy["read_timeout"],
    )


def _tls(site: Mapping[str, Any], *, directory: str) -> Tls:
    given = _given_tls(site)
    if "certificate" in given and "private_key" in given:
        return Tls(source="target", certificate=given["certificate"], private_key=given["private_key"])
    return Tls(
        source="controller" if given else "ca",
        certificate="{}/{}.crt".format(directory, site["name"]),
        private_key="{}/{}.key".format(directory, site["name"]),
        certificate_src=given.get("certificate_src", ""),
        private_key_src=given.get("private_key_src", ""),
    )


def _given_tls(site: Mapping[str, Any]) -> dict[str, str]:
    return {key: value for key, value in (site.get("tls") or {}).items() if value}


def _limit(limit: Mapping[str, Any]) -> Limit:
    rate = limit.get("rate") or ""
    methods, paths = limit.get("methods") or [], limit.get("paths") or []
    return Limit(
        name=limit["name"],
        pattern="^{} {}".format(
            "(?:{})".format("|".join(methods)) if methods else "[^ ]+",
            "(?:{})".format("|".join(paths)) if paths else "/",
        ),
        rate=rate,
        burst=limit.get("burst") or 0,
        retry_after=retry_after(rate),
    )


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
    yield from _tls_problems(_given_tls(site), has_ca=policy["has_ca"])
    files = site.get("internal_files") or {}
    if files and not (_FILE.fullmatch(files["path"]) and _ACCOUNT.fullmatch(files["group"])):
        yield "internal_files needs an absolute path and a group"
    if site.get("max_body_size") and not _SIZE.fullmatch(site["max_body_size"]):
        yield "max_body_size {!r} is not a number with k, m or g".format(site["max_body_size"])
    if (site.get("read_timeout") or 1) < 1:
        yield "read_timeout must be at least 1 second"


def _tls_problems(given: Mapping[str, str], *, has_ca: bool) -> Iterator[str]:
    if not given:
        if not has_ca:
            yield "there is no certificate: give tls, or edge_tls_ca to have one signed"
    elif set(given) not in ({"certificate", "private_key"}, {"certificate_src", "private_key_src"}):
        yield "tls needs certificate and private_key, or certificate_src and private_key_src"
    for key in ("certificate", "private_key"):
        if given.get(key) and not _FILE.fullmatch(given[key]):
            yield f"tls.{key} {given[key]!r} is not a plain absolute path"


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
        rate = limit.get("rate") or ""
        if rate and not _RATE.fullmatch(rate):
            yield label + f"rate {rate!r} is not like 10r/s or 300r/m"
        if (limit.get("burst") or 0) < 0:
            yield label + "burst must not be negative"
        if not limit.get("methods") and not limit.get("paths") and number < len(limits) - 1:
            yield label + "it matches every request, so the limits after it never count: put it last"


def _other_problems(policy: Mapping[str, Any]) -> Iterator[str]:
    for path in policy["closed_paths"]:
        for problem in _pattern_problems(path):
            yield f"closed path: {problem}"
    for name, networks in policy["networks"].items():
        for network in networks:
            try:
                ipaddress.ip_network(network)
            except ValueError as error:
                yield f"{name}: {error}"
    yield from _header_problems(policy["security_headers"])
    if not _SIZE.fullmatch(policy["max_body_size"]):
        yield "max_body_size {!r} is not a number with k, m or g".format(policy["max_body_size"])
    if policy["read_timeout"] < 1:
        yield "read_timeout must be at least 1 second"
    if not 0 < policy["tls_renew_days"] < policy["tls_days"]:
        yield "edge_tls_renew_days must be more than 0 and less than edge_tls_days, a certificate's life"


def _header_problems(headers: Mapping[str, Any]) -> Iterator[str]:
    for name in _repeated(name.lower() for name in headers):
        yield f"security header {name}: given more than once"
    for name, value in headers.items():
        if not _HEADER.fullmatch(name):
            yield f"security header {name!r}: not a header's name"
        elif name.lower() == "strict-transport-security":
            yield f"security header {name}: set edge_hsts_max_age instead"
        if not isinstance(value, str) or not value or _UNQUOTABLE.search(value):
            yield f'security header {name}: the value must be text without ", \\, $ and line breaks'


def _pattern_problems(pattern: str) -> Iterator[str]:
    """Faults of a pattern for the beginning of a path."""
    if not pattern.startswith(("/", "(")):
        yield f"pattern {pattern!r} must start with /"
    if _UNQUOTABLE_IN_PATTERN.search(pattern):
        yield f"pattern {pattern!r} holds a space, a quote or an escaped one"
    try:
        re.compile(pattern)
    except re.error as error:
        yield f"pattern {pattern!r} is not a regular expression: {error}"


def _repeated(names: Iterator[str]) -> Sequence[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)
