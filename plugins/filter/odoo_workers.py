# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter odoo_workers."""

from __future__ import annotations

from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_workers import size_workers


def odoo_workers(cores: int, memory_mb: int, users: int, shared: int = 0, max_connections: int = 100) -> dict[str, Any]:
    """Size an instance's processes."""
    try:
        return size_workers(
            cores=int(cores),
            memory_mb=int(memory_mb),
            users=int(users),
            shared=int(shared),
            max_connections=int(max_connections),
        )
    except (TypeError, ValueError) as error:
        raise AnsibleFilterError(f"odoo_workers: {error}") from error


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Map names to filters."""
        return {"odoo_workers": odoo_workers}
