# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which backups to keep and which to drop, such that the last good one is never dropped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta, timezone
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

# A clock may be that much behind the one that made the newest backup.
SKEW = timedelta(minutes=10)
# Nobody lets that much time pass without a backup; a clock that was set forward does.
LONGEST_PAUSE = timedelta(days=40)


@dataclass(frozen=True)
class Backup:
    """One backup as retention sees it.

    :param good: whether its manifest calls it good.
    :param needs: labels of those without which it cannot be restored.
    :param verified: what the last look at it said; None where nobody looked.
    """

    label: str
    time: datetime
    good: bool
    needs: tuple[str, ...] = ()
    verified: bool | None = None


@dataclass(frozen=True)
class Policy:
    """How much to keep.

    :param within_hours: every good backup of that many hours.
    :param hourly: the newest good one of each of that many hours back from now.
    :param daily: the newest good one of each of the last so many days that have one, however long ago they are.
    :param weekly: the same with ISO weeks.
    :param monthly: the same with months.
    """

    within_hours: int = 24
    hourly: int = 168
    daily: int = 7
    weekly: int = 4
    monthly: int = 12

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Policy:
        """From the configuration.

        :raises SlipwayError: an unknown name, or a value that is no whole number from 0 up.
        """
        known = [item.name for item in fields(cls)]
        for name, value in given.items():
            if name not in known:
                raise SlipwayError(f"retention has no {name}. It has {', '.join(known)}")
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise SlipwayError(f"retention: {name} is {value!r}, and should be a whole number from 0 up")
        return cls(**given)


@dataclass(frozen=True)
class Decision:
    """What to do.

    :param keep: label -> why, at least one reason each.
    :param drop: labels, those that need others before those that they need.
    :param refused: why nothing is dropped although something might be.
    """

    keep: dict[str, list[str]] = field(default_factory=dict)
    drop: list[str] = field(default_factory=list)
    refused: str | None = None


def usable(backups: Iterable[Backup]) -> set[str]:
    """Labels of those that can be restored: good, not refuted, and all that they need is there and is so too."""
    known = {backup.label: backup for backup in backups}
    sound = {label for label, backup in known.items() if backup.good and backup.verified is not False}
    return {label for label in sound if _closure(label, known) <= sound}


def decide(backups: Iterable[Backup], policy: Policy, now: datetime) -> Decision:
    """Say which backups of one kind to keep and which to drop.

    Kept whatever the policy says: the newest good one, the newest verified one, all that is newer than the newest good
    one, all that is dated in the future, and all that any of these need. Bad ones that are older are dropped.

    :param backups: of one kind, in any order.
    :raises ValueError: two backups have the same label.
    """
    listed = sorted(backups, key=lambda backup: (backup.time, backup.label))
    known = {backup.label: backup for backup in listed}
    if len(known) != len(listed):
        raise ValueError("two backups have the same label")
    if not listed:
        return Decision()
    fit = usable(listed)
    refused = _refusal(listed, fit, now)
    if refused:
        return Decision(keep={label: [refused] for label in known}, refused=refused)

    reasons: dict[str, list[str]] = {label: [] for label in known}
    past = [backup for backup in listed if backup.time <= now]
    _keep_always(past, fit, reasons)
    for backup in listed:
        if backup.time > now:
            reasons[backup.label].append("dated in the future: did a clock jump?")
    _keep_by_policy([backup for backup in past if backup.label in fit], policy, now, reasons)
    for label in [label for label, found in reasons.items() if found]:
        for needed in sorted(_closure(label, known) & known.keys()):
            reasons[needed].append(f"needed by {label}")

    dropped = [label for label, found in reasons.items() if not found]
    # Whatever needs another one has a larger closure than that one.
    dropped.sort(key=lambda label: len(_closure(label, known)), reverse=True)
    return Decision(keep={label: found for label, found in reasons.items() if found}, drop=dropped)


def _closure(label: str, known: Mapping[str, Backup]) -> set[str]:
    """All that a backup needs, directly or not, itself left out; also what is not there."""
    found: set[str] = set()
    todo = [label]
    while todo:
        backup = known.get(todo.pop())
        new = set(backup.needs) - found if backup else set()
        found |= new
        todo += new
    return found - {label}


def _refusal(listed: list[Backup], fit: set[str], now: datetime) -> str | None:
    newest = listed[-1]
    if newest.time - now > SKEW:
        return (
            f"Nothing is dropped: it is {_shown(now)} here, and backup {newest.label} is dated {_shown(newest.time)}. "
            "Set the clock right."
        )
    if now - newest.time > LONGEST_PAUSE:
        return (
            f"Nothing is dropped: the newest backup, {newest.label}, is dated {_shown(newest.time)}, which is "
            f"{(now - newest.time).days} days ago. Either the clock is wrong or backups have ceased; the next good "
            "backup ends this."
        )
    if not fit:
        return "Nothing is dropped: there is no good backup at all. The next good backup ends this."
    if not any(backup.label in fit and backup.time <= now for backup in listed):
        return "Nothing is dropped: all good backups are dated in the future. Set the clock right."
    return None


def _keep_always(past: list[Backup], fit: set[str], reasons: dict[str, list[str]]) -> None:
    newest = [backup for backup in past if backup.label in fit][-1]
    reasons[newest.label].append("the newest good one")
    verified = [backup for backup in past if backup.good and backup.verified]
    if verified:
        reasons[verified[-1].label].append("the newest verified one")
    for backup in past:
        if backup.time >= newest.time and backup.label not in fit:
            reasons[backup.label].append("not good, newer than the newest good one: kept for diagnosis")


def _keep_by_policy(good: list[Backup], policy: Policy, now: datetime, reasons: dict[str, list[str]]) -> None:
    """Apply the counts to good backups, oldest first."""
    for backup in good:
        if now - backup.time <= timedelta(hours=policy.within_hours):
            reasons[backup.label].append(f"within {policy.within_hours} hours")
    recent = [backup for backup in good if now - backup.time <= timedelta(hours=policy.hourly)]
    for slot, label in _newest_of_each(recent, "hour %Y-%m-%d %H").items():
        reasons[label].append(slot)
    for count, pattern in (
        (policy.daily, "day %Y-%m-%d"),
        (policy.weekly, "week %G-W%V"),
        (policy.monthly, "month %Y-%m"),
    ):
        slots = _newest_of_each(good, pattern)
        for slot in list(slots)[max(len(slots) - count, 0) :]:
            reasons[slots[slot]].append(slot)


def _newest_of_each(good: list[Backup], pattern: str) -> dict[str, str]:
    """Slot of time -> label of its newest backup, oldest slot first."""
    name: Callable[[datetime], str] = lambda moment: moment.astimezone(timezone.utc).strftime(pattern)  # noqa: E731
    return {name(backup.time): backup.label for backup in good}


def _shown(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
