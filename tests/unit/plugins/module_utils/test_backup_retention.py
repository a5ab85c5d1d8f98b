"""Retention: tables of histories, and what holds for every history."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils.backup_retention import Backup, Policy, decide, usable
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from hypothesis import given, settings
from hypothesis import strategies as st

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
NOTHING = Policy(within_hours=0, hourly=0, daily=0, weekly=0, monthly=0)


def made(label, hours, *, good=True, needs=(), verified=None):
    """Return a backup made that many hours before NOW."""
    return Backup(label, NOW - timedelta(hours=hours), good, tuple(needs), verified)


def dropped(backups, policy=NOTHING, now=NOW):
    decision = decide(backups, policy, now)
    assert decision.refused is None
    return decision.drop


@pytest.mark.parametrize(
    ("backups", "drop"),
    [
        ([], []),
        ([made("a", 1)], []),
        ([made("a", 2), made("b", 1)], ["a"]),
        # What a kept one needs stays, through the whole chain.
        ([made("f", 9), made("d", 5, needs=["f"]), made("i", 1, needs=["d"])], []),
        ([made("f", 9), made("d", 5, needs=["f"]), made("i", 1, needs=["f"])], ["d"]),
        # Those that need others are dropped first, however the clock ran.
        ([made("f", 7), made("d", 8, needs=["f"]), made("i", 9, needs=["d", "f"]), made("g", 1)], ["i", "d", "f"]),
        # Bad ones: the newer for diagnosis, the older not.
        ([made("old", 9, good=False), made("a", 5), made("new", 1, good=False)], ["old"]),
        # The newest verified one stays, one that was refuted does not count as good.
        ([made("v", 9, verified=True), made("a", 5), made("b", 1)], ["a"]),
        ([made("a", 9), made("b", 5), made("c", 1, verified=False)], ["a"]),
        ([made("a", 9), made("b", 5, verified=False), made("c", 1)], ["a", "b"]),
        # A chain with a broken or missing link is not good.
        ([made("g", 9), made("f", 5, good=False), made("d", 1, needs=["f"])], []),
        ([made("g", 9), made("d", 1, needs=["gone"])], []),
        # Dated a little ahead: kept, and not counted on.
        ([made("a", 2), made("b", 1), made("c", -0.1)], ["a"]),
    ],
)
def test_what_is_never_dropped(backups, drop):
    assert dropped(backups) == drop


@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        (Policy(within_hours=3, hourly=0, daily=0, weekly=0, monthly=0), 4),
        (Policy(within_hours=0, hourly=6, daily=0, weekly=0, monthly=0), 7),
        (Policy(within_hours=0, hourly=0, daily=7, weekly=0, monthly=0), 7),
        (Policy(within_hours=0, hourly=0, daily=0, weekly=4, monthly=0), 4),
        (Policy(within_hours=0, hourly=0, daily=0, weekly=0, monthly=2), 2),
        (NOTHING, 1),
    ],
)
def test_counts(policy, kept):
    hours = [made(f"{hour:04}", hour) for hour in range(24 * 60)]
    assert len(decide(hours, policy, NOW).keep) == kept


def test_the_default_policy():
    quarters = [made(f"{number:05}", number / 4) for number in range(4 * 24 * 100)]
    decision = decide(quarters, Policy(), NOW)
    assert len([why for why in decision.keep.values() if "within 24 hours" in why]) == 97
    assert 97 + 168 - 24 <= len(decision.keep) <= 97 + 168 - 24 + 4 + 4 + 2
    assert decision.keep["00000"][:2] == ["the newest good one", "within 24 hours"]


def test_a_pause_does_not_empty_it():
    days = [made(f"d{day}", 24 * (day + 30)) for day in range(30)]
    decision = decide(days, Policy(within_hours=24, hourly=168, daily=7, weekly=0, monthly=0), NOW)
    assert sorted(decision.keep) == [f"d{day}" for day in range(7)]


def test_reasons():
    backups = [made("f", 30), made("d", 1, needs=["f"]), made("x", 0.5, good=False), made("t", -0.1)]
    keep = decide(backups, Policy(0, 2, 1, 1, 1), NOW).keep
    assert keep == {
        "f": ["needed by d"],
        "d": ["the newest good one", "hour 2026-11-25 11", "day 2026-11-25", "week 2026-W48", "month 2026-11"],
        "x": ["not good, newer than the newest good one: kept for diagnosis"],
        "t": ["dated in the future: did a clock jump?"],
    }


@pytest.mark.parametrize(
    ("backups", "words"),
    [
        ([made("a", 9, good=False), made("b", 5, good=False)], "no good backup at all"),
        ([made("a", 9, verified=False)], "no good backup at all"),
        ([made("a", 9), made("b", 5), made("c", -0.2)], "Set the clock right"),
        ([made("a", 9, good=False), made("c", -0.1)], "dated in the future"),
        ([made("a", 24 * 50), made("b", 24 * 41)], "41 days ago"),
    ],
)
def test_refusals(backups, words):
    decision = decide(backups, NOTHING, NOW)
    assert words in decision.refused
    assert decision.drop == []
    assert set(decision.keep) == {backup.label for backup in backups}


def test_labels_are_unique():
    with pytest.raises(ValueError, match="same label"):
        decide([made("a", 1), made("a", 2)], NOTHING, NOW)


def test_policy_of_configuration():
    assert Policy.of({"daily": 3}) == Policy(daily=3)
    for given_policy in ({"yearly": 1}, {"daily": -1}, {"daily": "7"}, {"daily": True}):
        with pytest.raises(SlipwayError, match="retention"):
            Policy.of(given_policy)


@st.composite
def histories(draw):
    """Draw backups, mostly of the past, where each may need any earlier drawn one."""
    backups = []
    for number in range(draw(st.integers(0, 12))):
        needs = draw(st.lists(st.sampled_from([*(item.label for item in backups), "gone"]), max_size=2, unique=True))
        backups.append(
            Backup(
                label=f"b{number}",
                time=NOW - timedelta(minutes=draw(st.integers(-12, 60 * 24 * 45))),
                good=draw(st.booleans()),
                needs=tuple(needs) if draw(st.booleans()) else (),
                verified=draw(st.sampled_from([None, True, False])),
            )
        )
    return draw(st.permutations(backups))


COUNTS = st.integers(0, 5)
POLICIES = st.builds(Policy, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)


@settings(max_examples=300)
@given(histories(), POLICIES)
def test_for_every_history(backups, policy):
    known = {backup.label: backup for backup in backups}
    decision = decide(backups, policy, NOW)
    # Each one is either kept, for a reason, or dropped.
    assert sorted([*decision.keep, *decision.drop]) == sorted(known)
    assert all(decision.keep.values())
    assert not (decision.refused and decision.drop)
    # What a kept one needs is kept.
    assert not {need for label in decision.keep for need in known[label].needs} & set(decision.drop)
    # The last good one is kept, the last verified one, and all that is newer.
    fit = usable(backups)
    for candidates in (
        [item for item in backups if item.label in fit],
        [item for item in backups if item.label in fit and item.time <= NOW],
        [item for item in backups if item.good and item.verified],
    ):
        newest = max((item.time for item in candidates), default=None)
        assert not candidates or any(item.time == newest and item.label in decision.keep for item in candidates)
    for label in decision.drop:
        assert any(known[good].time >= known[label].time for good in fit & set(decision.keep))
    # At each moment of dropping one by one, nothing is left whose need is gone.
    left = set(known)
    for label in decision.drop:
        left.remove(label)
        assert not [other for other in left if label in known[other].needs]
    # A second run drops nothing more.
    again = decide([item for item in backups if item.label in decision.keep], policy, NOW)
    assert again.drop == []


@settings(max_examples=200)
@given(histories(), POLICIES, st.sampled_from(["within_hours", "hourly", "daily", "weekly", "monthly"]), COUNTS)
def test_more_is_more(backups, policy, name, extra):
    larger = Policy(**{**policy.__dict__, name: getattr(policy, name) + extra})
    assert set(decide(backups, policy, NOW).keep) <= set(decide(backups, larger, NOW).keep)


@settings(max_examples=200)
@given(histories(), POLICIES, st.integers(0, 60 * 24 * 60))
def test_time_brings_nothing_back(backups, policy, minutes):
    later = decide(backups, policy, NOW + timedelta(minutes=minutes))
    if not later.refused:
        assert set(later.keep) <= set(decide(backups, policy, NOW).keep)


@given(histories(), POLICIES)
def test_order_does_not_matter(backups, policy):
    assert decide(backups, policy, NOW) == decide(list(reversed(backups)), policy, NOW)
