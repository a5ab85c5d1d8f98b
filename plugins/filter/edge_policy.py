# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter ``edge_policy``: one edge policy, made plain for a renderer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.slipway.odoo.plugins.module_utils.edge_policy import as_data, plan


def edge_policy(policy: Any) -> dict[str, Any]:
    """Return the plain policy, with every fault in its ``problems``.

    :raises AnsibleFilterError: when a part of the policy is missing or of the wrong type
    """
    try:
        return as_data(plan(policy))
    except (AttributeError, KeyError, TypeError) as error:
        raise AnsibleFilterError(f"edge_policy: this is not a policy: {error!r}") from error


class FilterModule:
    """What ansible-core looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"edge_policy": edge_policy}
