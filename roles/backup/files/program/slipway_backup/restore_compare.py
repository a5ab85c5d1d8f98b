# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a restored database holds what it should: its rows against the scratch cluster's and the manifest's."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.slipway.odoo.plugins.module_utils import backup_restore as thinking
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

from . import host
from .database import SOCKETS, connected
from .restore_plan import Plan
from .restore_sql import statement

TABLES = """
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
            cursor.execute(TABLES)
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
