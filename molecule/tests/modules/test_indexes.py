"""postgresql_index and postgresql_index_info against a real PostgreSQL: every way that an index can be wrong."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import time
import uuid

import pytest

from .conftest import INVENTORY, ROOT

OWNER = "odoo-main"
FIVE = [
    {"name": f"idx_po_{column}", "table": "purchase_orders", "columns": [column]}
    for column in ("buyer_company_id", "seller_company_id", "product_id", "status", "created_at")
]
#: DB-11: what the file migrations/V037__add_purchase_order_indexes.sql of the source asks for.
V037 = """
CREATE TABLE companies (id serial PRIMARY KEY, name varchar);
CREATE TABLE purchase_orders (
    id serial PRIMARY KEY, buyer_company_id int REFERENCES companies, seller_company_id int REFERENCES companies,
    product_id int, status varchar, created_at timestamptz, reference varchar, "Email" text, data jsonb);
INSERT INTO purchase_orders (product_id, status, created_at, reference, "Email", data)
SELECT n % 50, (ARRAY['pending', 'done'])[1 + n % 2], now() - n * interval '1 hour', 'PO' || n / 2,
       'person' || n || '@example.com', '{}'
  FROM generate_series(1, 2000) n;
"""


NAMES = "SELECT indexrelid::regclass FROM pg_index WHERE indrelid = '{}'::regclass ORDER BY 1::text"
VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = '{}'::regclass"


def put(indexes, *, check=False, fails=False, **options):
    """A task: postgresql_index."""
    return _task("slipway.odoo.postgresql_index", {"indexes": indexes, **options}, check=check, fails=fails)


def look(**options):
    """A task: postgresql_index_info."""
    return _task("slipway.odoo.postgresql_index_info", options)


def ask(query, *, role=OWNER, fails=False):
    """A task: a statement, which does not stand in a transaction."""
    words = ["runuser", "-u", "postgres", "--", "psql", "-XAtq", "-F", "|"]
    words += ["-c", f'SET ROLE "{role}"'] if role else []
    return _task("ansible.builtin.command", {"argv": [*words, "-c", query], "chdir": "/"}, fails=fails)


def _task(module, options, *, check=False, fails=False):
    return {module: options, "check_mode": check, "ignore_errors": fails}


class Database:
    """The database of these tests: modules log in as the owner of its tables, by the instance's configuration."""

    def __init__(self, instance):
        self.instance = instance

    def run(self, *tasks):
        """Run tasks one after the other in one play, as starting Ansible takes longer than they do.

        :returns: of a module its result, of a statement its rows, or if it failed its error.
        """
        tasks = [self._addressed(task) for task in tasks]
        command = [ROOT / ".venv/bin/ansible-playbook", "-i", INVENTORY, "--diff"]
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
        }
        with tempfile.NamedTemporaryFile("w", suffix=".yml") as book:
            json.dump([{"hosts": "box1", "gather_facts": False, "become": True, "tasks": tasks}], book)
            book.flush()
            done = subprocess.run(
                [*command, book.name],
                cwd=ROOT,
                env=environment,
                text=True,
                capture_output=True,
                timeout=300,
                check=False,
            )
        document, _end = json.JSONDecoder().raw_decode(done.stdout, done.stdout.index("{\n"))
        results = [task["hosts"]["box1"] for task in document["plays"][0]["tasks"]]
        for task, result in zip(tasks, results, strict=False):
            verdict = "succeeded" if task["ignore_errors"] else "failed"
            assert result.get("failed", False) is task["ignore_errors"], f"{task} {verdict}: {result}"
        return [self._answer(result) for result in results]

    def _addressed(self, task):
        """With the address of this database, unless a task has one."""
        (module, options), *_rest = task.items()
        if module == "ansible.builtin.command":
            return {**task, module: {**options, "argv": [*options["argv"], self.instance.name]}}
        return {**task, module: options if "login_db" in options else {"config": self.instance.config, **options}}

    def _answer(self, result):
        if "cmd" not in result:
            return result
        return [line.split("|") for line in result["stdout_lines"]] if result["rc"] == 0 else result["stderr"]

    def sql(self, query, *, role=OWNER):
        """Statements in one transaction."""
        return self.instance.sql(f'SET ROLE "{role}"; {query}' if role else query)

    def put(self, indexes, **options):
        return self.run(put(indexes, **options))[0]

    def look(self, **options):
        return self.run(look(**options))[0]

    def names(self, table):
        return sorted(row[0].strip('"') for row in self.sql(NAMES.format(table)))

    def definition(self, name):
        return self.sql(f"SELECT pg_get_indexdef('{name}'::regclass)")[0][0].split(" USING ")[1]

    def valid(self, name):
        return self.sql(VALID.format(name)) == [["t"]]

    @contextlib.contextmanager
    def held(self, statement):
        """Another session that holds what a statement takes, until the end."""
        script = f"BEGIN; {statement}; SELECT pg_sleep(60)"
        command = "cd /; PGAPPNAME=ix_holder setsid runuser -u postgres -- psql -q -d %s -c %s >/dev/null 2>&1 &"
        self.instance.run(command, self.instance.name, script)
        self.wait("SELECT 1 FROM pg_stat_activity WHERE application_name = 'ix_holder' AND query ~ 'pg_sleep'")
        try:
            yield
        finally:
            self.release()

    def release(self):
        self.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ix_holder'", role="")

    def wait(self, query):
        deadline = time.monotonic() + 20
        while not self.sql(query, role=""):
            assert time.monotonic() < deadline, f"it did not come to that: {query}"
            time.sleep(0.2)

    def put_detached(self, indexes, **options):
        """Begin a run of the module on the host without waiting for it."""
        arguments = json.dumps({"config": self.instance.config, "indexes": indexes, **options})
        command = [ROOT / ".venv/bin/ansible", "box1", "-i", INVENTORY, "--become", "-B", "120", "-P", "0"]
        command += ["-m", "slipway.odoo.postgresql_index", "-a", arguments]
        # A directory of its own, by which its processes are found again.
        directory = f"/tmp/slipway-tests-ix-{uuid.uuid4().hex}"
        environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_REMOTE_TMP": directory}
        subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=60, check=True)
        return directory

    def kill_detached(self, directory):
        """As when the host of a run dies: end all its processes, by their numbers."""
        processes = self.instance.run("ps -eo pid=,args=")
        numbers = [line.split()[0] for line in processes.splitlines() if f"{directory}/" in line]
        assert numbers, "the run is not there any more"
        self.instance.run(f"kill -9 {' '.join(numbers)}; rm -rf %s", directory)


@pytest.fixture(scope="module")
def database(make_instance):
    found = Database(make_instance("ix"))
    found.sql(V037)
    return found


@pytest.fixture
def table(database, request):
    """A table of the test's own, with three columns and 200 rows, of which two have the same key."""
    name = request.node.name.removeprefix("test_").split("[")[0][:40]
    database.sql(
        f"CREATE TABLE {name} (id serial PRIMARY KEY, name varchar, state varchar, amount int, created date);"
        f"INSERT INTO {name} (name, state, amount) SELECT 'name' || n / 2, 'draft', n FROM generate_series(2, 201) n"
    )
    return name


def test_five_indexes_of_the_migration_are_made_once_and_taken_back(database):
    database.sql('CREATE INDEX "idxXpoXother" ON purchase_orders (reference)')
    names = [{"name": entry["name"]} for entry in FIVE]
    before, planned, still, done, again, after, gone, again_gone = database.run(
        look(expected=FIVE, name_prefix="idx_po_"),
        put(FIVE, check=True),
        ask(NAMES.format("purchase_orders")),
        put(FIVE),
        put(FIVE),
        look(expected=FIVE, name_prefix="idx_po_"),
        put(names, state="absent"),
        put(names, state="absent"),
    )
    assert [entry["name"] for entry in before["missing"]] == [entry["name"] for entry in FIVE]
    assert not before["in_order"]
    assert [key["columns"] for key in before["foreign_keys_without_index"]] == [
        ["buyer_company_id"],
        ["seller_company_id"],
    ]

    assert len(planned["statements"]) == 5
    assert planned["statements"][3] == (
        'CREATE INDEX CONCURRENTLY "idx_po_status" ON "public"."purchase_orders" USING "btree" ("status")'
    )
    assert not any(name.startswith("idx_po") for (name,) in still)

    assert done["statements"] == planned["statements"]
    assert done["diff"] == planned["diff"]
    assert done["created"] == [entry["name"] for entry in FIVE]
    assert not again["changed"]

    assert after["in_order"]
    assert not after["foreign_keys_without_index"]
    # E22: the underscores of idx_po_ are no wildcards.
    assert sorted(index["name"] for index in after["indexes"]) == sorted(entry["name"] for entry in FIVE)
    assert not after["extra"]

    assert gone["dropped"] == [entry["name"] for entry in FIVE]
    assert not again_gone["changed"]


def test_definitions_compare_by_meaning(database, table):
    database.sql(
        f"CREATE INDEX ix_expression ON {table} (lower(name), (amount + 1) DESC);"
        f"CREATE INDEX ix_partial ON {table} (state) INCLUDE (amount, name) WHERE state IN ('draft', 'sent');"
        f"CREATE INDEX ix_trigram ON {table} USING gin (name gin_trgm_ops);"
        f"CREATE INDEX ix_pattern ON {table} (name text_pattern_ops);"
        f"CREATE UNIQUE INDEX ix_unique ON {table} (id) NULLS NOT DISTINCT WITH (fillfactor = 70)"
    )
    expected = [
        {"name": "ix_expression", "columns": ["LOWER( Name ) ASC NULLS LAST", "((amount+1)) desc nulls first"]},
        {
            "name": "ix_partial",
            "columns": ['"state" text_ops'],
            "method": "BTREE",
            "include": ["name", "amount"],
            "where": "(state in ('draft','sent'))",
        },
        {"name": "ix_trigram", "method": "gin", "columns": ["name"], "opclass": "gin_trgm_ops"},
        {"name": "ix_pattern", "columns": ["name varchar_pattern_ops"]},
        {"name": "ix_unique", "columns": ["id"], "unique": True, "nulls_not_distinct": True},
    ]
    expected = [{"table": f"public.{table}", **entry} for entry in expected]
    good = [entry for entry in expected if entry["name"] != "ix_pattern"]
    report, fewer, same = database.run(look(expected=expected), look(expected=expected[1:]), put(good))
    # Two operator classes of other names are other ones, whatever they do.
    assert [entry["name"] for entry in report["mismatched"]] == ["ix_pattern"]
    assert [entry["name"] for entry in report["ok"]] == ["ix_expression", "ix_partial", "ix_trigram", "ix_unique"]
    assert report["extra"] == []
    assert [index["name"] for index in fewer["extra"]] == ["ix_expression"]
    assert not same["changed"]


def test_each_difference_is_named(database, table):
    database.sql(f"CREATE INDEX ix_differs ON {table} (name) INCLUDE (amount) WHERE state = 'draft'")
    wanted = {"name": "ix_differs", "table": table, "columns": ["state", "name DESC"], "unique": True, "method": "hash"}
    wanted = {**wanted, "method": "btree", "where": "state <> 'draft'"}
    report, refused = database.run(look(expected=[wanted]), put([wanted], fails=True))
    (entry,) = report["mismatched"]
    assert {item["aspect"]: (item["expected"], item["actual"]) for item in entry["differences"]} == {
        "columns": (["state", "name DESC"], ["name"]),
        "unique": (True, False),
        "where": ("(state)::text <> 'draft'::text", "(state)::text = 'draft'::text"),
        "include": ([], ["amount"]),
    }
    assert "columns (name) instead of (state, name DESC)" in refused["msg"]
    assert "replace: true" in refused["msg"]
    assert not refused["changed"]


def test_failed_concurrent_unique_build(database, table):
    wanted = [{"name": "ix_twice", "table": table, "columns": ["name"], "unique": True}]
    other = [{"name": "ix_other", "table": table, "columns": ["amount"]}]
    leave = f"CREATE UNIQUE INDEX CONCURRENTLY ix_twice ON {table} (name)"
    error, report, beside, planned, failed, left, _error, _rows, mended, valid, again = database.run(
        ask(leave, fails=True),
        look(expected=wanted),
        look(expected=[{"name": f"{table}_pkey", "table": table, "columns": ["id"], "unique": True}], name_prefix="x"),
        put(wanted, check=True),
        put([*other, *wanted], fails=True),
        ask(NAMES.format(table)),
        ask(leave, fails=True),
        ask(f"DELETE FROM {table} WHERE id % 2 = 0"),
        put(wanted),
        ask(VALID.format("ix_twice")),
        put(wanted),
    )
    assert "could not create unique index" in error
    assert [entry["name"] for entry in report["invalid"]] == ["ix_twice"]
    assert not report["in_order"]
    # It is not well with a table that has it, whatever is expected of that table.
    assert [entry["name"] for entry in beside["ok"]] == [f"{table}_pkey"]
    (entry,) = beside["invalid"]
    assert (entry["name"], entry["table"], beside["in_order"]) == ("ix_twice", table, False)
    assert entry["reason"].startswith("nobody expects it: a build was cut off or failed")

    assert planned["rebuilt"] == ["ix_twice"]
    assert planned["statements"][0] == 'DROP INDEX CONCURRENTLY "public"."ix_twice"'
    assert "rows have the same key" in failed["msg"]
    assert f"SELECT name, count(*) FROM public.{table} GROUP BY name HAVING count(*) > 1" in failed["msg"]
    assert "INVALID index that the build left was dropped" in failed["msg"]
    assert "name1" not in json.dumps(failed), "a value of somebody's row is told"
    # What came before it stays, and is told.
    assert (failed["changed"], len(failed["done"])) == (True, 2)
    assert sorted(left) == sorted([["ix_other"], [f"{table}_pkey"]])

    assert mended["rebuilt"] == ["ix_twice"]
    assert valid == [["t"]]
    assert not again["changed"]


def test_replacing(database, table):
    database.sql(
        f"CREATE INDEX ix_changes ON {table} (name) WITH (fillfactor = 70);"
        "COMMENT ON INDEX ix_changes IS 'for the report';"
        f"CREATE INDEX ix_method ON {table} USING gin (name gin_trgm_ops) WITH (fastupdate = off);"
        f"CREATE INDEX ix_marked ON {table} (lower(name));"
        f"ALTER INDEX ix_marked ALTER COLUMN 1 SET STATISTICS 500; ALTER TABLE {table} CLUSTER ON ix_marked"
    )
    wanted = [{"name": "ix_changes", "table": table, "columns": ["state", "lower(name)"]}]
    others = [
        {"name": "ix_method", "table": table, "columns": ["name"]},
        {"name": "ix_marked", "table": table, "columns": ["state", "lower(name)"]},
    ]
    _refused, planned, kept, done, comment, again, rest, rest_again, marks = database.run(
        put(wanted, fails=True),
        put(wanted, replace=True, check=True),
        ask("SELECT pg_get_indexdef('ix_changes'::regclass)"),
        put(wanted, replace=True),
        ask("SELECT obj_description('ix_changes'::regclass)"),
        put(wanted, replace=True),
        put(others, replace=True),
        put([*wanted, *others]),
        ask(
            "SELECT attstattarget, indisclustered FROM pg_attribute JOIN pg_index ON attrelid = indexrelid "
            "WHERE attrelid = 'ix_marked'::regclass AND attnum = 2"
        ),
    )
    assert kept[0][0].endswith("USING btree (name) WITH (fillfactor='70')")
    assert done["statements"] == planned["statements"]
    assert [text.split('"')[0].strip() for text in done["statements"]] == [
        *("CREATE INDEX CONCURRENTLY", "BEGIN", "ALTER INDEX", "ALTER INDEX", "COMMENT ON INDEX", "COMMIT"),
        "DROP INDEX CONCURRENTLY",
    ]
    assert done["diff"]["before"] == {"public.ix_changes": f"INDEX ON public.{table} USING btree (name)"}
    assert database.definition("ix_changes") == "btree (state, lower((name)::text)) WITH (fillfactor='70')"
    assert comment == [["for the report"]]
    assert not again["changed"]
    # Storage parameters of one method are none of another.
    assert (rest["replaced"], rest_again["changed"]) == (["ix_method", "ix_marked"], False)
    assert database.definition("ix_method") == "btree (name)"
    assert marks == [["500", "t"]]
    assert database.names(table) == sorted(["ix_changes", "ix_marked", "ix_method", f"{table}_pkey"])


#: What a replacement that was cut off leaves of an index on (name) that shall be on (state), and what is to do then.
CUT_OFF = {
    "ix_a": ("CREATE INDEX ix_a_slipway_new ON {} (state)", "ALTER ALTER DROP"),
    "ix_b": ("CREATE INDEX ix_b_slipway_new ON {} (amount)", "DROP CREATE ALTER ALTER DROP"),
    "ix_c": ("CREATE INDEX ix_c_slipway_new ON {} (state)", "DROP CREATE ALTER ALTER DROP"),
    "ix_d": ("ALTER INDEX ix_d RENAME TO ix_d_slipway_old; CREATE INDEX ix_d ON {} (state)", "DROP"),
    "ix_e": ("CREATE INDEX ix_e_ccnew ON {} (name)", "DROP CREATE ALTER ALTER DROP"),
}


def test_interrupted_replacement_is_finished(database, table):
    for name, (left, _statements) in CUT_OFF.items():
        database.sql(f"CREATE INDEX {name} ON {table} (name); {left.format(table)}")
    cut_off = "UPDATE pg_index SET indisvalid = false WHERE indexrelid IN ('{}'::regclass, '{}'::regclass)"
    database.sql(cut_off.format("ix_c_slipway_new", "ix_e_ccnew"), role="")
    wanted = [{"name": name, "table": table, "columns": ["state"]} for name in CUT_OFF]
    done, again = database.run(put(wanted, replace=True), put(wanted))
    assert done["repaired"] == ["ix_d"]
    verbs = [text.split()[0] for text in done["statements"] if text not in ("BEGIN", "COMMIT")]
    assert " ".join(verbs) == " ".join(statements for _left, statements in CUT_OFF.values())
    assert database.names(table) == sorted([*CUT_OFF, f"{table}_pkey"])
    assert {database.definition(name) for name in CUT_OFF} == {"btree (state)"}
    assert not again["changed"]


def test_remains_of_a_reindex_are_removed(database, table):
    """A REINDEX CONCURRENTLY that is cut off leaves an INVALID index beside the whole one."""
    database.sql(f"CREATE INDEX ix_again ON {table} (name)")
    with database.held(f"INSERT INTO {table} (name) VALUES ('x')"):
        error = database.instance.host.run(
            "cd /; PGOPTIONS='-c lock_timeout=300ms' runuser -w PGOPTIONS -u postgres -- "
            "psql -d %s -c 'REINDEX INDEX CONCURRENTLY ix_again'",
            database.instance.name,
        ).stderr
        assert "lock timeout" in error
    assert "ix_again_ccnew" in database.names(table)
    wanted = [{"name": "ix_again", "table": table, "columns": ["name"]}]
    before, done, after = database.run(look(expected=wanted), put(wanted), look(expected=wanted))
    assert ([entry["name"] for entry in before["invalid"]], before["in_order"]) == (["ix_again_ccnew"], False)
    assert done["repaired"] == ["ix_again"]
    assert after["in_order"]
    assert database.names(table) == sorted(["ix_again", f"{table}_pkey"])


def test_a_killed_run_is_made_good(database, table):
    wanted = [{"name": "ix_killed", "table": table, "columns": ["name"]}]
    building = f"SELECT pid FROM pg_stat_progress_create_index WHERE relid = '{table}'::regclass AND phase ~ 'waiting'"
    with database.held(f"INSERT INTO {table} (name) VALUES ('x')"):
        begun = database.put_detached(wanted)
        database.wait(building)
        database.kill_detached(begun)
        whole = [{"name": f"{table}_pkey", "table": table, "columns": ["id"], "unique": True}]
        report, beside, planned, refused, _terminated = database.run(
            look(expected=wanted),
            look(expected=whole),
            put(wanted, check=True),
            put(wanted, wait=1, fails=True),
            ask(f"SELECT pg_terminate_backend(pid) FROM ({building}) b", role=""),
        )
        assert "is building it now" in report["invalid"][0]["reason"]
        assert beside["in_order"], "what somebody builds now is not broken"
        # The server goes on without us: nothing to do but wait, and that is what check mode says.
        assert planned["waiting"] == ["ix_killed"]
        assert not planned["statements"]
        assert "were not after 1 s" in refused["msg"]
    invalid, done, valid = database.run(ask(VALID.format("ix_killed")), put(wanted), ask(VALID.format("ix_killed")))
    assert invalid == [["f"]]
    assert done["rebuilt"] == ["ix_killed"]
    assert valid == [["t"]]


def test_a_build_that_outlives_its_run_is_waited_for(database, table):
    wanted = [{"name": "ix_outlives", "table": table, "columns": ["name"]}]
    with database.held(f"INSERT INTO {table} (name) VALUES ('x')"):
        begun = database.put_detached(wanted)
        database.wait(
            f"SELECT pid FROM pg_stat_progress_create_index WHERE relid = '{table}'::regclass AND phase ~ 'waiting'"
        )
        database.kill_detached(begun)
        database.instance.run(
            "(sleep 3; cd /; runuser -u postgres -- psql -qc %s) >/dev/null 2>&1 &",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ix_holder'",
        )
        assert not database.put(wanted, wait=30)["changed"]
    assert database.valid("ix_outlives")


def test_long_wait_is_followed_in_the_journal_and_ends_clearly(database, table):
    wanted = [{"name": "ix_slow", "table": table, "columns": ["name"]}]
    with database.held(f"INSERT INTO {table} (name) VALUES ('x')"):
        message = database.put(wanted, lock_timeout=2, progress_interval=1, fails=True)["msg"]
    assert "no lock within 2 s, it waited for backend" in message
    assert "ix_holder" in message
    lines = database.instance.run("journalctl -t ansible-slipway.odoo.postgresql_index -o cat --since -1min")
    assert f"create index ix_slow on public.{table}: waiting for writers before build" in lines
    unique = [{"name": "ix_refuses", "table": table, "columns": ["amount"], "unique": True}]
    with database.held(f"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT FROM {table}"):
        failed, again, report = database.run(
            put(unique, lock_timeout=1, fails=True),
            ask(f"INSERT INTO {table} (amount) VALUES (7)", fails=True),
            look(expected=wanted),
        )
    assert "Until then it still refuses rows with equal keys" in failed["msg"]
    assert (failed["changed"], failed["done"]) == (True, [])
    assert "ix_refuses" in again
    reasons = {entry["name"]: entry["reason"] for entry in report["invalid"]}
    assert "it still refuses rows with equal keys" in reasons["ix_refuses"]
    # The first one could not be dropped either, while somebody wrote.
    assert reasons["ix_slow"] == "a build was cut off or failed, queries do not use it"
    assert database.put([*wanted, *unique])["rebuilt"] == ["ix_slow", "ix_refuses"]
    assert database.valid("ix_slow")


def test_partitioned_table(database):
    database.sql("""
        CREATE TABLE ix_parts (id int, region text, day date, note text) PARTITION BY RANGE (day);
        CREATE TABLE ix_parts_2025 PARTITION OF ix_parts FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
        CREATE TABLE ix_parts_2026 PARTITION OF ix_parts FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')
            PARTITION BY LIST (region);
        CREATE TABLE ix_parts_2026_eu PARTITION OF ix_parts_2026 FOR VALUES IN ('eu');
        CREATE INDEX ix_own ON ix_parts_2025 (note, lower(region))""")
    wanted = [{"name": "ix_parts_note", "table": "ix_parts", "columns": ["note", "LOWER(region)"]}]
    refused, planned, done, report, again, _rows, part_made, _rows, differs, replaced, again_replaced = database.run(
        put([{**wanted[0], "unique": True, "columns": ["note"]}], check=True, fails=True),
        put(wanted, check=True),
        put(wanted),
        look(expected=wanted, tables=["ix_parts"]),
        put(wanted),
        # A table that becomes a partition gets its index from PostgreSQL.
        ask("CREATE TABLE ix_parts_2027 PARTITION OF ix_parts FOR VALUES FROM ('2027-01-01') TO ('2028-01-01')"),
        put(wanted),
        ask("ALTER INDEX ix_own SET (fillfactor = 60)"),
        put([{**wanted[0], "columns": ["note", "day"]}], fails=True),
        put([{**wanted[0], "columns": ["note", "day"]}], replace=True),
        put([{**wanted[0], "columns": ["note", "day"]}]),
    )
    assert "unique constraint on partitioned table" in refused["msg"]
    assert done["statements"] == planned["statements"]
    (built,) = (text for text in done["statements"] if "CONCURRENTLY" in text)
    assert built.startswith(
        'CREATE INDEX CONCURRENTLY "ix_parts_note_ix_parts_2026_eu" ON "public"."ix_parts_2026_eu" USING "btree" ('
    )
    assert report["in_order"]
    facts = {index["name"]: index for index in report["indexes"]}
    assert facts["ix_parts_note"]["partitioned"]
    assert facts["ix_own"]["parent"] == "ix_parts_note"
    assert facts["ix_parts_note"]["size"] >= facts["ix_own"]["size"] > 0
    assert not again["changed"]
    assert not part_made["changed"]

    assert "is another one" in differs["msg"]
    assert replaced["replaced"] == ["ix_parts_note"]
    assert not again_replaced["changed"]
    assert database.valid("ix_parts_note")
    (name,) = database.names("ix_parts_2025")
    assert database.definition(name) == "btree (note, day) WITH (fillfactor='60')"

    refused, gone = database.run(
        put([{"name": name}], state="absent", fails=True),
        put([{"name": "ix_parts_note", "table": "ix_parts"}], state="absent"),
    )
    assert "it is part of 'ix_parts_note'" in refused["msg"]
    assert gone["statements"] == ['DROP INDEX "public"."ix_parts_note"']
    assert database.names("ix_parts_2026_eu") == []
    database.sql("DROP TABLE ix_parts")


def test_interrupted_build_on_a_partitioned_table(database):
    database.sql("""
        CREATE TABLE ix_cut (id int, day date) PARTITION BY RANGE (day);
        CREATE TABLE ix_cut_1 PARTITION OF ix_cut FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
        CREATE TABLE ix_cut_2 PARTITION OF ix_cut FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
        CREATE TABLE ix_cut_3 PARTITION OF ix_cut FOR VALUES FROM ('2027-01-01') TO ('2028-01-01');
        CREATE INDEX ix_cut_id ON ONLY ix_cut (id);
        CREATE INDEX ix_cut_id_ix_cut_1 ON ix_cut_1 (id);
        ALTER INDEX ix_cut_id ATTACH PARTITION ix_cut_id_ix_cut_1;
        CREATE INDEX ix_cut_id_ix_cut_2 ON ix_cut_2 (id)""")
    database.sql("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_cut_id_ix_cut_2'::regclass", role="")
    oid = "SELECT 'ix_cut_id_ix_cut_1'::regclass::oid"
    wanted = [{"name": "ix_cut_id", "table": "ix_cut", "columns": ["id"]}]
    first, report, done, last = database.run(ask(oid), look(expected=wanted), put(wanted), ask(oid))
    (whole, part) = report["invalid"]
    assert whole["reason"] == "no valid index is attached for public.ix_cut_2, public.ix_cut_3"
    assert (part["name"], part["table"]) == ("ix_cut_id_ix_cut_2", "ix_cut_2")
    assert [text.split()[0] for text in done["statements"]] == ["DROP", "CREATE", "ALTER", "CREATE", "ALTER"]
    assert done["rebuilt"] == ["ix_cut_id"]
    assert database.valid("ix_cut_id")
    assert last == first
    database.sql("DROP TABLE ix_cut")


def test_others_that_do_the_same_work(database, table):
    """E24: Odoo has an index on mail_message(model, res_id) of its own, so DB-17's partial one adds little."""
    wanted = {
        "name": "idx_message_task",
        "table": "mail_message",
        "columns": ["model", "res_id"],
        "where": "model = 'project.task'",
    }
    third = [{"name": "ix_three", "table": table, "columns": ["name"]}]
    message, _rows, _used, facts, missing, in_stead, accepted, planned = database.run(
        look(expected=[wanted]),
        ask(
            f"CREATE INDEX ix_one ON {table} (name); CREATE INDEX ix_two ON {table} (name);"
            f"CREATE INDEX ix_longer ON {table} (name, state)"
        ),
        # DB-13, E20: how often each index is used.
        ask(f"SET enable_seqscan = off; SELECT amount FROM {table} WHERE id = 7"),
        look(tables=[table]),
        look(expected=third),
        look(expected=third, accept_equivalent=True),
        put(third, accept_equivalent=True),
        put(third, check=True),
    )
    (entry,) = message["missing"]
    assert entry["covered_by"]
    facts = {index["name"]: index for index in facts["indexes"]}
    used = facts[f"{table}_pkey"]
    assert (used["scans"], used["tuples_read"], used["constraint"]) == (1, 1, f"{table}_pkey")
    assert (facts["ix_one"]["scans"], facts["ix_one"]["size"] > 0) == (0, True)
    assert facts["ix_one"]["duplicate_of"] == ["ix_two"]
    assert facts["ix_two"]["prefix_of"] == ["ix_longer"]
    assert facts["ix_longer"]["duplicate_of"] == facts["ix_longer"]["prefix_of"] == []

    assert missing["missing"][0]["equivalent"] == ["ix_one", "ix_two"]
    assert in_stead["ok"][0] == {"name": "ix_one", "schema": "public", "table": table, "instead_of": "ix_three"}
    assert (accepted["changed"], accepted["accepted"]) == (False, ["ix_three"])
    assert planned["changed"]
    assert "may be superfluous" in planned["warnings"][0]


def test_bad_input_changes_nothing(database, table):
    """All that is wrong is told at once, and what is right is not done."""
    groups = [
        {
            "user_id": ({"columns": ["user_id"]}, 'column "user_id" does not exist'),
            "method": ({"columns": ["name"], "method": "treeb"}, 'access method "treeb" does not exist'),
            "opclass": ({"columns": ["name no_such_ops"]}, 'operator class "no_such_ops" does not exist'),
            "function": ({"columns": ["lower(amount)"]}, "function lower(integer) does not exist"),
            "volatile": ({"columns": ["name"], "where": "created > now()"}, "must be marked IMMUTABLE"),
            "subquery": ({"columns": ["name"], "where": "id IN (SELECT 1)"}, "cannot use subquery"),
        },
        {
            "injected": ({"columns": ["name"], "where": "true); DROP TABLE companies; --"}, "holds a semicolon"),
            "second": ({"columns": ["name); DROP TABLE companies"]}, "holds a semicolon"),
            "x" * 64: ({"columns": ["name"]}, "more than 63 bytes"),
            "nothing": ({"columns": []}, "columns must name at least one"),
        },
        {"table": ({"columns": ["name"], "table": "no_such_table"}, "has no table no_such_table")},
        {"view": ({"columns": ["name"], "table": "pg_stat_activity"}, "is a view")},
        {"companies": ({"columns": ["name"]}, "another relation of schema 'public' has that name")},
        {"ix_good": ({"columns": ["name"], "table": f"public.{table}"}, "is named twice in schema 'public'")},
        {"ix_good": ({"state": "absent", "schema": "public"}, "'ix_good' is to be present and absent")},
    ]
    good = {"name": "ix_good", "table": table, "columns": ["name"]}
    refused = database.run(
        *(
            put(
                [good, *({"name": name, "table": table, **entry} for name, (entry, _message) in group.items())],
                fails=True,
            )
            for group in groups
        )
    )
    for group, result in zip(groups, refused, strict=True):
        assert not result["changed"]
        for _entry, expected in group.values():
            assert expected in result["msg"]
    assert database.names(table) == [f"{table}_pkey"]


def test_what_constraints_need_stays(database, table):
    database.sql(f"ALTER TABLE {table} ADD CONSTRAINT ix_named UNIQUE (id, name)")
    other = [{"name": f"{table}_pkey", "table": table, "columns": ["name"]}]
    dropped, replaced = database.run(
        put([{"name": "ix_named"}], state="absent", fails=True), put(other, replace=True, fails=True)
    )
    assert "constraint 'ix_named' needs it" in dropped["msg"]
    assert "cannot be replaced: constraint" in replaced["msg"]


def test_connections_that_fail(database, table):
    wanted = [{"name": "ix_x", "table": table, "columns": ["name"]}]
    there = {"login_db": database.instance.name}
    remote = {"login_host": "127.0.0.1", "login_user": OWNER}
    cases = [
        ({"login_db": "ix_no_such_database"}, "There is no database 'ix_no_such_database'"),
        ({**there, **remote, "login_password": "wrong-secret"}, "password authentication failed"),
        ({**there, **remote, "login_port": 1}, "refused"),
        ({"config": "/etc/odoo/ix_missing.conf"}, "no configuration file"),
    ]
    *results, early, done = database.run(
        *(put(wanted, fails=True, **options) for options, _message in cases),
        put(wanted, check=True, login_db="ix_no_such_database"),
        put(wanted, **there),
    )
    for (options, message), result in zip(cases, results, strict=True):
        assert message in result["msg"], options
        assert "wrong-secret" not in json.dumps(result)
    assert (early["changed"], early["assumed"]) == (True, True)
    assert done["created"] == ["ix_x"]


def test_a_role_that_may_not(database, table):
    """A role that owns nothing can check; where it may not make temporary tables, the text has to do."""
    database.sql(f"CREATE INDEX ix_text ON {table} (lower(name)) WHERE state = 'draft'")
    database.sql(
        "DROP ROLE IF EXISTS ix_reader; CREATE ROLE ix_reader LOGIN PASSWORD 'reader-secret';"
        "REVOKE TEMP ON DATABASE ix FROM PUBLIC",
        role="",
    )
    login = {"login_db": "ix", "login_host": "127.0.0.1", "login_user": "ix_reader", "login_password": "reader-secret"}
    hba = database.instance.sql("SHOW hba_file")[0][0]
    database.instance.run("sed -i '1i host ix ix_reader 127.0.0.1/32 scram-sha-256' %s", hba)
    database.sql("SELECT pg_reload_conf()", role="")
    wanted = {"name": "ix_text", "table": table, "columns": ["lower(name)"], "where": "state = 'draft'"}
    try:
        report, other, refused = database.run(
            look(expected=[wanted], **login),
            look(expected=[{**wanted, "where": "state = 'sent'"}], **login),
            put([{**wanted, "name": "ix_new"}], fails=True, check=True, **login),
        )
        assert report["in_order"]
        assert report["compared_by_text"] == ["ix_text"]
        assert "could not be asked" in report["warnings"][0]
        assert not other["in_order"]
        assert f"does not own public.{table}" in refused["msg"]
    finally:
        database.instance.run("sed -i '/ix_reader/d' %s", hba)
        database.sql("SELECT pg_reload_conf(); GRANT TEMP ON DATABASE ix TO PUBLIC; DROP ROLE ix_reader", role="")


def test_looking_leaves_no_trace(database, table):
    """What PostgreSQL is asked for is undone: nothing is left, and the real table is not written."""
    before = database.sql(f"SELECT xmin, relfilenode FROM pg_class WHERE relname = '{table}'")
    database.look(expected=[{"name": "ix_y", "table": table, "columns": ["lower(name)"]}])
    assert database.sql(f"SELECT xmin, relfilenode FROM pg_class WHERE relname = '{table}'") == before
    assert database.sql("SELECT count(*) FROM pg_class WHERE relname ~ '^slipway_twin'") == [["0"]]


def test_a_thousand_expected_indexes(database):
    """Issue 4, speed: all of them through PostgreSQL's own normalising."""
    database.sql(
        "DO $$ BEGIN FOR t IN 1..50 LOOP "
        "EXECUTE format('CREATE TABLE ix_many_%s (a int, name varchar, state varchar)', t); "
        "FOR i IN 1..20 LOOP EXECUTE format('CREATE INDEX ix_many_%s_%s ON ix_many_%s (lower(name), (a + %s)) "
        "WHERE state = ''draft''', t, i, t, i); END LOOP; END LOOP; END $$"
    )
    expected = [
        {
            "name": f"ix_many_{table}_{number}",
            "table": f"ix_many_{table}",
            "columns": ["lower(name)", f"(a+{number})"],
            "where": "state='draft'",
        }
        for table in range(1, 51)
        for number in range(1, 21)
    ]
    report = database.look(expected=expected)
    assert len(report["ok"]) == 1000
    assert report["in_order"]
