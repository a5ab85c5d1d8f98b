# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One database out of a backup, by way of the scratch cluster, into the live cluster under a new name."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

from . import host
from .config import Config
from .database import SOCKETS
from .restore_names import RESERVED, UNFINISHED, databases, mark
from .restore_plan import Plan
from .restore_scratch import PORT, Scratch
from .restore_sql import rows, statement


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


def fetch(scratch: Scratch, plan: Plan, past: Sequence[str], *, wanted: str, everything: bool) -> str:
    """Restore and start the scratch cluster, and return the name that the database has there.

    Only the wanted database is fetched. A database that was made under another name after the backup began, and renamed
    since, is not in such a restore: then all of them are fetched.
    """
    chosen = [] if everything else [f"--db-include={plan.database}"]
    host.say("fetching the backup" + ("" if everything else f", only database {plan.database}"))
    try:
        scratch.restore(*plan.arguments, *past, *chosen, f"--process-max={host.processes()}")
        scratch.start()
        scratch.wait()
        name = find_database(scratch, [wanted, plan.database])
    except SlipwayError as error:
        if everything or not _of_selection(str(error)):
            raise
        host.say(f"note: {error}; fetching every database")
        scratch.empty()
        return fetch(scratch, plan, past, wanted=wanted, everything=True)
    return name


def _of_selection(text: str) -> bool:
    return "database to include" in text or "is not in the restored cluster" in text or "is empty there" in text


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


def dump(scratch: Scratch, database: str) -> None:
    """Dump the restored database into a directory of the scratch cluster."""
    host.say("dumping")
    pack = "--compress=zstd:1" if int(scratch.version) >= 16 else "--compress=1"
    host.run(
        [scratch.binary("pg_dump"), "--format=directory", f"--jobs={host.processes()}", pack, "--no-sync",
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
        [*base, f"--jobs={host.processes()}", "--section=data", "--section=post-data", str(scratch.dump)],
        user="postgres",
        what="pg_restore",
    )
