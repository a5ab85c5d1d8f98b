# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters ``backup_report`` (the backups of a host in words) and ``backup_limits`` (what they are judged by)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.slipway.odoo.plugins.module_utils import backup_report as reports
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError


def backup_report(kinds: Any, expected: Sequence[str] = ()) -> list[str]:
    """Return lines on the backups of one host, as ``backup_info`` returns them for its prefix.

    :param expected: kinds that the host should have
    :raises AnsibleFilterError: when it is nothing that ``backup_info`` returns
    """
    if not isinstance(kinds, Mapping):
        raise AnsibleFilterError("backup_report: this is not what backup_info returns: no mapping by kind")
    try:
        return reports.lines(kinds, expected)
    except (AttributeError, KeyError, TypeError) as error:
        raise AnsibleFilterError(f"backup_report: this is not what backup_info returns: {error!r}") from error


def backup_limits(health: Any) -> dict[str, Any]:
    """Return the options of ``backup_info`` for a site's ``backup_health``.

    :raises AnsibleFilterError: when it has an unknown name, or a value that is no number
    """
    if not isinstance(health, Mapping):
        raise AnsibleFilterError("backup_limits: backup_health is a mapping of limits")
    try:
        return reports.limits(health)
    except SlipwayError as error:
        raise AnsibleFilterError(f"backup_limits: backup_health: {error}") from error


class FilterModule:
    """What ansible-core looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"backup_report": backup_report, "backup_limits": backup_limits}
