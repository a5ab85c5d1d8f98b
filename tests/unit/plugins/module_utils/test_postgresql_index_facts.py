"""From the one row that PostgreSQL answers with to facts."""

from __future__ import annotations

import dataclasses
import types

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils import postgresql_index_facts
from ansible_collections.slipway.odoo.plugins.module_utils.errors import NotReadyError, SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.postgresql_index_facts import (
    Build,
    ForeignKey,
    Table,
    read_facts,
)

CONNECTION = types.SimpleNamespace(info=types.SimpleNamespace(dbname="main"))
SERVER = {
    "schema": "public",
    "role": "odoo-main",
    "standby": False,
    "temporary": True,
    "stats_reset": None,
    "whole": True,
}
TABLE = {
    "oid": 1, "schema": "public", "name": "po", "kind": "p", "parent": None, "partition_key": "RANGE (day)",
    "owner": "odoo-main", "owned": True, "writable": True, "readable": True,
}  # fmt: skip
PART = {**TABLE, "oid": 2, "name": "po_1", "kind": "r", "parent": 1, "partition_key": None}
INDEX = {
    "oid": 10, "schema": "public", "name": "ix", "table": 1, "valid": True, "ready": True, "primary": False,
    "definition": "CREATE INDEX ix ON ONLY public.po USING btree (a)",
    "constraint": None, "constraint_type": None, "partitioned": True, "parent": None, "parent_name": None,
    "size": 0, "scans": 0, "tuples_read": 0, "opclasses": ["int4_ops"], "collations": [""], "storage": None,
    "tablespace": None, "statistics": None, "clustered": False, "replica_identity": False, "comment": None,
    "referenced_by": [],
}  # fmt: skip
LEAF = {**INDEX, "oid": 11, "name": "ix_1", "table": 2, "partitioned": False, "parent": 10, "parent_name": "ix"}


@pytest.fixture
def answer(monkeypatch):
    """The row that the server answers with, to be changed by a test; ``asked`` is what it was asked with."""
    row = {
        "server": dict(SERVER),
        "named": [1],
        "named_indexes": None,
        "tables": [TABLE, PART],
        "indexes": [
            INDEX,
            {**LEAF, "statistics": [-1, 500], "size": 8192, "scans": 3, "tuples_read": 9, "storage": ["fillfactor=70"]},
        ],
        "keys": [{"name": "fk", "table": 1, "columns": ["a"], "references": "companies"}],
        "builds": [{"pid": 7, "table": 2, "index": 11, "phase": "building index", "client": "me"}],
        "relations": [["public", "ix", "I"]],
    }

    def rows(_connection, _query, values):
        row["asked"] = values
        return [tuple(value for key, value in row.items() if key != "asked")]

    monkeypatch.setattr(postgresql_index_facts, "rows", rows)
    return row


def test_everything(answer):
    facts = read_facts(CONNECTION, tables=[("", "po")], indexes=[("public", "ix")])
    assert answer["asked"] == {
        "table_schemas": [""],
        "tables": ["po"],
        "index_schemas": ["public"],
        "indexes": ["ix"],
        "whole": None,
    }
    assert facts.tables[1] == Table(1, "public", "po", True, None, "RANGE (day)", "odoo-main")
    assert [part.name for part in facts.partitions(1)] == ["po_1"]
    whole, leaf = facts.by_name["public", "ix"], facts.by_oid[11]
    assert (whole.size, whole.scans, whole.tuples_read) == (8192, 3, 9)
    assert (leaf.size, leaf.storage, leaf.parent_name, leaf.comment) == (8192, ("fillfactor=70",), "ix", "")
    assert (whole.statistics, leaf.statistics) == ((), (-1, 500))
    assert facts.on(2) == [leaf]
    assert facts.on(99) == []
    assert facts.foreign_keys == (ForeignKey("fk", 1, ("a",), "companies"),)
    assert facts.build_of(leaf) == Build(7, 2, 11, "building index", "me")
    assert facts.build_of(whole) is None
    assert facts.relations == {("public", "ix"): "I"}


@pytest.mark.parametrize(
    ("build", "index", "may_be"),
    [
        (Build(7, 2, 11), "ix_1", True),
        (Build(7, 2, 12), "ix_1", False),
        # A role that may not look at other sessions sees the table only.
        (Build(7, 2, 0), "ix_1", True),
        (Build(7, 1, 0), "ix_1", False),
        (Build(7, 2, 12), "ix_1_ccold", True),
        (Build(7, 1, 12), "ix_1_ccold", False),
    ],
)
def test_who_may_be_building(answer, build, index, may_be):
    answer["indexes"] = [{**LEAF, "name": index, "valid": False}]
    facts = dataclasses.replace(read_facts(CONNECTION, tables=[("", "po")]), builds=(build,))
    assert facts.may_be_under_way(facts.by_oid[11]) is may_be


def test_nothing(answer):
    answer.update(dict.fromkeys(("named", "tables", "indexes", "keys", "builds", "relations")))
    facts = read_facts(CONNECTION, whole="empty")
    assert (facts.tables, facts.indexes, facts.named, facts.builds) == ({}, (), (), ())


def test_tables_that_are_missing(answer):
    answer["named"] = [1, 0, 0, 0]
    with pytest.raises(NotReadyError, match=r"'main' has no table s.gone, lost") as caught:
        read_facts(CONNECTION, tables=[("", "po"), ("s", "gone"), ("", "lost"), ("", "lost")])
    assert caught.value.details == {"missing_tables": ["s.gone", "lost"]}


def test_a_schema_that_is_missing(answer):
    answer["server"]["whole"] = False
    with pytest.raises(NotReadyError, match="no schema 'gone'"):
        read_facts(CONNECTION, whole="gone")


@pytest.mark.parametrize(("kind", "message"), [("v", "a view"), ("S", "a sequence"), ("f", "a foreign table")])
def test_what_has_no_indexes(answer, kind, message):
    answer["tables"] = [{**TABLE, "kind": kind}]
    with pytest.raises(SlipwayError, match=f"public.po is {message}"):
        read_facts(CONNECTION, tables=[("", "po")])
