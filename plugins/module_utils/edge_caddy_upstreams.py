# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How Caddy passes requests on to Odoo: handlers of its JSON configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils.edge_caddy_parts import CLIENT, HOST, error, route

BUFFERED_BYTES = 1024 * 1024
"""So much of a request and of an answer waits in memory, so that no worker of Odoo waits for a slow client.

Odoo has a handful of workers, and each serves one request from its first byte to its last. Nearly all requests and
answers are smaller; what is larger goes at the client's pace, for Caddy keeps nothing on disk. It is memory for each
request that is under way: 500 of them are 1 GiB at the very most.
"""

_HEALTH_CONNECT = "5s"
_HEALTH_ANSWER = "10s"


def application(site: Mapping[str, Any], *, timeouts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the handlers for all that is Odoo's. Files that Odoo only names are sent from here, where they are."""
    files = {"handle_response": [_files(site["internal_files"])]} if site["internal_files"] else {}
    proxy = {
        **_proxy(site["upstreams"], site=site, timeouts=timeouts),
        "request_buffers": BUFFERED_BYTES,
        "response_buffers": BUFFERED_BYTES,
        **files,
    }
    return [*_log_fields(), proxy]


def websocket(site: Mapping[str, Any], *, policy: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the handlers for websockets. Their answers are not buffered: after an upgrade they never end.

    A reload leaves them open for as long as nginx's old workers live, or all browsers would connect again at once.
    """
    proxy = {
        **_proxy(site["websocket_upstreams"], site=site, timeouts=policy["timeouts"]),
        "request_buffers": BUFFERED_BYTES,
        "stream_close_delay": f"{longest_read(policy)}s",
    }
    return [*_log_fields(), proxy]


def health(site: Mapping[str, Any], *, timeouts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the handler that tells the application's health: its own answer if that is 200, else 503."""
    unhealthy = route(
        {
            "handler": "static_response",
            "status_code": 503,
            "headers": {"Content-Type": ["application/json"]},
            "body": '{"status": "fail"}',
        }
    )
    proxy = _proxy(site["upstreams"], site=site, timeouts=timeouts)
    proxy["transport"] = {
        **proxy["transport"],
        "dial_timeout": _HEALTH_CONNECT,
        "response_header_timeout": _HEALTH_ANSWER,
        "read_timeout": _HEALTH_ANSWER,
        "write_timeout": _HEALTH_ANSWER,
    }
    # Without a question mark it would keep the client's query.
    proxy["rewrite"] = {"uri": site["health"] if "?" in site["health"] else site["health"] + "?"}
    proxy["handle_response"] = [
        {"match": {"status_code": [2]}, "routes": [route({"handler": "copy_response"})]},
        {"routes": [unhealthy]},
    ]
    asked = {"handler": "subroute", "routes": [route(proxy)], "errors": {"routes": [unhealthy]}}
    refused = route(error(405), match={"not": [{"method": ["GET", "HEAD"]}]})
    return {"handler": "subroute", "routes": [refused, route(asked)]}


def longest_read(policy: Mapping[str, Any]) -> int:
    """Return the longest time in seconds that any site waits for an answer."""
    return max((site["read_timeout"] for site in policy["sites"]), default=60)


def _proxy(upstreams: Sequence[str], *, site: Mapping[str, Any], timeouts: Mapping[str, Any]) -> dict[str, Any]:
    seconds = "{}s".format(site["read_timeout"])
    return {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": upstream} for upstream in upstreams],
        "transport": {
            "protocol": "http",
            "versions": ["1.1"],
            # As with nginx. Odoo closes its connections; one that it kept would hold a worker while nothing happens.
            "keep_alive": {"enabled": False},
            "compression": False,
            "dial_timeout": "{}s".format(timeouts["connect"]),
            "response_header_timeout": seconds,
            "read_timeout": seconds,
            "write_timeout": seconds,
        },
        "headers": {"request": _request_headers()},
        **(_failover(upstreams, seconds=timeouts["failed"]) if len(upstreams) > 1 else {}),
    }


def _request_headers() -> dict[str, Any]:
    # The address is not appended to what the client sent, which nobody vouches for.
    return {
        "set": {
            "Host": [HOST],
            "X-Forwarded-Host": [HOST],
            "X-Forwarded-Proto": ["{http.request.scheme}"],
            "X-Forwarded-For": [CLIENT],
            "X-Real-IP": [CLIENT],
        },
        "delete": ["Forwarded", "Proxy", "Via", "X-Forwarded-Port", "X-Forwarded-Prefix"],
    }


def _failover(upstreams: Sequence[str], *, seconds: int) -> dict[str, Any]:
    # Sessions are files on one application host: a client stays with it.
    return {
        "load_balancing": {"selection_policy": {"policy": "client_ip_hash"}, "retries": len(upstreams) - 1},
        "health_checks": {"passive": {"fail_duration": f"{seconds}s", "max_fails": 1}},
    }


def _log_fields() -> list[dict[str, Any]]:
    # To the first byte: to the last one would be the time of a slow client.
    fields = {
        "upstream": "{http.reverse_proxy.upstream.hostport}",
        "upstream_duration": "{http.reverse_proxy.upstream.latency}",
    }
    return [{"handler": "log_append", "key": key, "value": value} for key, value in fields.items()]


def _files(files: Mapping[str, str]) -> dict[str, Any]:
    """What to do with an answer of Odoo that names a file of its filestore instead of holding it."""
    own = ["Content-Length", "X-Accel-Redirect", "X-Sendfile"]
    return {
        "match": {"headers": {"X-Accel-Redirect": ["/web/filestore/*"]}},
        "routes": [
            route(
                {"handler": "copy_response_headers", "exclude": own},
                {"handler": "rewrite", "uri": "{http.reverse_proxy.header.X-Accel-Redirect}"},
                {"handler": "rewrite", "strip_path_prefix": "/web/filestore"},
            ),
            # As with nginx, a file is the answer to a POST as well.
            route({"handler": "rewrite", "method": "GET"}, match={"not": [{"method": ["HEAD"]}]}),
            route({"handler": "file_server", "root": files["path"], "index_names": [], "canonical_uris": False}),
        ],
    }
