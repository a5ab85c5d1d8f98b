# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the modules for PostgreSQL have in common: options and the connection."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_config import OdooConfig, load_config
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_db import connect, rows

_LOGIN = ("login_host", "login_port", "login_user", "login_password", "login_unix_socket", "ssl_mode", "ca_cert")
#: For ``AnsibleModule``: a configuration file says it all.
EXCLUSIVE = [("config", option) for option in _LOGIN] + [("login_host", "login_unix_socket")]
REQUIRED = [("config", "login_db")]

#: What users may have set for their role must not end or change our statements. Compiling a query about the
#: catalogue (jit) takes longer than running it.
_SETTINGS = """
SELECT set_config('standard_conforming_strings', 'on', false), set_config('statement_timeout', '0', false),
       set_config('idle_session_timeout', '0', false), set_config('jit', 'off', false),
       set_config('lock_timeout', %s, false), set_config('application_name', %s, false)
"""
_SETTINGS_13 = _SETTINGS.replace("set_config('idle_session_timeout', '0', false), ", "")


def login_arguments() -> dict[str, dict[str, Any]]:
    """The options of doc fragment ``slipway.odoo.postgresql``."""
    return {
        "login_host": {"type": "str"},
        "login_port": {"type": "int"},
        "login_user": {"type": "str"},
        "login_password": {"type": "str", "no_log": True},
        "login_unix_socket": {"type": "str"},
        "login_db": {"type": "str", "aliases": ["db"]},
        "ssl_mode": {
            "type": "str",
            "choices": ["allow", "disable", "prefer", "require", "verify-ca", "verify-full"],
        },
        "ca_cert": {"type": "str", "aliases": ["ssl_rootcert"]},
        "config": {"type": "path"},
        "odoo_user": {"type": "str"},
    }


@dataclasses.dataclass(frozen=True)
class Server:
    """How to connect, to which database, and an open connection."""

    login: OdooConfig
    database: str
    connection: Any

    def another(self, *, purpose: str, lock_timeout: float = 0) -> Any:
        """Open one more connection to the same database."""
        return prepare(connect(self.login, self.database), purpose=purpose, lock_timeout=lock_timeout)


def login_of(params: dict[str, Any]) -> OdooConfig:
    """How to connect: as an instance's configuration file says, or as the options say."""
    if params["config"]:
        return load_config(params["config"], user=params["odoo_user"])
    return OdooConfig(
        path="",
        db_host=params["login_host"] or params["login_unix_socket"] or "",
        db_port=params["login_port"] or 0,
        db_user=params["login_user"] or "postgres",
        db_password=params["login_password"] or "",
        db_sslmode=params["ssl_mode"] or "",
        db_sslrootcert=params["ca_cert"] or "",
        # Over a socket the server asks for the Unix user of the role's name (peer).
        user=params["login_user"] or "postgres",
    )


@contextlib.contextmanager
def open_server(params: dict[str, Any], *, purpose: str, lock_timeout: float) -> Iterator[Server]:
    """Connect to the database that a module's parameters name.

    :param purpose: what the session is called in ``pg_stat_activity``.
    :param lock_timeout: seconds that a statement waits for a lock; 0 waits without limit.
    """
    if not params["config"] and not params["login_db"]:
        raise SlipwayError("Nothing says which database is meant: set login_db, or config")
    login = login_of(params)
    database = login.database(params["login_db"])
    with contextlib.closing(connect(login, database)) as connection:
        yield Server(login, database, prepare(connection, purpose=purpose, lock_timeout=lock_timeout))


def prepare(connection: Any, *, purpose: str, lock_timeout: float) -> Any:
    """Give a connection the settings that our statements rely on."""
    query = _SETTINGS if connection.server_version >= 140000 else _SETTINGS_13
    rows(connection, query, (f"{round(lock_timeout * 1000)}ms", purpose))
    return connection


@contextlib.contextmanager
def advisory_lock(connection: Any, key: tuple[int, int], *, wait: float) -> Iterator[None]:
    """Let only one run of a kind work on this database.

    It asks again and again instead of waiting inside the server: a session that waits there holds a
    snapshot, and a concurrent build waits for all snapshots to go.

    :param wait: seconds to wait for the other run.
    :raises SlipwayError: it takes longer.
    """
    deadline = time.monotonic() + wait
    while not rows(connection, "SELECT pg_try_advisory_lock(%s, %s)", key)[0][0]:
        if time.monotonic() >= deadline:
            raise SlipwayError(
                f"Another run changes indexes of database {connection.info.dbname!r}, and was not done after "
                f"{wait:g} s{_holder(connection, key)}. Nothing was changed"
            )
        time.sleep(0.5)
    try:
        yield
    finally:
        if not connection.closed:
            rows(connection, "SELECT pg_advisory_unlock(%s, %s)", key)


def _holder(connection: Any, key: tuple[int, int]) -> str:
    query = """SELECT l.pid, coalesce(host(a.client_addr), 'this host')
                 FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
                WHERE l.locktype = 'advisory' AND l.granted
                  AND l.classid = %s AND l.objid = %s AND l.objsubid = 2
                  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
    for pid, address in rows(connection, query, key):
        return f" (backend {pid}, from {address})"
    return ""
