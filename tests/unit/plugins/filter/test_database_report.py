from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.slipway.odoo.plugins.filter.database_report import database_faults, database_summary

MAIN = {"name": "main", "modules": ["base"], "module_waves": None}
WAVES = [{"name": "first", "modules": ["crm"]}]
GOOD_MODULES = [{"name": "base", "state": "installed"}, {"name": "crm", "state": "installed"}]


def modules(*entries: dict[str, Any], instance: str = "main") -> dict[str, Any]:
    return {"item": {"name": instance}, "modules": list(entries), "broken": []}


def integrity(*whats: str, count: int | None = None) -> dict[str, Any]:
    findings = [{"what": what, "remedy": "Mend it"} for what in whats]
    counts = {"menus": len(whats) if count is None else count}
    return {"item": {"name": "main"}, "findings": findings, "counts": counts, "checked": {"menus": 41, "xmlids": 9}}


def indexes(**lists: list[dict[str, Any]]) -> dict[str, Any]:
    empty: dict[str, Any] = {"missing": [], "invalid": [], "mismatched": [], "ok": []}
    return {"item": {"name": "main"}, "in_order": not lists, **empty, **lists}


def test_what_is_in_order_has_no_faults() -> None:
    seen = [modules(*GOOD_MODULES), integrity(), indexes()]
    assert database_faults([MAIN], seen, WAVES) == []


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (modules({"name": "base", "state": "installed"}), "main: module crm is unknown to the database, not installed"),
        (
            modules({"name": "base", "state": "installed"}, {"name": "crm", "state": "to upgrade"}),
            "main: module crm is to upgrade, not installed",
        ),
        (integrity("Menu 'X' leads nowhere"), "main: Menu 'X' leads nowhere. Mend it"),
        (
            indexes(missing=[{"name": "i", "table": "t", "equivalent": [], "covered_by": []}]),
            "main: index i of table t is missing",
        ),
        (
            indexes(missing=[{"name": "i", "table": "t", "equivalent": ["j"], "covered_by": []}]),
            "main: index i of table t is missing (j would do its work)",
        ),
        (indexes(invalid=[{"name": "i", "table": "t"}]), "main: index i of table t is invalid"),
        (
            indexes(
                mismatched=[{"name": "i", "table": "t", "differences": [{"aspect": "where"}], "definition": "CREATE …"}]
            ),
            "main: index i of table t differs in where: CREATE …",
        ),
    ],
)
def test_each_fault_is_one_sentence(result: dict[str, Any], text: str) -> None:
    assert database_faults([MAIN], [result], WAVES) == [text]


def test_an_instance_has_its_own_waves_and_its_own_results() -> None:
    shop = {"name": "shop", "modules": ["base"], "module_waves": []}
    seen = [modules(*GOOD_MODULES), modules({"name": "base", "state": "installed"}, instance="shop")]
    assert database_faults([MAIN, shop], seen, WAVES) == []


def test_findings_beyond_the_shown_ones_are_counted() -> None:
    found = database_faults([MAIN], [integrity(*(f"f{number}" for number in range(30)), count=45)], WAVES)
    assert len(found) == 21
    assert found[-1] == "main: 25 more findings: see the module odoo_integrity_info"


def test_what_check_mode_could_not_see_is_no_fault() -> None:
    assumed = {"item": {"name": "main"}, "assumed": True, "changed": False}
    assert database_faults([MAIN], [assumed], WAVES) == []
    assert database_summary([MAIN], [assumed]) == ["main: cannot be looked at yet"]


def test_the_summary_says_how_much_was_seen() -> None:
    seen = [modules(*GOOD_MODULES), integrity(), indexes(ok=[{"name": "i"}])]
    assert database_summary([MAIN], seen) == ["main: 41 menus, 9 xmlids, 1 expected indexes"]
