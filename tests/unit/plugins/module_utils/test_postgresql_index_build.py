"""Carrying a plan out, with a stand-in for psycopg2: statements, locks, failures and what is told of them."""

from __future__ import annotations

import types

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils import (
    odoo_db,
    postgresql_index_build,
    postgresql_index_check,
)
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.postgresql_index_build import (
    Watcher,
    carry_out,
    composed,
    progress_line,
    statements,
)
from ansible_collections.slipway.odoo.plugins.module_utils.postgresql_index_facts import Table
from ansible_collections.slipway.odoo.plugins.module_utils.postgresql_index_form import read_definition
from ansible_collections.slipway.odoo.plugins.module_utils.postgresql_index_plan import (
    ATTACH,
    CREATE,
    DROP,
    REINDEX,
    SWAP,
    Action,
    Plan,
    Step,
)

TABLE = Table(1, "public", "po")
FORM = read_definition(
    'CREATE UNIQUE INDEX x ON t USING btree (a DESC, lower(b) COLLATE "C" x_ops, "Odd") INCLUDE (c) NULLS NOT DISTINCT '
    "WHERE (a > 1)"
)
UNIQUE = (
    'CREATE UNIQUE INDEX "ix" ON ONLY "public"."po" USING "btree" ("a" DESC, (lower(b)) COLLATE "C" x_ops, "Odd") '
    'INCLUDE ("c") NULLS NOT DISTINCT WITH ("fillfactor"=\'70\') TABLESPACE "fast" WHERE (a > 1)'
)
GONE = 'DROP INDEX CONCURRENTLY "public"."ix"'
PLAIN = read_definition("CREATE INDEX x ON t USING btree (a)")


class Text:
    """psycopg2.sql, as far as it is used: composed texts are made at once."""

    def __init__(self, text):
        self.text = text

    def __add__(self, other):
        return Text(self.text + other.text)

    def format(self, *parts):
        return Text(self.text.format(*(part.text for part in parts)))

    def join(self, parts):
        return Text(self.text.join(part.text for part in parts))

    def as_string(self, _connection):
        return self.text


SQL = types.SimpleNamespace(
    SQL=Text,
    Identifier=lambda *names: Text(".".join(f'"{name}"' for name in names)),
    Literal=lambda value: Text(f"'{value}'"),
)


class Error(Exception):
    def __init__(self, pgcode=None, primary="refused"):
        super().__init__(primary)
        self.pgcode = pgcode
        self.diag = types.SimpleNamespace(message_primary=primary)


class Connection:
    """Writes down what is run; ``faults`` are raised by statements that contain their key, one after the other."""

    def __init__(self, faults=(), answers=()):
        self.faults = [list(fault) for fault in faults]
        self.answers = dict(answers)
        self.ran = []
        self.closed = False
        self.description = None
        self.info = types.SimpleNamespace(dbname="main", backend_pid=4711)

    def cursor(self):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_fault):
        return None

    def execute(self, text, values=None):
        text = getattr(text, "text", text)
        self.ran.append(text if values is None else f"{text} {values}")
        self.description, self.rows = None, []
        for part, rows in self.answers.items():
            if part in text:
                self.description, self.rows = True, rows
        for fault in self.faults:
            if fault[0] in text and len(fault) > 1:
                raise fault.pop(1)

    def fetchall(self):
        return self.rows


@pytest.fixture(autouse=True)
def driver(monkeypatch):
    monkeypatch.setattr(postgresql_index_build, "psycopg2", types.SimpleNamespace(Error=Error))
    monkeypatch.setattr(odoo_db, "psycopg2", types.SimpleNamespace(Error=Error), raising=False)
    for module in (postgresql_index_build, postgresql_index_check):
        monkeypatch.setattr(module, "sql", SQL)
    monkeypatch.setattr(postgresql_index_build, "SHORT_WAIT", 0.01)


def run(connection, *steps, lock_timeout=0.05):
    plan = Plan((Action("created", "public", "ix", TABLE, steps),))
    logged = []
    watcher = Watcher(Connection(), pid=4711, log=logged.append, interval=30)
    reports = carry_out(connection, plan, watcher=watcher, lock_timeout=lock_timeout, log=logged.append)
    return reports, logged


def step(verb=CREATE, index="ix", **changes):
    return Step(verb, "public", index, TABLE, **{"form": PLAIN, **changes})


@pytest.mark.parametrize(
    ("done", "texts"),
    [
        (step(), ['CREATE INDEX CONCURRENTLY "ix" ON "public"."po" USING "btree" ("a")']),
        (
            step(form=FORM, concurrently=False, only=True, storage=("fillfactor=70",), tablespace="fast"),
            [UNIQUE],
        ),
        (step(DROP), ['DROP INDEX CONCURRENTLY "public"."ix"']),
        (step(DROP, concurrently=False), ['DROP INDEX "public"."ix"']),
        (step(REINDEX), ['REINDEX INDEX CONCURRENTLY "public"."ix"']),
        (step(ATTACH, other=("s", "part")), ['ALTER INDEX "public"."ix" ATTACH PARTITION "s"."part"']),
        (
            step(
                SWAP, other=("public", "new"), aside="old", comment="why", clustered=True, statistics=((2, 50), (4, 0))
            ),
            [
                'ALTER INDEX "public"."ix" RENAME TO "old"',
                'ALTER INDEX "public"."new" RENAME TO "ix"',
                'COMMENT ON INDEX "public"."ix" IS \'why\'',
                "ALTER INDEX \"public\".\"ix\" ALTER COLUMN '2' SET STATISTICS '50'",
                "ALTER INDEX \"public\".\"ix\" ALTER COLUMN '4' SET STATISTICS '0'",
                'ALTER TABLE "public"."po" CLUSTER ON "ix"',
            ],
        ),
    ],
)
def test_statements(done, texts):
    assert [text.text for text in composed(done)] == texts


def test_all_of_a_plan_as_text():
    swap = step(SWAP, other=("public", "new"), aside="old")
    texts = statements(None, Plan((Action("replaced", "public", "ix", TABLE, (step(), swap)),)))
    assert [text.split('"')[0].strip() for text in texts] == [
        *("CREATE INDEX CONCURRENTLY", "BEGIN", "ALTER INDEX", "ALTER INDEX", "COMMIT")
    ]


def test_a_swap_is_one_transaction():
    connection = Connection()
    run(connection, step(SWAP, other=("public", "new"), aside="old"))
    assert [text.split()[0] for text in connection.ran] == ["BEGIN", "ALTER", "ALTER", "COMMIT"]
    broken = Connection(faults=[['"new"', Error()]])
    with pytest.raises(SlipwayError):
        run(broken, step(SWAP, other=("public", "new"), aside="old"))
    assert [text.split()[0] for text in broken.ran] == ["BEGIN", "ALTER", "ALTER", "ROLLBACK"]


def test_reports(monkeypatch):
    now = [100.0]

    class Slow(Connection):
        """Takes two and a quarter seconds to build an index."""

        def execute(self, text, values=None):
            super().execute(text, values)
            now[0] += 2.25 if self.ran[-1].startswith("CREATE") else 0

    monkeypatch.setattr(postgresql_index_build, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    reports, logged = run(Slow(), step(), step(DROP, "old"))
    assert [report.name for report in reports] == ["ix"]
    assert logged[0].startswith("create index ix on public.po: done in 2.2 s")
    assert reports[0].result() == {"name": "ix", "table": "public.po", "seconds": 2.25, "phases": []}


def test_locks_that_hold_others_up_are_asked_for_in_short_tries():
    late = [Error("55P03") for _ in range(2)]
    connection = Connection(faults=[["DROP", *late]])
    run(connection, step(DROP, concurrently=False), lock_timeout=5)
    assert len([text for text in connection.ran if text.startswith("DROP")]) == 3
    settings = [text.rsplit("(", 1)[1] for text in connection.ran if "set_config" in text]
    assert settings == ["'10ms',)", "'5000ms',)"]


def test_short_tries_end():
    connection = Connection(faults=[["DROP", *(Error("55P03") for _ in range(99))]])
    with pytest.raises(SlipwayError, match=r"no lock within 0.05 s"):
        run(connection, step(DROP, concurrently=False))
    assert 1 < len([text for text in connection.ran if text.startswith("DROP")]) < 9


def test_a_concurrent_build_asks_once():
    connection = Connection(faults=[["CREATE", Error("55P03")]])
    with pytest.raises(SlipwayError, match="no lock within"):
        run(connection, step())
    assert len([text for text in connection.ran if text.startswith("CREATE")]) == 1


@pytest.mark.parametrize(
    ("answers", "faults", "message", "left"),
    [
        ({"pg_index": [(False,)]}, [], "INVALID index that the build left was dropped$", False),
        ({}, [], "No INVALID index was left$", False),
        (
            {"pg_index": [(False,)]},
            [[GONE, Error("55P03", "too late")]],
            rf"could not be dropped \(.*too late.*\): the next run does it. To do it sooner, .*: {GONE}$",
            True,
        ),
        (
            {"pg_index": [(True,)]},
            [[GONE, Error("55P03", "too late")]],
            "the next run does it. Until then it still refuses rows with equal keys",
            True,
        ),
    ],
)
def test_what_a_failed_build_leaves(answers, faults, message, left):
    connection = Connection(faults=[["CREATE", Error("XX000", "disk is full")], *faults], answers=answers)
    with pytest.raises(SlipwayError, match=f"Index 'ix' on public.po: disk is full. .*{message}") as caught:
        run(connection, step())
    assert caught.value.details == {"failed_index": "ix", "done": [], "changed": left}
    assert (GONE in connection.ran) is bool(answers)


def test_a_failure_tells_what_was_done_before_it():
    connection = Connection(faults=[["CREATE", Error("42P07", "relation exists")]])
    with pytest.raises(SlipwayError) as caught:
        run(connection, step(DROP, "before"), step())
    done = ['DROP INDEX CONCURRENTLY "public"."before"']
    assert caught.value.details == {"failed_index": "ix", "done": done, "changed": True}


def test_equal_keys_are_not_told():
    secret = Error("23505", "could not create unique index: Key (a)=(person@example.com) is duplicated")
    with pytest.raises(SlipwayError) as caught:
        run(Connection(faults=[["CREATE", secret]]), step(form=FORM))
    assert "person" not in str(caught.value)
    assert (
        'SELECT a, (lower(b)), "Odd", count(*) FROM public.po WHERE a > 1 GROUP BY a, (lower(b)), "Odd" '
        "HAVING count(*) > 1"
    ) in str(caught.value)


def test_a_lost_connection():
    connection = Connection(faults=[["CREATE", Error()]])
    connection.closed = True
    with pytest.raises(SlipwayError, match=r"connection was lost.*next run repairs") as caught:
        run(connection, step())
    assert caught.value.details["changed"]


@pytest.mark.parametrize(
    ("phase", "percent", "blockers", "line"),
    [
        ("building index", 45, None, "x: building index, 45 %, 12 s so far"),
        ("", None, "backend 1", "x: waiting, waits for backend 1, 12 s so far"),
    ],
)
def test_lines_of_the_log(phase, percent, blockers, line):
    assert progress_line("x", phase, percent, blockers, 12.3) == line


def test_watching_tells_each_phase_and_survives_a_fault():
    answers = [[("scanning", 10, None)], [("scanning", 60, None)], [("waiting", None, "backend 9")]]
    connection = Connection()
    connection.execute = lambda *_call: setattr(connection, "description", True)
    connection.fetchall = lambda: answers.pop(0) if answers else [()]
    logged = []
    watcher = Watcher(connection, pid=1, log=logged.append, interval=30)
    ticks = iter([False] * 4 + [True])
    watcher._ended = types.SimpleNamespace(wait=lambda _s: next(ticks), set=lambda: None, clear=lambda: None)
    connection.execute = fail_at_the_end(answers, connection)
    watcher.start("create index ix")
    assert watcher.stop() == (("scanning", 2), ("waiting", 1))
    assert [line.split(",")[0] for line in logged] == ["create index ix: scanning", "create index ix: waiting"]
    assert watcher.blockers == "backend 9"
    assert "gone" in watcher.fault


def fail_at_the_end(answers, connection):
    def execute(*_call):
        if not answers:
            raise Error(primary="gone")
        connection.description = True

    return execute
