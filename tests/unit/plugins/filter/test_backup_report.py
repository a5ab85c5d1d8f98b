"""What the report on backups says of manifests, and by which limits it has them judged."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.slipway.odoo.plugins.filter.backup_report import FilterModule
from ansible_collections.slipway.odoo.plugins.modules import backup_info

FILTERS = FilterModule().filters()
limits, report = FILTERS["backup_limits"], FILTERS["backup_report"]


def test_limits_are_those_of_the_health_check() -> None:
    assert limits({}) == {
        "max_age": {"database": 26, "files": 1, "dump": 192},
        "size_min_factor": 0.5,
        "size_max_factor": 3.0,
        "require_verified_days": 8,
    }


def test_limits_that_a_site_names() -> None:
    health = {"max_age_s": {"files": 7200, "database/full": 691200}, "size_max_factor": 5, "verify_age_s": 43200}
    given = {**health, "wal_ready_files": 10}
    assert limits(given) == {
        "max_age": {"database": 26, "files": 2, "dump": 192, "database/full": 192},
        "size_min_factor": 0.5,
        "size_max_factor": 5,
        "require_verified_days": 0.5,
    }
    # As the module takes them.
    backup_info.check_params({"prefixes": ["demo/db1"], "newest": 1, **limits(given)})


@pytest.mark.parametrize("health", [{"max_age": {}}, {"max_age_s": 3}, {"size_max_factor": "big"}, [], None, "x"])
def test_limits_that_are_none_are_refused(health: Any) -> None:
    with pytest.raises(AnsibleFilterError, match="backup_health"):
        limits(health)


def backup(label: str, age_s: int, type_: str = "", **more: Any) -> dict[str, Any]:
    return {
        "label": label,
        "type": type_,
        "time": "2026-11-25T12:00:04Z",
        "age_s": age_s,
        "size_bytes": 85_000_000,
        "stored_bytes": 9_000_000,
        "good": True,
        "faults": [],
        "verified": None,
        "verified_time": None,
        **more,
    }


def known(last: dict[str, Any] | None, *others: dict[str, Any], **more: Any) -> dict[str, Any]:
    good = [one for one in (last, *others) if one]
    return {
        "last_good": last,
        "last_good_by_type": {one["type"]: one for one in good},
        "count": len(good),
        "bad": [],
        "size_trend": {"last": 85_000_000, "count": 9, "median": 80_000_000.0, "ratio": 1.0625} if last else None,
        "last_verified": None,
        **more,
    }


VERIFIED = {"verified": True, "verified_time": "2026-11-24T05:00:00Z"}


def test_database() -> None:
    full = backup("20261122-013000F", 3 * 86400, "full", **VERIFIED)
    diff = backup("20261122-013000F_20261125-013000D", 7300, "diff")
    line, types = report({"database": known(diff, full, last_verified=full)}, ["database"])
    assert line == (
        "database: 20261122-013000F_20261125-013000D (diff), 2 hours ago (2026-11-25T12:00:04Z), of 85.0 MB, 9.0 MB of "
        "it new in the store; 1.06 times the median of the 9 before; not verified yet, the last that is: "
        "20261122-013000F, on 2026-11-24T05:00:00Z; 2 good"
    )
    assert types == "database: the last full 3 days ago, the last diff 2 hours ago"


def test_files_that_are_verified() -> None:
    last = backup("20261125-120000", 300, **VERIFIED)
    (line,) = report(
        {"files": known(last, size_trend={"last": 1, "count": 0, "median": None, "ratio": None})}, ["files"]
    )
    assert line == (
        "files: 20261125-120000, 5 minutes ago (2026-11-25T12:00:04Z), of 85.0 MB, 9.0 MB of it new in the store; none "
        "to compare its size with; verified on 2026-11-24T05:00:00Z; 1 good"
    )


def test_none_is_verified() -> None:
    assert "; never was one verified; " in report({"files": known(backup("a", 300))}, ["files"])[0]


def test_bad_ones_are_named_newest_first_and_not_all_of_them() -> None:
    bad = [backup(f"bad{n}", 100, good=False, faults=[f"fault {n}", "another"]) for n in range(5)]
    bad[4]["faults"] = []
    assert report({"dump": known(None, bad=bad)}, ["dump"]) == [
        "dump: no good backup; 5 bad",
        "dump: bad4 is bad: no reason given",
        "dump: bad3 is bad: fault 3 another",
        "dump: bad2 is bad: fault 2 another",
        "dump: and 2 older ones are bad",
    ]
    assert report({"dump": known(backup("a", 1), bad=bad[:1])}, [])[0].endswith("; 1 good, 1 bad")


def test_kinds_that_there_are_none_of_and_that_nobody_expects() -> None:
    lines = report({"files": known(backup("a", 1))}, ["database", "dump"])
    assert [line.split(",")[0] for line in lines] == [
        "database: none was ever made",
        "dump: none was ever made",
        "files: a",
    ]
    assert report({}, []) == []


@pytest.mark.parametrize("kinds", [None, [], {"files": {}}, {"files": {"last_good": {}}}])
def test_what_backup_info_did_not_return_is_refused(kinds: Any) -> None:
    with pytest.raises(AnsibleFilterError, match="backup_info"):
        report(kinds, ["files"])
