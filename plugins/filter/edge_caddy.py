# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter ``edge_caddy_config``: a plain edge policy as the configuration of Caddy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.slipway.odoo.plugins.module_utils.edge_caddy import render


def edge_caddy_config(policy: Any, **options: str) -> dict[str, Any]:
    """Return Caddy's configuration; the options are those of :func:`edge_caddy.render`.

    :raises AnsibleFilterError: when this is no policy of ``edge_policy``, or an option is missing or unknown
    """
    try:
        return render(policy, **options)
    except (AttributeError, KeyError, TypeError) as error:
        raise AnsibleFilterError(f"edge_caddy_config: this is not a plain policy: {error!r}") from error


class FilterModule:
    """What ansible-core looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"edge_caddy_config": edge_caddy_config}
