# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SQL as PostgreSQL's administrator, on the live cluster or on the scratch cluster of a restore."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

from .database import SOCKETS, connected


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
