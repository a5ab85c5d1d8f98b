# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What was seen of an instance's database, held against what the site wants, for people to read.

Takes the results of the modules ``odoo_module_info``, ``odoo_integrity_info`` and ``postgresql_index_info``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

SHOWN_FINDINGS = 20
"""Findings of one database that are spelled out; the rest is counted."""

Result = Mapping[str, Any]


def wanted_modules(instance: Mapping[str, Any], *, waves: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Modules that the site wants in an instance's database.

    :param waves: those of instances that name none of their own.
    """
    own = instance.get("module_waves")
    names = [*(instance.get("modules") or ())]
    for wave in waves if own is None else own:
        names += wave["modules"]
    return tuple(dict.fromkeys(names))


def faults(instance: Mapping[str, Any], results: Iterable[Result], *, waves: Sequence[Mapping[str, Any]]) -> list[str]:
    """Everything about one database that is not as it should be, as sentences.

    A result of check mode that only assumes something is passed over.
    """
    found: list[str] = []
    for result in results:
        if result.get("assumed"):
            continue
        if "modules" in result and "broken" in result:
            found += _absent_modules(wanted_modules(instance, waves=waves), result["modules"])
        if "findings" in result:
            found += _findings(result)
        if "in_order" in result:
            found += _indexes(result)
    return [f"{instance['name']}: {text}" for text in found]


def _absent_modules(names: Sequence[str], modules: Iterable[Mapping[str, Any]]) -> list[str]:
    states = {module["name"]: module["state"] for module in modules}
    return [
        f"module {name} is {states.get(name) or 'unknown to the database'}, not installed"
        for name in names
        if states.get(name) != "installed"
    ]


def _findings(result: Result) -> list[str]:
    texts = [f"{finding['what']}. {finding['remedy']}" for finding in result["findings"][:SHOWN_FINDINGS]]
    more = sum(result["counts"].values()) - len(texts)
    return [*texts, f"{more} more findings: see the module odoo_integrity_info"] if more > 0 else texts


def _indexes(result: Result) -> list[str]:
    texts = []
    for entry in result["missing"]:
        others = entry["equivalent"] or entry["covered_by"]
        stands_in = f" ({', '.join(others)} would do its work)" if others else ""
        texts.append(f"index {entry['name']} of table {entry['table']} is missing{stands_in}")
    texts += [f"index {entry['name']} of table {entry['table']} is invalid" for entry in result["invalid"]]
    for entry in result["mismatched"]:
        aspects = ", ".join(item["aspect"] for item in entry["differences"])
        texts.append(f"index {entry['name']} of table {entry['table']} differs in {aspects}: {entry['definition']}")
    return texts


def summary(results: Iterable[Result]) -> str:
    """How much was looked at, in one line."""
    parts = []
    for result in results:
        if result.get("assumed"):
            return "cannot be looked at yet"
        if "checked" in result:
            parts += [f"{number} {what.replace('_', ' ')}" for what, number in sorted(result["checked"].items())]
        if "in_order" in result:
            parts.append(f"{len(result['ok'])} expected indexes")
    return ", ".join(parts)
