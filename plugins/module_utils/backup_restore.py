# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a restore takes: the point that is wanted, the backup to begin with, the WAL, and the snapshots of files.

Nothing here reads or writes.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

LATEST, LABEL, TIME = "latest", "label", "time"

FORM = "`latest`, the label of a backup, or a time with its zone such as 2026-11-25T14:03:21+01:00"

#: Two clocks of one site may differ by that much.
SKEW = timedelta(seconds=5)

SEGMENTS_PER_FILE = 0x100
"""WAL segments of 16 MiB in 4 GiB, by which their names count."""

_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?\s*(Z|z|[+-]\d\d(?::?\d\d)?|UTC)?", re.ASCII
)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_NEVER = datetime.max.replace(tzinfo=timezone.utc)
_HISTORY = re.compile(r"[0-9A-F]{8}\.history", re.ASCII)
_SEGMENT = re.compile(r"([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})", re.ASCII)


# ---- the wanted point


@dataclasses.dataclass(frozen=True)
class Point:
    """What is wanted: the newest state, a backup, or a time in UTC."""

    kind: str
    label: str = ""
    time: datetime | None = None


def parse_point(text: Any, *, now: datetime, labels: Collection[str] | None = None) -> Point:
    """Read ``restore_to``.

    :param labels: of the backups that there are; None takes any label for known.
    :raises SlipwayError: neither of the three forms, a time without a zone or in the future, or an unknown label.
    """
    # YAML makes a time of an unquoted one.
    wanted = text.isoformat() if isinstance(text, datetime) else str(text).strip()
    if wanted.lower() == LATEST:
        return Point(LATEST)
    if not wanted:
        raise SlipwayError(f"Nothing says what to restore to: {FORM}")
    if labels is not None and wanted in labels:
        return Point(LABEL, label=wanted)
    if _DATE.match(wanted):
        moment = parse_time(wanted)
        if moment > now + SKEW:
            raise SlipwayError(
                f"{wanted} is in the future: it is {_shown(now)}. For the newest state that there is, say latest"
            )
        return Point(TIME, time=moment)
    if labels is None:
        return Point(LABEL, label=wanted)
    near = difflib.get_close_matches(wanted, sorted(labels), n=3, cutoff=0.5)
    newest = sorted(labels)[-3:]
    raise SlipwayError(
        f"There is no backup {wanted!r}. "
        + (f"Did you mean {' or '.join(near)}? " if near else "")
        + (f"The newest ones are {', '.join(newest)}. " if newest and not near else "" if near else "There is none. ")
        + f"It can be {FORM}"
    )


def parse_time(text: str) -> datetime:
    """Read a time of ISO 8601 that has a zone.

    :raises SlipwayError: anything else; a zone is never guessed at.
    """
    found = _TIME.fullmatch(text.strip())
    if not found:
        raise SlipwayError(f"{text!r} is no time: write it with its zone, such as 2026-11-25T14:03:21+01:00")
    year, month, day, hour, minute, second, part, zone = found.groups()
    if not zone:
        raise SlipwayError(
            f"{text!r} has no time zone, so that it could mean several moments: add Z for UTC, or +01:00"
        )
    try:
        moment = datetime(
            int(year),
            int(month),
            int(day),
            int(hour),
            int(minute),
            int(second or 0),
            int((part or "0").ljust(6, "0")[:6]),
        )
        return moment.replace(tzinfo=_zone(zone)).astimezone(timezone.utc)
    except (ValueError, OverflowError) as error:
        raise SlipwayError(f"{text!r} is no time: {error}") from None


def _zone(text: str) -> timezone:
    if text in ("Z", "z", "UTC"):
        return timezone.utc
    digits = text[1:].replace(":", "")
    hours, minutes = int(digits[:2]), int(digits[2:] or 0)
    if hours > 14 or minutes > 59:
        raise ValueError(f"there is no zone {text}")
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(offset if text[0] == "+" else -offset)


def target_text(moment: datetime) -> str:
    """A time as pgBackRest and PostgreSQL take it: ``2026-11-25 13:03:21.000000+00``."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f+00")


def _shown(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


# ---- the backup to begin with


@dataclasses.dataclass(frozen=True)
class Backup:
    """A backup of the database that pgBackRest has.

    :param stop: when it was complete; only what is later can be reached by replaying WAL.
    :param archive: directory of its WAL in the repository, such as ``17-1``.
    :param lsn: position that its fingerprint is of, where it has one, and ``lsn_time`` when that was.
    :param good: False where its manifest or a verification says so; ``faults`` are what they name.
    """

    label: str
    stop: datetime
    archive: str
    wal_start: str
    wal_stop: str
    lsn: str = ""
    lsn_time: datetime | None = None
    good: bool = True
    faults: tuple[str, ...] = ()


def read_backups(
    info: Mapping[str, Any],
    manifests: Iterable[Mapping[str, Any]] = (),
    *,
    database: str = "",
    refuted: Mapping[str, Sequence[str]] | None = None,
) -> list[Backup]:
    """Turn what ``pgbackrest info`` says of a stanza, and manifests, into backups, oldest first.

    :param database: name of the wanted database, whose fingerprint counts.
    :param refuted: label -> faults, of those that a verification or a drill found bad.
    """
    refuted = refuted or {}
    known = {document.get("label"): document for document in manifests if document.get("kind") == "database"}
    versions = {entry["id"]: f"{entry['version']}-{entry['id']}" for entry in info.get("db", ())}
    found = []
    for entry in info.get("backup", ()):
        label = entry["label"]
        document = known.get(label) or {}
        print_ = _fingerprint(document, database)
        faults = [*(document.get("faults") or ()), *refuted.get(label, ())]
        if entry.get("error"):
            faults.append("pgBackRest met pages with a wrong checksum")
        found.append(
            Backup(
                label=label,
                stop=datetime.fromtimestamp(entry["timestamp"]["stop"], tz=timezone.utc),
                archive=versions.get(entry["database"]["id"], ""),
                wal_start=entry["archive"]["start"] or "",
                wal_stop=entry["archive"]["stop"] or "",
                lsn=str(print_.get("lsn") or ""),
                lsn_time=parse_time(print_["time"]) if print_.get("time") else None,
                good=document.get("state") != "bad" and label not in refuted and not entry.get("error"),
                faults=tuple(faults),
            )
        )
    # What needs a bad one is no better.
    bad = {backup.label for backup in found if not backup.good}
    references = {entry["label"]: set(entry.get("reference") or ()) for entry in info.get("backup", ())}
    return [
        dataclasses.replace(
            backup, good=False, faults=(*backup.faults, f"it needs {', '.join(sorted(needed))}, which is bad")
        )
        if (needed := references[backup.label] & bad) and backup.good
        else backup
        for backup in sorted(found, key=lambda backup: (backup.stop, backup.label))
    ]


def _fingerprint(document: Mapping[str, Any], database: str) -> Mapping[str, Any]:
    for entry in document.get("databases") or ():
        if not database or entry.get("name") == database:
            return entry.get("fingerprint") or {}
    return {}


def name_then(document: Mapping[str, Any] | None, instance: str, *, default: str) -> str:
    """The name that an instance's database had when a manifest was written."""
    for entry in (document or {}).get("databases") or ():
        if entry.get("instance") == instance:
            return str(entry.get("name") or default)
    return default


def choose_backup(backups: Sequence[Backup], point: Point) -> Backup:
    """The backup to begin with: the wanted one, or the newest good one that was complete before the wanted time.

    :raises SlipwayError: there is none, or the wanted one is bad.
    """
    if not backups:
        raise SlipwayError("There is no backup of the database in the repository: nothing can be restored")
    if point.kind == LABEL:
        for backup in backups:
            if backup.label == point.label:
                if not backup.good:
                    raise SlipwayError(
                        f"Backup {backup.label} is bad ({'; '.join(backup.faults) or 'its manifest says so'}). "
                        f"Good ones are {_listed(backups)}"
                    )
                return backup
        raise SlipwayError(f"There is no backup {point.label!r}. Good ones are {_listed(backups)}")
    good = [backup for backup in backups if backup.good]
    if not good:
        raise SlipwayError("Every backup of the database is bad: " + "; ".join(b.label for b in backups))
    if point.time is None:
        return good[-1]
    before = [backup for backup in good if backup.stop < point.time]
    if not before:
        raise SlipwayError(
            f"The oldest good backup, {good[0].label}, was complete at {_shown(good[0].stop)}, which is not before "
            f"{_shown(point.time)}: that time cannot be reached"
        )
    return before[-1]


def _listed(backups: Sequence[Backup]) -> str:
    return ", ".join(backup.label for backup in backups if backup.good) or "not there at all"


def pgbackrest_arguments(point: Point, backup: Backup) -> list[str]:
    """The options of ``pgbackrest restore`` that lead to the point."""
    chosen = [f"--set={backup.label}"]
    if point.kind == LATEST:
        return [*chosen, "--type=default"]
    if point.kind == TIME:
        return [*chosen, "--type=time", f"--target={target_text(_time_of(point))}", "--target-action=promote"]
    # Its own time line: a later restore of the cluster may have left it.
    own = ["--target-timeline=current", "--target-action=promote"]
    if backup.lsn:
        return [*chosen, "--type=lsn", f"--target={backup.lsn}", "--target-exclusive", *own]
    return [*chosen, "--type=immediate", *own]


def _time_of(point: Point) -> datetime:
    if point.time is None:
        raise ValueError("a point of kind time has a time")
    return point.time


def files_time(point: Point, backup: Backup) -> datetime | None:
    """The time whose files belong to the point; None means the newest."""
    if point.kind == LATEST:
        return None
    return point.time if point.kind == TIME else backup.lsn_time or backup.stop


# ---- WAL


@dataclasses.dataclass(frozen=True)
class Reach:
    """Whether the WAL leads to the wanted point.

    ``fault`` is empty where it does, as far as names and times of the archive tell. ``doubt`` says what only
    PostgreSQL will find out.
    """

    fault: str = ""
    doubt: str = ""


def position(name: str) -> tuple[int, int] | None:
    """Time line and number of a WAL segment, of its name or that of its file in the archive; None for other files."""
    found = _SEGMENT.match(name.rsplit("/", 1)[-1])
    if not found or name.endswith((".history", ".backup")) or ".partial" in name or ".backup" in name:
        return None
    timeline, high, low = (int(part, 16) for part in found.groups())
    return timeline, high * SEGMENTS_PER_FILE + low


def segment_name(timeline: int, number: int) -> str:
    """The name of a WAL segment."""
    return f"{timeline:08X}{number // SEGMENTS_PER_FILE:08X}{number % SEGMENTS_PER_FILE:08X}"


def judge_reach(segments: Mapping[str, datetime], backup: Backup, point: Point) -> Reach:
    """Say whether the archive's WAL leads from a backup to the point.

    A time line goes on where its parent ended, so that it is enough for every number to be there on any time line.

    :param segments: name in the archive -> when it was stored.
    """
    start, stop = position(backup.wal_start), position(backup.wal_stop)
    if start is None or stop is None:
        return Reach(doubt=f"it is not known which WAL backup {backup.label} needs")
    stored: dict[int, datetime] = {}
    timelines: dict[int, int] = {}
    for name, moment in segments.items():
        place = position(name)
        if place and place[1] >= start[1]:
            stored[place[1]] = max(moment, stored.get(place[1], moment))
            timelines[place[1]] = max(place[0], timelines.get(place[1], 0))
    last = start[1] - 1
    while last + 1 in stored:
        last += 1
    if last < stop[1]:
        missing = segment_name(start[0], last + 1)
        return Reach(
            fault=f"backup {backup.label} cannot be used: WAL segment {missing}, which it needs, is not in the archive"
        )
    beyond = [number for number in stored if number > last]
    if point.kind == LABEL:
        return Reach()
    until = _shown(stored[last])
    if beyond:
        gap = (
            f"WAL segment {segment_name(timelines[last], last + 1)} is missing in the archive: from {backup.label} on "
            f"only states until {until} can be reached"
        )
        if point.kind == LATEST:
            return Reach(fault=f"{gap}. Say a time not later than that, or the label of a backup")
        if _time_of(point) > stored[last]:
            return Reach(fault=f"{gap}, and {_shown(_time_of(point))} is later")
        return Reach(doubt=f"{gap}")
    if point.kind == TIME and _time_of(point) > stored[last]:
        return Reach(doubt=f"the last WAL was stored at {until}, before the wanted time")
    return Reach()


def timeline_at(segments: Mapping[str, datetime], moment: datetime | None) -> int | None:
    """The time line that the cluster was on at a moment; None where it is the newest of the archive.

    A restore of the whole cluster begins a new one and leaves what came after its point on the old one. PostgreSQL
    would follow the newest, on which the time between that point and the restore never was. And where the old data
    directory was put back after a restore, the newest is the one that was given up.

    :param segments: name in the archive -> when it was stored.
    :param moment: None means now.
    """
    moment = moment or _NEVER
    begun = {int(name[:8], 16): stored for name, stored in segments.items() if _HISTORY.fullmatch(name)}
    stored = [(at, found[0]) for name, at in segments.items() if (found := position(name))]
    restored = min((at for at in begun.values() if at > moment), default=_NEVER)
    # What happened at a moment is in the segment that was stored next, unless a restore came between.
    following = [(at, line) for at, line in stored if moment < at < restored]
    if following:
        timeline = min(following)[1]
    elif restored < _NEVER:
        timeline = max((line for line, at in begun.items() if at <= moment), default=1)
    else:
        timeline = max([*stored, *((at, line) for line, at in begun.items())], default=(None, 1))[1]
    newest = max([*begun, *(line for _at, line in stored)], default=1)
    return None if timeline == newest else timeline


def on_timeline(backups: Iterable[Backup], timeline: int) -> list[Backup]:
    """The backups that may lead to a time line: none that was made on a later one."""
    return [backup for backup in backups if int(backup.wal_start[:8], 16) <= timeline]


# ---- snapshots of files


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """A snapshot of files; one that is not complete lacks some."""

    id: str
    time: datetime
    complete: bool = True
    label: str = ""


def choose_snapshots(snapshots: Iterable[Snapshot], moment: datetime | None) -> list[Snapshot]:
    """The snapshots whose union holds every file of a moment, in the order to take them.

    Files are only added and, much later, removed: so that all of a moment are in the last complete snapshot before it
    or the first complete one after it. Those between are extras, as are incomplete ones.

    :param moment: None means the newest state.
    :raises SlipwayError: there is no snapshot at all.
    """
    listed = sorted(snapshots, key=lambda snapshot: (snapshot.time, snapshot.id))
    if not listed:
        raise SlipwayError("There is no snapshot of the files in the repository: nothing can be restored")
    if moment is None:
        moment = listed[-1].time
    before = [number for number, one in enumerate(listed) if one.time <= moment and one.complete]
    after = [number for number, one in enumerate(listed) if one.time > moment and one.complete]
    first = before[-1] if before else 0
    last = after[0] if after else len(listed) - 1
    chosen = listed[first : last + 1]
    # Those that are complete first: most of the files come from the first one.
    return sorted(chosen, key=lambda one: (not one.complete, one.time))


def fallbacks(snapshots: Iterable[Snapshot], chosen: Collection[Snapshot], moment: datetime | None) -> list[Snapshot]:
    """All other snapshots, the nearest first: a file that is damaged in one may be whole in another."""
    rest = [snapshot for snapshot in snapshots if snapshot not in chosen]
    if moment is None:
        return sorted(rest, key=lambda one: one.time, reverse=True)
    return sorted(rest, key=lambda one: abs(one.time - moment))
