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
        "NAME  DISPLAY NAME  VERSION               CATEGORY   STATE      ONLY IN   MARKS    PATH\n"
        "crm   CRM           19.0.1.8 -> 19.0.1.9  Sales/CRM  installed            changed  /opt/odoo/addons/crm\n"
        "gone  CRM           19.0.1.8              Sales/CRM  installed  database\n"
        "new   CRM           19.0.1.9              Sales/CRM  unknown    disk               /opt/odoo/addons/new\n"
        "3 modules: 2 installed, 1 unknown, 1 only in the database, 1 only on disk, 1 changed\n"
    )


def inventory(*modules, **lists):
    """What odoo_module_info returns, and what Ansible adds to it in a loop."""
    names = (
        *("pending", "outdated", "changed_since_installed", "unknown_changes", "only_in_database", "only_on_disk"),
        *("not_installable", "unparsable", "missing_dependencies", "shadowed", "broken", "unmatched"),
    )
    return {
        **{name: [] for name in ("missing_directories", *names)},
        "database": "main",
        "series": "19.0",
        "modules": list(modules),
        "item": {"name": "main", "admin_password": "secret"},
        "failed": False,
        **lists,
    }


SYNTAX = module(
    "syntax", display_name="", state=None, installed_version=None, disk_version=None, found_in="disk", changed=None
)
FAULTY = inventory(
    module(),
    GONE,
    module("old", changed=False),
    SYNTAX,
    missing_directories=["/srv/not-mounted"],
    outdated=["crm", "old"],
    changed_since_installed=["crm"],
    unknown_changes=["mail", "base"],
    only_in_database=["gone", "left"],
    not_installable=[
        {"name": "old", "state": "installed", "path": "/p/old", "reason": "its version 17.0.1 is not one of Odoo 19.0"},
        {"name": "syntax", "state": None, "path": "/p/syntax", "reason": "'{' was never closed"},
    ],
    unparsable=[
        {"name": "syntax", "file": "/p/syntax/__manifest__.py", "line": 3, "reason": "'{' was never closed"},
        {"name": "crm", "file": "/q/crm/__manifest__.py", "line": None, "reason": "it is empty"},
    ],
    missing_dependencies=[
        {
            "name": "nowhere",
            "reason": "it is in no directory of the addons path",
            "installed": ["crm"],
            "chains": [["old", "nowhere"], ["crm", "old", "nowhere"]],
        }
    ],
    shadowed=[{"name": "crm", "path": "/q/crm", "used": "/p/crm"}],
    broken=[{"name": "gone", "reason": "it is installed, but in no directory of the addons path"}],
    unmatched=["contcts"],
)


def test_what_is_wrong_stands_below_the_table():
    head, *rows = render(FAULTY, form="table").splitlines()
    start = head.index("MARKS")
    assert [(row.split()[0], row[start : head.index("PATH")].strip()) for row in rows[:4]] == [
        ("crm", "unreadable, outdated, changed"),
        ("gone", "broken"),
        ("old", "outdated"),
        ("syntax", "unreadable"),
    ]
    # A module without a name for people has its technical one.
    assert rows[3].split()[:4] == ["syntax", "syntax", "Sales/CRM", "unknown"]
    assert rows[4] == (
        "4 modules: 3 installed, 1 unknown, 1 only in the database, 1 only on disk, "
        "1 broken, 1 changed, 2 outdated, 2 unreadable"
    )
    assert rows[5:] == [
        "Broken:",
        "  gone: it is installed, but in no directory of the addons path",
        "Manifests that cannot be parsed:",
        "  syntax: '{' was never closed (/p/syntax/__manifest__.py:3)",
        "  crm: it is empty (/q/crm/__manifest__.py)",
        "Not installable:",
        "  old: its version 17.0.1 is not one of Odoo 19.0",
        "Known to the database, and not on disk:",
        "  left: in no directory of the addons path",
        "Further copies, which Odoo passes over:",
        "  crm: /q/crm is not used, /p/crm is",
        "Missing dependencies:",
        "  nowhere: it is in no directory of the addons path; needed by old, crm",
        "Entries of addons_path that are no directories:",
        "  /srv/not-mounted",
        "Installed without a stored checksum, so that a change is not seen:",
        "  mail, base",
        "Patterns that fit no module here:",
        "  contcts",
    ]


def test_nothing_wrong_leaves_a_table_alone():
    assert render(inventory(GONE), form="table") == render([GONE], form="table")


def test_long_lists_of_names_are_broken_into_lines():
    names = [f"module_number_{number}" for number in range(40)]
    lines = render(inventory(unknown_changes=names), form="table", width=100).splitlines()[3:]
    assert max(map(len, lines)) <= 100
    assert " ".join(line.strip() for line in lines) == ", ".join(names)


def test_below_a_table_is_nothing_that_a_terminal_acts_upon():
    table = render(inventory(broken=[{"name": "a\x1b[31m", "reason": "b\nc"}], unmatched=["\x07*"]), form="table")
    assert all(char.isprintable() or char == "\n" for char in table)
    assert "  a [31m: b c\n" in table


def test_csv_says_what_is_wrong_with_each_module():
    head, *rows = rows_of(render({"main": FAULTY}, form="csv"))
    problems = {row[head.index("name")]: row[head.index("problems")] for row in rows}
    assert problems == {
        "crm": "it is empty (/q/crm/__manifest__.py); /q/crm is not used, /p/crm is; "
        "it needs nowhere through old: it is in no directory of the addons path",
        "gone": "it is installed, but in no directory of the addons path",
        "old": "its version 17.0.1 is not one of Odoo 19.0; it needs nowhere: it is in no directory of the addons path",
        "syntax": "'{' was never closed (/p/syntax/__manifest__.py:3)",
        "": "this entry of addons_path is no directory",
    }
    assert [row[head.index("path")] for row in rows][-1] == "/srv/not-mounted"
    assert {row[0] for row in rows} == {"main"}


@pytest.mark.parametrize("by_instance", [False, True])
def test_json_has_the_lists_and_nothing_of_ansibles(by_instance):
    text = render({"main": FAULTY} if by_instance else FAULTY, form="json")
    back = json.loads(text)["main"] if by_instance else json.loads(text)
    assert back == {key: value for key, value in FAULTY.items() if key not in ("item", "failed")}
    assert "secret" not in "".join(render(FAULTY, form=form) for form in ("table", "csv", "json"))


def test_tables_of_several_instances():
    lines = render({"main": [module()], "test": []}, form="table").splitlines()
    assert (lines[0], lines[4:6]) == ("main", ["", "test"])
    assert (lines[3], lines[7:]) == ("1 module: 1 installed, 1 changed", ["0 modules"])


def test_a_narrow_table_is_cut_where_least_is_lost():
    wide = module(display_name="D" * 60, category="C" * 50, path="/p" * 40)
    for width in (150, 120, 110):
        first, second, _summary = render([wide], form="table", width=width).splitlines()
        assert len(second) == width >= len(first)
    assert second.count("…") == 3
    assert "crm" in second
    assert "19.0.1.8 -> 19.0.1.9" in second
    least = render([wide], form="table", width=1).splitlines()[1]
    assert "crm " in least
    assert len(least) == 4 + 16 + 20 + 12 + 9 + 7 + 7 + 16 + 7 * 2


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
        "problems": "",
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
