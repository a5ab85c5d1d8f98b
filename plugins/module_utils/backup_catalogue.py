# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What backups there are, from their manifests and what later looks at them found."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils import backup_manifest as manifests
from ansible_collections.slipway.odoo.plugins.module_utils.backup_retention import Backup, usable

# Sizes that the last one is compared with.
HISTORY = 10


@dataclass(frozen=True)
class Entry:
    """One backup.

    :param type: ``full``, ``diff`` or ``incr``; empty where there are no types.
    :param time: when it ended, or began where it never ended.
    :param good: its manifest is sound and calls it good, nothing refuted it, and all that it needs is there and good.
    :param claimed: its manifest is sound and calls it good.
    :param verified: what the last looks at it said; None where nobody looked.
    """

    kind: str
    label: str
    type: str
    time: datetime
    good: bool
    claimed: bool
    faults: tuple[str, ...] = ()
    size_bytes: int = 0
    stored_bytes: int = 0
    needs: tuple[str, ...] = ()
    verified: bool | None = None
    verified_time: datetime | None = None


@dataclass(frozen=True)
class Trend:
    """Size of the last good backup beside those before it, of the same type.

    :param count: how many there are before it, at most HISTORY.
    :param median: theirs; None without any.
    :param ratio: the last one's to that; None without any.
    """

    last: int
    count: int = 0
    median: float | None = None
    ratio: float | None = None


@dataclass(frozen=True)
class Catalogue:
    """All backups, oldest first.

    :param unreadable: manifests that name no backup, with what is wrong: no kind, label or time.
    """

    entries: tuple[Entry, ...] = ()
    unreadable: tuple[str, ...] = field(default=())

    def kinds(self) -> list[str]:
        """Kinds that there are backups of, bad ones too."""
        present = {entry.kind for entry in self.entries}
        return [kind for kind in manifests.KINDS if kind in present]

    def of(self, kind: str, *, good: bool | None = None, type_: str | None = None) -> list[Entry]:
        """Those of a kind, oldest first."""
        return [
            entry
            for entry in self.entries
            if entry.kind == kind and good in (None, entry.good) and type_ in (None, entry.type)
        ]

    def last_good(self, kind: str, *, type_: str | None = None) -> Entry | None:
        """The newest that can be restored."""
        return (self.of(kind, good=True, type_=type_) or [None])[-1]

    def last_verified(self, kind: str) -> Entry | None:
        """The newest good one that was looked at and found good."""
        return ([entry for entry in self.of(kind, good=True) if entry.verified] or [None])[-1]

    def trend(self, kind: str) -> Trend | None:
        """Size of the last good one beside earlier ones of its type; None without a good one."""
        last = self.last_good(kind)
        if last is None:
            return None
        earlier = [entry.size_bytes for entry in self.of(kind, good=True, type_=last.type)][:-1][-HISTORY:]
        if not earlier:
            return Trend(last=last.size_bytes)
        median = statistics.median(earlier)
        ratio = last.size_bytes / median if median else None
        return Trend(last=last.size_bytes, count=len(earlier), median=median, ratio=ratio)


def build(found: Iterable[Mapping[str, Any]], verifications: Iterable[Mapping[str, Any]] = ()) -> Catalogue:
    """Put together what was read.

    :param found: manifests as they were read; what is wrong with one becomes a fault of its backup.
    :param verifications: their records, each with ``kind`` and ``label``, which their keys say (``parse_key``).
    """
    looks = _latest_looks(verifications)
    entries: dict[tuple[str, str], Entry] = {}
    unreadable = []
    for document in found:
        entry = _entry(document, looks)
        if entry is None:
            faults = manifests.check(document)
            unreadable.append(f"{document.get('label') or 'a manifest without label'}: {' '.join(faults)}")
        else:
            entries[entry.kind, entry.label] = entry
    judged = [
        entry for kind in manifests.KINDS for entry in _judge_chains([e for e in entries.values() if e.kind == kind])
    ]
    judged.sort(key=lambda entry: (entry.time, entry.kind, entry.label))
    return Catalogue(entries=tuple(judged), unreadable=tuple(unreadable))


def backups(catalogue: Catalogue, kind: str) -> list[Backup]:
    """Those of a kind, for ``backup_retention.decide``."""
    return [
        Backup(label=e.label, time=e.time, good=e.claimed, needs=e.needs, verified=e.verified)
        for e in catalogue.of(kind)
    ]


def summary(catalogue: Catalogue, now: datetime, kinds: Iterable[str] = ()) -> dict[str, Any]:
    """All of it by kind, as JSON: what ``backup_info`` returns and what ``backup_health`` takes as ``kinds``.

    :param kinds: to be in it even if there are none of them.
    """
    return {kind: _summary(catalogue, kind, now) for kind in dict.fromkeys((*kinds, *catalogue.kinds()))}


def _summary(catalogue: Catalogue, kind: str, now: datetime) -> dict[str, Any]:
    good = catalogue.of(kind, good=True)
    trend = catalogue.trend(kind)
    verified = catalogue.last_verified(kind)
    types = dict.fromkeys(entry.type for entry in good)
    return {
        "last_good": _shown(catalogue.last_good(kind), now),
        "last_good_by_type": {name: _shown(catalogue.last_good(kind, type_=name), now) for name in types},
        "count": len(good),
        "bad": [_shown(entry, now) for entry in catalogue.of(kind, good=False)],
        "size_trend": trend
        and {"last": trend.last, "count": trend.count, "median": trend.median, "ratio": trend.ratio},
        "last_verified": _shown(verified, now),
    }


def _shown(entry: Entry | None, now: datetime) -> dict[str, Any] | None:
    if entry is None:
        return None
    return {
        "label": entry.label,
        "type": entry.type,
        "time": manifests.format_time(entry.time),
        "age_s": int((now - entry.time).total_seconds()),
        "size_bytes": entry.size_bytes,
        "stored_bytes": entry.stored_bytes,
        "good": entry.good,
        "faults": list(entry.faults),
        "verified": entry.verified,
        "verified_time": entry.verified_time and manifests.format_time(entry.verified_time),
    }


Looks = dict[tuple[str, str], dict[str, Mapping[str, Any]]]


def _latest_looks(verifications: Iterable[Mapping[str, Any]]) -> Looks:
    """(kind, label) -> who looked -> the last record; what is no record is left out."""
    found: Looks = {}
    for record in verifications:
        if manifests.check_verification(record) or not isinstance(record.get("label"), str):
            continue
        by = found.setdefault((str(record.get("kind")), record["label"]), {})
        before = by.get(record["by"])
        if before is None or manifests.parse_time(before["time"]) <= manifests.parse_time(record["time"]):
            by[record["by"]] = record
    return found


def _entry(document: Mapping[str, Any], looks: Looks) -> Entry | None:
    """A backup of its manifest, however damaged; None where it does not even name one."""
    faults = manifests.check(document)
    kind, label = document.get("kind"), document.get("label")
    times = []
    for name in ("finished", "started"):
        try:
            times.append(manifests.parse_time(document.get(name) or ""))
        except manifests.SlipwayError:
            continue
    if kind not in manifests.KINDS or not manifests.is_label(label) or not times:
        return None
    stated = document.get("faults")
    if document.get("state") == "bad" and isinstance(stated, list):
        faults += [str(fault) for fault in stated]
    # A later check of one sort does not heal what another sort found: a drill sees more than checksums.
    records = looks.get((kind, label), {}).values()
    for record in records:
        if not record["good"]:
            said = "; ".join(record["faults"]) or "no reason given"
            faults.append(f"Refuted by {record['by']} at {record['time']}: {said}")
    sizes = [document.get(name) for name in ("size_bytes", "stored_bytes")]
    size, stored = (value if isinstance(value, int) and value >= 0 else 0 for value in sizes)
    claimed = document.get("state") == "good" and not manifests.check(document)
    return Entry(
        kind=kind,
        label=label,
        type=document["type"] if document.get("type") in manifests.TYPES else "",
        time=times[0],
        good=claimed,
        claimed=claimed,
        faults=tuple(faults),
        size_bytes=size,
        stored_bytes=stored,
        needs=tuple(manifests.needs(document)),
        verified=all(record["good"] for record in records) if records else None,
        verified_time=max((manifests.parse_time(record["time"]) for record in records), default=None),
    )


def _judge_chains(entries: list[Entry]) -> list[Entry]:
    """Call those bad that rest on something bad or missing."""
    fit = usable(Backup(e.label, e.time, e.claimed, e.needs, e.verified) for e in entries)
    known = {entry.label for entry in entries}
    judged = []
    for entry in entries:
        faults = [*entry.faults]
        if entry.claimed and entry.verified is not False:
            faults += [
                f"It needs {label}, which is {'not good' if label in known else 'not there'}."
                for label in entry.needs
                if label not in fit
            ]
        judged.append(Entry(**{**entry.__dict__, "good": entry.label in fit, "faults": tuple(faults)}))
    return judged
