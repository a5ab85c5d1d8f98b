# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens to a request in Caddy, as routes of its JSON configuration, in the order in which they run.

Each function takes the plain policy of ``edge_policy``. The order is that of the templates for nginx.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils.edge_caddy_answers import (
    answer_headers,
    browser_cache,
    compression,
    cors_headers,
    preflights,
)
from ansible_collections.slipway.odoo.plugins.module_utils.edge_caddy_parts import (
    CLIENT,
    HOST,
    clients,
    error,
    exact_first,
    headers,
    path,
    route,
    text,
)
from ansible_collections.slipway.odoo.plugins.module_utils.edge_caddy_upstreams import (
    application,
    health,
    websocket,
)
from ansible_collections.slipway.odoo.plugins.module_utils.edge_policy import (
    CSP_REPORTS,
    OWN_PATHS,
)

MAX_CSP_REPORT_BYTES = 16 * 1024

_HEALTH = "^/health$"
_WEBSOCKET = "^/websocket"
_CSP_REPORTS = f"^{re.escape(CSP_REPORTS)}$"
_ALWAYS_OPEN = f"{_HEALTH}|{_CSP_REPORTS}"

# What the application said of its own answer does not hold for an error that takes its place.
_HEADERS_OF_CONTENT = (
    "Accept-Ranges", "Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Length", "Etag", "Expires",
    "Last-Modified", "Set-Cookie",
)  # fmt: skip


def secure(policy: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the routes of the server for HTTPS."""
    guarded = [
        _malformed(),
        *_closed(policy),
        *_back_office(policy),
        *preflights(policy["cors"]),
        *_maintenance(policy),
        *_rate_limits(policy),
        *(route(_site(site, policy=policy), match=_of(site)) for site in policy["sites"]),
    ]
    return [
        *_beginning(policy),
        *answer_headers(policy),
        *cors_headers(policy["cors"]),
        *browser_cache(policy["browser_cache"]),
        route(_with_errors(guarded)),
    ]


def plain(policy: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the routes of the server for HTTP, which leads to HTTPS and tells about health.

    Only health counts in the rate limits: nginx, too, answers a redirect before it counts anything.
    """
    location = {"Location": [f"https://{HOST}{{http.request.uri}}"]}
    guarded = [
        route({"handler": "vars", "log_skip": True}, *_rate_limit(policy), match=path(_HEALTH)),
        *(
            route(health(site, timeouts=policy["timeouts"]), match={**_of(site), **path(_HEALTH)})
            for site in policy["sites"]
        ),
        route({"handler": "static_response", "status_code": 301, "headers": location}),
    ]
    return [*_beginning(policy), route(headers(delete=["Server", "Via"])), route(_with_errors(guarded))]


def status(*, revision: str) -> list[dict[str, Any]]:
    """Return the routes of the server for whoever looks after the host."""
    return [
        route(text(revision), match=path("^/revision$")),
        route({"handler": "metrics"}, match=path("^/metrics$")),
        route(text("404 Not Found", status_code=404)),
    ]


def errors() -> list[dict[str, Any]]:
    """Return the routes that answer errors, without a word of what went wrong inside: that is in the access log."""
    status_code = "{http.error.status_code}"
    return [
        route(
            {"handler": "log_append", "key": "error", "value": "{http.error.message}"},
            match={"vars_regexp": {status_code: {"pattern": "^5"}}},
        ),
        route({"handler": "headers", "response": {"delete": list(_HEADERS_OF_CONTENT)}}),
        # Caddy's error 503 says that no application host is left, which is 502 with nginx.
        route(text("502 Bad Gateway", status_code=502), match={"vars": {status_code: ["503"]}}),
        route(text(f"{status_code} {{http.error.status_text}}")),
    ]


def takes_reports(policy: Mapping[str, Any]) -> bool:
    """Tell whether browsers have a Content-Security-Policy to report about."""
    return bool(policy["csp_report_only"] or policy["security_headers"].get("Content-Security-Policy"))


def _with_errors(routes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Handler for routes whose errors are answered inside, so that the headers of all answers are theirs too."""
    return {"handler": "subroute", "routes": list(routes), "errors": {"routes": errors()}}


def _of(site: Mapping[str, Any]) -> dict[str, Any]:
    return {"vars": {"site": [site["name"]]}}


def _beginning(policy: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Fill in the access log, find the site and the limit that counts; hang up when there is no such site."""
    return [
        route(_host_without_port(), *_log_fields()),
        *(route(_names(site), match={"host": domains}, group="site") for site, domains in exact_first(policy["sites"])),
        route({"handler": "static_response", "abort": True}, group="site"),
        *(
            route({"handler": "vars", "limit": limit["name"]}, match=_counted(limit), group="limit")
            for limit in policy["limits"]
        ),
    ]


def _host_without_port() -> dict[str, Any]:
    # Unlike Caddy's own placeholder, it keeps the brackets of an IPv6 address.
    return {
        "handler": "map",
        "source": "{http.request.hostport}",
        "destinations": [HOST],
        "mappings": [{"input_regexp": r"^(\[[^\]]*\]|[^:]*)", "outputs": ["$1"]}],
    }


def _names(site: Mapping[str, Any]) -> dict[str, Any]:
    name = site["name"]
    return {"handler": "vars", "site": name, "limit": "", "access_logger_names": [f"site.{name}"]}


def _log_fields() -> list[dict[str, Any]]:
    fields = {
        "client_ip": CLIENT,
        "method": "{http.request.method}",
        "host": HOST,
        "uri": "{http.request.orig_uri}",
        "proto": "{http.request.proto}",
        "user_agent": "{http.request.header.User-Agent}",
        "referer": "{http.request.header.Referer}",
    }
    early = ({"handler": "log_append", "key": key, "value": value, "early": True} for key, value in fields.items())
    return [*early, {"handler": "log_append", "key": "limit", "value": "{http.vars.limit}"}]


def _counted(limit: Mapping[str, Any]) -> dict[str, Any] | None:
    methods = {"method": list(limit["methods"])} if limit["methods"] else {}
    paths = path(limit["path"]) if limit["path"] else {}
    return {**methods, **paths} or None


def _maintenance(policy: Mapping[str, Any]) -> list[dict[str, Any]]:
    maintenance = policy["maintenance"]
    flag = {"root": maintenance["directory"], "try_files": ["/{http.vars.site}"]}
    exceptions = [path(_ALWAYS_OPEN), *([clients(maintenance["allow"])] if maintenance["allow"] else [])]
    page = {
        "handler": "static_response",
        "status_code": 503,
        "headers": {
            "Content-Type": ["text/html; charset=utf-8"],
            "Retry-After": [str(maintenance["retry_after"])],
            "Cache-Control": ["no-store"],
        },
        # The braces in its CSS are no placeholders.
        "body": re.sub(r"([{}])", r"\\\1", maintenance["page"]),
    }
    return [route(page, match={"file": flag, "not": exceptions})]


def _back_office(policy: Mapping[str, Any]) -> list[dict[str, Any]]:
    office = policy["back_office"]
    refused = [
        *([{**path(office["path"]), **clients(office["deny"])}] if office["deny"] else []),
        *([{**path(office["path"]), "not": [clients(office["allow"])]}] if office["allow"] else []),
    ]
    return [route(error(403), match=refused)] if refused and office["path"] else []


def _malformed() -> dict[str, Any]:
    """Refuse what nginx does: a null byte, and a path that leads out of the root. Caddy would pass both on."""
    decoded = {"{http.request.uri.path}": {"pattern": r"\x00|^/(?:\./)*\.\.(?:/|$)"}}
    return route(error(400), match={"vars_regexp": decoded})


def _closed(policy: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What nobody gets, from whatever site."""
    open_below = {"not": [path(_CSP_REPORTS)]} if takes_reports(policy) else {}
    with_files = [site["name"] for site in policy["sites"] if site["internal_files"]]
    return [
        *([route(error(403), match=path(policy["closed"]))] if policy["closed"] else []),
        # HTTP/2 and HTTP/3 open websockets by CONNECT (RFC 8441).
        route(error(405), match=[{"method": ["TRACE"]}, {"method": ["CONNECT"], "not": [path(_WEBSOCKET)]}]),
        route(error(404), match={**path(f"^{re.escape(OWN_PATHS)}"), **open_below}),
        *([route(error(404), match={**path("^/web/filestore/"), "vars": {"site": with_files}})] if with_files else []),
        route({"handler": "vars", "log_skip": True}, match=path(_HEALTH)),
    ]


_AUTHORIZATION = "{slipway.authorization}"
_KEYS = {"address": CLIENT, "authorization": _AUTHORIZATION, "site": "{http.vars.site}"}


def _rate_limits(policy: Mapping[str, Any]) -> list[dict[str, Any]]:
    handlers = _rate_limit(policy)
    return [route(*handlers)] if handlers else []


def _rate_limit(policy: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One zone for each limit, which all servers and sites share: the module knows zones by name alone."""
    zones = {limit["name"]: _zone(limit, exempt=policy["exempt"]) for limit in policy["limits"] if limit["rate"]}
    who = {
        "handler": "map",
        "source": "{http.request.header.Authorization}",
        "destinations": [_AUTHORIZATION],
        "mappings": [{"input": "", "outputs": [CLIENT]}],
        # Marked, so that nobody can count as another's address by what he says.
        "defaults": ["key {http.request.header.Authorization}"],
    }
    by_authorization = any(limit["key"] == "authorization" for limit in policy["limits"])
    return [*([who] if by_authorization else []), {"handler": "rate_limit", "rate_limits": zones}] if zones else []


def _zone(limit: Mapping[str, Any], *, exempt: Sequence[str]) -> dict[str, Any]:
    return {
        "match": [{"vars": {"limit": [limit["name"]]}, **({"not": [clients(exempt)]} if exempt else {})}],
        "key": _KEYS[limit["key"]],
        "max_events": limit["burst"] + 1,
        "window": "{}us".format(round(limit["window"] * 1_000_000)),
    }


def _site(site: Mapping[str, Any], *, policy: Mapping[str, Any]) -> dict[str, Any]:
    """What a site serves once a request may pass."""
    upgrades = {**path(_WEBSOCKET), "header_regexp": {"Upgrade": {"pattern": "(?i)^websocket"}}}
    timeouts = policy["timeouts"]
    routes = [
        *(_csp_reports(site) if takes_reports(policy) else []),
        route(health(site, timeouts=timeouts), match=path(_HEALTH)),
        route({"handler": "request_body", "max_size": site["max_body_bytes"]}, *compression(policy["compression"])),
        # Once a connection is upgraded, nothing here sees any more what goes over it.
        route({"handler": "headers", "request": {"delete": ["Connection", "Upgrade"]}}, match={"not": [upgrades]}),
        route(*websocket(site, policy=policy), match=path(_WEBSOCKET)),
        route(*application(site, timeouts=timeouts)),
    ]
    return {"handler": "subroute", "routes": routes}


def _csp_reports(site: Mapping[str, Any]) -> list[dict[str, Any]]:
    here = path(_CSP_REPORTS)
    return [
        route(error(403), match={**here, "not": [{"method": ["POST"]}]}),
        route({"handler": "request_body", "max_size": MAX_CSP_REPORT_BYTES}, match=here),
        route(
            {"handler": "vars", "access_logger_names": ["csp.{}".format(site["name"])]},
            {"handler": "log_append", "key": "report", "value": "{http.request.body}", "early": True},
            {"handler": "static_response", "status_code": 204},
            # It matches always, but reads the body for that: one that is too long without saying so is answered 413.
            match={**here, "vars_regexp": {"{http.request.body}": {"pattern": ""}}},
        ),
    ]
