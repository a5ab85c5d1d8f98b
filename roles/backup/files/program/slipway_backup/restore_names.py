# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of databases: which are taken, and which are a restore's own.

Databases that come from a restore say so in their comment, so that a later run knows what it may drop.
"""

from __future__ import annotations

import re

from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

from .config import Config
from .restore_sql import rows

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", re.ASCII)
RESERVED = ("postgres", "template0", "template1")

UNFINISHED, BESIDE, LIVE, KEPT = "unfinished", "beside", "live", "kept"
_COMMENT = re.compile(r"slipway-restore (\w+) of (\S+): (.*)", re.DOTALL)


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


def text_of(comment: str) -> str:
    """What the comment of such a database tells besides, for people."""
    found = _COMMENT.fullmatch(comment)
    return found.group(3) if found else ""


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
