# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verbs of a restore on a database host: into a new database beside the live one, or into the whole cluster.

A database is restored physically into a scratch cluster that only its administrator can reach, brought to the wanted
point, and carried from there into the live cluster under a new name. Nothing of the live database is touched before
:func:`.restore_swap.swap_database`, which only renames.
"""

from __future__ import annotations

import argparse
import base64
import zlib
from collections.abc import Callable
from datetime import timezone
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils import backup_manifest
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

from . import host
from .config import Config
from .database import SOCKETS
from .restore_cluster import restore_cluster
from .restore_compare import compare_fingerprint, compare_rows, count_rows
from .restore_copy import create, dump, fetch, load, require_space
from .restore_live import LOCK, cluster_runs, flush_wal
from .restore_names import BESIDE, NAME, databases, mark, require_free_name, require_replaceable
from .restore_plan import describe, make_plan, past_options
from .restore_scratch import PORT, Scratch, binary, remove_dead
from .restore_sql import rows
from .restore_swap import drop_kept, swap_database

STORED_FILES = """
SELECT DISTINCT store_fname FROM ir_attachment WHERE store_fname IS NOT NULL AND store_fname <> '' ORDER BY 1
"""


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

    with host.timed(steps, "plan"):
        if not arguments.store_time:
            flush_wal(port)
        plan = make_plan(
            config, to=arguments.to, instance=arguments.instance, wanted=entry["name"], store_time=arguments.store_time
        )
        past = past_options(arguments.store_time)
        require_space(plan)
    host.say(f"{name}: from backup {plan.backup.label} to {describe(plan.point)}")

    with Scratch(part["version"], stanza) as scratch:
        scratch.configure()
        with host.timed(steps, "restore"):
            restored = fetch(scratch, plan, past, wanted=entry["name"], everything=False)
        reached = scratch.rows(
            "postgres",
            "SELECT pg_last_wal_replay_lsn()::text, pg_last_xact_replay_timestamp(), pg_current_wal_lsn()::text",
        )[0]
        with host.timed(steps, "dump"):
            before = count_rows(restored, port=PORT, sockets=str(scratch.sockets))
            compare_fingerprint(plan, before)
            dump(scratch, restored)
        with host.timed(steps, "load"):
            create(config, scratch, restored, name, entry, arguments.instance, plan)
            load(scratch, name, port)
        with host.timed(steps, "compare"):
            after = count_rows(name, port=port)
            compare_rows(before, after)
    with host.timed(steps, "analyze"):
        host.run(
            [binary(part["version"], "vacuumdb"), "--analyze-only", "--quiet", f"--jobs={host.processes()}",
             f"--port={port}", f"--host={SOCKETS}", name],
            user="postgres",
            what="vacuumdb",
        )  # fmt: skip
    moment = reached[1].astimezone(timezone.utc) if reached[1] else None
    now = backup_manifest.format_time(host.now())
    text = f"{describe(plan.point)}, from backup {plan.backup.label}, restored {now}"
    mark(name, BESIDE, arguments.instance, text, port=port)
    return {
        "name": name,
        "instance": arguments.instance,
        "tables": sum(1 for key in before if not key.startswith("sequence ")),
        "rows": sum(count for key, count in before.items() if not key.startswith("sequence ")),
        "lsn": reached[0] or reached[2],
        "time": backup_manifest.format_time(moment) if moment else None,
        "seconds": steps,
        **plan.shown(),
    }


def attachment_names(config: Config, arguments: argparse.Namespace) -> dict[str, Any]:
    """The files that a database says are in its filestore, packed, for a host that cannot ask for itself."""
    if not NAME.fullmatch(arguments.name):
        raise SlipwayError(f"{arguments.name!r} is no name of a database")
    port = config.part("database")["port"]
    names = [row[0] for row in rows(arguments.name, STORED_FILES, port=port)]
    packed = base64.b64encode(zlib.compress("\n".join(names).encode(), 6)).decode("ascii")
    return {"database": arguments.name, "count": len(names), "packed": packed}


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
