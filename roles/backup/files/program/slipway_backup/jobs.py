# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The jobs that make, look after and remove backups. Each is one systemd unit, ``slipway-backup@JOB.service``."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
import shutil
import time
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils import backup_manifest, backup_retention
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

from . import database, pgbackrest, restic
from .config import Config
from .host import lock, make_passage, now, read_json, run, say, tree_size, write_json
from .records import Records
from .store import Store

LOCK_WAIT_SECONDS = 600.0
FOREIGN = (
    "the repository holds the backups of another PostgreSQL cluster: this host was built anew. Nothing is backed up "
    "until you restore (playbooks/restore.yml), or begin afresh beside them (slipway-backup adopt)"
)
"""What is said on a host whose repository knows another cluster."""
SPOOLED = "restic/slipway.json"
"""Below the spool: from when on nothing has been spooled yet."""
DATABASE_LOCK, FILES_LOCK = "database", "files"


def prepare(config: Config) -> dict[str, Any]:
    """Make what the first backup needs: the stanza and the repositories. Changes nothing where they are there."""
    made = []
    Store(config).require()
    restic.prepare_cache()
    if restic.Repository(config).create():
        made.append("the restic repository")
    if config["database"]:
        stanza = config["database"]["stanza"]
        with lock(DATABASE_LOCK, wait=LOCK_WAIT_SECONDS, what="prepare"):
            if pgbackrest.info(stanza)["status"]["code"] == 1:
                pgbackrest.pgbackrest(stanza, "stanza-create")
                made.append(f"the stanza {stanza}")
            if not pgbackrest.check(stanza):
                say(FOREIGN)
                return {"made": made, "warning": FOREIGN}
    return {"made": made}


def adopt(config: Config) -> dict[str, Any]:
    """Let the repository take the new cluster of a host that was built anew; the backups of the old one stay in it."""
    part = config.part("database")
    with lock(DATABASE_LOCK, wait=LOCK_WAIT_SECONDS, what="adopt"):
        if pgbackrest.check(part["stanza"]):
            return {"adopted": False}
        pgbackrest.pgbackrest(part["stanza"], "stanza-upgrade")
        pgbackrest.pgbackrest(part["stanza"], "check")
    return {"adopted": True}


def back_up_database(config: Config, kind: str) -> dict[str, Any]:
    """A full, differential or incremental backup of the cluster, and its manifest."""
    part, records = config.part("database"), Records(config)
    stanza, port = part["stanza"], part["port"]
    Store(config).require()
    started, clock = now(), time.monotonic()
    with lock(DATABASE_LOCK, wait=LOCK_WAIT_SECONDS, what=f"backup {kind}"):
        before = {backup["label"] for backup in pgbackrest.info(stanza)["backup"]}
        say(f"{kind} backup of {stanza} begins")
        pgbackrest.pgbackrest(stanza, "backup", f"--type={kind}")
        found = pgbackrest.info(stanza)
        new = [backup for backup in found["backup"] if backup["label"] not in before]
        if not new:
            raise SlipwayError(f"pgbackrest backup ended well, and its repository has no new backup of {stanza}")
        backup = new[-1]
        say(
            f"{backup['label']} is in the repository: "
            f"{backup['info']['repository']['delta']} bytes of {backup['info']['size']}"
        )
        there = database.names(port)
        faults = [
            f"database {entry['name']} of instance {entry['instance']} is not on this server: it has "
            f"{', '.join(there) or 'none'}. "
            "Was it renamed? Name it in the inventory, or give it its name back"
            for entry in part["databases"]
            if entry["name"] not in there
        ]
        if backup.get("error"):
            faults.append("pgbackrest found pages with wrong checksums while it copied: see its log")
        with_fingerprint = backup["type"] != "incr"
        entries = [entry for entry in part["databases"] if entry["name"] in there]
        databases: list[dict[str, Any]] = []
        afterwards = ""
        # The backup is complete by now, and others will build upon it: its manifest says so, whatever comes.
        try:
            databases = _take_down(entries, port=port, with_fingerprint=with_fingerprint)
            # Also closes the segment in which the instant of the fingerprint is, and waits for it in the repository.
            pgbackrest.pgbackrest(stanza, "check")
        except SlipwayError as error:
            afterwards = str(error)
        document = records.manifest(
            {
                **_head(
                    config, kind="database", label=backup["label"], form=backup["type"], started=started, faults=faults
                ),
                "duration_s": round(time.monotonic() - clock, 1),
                "size_bytes": backup["info"]["size"],
                "stored_bytes": backup["info"]["repository"]["delta"],
                "database": {
                    "version": part["version"],
                    "system_id": str(found["db"][-1]["system-id"]),
                    "stanza": stanza,
                    "backup": backup["label"],
                    "references": backup.get("reference") or [],
                    "lsn_start": backup["lsn"]["start"],
                    "lsn_stop": backup["lsn"]["stop"],
                    "time_start": backup_manifest.format_time(pgbackrest.moment(backup["timestamp"]["start"])),
                    "time_stop": backup_manifest.format_time(pgbackrest.moment(backup["timestamp"]["stop"])),
                    "wal_start": backup["archive"]["start"],
                    "wal_stop": backup["archive"]["stop"],
                },
                "databases": databases,
            }
        )
    result = _judged(document)
    if afterwards:
        raise SlipwayError(f"{backup['label']} is in the repository, and what came after it failed: {afterwards}")
    return result


def _take_down(entries: list[dict[str, Any]], *, port: int, with_fingerprint: bool) -> list[dict[str, Any]]:
    try:
        return database.take_down(entries, port=port, with_fingerprint=with_fingerprint)
    except SlipwayError as error:
        if not with_fingerprint:
            raise
        say(f"no fingerprint: {error}")
        return database.take_down(entries, port=port, with_fingerprint=False)


def back_up_files(config: Config) -> dict[str, Any]:
    """A snapshot of filestores, configuration and addons, and its manifest; into the spool while the store is away."""
    part, records, repository = config.part("files"), Records(config), restic.Repository(config)
    restic.prepare_cache()
    started, clock = now(), time.monotonic()
    label = f"files-{started:%Y%m%dT%H%M%SZ}"
    faults, instances, paths = [], [], [path for path in part["paths"] if os.path.exists(path)]
    for instance in part["instances"]:
        # A database without attachments has no filestore yet; one that had some and lost its directory does.
        if os.path.isdir(instance["filestore"]):
            paths += [instance["filestore"], *(path for path in instance["addons"] if os.path.isdir(path))]
        elif _had_files(config, instance["name"]):
            faults.append(
                f"the filestore {instance['filestore']} of instance {instance['name']} is gone; backups before had it"
            )
    with lock(FILES_LOCK, wait=LOCK_WAIT_SECONDS, what="backup of files"):
        try:
            Store(config).require()
            repository("unlock")
            unsent = _try_to_catch_up(config, repository)
            summary = repository.backup(paths, tags=_tags(config, "files", label, complete="yes"))
        except SlipwayError as error:
            _spool_files(config, label, error)
            raise
        for instance in part["instances"]:
            count, size = tree_size(pathlib.Path(instance["filestore"]))
            entry = {key: instance[key] for key in ("name", "database", "filestore")}
            instances.append({**entry,
                              "count": count, "bytes": size})  # fmt: skip
        document = records.manifest(
            {
                **_head(config, kind="files", label=label, form=None, started=started, faults=faults),
                "duration_s": round(time.monotonic() - clock, 1),
                "size_bytes": summary["total_bytes_processed"],
                "stored_bytes": summary.get("data_added_packed", summary["data_added"]),
                "files": {
                    "snapshot": summary["snapshot_id"],
                    "complete": True,
                    "instances": instances,
                    "contracts": {instance["name"]: instance["contracts"] for instance in part["instances"]},
                },
            }
        )
        if not faults:
            write_json(
                config.state / "files.json",
                {"started": started.timestamp(), "instances": {entry["name"]: entry["count"] for entry in instances}},
            )
    result = _judged(document)
    if unsent:
        raise SlipwayError(f"{label} is good, but what was spooled before it is not in the store: {unsent}")
    return result


def back_up_dumps(config: Config) -> dict[str, Any]:
    """A logical dump of each database in PostgreSQL's directory format: a second form, which any PostgreSQL reads."""
    part, faults, shipped = config.part("database"), [], []
    with lock(FILES_LOCK, wait=LOCK_WAIT_SECONDS, what="dump"):
        _require_room(config, database_port=part["port"])
        for entry in part["databases"]:
            try:
                _dump(config, part, entry)
            except SlipwayError as error:
                faults.append(f"{entry['name']}: {error}")
        try:
            Store(config).require()
            repository = restic.Repository(config)
            restic.prepare_cache()
            repository("unlock")
            shipped = _catch_up(config, repository)
        except SlipwayError as error:
            faults.append(str(error))
    if faults:
        raise SlipwayError("; ".join(faults))
    return {"shipped": shipped}


def verify(config: Config) -> dict[str, Any]:
    """Read back what is in the repositories, and write down which backups are sound."""
    records, found = Records(config), []
    Store(config).require()
    restic.prepare_cache()
    if config["database"]:
        stanza = config["database"]["stanza"]
        with lock(DATABASE_LOCK, wait=LOCK_WAIT_SECONDS, what="verify"):
            say("reading the backups of the database and their WAL back")
            seen = pgbackrest.verify(stanza)
            if seen.faulty:
                # A store that hesitates is no damage: what is damaged is so again.
                say("looking a second time")
                Store(config).require()
                seen = pgbackrest.verify(stanza)
            labels = [backup["label"] for backup in pgbackrest.info(stanza)["backup"]]
            for label in labels:
                faults = seen.backups.get(label, ["pgbackrest verify says nothing of it"])
                records.verification("database", label, good=not faults, by="verify", faults=faults)
                found += [f"{label}: {fault}" for fault in faults]
            found += seen.archive
            found += _verify_presence(records, "database", set(labels))
    with lock(FILES_LOCK, wait=LOCK_WAIT_SECONDS, what="verify"):
        damaged, unread = _verify_snapshots(config, records)
        found += damaged
    if found:
        raise SlipwayError(
            "damage in the store: "
            + "; ".join([*found, *unread])
            + ". Older good backups are used for a restore; make a full backup now"
        )
    if unread:
        raise SlipwayError(f"not everything could be read back, which tells nothing of these: {'; '.join(unread)}")
    return {"verified": True}


def prune(config: Config) -> dict[str, Any]:
    """Remove what retention does not keep: never the last good backup, and nothing while none is good."""
    policy = backup_retention.Policy.of(config["retention"])
    records, dropped, refused = Records(config), {}, []
    Store(config).require()
    records.send()
    restic.prepare_cache()
    if config["database"]:
        stanza = config["database"]["stanza"]
        with lock(DATABASE_LOCK, wait=LOCK_WAIT_SECONDS, what="prune"):
            there = {
                backup["label"]: backup_retention.Backup(
                    label=backup["label"],
                    time=pgbackrest.moment(backup["timestamp"]["stop"]),
                    good=not backup.get("error"),
                    needs=tuple(backup.get("reference") or ()),
                )
                for backup in pgbackrest.info(stanza)["backup"]
            }
            decision = _decide(records, policy, "database", there)
            for label in decision.drop:
                if label in {backup["label"] for backup in pgbackrest.info(stanza)["backup"]}:
                    say(f"removing {label}")
                    pgbackrest.pgbackrest(stanza, "expire", f"--set={label}")
                records.forget("database", label)
            # The WAL before what backup_wal_days keeps. By its configuration it never removes a backup.
            pgbackrest.pgbackrest(stanza, "expire")
            dropped["database"] = decision.drop
            refused += [decision.refused] if decision.refused else []
    with lock(FILES_LOCK, wait=LOCK_WAIT_SECONDS, what="prune"):
        repository = restic.Repository(config)
        repository("unlock")
        snapshots = repository.snapshots()
        for kind in ("files", "dump"):
            mine = [snapshot for snapshot in snapshots if restic.tag(snapshot, "kind") == kind]
            labels = {
                str(restic.tag(snapshot, "label")): snapshot
                for snapshot in mine
                if restic.tag(snapshot, "label") and restic.tag(snapshot, "complete") != "no"
            }
            there = {
                label: backup_retention.Backup(label=label, time=restic.moment(snapshot), good=True)
                for label, snapshot in labels.items()
            }
            decision = _decide(records, policy, kind, there)
            refused += [decision.refused] if decision.refused else []
            known = [labels[label]["id"] for label in decision.drop if label in labels]
            kept = [restic.moment(snapshot) for label, snapshot in labels.items() if label in decision.keep]
            # What was spooled belongs to the complete ones around it.
            known += [
                snapshot["id"]
                for snapshot in mine
                if restic.tag(snapshot, "complete") == "no" and kept and restic.moment(snapshot) < min(kept)
            ]
            if known:
                say(f"removing {len(known)} snapshots of {kind}")
                repository("forget", *known)
            for label in decision.drop:
                records.forget(kind, label)
            dropped[kind] = decision.drop
        repository("prune", "--max-unused=10%")
    if refused:
        raise SlipwayError("; ".join(refused))
    return {"dropped": dropped}


def _decide(
    records: Records, policy: backup_retention.Policy, kind: str, there: Mapping[str, backup_retention.Backup]
) -> backup_retention.Decision:
    """Judge the backups that have a manifest by it, and those of a run that was killed before it wrote one as they are.

    :param there: What the repository has, by label.
    """
    verified = records.verified(kind)
    backups = {
        document["label"]: backup_retention.Backup(
            label=document["label"],
            time=backup_manifest.parse_time(document["finished"] or document["started"]),
            good=document["state"] == "good" and document["label"] in there,
            needs=tuple(backup_manifest.needs(document)),
            verified=verified.get(document["label"]),
        )
        for document in records.manifests(kind)
    }
    for label, backup in there.items():
        backups.setdefault(label, dataclasses.replace(backup, verified=verified.get(label)))
    return backup_retention.decide(backups.values(), policy, now())


def _head(
    config: Config, *, kind: str, label: str, form: str | None, started: Any, faults: list[str]
) -> dict[str, Any]:
    return {
        "schema": 1,
        "site": config["site"],
        "host": config["host"],
        "kind": kind,
        "label": label,
        "type": form,
        "state": "bad" if faults else "good",
        "faults": faults,
        "started": backup_manifest.format_time(started),
        "finished": backup_manifest.format_time(now()),
        "database": None,
        "databases": [],
        "files": None,
        "dump": None,
    }


def _judged(document: dict[str, Any]) -> dict[str, Any]:
    """The manifest, unless it calls its backup bad or is faulty itself."""
    faults = document["faults"] or backup_manifest.check(document)
    if faults:
        raise SlipwayError(f"backup {document['label']} is not good: {'; '.join(faults)}")
    return {"label": document["label"], "type": document["type"], "size_bytes": document["size_bytes"],
            "stored_bytes": document["stored_bytes"], "duration_s": document["duration_s"]}  # fmt: skip


def _tags(config: Config, kind: str, label: str, **more: str) -> dict[str, str]:
    return {"site": config["site"], "kind": kind, "label": label, **more}


def _had_files(config: Config, name: str) -> bool:
    return bool((read_json(config.state / "files.json").get("instances") or {}).get(name))


def _spool_repository(config: Config) -> restic.Repository:
    return restic.Repository(config, directory=config.spool / "restic")


def _spool_files(config: Config, label: str, why: SlipwayError) -> None:
    """Keep on this host's disk what came since the last snapshot in the store: files of a filestore are only added."""
    say(f"the store did not take the snapshot ({why}); what is new goes to the spool")
    part, started = config.part("files"), now().timestamp()
    sent, spooled = read_json(config.state / "files.json"), read_json(config.spool / SPOOLED)
    # A minute of grace: a file may have been written while the last snapshot was begun. What the spool has was looked
    # for after its time was taken, and what changed since then is newer than that.
    since = max(sent.get("started", 0.0) - 60, spooled.get("started", 0.0))
    names, size = [], 0
    for instance in part["instances"]:
        for root, _directories, files in os.walk(instance["filestore"]):
            for name in files:
                path = os.path.join(root, name)
                try:
                    status = os.lstat(path)
                except OSError:
                    continue
                if status.st_ctime >= since:
                    names.append(path)
                    size += status.st_size
    used = tree_size(config.spool)[1]
    bound = int(config["spool"]["max_mb"]) << 20
    if used + size > bound:
        raise SlipwayError(
            f"{why}; and the spool {config.spool} holds {used >> 20} MB, {size >> 20} MB would come, and "
            f"its bound (backup_spool_max_mb) is {bound >> 20} MB: nothing more is spooled. "
            "What is in it is safe, and so is what is in the store"
        )
    if not names:
        return
    try:
        make_passage(config.spool)
        spool = _spool_repository(config)
        spool.create()
        spool("unlock")
        spool.backup(
            [], tags=_tags(config, "files", label, complete="no"), files_from="".join(f"{name}\0" for name in names)
        )
    except (SlipwayError, OSError) as error:
        raise SlipwayError(
            f"{why}; and {config.spool} does not take what is new ({size >> 20} MB), so it is on this host only once: "
            f"{error}"
        ) from None
    # In the repository itself, so that whoever removes the one removes the other.
    write_json(config.spool / SPOOLED, {"started": started})
    say(f"{len(names)} files ({size >> 20} MB) are in the spool")


def _try_to_catch_up(config: Config, repository: restic.Repository) -> str:
    """Catch up, and return why not: what cannot be sent must not keep a new snapshot from being made."""
    try:
        _catch_up(config, repository)
    except SlipwayError as error:
        say(f"note: what was spooled is not sent: {error}")
        return str(error)
    return ""


def _catch_up(config: Config, repository: restic.Repository) -> list[str]:
    """Send to the store what the spool has, and empty it of that; returns the labels of dumps."""
    Records(config).send()
    _send_snapshots(config, repository)
    return _ship_dumps(config, repository)


def _send_snapshots(config: Config, repository: restic.Repository) -> None:
    directory = config.spool / "restic"
    if not directory.exists():
        return
    spool = _spool_repository(config)
    labels = [restic.tag(entry, "label") or entry["short_id"] for entry in spool.snapshots()] if spool.exists() else []
    if labels:
        say(f"the store is back: sending {len(labels)} spooled snapshots")
        repository.copy_from(spool)
    shutil.rmtree(directory)


def _require_room(config: Config, *, database_port: int) -> None:
    """Refuse a dump that the spool may not hold."""
    make_passage(config.spool)
    names = [entry["name"] for entry in config.part("database")["databases"]]
    with database.connected("postgres", port=database_port) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT COALESCE(sum(pg_database_size(datname)), 0)::bigint FROM pg_database WHERE datname = ANY(%s)",
            (names,),
        )
        # A compressed dump without indexes is seldom more than a third; half is on the safe side.
        wanted = cursor.fetchone()[0] // 2
    used, bound = tree_size(config.spool)[1], int(config["spool"]["max_mb"]) << 20
    free = shutil.disk_usage(config.spool).free
    if used + wanted > bound or wanted > free:
        raise SlipwayError(
            f"no room for a dump in {config.spool}: it may need {wanted >> 20} MB; {free >> 20} MB are free, "
            f"and {used >> 20} of {bound >> 20} MB of its bound (backup_spool_max_mb) are used. Nothing was removed"
        )


def _dump(config: Config, part: Mapping[str, Any], entry: Mapping[str, Any]) -> None:
    """Dump one database into the spool, look whether it can be read, and put its manifest beside it."""
    started, clock = now(), time.monotonic()
    label = f"dump-{entry['name']}-{started:%Y%m%dT%H%M%SZ}"
    work, place = config.spool / "dumps" / f".{label}", config.spool / "dumps" / label
    make_passage(work.parent)
    for dead in work.parent.glob(".dump-*"):
        shutil.rmtree(dead)
    work.mkdir(mode=0o700)
    shutil.chown(work, "postgres", "postgres")
    say(f"dumping {entry['name']}")
    try:
        run(["pg_dump", f"--port={part['port']}", "--format=directory", "--jobs=2", "--compress=6",
             f"--file={work}/dump", "--dbname", entry["name"]],
            user="postgres", what="pg_dump")  # fmt: skip
        entries = dump_entries(run(["pg_restore", "--list", f"{work}/dump"], user="postgres", what="pg_restore --list"))
        files = {path.name: _sha256(path) for path in sorted((work / "dump").iterdir())}
        document = backup_manifest.seal(
            {
                **_head(config, kind="dump", label=label, form=None, started=started, faults=[]),
                "duration_s": round(time.monotonic() - clock, 1),
                "size_bytes": tree_size(work / "dump")[1],
                "stored_bytes": 0,
                "databases": database.take_down([entry], port=part["port"], with_fingerprint=False),
                # The snapshot is known when the dump is in the store.
                "dump": {"database": entry["name"], "snapshot": "", "entries": entries, "files": files},
            }
        )
        faults = dump_faults(document)
        if faults:
            raise SlipwayError("; ".join(faults))
        write_json(work / "manifest.json", document)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    os.replace(work, place)


def dump_entries(listing: str) -> int:
    """Entries of a dump by the output of ``pg_restore --list``: lines that are no comment."""
    return sum(1 for line in listing.splitlines() if line.strip() and not line.startswith(";"))


def dump_faults(document: Mapping[str, Any]) -> list[str]:
    """What keeps a dump from being a backup."""
    dump, faults = document["dump"], []
    if not dump["entries"]:
        faults.append("the dump has no entries")
    if "toc.dat" not in dump["files"] or not document["size_bytes"]:
        faults.append("the dump is empty")
    if (
        document["databases"]
        and document["databases"][0]["modules"]
        and dump["entries"] < len(document["databases"][0]["modules"])
    ):
        faults.append(f"the dump has {dump['entries']} entries, fewer than the database has modules")
    return faults


def _ship_dumps(config: Config, repository: restic.Repository) -> list[str]:
    """Send the dumps of the spool to the store, and remove here what is listed there."""
    shipped, faults = [], []
    below = config.spool / "dumps"
    for place in sorted(below.glob("dump-*")) if below.exists() else []:
        document = read_json(place / "manifest.json")
        broken = [
            name
            for name, digest in document.get("dump", {}).get("files", {}).items()
            if _sha256(place / "dump" / name) != digest
        ]
        if not document or broken:
            shutil.rmtree(place)
            faults.append(
                f"the spooled dump {place.name} is damaged ({', '.join(broken) or 'no manifest'}) and was removed: "
                "it was never counted as a backup"
            )
            continue
        summary = repository.backup([str(place)], tags=_tags(config, "dump", place.name, complete="yes"))
        if summary["snapshot_id"] not in {snapshot["id"] for snapshot in repository.snapshots(label=place.name)}:
            raise SlipwayError(f"restic said that {place.name} is in the store, and does not list it there")
        document["dump"]["snapshot"] = summary["snapshot_id"]
        document["stored_bytes"] = summary.get("data_added_packed", summary["data_added"])
        document["finished"] = backup_manifest.format_time(now())
        try:
            _judged(Records(config).manifest(document))
        except SlipwayError as error:
            faults.append(str(error))
        shutil.rmtree(place)
        shipped.append(place.name)
    if faults:
        raise SlipwayError("; ".join(faults))
    return shipped


def _sha256(path: pathlib.Path) -> str:
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as handle:
            for block in iter(lambda: handle.read(1 << 20), b""):
                digest.update(block)
    except FileNotFoundError:
        return ""
    return digest.hexdigest()


def _verify_presence(records: Records, kind: str, there: set[str]) -> list[str]:
    """Write down which backups that were good are no longer there."""
    labels = {document["label"] for document in records.manifests(kind) if document["state"] == "good"}
    fault = "it is not in the repository: was it deleted there?"
    for label in sorted(labels - there):
        records.verification(kind, label, good=False, by="verify", faults=[fault])
    return [f"{label}: {fault}" for label in sorted(labels - there)]


def _verify_snapshots(config: Config, records: Records) -> tuple[list[str], list[str]]:
    """Read the restic repository back; returns what is damaged, and what could not be read for another reason.

    Only damage refutes a snapshot: those that are refuted go with the next ``prune``.
    """
    repository = restic.Repository(config)
    repository("unlock")
    snapshots = [snapshot for snapshot in repository.snapshots() if restic.tag(snapshot, "label")]
    say(f"reading the data of {len(snapshots)} snapshots back")
    broken: dict[str, str] = {}
    unread: dict[str, str] = {}
    elsewhere = []
    try:
        repository("check", "--read-data")
    except SlipwayError as error:
        say(f"{error}: looking which snapshots need what is damaged")
        for snapshot in snapshots:
            Store(config).require()
            try:
                repository("dump", snapshot["id"], "/", "--archive", "tar", "--target", "/dev/null")
            except SlipwayError as fault:
                (broken if restic.is_damage(str(fault)) else unread)[snapshot["id"]] = str(fault)
        if not broken and not unread:
            try:
                repository("check", "--read-data")
            except SlipwayError as again:
                elsewhere.append(str(again))
    for snapshot in snapshots:
        if snapshot["id"] in unread:
            continue
        fault = broken.get(snapshot["id"])
        kind, label = restic.tag(snapshot, "kind") or "files", restic.tag(snapshot, "label") or snapshot["short_id"]
        records.verification(kind, label, good=fault is None, by="verify", faults=[fault] if fault else [])
    gone = []
    for kind in ("files", "dump"):
        labels = {str(restic.tag(snapshot, "label")) for snapshot in snapshots if restic.tag(snapshot, "kind") == kind}
        gone += _verify_presence(records, kind, labels)
    told = [
        [f"{restic.tag(one, 'label')}: {faults[one['id']]}" for one in snapshots if one["id"] in faults]
        for faults in (broken, unread)
    ]
    return [*told[0], *elsewhere, *gone], told[1]


JOBS: dict[str, Callable[[Config], dict[str, Any]]] = {
    "full": lambda config: back_up_database(config, "full"),
    "diff": lambda config: back_up_database(config, "diff"),
    "incr": lambda config: back_up_database(config, "incr"),
    "files": back_up_files,
    "dump": back_up_dumps,
    "verify": verify,
    "prune": prune,
}
