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
import contextlib
import dataclasses
import datetime
import queue
import time
from collections.abc import Callable, Iterable, Mapping
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
SELECT n.nspname, c.relname, COALESCE(pg_relation_size(c.oid), 0) / current_setting('block_size')::int AS pages
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence = 'p'
  AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
ORDER BY pages DESC, 1, 2
"""

# Idle in a transaction: its commit is yet to come, behind our position. So is that of a statement inside of a
# transaction block, which is one that began before its statement did.
COMMITTING = """
SELECT count(*) FROM pg_stat_activity
WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid() AND state NOT LIKE 'idle in transaction%'
  AND (xact_start = query_start OR query ~* '^\\s*(commit|end|prepare|release|call)\\M')
"""
# A sum does not depend on the order of the rows.
LOOK = "SELECT count(*), COALESCE(sum(hashtextextended(t::text, 0)::numeric), 0)::text FROM ONLY {} t"
PAGES = " WHERE ctid >= %s::tid AND ctid < %s::tid"
LAST_PAGE = 0xFFFFFFFE
PAUSE_SECONDS, WAIT_SECONDS, WORKERS = 0.02, 60.0, 2
PIECE_PAGES = 16_384
"""A larger table is looked at in pieces of this many pages, so that it does not keep one worker while others idle."""


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


@dataclasses.dataclass(frozen=True)
class Piece:
    """A table, or those of its pages from the first number on and below the second."""

    schema: str
    name: str
    pages: tuple[int, int] | None = None


def _look(connection: Any, piece: Piece) -> tuple[str, int, int]:
    import psycopg2.sql  # noqa: PLC0415

    query, bounds = LOOK, ()
    if piece.pages is not None:
        query, bounds = LOOK + PAGES, tuple(f"({page},0)" for page in piece.pages)
    with connection.cursor() as cursor:
        cursor.execute(psycopg2.sql.SQL(query).format(psycopg2.sql.Identifier(piece.schema, piece.name)), bounds)
        rows, digest = cursor.fetchone()
    return f"{piece.schema}.{piece.name}", int(rows), int(digest)


def _summed(looks: Iterable[tuple[str, int, int]]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name, rows, digest in looks:
        before = found.get(name, {"rows": 0, "hash": "0"})
        found[name] = {"rows": before["rows"] + rows, "hash": str(int(before["hash"]) + digest)}
    return found


def listed(connection: Any) -> list[Piece]:
    """Every ordinary table of the database, the largest first, cut into pieces."""
    with connection.cursor() as cursor:
        cursor.execute(TABLES)
        found = cursor.fetchall()
    # Before 14 PostgreSQL reads all of a table for any range of pages.
    size = PIECE_PAGES if connection.server_version >= 140_000 else None
    return [piece for schema, name, pages in found for piece in cut(schema, name, pages, size)]


def cut(schema: str, name: str, pages: int, size: int | None) -> list[Piece]:
    """A table in pieces of ``size`` pages; the last goes on without end, for the table may have grown."""
    if size is None or pages <= size:
        return [Piece(schema, name)]
    starts = list(range(0, pages, size))
    return [Piece(schema, name, part) for part in zip(starts, [*starts[1:], LAST_PAGE])]


def tables(connect: Callable[[], Any], *, snapshot: str | None = None) -> dict[str, dict[str, Any]]:
    """Rows and hash of every ordinary table of a database, by ``schema.table``, with several connections.

    :param connect: Makes a connection to the database.
    :param snapshot: One that another connection holds; None where nobody writes.
    """
    # One after the other: connecting changes the user of the whole process.
    connections = [connect() for _worker in range(WORKERS)]
    waiting: queue.SimpleQueue[Piece] = queue.SimpleQueue()

    def work(connection: Any) -> list[tuple[str, int, int]]:
        done = []
        with contextlib.suppress(queue.Empty):
            while True:
                done.append(_look(connection, waiting.get_nowait()))
        return done

    try:
        for connection in connections:
            _do(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            if snapshot is not None:
                with connection.cursor() as cursor:
                    cursor.execute("SET TRANSACTION SNAPSHOT %s", (snapshot,))
            prepare(connection)
        for piece in listed(connections[0]):
            waiting.put(piece)
        with concurrent.futures.ThreadPoolExecutor(max_workers=WORKERS) as pool:
            return _summed(look for looks in pool.map(work, connections) for look in looks)
    finally:
        for connection in connections:
            connection.close()
