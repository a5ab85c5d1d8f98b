# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter ``edge_lacks``: what a policy asks for that the web server at hand cannot do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils import edge_capabilities


def edge_lacks(
    policy: Mapping[str, Any], server: str, *, version: str = "", build: str | Mapping[str, str] = ""
) -> list[str]:
    """Return one sentence for each input whose wish the server cannot fulfil."""
    if server == "caddy" and build:
        version = edge_capabilities.caddy_version(build)
        if not version:
            return ["edge_caddy_binary: this is no Caddy (nothing in it says so)"]
    return edge_capabilities.lacks(policy, server=edge_capabilities.Server(name=server, version=version, build=build))


class FilterModule:
    """What ansible-core looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"edge_lacks": edge_lacks}
