# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look how the backups of this host are, write metrics, and tell people."""

from __future__ import annotations

import contextlib
import datetime
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils import (
    backup_catalogue,
    backup_health,
    backup_manifest,
    backup_notice,
)
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

from . import database, notify, pgbackrest, restore_cluster, restore_live, restore_names, restore_scratch, runner
from .config import Config
from .host import BusyError, lock, now, read_json, say, tree_size, write, write_json
from .records import Records
from .store import Store

METRICS_FILE = "slipway_backup.prom"


def look(config: Config) -> dict[str, Any]:
    """Judge the backups of this host, write metrics, tell what lasts; send what has not reached the store yet."""
    facts: dict[str, Any] = {"unread": {}}
    for name, read in (
        ("store", _send), ("kinds", _kinds), ("lost", _lost), ("archive", _archive), ("wal_gap", _gaps),
        ("databases", _databases), ("restores", _restores),
        ("drill", _drill),
        ("verify", _verify),
        ("spool", _spool),
    ):  # fmt: skip
        try:
            read(config, facts)
        except SlipwayError as error:
            facts["unread"][name] = str(error)
    runner.count_killed(config)
    jobs = runner.jobs(config)
    facts["jobs"] = {
        name: {"failures": entry.get("failures", 0), "last_error": entry.get("message", "")}
        for name, entry in jobs.items()
    }
    facts["since"] = _since(config)
    at = now()
    findings = backup_health.judge(facts, backup_health.Thresholds.of(config["health"]), at)
    metrics = pathlib.Path(config["metrics_directory"]) / METRICS_FILE
    write(metrics, backup_health.metrics(facts, findings, at), mode=0o644)
    _tell(config, findings)
    for finding in findings:
        say(f"{finding.severity}: {finding.name}: {finding.text}")
    return {
        "findings": [{"name": finding.name, "severity": finding.severity, "text": finding.text} for finding in findings]
    }


def _tell(config: Config, findings: list[Any]) -> None:
    with lock("status", wait=30, what="the status of health"):
        status = read_json(config.state / "status.json")
        # Each job tells of its own failures.
        status["notices"], notices = backup_notice.advance_findings(
            status.get("notices") or {},
            [finding for finding in findings if not finding.name.startswith("job:")],
            now(),
            after=int(config["notify"]["after"]),
        )
        write_json(config.state / "status.json", status)
    for notice in notices:
        notify.tell(config, notice)


def _since(config: Config) -> str:
    path = config.state / "since.json"
    found = read_json(path).get("since")
    if not found:
        found = backup_manifest.format_time(now())
        write_json(path, {"since": found})
    return str(found)


def _send(config: Config, _facts: dict[str, Any]) -> None:
    Store(config).require()
    Records(config).send()


def _manifests(config: Config) -> list[dict[str, Any]]:
    below = config.state / "manifests"
    return [read_json(path) for path in below.rglob("*.json")] if below.exists() else []


def _kinds(config: Config, facts: dict[str, Any], lost: Sequence[Mapping[str, Any]] = ()) -> None:
    kinds = (["database", "dump"] if config["database"] else []) + (["files"] if config["files"] else [])
    catalogue = backup_catalogue.build(_manifests(config), [*Records(config).verifications(), *lost])
    facts["kinds"] = backup_catalogue.summary(catalogue, now(), kinds=kinds)


def _lost(config: Config, facts: dict[str, Any]) -> None:
    """Backups that were made and are no longer in the store: whoever deletes them there tells nobody."""
    if "store" in facts["unread"]:
        return
    there = {"database": set(), "snapshots": set()}
    if config["database"]:
        try:
            found = pgbackrest.info(config["database"]["stanza"])["backup"]
        except SlipwayError as error:
            # Whoever deletes all of it leaves no stanza either.
            if "missing stanza" not in str(error):
                raise
            found = []
        there["database"] = {backup["label"] for backup in found}
    there["snapshots"] = {key.rpartition("/")[2] for key in Store(config).list("restic/snapshots/")}
    lost = []
    for document in _manifests(config):
        kind, label = document.get("kind"), document.get("label")
        if document.get("state") != "good":
            continue
        snapshot = (document.get("files") or document.get("dump") or {}).get("snapshot")
        if label not in there["database"] if kind == "database" else snapshot not in there["snapshots"]:
            lost.append({"kind": kind, "label": label})
    facts["lost"] = [entry["label"] for entry in lost]
    if lost:
        at = backup_manifest.format_time(now())
        why = {"good": False, "by": "verify", "time": at, "faults": ["it is not in the store"]}
        _kinds(config, facts, [{**entry, **why} for entry in lost])


def _archive(config: Config, facts: dict[str, Any]) -> None:
    if not config["database"]:
        return
    part = config.part("database")
    with database.connected("postgres", port=part["port"]) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT last_failed_time, last_archived_time, last_failed_wal FROM pg_stat_archiver")
        failed, archived, wal = cursor.fetchone()
    facts["archive"] = {
        "last_failed_time": _time(failed),
        "last_archived_time": _time(archived),
        "last_failed_wal": wal,
    }
    directory = pathlib.Path(part["data_directory"]) / "pg_wal"
    ready = []
    for path in (directory / "archive_status").glob("*.ready"):
        with contextlib.suppress(OSError):
            ready.append(path.stat().st_mtime)
    oldest = datetime.datetime.fromtimestamp(min(ready), tz=datetime.timezone.utc) if ready else None
    size = sum(entry.stat().st_size for entry in os.scandir(directory) if entry.is_file())
    facts["wal"] = {"ready_files": len(ready), "bytes": size, "oldest_ready_time": _time(oldest)}


def _gaps(config: Config, facts: dict[str, Any]) -> None:
    # pgBackRest would try for minutes to reach a store that is away.
    if config["database"] and "store" not in facts["unread"]:
        path = config.state / "wal_expired.json"
        before = read_json(path)
        try:
            facts["wal_gap"], expired = pgbackrest.gaps(
                config.part("database")["stanza"], days=int(config["wal_days"]), expired=before
            )
            if expired != before:
                write_json(path, expired)
        except SlipwayError as error:
            # Then all of it is lost, and told so.
            if "missing stanza" not in str(error):
                raise


def _databases(config: Config, facts: dict[str, Any]) -> None:
    if config["database"]:
        part = config.part("database")
        facts["databases"] = {
            "expected": [entry["name"] for entry in part["databases"]],
            "found": database.names(part["port"]),
        }


def _unfinished_restores(part: Mapping[str, Any]) -> list[str]:
    data = pathlib.Path(part["data_directory"])
    found = [str(path.parent) for path in sorted(restore_scratch.SCRATCH.glob(f"*/{restore_scratch.MARKER}"))]
    if restore_cluster.unfinished_mark(data).exists():
        kept = read_json(restore_cluster.unfinished_mark(data)).get("kept")
        found.append(f"the data directory {data}" + (f" (the one of before is {kept})" if kept else ""))
    try:
        comments = restore_names.databases(part["port"])
    except SlipwayError:
        # As while the server is down in the middle of it; others tell of that.
        comments = {}
    states = {name: restore_names.mark_of(comment)[0] for name, comment in comments.items()}
    return [*found, *(f"database {name}" for name, state in states.items() if state == restore_names.UNFINISHED)]


def _restores(config: Config, facts: dict[str, Any]) -> None:
    """What restores left that did not end; nothing while one is at work."""
    if not config["database"]:
        return
    try:
        with lock(restore_live.LOCK, wait=0, what="health"):
            facts["restores"] = _unfinished_restores(config.part("database"))
    except BusyError:
        facts["restores"] = []


def _drill(config: Config, facts: dict[str, Any]) -> None:
    if not config["drill"]:
        return
    reports = sorted((config.state / "drills").glob("*.json")) if (config.state / "drills").exists() else []
    report = read_json(reports[-1]) if reports else {}
    facts["drill"] = (
        {
            "time": report["finished"],
            "good": report["success"],
            "faults": [] if report["success"] else [report["message"]],
            "rto_s": report.get("rto_s"),
            "rpo_s": report.get("rpo_s"),
        }
        if report
        else None
    )


def _verify(config: Config, facts: dict[str, Any]) -> None:
    entry = runner.jobs(config).get("verify") or {}
    times = [time for time in (entry.get("last_success"), entry.get("last_failure")) if time]
    good = bool(entry.get("last_success")) and entry.get("failures", 0) == 0
    facts["verify"] = (
        {"time": max(times), "good": good, "faults": [entry["message"]] if entry.get("message") else []}
        if times
        else None
    )


def _spool(config: Config, facts: dict[str, Any]) -> None:
    facts["spool"] = {"used_bytes": tree_size(config.spool)[1], "max_bytes": int(config["spool"]["max_mb"]) << 20}


def _time(moment: datetime.datetime | None) -> str | None:
    return backup_manifest.format_time(moment.astimezone(datetime.timezone.utc)) if moment else None
