# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reading an instance's database: one connection, one round trip for each kind of question."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pwd
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

try:
    import psycopg2
    import psycopg2.extensions

    PSYCOPG2_ERROR = ""
except ImportError:
    PSYCOPG2_ERROR = traceback.format_exc()

from ansible_collections.slipway.odoo.plugins.module_utils.errors import NotReadyError, SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_config import OdooConfig

#: Two halves of an advisory lock key: «SLIP», and 1 for changes of modules.
LOCK_KEY = (0x534C4950, 1)
#: Stands in a database from before its first module until its administrator has a password, so that
#: an initialisation that was killed at any moment is known for one.
MARKER_TABLE = "slipway_initialising"
#: Odoo commits these before anything else, so a database that holds nothing more is still empty.
_SIGNALING = r"^(orm_signaling_|base_registry_signaling|base_cache_signaling)"

FREE, ODOO, FOREIGN = "empty", "odoo", "foreign"


@dataclasses.dataclass(frozen=True)
class Overview:
    """What kind of database this is.

    ``kind`` is ``empty``, ``odoo`` or ``foreign`` (holds relations, but no modules). ``unfinished`` tells
    that our marker stands. ``modules`` maps name to state. ``relations`` are the names of tables, views
    and sequences but the marker and what extensions own; none are listed once Odoo has its own tables.
    """

    kind: str
    unfinished: bool = False
    relations: tuple[str, ...] = ()
    modules: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def initialised(self) -> bool:
        """Tell whether module base has been installed completely."""
        return self.modules.get("base") in ("installed", "to upgrade")


def connect(config: OdooConfig, database: str) -> Any:
    """Open an autocommit connection as Odoo would.

    :raises NotReadyError: psycopg2, the server, the role or the database is not there.
    """
    if PSYCOPG2_ERROR:
        raise NotReadyError("The Python library psycopg2 is missing on this host (python3-psycopg2)")
    try:
        return _open(config, database)
    except psycopg2.Error as error:
        raise _connection_fault(config, database, error) from error


def _open(config: OdooConfig, database: str) -> Any:
    settings: dict[str, Any] = {
        "dbname": database,
        "host": config.db_host,
        "port": config.db_port or None,
        "user": config.db_user,
        "password": config.db_password,
        "sslmode": config.db_sslmode,
        "sslrootcert": config.db_sslrootcert,
        "application_name": "slipway",
        "connect_timeout": 10,
        # The connection that holds the lock idles for as long as Odoo works.
        "keepalives_idle": 60,
    }
    local = not config.db_host or config.db_host.startswith("/")
    with as_user(config.user) if local else contextlib.nullcontext():
        connection = psycopg2.connect(**{key: value for key, value in settings.items() if value})
    connection.autocommit = True
    return connection


@contextlib.contextmanager
def as_user(name: str) -> Iterator[None]:
    """Be another Unix user for a moment: peer authentication looks at the effective user.

    Does nothing where the process may not change its user, or the user does not exist.
    """
    try:
        entry = pwd.getpwnam(name) if os.geteuid() == 0 and name else None
    except KeyError:
        entry = None
    if entry is None or entry.pw_uid == 0:
        yield
        return
    group = os.getegid()
    os.setegid(entry.pw_gid)
    os.seteuid(entry.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)


def _connection_fault(config: OdooConfig, database: str, error: Exception) -> NotReadyError:
    """Find out whether only the database is missing, whatever language the server speaks."""
    where = f"{config.db_host or 'the local socket'}{':' + str(config.db_port) if config.db_port else ''}"
    role = config.db_user or config.user
    if database != "postgres":
        try:
            with contextlib.closing(_open(config, "postgres")) as other, other.cursor() as cursor:
                cursor.execute("SELECT FROM pg_database WHERE datname = %s", (database,))
                if cursor.fetchone() is None:
                    return NotReadyError(
                        f"There is no database {database!r} on {where}. Create it first, owned by "
                        f"role {role!r} (role slipway.odoo.postgresql does)"
                    )
        except psycopg2.Error:
            pass
    reason = " ".join(str(error).split())
    return NotReadyError(f"Role {role!r} cannot connect to database {database!r} on {where}: {reason}")


@contextlib.contextmanager
def sql_errors(database: str) -> Iterator[None]:
    """Turn a failed query into a sentence; values that were bound are not part of it."""
    try:
        yield
    except psycopg2.Error as error:
        text = (error.diag.message_primary if error.diag else None) or str(error)
        raise SlipwayError(f"Database {database!r}: {' '.join(text.split())}") from None


def rows(connection: Any, query: str, values: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
    """Run one query and return all its rows.

    :raises SlipwayError: the server refused it.
    """
    with sql_errors(connection.info.dbname), connection.cursor() as cursor:
        cursor.execute(query, values)
        return cursor.fetchall() if cursor.description else []


_OVERVIEW = """
SELECT to_regclass('ir_module_module') IS NOT NULL,
       to_regclass(%(marker)s) IS NOT NULL,
       ARRAY(SELECT c.relname::text
               FROM pg_class c
              WHERE (to_regclass('ir_module_module') IS NULL OR to_regclass('ir_config_parameter') IS NULL)
                AND c.relnamespace = ANY (current_schemas(false)::regnamespace[])
                AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
                AND c.relname !~ %(signaling)s
                AND left(c.relname, length(%(marker)s)) <> %(marker)s
                AND NOT EXISTS (SELECT FROM pg_depend d
                                 WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                                   AND d.deptype = 'e')
              ORDER BY c.relname)
"""


def read_overview(connection: Any) -> Overview:
    """Find out what kind of database this is, and the state of every module in it."""
    values = {"marker": MARKER_TABLE, "signaling": _SIGNALING}
    odoo, marked, relations = rows(connection, _OVERVIEW, values)[0]
    if not odoo:
        return Overview(kind=FOREIGN if relations else FREE, unfinished=marked, relations=tuple(relations))
    modules = read_module_states(connection)
    return Overview(kind=ODOO, unfinished=marked, relations=tuple(relations), modules=modules)


def read_module_states(connection: Any) -> dict[str, str]:
    """Map every module that the database knows to its state."""
    return dict(rows(connection, "SELECT name, state FROM ir_module_module"))


def require_odoo(connection: Any, database: str) -> dict[str, str]:
    """Map modules to states; refuse a database that Odoo has not been installed in.

    :raises NotReadyError: it is empty, or its first module is still missing.
    :raises SlipwayError: it belongs to something else.
    """
    overview = read_overview(connection)
    refuse_foreign(overview, database)
    if not overview.initialised:
        raise NotReadyError(f"Odoo is not installed in database {database!r} yet: use odoo_database first")
    return dict(overview.modules)


def refuse_foreign(overview: Overview, database: str) -> None:
    """Refuse a database that holds somebody else's tables.

    :raises SlipwayError: it does.
    """
    if overview.kind == FOREIGN:
        raise SlipwayError(
            f"Database {database!r} is not a database of Odoo: it has no table ir_module_module, "
            f"but holds {', '.join(overview.relations[:5])}. Nothing was changed"
        )


def read_company_countries(connection: Any) -> tuple[str, ...]:
    """The companies' country codes in capitals: some modules install themselves for a country."""
    query = """SELECT DISTINCT upper(c.code) FROM res_company o
                 JOIN res_partner p ON p.id = o.partner_id JOIN res_country c ON c.id = p.country_id"""
    return tuple(sorted(code for (code,) in rows(connection, query) if code))


@contextlib.contextmanager
def module_lock(connection: Any, *, wait: int) -> Iterator[None]:
    """Hold the lock that all module-changing runs on this database take.

    It belongs to the connection, so it is gone as soon as this process is.

    :param wait: seconds to wait for another run.
    :raises SlipwayError: the other run takes longer.
    """
    deadline = time.monotonic() + wait
    while not rows(connection, "SELECT pg_try_advisory_lock(%s, %s)", LOCK_KEY)[0][0]:
        if time.monotonic() >= deadline:
            raise SlipwayError(
                f"Another run changes modules of database {connection.info.dbname!r} "
                f"({_lock_holder(connection)}), and was not done after {wait} s"
            )
        time.sleep(0.5)
    try:
        yield
    finally:
        if not connection.closed:
            rows(connection, "SELECT pg_advisory_unlock(%s, %s)", LOCK_KEY)


def _lock_holder(connection: Any) -> str:
    query = """SELECT l.pid, a.client_addr::text, a.backend_start::timestamp(0)::text
                 FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
                WHERE l.locktype = 'advisory' AND l.granted
                  AND l.classid = %s AND l.objid = %s AND l.objsubid = 2
                  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
    for pid, address, since in rows(connection, query, LOCK_KEY):
        return f"backend {pid}, from {address or 'this host'}, since {since}"
    return "it has just ended"


def wait_for_writers(connection: Any, *, wait: int) -> None:
    """Wait until nobody else writes in this database.

    A server process that was left behind by a killed Odoo works on until its statement is done, and
    an installation from the web interface takes no lock of ours. Neither is a leftover to repair.

    :param wait: seconds; afterwards we go on, and Odoo's own lock timeout decides.
    """
    query = """SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid()
                  AND backend_xid IS NOT NULL"""
    deadline = time.monotonic() + wait
    while rows(connection, query)[0][0] and time.monotonic() < deadline:
        time.sleep(0.5)
