# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter odoo_config_text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_options import render_config


def odoo_config_text(options: Mapping[str, Any], slipway: Mapping[str, Any] | None = None) -> str:
    """Render a configuration file for Odoo."""
    if not isinstance(options, Mapping) or not isinstance(slipway or {}, Mapping):
        raise AnsibleFilterError("odoo_config_text needs dictionaries")
    try:
        return render_config(options, slipway)
    except ValueError as error:
        raise AnsibleFilterError(f"odoo_config_text: {error}") from error


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Map names to filters."""
        return {"odoo_config_text": odoo_config_text}
