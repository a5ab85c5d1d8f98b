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
_REFUSED = "password authentication failed"
#: Odoo commits these before anything else, so a database that holds nothing more is still empty.
_SIGNALING = r"^(orm_signaling_|base_registry_signaling|base_cache_signaling)"

#: Settings that would end a session or a statement of ours; older servers do not know all of them.
_NO_LIMITS = ["idle_session_timeout", "statement_timeout", "transaction_timeout"]

#: Seconds to find a server again that closed our connection.
_RECONNECT = 60
#: Seconds to wait for transactions that do not touch modules.
_OTHERS = 60

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

    :raises NotReadyError: psycopg2, the server or the database is not there.
    :raises SlipwayError: the server refuses the password.
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
        "keepalives_idle": 60,
    }
    local = not config.db_host or config.db_host.startswith("/")
    with as_user(config.user) if local else contextlib.nullcontext():
        connection = psycopg2.connect(**{key: value for key, value in settings.items() if value})
    connection.autocommit = True
    # The connection that holds the lock idles for as long as Odoo works, whatever the server or the role sets.
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config(name, '0', false) FROM pg_settings WHERE name = ANY (%s)", (_NO_LIMITS,))
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


def _connection_fault(config: OdooConfig, database: str, error: Exception) -> SlipwayError:
    """Find out whether only the database is missing, whatever language the server speaks.

    A refused password is known by the server's words alone: libpq gives no code for it. In another language than
    English it looks like a server that is not ready.
    """
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
    message = f"Role {role!r} cannot connect to database {database!r} on {where}: {reason}"
    if _REFUSED in reason:
        source = f"db_password of {config.path}" if config.path else "the password"
        return SlipwayError(f"{message}. There is no such role, or {source} is not its password")
    return NotReadyError(message)


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


@contextlib.contextmanager
def still_connected(connection: Any, config: OdooConfig, database: str) -> Iterator[Any]:
    """Yield a connection that holds the lock after a run of Odoo: a new one where the server closed ours.

    :raises SlipwayError: there is no way back to the database, or another run has taken the lock.
    """
    with contextlib.suppress(SlipwayError):
        rows(connection, "SELECT 1")
    if not connection.closed:
        yield connection
        return
    deadline = time.monotonic() + _RECONNECT
    while True:
        try:
            fresh = connect(config, database)
            break
        except NotReadyError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(1)
    with contextlib.closing(fresh), module_lock(fresh, wait=_RECONNECT):
        yield fresh


#: A transaction is at work on modules when it has written to their tables, or when it is older than our waiting
#: and has looked at them: Odoo's own requests look at some of them, but are soon done.
_WRITERS = r"""
SELECT a.pid, coalesce(a.usename::text, '?'), coalesce(host(a.client_addr), 'this host'),
       coalesce(a.xact_start::timestamp(0)::text, '?'),
       EXISTS (SELECT FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
                WHERE l.pid = a.pid AND l.granted AND l.database = a.datid AND c.relkind IN ('r', 'p')
                  AND c.relname ~ '^ir_(module_module|model)'
                  AND (l.mode NOT IN ('AccessShareLock', 'RowShareLock')
                       OR clock_timestamp() - a.xact_start >= make_interval(secs => %s)))
  FROM pg_stat_activity a
 WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.backend_xid IS NOT NULL
 ORDER BY a.xact_start
"""


def wait_for_writers(connection: Any, *, wait: int) -> None:
    """Wait until nobody else writes in this database.

    A server process that was left behind by a killed Odoo works on until its statement is done, and
    an installation from the web interface takes no lock of ours. Neither is a leftover to repair.

    :param wait: seconds to wait for a transaction that works on modules; others are waited for a minute.
    :raises SlipwayError: it takes longer.
    """
    begun = time.monotonic()
    while True:
        spent = time.monotonic() - begun
        writers = rows(connection, _WRITERS, (spent,))
        busy = [
            f"backend {pid} (role {role}, from {host}, since {since})" for pid, role, host, since, on in writers if on
        ]
        if not writers or (not busy and spent >= min(wait, _OTHERS)):
            return
        if spent >= wait:
            raise SlipwayError(
                f"Modules of database {connection.info.dbname!r} are half way, and after {wait} s somebody still seems "
                f"to work on them: {', '.join(busy)}. Nothing was changed. Wait until that is done, or end it with "
                "pg_terminate_backend, and run this again"
            )
        time.sleep(0.5)
