"""Which scripts the bundles hold: directives, patterns, records, attachments."""

from __future__ import annotations

import fnmatch

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_assets import (
    Asset,
    StaticScripts,
    bundle_scripts,
    glob_pattern,
    list_scripts,
    parse_assets,
    reaches_web_client,
    read_assets,
)
from hypothesis import given, settings
from hypothesis import strategies as st

FILES = ("a/static/src/a.js", "a/static/src/b.js", "a/static/src/deep/c.js", "b/static/src/b.js", "b/static/lib/l.js")


@pytest.fixture
def static(tmp_path):
    for name in (*FILES, "a/static/src/x.scss", "a/static/src/.hidden.js", "a/models/no.js"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"// {name}")
    return StaticScripts(
        {"a": str(tmp_path / "a"), "b": str(tmp_path / "b")}, uploaded=["/c/static/src/c.js", "/_custom/x.js"]
    )


def bundle(static, commands, *, records=()):
    """Names of the scripts that end up in bundle w.b."""
    manifests = parse_assets(commands if isinstance(commands, dict) else {"w.b": commands})
    return [url.split("/", 1)[1] for url in bundle_scripts(manifests, records, static.find)["w.b"]]


@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        (["a/static/src/a.js"], ["a/static/src/a.js"]),
        (["/a/static/src/a.js"], ["a/static/src/a.js"]),
        (["a/static/src/*.js"], ["a/static/src/a.js", "a/static/src/b.js"]),
        (["a/static/src/**/*.js"], ["a/static/src/a.js", "a/static/src/b.js", "a/static/src/deep/c.js"]),
        (["a/static/src/**/*"], ["a/static/src/a.js", "a/static/src/b.js", "a/static/src/deep/c.js"]),
        (["a/static/src/**"], ["a/static/src/a.js", "a/static/src/b.js", "a/static/src/deep/c.js"]),
        (["a/static/src/[!a].js"], ["a/static/src/b.js"]),
        (["a/static/src/?.js"], ["a/static/src/a.js", "a/static/src/b.js"]),
        (["a/static/src/x.scss", "a/static/src/gone.js", "nowhere/static/src/a.js"], []),
        (["a/models/no.js", "a/static/../models/no.js", "a/static/../../b/static/src/b.js"], ["b/static/src/b.js"]),
        (["https://cdn.example.com/x.js"], []),
        (["c/static/src/c.js", "/_custom/x.js"], ["c/static/src/c.js", "_custom/x.js"]),
        (["a/static/src/*.js", ("remove", "a/static/src/a.js")], ["a/static/src/b.js"]),
        (["a/static/src/*.js", ["remove", "a/static/src/**/*"]], []),
        ([("remove", "a/static/src/a.js"), "a/static/src/a.js"], ["a/static/src/a.js"]),
        (["a/static/src/a.js", ("replace", "a/static/src/a.js", "b/static/src/b.js")], ["b/static/src/b.js"]),
        (
            ["a/static/src/a.js", ("before", "a/static/src/a.js", "b/static/src/b.js")],
            ["a/static/src/a.js", "b/static/src/b.js"],
        ),
        ([("after", "a/static/src/a.js", "b/static/src/b.js")], ["b/static/src/b.js"]),
        ([("prepend", "a/static/src/a.js")], ["a/static/src/a.js"]),
        ([("include", "w.c"), ("include", "w.nowhere")], None),
        ([7, ("remove",), ("before", "x"), (), None, {"a": 1}], None),
    ],
)
def test_a_bundle_holds(static, commands, expected):
    found = (
        bundle(static, {"w.b": commands, "w.c": ["b/static/lib/l.js"]})
        if expected is None
        else bundle(static, commands)
    )
    assert found == (
        expected if expected is not None else ["b/static/lib/l.js"] if ("include", "w.c") in commands else []
    )


def test_an_included_bundle_can_be_cut_down(static):
    commands = {"w.b": [("include", "w.c"), ("remove", "b/static/src/b.js")], "w.c": ["b/static/**/*.js"]}
    assert bundle(static, commands) == ["b/static/lib/l.js"]
    assert bundle_scripts(parse_assets(commands), (), static.find)["w.c"] == (
        "/b/static/lib/l.js",
        "/b/static/src/b.js",
    )


def test_a_circle_of_bundles_ends(static):
    commands = {"w.b": ["a/static/src/a.js", ("include", "w.c")], "w.c": ["b/static/src/b.js", ("include", "w.b")]}
    assert bundle(static, commands) == ["a/static/src/a.js", "b/static/src/b.js"]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (Asset("w.b", "append", "b/static/src/b.js"), ["a/static/src/a.js", "b/static/src/b.js"]),
        (Asset("w.b", "append", "b/static/src/b.js", sequence=1), ["b/static/src/b.js", "a/static/src/a.js"]),
        (Asset("w.b", "remove", "a/static/src/a.js"), []),
        (Asset("w.b", "remove", "a/static/src/a.js", sequence=15), ["a/static/src/a.js"]),
        (Asset("w.b", "replace", "/_custom/x.js", target="a/static/src/a.js"), ["_custom/x.js"]),
        (Asset("w.other", "append", "b/static/src/b.js"), ["a/static/src/a.js"]),
    ],
)
def test_records_come_before_or_after_the_manifests(static, record, expected):
    assert bundle(static, ["a/static/src/a.js"], records=[record]) == expected


@pytest.mark.parametrize("declared", [None, [], "x", {"w.b": "x"}, {"w.b": None}])
def test_assets_that_odoo_would_not_understand_are_none(declared):
    assert parse_assets(declared) == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{'assets': {'w.b': ['a/static/src/a.js']}}", (Asset("w.b", "append", "a/static/src/a.js"),)),
        ("{'name': 'x'}", ()),
        ("[]", ()),
        ("{", ()),
        ("", ()),
    ],
)
def test_a_manifest_is_read(tmp_path, text, expected):
    (tmp_path / "__manifest__.py").write_text(text)
    assert read_assets(str(tmp_path)) == expected


def test_a_manifest_that_is_not_there_declares_nothing(tmp_path):
    assert read_assets(str(tmp_path)) == ()


def test_scripts_are_read_from_known_places_only(static):
    assert static.read("/a/static/src/a.js") == b"// a/static/src/a.js"
    assert static.read("/a/static/../models/no.js") is None
    assert static.read("/a/models/no.js") is None
    assert static.read("/c/static/src/c.js") is None
    assert static.read("x") is None


def test_a_link_to_a_directory_above_ends(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.js").touch()
    (tmp_path / "src" / "loop").symlink_to(tmp_path)
    assert list_scripts(str(tmp_path)) == ("src/a.js",)
    assert list_scripts(str(tmp_path / "nowhere")) == ()


@pytest.mark.parametrize(
    ("bundle_name", "expected"),
    [
        ("web.assets_backend", True),
        ("web.assets_web", True),
        ("web.assets_backend_lazy", True),
        ("spreadsheet.o_spreadsheet", True),
        ("point_of_sale._assets_pos", True),
        ("latest_news.contest", True),
        ("my_tests.assets", True),
        ("web.assets_frontend", False),
        ("web.assets_frontend_lazy", False),
        ("web.report_assets_common", False),
        ("web.assets_unit_tests", False),
        ("web.assets_unit_tests_setup", False),
        ("web.__assets_tests_call__", False),
        ("web.tests_assets", False),
        ("web.qunit_suite_tests", False),
        ("im_livechat.embed_assets_unit_tests", False),
    ],
)
def test_bundles_of_the_web_client(bundle_name, expected):
    assert reaches_web_client(bundle_name) is expected


@given(st.text(alphabet="ab*?.[]!-^\\(+", max_size=8), st.text(alphabet="ab.-^\\(+", max_size=5))
@settings(max_examples=150, deadline=None)
def test_patterns_within_a_directory_are_those_of_the_shell(pattern, name):
    if "**" not in pattern:
        assert bool(glob_pattern(pattern).fullmatch(name)) == fnmatch.fnmatchcase(name, pattern)
    glob_pattern(pattern)
