# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows and a hash of every table, at an instant that a restore can be brought to exactly.

A snapshot of PostgreSQL and a position in its WAL are two things: a transaction may have written its commit record and
not yet be visible. :func:`instant` waits for a moment in which they are the same: no transaction is being committed,
and nothing is written to the WAL between the look at its position before and after the snapshot.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import datetime
import time
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

SETTINGS = (
    "SET DateStyle = 'ISO, YMD'", "SET IntervalStyle = 'postgres'", "SET TimeZone = 'UTC'",
    "SET extra_float_digits = 1", "SET bytea_output = 'hex'",
    "SET statement_timeout = 0", "SET search_path = pg_catalog",
    "SET max_parallel_workers_per_gather = 0",
)  # fmt: skip
"""What the text of a value depends on, so that it is the same wherever it is asked for."""

TABLES = """
SELECT n.nspname, c.relname, c.relpages FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence = 'p'
  AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
ORDER BY c.relpages DESC, 1, 2
"""

# Idle in a transaction: its commit is yet to come, behind our position. So is that of a statement inside of a
# transaction block, which is one that began before its statement did.
COMMITTING = """
SELECT count(*) FROM pg_stat_activity
WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid() AND state NOT LIKE 'idle in transaction%'
  AND (xact_start = query_start OR query ~* '^\\s*(commit|end|prepare|release|call)\\M')
"""
PAUSE_SECONDS, WAIT_SECONDS, WORKERS = 0.02, 60.0, 2


@dataclasses.dataclass(frozen=True)
class Instant:
    """A state of the databases: position in the WAL, time, and the snapshot of each database by its name."""

    lsn: str
    time: datetime.datetime
    snapshots: Mapping[str, str]


def prepare(connection: Any) -> None:
    """Make a connection write values as every other one that is prepared does."""
    with connection.cursor() as cursor:
        for setting in SETTINGS:
            cursor.execute(setting)


def instant(connections: Mapping[str, Any], *, wait: float = WAIT_SECONDS) -> Instant:
    """Hold snapshots, exported for other connections, that are exactly the state at one position in the WAL.

    The connections, by the name of their database, are left inside of the transactions that hold them.

    :raises SlipwayError: where the server is never quiet for long enough.
    """
    for connection in connections.values():
        prepare(connection)
    first = next(iter(connections.values()))
    deadline = time.monotonic() + wait
    while time.monotonic() < deadline:
        before = _ask(first, "SELECT pg_current_wal_insert_lsn()")
        if _ask(first, COMMITTING) == 0:
            for connection in connections.values():
                _do(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            snapshots = {
                name: _ask(connection, "SELECT pg_export_snapshot()") for name, connection in connections.items()
            }
            if _ask(first, "SELECT pg_current_wal_insert_lsn()") == before:
                at = _ask(first, "SELECT clock_timestamp()").astimezone(datetime.timezone.utc)
                return Instant(lsn=before, time=at, snapshots=snapshots)
            for connection in connections.values():
                _do(connection, "ROLLBACK")
        time.sleep(PAUSE_SECONDS)
    raise SlipwayError(
        f"the server was never quiet for a few milliseconds within {wait:.0f} s: no state was taken down that a "
        "restore could be compared with. The backup itself is good"
    )


def _do(connection: Any, statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def _ask(connection: Any, question: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(question)
        return cursor.fetchone()[0]


def tables(connection: Any, *, names: list[tuple[str, str]] | None = None) -> dict[str, dict[str, Any]]:
    """Rows and hash of every ordinary table (or of those named), by ``schema.table``."""
    import psycopg2.sql  # noqa: PLC0415

    prepare(connection)
    found = {}
    with connection.cursor() as cursor:
        for schema, name in listed(connection) if names is None else names:
            # A sum does not depend on the order of the rows.
            cursor.execute(
                psycopg2.sql.SQL(
                    "SELECT count(*), COALESCE(sum(hashtextextended(t::text, 0)::numeric), 0)::text FROM ONLY {} t"
                ).format(psycopg2.sql.Identifier(schema, name))
            )
            rows, digest = cursor.fetchone()
            found[f"{schema}.{name}"] = {"rows": rows, "hash": digest}
    return found


def listed(connection: Any) -> list[tuple[str, str]]:
    """Every ordinary table of the database, the largest first."""
    with connection.cursor() as cursor:
        cursor.execute(TABLES)
        return [(schema, name) for schema, name, _pages in cursor.fetchall()]


def tables_at(connect: Callable[[], Any], snapshot: str) -> dict[str, dict[str, Any]]:
    """As :func:`tables`, in a snapshot that another connection holds, with several connections.

    :param connect: Makes a connection to the database of the snapshot.
    """
    # One after the other: connecting changes the user of the whole process.
    connections = [connect() for _worker in range(WORKERS)]

    def part(which: int) -> dict[str, dict[str, Any]]:
        connection = connections[which]
        _do(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION SNAPSHOT %s", (snapshot,))
        return tables(connection, names=listed(connection)[which::WORKERS])

    found: dict[str, dict[str, Any]] = {}
    try:
        with concurrent.futures.ThreadPoolExecutor(max_workers=WORKERS) as pool:
            for result in pool.map(part, range(WORKERS)):
                found.update(result)
    finally:
        for connection in connections:
            connection.close()
    return found
