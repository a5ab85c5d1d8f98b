"""What is done to a deleted or overwritten object."""

from __future__ import annotations

import datetime

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils import backup_undelete
from ansible_collections.slipway.odoo.plugins.module_utils.backup_undelete import Entry, decide

NOON = datetime.datetime(2026, 11, 25, 12, tzinfo=datetime.UTC)


def at(minutes: float) -> datetime.datetime:
    return NOON + datetime.timedelta(minutes=minutes)


def history(*described: str) -> list[Entry]:
    """`v-5` is a version of five minutes before noon, `m3` a delete marker of three after it; the last is latest."""
    return [
        Entry(
            version=text, time=at(float(text[1:])), latest=place == len(described) - 1, marker=text[0] == "m", size=1,
            etag=text,
        )
        for place, text in enumerate(described)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("described", "kind", "target"),
    [
        (["v-5"], "unchanged", "v-5"),
        (["v-5", "m3"], "revive", "v-5"),
        (["v-5", "m3", "m4"], "revive", "v-5"),
        (["v-5", "v3"], "copy", "v-5"),
        (["v-5", "v3", "m4"], "copy", "v-5"),
        (["v-5", "m3", "v4"], "copy", "v-5"),
        (["v-9", "v-5", "m3"], "revive", "v-5"),
        (["v3"], "newer", None),
        (["v3", "m4"], "absent", None),
        (["v-5", "m-3"], "absent", None),
        (["v-5", "m-3", "v3"], "newer", None),
        (["v0"], "unchanged", "v0"),
    ],
)
def test_decision(described: list[str], kind: str, target: str | None) -> None:
    action = decide("key", reversed(history(*described)), NOON)
    assert action.kind == kind
    assert (action.target.version if action.target else None) == target


def test_all_later_markers_are_to_go() -> None:
    assert decide("key", history("v-5", "m3", "m4"), NOON).markers == ("m4", "m3")


def test_without_a_time_only_deletions_are_undone() -> None:
    assert decide("key", history("v-5", "v3"), None).kind == "unchanged"
    action = decide("key", history("v-5", "v3", "m4"), None)
    assert (action.kind, action.target and action.target.version) == ("revive", "v3")
    assert decide("key", history("m4"), None).kind == "absent"


def test_same_content_is_unchanged() -> None:
    old, new = history("v-5", "v3")
    same = Entry(version="v3", time=new.time, latest=True, marker=False, size=1, etag=old.etag)
    assert decide("key", [old, same], NOON).kind == "unchanged"


def test_clock_of_an_honest_store() -> None:
    clock = backup_undelete.Clock()
    for _each in range(5):
        clock.look(history("v-5", "v3"))
    clock.look(history("v-5", "m-5"))
    assert not clock.wrong


def test_clock_that_gives_the_time_of_the_replacement() -> None:
    clock = backup_undelete.Clock()
    for _each in range(3):
        clock.look(history("v3", "v3"))
    assert clock.wrong


def test_marker_older_than_what_it_deleted_is_proof() -> None:
    clock = backup_undelete.Clock()
    clock.look(history("v3", "m-5"))
    assert clock.wrong
