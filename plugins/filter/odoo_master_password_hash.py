# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter odoo_master_password_hash."""

from __future__ import annotations

from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_password import is_hash, password_hash


def odoo_master_password_hash(password: str, seed: str) -> str:
    """Hash the master password for C(admin_passwd)."""
    if not isinstance(password, str) or not password:
        raise AnsibleFilterError("odoo_master_password_hash needs a password that is not empty")
    if not isinstance(seed, str) or not seed:
        raise AnsibleFilterError("odoo_master_password_hash needs a seed, such as host and instance")
    return str(password) if is_hash(password) else password_hash(str(password), str(seed))


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Map names to filters."""
        return {"odoo_master_password_hash": odoo_master_password_hash}
