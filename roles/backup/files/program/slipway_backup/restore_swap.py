# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verbs swap-database and drop-kept: a restored database takes the name of the live one, which is kept."""

from __future__ import annotations

import argparse
import time
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils import backup_manifest
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

from . import host
from .config import Config
from .restore_live import LOCK
from .restore_names import BESIDE, KEPT, LIVE, UNFINISHED, databases, mark, mark_of, require_free_name, text_of
from .restore_sql import rows, statement

RENAME_TRIES = 5


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
        mark(live, KEPT, instance, f"live until {backup_manifest.format_time(host.now())}", port=port)
        rename(live, old, port)
    try:
        rename(new, live, port)
    except SlipwayError:
        if live in present:
            rename(old, live, port)
            mark(live, LIVE, instance, "a swap failed, and it is live again", port=port)
            rows("postgres", statement("ALTER DATABASE {} ALLOW_CONNECTIONS true", live), port=port)
        raise
    mark(live, LIVE, instance, text_of(present[new]), port=port)
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
        mark(live, BESIDE, instance, f"was live until {backup_manifest.format_time(host.now())}", port=port)
        rename(live, new, port)
        rows("postgres", statement("ALTER DATABASE {} ALLOW_CONNECTIONS true", new), port=port)
    rename(old, live, port)
    mark(live, LIVE, instance, f"put back at {backup_manifest.format_time(host.now())}", port=port)
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
