# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter ``postgresql_role_changes``: which roles must be written, with verifiers for passwords."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.slipway.odoo.plugins.module_utils import postgresql_scram

SALT_BYTES = 16


def postgresql_role_changes(
    wanted: Sequence[Mapping[str, Any]], current: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, str]]:
    """Return the roles that are missing, have another password, or other attributes than an application needs.

    :param wanted: roles with ``name``, ``password`` and optionally ``state``; absent ones are passed over
    :param current: what the server has by name: ``verifier`` (``rolpassword``) and ``attributes`` (are they right)
    :returns: ``name`` and ``verifier`` of each role to write; the verifier is the present one while it still matches
    :raises AnsibleFilterError: when a role has no password
    """
    changes = []
    for role in wanted:
        if role.get("state", "present") == "absent":
            continue
        name, password = role["name"], role.get("password")
        if not isinstance(password, str) or not password:
            raise AnsibleFilterError(f"postgresql_role_changes: role {name} needs a password (text)")
        had = current.get(name)
        if had is not None and postgresql_scram.matches(password=password, stored=had["verifier"]):
            if not had["attributes"]:
                changes.append({"name": name, "verifier": had["verifier"]})
        else:
            salt = os.urandom(SALT_BYTES)
            changes.append({"name": name, "verifier": postgresql_scram.verifier(password=password, salt=salt)})
    return changes


class FilterModule:
    """What ansible-core looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"postgresql_role_changes": postgresql_role_changes}
