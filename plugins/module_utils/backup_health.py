# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether backups are as they should be, and the same as metrics for Prometheus.

Facts are a JSON object; a host leaves out what it has nothing to do with, and what is left out is not judged::

    kinds      as backup_catalogue.summary(), with every kind that this host makes
    since      when backups were set up here: nothing is late before its time has passed since then
    archive    {"last_failed_time": time|null, "last_archived_time": time|null, "last_failed_wal": text|null}
    wal        {"ready_files": n, "bytes": n, "oldest_ready_time": time|null}
    wal_gap    [text, ...]: what of the WAL is missing, or was dropped
    lost       [label, ...]: what was made and is no longer in the store
    drill      {"time", "good", "faults", "rto_s", "rpo_s"}, or null where there was none yet
    verify     {"time", "good", "faults"}, or null where there was none yet
    jobs       {name: {"failures": n, "last_error": text, "last_success": time|null}}
    spool      {"used_bytes": n, "max_bytes": n}
    databases  {"expected": [name, ...], "found": [name, ...]}
    store      {"required": [name, ...], "offered": [name, ...]}
    unread     {what: why}: what could not be looked at
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils.backup_manifest import parse_time
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

CRITICAL = "critical"
WARNING = "warning"
SKEW_S = 600


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be.

    :param name: names it for good, such as ``late:database``.
    """

    name: str
    severity: str
    text: str


def _ages() -> dict[str, float]:
    return {"database": 26 * 3600, "files": 3600, "dump": 8 * 86400}


@dataclass(frozen=True)
class Thresholds:
    """Where good ends. Seconds, bytes and factors.

    :param max_age_s: by kind, or by kind and type such as ``database/full``.
    :param size_history: how many earlier backups there must be before sizes are compared.
    :param spool_factor: of the spool's bound.
    """

    max_age_s: Mapping[str, float] = field(default_factory=_ages)
    size_min_factor: float = 0.5
    size_max_factor: float = 3.0
    size_history: int = 3
    wal_ready_files: int = 64
    wal_bytes: int = 16 * 1024**3
    wal_oldest_s: float = 900
    drill_age_s: float = 35 * 86400
    verify_age_s: float = 8 * 86400
    job_failures: int = 3
    spool_factor: float = 0.8

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Thresholds:
        """From the configuration; ages that are not given keep their defaults.

        :raises SlipwayError: an unknown name, or a value that is no number from 0 up.
        """
        known = [item.name for item in dataclasses.fields(cls)]
        values = dict(given)
        for name, value in given.items():
            if name not in known:
                raise SlipwayError(f"health has no {name}. It has {', '.join(known)}")
            if name == "max_age_s":
                if not isinstance(value, Mapping) or not all(map(_is_number, value.values())):
                    raise SlipwayError("health: max_age_s should be a number of seconds for each kind")
                values[name] = {**_ages(), **value}
            elif not _is_number(value):
                raise SlipwayError(f"health: {name} is {value!r}, and should be a number from 0 up")
        return cls(**values)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0


Found = Iterator[Finding]


def judge(facts: Mapping[str, Any], thresholds: Thresholds, now: datetime) -> list[Finding]:
    """Say what is not as it should be, worst first; facts that cannot be understood are a finding too."""
    findings: list[Finding] = []
    for name, look in _LOOKS.items():
        if name not in facts:
            continue
        try:
            findings += look(facts, thresholds, now)
        except (SlipwayError, KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            text = (
                f"What is known of {name} cannot be understood ({type(error).__name__}: {error}), so it is not watched."
            )
            findings.append(Finding(f"unread:{name}", CRITICAL, text))
    return sorted(findings, key=lambda found: (found.severity != CRITICAL, found.name))


def _age(text: str | None, now: datetime) -> float | None:
    """Seconds since then; less than 0 where that is to come."""
    return None if not text else (now - parse_time(text)).total_seconds()


def _late(time: str | None, facts: Mapping[str, Any], limit: float, now: datetime) -> str:
    """In words how late something is; empty when it is not, or cannot be yet."""
    age = _age(time, now)
    if age is not None and age < -SKEW_S:
        return f"is dated {time}, which is to come: set the clock right"
    if age is not None:
        return f"was {span(age)} ago, at {time}; {span(limit)} is the limit" if age > limit else ""
    since = _age(facts.get("since"), now)
    if since is None:
        return "has never been"
    return f"has never been, {span(since)} after backups were set up" if since > limit or since < -SKEW_S else ""


def span(seconds: float) -> str:
    """A time in words: ``26 hours``."""
    delta = timedelta(seconds=int(seconds))
    if delta >= timedelta(days=2):
        return f"{delta.days} days"
    if delta >= timedelta(hours=2):
        return f"{int(seconds) // 3600} hours"
    return f"{max(int(seconds) // 60, 0)} minutes" if seconds >= 120 else f"{int(seconds)} s"


def _kinds(facts: Mapping[str, Any], limits: Thresholds, now: datetime) -> Found:
    for kind, known in facts["kinds"].items():
        last = known["last_good"]
        if kind in limits.max_age_s:
            late = _late(last and last["time"], facts, limits.max_age_s[kind], now)
            if late:
                yield Finding(f"late:{kind}", CRITICAL, f"The last good backup of kind {kind} {late}.")
        for name, limit in limits.max_age_s.items():
            wanted, _slash, type_ = name.partition("/")
            if wanted == kind and type_:
                last_of_type = known["last_good_by_type"].get(type_)
                late = _late(last_of_type and last_of_type["time"], facts, limit, now)
                if late:
                    yield Finding(f"late:{name}", CRITICAL, f"The last good {type_} backup of kind {kind} {late}.")
        yield from _size(kind, known, limits)
        newer = [bad for bad in known["bad"] if last is None or bad["time"] > last["time"]]
        if newer:
            said = " ".join(newer[-1]["faults"]) or "no reason given"
            text = f"{len(newer)} bad since the last good backup of kind {kind}; the last, {newer[-1]['label']}: {said}"
            yield Finding(f"bad:{kind}", WARNING, text)
        refuted = [bad["label"] for bad in known["bad"] if bad["verified"] is False]
        if refuted:
            text = f"Of kind {kind} these were found damaged after they were made: {', '.join(refuted)}."
            yield Finding(f"refuted:{kind}", CRITICAL, text)


def _size(kind: str, known: Mapping[str, Any], limits: Thresholds) -> Found:
    trend = known["size_trend"]
    if not trend or trend["count"] < limits.size_history or trend["ratio"] is None:
        return
    if not limits.size_min_factor <= trend["ratio"] <= limits.size_max_factor:
        text = (
            f"The last backup of kind {kind} has {size_text(trend['last'])}, {trend['ratio']:.2f} times the median of "
            f"the {trend['count']} before it ({size_text(trend['median'])}). Is something missing, or much too much "
            "there?"
        )
        yield Finding(f"size:{kind}", WARNING, text)


def size_text(size: float) -> str:
    """A number of bytes in words: ``85.0 MB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _archive_fails(archive: Mapping[str, Any]) -> bool:
    failed, archived = archive["last_failed_time"], archive["last_archived_time"]
    return bool(failed) and (not archived or parse_time(failed) > parse_time(archived))


def _archive(facts: Mapping[str, Any], _limits: Thresholds, _now: datetime) -> Found:
    archive = facts["archive"]
    if _archive_fails(archive):
        text = (
            f"PostgreSQL's archive command fails: the last time at {archive['last_failed_time']}"
            f" ({archive.get('last_failed_wal') or 'unknown segment'}), and it last succeeded "
            f"{archive['last_archived_time'] or 'never'}. Its log and `pgbackrest check` say why."
        )
        yield Finding("archive_failed", CRITICAL, text)


def _wal(facts: Mapping[str, Any], limits: Thresholds, now: datetime) -> Found:
    wal = facts["wal"]
    if wal["ready_files"] > limits.wal_ready_files:
        text = f"{wal['ready_files']} WAL segments wait to be archived; {limits.wal_ready_files} is the limit."
        yield Finding("wal_backlog", CRITICAL, text)
    if wal["bytes"] > limits.wal_bytes:
        held, limit = size_text(wal["bytes"]), size_text(limits.wal_bytes)
        text = f"pg_wal holds {held}; {limit} is the limit. A full disk stops PostgreSQL."
        yield Finding("wal_size", CRITICAL, text)
    age = _age(wal.get("oldest_ready_time"), now)
    if age is not None and age > limits.wal_oldest_s:
        text = f"A WAL segment has waited {span(age)} to be archived: so much would be lost with this host."
        yield Finding("wal_old", CRITICAL, text)


def _wal_gap(facts: Mapping[str, Any], _limits: Thresholds, _now: datetime) -> Found:
    if facts["wal_gap"]:
        text = (
            f"WAL is missing in the store: {'; '.join(facts['wal_gap'])}. No time after the gap can be restored from a "
            "backup before it. Make a full backup now."
        )
        yield Finding("wal_gap", CRITICAL, text)


def _lost(facts: Mapping[str, Any], _limits: Thresholds, _now: datetime) -> Found:
    lost = sorted(facts["lost"])
    if lost:
        named = ", ".join(lost[-5:]) + (f" and {len(lost) - 5} older ones" if len(lost) > 5 else "")
        text = (
            f"{len(lost)} backups that were made are not in the store: {named}. Did somebody delete them there? "
            "Bring them back from the bucket's versions (backup_undelete) before those go, and change the host's key."
        )
        yield Finding("store_lost", CRITICAL, text)


def _look(name: str, facts: Mapping[str, Any], limit: float, now: datetime) -> Found:
    last = facts[name]
    late = _late(last and last["time"], facts, limit, now)
    if late:
        yield Finding(f"late:{name}", CRITICAL, f"The last {name} {late}.")
    if last and not last["good"]:
        said = "; ".join(last.get("faults") or []) or "no reason given"
        yield Finding(f"{name}_failed", CRITICAL, f"The last {name}, at {last['time']}, failed: {said}")


def _drill(facts: Mapping[str, Any], limits: Thresholds, now: datetime) -> Found:
    return _look("drill", facts, limits.drill_age_s, now)


def _verify(facts: Mapping[str, Any], limits: Thresholds, now: datetime) -> Found:
    return _look("verify", facts, limits.verify_age_s, now)


def _jobs(facts: Mapping[str, Any], limits: Thresholds, _now: datetime) -> Found:
    for name, job in facts["jobs"].items():
        if job["failures"] >= max(limits.job_failures, 1):
            text = (
                f"Job {name} has failed {job['failures']} times in a row: {job.get('last_error') or 'no reason given'}"
            )
            yield Finding(f"job:{name}", CRITICAL, text)


def _spool(facts: Mapping[str, Any], limits: Thresholds, _now: datetime) -> Found:
    spool = facts["spool"]
    if spool["used_bytes"] > limits.spool_factor * spool["max_bytes"]:
        full = spool["used_bytes"] >= spool["max_bytes"]
        text = (
            f"The spool holds {size_text(spool['used_bytes'])} of at most {size_text(spool['max_bytes'])}. "
            "Is the store away? Beyond the bound nothing more is kept for it."
        )
        yield Finding("spool", CRITICAL if full else WARNING, text)


def _databases(facts: Mapping[str, Any], _limits: Thresholds, _now: datetime) -> Found:
    for name in facts["databases"]["expected"]:
        if name not in facts["databases"]["found"]:
            text = f"Database {name} should be backed up, and is not there. Was it renamed or dropped?"
            yield Finding(f"database_missing:{name}", CRITICAL, text)


def _restores(facts: Mapping[str, Any], _limits: Thresholds, _now: datetime) -> Found:
    if facts["restores"]:
        text = (
            f"A restore did not end, and left {' and '.join(facts['restores'])}. Nothing was lost by it: run the "
            "restore again, which puts back or removes that first, or remove a database with "
            "`slipway-backup drop-kept --name NAME`."
        )
        yield Finding("restore_unfinished", WARNING, text)


def _store(facts: Mapping[str, Any], _limits: Thresholds, _now: datetime) -> Found:
    for name in facts["store"]["required"]:
        if name not in facts["store"]["offered"]:
            yield Finding(f"store_lacks:{name}", CRITICAL, f"The store was to have {name}, and has not.")


def _unread(facts: Mapping[str, Any], _limits: Thresholds, _now: datetime) -> Found:
    for name, why in facts["unread"].items():
        yield Finding(
            f"unread:{name}", CRITICAL, f"What is known of {name} could not be read, so it is not watched: {why}"
        )


_LOOKS: dict[str, Callable[[Mapping[str, Any], Thresholds, datetime], Found]] = {
    "kinds": _kinds,
    "archive": _archive,
    "wal": _wal,
    "wal_gap": _wal_gap,
    "lost": _lost,
    "drill": _drill,
    "verify": _verify,
    "jobs": _jobs,
    "spool": _spool,
    "databases": _databases,
    "restores": _restores,
    "store": _store,
    "unread": _unread,
}


# ---- Prometheus

Samples = Iterator[tuple[dict[str, str], Any]]


def metrics(facts: Mapping[str, Any], findings: list[Finding], now: datetime) -> str:
    """Facts and findings in Prometheus' text format, for node_exporter's textfile collector.

    What cannot be understood is left out; ``judge`` has a finding for it.
    """
    lines = []
    for name, (words, read) in _metrics(findings, now).items():
        try:
            samples = [(labels, value) for labels, value in read(facts) if value is not None]
            shown = [f"slipway_backup_{name}{_labels(labels)} {_value(value)}" for labels, value in samples]
        except (SlipwayError, KeyError, TypeError, ValueError, AttributeError, ArithmeticError):
            continue
        if shown:
            lines += [f"# HELP slipway_backup_{name} {words}", f"# TYPE slipway_backup_{name} gauge", *shown]
    return "\n".join(lines) + "\n"


def _metrics(findings: list[Finding], now: datetime) -> dict[str, tuple[str, Callable[[Mapping[str, Any]], Samples]]]:
    return {
        "health_timestamp_seconds": ("When backups were last judged.", lambda _facts: iter([({}, now.timestamp())])),
        "last_success_timestamp_seconds": (
            "When the last good backup of this kind and type ended.",
            lambda facts: _of_kinds(facts, lambda last: parse_time(last["time"]).timestamp()),
        ),
        "last_size_bytes": (
            "Size of what the last good backup of this kind and type holds.",
            lambda facts: _of_kinds(facts, lambda last: last["size_bytes"]),
        ),
        "good_backups": ("Good backups in the store.", lambda facts: _count(facts, lambda known: known["count"])),
        "bad_backups": ("Bad backups in the store.", lambda facts: _count(facts, lambda known: len(known["bad"]))),
        "job_consecutive_failures": (
            "How often this job has failed since it last succeeded.",
            lambda facts: iter([({"job": name}, job["failures"]) for name, job in facts.get("jobs", {}).items()]),
        ),
        "archive_failed": (
            "Whether PostgreSQL's archive command fails.",
            lambda facts: _one(facts, "archive", lambda archive: int(_archive_fails(archive))),
        ),
        "wal_backlog_files": (
            "WAL segments that wait to be archived.",
            lambda facts: _one(facts, "wal", lambda wal: wal["ready_files"]),
        ),
        "wal_size_bytes": ("Size of pg_wal.", lambda facts: _one(facts, "wal", lambda wal: wal["bytes"])),
        "spool_size_bytes": (
            "Size of the spool.",
            lambda facts: _one(facts, "spool", lambda spool: spool["used_bytes"]),
        ),
        "last_verify_timestamp_seconds": (
            "When backups were last verified.",
            lambda facts: _one(facts, "verify", lambda last: parse_time(last["time"]).timestamp()),
        ),
        "last_drill_timestamp_seconds": (
            "When a restore was last tried.",
            lambda facts: _one(facts, "drill", lambda last: parse_time(last["time"]).timestamp()),
        ),
        "last_drill_success": (
            "Whether the last drill succeeded.",
            lambda facts: _one(facts, "drill", lambda last: int(last["good"])),
        ),
        "drill_rto_seconds": (
            "How long the last drill took to restore.",
            lambda facts: _one(facts, "drill", lambda last: last.get("rto_s")),
        ),
        "drill_rpo_seconds": (
            "How much the last drill would have lost.",
            lambda facts: _one(facts, "drill", lambda last: last.get("rpo_s")),
        ),
        "findings": (
            "How many findings there are.",
            lambda _facts: iter(
                [({"severity": sort}, sum(f.severity == sort for f in findings)) for sort in (CRITICAL, WARNING)]
            ),
        ),
        "finding": (
            "What is not as it should be.",
            lambda _facts: iter([({"name": f.name, "severity": f.severity}, 1) for f in _unique(findings)]),
        ),
    }


def _unique(findings: list[Finding]) -> list[Finding]:
    return list({(found.name, found.severity): found for found in findings}.values())


def _of_kinds(facts: Mapping[str, Any], read: Callable[[Mapping[str, Any]], Any]) -> Samples:
    for kind, known in facts.get("kinds", {}).items():
        for type_, last in known["last_good_by_type"].items():
            yield {"kind": kind, "type": type_}, read(last)


def _count(facts: Mapping[str, Any], read: Callable[[Mapping[str, Any]], Any]) -> Samples:
    for kind, known in facts.get("kinds", {}).items():
        yield {"kind": kind}, read(known)


def _one(facts: Mapping[str, Any], name: str, read: Callable[[Mapping[str, Any]], Any]) -> Samples:
    if facts.get(name):
        yield {}, read(facts[name])


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    # A lone surrogate could not be written to a file.
    value = str(value).encode("utf-8", "replace").decode("utf-8")
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _value(value: Any) -> str:
    number = float(value)
    return str(int(number)) if number.is_integer() else repr(number)
