"""Asking PostgreSQL what definitions mean, with a stand-in for it."""

from __future__ import annotations

import json

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils import postgresql_index_check
from ansible_collections.slipway.odoo.plugins.module_utils.errors import NotReadyError, SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.postgresql_index_check import by_text_warning, resolve
from ansible_collections.slipway.odoo.plugins.module_utils.postgresql_index_facts import Facts, Index, Table
from ansible_collections.slipway.odoo.plugins.module_utils.postgresql_index_form import read_definition, read_wanted

PO = Table(1, "public", "po")
OTHER = Table(2, "sales", "po")
PARTED = Table(3, "public", "parted", partitioned=True, partition_key="RANGE (day)")


class Text(str):
    """psycopg2.sql, as far as it is used."""

    __slots__ = ()

    def format(self, *parts):
        return Text(str.format(self, *parts))

    def join(self, parts):
        return Text(str.join(self, parts))

    def as_string(self, _connection):
        return str(self)


class Sql:
    SQL = Text

    @staticmethod
    def Identifier(*names):  # noqa: N802
        return Text(".".join(names))


@pytest.fixture
def server(monkeypatch):
    """Answers with the statements that it got; those in ``refused`` fail."""

    class Server:
        asked: list = []  # noqa: RUF012
        batches: list = []  # noqa: RUF012
        refused: dict = {}  # noqa: RUF012

    seen = Server()
    seen.asked, seen.batches, seen.refused = [], [], {}

    def rows(_connection, query, values=None):
        seen.asked.append(query.split()[0])
        if values is None:
            return []
        statements = json.loads(values[0])
        seen.batches.append(statements)
        made = {}
        for key, text in statements:
            if key not in seen.refused and not key.startswith("table"):
                head, tail = text.split(" USING ")
                made[f"slipway_twin_{key}"] = f"{head} USING {tail.replace('lower(name)', 'lower((name)::text)')}"
        return [({key: seen.refused[key] for key, _text in statements if key in seen.refused}, made)]

    monkeypatch.setattr(postgresql_index_check, "rows", rows)
    monkeypatch.setattr(postgresql_index_check, "sql", Sql)
    return seen


def wanted(*entries):
    plain = {"method": "btree", "columns": ["lower(name)"]}
    return read_wanted([{"name": f"ix{number}", **plain, **entry} for number, entry in enumerate(entries)])


def index(name, does, table=PO):
    definition = f"CREATE INDEX {name} ON t USING {does}"
    return Index(9, table.schema, name, table.oid, definition, read_definition(definition))


def facts(*indexes, named=(1,), **changes):
    return Facts(tables={table.oid: table for table in (PO, OTHER, PARTED)}, indexes=indexes, named=named, **changes)


def test_equal_texts_need_no_server(server):
    (target,) = resolve(
        None,
        facts(index("ix0", "btree (state, name DESC)")),
        wanted({"table": "po", "columns": ["State", '"name" desc']}),
    )
    assert not server.asked
    assert target.matches(target.found)


def test_two_entries_that_are_one_index(server):
    twice = read_wanted(
        {"name": "ix", "method": "btree", "columns": ["a"], "table": table} for table in ("po", "public.po", "sales.po")
    )
    with pytest.raises(SlipwayError, match="'ix': is named twice in schema 'public'") as caught:
        resolve(None, facts(named=(1, 1, 2)), twice)
    assert len(caught.value.details["problems"]) == 1
    assert not server.asked
    assert len(resolve(None, facts(named=(1, 2)), twice[::2])) == 2


def test_the_server_is_asked_in_a_transaction_that_is_rolled_back(server):
    (target,) = resolve(None, facts(index("ix0", "btree (lower((name)::text))")), wanted({"table": "po"}))
    assert server.asked == ["BEGIN", "SELECT", "ROLLBACK"]
    assert server.batches == [
        [
            ["table 1", "CREATE TEMPORARY TABLE pg_temp.po (LIKE public.po)"],
            ["0", "CREATE INDEX slipway_twin_0 ON pg_temp.po USING btree ((lower(name)))"],
        ]
    ]
    assert target.matches(target.found)
    assert not target.by_text


def test_tables_of_one_name_and_partitioned_ones(server):
    entries = ({"table": "po"}, {"table": "sales.po"}, {"table": "parted", "where": "a", "unique": True})
    resolve(None, facts(named=(1, 2, 3)), wanted(*entries))
    texts = [text for _key, text in server.batches[0]]
    assert texts[2:] == [
        "CREATE TEMPORARY TABLE pg_temp.slipway_twin_of_2 (LIKE sales.po)",
        "CREATE INDEX slipway_twin_1 ON pg_temp.slipway_twin_of_2 USING btree ((lower(name)))",
        "CREATE TEMPORARY TABLE pg_temp.parted (LIKE public.parted) PARTITION BY RANGE (day)",
        "CREATE UNIQUE INDEX slipway_twin_2 ON pg_temp.parted USING btree ((lower(name))) WHERE (a)",
    ]


def test_many_are_asked_about_in_batches(server, monkeypatch):
    monkeypatch.setattr(postgresql_index_check, "_BATCH", 2)
    resolve(None, facts(named=(1,) * 5), wanted(*({"table": "po"} for _ in range(5))))
    assert [len(batch) for batch in server.batches] == [3, 3, 2]
    assert server.asked.count("ROLLBACK") == 3


def test_all_that_is_refused_is_told(server):
    server.refused = {"0": ["42703", 'column "x" does not exist'], "2": ["42704", "no such method"]}
    with pytest.raises(SlipwayError, match="Nothing was changed") as caught:
        resolve(None, facts(named=(1, 1, 1)), wanted({"table": "po"}, {"table": "po"}, {"table": "po"}))
    assert caught.value.details["problems"] == [
        "index 'ix0' on public.po: column \"x\" does not exist",
        "index 'ix2' on public.po: no such method",
    ]
    assert server.asked[-1] == "ROLLBACK"


@pytest.mark.parametrize(("states", "fault"), [(["42703", "42703"], NotReadyError), (["42703", "42704"], SlipwayError)])
def test_a_column_alone_may_still_come(server, states, fault):
    server.refused = {str(number): [state, "refused"] for number, state in enumerate(states)}
    with pytest.raises(SlipwayError) as caught:
        resolve(None, facts(named=(1, 1)), wanted({"table": "po"}, {"table": "po"}))
    assert type(caught.value) is fault


def test_a_table_that_cannot_be_copied(server):
    server.refused = {"table 1": ["42501", "permission denied for type secret"]}
    with pytest.raises(SlipwayError, match=r"public.po: permission denied for type secret"):
        resolve(None, facts(), wanted({"table": "po"}))


@pytest.mark.parametrize("changes", [{"temporary": False}, {"standby": True}])
def test_where_the_server_cannot_be_asked(server, changes):
    (same, other) = resolve(
        None,
        facts(index("ix0", "btree (lower((name)::text))"), index("ix1", "btree (name)"), named=(1, 1), **changes),
        wanted({"table": "po"}, {"table": "po"}),
    )
    assert not server.asked
    assert same.by_text
    assert same.matches(same.found)
    assert not other.matches(other.found)
    assert "ix0, ix1" in by_text_warning([same, other])
    assert by_text_warning([]) == ""


def test_an_index_of_that_name_on_another_table_is_not_it(server):
    (target,) = resolve(None, facts(index("ix0", "btree (a)", OTHER)), wanted({"table": "po", "columns": ["a"]}))
    assert target.found is None
