# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter ``postgresql_tuning``: settings of a PostgreSQL server from the size of its host."""

from __future__ import annotations

from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.slipway.odoo.plugins.module_utils.postgresql_tuning import postgresql_tuning as tuning


def postgresql_tuning(
    memory_mb: int, cores: int, connections: int, storage: str = "ssd", version: int = 17
) -> dict[str, str]:
    """Return the settings, see the module_utils of the same name.

    :raises AnsibleFilterError: when a value is out of its range, or the memory too little for the connections
    """
    try:
        return tuning(memory_mb=memory_mb, cores=cores, connections=connections, storage=storage, version=version)
    except ValueError as error:
        raise AnsibleFilterError(f"postgresql_tuning: {error}") from error


class FilterModule:
    """What ansible-core looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"postgresql_tuning": postgresql_tuning}
