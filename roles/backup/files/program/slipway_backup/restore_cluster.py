# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verb restore-cluster: the whole cluster in its place, and the old one back where that fails."""

from __future__ import annotations

import argparse
import contextlib
import os
import pathlib
import shutil
import time
from datetime import timezone
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils import backup_manifest
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

from . import host, pgbackrest
from .config import Config
from .restore_compare import TABLES
from .restore_live import LOCK, cluster_runs, flush_wal, unit_of
from .restore_names import RESERVED, databases
from .restore_plan import make_plan, past_options
from .restore_scratch import PROGRESS_SECONDS, recovery_fault, remove_dead
from .restore_sql import rows


def restore_cluster(config: Config, arguments: argparse.Namespace) -> dict[str, Any]:
    """Restore the whole cluster in its place: the fast way on a host that was built anew."""
    with host.lock(LOCK, wait=0, what="slipway-backup restore-cluster"):
        return _restore_cluster(arguments, config)


def _restore_cluster(arguments: argparse.Namespace, config: Config) -> dict[str, Any]:
    part = config.part("database")
    data = pathlib.Path(part["data_directory"])
    steps: dict[str, float] = {}
    first = part["databases"][0]
    remove_dead()
    if unfinished_mark(data).exists():
        heal(config, data)
    with host.timed(steps, "plan"):
        if cluster_runs(config) and not arguments.store_time:
            flush_wal(part["port"])
        plan = make_plan(
            config, to=arguments.to, instance=first["instance"], wanted=first["name"], store_time=arguments.store_time
        )
    require_empty_cluster(config, data, replace=arguments.replace_cluster)
    kept = data.with_name(f"{data.name}.before-{host.now():%Y%m%dT%H%M%SZ}")
    host.run(["systemctl", "stop", unit_of(config)])
    moved = data.exists()
    try:
        # Before anything moves, so that the next run knows what one that is killed left.
        host.write_json(unfinished_mark(data), {"kept": str(kept) if moved else None, "backup": plan.backup.label})
        if moved:
            os.rename(data, kept)
        data.mkdir(mode=0o700)
        shutil.chown(data, "postgres", "postgres")
        with host.timed(steps, "restore"):
            host.say(f"fetching backup {plan.backup.label} into {data}")
            pgbackrest.pgbackrest(
                part["stanza"],
                "restore",
                *plan.arguments,
                *past_options(arguments.store_time),
                f"--process-max={host.processes()}",
            )
        with host.timed(steps, "recover"):
            host.say("replaying WAL")
            host.run(["systemctl", "start", unit_of(config)])
            reached = wait_promoted(config)
        unfinished_mark(data).unlink()
    except BaseException as error:
        host.run_raw(["systemctl", "stop", unit_of(config)])
        try:
            put_back(data)
            if moved:
                host.run(["systemctl", "start", unit_of(config)])
        except (OSError, SlipwayError) as second:
            raise SlipwayError(
                f"{error}. And the cluster of before could not be put back: {second}. It is in {kept}, beside {data}"
            ) from error
        if isinstance(error, SlipwayError):
            raise SlipwayError(f"{error}. The cluster is as it was before") from None
        raise
    return {
        "cluster": f"{part['version']}/{part['cluster']}",
        "kept": str(kept) if moved else None,
        "databases": sorted(set(databases(part["port"])) - set(RESERVED)),
        "lsn": reached[0],
        "time": backup_manifest.format_time(reached[1].astimezone(timezone.utc)) if reached[1] else None,
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
        return bool(rows(name, f"SELECT EXISTS ({TABLES})", port=config.part("database")["port"])[0][0])
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


def unfinished_mark(data: pathlib.Path) -> pathlib.Path:
    """The file beside a data directory that says that its restore has not ended, and where the old one is."""
    return data.with_name(f".{data.name}.slipway-restore.json")


def heal(config: Config, data: pathlib.Path) -> None:
    """After a restore that was killed: the directory of before in its place again, unless the server runs by now."""
    if cluster_runs(config) and takes_writes(config):
        # PostgreSQL came to the end of it by itself.
        kept = host.read_json(unfinished_mark(data)).get("kept")
        host.say(f"an earlier restore of {data} was killed, and came to its end; the cluster of before is in {kept}")
        unfinished_mark(data).unlink()
        return
    host.say(f"an earlier restore of {data} was killed")
    host.run_raw(["systemctl", "stop", unit_of(config)])
    put_back(data)


def takes_writes(config: Config) -> bool:
    """Whether the server has come to the end of its recovery."""
    try:
        return not rows("postgres", "SELECT pg_is_in_recovery()", port=config.part("database")["port"])[0][0]
    except SlipwayError:
        return False


def put_back(data: pathlib.Path) -> None:
    """Put the directory of before in its place, where a restore began and did not end."""
    mark = unfinished_mark(data)
    if not mark.exists():
        return
    found = host.read_json(mark)
    if "kept" not in found:
        raise SlipwayError(
            f"{mark} cannot be read, and should say where the old {data} is: look beside it, and remove that file"
        )
    kept = pathlib.Path(found["kept"]) if found["kept"] else None
    if kept is not None and not kept.exists():
        # It was killed before it moved anything.
        mark.unlink()
        return
    if data.exists():
        # pgBackRest writes this file last.
        if (data / "global/pg_control").exists():
            aside = data.with_name(f"{data.name}.unfinished-{host.now():%Y%m%dT%H%M%SZ}")
            os.rename(data, aside)
            host.say(f"what was restored and did not start is kept as {aside}: remove it when you know why")
        else:
            shutil.rmtree(data)
    if kept is not None:
        os.rename(kept, data)
        host.say("the cluster of before is in its place again")
    mark.unlink()
