"""Lists of modules as table, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_module_report import render
from hypothesis import given
from hypothesis import strategies as st


def module(name="crm", **values):
    return {
        "name": name,
        "display_name": "CRM",
        "summary": "Leads",
        "category": "Sales/CRM",
        "author": "Odoo S.A.",
        "license": "LGPL-3",
        "state": "installed",
        "installed_version": "19.0.1.8",
        "disk_version": "19.0.1.9",
        "path": f"/opt/odoo/addons/{name}",
        "depends": ["mail", "utm"],
        "checksum": "abc",
        "changed": True,
        "found_in": "both",
        **values,
    }


GONE = module("gone", path=None, disk_version=None, found_in="database", changed=None, checksum=None)
NEW = module("new", state=None, installed_version=None, found_in="disk", changed=None)


def test_a_table():
    assert render([module(), GONE, NEW], form="table") == (
        "NAME  DISPLAY NAME  VERSION               CATEGORY   STATE      ONLY IN   PATH\n"
        "crm   CRM           19.0.1.8 -> 19.0.1.9  Sales/CRM  installed            /opt/odoo/addons/crm\n"
        "gone  CRM           19.0.1.8              Sales/CRM  installed  database\n"
        "new   CRM           19.0.1.9              Sales/CRM  unknown    disk      /opt/odoo/addons/new\n"
        "3 modules: 2 installed, 1 unknown, 1 only in the database, 1 only on disk\n"
    )


def test_tables_of_several_instances():
    lines = render({"main": [module()], "test": []}, form="table").splitlines()
    assert (lines[0], lines[4:6]) == ("main", ["", "test"])
    assert (lines[3], lines[7:]) == ("1 module: 1 installed", ["0 modules"])


def test_a_narrow_table_is_cut_where_least_is_lost():
    wide = module(display_name="D" * 60, category="C" * 50, path="/p" * 40)
    for width in (150, 120, 100):
        first, second, _summary = render([wide], form="table", width=width).splitlines()
        assert len(second) == width >= len(first)
    assert second.count("…") == 3
    assert "crm" in second
    assert "19.0.1.8 -> 19.0.1.9" in second
    least = render([wide], form="table", width=1).splitlines()[1]
    assert "crm " in least
    assert len(least) == 4 + 16 + 20 + 12 + 9 + 7 + 16 + 6 * 2


def test_a_table_holds_nothing_that_a_terminal_acts_upon():
    table = render([module(display_name="a\x1b[31m\nb\t\x07c")], form="table")
    assert "a [31m b c" in table
    assert table.isascii()
    assert all(char.isprintable() or char == "\n" for char in table)


def test_wide_and_combining_letters_keep_the_columns_in_line():
    table = render([module(display_name="客户关系"), module(display_name="e\u0301t\u0301")], form="table")
    head, one, two, _summary = table.splitlines()
    # Four letters of two columns each; two of one column and two of none.
    assert one.index("19.0") + 4 == two.index("19.0") - 2 == head.index("VERSION")


def rows_of(text):
    return list(csv.reader(io.StringIO(text, newline="")))


def test_csv():
    head, crm, gone = rows_of(render([module(), GONE], form="csv"))
    assert dict(zip(head, crm, strict=True)) == {
        "name": "crm",
        "display_name": "CRM",
        "category": "Sales/CRM",
        "author": "Odoo S.A.",
        "license": "LGPL-3",
        "state": "installed",
        "installed_version": "19.0.1.8",
        "disk_version": "19.0.1.9",
        "changed": "true",
        "found_in": "both",
        "path": "/opt/odoo/addons/crm",
        "depends": "mail utm",
        "checksum": "abc",
    }
    assert gone[head.index("changed")] == gone[head.index("path")] == ""


def test_csv_of_several_instances_names_them_first():
    rows = rows_of(render({"main": [module()], "test": [module(), module("sale")]}, form="csv"))
    assert [row[:2] for row in rows] == [["instance", "name"], ["main", "crm"], ["test", "crm"], ["test", "sale"]]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_spreadsheet_computes_a_value(start):
    rows = rows_of(render([module(author=f"{start}1+1")], form="csv"))
    assert rows[1][3] == f"'{start}1+1"
    assert json.loads(render([module(author=f"{start}1+1")], form="json"))[0]["author"] == f"{start}1+1"


# What a spreadsheet would compute is not given back as it was, and a NUL is in no database.
PLAIN = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")).filter(
    lambda text: not text.startswith(("=", "+", "-", "@", "\t", "\r"))
)
MODULES = st.lists(st.builds(module, name=PLAIN, display_name=PLAIN, author=PLAIN), max_size=4)


@given(MODULES)
def test_csv_gives_back_what_went_in(modules):
    head, *rows = rows_of(render(modules, form="csv"))
    back = [dict(zip(head, row, strict=True)) for row in rows]
    for column in ("name", "display_name", "author"):
        assert [row[column] for row in back] == [item[column] for item in modules]


@given(st.dictionaries(st.text(), MODULES, max_size=3) | MODULES)
def test_json_gives_back_what_went_in(modules):
    assert json.loads(render(modules, form="json")) == modules


@given(MODULES, st.integers(0, 200))
def test_a_table_has_one_line_for_each_module(modules, width):
    assert len(render(modules, form="table", width=width).split("\n")) == len(modules) + 3
