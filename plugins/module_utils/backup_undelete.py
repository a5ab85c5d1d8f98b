# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What has to be done to a deleted or overwritten object so that it is again what it was at a time."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

UNCHANGED, REVIVE, COPY = "unchanged", "revive", "copy"
ABSENT, NEWER = "absent", "newer"

# Fewer histories than this say nothing about whether a store's times can be trusted.
ENOUGH_HISTORIES = 3
SAME_TIME = datetime.timedelta(seconds=1)


@dataclasses.dataclass(frozen=True)
class Entry:
    """A version of an object, or a delete marker."""

    version: str
    time: datetime.datetime
    latest: bool
    marker: bool
    size: int = 0
    etag: str = ""


@dataclasses.dataclass(frozen=True)
class Action:
    """What to do for one key."""

    key: str
    kind: str
    target: Entry | None = None
    latest: Entry | None = None
    markers: tuple[str, ...] = ()


def read_entries(page: Mapping[str, Any]) -> dict[str, list[Entry]]:
    """The entries of one page of a listing, by key."""
    found: dict[str, list[Entry]] = {}
    for marker, field in ((False, "Versions"), (True, "DeleteMarkers")):
        for item in page.get(field, []):
            entry = Entry(
                version=item["VersionId"],
                time=item["LastModified"],
                latest=bool(item.get("IsLatest")),
                marker=marker,
                size=int(item.get("Size", 0)),
                etag=str(item.get("ETag", "")),
            )
            found.setdefault(item["Key"], []).append(entry)
    return found


def newest_first(entries: Iterable[Entry]) -> list[Entry]:
    """Sort a history; a deletion in the same instant as a version came after it."""
    return sorted(entries, key=lambda entry: (entry.latest, entry.time, entry.marker), reverse=True)


def decide(key: str, entries: Iterable[Entry], time: datetime.datetime | None) -> Action:
    """Decide for one key; without a time only a deletion is undone."""
    history = newest_first(entries)
    latest = history[0]
    if time is None:
        if not latest.marker:
            return Action(key, UNCHANGED, latest, latest)
        position = next((place for place, entry in enumerate(history) if not entry.marker), None)
    else:
        position = next((place for place, entry in enumerate(history) if entry.time <= time), None)
    if position is None:
        return Action(key, ABSENT if latest.marker else NEWER, None, latest)
    target, later = history[position], history[:position]
    if target.marker:
        return Action(key, ABSENT if latest.marker else NEWER, None, latest)
    if not later or (not latest.marker and latest.etag == target.etag and latest.size == target.size):
        return Action(key, UNCHANGED, target, latest)
    if all(entry.marker for entry in later):
        return Action(key, REVIVE, target, latest, tuple(entry.version for entry in later))
    return Action(key, COPY, target, latest)


class Clock:
    """Finds out whether a store gives older versions the time of their replacement.

    versitygw does, and gives a delete marker the time of what it deleted: older versions look newer than the latest.
    """

    def __init__(self) -> None:
        self.histories = 0
        self.alike = 0
        self.inverted = 0

    def look(self, entries: Sequence[Entry]) -> None:
        """Take the history of one key into account."""
        history = newest_first(entries)
        if len(history) < 2 or history[1].marker:
            return
        passed = history[0].time - history[1].time
        self.histories += 1
        self.alike += passed <= SAME_TIME
        self.inverted += passed < -SAME_TIME

    @property
    def wrong(self) -> bool:
        """Whether the times cannot be the versions' own."""
        return self.inverted > 0 or (self.histories >= ENOUGH_HISTORIES and self.alike * 10 >= self.histories * 9)
