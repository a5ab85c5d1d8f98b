# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter odoo_config_problems."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_options import config_problems


def odoo_config_problems(
    options: Mapping[str, Any], version: str, reserved: Iterable[str] = (), allowed: Iterable[str] = ()
) -> list[str]:
    """Say what is wrong with options for Odoo's configuration file."""
    if not isinstance(options, Mapping):
        raise AnsibleFilterError(f"odoo_config_problems needs a dictionary, not {type(options).__name__}")
    return config_problems(options, str(version), reserved=reserved, allowed=allowed)


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Map names to filters."""
        return {"odoo_config_problems": odoo_config_problems}
