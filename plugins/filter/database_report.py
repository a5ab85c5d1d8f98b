# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters ``database_faults`` and ``database_summary``: what the verify stage says of the databases."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils import database_report

LoopResult = Mapping[str, Any]


def _of(instance: Mapping[str, Any], results: Iterable[LoopResult]) -> list[LoopResult]:
    return [result for result in results if result["item"]["name"] == instance["name"]]


def database_faults(
    instances: Sequence[Mapping[str, Any]], results: Sequence[LoopResult], waves: Sequence[Mapping[str, Any]]
) -> list[str]:
    """What is not in order in the databases of some instances.

    :param results: of loops over the instances, all in one list.
    :param waves: of modules, for instances that name none of their own.
    """
    found = []
    for instance in instances:
        found += database_report.faults(instance, _of(instance, results), waves=waves)
    return found


def database_summary(instances: Sequence[Mapping[str, Any]], results: Sequence[LoopResult]) -> list[str]:
    """How much was looked at in the databases of some instances, a line for each."""
    return [f"{instance['name']}: {database_report.summary(_of(instance, results))}" for instance in instances]


class FilterModule:
    """What ansible-core looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"database_faults": database_faults, "database_summary": database_summary}
