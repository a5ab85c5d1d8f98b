# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The small parts of which routes of Caddy's JSON configuration are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

CLIENT = "{http.vars.client_ip}"
"""The client's address, as the trusted proxies tell it."""

HOST = "{slipway.host}"
"""The host that the client asked for, without a port."""


def route(*handlers: Mapping[str, Any], match: Any = None, group: str = "") -> dict[str, Any]:
    """Return a route: its handlers, what it matches, and the group of which only the first that matches runs.

    :param match: one set of matchers, all of which have to match, or a list of sets, any of which has to
    """
    matchers = {} if match is None else {"match": match if isinstance(match, list) else [match]}
    return {**matchers, "handle": list(handlers), **({"group": group} if group else {})}


def path(pattern: str) -> dict[str, Any]:
    """Return the matcher for paths, which sees them decoded and cleaned; Caddy's ``path`` ignores case."""
    return {"path_regexp": {"pattern": pattern}}


def exact_first(
    sites: Sequence[Mapping[str, Any]], *, without: Sequence[str] = ()
) -> list[tuple[Mapping[str, Any], list[str]]]:
    """Return sites with their domains, all exact names before any wildcard: Caddy takes the first that matches."""
    split = [
        (site, [name for name in site["domains"] if name.startswith("*.") is wildcard and name not in without])
        for wildcard in (False, True)
        for site in sites
    ]
    return [(site, domains) for site, domains in split if domains]


def clients(networks: Sequence[str]) -> dict[str, Any]:
    """Return the matcher for clients of some networks."""
    return {"client_ip": {"ranges": list(networks)}}


def error(code: int) -> dict[str, Any]:
    """Return the handler that leaves an answer to the routes for errors."""
    return {"handler": "error", "status_code": code}


def headers(*, require: Mapping[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """Return the handler that changes headers of an answer once it is there, if it is as required."""
    when = {"deferred": True} if require is None else {"require": dict(require)}
    return {"handler": "headers", "response": {**changes, **when}}


def filled(values: Mapping[str, str]) -> dict[str, list[str]]:
    """Return headers as Caddy takes them, without those that are empty."""
    return {name: [value] for name, value in values.items() if value}


def text(body: str, **options: Any) -> dict[str, Any]:
    """Return the handler that answers one line of text."""
    return {
        "handler": "static_response",
        "headers": {"Content-Type": ["text/plain; charset=utf-8"]},
        "body": f"{body}\n",
        **options,
    }
