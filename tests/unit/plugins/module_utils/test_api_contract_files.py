"""Versions taken out of real files: what is found, what is missing, what is none."""

from __future__ import annotations

import os

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils import api_contract_files as files
from ansible_collections.slipway.odoo.plugins.module_utils.api_contract import Value
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from hypothesis import given, settings
from hypothesis import strategies as st


def script(text):
    return files.script_constant(text, name="CONTRACT_VERSION")


@pytest.mark.parametrize(
    "text",
    [
        "export const CONTRACT_VERSION = '1.0.0' as const;",
        'export const CONTRACT_VERSION = "1.0.0"',
        "export const CONTRACT_VERSION = `1.0.0`;",
        "const CONTRACT_VERSION: string = '1.0.0' satisfies string;",
        "export const CONTRACT_VERSION: Readonly<'9.9.9'> = '1.0.0';",
        "const CONTRACT_VERSION: { a: '=' }['a'] = '1.0.0';",
        "let CONTRACT_VERSION='1.0.0'\nexport default CONTRACT_VERSION",
        "// const CONTRACT_VERSION = '0'\nconst CONTRACT_VERSION =\n  '1.0.0';",
        "/* const CONTRACT_VERSION = '0';\n*/ const CONTRACT_VERSION = /* '0' */ '1.0.0';",
        "const text = \"const CONTRACT_VERSION = '0'\"; const CONTRACT_VERSION = '1.0.0';",
        "const text = `const CONTRACT_VERSION = '0' ${a + `}`}`; const CONTRACT_VERSION = '1.0.0';",
        "const slash = /[/']/; const CONTRACT_VERSION = '1.0.0';",
        "function f() { const CONTRACT_VERSION = '0'; }\nconst CONTRACT_VERSION = '1.0.0';",
        "use(CONTRACT_VERSION);\nconst CONTRACT_VERSION_2 = '0';\nvar CONTRACT_VERSION = '1.0.0'",
        "#!/usr/bin/env node\nconst CONTRACT_VERSION = '\\x31.0.0';",
        "type V = `${number}.${number}`;\nexport const CONTRACT_VERSION: V = '1.0.0';",
        "const CONTRACT_VERSION = '1.0.0', OTHER = '2';",
        "const OTHER = '2', CONTRACT_VERSION = '1.0.0';",
        "let CONTRACT_VERSION = '1.0.0';\nif (CONTRACT_VERSION == '2' || CONTRACT_VERSION <= '2') use();",
        "let CONTRACT_VERSION = '1.0.0'; other.CONTRACT_VERSION = '2'; const f = CONTRACT_VERSION => 1;",
    ],
)
def test_a_constant_in_typescript(text):
    assert script(text)[0] == Value("found", "1.0.0")


@pytest.mark.parametrize(
    ("text", "status", "detail"),
    [
        ("", "missing", "has no constant CONTRACT_VERSION at the top of the module"),
        ("// const CONTRACT_VERSION = '1.0.0';", "missing", "has no constant"),
        ("const contract_version = '1.0.0';", "missing", "has no constant"),
        ("function f() { const CONTRACT_VERSION = '1.0.0'; }", "missing", "has no constant"),
        ("CONTRACT_VERSION = '1.0.0';", "missing", "has no constant"),
        ("declare const CONTRACT_VERSION: '1.0.0';\nconst other = '2';", "missing", "without a value"),
        ("export const CONTRACT_VERSION: string", "missing", "without a value"),
        ("const CONTRACT_VERSION = '1.' + minor;", "invalid", "no plain text"),
        ("const CONTRACT_VERSION = '1.0.0'\n  + suffix;", "invalid", "no plain text"),
        ("const CONTRACT_VERSION = '1.0.0'.trim();", "invalid", "no plain text"),
        ("const CONTRACT_VERSION = `1.0.${patch}`;", "invalid", "no plain text"),
        ("const CONTRACT_VERSION = OTHER;", "invalid", "no plain text"),
        ("const CONTRACT_VERSION = 1.1;", "invalid", "no plain text"),
        ("const CONTRACT_VERSION = ''", "invalid", "an empty text"),
        ("const CONTRACT_VERSION = '1.0.0';\nvar CONTRACT_VERSION = '2';", "invalid", "more than once"),
        ("let CONTRACT_VERSION = '1.0.0'\nCONTRACT_VERSION = '2'", "invalid", "more than once"),
        ("let CONTRACT_VERSION = '1.0.0';\nif (old) CONTRACT_VERSION='2'", "invalid", "more than once"),
        ("let CONTRACT_VERSION = '1.0.0'; CONTRACT_VERSION += '.1'", "invalid", "more than once"),
        ("let CONTRACT_VERSION = '1.0.0'; CONTRACT_VERSION ??= '.1'", "invalid", "more than once"),
        ("let CONTRACT_VERSION = 1; ++CONTRACT_VERSION", "invalid", "more than once"),
        ("let CONTRACT_VERSION = 1; CONTRACT_VERSION++", "invalid", "more than once"),
        ("const CONTRACT_VERSION = ('0', '1.0.0');", "invalid", "no plain text"),
    ],
)
def test_a_constant_that_typescript_does_not_hold(text, status, detail):
    value = script(text)[0]
    assert (value.status, value.version) == (status, None)
    assert detail in value.detail


def test_a_whole_number_and_the_line_of_it():
    assert script("\n\nexport const CONTRACT_VERSION = 2;") == (Value("found", "2"), 3)


@settings(max_examples=50)
@given(st.text(alphabet="ab'\"`${}/\\*\n;=. constCONTRACT_VERSION10", max_size=60))
def test_no_text_stops_the_reading_of_a_script(text):
    assert script(text)[0].status in ("found", "missing", "invalid")


def python(text):
    return files.python_constant(text.encode(), name="CONTRACT_VERSION")


@pytest.mark.parametrize(
    "text",
    [
        'CONTRACT_VERSION = "1.0.0"',
        "from typing import Final\nCONTRACT_VERSION: Final[str] = '1.0.0'",
        "# CONTRACT_VERSION = '0'\nCONTRACT_VERSION = ('1.0'\n '.0')",
        "VERSION = CONTRACT_VERSION = '1.0.0'",
        "def f():\n    CONTRACT_VERSION = '0'\nclass A:\n    CONTRACT_VERSION = '0'\nCONTRACT_VERSION = '1.0.0'",
        "# -*- coding: latin-1 -*-\nCONTRACT_VERSION = '1.0.0'",
        "import os, nowhere\nos.abort()\nCONTRACT_VERSION = '1.0.0'",
        "CONTRACT_VERSION = '1.0.0'\nx = [CONTRACT_VERSION for CONTRACT_VERSION in y]\nimport x.CONTRACT_VERSION",
        "CONTRACT_VERSION = '1.0.0'\nfrom x import CONTRACT_VERSION as other\nother[CONTRACT_VERSION] = 1",
    ],
)
def test_a_constant_in_python(text):
    assert python(text)[0] == Value("found", "1.0.0")


@pytest.mark.parametrize(
    ("text", "status", "detail"),
    [
        ("", "missing", "assigns no CONTRACT_VERSION at the level of the module"),
        ("'CONTRACT_VERSION = 1'", "missing", "assigns no"),
        ("class A:\n    CONTRACT_VERSION = '1.0.0'", "missing", "assigns no"),
        ("mapping.CONTRACT_VERSION = '1.0.0'", "missing", "assigns no"),
        ("CONTRACT_VERSION: str", "missing", "without a value"),
        ("if DEBUG:\n    CONTRACT_VERSION = '1.0.0'", "invalid", "only under a condition"),
        ("try:\n    pass\nexcept E:\n    CONTRACT_VERSION = '1.0.0'", "invalid", "only under a condition"),
        ("CONTRACT_VERSION = '1'\nif DEBUG:\n    CONTRACT_VERSION = '2'", "invalid", "more than once"),
        ("CONTRACT_VERSION = '1'\nCONTRACT_VERSION += '.0'", "invalid", "more than once"),
        ("CONTRACT_VERSION = '1'\nfrom x import CONTRACT_VERSION", "invalid", "more than once"),
        ("CONTRACT_VERSION = '1'\nimport x as CONTRACT_VERSION", "invalid", "more than once"),
        ("CONTRACT_VERSION = '1'\ndel CONTRACT_VERSION", "invalid", "takes it away"),
        ("CONTRACT_VERSION = '1'\nfor CONTRACT_VERSION in x:\n    pass", "invalid", "more than once"),
        ("CONTRACT_VERSION = '1'\nwith x as (a, CONTRACT_VERSION):\n    pass", "invalid", "more than once"),
        ("CONTRACT_VERSION = '1'\ntry:\n    x\nexcept E as CONTRACT_VERSION:\n    pass", "invalid", "more than once"),
        ("CONTRACT_VERSION = '1'\ndef CONTRACT_VERSION():\n    pass", "invalid", "more than once"),
        ("CONTRACT_VERSION = '1'\nprint(CONTRACT_VERSION := '2')", "invalid", "more than once"),
        ("from x import CONTRACT_VERSION", "invalid", "no plain text"),
        ("try:\n    from x import CONTRACT_VERSION\nexcept E:\n    pass", "invalid", "only under a condition"),
        ("for CONTRACT_VERSION in x:\n    pass", "invalid", "no plain text"),
        ("CONTRACT_VERSION += '.0'", "invalid", "no plain text"),
        ("CONTRACT_VERSION, OTHER = '1.0.0'", "invalid", "no plain text"),
        ("CONTRACT_VERSION = f'{x}.0'", "invalid", "no plain text"),
        ("CONTRACT_VERSION = read()", "invalid", "no plain text"),
        ("CONTRACT_VERSION = 1.1", "invalid", "holds a number"),
        ("CONTRACT_VERSION = ", "invalid", "cannot be parsed as Python: invalid syntax"),
        ("CONTRACT_VERSION = '1'\0", "invalid", "cannot be parsed as Python"),
        ("x = " + "(" * 500, "invalid", "cannot be parsed as Python"),
    ],
)
def test_a_constant_that_python_does_not_hold(text, status, detail):
    value = python(text)[0]
    assert (value.status, value.version) == (status, None)
    assert detail in value.detail


def test_the_line_of_it():
    assert python("\nA = 1\nCONTRACT_VERSION = '1.0.0'")[1] == 3
    assert python("A = 1\nCONTRACT_VERSION = = 1")[1] == 2


def test_a_long_expression_elsewhere_does_no_harm():
    text = "x = " + " + ".join(["'a'"] * 1500) + "\nCONTRACT_VERSION = '1.0.0'"
    assert python(text)[0] in (
        Value("found", "1.0.0"),
        files.invalid("cannot be parsed as Python: too many nested parentheses"),
    )


DOCUMENTS = {
    "openapi.json": '{"info": {"version": "1.0.0"}, "list": [{"a.b": "2"}], "n": 1.10, "i": 3}',
    "openapi.yaml": "# comment\ninfo:\n  version: '1.0.0'\nlist:\n- a.b: '2'\nn: 1.10\ni: 3\n5: x\n",
    "pyproject.toml": 'n = 1.10\ni = 3\n[info]\nversion = "1.0.0"\n[[list]]\n"a.b" = "2"\n',
}


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("info.version", Value("found", "1.0.0")),
        (r"list.0.a\.b", Value("found", "2")),
        ("i", Value("found", "3")),
        ("n", files.invalid("holds a number and no version: write it as a text, in quotes")),
        ("info", files.invalid("holds an object and no version")),
        ("info.Version", files.missing("has no info → Version")),
        ("info.version.major", files.missing("has no info → version → major")),
        ("list.1.x", files.missing("has no list → 1: the list has 1 entries")),
        ("list.x", files.missing("has no list → x: there is a list, of which an entry is named by its number")),
    ],
)
def test_a_path_in_a_document(name, path, value):
    assert files.value_at(files.document(DOCUMENTS[name].encode(), path=name), path=path) == value


def test_a_whole_document_a_number_as_a_key_and_a_byte_order_mark():
    assert files.value_at(files.document(b'\xef\xbb\xbf"1.0.0"', path="v.json"), path=".") == Value("found", "1.0.0")
    assert files.value_at(files.document(DOCUMENTS["openapi.yaml"].encode(), path="a.yml"), path="5").version == "x"


@pytest.mark.parametrize(
    ("name", "content", "detail"),
    [
        ("a.json", b'{"version": }', "cannot be parsed as JSON: Expecting value: line 1 column 13 (char 12)"),
        ("a.json", b"", "cannot be parsed as JSON"),
        ("a.json", b"[" * 100000, "cannot be parsed as JSON"),
        ("a.json", b'"\xff"', "is not UTF-8"),
        ("a.yaml", b"secret: [hidden", "expected ',' or ']'"),
        ("a.yaml", b"a: !vault hidden", "cannot be parsed as YAML: could not determine a constructor"),
        ("a.yaml", b"a: 1\n---\nb: 2", "cannot be parsed as YAML: but found another document (line 2)"),
        ("a.yaml", b"\x00\x01", "cannot be parsed as YAML: ReaderError"),
        ("a.toml", b"version = 1.", "cannot be parsed as TOML"),
    ],
)
def test_a_document_that_cannot_be_parsed(name, content, detail):
    with pytest.raises(files.UnreadableError) as raised:
        files.document(content, path=name)
    assert raised.value.value.status == "invalid"
    assert detail in str(raised.value)
    assert "hidden" not in str(raised.value)


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        ("a", ("a",)),
        ("a.b", ("a", "b")),
        (r"a\.b.c", ("a.b", "c")),
        (r"a\\.b", ("a\\", "b")),
        ("a..b", ("a", "", "b")),
        (".", ()),
    ],
)
def test_the_keys_of_a_path(path, keys):
    assert files.keys_of(path) == keys


@settings(max_examples=50)
@given(st.lists(st.text(max_size=8), min_size=1, max_size=5).filter(lambda keys: "".join(keys)))
def test_every_key_can_be_written(keys):
    path = ".".join(key.replace("\\", "\\\\").replace(".", "\\.") for key in keys)
    assert files.keys_of(path) == tuple(keys)
    document = "1.0.0"
    for key in reversed(keys):
        document = {key: document}
    assert files.value_at(document, path=path).version == "1.0.0"


@pytest.mark.parametrize("path", ["", "a\\", r"a\b"])
def test_a_path_that_means_nothing_is_refused(path):
    with pytest.raises(SlipwayError, match="path"):
        files.keys_of(path)


@pytest.mark.parametrize(
    ("version", "short"),
    [
        ("19.0.1.2.0", "1.2.0"),
        ("19.0.1.2", "1.2"),
        ("saas~18.4.1.0.0", "1.0.0"),
        ("1.2.0", "1.2.0"),
        ("1.0", "1.0"),
        ("19.0.1", "19.0.1"),
        ("19.0.1.2.0.5", "19.0.1.2.0.5"),
    ],
)
def test_a_manifest_with_and_without_its_series(version, short):
    content = f"# comment\n{{'name': 'x', 'version': '{version}',}}".encode()
    assert files.manifest_version(content, without_series=False).version == version
    assert files.manifest_version(content, without_series=True).version == short


@pytest.mark.parametrize(
    ("content", "status", "detail"),
    [
        (b"{'name': 'x'}", "missing", "has no version"),
        (b"{'version': 1.0}", "invalid", "holds a number"),
        (b"{'version': v()}", "invalid", "more than plain values"),
        (b"{'version': '1.0'", "invalid", "cannot be parsed as a manifest: '{' was never closed"),
        (b"['1.0']", "invalid", "holds no dictionary"),
        (b"", "invalid", "cannot be parsed as a manifest"),
    ],
)
def test_a_manifest_without_a_version(content, status, detail):
    value = files.manifest_version(content, without_series=True)
    assert value.status == status
    assert detail in value.detail


def test_a_manifest_is_named_by_its_module_too():
    assert files.manifest_file("/a/module") == files.manifest_file("/a/module/") == "/a/module/__manifest__.py"
    assert files.manifest_file("/a/module/__manifest__.py") == "/a/module/__manifest__.py"


def test_a_file_that_is_not_there(tmp_path):
    for path in (tmp_path / "none", tmp_path, tmp_path / "none" / "a"):
        with pytest.raises(files.UnreadableError) as raised:
            files.read_file(str(path))
        assert raised.value.value == files.missing("there is no such file")


def test_what_is_no_regular_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(files.UnreadableError):
        files.read_file(str(tmp_path / "pipe"))


def test_a_file_that_may_not_be_read_says_nothing_of_its_version(tmp_path, monkeypatch):
    (tmp_path / "a").touch()

    def refuse(*_arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(files.UnreadableError) as raised:
        files.read_file(str(tmp_path / "a"))
    monkeypatch.undo()
    assert raised.value.value == Value("unreachable", detail="cannot be read: Permission denied")


def test_a_file_that_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "SIZE_LIMIT", 3)
    (tmp_path / "a").write_text("1234")
    with pytest.raises(files.UnreadableError) as raised:
        files.read_file(str(tmp_path / "a"))
    assert raised.value.value.status == "invalid"
    (tmp_path / "a").write_text("123")
    assert files.read_file(str(tmp_path / "a")) == b"123"


def without(monkeypatch, *names):
    real = files.importlib.import_module

    def load(name):
        if name in names:
            raise ImportError(name)
        return real(name)

    monkeypatch.setattr(files.importlib, "import_module", load)


def test_a_missing_library_is_named_with_its_package(monkeypatch):
    without(monkeypatch, "yaml", "tomllib", "tomli")
    with pytest.raises(SlipwayError, match="yaml is needed to read YAML: install python3-yaml"):
        files.document(b"", path="a.yaml")
    with pytest.raises(SlipwayError, match=r"tomli is needed .* before 3[.]11: install python3-tomli"):
        files.document(b"", path="a.toml")
    assert files.document(b"{}", path="a.json") == {}
