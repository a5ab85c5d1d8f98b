# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One edge policy, made plain: defaults filled in, patterns put together, header values worked out.

Nothing in here knows a web server: a renderer turns the result into its server's own words.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils.edge_policy_faults import RATE, faults, given_tls, is_address

# Odoo's http_routing serves a path with a language in front as the same path without it.
DATABASE_MANAGER = ("(?:/[^/]+)?/web/database(?:/|$)", "(?:/[^/]+)?/xmlrpc/(?:2/)?db(?:/|$)")
# Its service `db` is named in the body, which an edge does not read: the whole path is closed.
JSONRPC = "(?:/[^/]+)?/jsonrpc(?:/|$)"

OWN_PATHS = "/.slipway/"
"""Below it are what the edge itself answers on every site."""

CSP_REPORTS = OWN_PATHS + "csp-report"
"""Where browsers send what a Content-Security-Policy refused, or would refuse."""

ACME_CHALLENGES = "/.well-known/acme-challenge/"
"""Where an ACME server looks for its challenge (RFC 8555, 8.3)."""


@dataclasses.dataclass(frozen=True)
class Tls:
    """Where a site's certificate and key are on the host, and where they come from.

    ``source`` is ``ca`` (signed by the given CA), ``controller`` (copied from it), ``target`` (there) or
    ``acme``; with a server that sees to ACME itself, ``certificate`` and ``private_key`` are then empty.
    """

    source: str
    certificate: str
    private_key: str
    certificate_src: str = ""
    private_key_src: str = ""


@dataclasses.dataclass(frozen=True)
class Site:
    """``addresses`` are the domains that are IP addresses; ``read_timeout`` is in seconds; ``max_body_bytes`` is
    ``max_body_size`` in bytes; ``health`` is path and query of what tells that the application is well.
    """

    name: str
    domains: tuple[str, ...]
    addresses: tuple[str, ...]
    upstreams: tuple[str, ...]
    websocket_upstreams: tuple[str, ...]
    tls: Tls
    internal_files: Mapping[str, str] | None
    max_body_size: str
    max_body_bytes: int
    read_timeout: int
    health: str


@dataclasses.dataclass(frozen=True)
class Limit:
    """``pattern`` is matched against ``METHOD /path``, ``path`` against the path alone.

    No ``methods`` means all, an empty ``path`` every path, an empty ``rate`` no limit. ``key`` is ``address``,
    ``authorization`` or ``site``. ``burst`` + 1 requests pass at once.
    ``window`` is the time in seconds in which the rate lets as many through again; ``retry_after`` the time in
    seconds after which one more request passes.
    """

    name: str
    methods: tuple[str, ...]
    path: str
    pattern: str
    key: str
    rate: str
    burst: int
    window: float
    retry_after: int


@dataclasses.dataclass(frozen=True)
class Cors:
    """What other origins may do below some paths. ``max_age`` is in seconds; ``origins`` is ``*`` alone for all."""

    path: str
    origins: tuple[str, ...]
    methods: str
    headers: str
    expose_headers: str
    credentials: bool
    max_age: int


@dataclasses.dataclass(frozen=True)
class BrowserCache:
    """``value`` of Cache-Control for what matches, where Odoo sends none."""

    path: str
    value: str


@dataclasses.dataclass(frozen=True)
class BackOffice:
    """Paths that only some networks reach: those of ``allow``, or all if it is empty, without those of ``deny``."""

    path: str
    allow: tuple[str, ...]
    deny: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Maintenance:
    """While the file ``directory``/SITE is there, a site answers 503 to all but the networks of ``allow``.

    ``retry_after`` is in seconds, ``page`` is HTML.
    """

    directory: str
    allow: tuple[str, ...]
    retry_after: int
    page: str


@dataclasses.dataclass(frozen=True)
class Store:
    """Static files and bundles kept at the edge: at most ``size`` (empty: none), for so many seconds."""

    size: str
    seconds: int
    path: str


@dataclasses.dataclass(frozen=True)
class Timeouts:
    """Seconds to wait: for a request's headers, for more of its body, for the client to take more of an answer, for
    the next request on a connection, for a connection to the application, and before one that failed is tried again.
    ``body`` and ``send`` may be 0: for ever.
    """

    header: int
    body: int
    send: int
    keepalive: int
    connect: int
    failed: int


@dataclasses.dataclass(frozen=True)
class Policy:
    """A policy that a renderer can take as it is, if ``problems`` is empty.

    The first limit that matches counts. A security header with an empty value is only passed on from Odoo.
    ``hsts`` is the value of Strict-Transport-Security, empty for none; ``csp_report_only`` that of
    Content-Security-Policy-Report-Only, which Odoo never sends.
    """

    sites: tuple[Site, ...]
    limits: tuple[Limit, ...]
    closed: str
    security_headers: Mapping[str, str]
    hsts: str
    csp_report_only: str
    cors: tuple[Cors, ...]
    back_office: BackOffice
    browser_cache: tuple[BrowserCache, ...]
    store: Store
    maintenance: Maintenance
    trusted_proxies: tuple[str, ...]
    exempt: tuple[str, ...]
    compression: tuple[str, ...]
    http3: bool
    timeouts: Timeouts
    status_port: int
    acme: Mapping[str, str]
    address_site: str
    problems: tuple[str, ...]


def plan(policy: Mapping[str, Any]) -> Policy:
    """Fill in what the policy leaves open and find its faults.

    :param policy: the inputs of the role ``edge`` by their names without ``edge_``, for ``sites``, ``rate_limits``,
        ``security_headers``, ``csp``, ``csp_report_only``, ``hsts_max_age``, ``hsts_subdomains``, ``cors``,
        ``back_office_paths``, ``browser_cache``, ``store_size``, ``store_seconds``, ``maintenance_page``,
        ``maintenance_retry_after``, ``blocked_paths``, ``jsonrpc``, ``max_body_size``, ``read_timeout``,
        ``connect_timeout``, ``header_timeout``, ``body_timeout``, ``send_timeout``, ``keepalive_timeout``,
        ``upstream_fail_timeout``, ``compression``, ``http3``, ``status_port``, ``tls_days``, ``tls_renew_days``;
        besides ``networks`` (lists of them by the name of their input, without ``edge_``), ``acme`` (``directory``,
        ``email`` and the like, or empty), ``acme_directory`` (where certificates of ACME are, by site; empty for
        a server that sees to them itself), ``certificate_directory``, ``maintenance_directory``, ``has_ca`` (bool)
    :returns: the plain policy; each fault is one line in ``problems``
    """
    networks = {name: tuple(given) for name, given in policy["networks"].items()}
    doors = [*DATABASE_MANAGER, *([] if policy["jsonrpc"] else [JSONRPC]), *policy["blocked_paths"]]
    sites = tuple(_site(site, policy=policy) for site in policy["sites"])
    csp = _with_reports(policy["csp"])
    browser_cache = tuple(_browser_cache(entry) for entry in policy["browser_cache"])
    return Policy(
        sites=sites,
        limits=tuple(_limit(limit) for limit in policy["rate_limits"]),
        closed=beginning(doors),
        security_headers=_security_headers(policy["security_headers"], csp="" if policy["csp_report_only"] else csp),
        hsts=_hsts(policy["hsts_max_age"], subdomains=policy["hsts_subdomains"]),
        csp_report_only=csp if policy["csp_report_only"] else "",
        cors=tuple(_cors(entry) for entry in policy["cors"]),
        back_office=BackOffice(
            path=beginning(policy["back_office_paths"]),
            allow=networks["back_office_allow"],
            deny=networks["back_office_deny"],
        ),
        browser_cache=browser_cache,
        store=Store(
            size=policy["store_size"],
            seconds=policy["store_seconds"],
            path=beginning([path for entry in policy["browser_cache"] for path in entry.get("paths") or []]),
        ),
        maintenance=Maintenance(
            directory=policy["maintenance_directory"],
            allow=networks["maintenance_allow"],
            retry_after=policy["maintenance_retry_after"],
            page=policy["maintenance_page"],
        ),
        trusted_proxies=networks["trusted_proxies"],
        exempt=networks["rate_limit_exempt"],
        compression=tuple(policy["compression"]),
        http3=policy["http3"],
        timeouts=Timeouts(
            header=policy["header_timeout"],
            body=policy["body_timeout"],
            send=policy["send_timeout"],
            keepalive=policy["keepalive_timeout"],
            connect=policy["connect_timeout"],
            failed=policy["upstream_fail_timeout"],
        ),
        status_port=policy["status_port"],
        acme=dict(policy["acme"]),
        address_site=next((site.name for site in sites if site.addresses), ""),
        problems=tuple(faults(policy)),
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


def beginning(patterns: Sequence[str]) -> str:
    """Return one pattern for what begins as any of these do; empty for none."""
    return "^(?:{})".format("|".join(patterns)) if patterns else ""


def retry_after(rate: str) -> int:
    """Return the seconds between two requests at a rate such as ``20r/m``, rounded up; without a rate 1."""
    seconds = _interval(rate)
    return max(1, -int(-seconds // 1))


def size_in_bytes(size: str) -> int:
    """Return ``128m`` and the like in bytes; 0 for what is no size."""
    found = re.fullmatch(r"([0-9]+)([kmg]?)", size)
    return int(found.group(1)) * 1024 ** " kmg".index(found.group(2) or " ") if found else 0


def acme_name(site: str) -> str:
    """Return the name that certbot knows a site's certificate by; others of the host's are none of ours."""
    return f"slipway-{site}"


def _interval(rate: str) -> float:
    """Seconds between two requests at a rate; 0 without one."""
    found = RATE.fullmatch(rate)
    return {"s": 1, "m": 60}[found.group(2)] / int(found.group(1)) if found else 0


def _hsts(max_age: int, *, subdomains: bool) -> str:
    if max_age <= 0:
        return ""
    return "max-age={}{}".format(max_age, "; includeSubDomains" if subdomains else "")


def _with_reports(csp: str) -> str:
    """A policy that tells browsers where to report; without, Chromium calls one that is report-only useless."""
    csp = csp.strip().rstrip(";")
    if not csp or re.search(r"(^|;)\s*report-(uri|to)\s", csp):
        return csp
    return f"{csp}; report-uri {CSP_REPORTS}"


def _security_headers(headers: Mapping[str, str], *, csp: str) -> dict[str, str]:
    # Odoo's own policy for images keeps a script in an uploaded one from running. It has to be named here:
    # with a file that Odoo leaves to the edge, the edge sends only the headers that it knows of.
    if any(name.lower() == "content-security-policy" for name in headers):
        return dict(headers)
    return {**headers, "Content-Security-Policy": csp}


def _site(site: Mapping[str, Any], *, policy: Mapping[str, Any]) -> Site:
    domains = tuple(site["domains"])
    size = site.get("max_body_size") or policy["max_body_size"]
    return Site(
        name=site["name"],
        domains=domains,
        addresses=tuple(domain for domain in domains if is_address(domain)),
        upstreams=tuple(site["upstreams"]),
        websocket_upstreams=tuple(site.get("websocket_upstreams") or site["upstreams"]),
        tls=_tls(site, directory=policy["certificate_directory"], acme_directory=policy["acme_directory"]),
        internal_files=site.get("internal_files") or None,
        max_body_size=size,
        max_body_bytes=size_in_bytes(size),
        read_timeout=site.get("read_timeout") or policy["read_timeout"],
        health=site.get("health") or "/web/health?db_server_status=1",
    )


def _tls(site: Mapping[str, Any], *, directory: str, acme_directory: str) -> Tls:
    given = given_tls(site)
    if given.get("acme"):
        place = "{}/{}".format(acme_directory, acme_name(site["name"]))
        return Tls(
            source="acme",
            certificate=f"{place}/fullchain.pem" if acme_directory else "",
            private_key=f"{place}/privkey.pem" if acme_directory else "",
        )
    if "certificate" in given and "private_key" in given:
        return Tls(source="target", certificate=given["certificate"], private_key=given["private_key"])
    return Tls(
        source="controller" if given else "ca",
        certificate="{}/{}.crt".format(directory, site["name"]),
        private_key="{}/{}.key".format(directory, site["name"]),
        certificate_src=given.get("certificate_src", ""),
        private_key_src=given.get("private_key_src", ""),
    )


def _limit(limit: Mapping[str, Any]) -> Limit:
    rate, burst = limit.get("rate") or "", limit.get("burst") or 0
    methods, paths = limit.get("methods") or [], limit.get("paths") or []
    return Limit(
        name=limit["name"],
        methods=tuple(methods),
        path=beginning(paths),
        pattern="^{} {}".format(
            "(?:{})".format("|".join(methods)) if methods else "[^ ]+",
            "(?:{})".format("|".join(paths)) if paths else "/",
        ),
        key=limit.get("key") or "address",
        rate=rate,
        burst=burst,
        window=(burst + 1) * _interval(rate),
        retry_after=retry_after(rate),
    )


def _cors(entry: Mapping[str, Any]) -> Cors:
    return Cors(
        path=beginning(entry.get("paths") or ["/api/", "/json/"]),
        origins=tuple(entry["origins"]),
        methods=", ".join(entry.get("methods") or ["GET", "POST", "PUT", "PATCH", "DELETE"]),
        headers=", ".join(entry.get("headers") or ["Authorization", "Content-Type"]),
        expose_headers=", ".join(entry.get("expose_headers") or []),
        credentials=bool(entry.get("credentials")),
        max_age=600 if entry.get("max_age") is None else entry["max_age"],
    )


def _browser_cache(entry: Mapping[str, Any]) -> BrowserCache:
    immutable = ", immutable" if entry.get("immutable") else ""
    return BrowserCache(
        path=beginning(entry.get("paths") or []), value="public, max-age={}{}".format(entry["seconds"], immutable)
    )
