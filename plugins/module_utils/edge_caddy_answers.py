# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Caddy does to the answers to browsers, Odoo's and its own: headers, CORS, compression.

Deferred changes of headers run from the last handler to the first, so what stands further down is done before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils.edge_caddy_parts import (
    error,
    filled,
    headers,
    path,
    route,
)

# The same as in the templates for nginx.
_COMPRESSED_TYPES = (
    "text/html", "text/css", "text/plain", "text/xml", "text/csv", "text/javascript", "application/javascript",
    "application/json", "application/xml", "application/manifest+json", "application/wasm", "image/svg+xml",
    "font/ttf", "font/otf", "application/vnd.ms-fontobject",
)  # fmt: skip
_ENCODINGS: dict[str, dict[str, Any]] = {"zstd": {}, "gzip": {"level": 5}}
_MINIMUM_LENGTH = 1024


def answer_headers(policy: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the routes for headers that go with every answer, errors too."""
    own = {
        "Strict-Transport-Security": policy["hsts"],
        "Content-Security-Policy-Report-Only": policy["csp_report_only"],
    }
    defaults = [
        headers(require={"headers": {name: None}}, set={name: [value]})
        for name, value in policy["security_headers"].items()
        if value
    ]
    return [
        route(
            headers(set=filled(own), delete=["Server", "Via", "X-Accel-Redirect", "X-Sendfile"]),
            *defaults,
            headers(replace={"Set-Cookie": _cookie_attributes()}),
        )
    ]


def _cookie_attributes() -> list[dict[str, str]]:
    """Every cookie Secure, the session's SameSite=Lax too; what Odoo says of these goes first."""
    return [
        {"search_regexp": r"(?i);\s*secure\s*(;|$)", "replace": "$1"},
        {"search_regexp": "^(.*)$", "replace": "$1; Secure"},
        {"search_regexp": r"^(session_id=.*?);\s*(?i:samesite)=[^;]*", "replace": "$1"},
        {"search_regexp": "^(session_id=.*)$", "replace": "$1; SameSite=Lax"},
    ]


def cors_headers(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the routes that put the policy's CORS headers in the place of Odoo's, where an entry names the path."""
    return [
        route(
            {"handler": "vars", "cors": str(number)},
            {"handler": "subroute", "routes": _cors_headers_of(entry)},
            match=path(entry["path"]),
            group="cors",
        )
        for number, entry in enumerate(entries)
    ]


def _cors_headers_of(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    origin = {"Origin": _origin(entry)}
    always = {
        "Access-Control-Allow-Origin": "*" if "*" in entry["origins"] else "{http.request.header.Origin}",
        "Access-Control-Allow-Credentials": "true" if entry["credentials"] else "",
    }
    preflight = {
        "Access-Control-Allow-Methods": entry["methods"],
        "Access-Control-Allow-Headers": entry["headers"],
        "Access-Control-Max-Age": str(entry["max_age"]),
    }
    exposed = filled({"Access-Control-Expose-Headers": entry["expose_headers"]})
    others = {"header_regexp": origin, "not": [_preflight(_ANY)]}
    return [
        route(headers(set=filled(always)), match={"header_regexp": origin}),
        route(headers(set=filled(preflight)), match=_preflight(_origin(entry))),
        *([route(headers(set=exposed), match=others)] if exposed else []),
        route(headers(add={"Vary": ["Origin"]}, delete=["Access-Control-*"])),
    ]


def preflights(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the routes that answer preflights, which never reach Odoo where an entry names the path."""
    routes = []
    for number, entry in enumerate(entries):
        here = {"vars": {"cors": [str(number)]}}
        granted = {"handler": "static_response", "status_code": 204}
        routes += [
            route(granted, match={**here, **_preflight(_origin(entry))}),
            route(error(403), match={**here, **_preflight(_ANY)}),
        ]
    return routes


_ANY = {"pattern": "."}


def _origin(entry: Mapping[str, Any]) -> dict[str, str]:
    """Pattern for the origins that an entry names."""
    origins = entry["origins"]
    return _ANY if "*" in origins else {"pattern": "^(?:{})$".format("|".join(map(re.escape, origins)))}


def _preflight(origin: Mapping[str, str]) -> dict[str, Any]:
    method = {"pattern": "^[A-Z]+$"}
    return {"method": ["OPTIONS"], "header_regexp": {"Origin": origin, "Access-Control-Request-Method": method}}


def browser_cache(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the routes for Cache-Control where Odoo sends none."""
    cached = {"status_code": [200, 206, 304], "headers": {"Cache-Control": None}}
    return [
        route(
            headers(require=cached, set={"Cache-Control": [entry["value"]]}),
            match=path(entry["path"]),
            group="browser_cache",
        )
        for entry in entries
    ]


def compression(wanted: Sequence[str]) -> list[dict[str, Any]]:
    """Return the handler that compresses what the application answers, or none."""
    encodings = {name: options for name, options in _ENCODINGS.items() if name in wanted}
    if not encodings:
        return []
    types = [pattern for name in _COMPRESSED_TYPES for pattern in (name, f"{name};*")]
    return [
        {
            "handler": "encode",
            "encodings": encodings,
            "prefer": list(encodings),
            "minimum_length": _MINIMUM_LENGTH,
            "match": {"headers": {"Content-Type": types}},
        }
    ]
