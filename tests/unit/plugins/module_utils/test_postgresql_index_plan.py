"""What is done to an index in every state that something can have left it in."""

from __future__ import annotations

import dataclasses
import re

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.postgresql_index_check import Target, compare
from ansible_collections.slipway.odoo.plugins.module_utils.postgresql_index_facts import (
    Build,
    Facts,
    ForeignKey,
    Index,
    Table,
    duplicates,
    index_facts,
    wider,
    without_index,
)
from ansible_collections.slipway.odoo.plugins.module_utils.postgresql_index_form import (
    NAME_BYTES,
    IndexForm,
    Wanted,
    read_definition,
    read_wanted,
)
from ansible_collections.slipway.odoo.plugins.module_utils.postgresql_index_plan import (
    decide,
    fitted,
    is_reindex_leftover,
    new_name,
    old_name,
)
from hypothesis import given, settings
from hypothesis import strategies as st

TABLE = Table(1, "public", "po", owner="odoo-main")
A, B = "btree (a)", "btree (b)"


def form(text: str) -> IndexForm:
    unique = "UNIQUE " if text.startswith("UNIQUE ") else ""
    return read_definition(f"CREATE {unique}INDEX x ON t USING {text.removeprefix('UNIQUE ')}")


def index(name: str, does: str = A, *, table: Table = TABLE, **changes) -> Index:
    oid = changes.pop("oid", None) or sum(name.encode()) * 1000 + len(name)
    return Index(oid, table.schema, name, table.oid, f"CREATE … {name} USING {does}", form(does), **changes)


def facts(*indexes: Index, tables=(TABLE,), **changes) -> Facts:
    relations = {(found.schema, found.name): "i" for found in indexes}
    known = {table.oid: table for table in tables}
    return Facts(tables=known, indexes=indexes, **{"relations": relations, "role": "odoo-main", **changes})


def target(found: Facts, name: str = "ix", does: str = A, *, table: Table = TABLE, by_text: bool = False) -> Target:
    wanted = Wanted(name, table.schema, table.name, form(does))
    there = found.by_name.get((table.schema, name))
    return Target(wanted, table, wanted.form, there if there and there.table == table.oid else None, by_text)


def plan(found: Facts, *, does: str = A, table: Table = TABLE, **options):
    return decide(found, [target(found, does=does, table=table)], **options)


def told(planned) -> list[str]:
    """The steps in short."""
    lines = []
    for action in planned.actions:
        for step in action.steps:
            flags = ("" if step.concurrently or step.verb in ("swap", "attach") else "!") + (
                "only " if step.only else ""
            )
            other = f" {step.other[1]}" if step.other[1] else ""
            lines.append(f"{step.verb} {flags}{step.index}{other}")
    return lines


@pytest.mark.parametrize(
    ("there", "options", "kind", "steps"),
    [
        ([], {}, "created", ["create ix"]),
        ([], {"concurrently": False}, "created", ["create !ix"]),
        ([index("ix")], {}, None, []),
        ([index("ix", valid=False)], {}, "rebuilt", ["drop ix", "create ix"]),
        ([index("ix", ready=False)], {}, "rebuilt", ["drop ix", "create ix"]),
        ([index("ix", valid=False, constraint="c")], {}, "rebuilt", ["reindex ix"]),
        ([index("ix", valid=False, constraint="c", constraint_type="x")], {}, "rebuilt", ["reindex !ix"]),
        (
            [index("ix", B)],
            {"replace": True},
            "replaced",
            ["create ix_slipway_new", "swap ix ix_slipway_new", "drop ix_slipway_old"],
        ),
        ([index("ix", B, valid=False)], {"replace": True}, "replaced", ["drop ix", "create ix"]),
        # What an interrupted replacement left.
        (
            [index("ix", B), index("ix_slipway_new")],
            {"replace": True},
            "replaced",
            ["swap ix ix_slipway_new", "drop ix_slipway_old"],
        ),
        (
            [index("ix", B), index("ix_slipway_new", valid=False)],
            {"replace": True},
            "replaced",
            ["drop ix_slipway_new", "create ix_slipway_new", "swap ix ix_slipway_new", "drop ix_slipway_old"],
        ),
        (
            [index("ix", B), index("ix_slipway_new", "hash (a)")],
            {"replace": True},
            "replaced",
            ["drop ix_slipway_new", "create ix_slipway_new", "swap ix ix_slipway_new", "drop ix_slipway_old"],
        ),
        ([index("ix"), index("ix_slipway_old", B)], {}, "repaired", ["drop ix_slipway_old"]),
        ([index("ix"), index("ix_slipway_new", B)], {}, "repaired", ["drop ix_slipway_new"]),
        (
            [index("ix", valid=False), index("ix_slipway_old", B)],
            {},
            "rebuilt",
            ["drop ix_slipway_old", "drop ix", "create ix"],
        ),
        # What an interrupted REINDEX CONCURRENTLY left.
        ([index("ix"), index("ix_ccnew", valid=False)], {}, "repaired", ["drop ix_ccnew"]),
        ([index("ix"), index("ix_ccold1", valid=False)], {}, "repaired", ["drop ix_ccold1"]),
        ([index("ix"), index("ix_ccnew")], {}, None, []),
        ([index("ix"), index("other_ccnew", valid=False)], {}, None, []),
    ],
)  # fmt: skip
def test_from_any_state(there, options, kind, steps):
    planned = plan(facts(*there), **options)
    assert told(planned) == steps
    assert [action.kind for action in planned.actions] == ([kind] if kind else [])
    assert planned.changed is bool(steps)


def test_storage_and_comment_of_a_replaced_index_are_kept():
    old = index("ix", B, storage=("fillfactor=70",), tablespace="fast", comment="why")
    (action,) = plan(facts(old), replace=True).actions
    create, swap, _drop = action.steps
    assert (create.storage, create.tablespace, swap.comment) == (("fillfactor=70",), "fast", "why")


@pytest.mark.parametrize(
    ("does", "wanted", "storage", "clustered", "statistics"),
    [
        (B, A, ("fillfactor=70",), True, ()),
        # Another method has other parameters, and CLUSTER goes by no partial index.
        ("gin (b)", A, (), False, ()),
        (B, "btree (a) WHERE (b)", ("fillfactor=70",), False, ()),
        (
            "btree (a, lower(b), (c + 1))",
            "btree ((c + 1), a, lower(b), lower(c))",
            ("fillfactor=70",),
            True,
            ((3, 500),),
        ),
        ("gin (a, lower(b))", "btree (lower(b))", (), False, ((1, 500),)),
    ],
)
def test_what_a_replacement_takes_over(does, wanted, storage, clustered, statistics):
    old = index("ix", does, storage=("fillfactor=70",), tablespace="fast", clustered=True, statistics=(-1, 500, -1))
    (action,) = plan(facts(old), does=wanted, replace=True).actions
    create, swap, _drop = action.steps
    assert (create.storage, create.tablespace) == (storage, "fast")
    assert (swap.clustered, swap.statistics) == (clustered, statistics)
    broken = dataclasses.replace(old, valid=False)
    (action,) = plan(facts(broken), does=wanted, replace=True).actions
    assert (action.steps[1].storage, action.steps[1].tablespace) == (storage, "fast")


@pytest.mark.parametrize(
    ("there", "options", "message"),
    [
        (
            [index("ix", B)],
            {},
            r"index 'ix' on public.po is another one \(columns \(b\) instead of \(a\)\): set replace",
        ),
        ([index("ix", B, constraint="c")], {"replace": True}, "constraint 'c' needs it"),
        ([index("ix", B, referenced_by=("fk on t",))], {"replace": True}, "foreign key fk on t relies on it"),
        ([index("ix", B, parent=5, parent_name="p")], {"replace": True}, "part of 'p'"),
        ([index("ix", B, replica_identity=True)], {"replace": True}, "replica identity"),
    ],
)
def test_refusals(there, options, message):
    with pytest.raises(SlipwayError, match=f"{message}.*Nothing was changed"):
        plan(facts(*there), **options)


@pytest.mark.parametrize(
    ("changes", "found", "message"),
    [
        ({"owned": False}, {}, "Role 'odoo-main' does not own public.po, role 'boss' does"),
        ({"writable": False}, {}, "no privilege CREATE on schema 'public'"),
        ({}, {"standby": True}, "is a standby"),
        ({}, {"relations": {("public", "ix"): "r"}}, "another relation of schema 'public' has that name"),
    ],
)
def test_what_the_server_would_refuse(changes, found, message):
    table = dataclasses.replace(TABLE, owner="boss", **changes)
    with pytest.raises(SlipwayError, match=message):
        plan(facts(tables=[table], **found), table=table)
    whole = facts(index("ix", table=table), tables=[table], **found)
    assert not plan(whole, table=table).changed


def test_removing():
    found = facts(index("ix", oid=7), index("ix_slipway_new"), index("pk", constraint="pk", oid=8))

    def remove(wanted, oid):
        return decide(found, [], [(wanted, oid)])

    assert told(remove(Wanted("ix", present=False), 7)) == ["drop ix_slipway_new", "drop ix"]
    assert told(decide(found, [], [(Wanted("ix"), 7)], concurrently=False)) == ["drop !ix_slipway_new", "drop !ix"]
    assert not remove(Wanted("gone"), 0).changed
    for wanted, oid, message in (
        (Wanted("pk"), 8, "constraint 'pk' needs it"),
        (Wanted("po"), 99, "'po' is no index"),
        (Wanted("ix", table="other"), 7, "is one of public.po, not of other"),
    ):
        with pytest.raises(SlipwayError, match=message):
            remove(wanted, oid)


LONG = "x" * 57


def test_what_may_be_left_of_two_is_dropped_once():
    left = index(f"{LONG}_ccnew", valid=False, oid=9)
    found = facts(index(f"{LONG}_one", oid=7), index(f"{LONG}_two", oid=8), left)
    both = [target(found, f"{LONG}_one"), target(found, f"{LONG}_two")]
    for planned in (
        decide(found, both),
        decide(found, both[1:], [(Wanted(f"{LONG}_one", present=False), 7)]),
    ):
        assert [line for line in told(planned) if "_cc" in line] == [f"drop {left.name}"]
    twice = [(Wanted("ix", schema, present=False), 7) for schema in ("", "public")]
    assert told(decide(facts(index("ix", oid=7)), [], twice)) == ["drop ix"]


def test_what_is_wanted_itself_is_no_leftover():
    found = facts(index("ix"), index("ix_slipway_new", B))
    assert not decide(found, [target(found), target(found, "ix_slipway_new", B)]).changed


@pytest.mark.parametrize(
    ("there", "absent", "oid"),
    [
        ([index("ix", oid=7)], Wanted("ix", present=False), 7),
        ([], Wanted("ix", present=False), 0),
        ([], Wanted("ix", "public", present=False), 0),
    ],
)
def test_present_and_absent(there, absent, oid):
    found = facts(*there)
    with pytest.raises(SlipwayError, match=r"'ix' is to be present and absent.*Nothing was changed"):
        decide(found, [target(found)], [(absent, oid)])
    assert decide(facts(), [target(facts())], [(Wanted("ix", "sales", present=False), 0)]).changed


def test_another_session_builds_it():
    being = index("ix", valid=False, oid=7)
    planned = plan(facts(being, builds=(Build(4711, 1, 7, "building index"),)))
    assert (planned.waiting, planned.actions) == (("ix",), ())
    assert plan(facts(being, builds=(Build(4711, 1, 8),))).changed


def test_others_that_do_the_work():
    found = facts(index("wide", "btree (a, b)"), index("twin"))
    planned = plan(found)
    assert planned.equivalent == ({"name": "ix", "equivalent": ["twin"], "covered_by": ["wide"]},)
    assert told(planned) == ["create ix"]
    accepting = plan(found, accept_equivalent=True)
    assert (accepting.accepted, accepting.changed) == (("ix",), False)
    assert plan(facts(index("wide", "btree (a, b)")), accept_equivalent=True).changed
    assert plan(facts(index("twin", valid=False)), accept_equivalent=True).changed


def test_difference():
    assert plan(facts(index("ix", B)), replace=True).diff() == {
        "before": {"public.ix": "INDEX ON public.po USING btree (b)"},
        "after": {"public.ix": "INDEX ON public.po USING btree (a)"},
    }
    assert plan(facts(index("ix", valid=False))).diff()["before"] == {
        "public.ix": "INDEX ON public.po USING btree (a) (INVALID)"
    }
    gone = decide(facts(index("ix", "UNIQUE btree (a)", oid=7)), [], [(Wanted("ix"), 7)])
    assert gone.diff() == {"before": {"public.ix": "UNIQUE INDEX ON public.po USING btree (a)"}, "after": {}}


TOP = Table(1, "public", "top", partitioned=True)
ONE = Table(2, "public", "one", parent=1)
SUB = Table(3, "public", "sub", parent=1, partitioned=True)
LEAF = Table(4, "public", "leaf", parent=3)
PARTS = (TOP, ONE, SUB, LEAF)
WHOLE = index("ix", table=TOP, partitioned=True, valid=False, oid=10)


def on(table: Table, name: str, does: str = A, **changes) -> Index:
    return index(name, does, table=table, partitioned=table.partitioned, **changes)


@pytest.mark.parametrize(
    ("there", "steps"),
    [
        (
            [],
            [
                *("create !only ix", "create ix_one", "attach ix ix_one"),
                *("create !only ix_sub", "create ix_leaf", "attach ix_sub ix_leaf", "attach ix ix_sub"),
            ],
        ),
        (
            [WHOLE, on(ONE, "ix_one", parent=10), on(SUB, "ix_sub", valid=False, oid=11)],
            ["create ix_leaf", "attach ix_sub ix_leaf", "attach ix ix_sub"],
        ),
        (
            [WHOLE, on(ONE, "ix_one", valid=False), on(SUB, "ix_sub", parent=10)],
            ["drop ix_one", "create ix_one", "attach ix ix_one"],
        ),
        ([WHOLE, on(ONE, "own"), on(SUB, "ix_sub", parent=10)], ["attach ix own"]),
        (
            [WHOLE, on(ONE, "ix_one", parent=10), on(SUB, "ix_sub", parent=10, valid=False, oid=11)],
            ["create ix_leaf", "attach ix_sub ix_leaf"],
        ),
        (
            [WHOLE, on(ONE, "ix_one", parent=10, valid=False), on(SUB, "ix_sub", parent=10)],
            ["reindex ix_one", "attach ix ix_one"],
        ),
        ([WHOLE, on(ONE, "ix_one", parent=10), on(SUB, "ix_sub", parent=10)], ["attach ix ix_one"]),
        ([dataclasses.replace(WHOLE, valid=True)], []),
    ],
)
def test_partitioned_tables(there, steps):
    found = facts(*there, tables=PARTS)
    assert told(plan(found, table=TOP)) == steps


def test_partition_has_an_index_of_that_name_on_something_else():
    found = facts(WHOLE, on(ONE, "ix_one", B), on(SUB, "ix_sub", parent=10), tables=PARTS)
    (create, attach) = told(plan(found, table=TOP))
    assert create.startswith("create ix_one_")
    assert attach == f"attach ix {create.split()[1]}"


def test_replacing_on_a_partitioned_table():
    old = dataclasses.replace(WHOLE, valid=True, form=form(B))
    found = facts(old, on(ONE, "ix_one", B, parent=10), tables=(TOP, ONE))
    steps = told(plan(found, table=TOP, replace=True))
    assert steps[0] == "create !only ix_slipway_new"
    assert steps[1].startswith("create ix_one_")
    assert steps[2].startswith("attach ix_slipway_new ix_one_")
    assert steps[3:] == ["swap ix ix_slipway_new", "drop !ix_slipway_old"]
    begun = index("ix_slipway_new", table=TOP, partitioned=True, valid=False, oid=20)
    steps = told(plan(facts(*found.indexes, begun, tables=(TOP, ONE)), table=TOP, replace=True))
    assert steps[0].startswith("create ix_one_")


def test_parts_of_a_replaced_index_are_like_the_old_ones():
    old = dataclasses.replace(WHOLE, valid=True, form=form(B), storage=("fillfactor=80",))
    there = [
        old,
        on(ONE, "old_one", B, parent=10, storage=("fillfactor=70",), tablespace="fast"),
        on(SUB, "old_sub", B, parent=10, oid=11, tablespace="slow"),
    ]
    (action,) = plan(facts(*there, tables=PARTS), table=TOP, replace=True).actions
    made = {step.table.name: (step.storage, step.tablespace) for step in action.steps if step.verb == "create"}
    assert made == {
        "top": (("fillfactor=80",), ""),
        "one": (("fillfactor=70",), "fast"),
        "sub": ((), "slow"),
        # It had none: as PostgreSQL makes those of new partitions.
        "leaf": ((), "slow"),
    }


@pytest.mark.parametrize(
    ("wanted", "there", "kind"),
    [
        (A, [index("ix")], "ok"),
        (A, [], "missing"),
        (A, [index("ix", valid=False)], "invalid"),
        (B, [index("ix")], "mismatched"),
        (B, [index("ix", valid=False)], "mismatched"),
    ],
)
def test_comparing(wanted, there, kind):
    found = facts(*there, index("more", "btree (c)"), index("pk", "btree (d)", constraint="pk"))
    report = compare(found, [target(found, does=wanted)], accept_equivalent=False)
    for name in ("ok", "missing", "invalid", "mismatched"):
        assert [entry["name"] for entry in report[name]] == (["ix"] if name == kind else [])
    assert report["in_order"] is (kind == "ok")
    assert [entry["name"] for entry in report["extra"]] == ["more"]
    assert compare(found, [target(found)], accept_equivalent=False, name_prefix="ix_")["extra"] == []


UNIQUE_A = "UNIQUE btree (a)"


@pytest.mark.parametrize(
    ("left", "builds", "reason"),
    [
        (index("ix_slipway_new", valid=False), (), "a build was cut off or failed, queries do not use it$"),
        (index("other", UNIQUE_A, valid=False), (), "it still refuses rows with equal keys$"),
        (index("other", UNIQUE_A, valid=False, ready=False), (), "queries do not use it$"),
        (index("other", valid=False, oid=7), (Build(4711, 1, 7),), None),
        (index("other", valid=False, oid=7), (Build(4711, 1, 8),), "cut off"),
        (index("other", constraint="c"), (), None),
    ],
)
def test_broken_ones_that_nobody_expects(left, builds, reason):
    found = facts(index("ix"), left, builds=builds)
    report = compare(found, [target(found)], accept_equivalent=False, name_prefix="ix")
    assert report["in_order"] is (reason is None)
    assert [entry["name"] for entry in report["ok"]] == ["ix"]
    told_of = [(entry["name"], entry["schema"], entry["table"]) for entry in report["invalid"]]
    assert told_of == ([] if reason is None else [(left.name, "public", "po")])
    for entry in report["invalid"]:
        assert re.search(f"^nobody expects it: .*{reason}", entry["reason"])


def test_broken_ones_on_partitions():
    whole = dataclasses.replace(WHOLE, valid=True)
    here = [whole, on(ONE, "ix_one", parent=10), on(LEAF, "ix_leaf_ccnew", valid=False)]
    other = [index("top2", B, table=TOP, partitioned=True, valid=False), on(ONE, "b", B, valid=False)]
    part = dataclasses.replace(other[1], parent=other[0].oid)

    def broken(*indexes, table=TOP):
        found = facts(*indexes, tables=PARTS)
        return [
            entry["name"] for entry in compare(found, [target(found, table=table)], accept_equivalent=False)["invalid"]
        ]

    assert broken(*here) == ["ix_leaf_ccnew"]
    assert broken(*here, *other) == ["ix_leaf_ccnew", "top2", "b"]
    assert broken(*here, other[0], part) == ["ix_leaf_ccnew", "top2"]
    assert broken(*here, other[0], part, table=ONE) == ["b"]


def test_comparing_with_an_equivalent():
    found = facts(index("twin"))
    (missing,) = compare(found, [target(found)], accept_equivalent=False)["missing"]
    assert (missing["equivalent"], missing["covered_by"]) == (["twin"], [])
    report = compare(found, [target(found)], accept_equivalent=True)
    assert report["ok"] == [{"name": "twin", "schema": "public", "table": "po", "instead_of": "ix"}]
    assert (report["in_order"], report["extra"]) == (True, [])


def test_comparing_without_the_server():
    found = facts(index("ix", "btree (lower((a)::text))"))
    for by_text, in_order in ((True, True), (False, False)):
        seen = [target(found, does="btree (lower(a))", by_text=by_text)]
        report = compare(found, seen, accept_equivalent=False)
        assert report["in_order"] is in_order
        assert report["compared_by_text"] == (["ix"] if by_text else [])


def test_reasons_of_invalid_ones():
    def reason(found, table=TABLE):
        return compare(found, [target(found, table=table)], accept_equivalent=False)["invalid"][0]["reason"]

    being = index("ix", valid=False, oid=7)
    assert "cut off or failed" in reason(facts(being))
    build = Build(4711, 1, 7, "building index", "odoo-main from this host")
    assert reason(facts(being, builds=(build,))).startswith(
        "backend 4711 (odoo-main from this host) is building it now"
    )
    parts = facts(WHOLE, on(ONE, "ix_one", parent=10), tables=PARTS)
    assert reason(parts, TOP) == "no valid index is attached for public.sub"


def test_duplicates_and_prefixes():
    pk = index("pk", "UNIQUE btree (a)", constraint="pk")
    one, two, wide = index("one"), index("two"), index("wide", "btree (a, b)")
    broken = index("broken", valid=False)
    here = [pk, one, two, wide, broken]
    assert duplicates(one, here) == ["pk", "two"]
    assert duplicates(pk, here) == wider(pk, here) == []
    assert wider(one, here) == ["wide"]
    assert duplicates(wide, here) == wider(wide, here) == []
    assert duplicates(broken, here) == ["pk", "one", "two"]


@pytest.mark.parametrize(
    ("columns", "does", "lacking"),
    [
        (("a",), A, False),
        (("a",), "btree (a, b)", False),
        (("a",), "btree (b, a)", True),
        (("b", "a"), "btree (a, b)", False),
        (("a", "b"), A, True),
        (("a",), "hash (a)", False),
        (("a",), "brin (a)", True),
        (("a",), "btree (a) WHERE (a IS NOT NULL)", False),
        (("a",), "btree (a) WHERE (b IS NOT NULL)", True),
        (("Odd",), 'btree ("Odd") WHERE ("Odd" IS NOT NULL)', False),
        (("a",), "btree (lower(a))", True),
    ],
)
def test_foreign_keys_without_index(columns, does, lacking):
    key = ForeignKey("fk", 1, columns, "companies")
    assert bool(without_index(facts(index("ix", does), foreign_keys=(key,)))) is lacking
    assert without_index(facts(index("ix", does, valid=False), foreign_keys=(key,))) == [key]


def test_facts_of_one_index():
    found = index("ix", "btree (a DESC, lower(b)) WHERE c", opclasses=("int4_ops", "text_ops"), collations=("", "C"))
    told_of = index_facts(facts(found), found)
    plain = {"column": None, "expression": None, "collation": None, "order": "asc", "nulls": "last"}
    assert told_of["keys"] == [
        {**plain, "column": "a", "opclass": "int4_ops", "order": "desc", "nulls": "first"},
        {**plain, "expression": "lower(b)", "opclass": "text_ops", "collation": "C"},
    ]
    assert (told_of["where"], told_of["constraint"], told_of["parent"], told_of["building"]) == ("c", None, None, None)


@given(st.text(min_size=1, max_size=63).filter(lambda name: len(name.encode()) <= NAME_BYTES and "\0" not in name))
@settings(max_examples=50)
def test_names_fit_and_stay_apart(name):
    names = [name, new_name(name), old_name(name), fitted(f"{name}_{'p' * 40}")]
    assert all(len(other.encode()) <= NAME_BYTES for other in names)
    assert len(set(names)) == len(names)
    assert new_name(name) == new_name(name)
    assert new_name(name) != new_name(name[:-1] + ("x" if name[-1] != "x" else "y"))


@pytest.mark.parametrize(
    ("name", "of", "is_one"),
    [
        ("ix_ccnew", "ix", True),
        ("ix_ccold12", "ix", True),
        ("ix_ccnewer", "ix", False),
        ("ix2_ccnew", "ix", False),
        ("x" * 57 + "_ccnew", "x" * 63, True),
        ("x" * 56 + "_ccnew1", "x" * 63, True),
    ],
)
def test_leftovers_of_reindex(name, of, is_one):
    assert is_reindex_leftover(index(name, valid=False), of) is is_one
    assert not is_reindex_leftover(index(name), of)


def test_two_entries_share_a_plan():
    entries = [{"name": "ix", "table": "po", "columns": ["a"], "method": "btree"}, {"name": "gone", "state": "absent"}]
    present, absent = read_wanted(entries)
    found = facts(index("gone", oid=7))
    planned = decide(found, [Target(present, TABLE, present.form)], [(absent, 7)])
    assert (planned.named("created"), planned.named("dropped")) == (["ix"], ["gone"])
