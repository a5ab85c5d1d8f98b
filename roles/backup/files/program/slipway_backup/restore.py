# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restore on a database host: into a new database beside the live one, or into the whole cluster.

A database is restored physically into a scratch cluster that only its administrator can reach, brought to the wanted
point, and carried from there into the live cluster under a new name. Nothing of the live database is touched before
:func:`swap_database`, which only renames.

Databases that come from here say so in their comment, so that a later run knows what it may drop.
"""

from __future__ import annotations

import argparse
import configparser
import contextlib
import dataclasses
import io
import json
import os
import pathlib
import pwd
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils import backup_restore as thinking
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

from . import host, pgbackrest
from .config import Config
from .database import SOCKETS, connected
from .store import Store, StoreError

PGBACKREST_CONF = "/etc/pgbackrest.conf"
SCRATCH = pathlib.Path("/var/lib/postgresql/slipway-restore")
MARKER = ".slipway-scratch"
LOCK = "restore"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", re.ASCII)
RESERVED = ("postgres", "template0", "template1")

UNFINISHED, BESIDE, LIVE, KEPT = "unfinished", "beside", "live", "kept"
_COMMENT = re.compile(r"slipway-restore (\w+) of (\S+): (.*)", re.DOTALL)

WAL_WAIT_SECONDS, PROGRESS_SECONDS, RENAME_TRIES = 60, 10, 5
PORT = 5432
"""Of the scratch cluster: there it is only part of the name of a socket in a directory of its own."""

SETTINGS = {
    "archive_mode": "off", "autovacuum": "off", "fsync": "off", "full_page_writes": "off", "synchronous_commit": "off",
    "hot_standby": "off", "jit": "off", "listen_addresses": "", "logging_collector": "off", "ssl": "off",
    "shared_preload_libraries": "", "session_preload_libraries": "", "local_preload_libraries": "",
    "max_connections": "20", "max_prepared_transactions": "64", "max_locks_per_transaction": "1024",
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0", "shared_buffers": "128MB", "maintenance_work_mem": "64MB",
    "max_wal_size": "4GB", "huge_pages": "off", "restart_after_crash": "off", "log_min_messages": "warning",
    "lc_messages": "C", "external_pid_file": "", "log_destination": "stderr", "unix_socket_permissions": "0700",
    "primary_conninfo": "", "primary_slot_name": "", "archive_cleanup_command": "", "recovery_end_command": "",
}  # fmt: skip
"""Of the scratch cluster, on its command line, which wins over what the backup brought along. It lives for minutes, and
need not survive a crash."""


# ---- what the repository has


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a restore is going to do."""

    point: thinking.Point
    backup: thinking.Backup
    arguments: tuple[str, ...]
    database: str
    document: Mapping[str, Any]
    doubt: str = ""

    def shown(self) -> dict[str, Any]:
        """As JSON, for who asked."""
        moment = thinking.files_time(self.point, self.backup)
        return {
            "kind": self.point.kind,
            "label": self.backup.label,
            "backup_stop": _iso(self.backup.stop),
            "files_time": "latest" if moment is None else _iso(moment),
            "database_then": self.database,
            "doubt": self.doubt,
        }


def make_plan(
    config: Config, *, to: str, instance: str, wanted: str, store_time: str | None = None, conf: str | None = None
) -> Plan:
    """Find out what leads to the wanted point; fails where nothing does.

    :param wanted: name of the instance's database today.
    """
    database = config.part("database")
    past = _store_time(store_time)
    try:
        found = _info(database["stanza"], past, conf)
    except SlipwayError as error:
        if past or "missing stanza" not in str(error):
            raise
        raise SlipwayError(
            f"{error}. If somebody deleted it, say when it was still there (--store-time, restore_store_time)"
        ) from None
    documents, refuted = read_manifests(config)
    point = thinking.parse_point(to, now=host.now(), labels=[entry["label"] for entry in found.get("backup", ())])
    by_label = {document["label"]: document for document in documents if document.get("kind") == "database"}
    backups = thinking.read_backups(found, documents, database=wanted, refuted=refuted)
    backup = thinking.choose_backup(backups, point)
    document = by_label.get(backup.label, {})
    name = thinking.name_then(document, instance, default=wanted)
    if name != wanted:
        backups = thinking.read_backups(found, documents, database=name, refuted=refuted)
        backup = thinking.choose_backup(backups, point)
    segments = _segments(database["stanza"], backup, past, conf)
    reach = thinking.judge_reach(segments, backup, point)
    if reach.fault:
        # Several processes push the WAL of a busy server, and not in its order.
        time.sleep(5)
        segments = _segments(database["stanza"], backup, past, conf)
        reach = thinking.judge_reach(segments, backup, point)
    if reach.fault:
        raise SlipwayError(reach.fault)
    if reach.doubt:
        host.say(f"note: {reach.doubt}")
    arguments = tuple(thinking.pgbackrest_arguments(point, backup))
    timeline = thinking.timeline_at(segments, point.time) if point.kind == thinking.TIME and point.time else None
    if timeline is not None:
        host.say(f"the cluster was restored since then: following time line {timeline}, which it was on at that time")
        arguments += (f"--target-timeline={timeline}",)
    return Plan(point, backup, arguments, name, document, reach.doubt)


def read_manifests(config: Config) -> tuple[list[dict[str, Any]], dict[str, list[str]]]:
    """The manifests of this host's database backups, and what verifications found wrong: label -> faults.

    Those of the store, or those that this host keeps where the store has none. Without any a restore works as well.
    """
    try:
        store = Store(config)
        documents = [store.get_json(key) for key in store.list("manifests/database/")]
        verdicts = [(key, store.get_json(key)) for key in sorted(store.list("verifications/database/"))]
    except StoreError as error:
        host.say(f"note: no manifests from the store: {error}")
        documents, verdicts = [], []
    if not documents:
        documents = [host.read_json(path) for path in sorted((config.state / "manifests/database").glob("*.json"))]
    refuted: dict[str, list[str]] = {}
    for key, verdict in verdicts:
        # The keys are in the order of time: the last word counts.
        label = key.split("/")[-2]
        refuted.pop(label, None)
        if verdict.get("good") is False:
            refuted[label] = [str(fault) for fault in verdict.get("faults") or ["a verification found it bad"]]
    return [document for document in documents if document.get("label")], refuted


def _store_time(text: str | None) -> list[str]:
    if not text:
        return []
    moment = thinking.parse_time(text)
    if moment > host.now():
        raise SlipwayError(f"the time of the store, {text}, is in the future")
    # pgBackRest takes no parts of a second here.
    return [f"--repo-target-time={moment:%Y-%m-%d %H:%M:%S}+00", "--repo=1"]


def _info(stanza: str, past: Sequence[str], conf: str | None) -> dict[str, Any]:
    if not past:
        return pgbackrest.info(stanza, config=conf)
    found = json.loads(_repository_command(stanza, past, conf, "--output=json", command="info"))
    if not found or not found[0].get("backup"):
        raise SlipwayError(f"pgbackrest finds no backup of stanza {stanza} in the store as it was then ({past[0]})")
    return dict(found[0])


def _repository_command(stanza: str, past: Sequence[str], conf: str | None, *options: str, command: str) -> str:
    where = [f"--config={conf}"] if conf else []
    of_stanza = [f"--stanza={stanza}"] if command != "repo-ls" else []
    # repo-ls takes its path last.
    words = [
        "pgbackrest",
        *where,
        *of_stanza,
        *past,
        "--log-level-console=off",
        "--log-level-stderr=warn",
        "--log-level-file=off",
    ]
    words += [command, *options] if command == "repo-ls" else [*options, command]
    return host.run(words, user=pgbackrest.USER, what=f"pgbackrest {command}")


def _segments(stanza: str, backup: thinking.Backup, past: Sequence[str], conf: str | None) -> dict[str, datetime]:
    """What the archive of a backup's cluster holds, and when that was stored."""
    said = _repository_command(
        stanza, past, conf, "--recurse", "--output=json", f"archive/{stanza}/{backup.archive}", command="repo-ls"
    )
    return {
        name: datetime.fromtimestamp(entry["time"], tz=timezone.utc)
        for name, entry in json.loads(said).items()
        if entry.get("type") == "file" and "time" in entry
    }


# ---- the scratch cluster


class Scratch:
    """A cluster of its own below :data:`SCRATCH`, which is gone at the end."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.directory = SCRATCH / f"{host.now():%Y%m%dT%H%M%SZ}-{os.getpid()}"
        self.data = self.directory / "data"
        self.sockets = self.directory / "socket"
        self.dump = self.directory / "dump"
        self.log = self.directory / "postgresql.log"
        self.conf = self.directory / "pgbackrest.conf"
        self.started = False

    def __enter__(self) -> Scratch:
        remove_dead()
        owner = pwd.getpwnam("postgres")
        SCRATCH.mkdir(mode=0o700, exist_ok=True)
        os.chown(SCRATCH, owner.pw_uid, owner.pw_gid)
        # The marker is there before anything else, so that whatever a killed run leaves is known for ours.
        self.directory.mkdir(mode=0o700)
        (self.directory / MARKER).write_text(json.dumps({"pid": os.getpid(), "since": _iso(host.now())}))
        for path in (self.data, self.sockets, self.directory / "spool", self.directory / "lock"):
            path.mkdir(mode=0o700)
        for path in (self.directory, *self.directory.iterdir()):
            os.chown(path, owner.pw_uid, owner.pw_gid)
        return self

    def __exit__(self, *_failed: object) -> None:
        remove_scratch(self.directory)

    def binary(self, name: str) -> str:
        """A program of this version of PostgreSQL."""
        return binary(self.version, name)

    def configure(self, stanza: str) -> None:
        """Write a configuration for pgBackRest that shares no lock and no spool with that of the live cluster."""
        text = private_conf(
            pathlib.Path(PGBACKREST_CONF).read_text(), stanza=stanza, data=self.data, directory=self.directory
        )
        host.write(self.conf, text, mode=0o640)
        os.chown(self.conf, 0, pwd.getpwnam("postgres").pw_gid)

    def restore(self, stanza: str, *options: str) -> None:
        """Have pgBackRest write the data directory."""
        pgbackrest.pgbackrest(stanza, "restore", f"--pg1-path={self.data}", *options, config=str(self.conf))

    def start(self) -> None:
        """Start the server; it replays WAL until the target and then becomes a server of its own."""
        hba = self.directory / "pg_hba.conf"
        hba.write_text("local all postgres peer\n")
        ident = self.directory / "pg_ident.conf"
        ident.write_text("")
        for path in (hba, ident):
            shutil.chown(path, "postgres", "postgres")
        (self.data / "postgresql.conf").touch(mode=0o600)
        shutil.chown(self.data / "postgresql.conf", "postgres", "postgres")
        settings = {
            **SETTINGS,
            "config_file": str(self.data / "postgresql.conf"),
            "hba_file": str(hba),
            "ident_file": str(ident),
            "unix_socket_directories": str(self.sockets),
            "port": str(PORT),
            "data_directory": str(self.data),
        }
        if _shared_buffers_small():
            settings["shared_buffers"] = "32MB"
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        # Not pg_ctl: its options go through a shell.
        with open(self.log, "ab") as log:
            subprocess.Popen(  # its end is seen in its lock file
                ["setsid", "runuser", "-u", "postgres", "--", self.binary("postgres"), "-D", str(self.data), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8"},
            )
        self.started = True

    def wait(self) -> None:
        """Wait until it takes connections, which it does once the target is reached.

        :raises SlipwayError: the server gave up; says why.
        """
        began = told = time.monotonic()
        while True:
            time.sleep(0.2)
            if self._ready():
                return
            alive = server_pid(self.data) is not None
            if not alive and time.monotonic() - began > 5:
                raise SlipwayError(
                    f"The restored cluster did not reach the wanted point: {recovery_fault(self._tail(40))}"
                )
            if time.monotonic() - told > PROGRESS_SECONDS:
                told = time.monotonic()
                host.say(f"replaying WAL ({told - began:.0f} s): {self._replayed()}")

    def _ready(self) -> bool:
        done = host.run_raw(
            [self.binary("pg_isready"), "-q", "-h", str(self.sockets), "-p", str(PORT)], user="postgres"
        )
        return done.returncode == 0

    def _replayed(self) -> str:
        """The WAL that was fetched last, as the server's processes tell."""
        done = host.run_raw(["ps", "-u", "postgres", "-o", "args="])
        lines = [line for line in done.stdout.splitlines() if "startup recovering" in line or "startup waiting" in line]
        return lines[-1].strip() if lines else "..."

    def _tail(self, lines: int) -> list[str]:
        try:
            return self.log.read_text(errors="replace").splitlines()[-lines:]
        except OSError:
            return []

    def rows(self, database: str, query: str, values: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        """Ask the scratch cluster."""
        return rows(database, query, values, port=PORT, sockets=str(self.sockets))


def _shared_buffers_small() -> bool:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") < 2 << 30


def private_conf(text: str, *, stanza: str, data: pathlib.Path, directory: pathlib.Path) -> str:
    """pgBackRest's configuration for a scratch cluster: the repository of the host's, and nothing else shared."""
    given = configparser.RawConfigParser(strict=False)
    given.optionxform = str  # type: ignore[assignment,method-assign]
    given.read_string(text)
    made = configparser.RawConfigParser()
    made.optionxform = str  # type: ignore[assignment,method-assign]
    own = {}
    for section in ("global", stanza):
        if given.has_section(section):
            own.update({key: value for key, value in given.items(section) if key.startswith("repo1-")})
    own.update(
        {
            "lock-path": str(directory / "lock"),
            "spool-path": str(directory / "spool"),
            "archive-async": "y",
            "archive-get-queue-max": "256MiB",
            "process-max": str(min(4, max(2, os.cpu_count() or 1))),
            "log-level-file": "off",
            "log-level-console": "warn",
        }
    )
    # Retention belongs to those who write into the repository.
    own = {key: value for key, value in own.items() if "retention" not in key}
    made["global"] = own
    made[stanza] = {"pg1-path": str(data), "pg1-port": str(PORT), "pg1-socket-path": str(directory / "socket")}
    written = io.StringIO()
    made.write(written, space_around_delimiters=False)
    return written.getvalue()


def recovery_fault(lines: Sequence[str]) -> str:
    """What the log of a server says about why it gave up, in words that lead further."""
    text = "\n".join(lines)
    reached = re.findall(r"last completed transaction was at log time ([^\n]+)", text)
    if "recovery ended before configured recovery target was reached" in text:
        return (
            "the WAL in the archive ends before it"
            + (f", the last transaction there is of {reached[-1].strip()}" if reached else "")
            + ". Say an earlier time, or latest"
        )
    errors = [line for line in lines if "FATAL" in line or "PANIC" in line or "ERROR" in line]
    return " / ".join((errors or list(lines))[-5:]) or "its log says nothing"


def binary(version: str, name: str) -> str:
    """A program of a version of PostgreSQL, where Debian has it."""
    return f"/usr/lib/postgresql/{version}/bin/{name}"


def server_pid(data: pathlib.Path) -> int | None:
    """The process of the server of a data directory, if it runs."""
    try:
        pid = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
        command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except (OSError, ValueError):
        return None
    # The number may be another process's by now.
    return pid if str(data) in command else None


def remove_scratch(directory: pathlib.Path) -> None:
    """Stop the server of a scratch directory and remove it; refuses what has no marker."""
    if not (directory / MARKER).is_file():
        raise SlipwayError(f"{directory} is not ours ({MARKER} is missing): it was left as it is")
    data = directory / "data"
    deadline = time.monotonic() + 60
    while (pid := server_pid(data)) is not None and time.monotonic() < deadline:
        with contextlib.suppress(ProcessLookupError):
            # Immediately: nothing of it is needed.
            os.kill(pid, signal.SIGQUIT)
        time.sleep(0.2)
    if server_pid(data) is not None:
        raise SlipwayError(f"the server of {data} does not end")
    # The marker goes last.
    for path in directory.iterdir():
        if path.name == MARKER:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    shutil.rmtree(directory)


def remove_dead() -> None:
    """Remove what killed runs left. Only who holds the lock may call this."""
    if not SCRATCH.is_dir():
        return
    for path in sorted(SCRATCH.iterdir()):
        if (path / MARKER).is_file():
            host.say(f"removing what a run that was killed left: {path}")
            remove_scratch(path)


# ---- SQL on the live cluster


def rows(
    database: str, query: Any, values: Sequence[Any] | None = None, *, port: int, sockets: str = SOCKETS
) -> list[tuple[Any, ...]]:
    """Ask once, as PostgreSQL's administrator.

    :raises SlipwayError: the server refused it.
    """
    import psycopg2  # noqa: PLC0415

    with connected(database, port=port, sockets=sockets) as connection, connection.cursor() as cursor:
        try:
            cursor.execute("SET lock_timeout = '60s'")
            cursor.execute(query, values)
            return list(cursor.fetchall()) if cursor.description else []
        except psycopg2.Error as error:
            raise SlipwayError(f"database {database}: {' '.join(str(error).split())}") from None


def statement(text: str, *names: str) -> Any:
    """A statement with identifiers."""
    import psycopg2.sql  # noqa: PLC0415

    return psycopg2.sql.SQL(text).format(*(psycopg2.sql.Identifier(name) for name in names))


def databases(port: int) -> dict[str, str]:
    """Every database of the server with its comment."""
    found = rows(
        "postgres",
        "SELECT datname, coalesce(shobj_description(oid, 'pg_database'), '') FROM pg_database WHERE NOT datistemplate",
        port=port,
    )
    return dict(found)


def mark_of(comment: str) -> tuple[str, str]:
    """State and instance of a database that comes from here, of its comment; empty texts where it does not."""
    found = _COMMENT.fullmatch(comment)
    return (found.group(1), found.group(2)) if found else ("", "")


def mark(name: str, state: str, instance: str, text: str, *, port: int) -> None:
    """Write what a database is into its comment."""
    import psycopg2.sql  # noqa: PLC0415

    comment = psycopg2.sql.Literal(f"slipway-restore {state} of {instance}: {text}")
    rows(
        "postgres",
        psycopg2.sql.SQL("COMMENT ON DATABASE {} IS {}").format(psycopg2.sql.Identifier(name), comment),
        port=port,
    )


def require_free_name(config: Config, name: str) -> None:
    """Refuse a name that could be that of something live."""
    if not NAME.fullmatch(name):
        raise SlipwayError(
            f"{name!r} is no name of a database: letters, digits, dots, dashes and underscores, at most 63"
        )
    live = [entry["name"] for entry in config.part("database")["databases"]]
    if name in live or name in RESERVED:
        raise SlipwayError(f"{name} is a live database: choose another name")


# ---- verb: restore-plan


def restore_plan(config: Config, arguments: argparse.Namespace) -> dict[str, Any]:
    """Say what a restore would do, and change nothing."""
    entry = config.database_of(arguments.instance)
    plan = make_plan(
        config, to=arguments.to, instance=arguments.instance, wanted=entry["name"], store_time=arguments.store_time
    )
    if arguments.name:
        require_free_name(config, arguments.name)
        require_replaceable(config, arguments.name, replace=arguments.replace)
    port = config.part("database")["port"]
    present = databases(port) if cluster_runs(config) else {}
    return {
        "instance": arguments.instance,
        "database": entry["name"],
        "live_exists": entry["name"] in present,
        **plan.shown(),
    }


def require_replaceable(config: Config, name: str, *, replace: bool) -> None:
    """Refuse a name that is taken by anything but what an earlier restore left beside."""
    present = databases(config.part("database")["port"])
    if name not in present:
        return
    state, _instance = mark_of(present[name])
    if state == UNFINISHED or (replace and state == BESIDE):
        return
    raise SlipwayError(
        f"there is a database {name} already"
        + (
            f", which an earlier restore made: allow to replace it, or drop it with `drop-kept --name {name}`"
            if state
            else ""
        )
    )


# ---- verb: restore-database


def restore_database(config: Config, arguments: argparse.Namespace) -> dict[str, Any]:
    """Restore one database under a new name, beside the live one."""
    with host.lock(LOCK, wait=0, what="slipway-backup restore-database"):
        return _restore_database(arguments, config)


def _restore_database(arguments: argparse.Namespace, config: Config) -> dict[str, Any]:
    part = config.part("database")
    port, stanza = part["port"], part["stanza"]
    entry = config.database_of(arguments.instance)
    name = arguments.name
    require_free_name(config, name)
    require_replaceable(config, name, replace=arguments.replace)
    steps: dict[str, float] = {}
    remove_dead()

    with timed(steps, "plan"):
        if not arguments.store_time:
            flush_wal(port)
        plan = make_plan(
            config, to=arguments.to, instance=arguments.instance, wanted=entry["name"], store_time=arguments.store_time
        )
        past = _store_time(arguments.store_time)
        require_space(plan)
    host.say(f"{name}: from backup {plan.backup.label} to {describe(plan.point)}")

    with Scratch(part["version"]) as scratch:
        scratch.configure(stanza)
        with timed(steps, "restore"):
            restored = restore_scratch(scratch, plan, [*past], wanted=entry["name"], everything=False)
        reached = scratch.rows(
            "postgres",
            "SELECT pg_last_wal_replay_lsn()::text, pg_last_xact_replay_timestamp(), pg_current_wal_lsn()::text",
        )[0]
        with timed(steps, "dump"):
            before = count_rows(restored, port=PORT, sockets=str(scratch.sockets))
            compare_fingerprint(plan, before)
            dump(scratch, restored)
        with timed(steps, "load"):
            create(config, scratch, restored, name, entry, arguments.instance, plan)
            load(scratch, name, port)
        with timed(steps, "compare"):
            after = count_rows(name, port=port)
            compare_rows(before, after)
    with timed(steps, "analyze"):
        host.run(
            [binary(part["version"], "vacuumdb"), "--analyze-only", "--quiet", f"--jobs={jobs()}", f"--port={port}",
             f"--host={SOCKETS}", name],
            user="postgres",
            what="vacuumdb",
        )  # fmt: skip
    moment = reached[1].astimezone(timezone.utc) if reached[1] else None
    text = f"{describe(plan.point)}, from backup {plan.backup.label}, restored {_iso(host.now())}"
    mark(name, BESIDE, arguments.instance, text, port=port)
    return {
        "name": name,
        "instance": arguments.instance,
        "tables": sum(1 for key in before if not key.startswith("sequence ")),
        "rows": sum(count for key, count in before.items() if not key.startswith("sequence ")),
        "lsn": reached[0] or reached[2],
        "time": _iso(moment) if moment else None,
        "seconds": steps,
        **plan.shown(),
    }


def restore_scratch(scratch: Scratch, plan: Plan, past: Sequence[str], *, wanted: str, everything: bool) -> str:
    """Restore and start the scratch cluster, and return the name that the database has there.

    Only the wanted database is fetched. A database that was made under another name after the backup began, and renamed
    since, is not in such a restore: then all of them are fetched.
    """
    chosen = [] if everything else [f"--db-include={plan.database}"]
    host.say("fetching the backup" + ("" if everything else f", only database {plan.database}"))
    try:
        scratch.restore(stanza_of(scratch), *plan.arguments, *past, *chosen, f"--process-max={jobs()}")
        scratch.start()
        scratch.wait()
        name = find_database(scratch, [wanted, plan.database])
    except SlipwayError as error:
        if everything or not _of_selection(str(error)):
            raise
        host.say(f"note: {error}; fetching every database")
        remove_server(scratch)
        return restore_scratch(scratch, plan, past, wanted=wanted, everything=True)
    return name


def _of_selection(text: str) -> bool:
    return "database to include" in text or "is not in the restored cluster" in text or "is empty there" in text


def stanza_of(scratch: Scratch) -> str:
    """The only stanza of a scratch cluster's configuration."""
    made = configparser.RawConfigParser()
    made.read(scratch.conf)
    return next(section for section in made.sections() if section != "global")


def remove_server(scratch: Scratch) -> None:
    """Stop the scratch server and empty its data directory."""
    while (pid := server_pid(scratch.data)) is not None:
        os.kill(pid, signal.SIGQUIT)
        time.sleep(0.2)
    shutil.rmtree(scratch.data)
    scratch.data.mkdir(mode=0o700)
    shutil.chown(scratch.data, "postgres", "postgres")


def find_database(scratch: Scratch, names: Sequence[str]) -> str:
    """The first of the names that the scratch cluster has, whole enough to be asked."""
    present = {row[0] for row in scratch.rows("postgres", "SELECT datname FROM pg_database")}
    for name in dict.fromkeys(names):
        if name in present:
            # It may be closed to connections, as databases that a swap kept are.
            scratch.rows("postgres", statement("ALTER DATABASE {} ALLOW_CONNECTIONS true", name))
            try:
                scratch.rows(name, "SELECT count(*) FROM pg_class")
            except SlipwayError as error:
                # pgBackRest leaves nothing but zeros of a database that was not asked for.
                raise SlipwayError(f"database {name} is empty there ({error})") from None
            return name
    known = ", ".join(sorted(present - set(RESERVED))) or "none"
    raise SlipwayError(
        f"database {' or '.join(dict.fromkeys(names))} is not in the restored cluster, which has {known}"
    )


def flush_wal(port: int) -> None:
    """Have everything until now archived, so that every moment before now can be reached.

    A server that does not run, or whose archiving fails, keeps nothing from being restored.
    """
    try:
        # A commit that is later than the wanted time: PostgreSQL only stops at one.
        rows("postgres", "SELECT txid_current()", port=port)
        segment = rows("postgres", "SELECT pg_walfile_name(pg_switch_wal())", port=port)[0][0]
        deadline = time.monotonic() + WAL_WAIT_SECONDS
        while time.monotonic() < deadline:
            archived, failing = rows(
                "postgres",
                """SELECT last_archived_wal, last_failed_time > coalesce(last_archived_time, '-infinity')
                     FROM pg_stat_archiver""",
                port=port,
            )[0]
            if failing:
                # As on a host that was built anew, whose cluster the repository does not know.
                host.say("note: this server's archiving fails; what it has not archived cannot be reached")
                return
            if archived and thinking.position(archived) and archived[:24] >= segment:
                return
            time.sleep(0.2)
        host.say(
            f"note: the server did not archive {segment} within {WAL_WAIT_SECONDS} s; what came last cannot be reached"
        )
    except SlipwayError as error:
        host.say(f"note: the WAL of this server was not flushed: {error}")


def require_space(plan: Plan) -> None:
    """Refuse to begin what would fill the disk: scratch, dump and new database at the same time."""
    sizes = [
        entry.get("size_bytes") or 0
        for entry in plan.document.get("databases") or ()
        if entry.get("name") == plan.database
    ]
    wanted = int(sum(sizes) * 2.5) + (1 << 28)
    free = shutil.disk_usage("/var/lib/postgresql").free
    if sizes and free < wanted:
        raise SlipwayError(
            f"/var/lib/postgresql has {free >> 20} MiB free, and the restore takes about {wanted >> 20} MiB for a "
            "scratch cluster, a dump and the new database. Make room first"
        )


def dump(scratch: Scratch, database: str) -> None:
    """Dump the restored database into a directory of the scratch cluster."""
    host.say("dumping")
    pack = "--compress=zstd:1" if int(scratch.version) >= 16 else "--compress=1"
    host.run(
        [scratch.binary("pg_dump"), "--format=directory", f"--jobs={jobs()}", pack, "--no-sync",
         f"--file={scratch.dump}", f"--host={scratch.sockets}", f"--port={PORT}", f"--dbname={database}"],
        user="postgres",
        what="pg_dump",
    )  # fmt: skip


def create(
    config: Config, scratch: Scratch, source: str, name: str, entry: Mapping[str, Any], instance: str, plan: Plan
) -> None:
    """Make the new database as the role postgresql would: template0, the same collation, only its owner may enter."""
    import psycopg2.sql  # noqa: PLC0415

    port = config.part("database")["port"]
    known = {row[0] for row in rows("postgres", "SELECT rolname FROM pg_roles", port=port)}
    needed = scratch.rows(
        source,
        """SELECT DISTINCT r.rolname FROM pg_shdepend d JOIN pg_roles r ON r.oid = d.refobjid
            WHERE d.refclassid = 'pg_authid'::regclass AND d.deptype IN ('o', 'a', 'r')
              AND (d.dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) OR d.dbid = 0)
              AND (d.dbid <> 0 OR d.objid = (SELECT oid FROM pg_database WHERE datname = current_database()))""",
    )
    missing = sorted(({row[0] for row in needed} | {entry["owner"]}) - known)
    if missing:
        raise SlipwayError(
            f"the database belongs to, or is open to, roles that this server lacks: {', '.join(missing)}. "
            "Run playbooks/deploy.yml first, or create them"
        )
    collate, ctype = scratch.rows(
        source, "SELECT datcollate, datctype FROM pg_database WHERE datname = current_database()"
    )[0]
    literal, identifier = psycopg2.sql.Literal, psycopg2.sql.Identifier
    if name in databases(port):
        # require_replaceable has looked: it is what an earlier restore left.
        rows("postgres", statement("DROP DATABASE {} WITH (FORCE)", name), port=port)
    host.say(f"creating database {name}")
    rows(
        "postgres",
        psycopg2.sql.SQL(
            "CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE {} LC_CTYPE {}"
        ).format(identifier(name), identifier(entry["owner"]), literal(collate), literal(ctype)),
        port=port,
    )
    mark(name, UNFINISHED, instance, f"from backup {plan.backup.label}", port=port)
    rows("postgres", statement("REVOKE ALL ON DATABASE {} FROM PUBLIC", name), port=port)
    rows("postgres", statement("GRANT CONNECT ON DATABASE {} TO {}", name, entry["owner"]), port=port)
    settings = scratch.rows(
        source,
        """SELECT unnest(setconfig) FROM pg_db_role_setting
            WHERE setrole = 0 AND setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())""",
    )
    for (setting,) in settings:
        key, _equals, value = setting.partition("=")
        rows(
            "postgres",
            psycopg2.sql.SQL("ALTER DATABASE {} SET {} TO {}").format(
                identifier(name), identifier(key), literal(value)
            ),
            port=port,
        )


def load(scratch: Scratch, name: str, port: int) -> None:
    """Load the dump; a dump does not hold that unaccent is immutable, which indexes need."""
    base = [scratch.binary("pg_restore"), "--exit-on-error", f"--host={SOCKETS}", f"--port={port}", f"--dbname={name}"]
    host.say("loading the structure")
    host.run([*base, "--section=pre-data", str(scratch.dump)], user="postgres", what="pg_restore")
    if rows(name, "SELECT to_regprocedure('public.unaccent(text)') IS NOT NULL", port=port)[0][0]:
        rows(name, "ALTER FUNCTION public.unaccent(text) IMMUTABLE", port=port)
    host.say("loading rows, indexes and constraints")
    host.run(
        [*base, f"--jobs={jobs()}", "--section=data", "--section=post-data", str(scratch.dump)],
        user="postgres",
        what="pg_restore",
    )


_TABLES = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
   AND NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
 ORDER BY 1, 2
"""


def count_rows(database: str, *, port: int, sockets: str = SOCKETS) -> dict[str, int]:
    """Rows of every table, and the last value of every sequence, of a database that nobody writes to."""
    import psycopg2  # noqa: PLC0415

    counts: dict[str, int] = {}
    with connected(database, port=port, sockets=sockets) as connection, connection.cursor() as cursor:
        try:
            cursor.execute("SET statement_timeout = 0")
            cursor.execute(_TABLES)
            for schema, name in cursor.fetchall():
                cursor.execute(statement("SELECT count(*) FROM ONLY {}.{}", schema, name))
                counts[f"{schema}.{name}"] = cursor.fetchone()[0]
            cursor.execute("SELECT schemaname, sequencename, last_value FROM pg_sequences")
            counts.update({f"sequence {schema}.{name}": value or 0 for schema, name, value in cursor.fetchall()})
        except psycopg2.Error as error:
            raise SlipwayError(f"database {database}: {' '.join(str(error).split())}") from None
    return counts


def compare_rows(before: Mapping[str, int], after: Mapping[str, int]) -> None:
    """Require the new database to hold what the restored one does.

    :raises SlipwayError: names the tables that differ.
    """
    wrong = [
        f"{name} has {after.get(name, 'no rows, for it is missing')} instead of {before.get(name, 'not being there')}"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]
    if wrong:
        raise SlipwayError(f"{len(wrong)} tables or sequences are not as in the backup: {'; '.join(wrong[:10])}")


def compare_fingerprint(plan: Plan, counts: Mapping[str, int]) -> None:
    """Where the point is that of a fingerprint, hold the rows against it."""
    if plan.point.kind != thinking.LABEL or not plan.backup.lsn:
        return
    for entry in plan.document.get("databases") or ():
        if entry.get("name") == plan.database:
            tables = (entry.get("fingerprint") or {}).get("tables") or {}
            wrong = [
                f"{name} has {counts.get(name, 0)} rows instead of {table['rows']}"
                for name, table in sorted(tables.items())
                if name in counts and counts[name] != table["rows"]
            ] + [f"{name} is missing" for name in sorted(tables) if name not in counts and tables[name]["rows"]]
            if wrong:
                raise SlipwayError(f"the restored database is not as its manifest says: {'; '.join(wrong[:10])}")
            host.say(f"rows of {len(tables)} tables are as the manifest says")


# ---- verb: restore-cluster


def restore_cluster(config: Config, arguments: argparse.Namespace) -> dict[str, Any]:
    """Restore the whole cluster in its place: the fast way on a host that was built anew."""
    with host.lock(LOCK, wait=0, what="slipway-backup restore-cluster"):
        return _restore_cluster(arguments, config)


def unit_of(config: Config) -> str:
    """The systemd unit of the cluster."""
    part = config.part("database")
    return f"postgresql@{part['version']}-{part['cluster']}.service"


def cluster_runs(config: Config) -> bool:
    """Whether the live cluster runs."""
    return host.run_raw(["systemctl", "is-active", "--quiet", unit_of(config)]).returncode == 0


def _restore_cluster(arguments: argparse.Namespace, config: Config) -> dict[str, Any]:
    part = config.part("database")
    data = pathlib.Path(part["data_directory"])
    steps: dict[str, float] = {}
    first = part["databases"][0]
    remove_dead()
    with timed(steps, "plan"):
        if cluster_runs(config) and not arguments.store_time:
            flush_wal(part["port"])
        plan = make_plan(
            config, to=arguments.to, instance=first["instance"], wanted=first["name"], store_time=arguments.store_time
        )
    require_empty_cluster(config, data, replace=arguments.replace_cluster)
    kept = data.with_name(f"{data.name}.before-{host.now():%Y%m%dT%H%M%SZ}")
    host.run(["systemctl", "stop", unit_of(config)])
    moved = False
    try:
        if data.exists():
            os.rename(data, kept)
            moved = True
        data.mkdir(mode=0o700)
        shutil.chown(data, "postgres", "postgres")
        with timed(steps, "restore"):
            host.say(f"fetching backup {plan.backup.label} into {data}")
            pgbackrest.pgbackrest(
                part["stanza"],
                "restore",
                *plan.arguments,
                *_store_time(arguments.store_time),
                f"--process-max={jobs()}",
            )
        with timed(steps, "recover"):
            host.say("replaying WAL")
            host.run(["systemctl", "start", unit_of(config)])
            reached = wait_promoted(config)
    except BaseException as error:
        put_back(config, data, kept if moved else None)
        if isinstance(error, SlipwayError):
            raise SlipwayError(f"{error}. The cluster is as it was before") from None
        raise
    return {
        "cluster": f"{part['version']}/{part['cluster']}",
        "kept": str(kept) if moved else None,
        "databases": sorted(set(databases(part["port"])) - set(RESERVED)),
        "lsn": reached[0],
        "time": _iso(reached[1].astimezone(timezone.utc)) if reached[1] else None,
        "timeline": reached[2],
        "seconds": steps,
        **plan.shown(),
    }


def require_empty_cluster(config: Config, data: pathlib.Path, *, replace: bool) -> None:
    """Refuse to put a cluster aside that holds something, unless that is meant."""
    if replace or not data.exists() or not any(data.iterdir()):
        return
    if not cluster_runs(config):
        raise SlipwayError(
            f"{data} holds a cluster that does not run, and nobody knows what is in it: start it, or allow to "
            "replace it (--replace-cluster; the old directory is kept beside)"
        )
    found = sorted(set(databases(config.part("database")["port"])) - set(RESERVED))
    filled = [name for name in found if holds_tables(config, name)]
    if filled:
        raise SlipwayError(
            f"the cluster holds databases: {', '.join(filled)}. Restore beside them with restore-database, or allow to "
            "replace all of it (--replace-cluster; the old directory is kept beside)"
        )


def holds_tables(config: Config, name: str) -> bool:
    """Whether a database has tables of its own."""
    try:
        return bool(rows(name, f"SELECT EXISTS ({_TABLES})", port=config.part("database")["port"])[0][0])
    except SlipwayError:
        # Closed to connections, as a kept one is.
        return True


def wait_promoted(config: Config) -> tuple[Any, ...]:
    """Wait until the cluster takes writes."""
    port = config.part("database")["port"]
    began = told = time.monotonic()
    while True:
        with contextlib.suppress(SlipwayError):
            recovering, lsn, moment, timeline = rows(
                "postgres",
                """SELECT pg_is_in_recovery(), pg_last_wal_replay_lsn()::text, pg_last_xact_replay_timestamp(),
                          (SELECT timeline_id FROM pg_control_checkpoint())""",
                port=port,
            )[0]
            if not recovering:
                # The checkpointer went to sleep while the server recovered, when archive_timeout meant nothing to it:
                # for checkpoint_timeout (5 min) no segment would be closed and archived.
                rows("postgres", "CHECKPOINT", port=port)
                return (lsn, moment, timeline)
        if not cluster_runs(config):
            raise SlipwayError(f"the restored cluster gave up: {recovery_fault(cluster_log(config))}")
        if time.monotonic() - told > PROGRESS_SECONDS:
            told = time.monotonic()
            host.say(f"replaying WAL ({told - began:.0f} s)")
        time.sleep(0.5)


def cluster_log(config: Config) -> list[str]:
    """The end of the cluster's log."""
    part = config.part("database")
    path = pathlib.Path(f"/var/log/postgresql/postgresql-{part['version']}-{part['cluster']}.log")
    try:
        return path.read_text(errors="replace").splitlines()[-40:]
    except OSError:
        return []


def put_back(config: Config, data: pathlib.Path, kept: pathlib.Path | None) -> None:
    """After a failure: the directory of before, and its server."""
    host.run_raw(["systemctl", "stop", unit_of(config)])
    if kept is not None and kept.exists():
        if data.exists():
            shutil.rmtree(data)
        os.rename(kept, data)
        host.say("the cluster of before is in its place again")
        host.run(["systemctl", "start", unit_of(config)])


# ---- verbs: swap-database, drop-kept


def swap_database(config: Config, arguments: argparse.Namespace) -> dict[str, Any]:
    """Exchange names: the restored database becomes the live one, the live one is kept, closed to connections."""
    with host.lock(LOCK, wait=30, what="slipway-backup swap-database"):
        live = config.database_of(arguments.instance)["name"]
        port = config.part("database")["port"]
        require_free_name(config, arguments.name)
        require_free_name(config, arguments.keep_as)
        if arguments.undo:
            return _undo_swap(arguments.instance, live, arguments.name, arguments.keep_as, port)
        return _swap(arguments.instance, live, arguments.name, arguments.keep_as, port)


def _swap(instance: str, live: str, new: str, old: str, port: int) -> dict[str, Any]:
    present = databases(port)
    if new not in present:
        raise SlipwayError(f"there is no database {new} to become {live}. Nothing was changed")
    state, of = mark_of(present[new])
    if (state, of) != (BESIDE, instance):
        raise SlipwayError(f"database {new} is not a finished restore of {instance}. Nothing was changed")
    if live in present and old in present:
        raise SlipwayError(f"there is a database {old} already: keep {live} under another name. Nothing was changed")
    if live in present:
        mark(live, KEPT, instance, f"live until {_iso(host.now())}", port=port)
        rename(live, old, port)
    try:
        rename(new, live, port)
    except SlipwayError:
        if live in present:
            rename(old, live, port)
            mark(live, LIVE, instance, "a swap failed, and it is live again", port=port)
            rows("postgres", statement("ALTER DATABASE {} ALLOW_CONNECTIONS true", live), port=port)
        raise
    mark(live, LIVE, instance, _COMMENT.fullmatch(present[new]).group(3), port=port)  # type: ignore[union-attr]
    rows("postgres", statement("ALTER DATABASE {} ALLOW_CONNECTIONS true", live), port=port)
    kept = old if old in databases(port) else None
    return {"live": live, "kept": kept}


def _undo_swap(instance: str, live: str, new: str, old: str, port: int) -> dict[str, Any]:
    """Put the names back as they were before a swap, however far it came."""
    present = databases(port)
    if old not in present or mark_of(present[old])[0] != KEPT:
        if live in present and mark_of(present[live])[0] == KEPT:
            # Marked, and not renamed yet.
            mark(live, LIVE, instance, "a swap was given up", port=port)
            rows("postgres", statement("ALTER DATABASE {} ALLOW_CONNECTIONS true", live), port=port)
        elif live in present and new not in present and mark_of(present[live])[0] == LIVE and old not in present:
            # There was no live database before.
            mark(live, BESIDE, instance, "swapped back", port=port)
            rename(live, new, port)
            rows("postgres", statement("ALTER DATABASE {} ALLOW_CONNECTIONS true", new), port=port)
        return {"live": live if live in databases(port) else None, "kept": None}
    if live in present:
        if new in present:
            raise SlipwayError(f"{live}, {old} and {new} are all there: it is not clear what to put back")
        mark(live, BESIDE, instance, f"was live until {_iso(host.now())}", port=port)
        rename(live, new, port)
        rows("postgres", statement("ALTER DATABASE {} ALLOW_CONNECTIONS true", new), port=port)
    rename(old, live, port)
    mark(live, LIVE, instance, f"put back at {_iso(host.now())}", port=port)
    rows("postgres", statement("ALTER DATABASE {} ALLOW_CONNECTIONS true", live), port=port)
    return {"live": live, "kept": new if new in databases(port) else None}


def rename(name: str, to: str, port: int) -> None:
    """Rename a database, closed to connections before."""
    for attempt in range(RENAME_TRIES):
        rows("postgres", statement("ALTER DATABASE {} ALLOW_CONNECTIONS false", name), port=port)
        rows(
            "postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,), port=port
        )
        try:
            rows("postgres", statement("ALTER DATABASE {} RENAME TO {}", name, to), port=port)
            host.say(f"database {name} is now {to}")
            return
        except SlipwayError:
            if attempt == RENAME_TRIES - 1:
                rows("postgres", statement("ALTER DATABASE {} ALLOW_CONNECTIONS true", name), port=port)
                raise
            time.sleep(1)


def drop_kept(config: Config, arguments: argparse.Namespace) -> dict[str, Any]:
    """Drop a database that a restore made or kept."""
    with host.lock(LOCK, wait=30, what="slipway-backup drop-kept"):
        port = config.part("database")["port"]
        require_free_name(config, arguments.name)
        present = databases(port)
        if arguments.name not in present:
            return {"dropped": None}
        state, _instance = mark_of(present[arguments.name])
        if state not in (KEPT, BESIDE, UNFINISHED):
            raise SlipwayError(
                f"database {arguments.name} is not one that a restore kept or made. It was left as it is"
            )
        rows("postgres", statement("DROP DATABASE {} WITH (FORCE)", arguments.name), port=port)
        return {"dropped": arguments.name}


# ---- verb: attachment-names


def attachment_names(config: Config, arguments: argparse.Namespace) -> dict[str, Any]:
    """The files that a database says are in its filestore, packed, for a host that cannot ask for itself."""
    import base64  # noqa: PLC0415
    import zlib  # noqa: PLC0415

    if not NAME.fullmatch(arguments.name):
        raise SlipwayError(f"{arguments.name!r} is no name of a database")
    port = config.part("database")["port"]
    names = [row[0] for row in rows(arguments.name, STORED_FILES, port=port)]
    packed = base64.b64encode(zlib.compress("\n".join(names).encode(), 6)).decode("ascii")
    return {"database": arguments.name, "count": len(names), "packed": packed}


STORED_FILES = """
SELECT DISTINCT store_fname FROM ir_attachment WHERE store_fname IS NOT NULL AND store_fname <> '' ORDER BY 1
"""


# ---- small things


def describe(point: thinking.Point) -> str:
    """A point in words."""
    if point.kind == thinking.LATEST:
        return "the newest state"
    return f"backup {point.label}" if point.kind == thinking.LABEL else _iso(point.time or host.now())


def jobs() -> int:
    """How many processes to work with."""
    return min(4, max(2, os.cpu_count() or 1))


def _iso(moment: datetime) -> str:
    moment = moment.astimezone(timezone.utc).replace(tzinfo=None)
    return f"{moment.isoformat(timespec='microseconds' if moment.microsecond else 'seconds')}Z"


@contextlib.contextmanager
def timed(steps: dict[str, float], name: str) -> Iterator[None]:
    """Keep how long a step took."""
    began = time.monotonic()
    yield
    steps[name] = round(time.monotonic() - began, 2)


def add_verbs(verbs: Any) -> None:
    """Add the verbs of this module to the program's; each sets ``action``, which takes configuration and options."""

    def verb(name: str, action: Callable[[Config, argparse.Namespace], dict[str, Any]]) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = verbs.add_parser(name, help=(action.__doc__ or "").splitlines()[0])
        parser.set_defaults(action=action)
        return parser

    def point(parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--to", required=True, metavar="latest|LABEL|TIME", help="what to restore to; a time with its zone"
        )
        parser.add_argument("--store-time", help="take the store as it was at this time, when somebody deleted from it")

    plan = verb("restore-plan", restore_plan)
    point(plan)
    plan.add_argument("--instance", required=True)
    plan.add_argument("--as", dest="name", default="", help="name that the restored database is to have")
    plan.add_argument("--replace", action="store_true")

    database = verb("restore-database", restore_database)
    point(database)
    database.add_argument("--instance", required=True)
    database.add_argument("--as", dest="name", required=True, help="name of the new database")
    database.add_argument("--replace", action="store_true", help="replace what an earlier restore left under that name")

    cluster = verb("restore-cluster", restore_cluster)
    point(cluster)
    cluster.add_argument("--replace-cluster", action="store_true", help="put a cluster aside that holds databases")

    swap = verb("swap-database", swap_database)
    swap.add_argument("--instance", required=True)
    swap.add_argument("--new", dest="name", required=True, help="the restored database")
    swap.add_argument("--keep-as", required=True, help="name to keep the present one under")
    swap.add_argument("--undo", action="store_true", help="put the names back")

    drop = verb("drop-kept", drop_kept)
    drop.add_argument("--name", required=True)

    names = verb("attachment-names", attachment_names)
    names.add_argument("--name", required=True)
