"""What a bucket is to be like, compared with what it is like."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils import backup_store
from ansible_collections.slipway.odoo.plugins.module_utils.backup_store import Found, Wanted

ALL_WANTED = dict.fromkeys(backup_store.CAPABILITIES, backup_store.WANTED)


def wanted(**need: str) -> Wanted:
    return Wanted(need={**ALL_WANTED, **need})


def complete(**values: Any) -> Found:
    settings: dict[str, Any] = {
        "versioning": "Enabled",
        "object_lock": {"mode": "governance", "days": 14},
        "lifecycle": (backup_store.lifecycle_rule(wanted()),),
        "encryption": "AES256",
        **values,
    }
    return Found(exists=True, **settings)


def names(steps: list[backup_store.Step]) -> list[str]:
    return [step.what for step in steps]


def test_complete_bucket_needs_nothing() -> None:
    assert backup_store.plan(wanted(), complete()) == []
    judgement = backup_store.judge(wanted(), complete())
    assert all(judgement.capabilities.values())
    assert (judgement.lacks, judgement.faults) == ([], [])


def test_missing_bucket_is_made_with_lock() -> None:
    steps = backup_store.plan(wanted(), Found())
    assert names(steps) == ["bucket", *backup_store.CAPABILITIES]
    assert steps[0].value is True
    assert backup_store.plan(wanted(), backup_store.after(Found(), steps)) == []


def test_what_is_off_is_left_alone() -> None:
    off = dict.fromkeys(backup_store.CAPABILITIES, backup_store.OFF)
    assert backup_store.plan(Wanted(need=off), Found(exists=True)) == []
    assert backup_store.judge(Wanted(need=off), Found(exists=True)).lacks == []
    assert backup_store.plan(Wanted(need=off), Found())[0].value is False


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"versioning": "Suspended"}, ["versioning"]),
        ({"object_lock": {"mode": "governance", "days": 13}}, ["object_lock"]),
        ({"object_lock": {"mode": "compliance", "days": 14}}, ["object_lock"]),
        ({"lifecycle": ()}, ["lifecycle"]),
        ({"encryption": None}, ["encryption"]),
        ({"encryption": "aws:kms"}, []),
    ],
)
def test_only_what_differs_is_set(values: dict[str, Any], expected: list[str]) -> None:
    assert names(backup_store.plan(wanted(), complete(**values))) == expected


def test_rules_of_others_stay() -> None:
    other = {"ID": "logs", "Status": "Enabled"}
    old = backup_store.lifecycle_rule(Wanted(need=ALL_WANTED, noncurrent_days=5))
    (step,) = backup_store.plan(wanted(), complete(lifecycle=(other, old)))
    assert step.value == [other, backup_store.lifecycle_rule(wanted())]


@pytest.mark.parametrize("change", [{"Status": "Disabled"}, {"NoncurrentVersionExpiration": {"NoncurrentDays": 1}}])
def test_changed_rule_is_set_again(change: dict[str, Any]) -> None:
    rule = {**backup_store.lifecycle_rule(wanted()), **change}
    assert names(backup_store.plan(wanted(), complete(lifecycle=(rule,)))) == ["lifecycle"]


def test_part_that_the_store_leaves_out_is_said_and_not_tried_again() -> None:
    rule = backup_store.lifecycle_rule(wanted())
    del rule["AbortIncompleteMultipartUpload"]
    assert backup_store.plan(wanted(), complete(lifecycle=(rule,))) == []
    (sentence,) = backup_store.judge(wanted(), complete(lifecycle=(rule,))).lacks
    assert "broken off" in sentence


def test_unsupported_is_not_tried_and_said() -> None:
    found = complete(
        lifecycle=(), encryption=None, unsupported={"lifecycle": "501 NotImplemented", "encryption": "501"}
    )
    assert backup_store.plan(wanted(), found) == []
    judgement = backup_store.judge(wanted(), found)
    assert len(judgement.lacks) == 2
    assert "501 NotImplemented" in judgement.lacks[0]
    assert judgement.faults == []
    assert len(backup_store.judge(wanted(lifecycle="required"), found).faults) == 1


def test_contradictions_are_faults() -> None:
    assert wanted().faults() == []
    assert len(wanted(versioning="off").faults()) == 1
    assert len(Wanted(need=ALL_WANTED, lock_days=0, noncurrent_days=0).faults()) == 2
