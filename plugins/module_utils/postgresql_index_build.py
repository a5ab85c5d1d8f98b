# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Carry a plan for indexes out, and tell how a long build gets on."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

try:
    import psycopg2
    from psycopg2 import sql
except ImportError:
    # Then there is no connection either, and the session says so.
    psycopg2 = sql = None

from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_db import rows
from ansible_collections.slipway.odoo.plugins.module_utils.postgresql_index_check import (
    identifier,
    index_body,
    predicate,
)
from ansible_collections.slipway.odoo.plugins.module_utils.postgresql_index_form import quote_name
from ansible_collections.slipway.odoo.plugins.module_utils.postgresql_index_plan import (
    ATTACH,
    CREATE,
    DROP,
    REINDEX,
    Action,
    Plan,
    Step,
)

#: Seconds that a statement may queue for a lock that makes the queries of others queue behind it.
SHORT_WAIT = 2.0
_LOCK_NOT_AVAILABLE, _UNIQUE_VIOLATION = "55P03", "23505"
_PROGRESS = """
SELECT coalesce(p.phase, ''),
       CASE WHEN p.blocks_total > 0 THEN 100 * p.blocks_done / p.blocks_total
            WHEN p.tuples_total > 0 THEN 100 * p.tuples_done / p.tuples_total END,
       (SELECT string_agg(format('backend %%s (%%s, since %%s)', a.pid,
                                 concat_ws(', ', a.usename, nullif(a.application_name, ''), a.state),
                                 coalesce(a.xact_start, a.query_start, a.backend_start)::timestamptz(0)), ', ')
          FROM unnest(pg_blocking_pids(%(pid)s)) b JOIN pg_stat_activity a ON a.pid = b)
  FROM (SELECT) one LEFT JOIN pg_stat_progress_create_index p ON p.pid = %(pid)s
"""


@dataclasses.dataclass(frozen=True)
class Report:
    """How one statement went: seconds, and the seconds that each phase was seen for."""

    name: str
    table: str
    seconds: float
    phases: tuple[tuple[str, int], ...] = ()

    def result(self) -> dict[str, Any]:
        """As the module returns it."""
        return {
            "name": self.name,
            "table": self.table,
            "seconds": round(self.seconds, 2),
            "phases": [{"phase": phase, "seconds": seconds} for phase, seconds in self.phases],
        }


def composed(step: Step) -> list[Any]:
    """The statements of a step; several belong into one transaction."""
    index = identifier(step.schema, step.index)
    how = sql.SQL("CONCURRENTLY " if step.concurrently else "")
    if step.verb == CREATE:
        return [_create(step, how)]
    if step.verb == DROP:
        return [sql.SQL("DROP INDEX {}{}").format(how, index)]
    if step.verb == REINDEX:
        return [sql.SQL("REINDEX INDEX {}{}").format(how, index)]
    if step.verb == ATTACH:
        return [sql.SQL("ALTER INDEX {} ATTACH PARTITION {}").format(index, identifier(*step.other))]
    rename = sql.SQL("ALTER INDEX {} RENAME TO {}")
    statements = [
        rename.format(index, identifier(step.aside)),
        rename.format(identifier(*step.other), identifier(step.index)),
    ]
    if step.comment:
        statements.append(sql.SQL("COMMENT ON INDEX {} IS {}").format(index, sql.Literal(step.comment)))
    for column, target in step.statistics:
        alter = sql.SQL("ALTER INDEX {} ALTER COLUMN {} SET STATISTICS {}")
        statements.append(alter.format(index, sql.Literal(column), sql.Literal(target)))
    if step.clustered:
        table = identifier(step.table.schema, step.table.name)
        statements.append(sql.SQL("ALTER TABLE {} CLUSTER ON {}").format(table, identifier(step.index)))
    return statements


def _create(step: Step, how: Any) -> Any:
    form = step.form
    statement = sql.SQL("CREATE {}INDEX {}{} ON {}{} {}").format(
        sql.SQL("UNIQUE " if form.unique else ""),
        how,
        identifier(step.index),
        sql.SQL("ONLY " if step.only else ""),
        identifier(step.table.schema, step.table.name),
        index_body(form),
    )
    if step.storage:
        statement += sql.SQL(" WITH ({})").format(sql.SQL(", ").join(map(_parameter, step.storage)))
    if step.tablespace:
        statement += sql.SQL(" TABLESPACE {}").format(identifier(step.tablespace))
    return statement + predicate(form)


def _parameter(text: str) -> Any:
    name, _equals, value = text.partition("=")
    return sql.SQL("{}={}").format(identifier(name), sql.Literal(value))


def statements(connection: Any, plan: Plan) -> list[str]:
    """Everything that a plan runs, as text."""
    found: list[str] = []
    for action in plan.actions:
        for step in action.steps:
            texts = [statement.as_string(connection) for statement in composed(step)]
            found += ["BEGIN", *texts, "COMMIT"] if len(texts) > 1 else texts
    return found


class Watcher:
    """Looks at a running statement through a connection of its own, once a second, and logs what it sees.

    :param log: takes one line.
    :param interval: seconds between two lines on the same phase.
    """

    def __init__(self, connection: Any, *, pid: int, log: Callable[[str], None], interval: float) -> None:
        self.connection = connection
        self.pid = pid
        self.log = log
        self.interval = interval
        self.phases: dict[str, int] = {}
        self.blockers = ""
        self.fault = ""
        self._label = ""
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, label: str) -> None:
        """Begin to look."""
        self.phases, self.blockers, self._label = {}, "", label
        self._ended.clear()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> tuple[tuple[str, int], ...]:
        """End, and return the phases that were seen, with seconds."""
        self._ended.set()
        if self._thread:
            self._thread.join()
        return tuple(self.phases.items())

    def _look(self) -> None:
        started = told = time.monotonic()
        seen = ""
        try:
            while not self._ended.wait(1.0):
                ((phase, percent, blockers),) = rows(self.connection, _PROGRESS, {"pid": self.pid})
                self.blockers = blockers or self.blockers
                if phase:
                    self.phases[phase] = self.phases.get(phase, 0) + 1
                if phase != seen or time.monotonic() - told >= self.interval:
                    seen, told = phase, time.monotonic()
                    self.log(progress_line(self._label, phase, percent, blockers, told - started))
        except SlipwayError as error:
            self.fault = str(error)


def progress_line(label: str, phase: str, percent: int | None, blockers: str | None, seconds: float) -> str:
    """What a log says of a statement under way."""
    text = f"{label}: {phase or 'waiting'}"
    text += "" if percent is None else f", {percent} %"
    text += f", waits for {blockers}" if blockers else ""
    return f"{text}, {seconds:.0f} s so far"


def carry_out(
    connection: Any, plan: Plan, *, watcher: Watcher, lock_timeout: float, log: Callable[[str], None]
) -> list[Report]:
    """Run a plan.

    :param lock_timeout: seconds to wait for each lock, which the connection is set to as well.
    :raises SlipwayError: a statement failed, with what was done before it.
    """
    reports: list[Report] = []
    done: list[str] = []
    for action in plan.actions:
        for step in action.steps:
            texts = composed(step)
            label = f"{step.verb} index {quote_name(step.index)} on {step.table}"
            started = time.monotonic()
            watcher.start(label)
            try:
                _run(connection, step, texts, lock_timeout)
            except psycopg2.Error as error:
                watcher.stop()
                _fail(connection, action, step, error, watcher, lock_timeout, done)
            phases = watcher.stop()
            done += [text.as_string(connection) for text in texts]
            seconds = time.monotonic() - started
            log(f"{label}: done in {seconds:.1f} s")
            if step.verb in (CREATE, REINDEX):
                reports.append(Report(step.index, str(step.table), seconds, phases))
    return reports


def _run(connection: Any, step: Step, texts: Sequence[Any], lock_timeout: float) -> None:
    if not step.blocking:
        _execute(connection, texts)
        return
    # While a statement queues for such a lock, so does everybody who comes after it: ask for it in short tries.
    deadline = time.monotonic() + lock_timeout
    short = min(SHORT_WAIT, lock_timeout) if lock_timeout else SHORT_WAIT
    rows(connection, "SELECT set_config('lock_timeout', %s, false)", (f"{round(short * 1000)}ms",))
    try:
        while True:
            try:
                _execute(connection, texts)
                return
            except psycopg2.Error as error:
                if error.pgcode != _LOCK_NOT_AVAILABLE or (lock_timeout and time.monotonic() + short > deadline):
                    raise
            time.sleep(short)
    finally:
        if not connection.closed:
            rows(connection, "SELECT set_config('lock_timeout', %s, false)", (f"{round(lock_timeout * 1000)}ms",))


def _execute(connection: Any, texts: Sequence[Any]) -> None:
    with connection.cursor() as cursor:
        if len(texts) == 1:
            cursor.execute(texts[0])
            return
        cursor.execute("BEGIN")
        try:
            for text in texts:
                cursor.execute(text)
        except psycopg2.Error:
            cursor.execute("ROLLBACK")
            raise
        cursor.execute("COMMIT")


def _fail(
    connection: Any,
    action: Action,
    step: Step,
    error: Any,
    watcher: Watcher,
    lock_timeout: float,
    done: list[str],
) -> None:
    where = f"Index {step.index!r} on {step.table}"
    details = {"failed_index": action.name, "done": done}
    if connection.closed:
        # The server may have finished the statement, or left half of it.
        raise SlipwayError(
            f"{where}: the connection was lost while it was worked on. The next run repairs what that left",
            changed=True,
            **details,
        ) from None
    if error.pgcode == _LOCK_NOT_AVAILABLE:
        reason = f"no lock within {lock_timeout:g} s"
        reason += f", it waited for {watcher.blockers}" if watcher.blockers else ""
    elif error.pgcode == _UNIQUE_VIOLATION:
        # The server's own text quotes the values, which may be anybody's data.
        reason = f"it cannot be unique, because rows have the same key. They are found with: {find_duplicates(step)}"
    else:
        reason = " ".join(((error.diag.message_primary if error.diag else "") or str(error)).split())
    left, outcome = _clean_up(connection, step)
    raise SlipwayError(f"{where}: {reason}. {outcome}", changed=bool(done) or left, **details) from None


def find_duplicates(step: Step) -> str:
    """A query that lists the keys that stand in the way of a unique index."""
    form = step.form
    keys = ", ".join(quote_name(key.column) if key.column else f"({key.expression})" for key in form.keys)
    where = f" WHERE {form.where}" if form.where else ""
    return f"SELECT {keys}, count(*) FROM {step.table}{where} GROUP BY {keys} HAVING count(*) > 1"  # noqa: S608  for people to read


def _clean_up(connection: Any, step: Step) -> tuple[bool, str]:
    """Drop what a failed concurrent build left; tell whether anything is left, and say what came of it."""
    if step.verb != CREATE or not step.concurrently:
        return False, "The next run goes on from here"
    query = "SELECT indisready AND indisunique FROM pg_index WHERE indexrelid = to_regclass(%s) AND NOT indisvalid"
    name = identifier(step.schema, step.index)
    found = rows(connection, query, (name.as_string(connection),))
    if not found:
        return False, "No INVALID index was left"
    statement = sql.SQL("DROP INDEX CONCURRENTLY {}").format(name)
    try:
        rows(connection, statement)
    except SlipwayError as error:
        refuses = (
            "Until then it still refuses rows with equal keys, though queries do not use it. " if found[0][0] else ""
        )
        return True, (
            f"The INVALID index that the build left could not be dropped ({error}): the next run does it. {refuses}"
            f"To do it sooner, once nobody uses the table: {statement.as_string(connection)}"
        )
    return False, "The INVALID index that the build left was dropped"
