# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a policy asks for that the web server at hand cannot do. A limit that is dropped silently is none."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

CADDY_OLDEST = (2, 11)
"""The renderer's configuration is that of this release; older ones do not know all of it."""

CADDY_IDLE = (2, 11, 5)
"""The first that can wait for a client from one read to the next (``read_idle_timeout``)."""

NGINX_OLDEST = (1, 22)
"""That of Debian 12."""

RATE_LIMIT_MODULE = "github.com/mholt/caddy-ratelimit"
CADDY_MODULE = "github.com/caddyserver/caddy/v2"


@dataclasses.dataclass(frozen=True)
class Server:
    """A server as it is or will be on a host.

    :ivar name: ``nginx`` or ``caddy``
    :ivar version: such as ``1.26.3``; empty when it is not known yet
    :ivar build: nginx: what ``nginx -V`` says, empty when it is not installed; Caddy: the Go modules in it
    """

    name: str
    version: str
    build: str | Mapping[str, str] = ""


def lacks(policy: Mapping[str, Any], *, server: Server) -> list[str]:
    """Return one sentence for each input whose wish the server cannot fulfil.

    :param policy: the plain policy of ``edge_policy``
    """
    return [*_age(server), *(_nginx(policy, server) if server.name == "nginx" else _caddy(policy, server))]


def caddy_version(modules: Mapping[str, str]) -> str:
    """Return the version of Caddy among a binary's Go modules; empty in what is no Caddy."""
    return modules.get(CADDY_MODULE, "").lstrip("v")


def numbers(version: str) -> tuple[int, ...]:
    """Return ``1.26.3`` as numbers to compare."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _age(server: Server) -> Iterator[str]:
    oldest = CADDY_OLDEST if server.name == "caddy" else NGINX_OLDEST
    if server.version and numbers(server.version) < oldest:
        wanted = ".".join(map(str, oldest))
        hint = ": take edge_caddy_source: build, or enable Debian's backports" if server.name == "caddy" else ""
        yield f"this {server.name} is {server.version}, and {wanted} is the oldest that will do{hint}"


def _nginx(policy: Mapping[str, Any], server: Server) -> Iterator[str]:
    if "zstd" in policy["compression"]:
        yield "edge_compression: nginx has no zstd: take brotli, or gzip alone"
    if policy["http3"] and server.version:
        # Before it is installed the version has to do: Debian's nginx has HTTP/3 since the release that brought it.
        lacking = "--with-http_v3_module" not in server.build if server.build else numbers(server.version) < (1, 25)
        if lacking:
            yield f"edge_http3: this nginx ({server.version}) is built without HTTP/3"


def _caddy(policy: Mapping[str, Any], server: Server) -> Iterator[str]:
    if "brotli" in policy["compression"]:
        yield "edge_compression: Caddy has no brotli: take zstd, or gzip alone"
    if policy["store"]["size"]:
        yield "edge_store_size: Caddy has no store for answers: leave it empty"
    timeouts = policy["timeouts"]
    if (timeouts["body"] or timeouts["send"]) and server.version and numbers(server.version) < CADDY_IDLE:
        yield (
            f"edge_body_timeout, edge_send_timeout: this Caddy ({server.version}) cannot give up clients that stall, "
            "as 2.11.5 can: set both to 0, or take edge_caddy_source: build"
        )
    limits = [limit["name"] for limit in policy["limits"] if limit["rate"]]
    if limits and RATE_LIMIT_MODULE not in server.build:
        yield (
            "edge_rate_limits: this Caddy has no rate limit ({} missing), so {} would not be held: take "
            "edge_caddy_source: build, or a policy without rates".format(RATE_LIMIT_MODULE, ", ".join(limits))
        )
