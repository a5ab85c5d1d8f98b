# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a manifest tells of a database."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pwd
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils import backup_manifest
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

from . import fingerprint
from .host import say

SOCKETS = "/var/run/postgresql"
CHECKSUMS_PARAMETER = "module_auto_update.installed_checksums"


def connect(name: str, *, port: int, sockets: str = SOCKETS) -> Any:
    """A connection as PostgreSQL's administrator, over the socket, in autocommit mode."""
    import psycopg2  # noqa: PLC0415

    administrator = pwd.getpwnam("postgres")
    # The server lets in who comes as that user of the host. It is the whole process that changes: one thread at a time.
    groups, group, user = os.getgroups(), os.getegid(), os.geteuid()
    try:
        os.setegid(administrator.pw_gid)
        os.seteuid(administrator.pw_uid)
        connection = psycopg2.connect(
            dbname=name, user="postgres", host=sockets, port=port, application_name="slipway-backup"
        )
    except psycopg2.OperationalError as error:
        raise SlipwayError(f"database {name} on port {port}: {' '.join(str(error).split())}") from None
    finally:
        os.seteuid(user)
        os.setegid(group)
        if user == 0:
            os.setgroups(groups)
    connection.autocommit = True
    return connection


@contextlib.contextmanager
def connected(name: str, *, port: int, sockets: str = SOCKETS) -> Iterator[Any]:
    """As :func:`connect`, closed at the end."""
    connection = connect(name, port=port, sockets=sockets)
    try:
        yield connection
    finally:
        connection.close()


def names(port: int) -> list[str]:
    """The databases of the server."""
    with connected("postgres", port=port) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres' ORDER BY 1")
        return [row[0] for row in cursor.fetchall()]


def describe(connection: Any) -> dict[str, Any]:
    """Identity, size, modules and attachments of an Odoo database, as its manifest has them."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        size = cursor.fetchone()[0]
        cursor.execute(
            "SELECT to_regclass('public.ir_module_module') IS NOT NULL"
            " AND to_regclass('public.ir_attachment') IS NOT NULL"
        )
        if not cursor.fetchone()[0]:
            return {"uuid": None, "size_bytes": size, "modules": {}, "attachments": {"count": 0, "bytes": 0}}
        cursor.execute(
            "SELECT key, value FROM public.ir_config_parameter WHERE key IN ('database.uuid', %s)",
            (CHECKSUMS_PARAMETER,),
        )
        parameters = dict(cursor.fetchall())
        try:
            checksums = json.loads(parameters.get(CHECKSUMS_PARAMETER) or "{}")
        except ValueError:
            checksums = {}
        cursor.execute(
            "SELECT name, latest_version FROM public.ir_module_module WHERE state = 'installed' ORDER BY name"
        )
        modules = {
            name: {"version": version or "", "checksum": checksums.get(name)} for name, version in cursor.fetchall()
        }
        cursor.execute(
            "SELECT count(DISTINCT store_fname), COALESCE(sum(file_size), 0) FROM public.ir_attachment"
            " WHERE store_fname IS NOT NULL"
        )
        count, total = cursor.fetchone()
    return {
        "uuid": parameters.get("database.uuid"),
        "size_bytes": int(size),
        "modules": modules,
        "attachments": {"count": int(count), "bytes": int(total)},
    }


def take_down(entries: Sequence[Mapping[str, Any]], *, port: int, with_fingerprint: bool) -> list[dict[str, Any]]:
    """What the manifest of a backup tells of the databases of a server.

    :param entries: ``instance`` and ``name`` of each.
    """
    connections: dict[str, Any] = {}
    try:
        for entry in entries:
            connections[entry["name"]] = connect(entry["name"], port=port)
        held = fingerprint.instant(connections) if with_fingerprint and connections else None
        documents = []
        for entry in entries:
            name = entry["name"]
            document = {"instance": entry["instance"], "name": name, "fingerprint": None, **describe(connections[name])}
            if held is not None:
                say(f"{name}: counting and hashing every table at {held.lsn}")
                found = fingerprint.tables(functools.partial(connect, name, port=port), snapshot=held.snapshots[name])
                document["fingerprint"] = {
                    "lsn": held.lsn,
                    "time": backup_manifest.format_time(held.time),
                    "tables": found,
                }
            documents.append(document)
        return documents
    finally:
        for connection in connections.values():
            connection.close()
