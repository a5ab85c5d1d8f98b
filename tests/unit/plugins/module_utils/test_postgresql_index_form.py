"""What users and PostgreSQL write about an index, and what never gets through."""

from __future__ import annotations

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.postgresql_index_form import (
    RESERVED,
    IndexForm,
    IndexKey,
    quote_name,
    read_definition,
    read_expression,
    read_key,
    read_wanted,
    split_table,
    tokenize,
    write,
)
from hypothesis import given, settings
from hypothesis import strategies as st

ENTRY = {
    "name": "idx_po_status",
    "table": "purchase_orders",
    "columns": ["status"],
    "method": "btree",
}


def entry(**changes):
    return {**ENTRY, **changes}


def form_of(**changes):
    (wanted,) = read_wanted([entry(**changes)])
    return wanted.form


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("name", IndexKey(column="name")),
        (" NAME ", IndexKey(column="name")),
        ('"Name"', IndexKey(column="Name")),
        ('"a""b"', IndexKey(column='a"b')),
        ('"user"', IndexKey(column="user")),
        ("user", IndexKey(column="user")),
        ("((name))", IndexKey(column="name")),
        ("name ASC NULLS LAST", IndexKey(column="name")),
        ("name DESC", IndexKey(column="name", descending=True, nulls_first=True)),
        ("name desc nulls last", IndexKey(column="name", descending=True)),
        ("name NULLS FIRST", IndexKey(column="name", nulls_first=True)),
        ("name text_pattern_ops", IndexKey(column="name", opclass="text_pattern_ops")),
        ("name public.gin_trgm_ops", IndexKey(column="name", opclass="public.gin_trgm_ops")),
        ("name pg_catalog.text_ops", IndexKey(column="name", opclass="text_ops")),
        ("name gist_trgm_ops(siglen=32)", IndexKey(column="name", opclass="gist_trgm_ops(siglen = 32)")),
        ('name COLLATE "C"', IndexKey(column="name", collation='"C"')),
        ('name COLLATE pg_catalog."C" x_ops DESC', IndexKey("name", "", '"C"', "x_ops", True, True)),
        ("LOWER ( Name )", IndexKey(expression="lower(name)")),
        ("(lower(name)) DESC", IndexKey(expression="lower(name)", descending=True, nulls_first=True)),
        ("public.f(name, 1)", IndexKey(expression="public.f(name, 1)")),
        ("(a+b)", IndexKey(expression="a + b")),
        ("((a + b) * c)", IndexKey(expression="(a + b) * c")),
        ("((a + b) * (c + d))", IndexKey(expression="(a + b) * (c + d)")),
        ("(data->>'Key')", IndexKey(expression="data ->> 'Key'")),
        ("((name)::text)", IndexKey(expression="(name)::text")),
        ("(a[1])", IndexKey(expression="a[1]")),
        ("COALESCE(a, 'x')", IndexKey(expression="coalesce(a, 'x')")),
    ],
)
def test_keys(text, key):
    assert read_key(text) == key
    assert read_key(str(key)) == key


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a + b", "from + on: put an expression in brackets"),
        ("name::text", "from :: on"),
        ("a, b", "from , on"),
        ("(a, b)", "more than one expression"),
        ("po.name", "leave the table out"),
        ("name SIDEWAYS DESC now", "from now on"),
        ("name COLLATE", "names no collation"),
        ("'name'", "must begin with a column"),
        ("1", "must begin with a column"),
        ("()", "is empty"),
        ("(a", "lacks a )"),
        ("(a[1)", "has a ) too many"),
        ("a)", "has a ) too many"),
    ],
)
def test_what_is_no_key(text, message):
    with pytest.raises(ValueError, match=message.replace(")", r"\)").replace("+", r"\+").replace("(", r"\(")):
        read_key(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("true; DROP TABLE x", "semicolon"),
        ("true) ; DROP TABLE x --", r"has a \) too many|semicolon|comment"),
        ("true -- and more", "comment"),
        ("true /* and */", "comment"),
        ("a <--b", "comment"),
        ("a = $1", "dollar"),
        ("a = $$x$$", "dollar"),
        ("a = 'x", "not closed"),
        ('"a = 1', "not closed"),
        ("a = E'x\\'; DROP TABLE x; --'", "write it as a plain string"),
        ("a = e'x'", "write it as a plain string"),
        ("a = B'01'", "write it as a plain string"),
        ("a = U&'x'", "write it as a plain string"),
        ('U&"a" = 1', "write it as a plain string"),
        # In PostgreSQL the second one is read by the rules of the first.
        ("a = 'x' 'y'", "two string constants"),
        ("a = 'x'\n'y'", "two string constants"),
        ("a = \\", "no place"),
        ("a = {b}", "no place"),
        ("a = 1, b = 2", "more than one expression"),
        ("a = 'x\0'", "zero byte"),
        ("", "is empty"),
        ("()", "is empty"),
    ],
)
def test_what_is_no_single_expression(text, message):
    with pytest.raises(ValueError, match=message):
        read_expression(text)


@pytest.mark.parametrize(
    ("mine", "other"),
    [
        ("status = 'done'", "(STATUS='done')"),
        ("a is not null and b", '((A IS NOT NULL AND "b"))'),
        ("a = ANY (ARRAY['x', 'y'])", "a = any(array['x','y'])"),
        ("a=-1", "a = - 1"),
        # PostgreSQL, too, ends an operator before a minus.
        ("a < - b", "a <- b"),
        ("a::numeric(10,2) > 1.50", "( a :: NUMERIC ( 10 , 2 ) > 1.50 )"),
        ("e = 'x'", "E = 'x'"),
        ("u & 1 > 0", "(u&1>0)"),
    ],
)
def test_equal_texts(mine, other):
    assert read_expression(mine) == read_expression(other)


@pytest.mark.parametrize(
    ("mine", "other"),
    [
        ("status = 'done'", "status = 'Done'"),
        ("status = 'a  b'", "status = 'a b'"),
        ('"Status" = 1', "status = 1"),
        ('"user" = 1', "user = 1"),
        ("(a + b) * c", "a + (b * c)"),
        ("(a) + (b)", "a + b"),
        ("a @- b", "a @ - b"),
    ],
)
def test_texts_that_differ(mine, other):
    """Some of them mean the same: then PostgreSQL is asked."""
    assert read_expression(mine) != read_expression(other)


DEFINITION = (
    'CREATE UNIQUE INDEX "X using (y)" ON ONLY public."T" USING btree (lower((name)::text) text_pattern_ops DESC '
    "NULLS LAST, \"user\", ((a ->> 'k'::text))) INCLUDE (b, \"C d\") NULLS NOT DISTINCT WITH (fillfactor='70', "
    "deduplicate_items=off) TABLESPACE fast WHERE (((state)::text = ANY ((ARRAY['a'::character varying, "
    "'b'::character varying])::text[])) AND (active = true))"
)


def test_definition_of_everything():
    form = read_definition(DEFINITION)
    assert form == IndexForm(
        keys=(
            IndexKey(expression="lower((name)::text)", opclass="text_pattern_ops", descending=True),
            IndexKey(column="user"),
            IndexKey(expression="a ->> 'k'::text"),
        ),
        unique=True,
        nulls_not_distinct=True,
        include=("b", "C d"),
        where="((state)::text = any ((array['a'::character varying, 'b'::character varying])::text[])) "
        "and (active = true)",
    )
    assert read_definition(f"CREATE {str(form).replace('btree', 'INDEX x ON t USING btree', 1)}") == form


@pytest.mark.parametrize(
    ("definition", "method", "keys"),
    [
        ("CREATE INDEX i ON public.t USING gin (name gin_trgm_ops)", "gin", "name gin_trgm_ops"),
        ("CREATE INDEX i ON t USING brin (at) WITH (pages_per_range='32')", "brin", "at"),
        ("CREATE INDEX i ON t USING hash (a) TABLESPACE x", "hash", "a"),
    ],
)
def test_other_definitions(definition, method, keys):
    form = read_definition(definition)
    assert (form.method, ", ".join(map(str, form.keys)), form.where) == (method, keys, "")


def test_definition_that_is_none():
    with pytest.raises(SlipwayError, match="cannot be understood"):
        read_definition("CREATE TABLE x")


@pytest.mark.parametrize(
    ("changes", "aspect", "expected", "actual"),
    [
        ({"columns": ["a", "b DESC"]}, "columns", ["status"], ["a", "b DESC"]),
        ({"unique": True}, "unique", False, True),
        ({"method": "HASH"}, "method", "btree", "hash"),
        ({"where": "(a)"}, "where", "", "a"),
        ({"include": ["a", '"B"']}, "include", [], ["B", "a"]),
    ],
)
def test_differences(changes, aspect, expected, actual):
    assert form_of().differences(form_of(**changes)) == [{"aspect": aspect, "expected": expected, "actual": actual}]


def test_order_of_included_columns_means_nothing():
    assert form_of(include=["a", "b"]).same(form_of(include=["b", "a"]))
    assert not form_of(columns=["a", "b"]).same(form_of(columns=["b", "a"]))


@pytest.mark.parametrize(
    ("mine", "other", "same"),
    [
        ({"columns": ["lower(name)"]}, {"columns": ["lower((name)::text)"]}, True),
        ({"where": "state='x' AND at>now"}, {"where": "(((state)::text = 'x'::text) AND (at > now))"}, True),
        ({"where": "a > 'x'::timestamp(0) without time zone"}, {"where": "a > 'x'"}, True),
        ({"where": "a = any('{x}'::character varying(3)[])"}, {"where": "a = any ('{x}')"}, True),
        ({"where": "state = 'x'"}, {"where": "state = 'y'"}, False),
        ({"columns": ["lower(name)"]}, {"columns": ["upper(name)"]}, False),
    ],
)
def test_without_casts_and_brackets(mine, other, same):
    assert form_of(**mine).loosely_same(form_of(**other)) is same


@pytest.mark.parametrize(
    ("other", "wanted", "work", "covers"),
    [
        ({}, {}, True, False),
        ({"unique": True}, {}, True, False),
        ({}, {"unique": True}, False, False),
        ({"include": ["a"]}, {}, True, False),
        ({}, {"include": ["a"]}, False, False),
        ({"columns": ["status", "a"]}, {}, False, True),
        ({"columns": ["status", "a"]}, {"include": ["a"]}, False, True),
        ({"columns": ["a", "status"]}, {}, False, False),
        ({}, {"where": "a"}, False, True),
        ({"where": "a"}, {}, False, False),
        ({"where": "a", "columns": ["status", "b"]}, {"where": "a"}, False, True),
        ({"columns": ["status", "a"]}, {"unique": True}, False, False),
        ({"columns": ["status DESC", "a"]}, {}, False, False),
        ({"method": "gin", "columns": ["status", "a"]}, {"method": "gin"}, False, False),
        ({"method": "hash"}, {}, False, False),
    ],
)
def test_indexes_that_stand_in_for_others(other, wanted, work, covers):
    assert form_of(**other).does_work_of(form_of(**wanted)) is work
    assert form_of(**other).covers(form_of(**wanted)) is covers


@pytest.mark.parametrize(
    ("text", "parts"),
    [("t", ("", "t")), ("s.t", ("s", "t")), ("s.t.u", ("s", "t.u")), (".t", ("", "t"))],
)
def test_splitting_tables(text, parts):
    assert split_table(text) == parts


@pytest.mark.parametrize(
    ("changes", "schema", "table"),
    [
        ({}, "", "purchase_orders"),
        ({"table": "sales.po"}, "sales", "po"),
        ({"table": "sales.po", "schema": "other"}, "other", "sales.po"),
        ({"schema": "other"}, "other", "purchase_orders"),
    ],
)
def test_where_the_table_is(changes, schema, table):
    (wanted,) = read_wanted([entry(**changes)])
    assert (wanted.schema, wanted.table) == (schema, table)


def test_schema_of_entries_without_one():
    (mine, other) = read_wanted([entry(), entry(name="b", table="s.t")], schema="common")
    assert (mine.schema, other.schema) == ("common", "s")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "x" * 64}, "more than 63 bytes"),
        ({"name": "ü" * 32}, "more than 63 bytes"),
        ({"name": ""}, "name must be given"),
        ({"name": "a\0b"}, "name must be given"),
        ({"table": ""}, "table must be given"),
        ({"table": None}, "table must be given"),
        ({"columns": []}, "columns must name at least one"),
        ({"columns": ["a", "b;"]}, "columns: 'b;' holds a semicolon"),
        ({"where": "a; b"}, "where: 'a; b' holds a semicolon"),
        ({"include": ["lower(a)"]}, "is not the name of a column"),
        ({"method": "btree; x"}, "is not a name"),
        ({"opclass": "a b"}, "opclass: 'a b'"),
        ({"opclass": "desc"}, "names no opclass"),
        ({"nulls_not_distinct": True}, "goes with unique only"),
    ],
)
def test_entries_that_are_not_well(changes, message):
    with pytest.raises(SlipwayError, match=message.replace("(", r"\(")) as caught:
        read_wanted([entry(**changes), entry(name="good")])
    assert len(caught.value.details["problems"]) == 1


def test_all_problems_are_told_at_once():
    entries = [entry(), entry(), entry(name="b", columns=[]), entry(name="c", where=")")]
    with pytest.raises(SlipwayError) as caught:
        read_wanted(entries)
    assert [problem.split(":")[0] for problem in caught.value.details["problems"]] == [
        "'idx_po_status'",
        "'b'",
        "'c'",
    ]


def test_absent_ones_need_a_name_only():
    (gone, kept) = read_wanted([{"name": "a"}, entry(state="present")], state="absent")
    assert (gone.present, gone.table, kept.present) == (False, "", True)


def test_opclass_of_keys_that_name_none():
    form = form_of(columns=["a", "b text_ops"], opclass="pg_catalog.varchar_ops")
    assert [key.opclass for key in form.keys] == ["varchar_ops", "text_ops"]


NAMES = st.one_of(
    st.text(alphabet="abcxyzABÄ_09 \"'.;-$", min_size=1, max_size=8), st.sampled_from([*sorted(RESERVED), "a", "B"])
)
ATOMS = st.one_of(
    NAMES.map(lambda name: '"' + name.replace('"', '""') + '"'),
    st.text(alphabet="ab'; -/*$\\\n", max_size=8).map(lambda text: "'" + text.replace("'", "''") + "'"),
    st.sampled_from(["name", "State", "1", "2.5", ".5e-3", "true"]),
)
OPERATORS = st.sampled_from(["=", "<>", "->>", "+", "-", "and", "OR", "~~*", "||", "@>"])
EXPRESSIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, OPERATORS, inner).map(lambda parts: f"({parts[0]} {parts[1]} {parts[2]})"),
        st.tuples(st.sampled_from(["lower", "Coalesce"]), st.lists(inner, max_size=2)).map(
            lambda parts: f"{parts[0]}({', '.join(parts[1])})"
        ),
        inner.map(lambda text: f"({text})::Text"),
    ),
    max_leaves=6,
)


@given(EXPRESSIONS)
@settings(max_examples=80, deadline=None)
def test_normal_form_is_stable_and_blind_to_spaces_and_brackets(text):
    normal = read_expression(text)
    assert read_expression(normal) == normal
    assert read_expression(f"( ({normal}) )") == normal
    assert write(tokenize(write(tokenize(text)))) == write(tokenize(text))
    spaced = "\t".join(token.text for token in tokenize(text))
    assert read_expression(spaced) == normal


@given(EXPRESSIONS, st.sampled_from([";", "--", "/*", "$$", ")", "(", "'", '"', "E'\\'"]), st.data())
@settings(max_examples=80, deadline=None)
def test_nothing_is_slipped_in_between_tokens(text, evil, data):
    """Wherever it stands outside of a constant or a quoted name, what could end the expression is refused."""
    tokens = [token.text for token in tokenize(text)]
    position = data.draw(st.integers(0, len(tokens)))
    broken = " ".join([*tokens[:position], evil, *tokens[position:]])
    try:
        read_expression(broken)
    except ValueError:
        return
    # An odd quote pairs with what follows; then it must have become part of constants, and be written as such.
    assert evil in ("'", '"')


@given(NAMES)
@settings(max_examples=50, deadline=None)
def test_quoted_names_are_read_back(name):
    assert read_key(quote_name(name)) == IndexKey(column=name)


@given(
    st.builds(
        IndexKey,
        column=NAMES,
        collation=st.sampled_from(["", '"C"', "ucs_basic"]),
        opclass=st.sampled_from(["", "text_ops", "s.x_ops"]),
        descending=st.booleans(),
        nulls_first=st.booleans(),
    )
)
@settings(max_examples=50, deadline=None)
def test_keys_are_read_back(key):
    assert read_key(str(key)) == key
    definition = f"CREATE INDEX i ON t USING btree ({key}, b) INCLUDE (c)"
    assert read_definition(definition).keys == (key, IndexKey(column="b"))
