"""Checksums of addons: the values are those that click-odoo-contrib 1.24 makes of the same files."""

from __future__ import annotations

import json
import os
import types

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils import odoo_checksum
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_checksum import (
    CHECKSUMS,
    DEFAULT_PATTERNS,
    PATTERNS,
    ChecksumSettings,
    checksum,
    parse_settings,
    read_settings,
)

DEFAULT = DEFAULT_PATTERNS.split(",")
FILES = {
    "__manifest__.py": "{'name': 'Depots'}\n",
    "__init__.py": "",
    "a/b.py": "b = 1\n",
    "a.py": "a = 1\n",
    "a-c/d.py": "d = 1\n",
    "models/__init__.py": "",
    "models/depot.py": "x = 'ä'\n",
    "models/depot.pyc": "compiled",
    "models/i18n/de.po": "not a translation of the module",
    "i18n/depots.pot": "template",
    "i18n/de.po": "German",
    "i18n/de_CH.po": "Swiss German",
    "i18n/fr.po": "French",
    "i18n/sr@latin.po": "Serbian",
    "i18n/extra/nl.po": "not a translation either",
    "i18n_extra/nl_NL.po": "Dutch",
    "static/src/deep/depot.js": "let x;",
    "static/tests/t.js": "let t;",
    "tests/test_depot.py": "assert True",
    "data/static/x.xml": "<odoo/>",
}


@pytest.fixture
def addon(tmp_path):
    for path, content in FILES.items():
        file = tmp_path / "depots" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode())
    return tmp_path / "depots"


KNOWN = [
    (DEFAULT, [], "5a074d040047482e6dba9693662accb0d3f32af6"),
    (DEFAULT, ["en_US"], "a7b650f3514547f5496709780eee2a703ae59c85"),
    (DEFAULT, ["de_AT", "nl"], "0b6d2cb65a437c55532d1826e37877442846a879"),
    (DEFAULT, ["sr@latin"], "cdc2e32bb3e3aa948551c37ab26311bc4df9596e"),
    ([], [], "402e40bbd0828c96915339407edfa17e035338dc"),
    ([""], ["fr_FR"], "a584555108b07b0f23973da579288eb86b724457"),
    (["*.py[co]", "models/*", "i18n*"], ["fr_FR"], "9ad7546a3859923e588ab233eacd50d3fff65d5f"),
    (["*/x.xml", "?.py", "a*"], [], "fc6099bedb7abaffe9b6590774601ed9634b4771"),
    (["*"], [], "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
]


@pytest.mark.parametrize(("exclude", "languages", "value"), KNOWN)
def test_values_of_the_other_tool(addon, exclude, languages, value):
    assert checksum(str(addon), exclude=exclude, languages=languages) == value


def make(path, content="x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def value_of(addon, languages=()):
    return checksum(str(addon), exclude=DEFAULT, languages=languages)


@pytest.mark.parametrize(
    ("path", "counts"),
    [
        ("models/new.py", True),
        ("empty", True),
        ("README.rst", True),
        ("static/new.js", False),
        ("tests/new.py", False),
        ("tests/deep/new.py", False),
        ("models/__pycache__/new.pyc", False),
        ("i18n/new.pot", False),
        ("i18n/de_DE.po", True),
        ("i18n/it.po", False),
    ],
)
def test_what_a_new_file_does(addon, path, counts):
    before = value_of(addon, ["de_DE"])
    make(addon / path, "" if path == "empty" else "x")
    assert (value_of(addon, ["de_DE"]) != before) is counts


def test_names_and_contents_count_and_times_and_modes_do_not(addon):
    before = value_of(addon)
    os.utime(addon / "a.py", (1, 1))
    (addon / "a.py").chmod(0o600)
    assert value_of(addon) == before
    (addon / "a.py").rename(addon / "z.py")
    renamed = value_of(addon)
    (addon / "z.py").write_text("a = 2\n")
    assert len({before, renamed, value_of(addon)}) == 3


def test_links_to_files_count_and_links_to_directories_do_not(addon, tmp_path):
    make(tmp_path / "elsewhere" / "more.py")
    before = value_of(addon)
    (addon / "linked").symlink_to(tmp_path / "elsewhere")
    assert value_of(addon) == before
    (addon / "linked.py").symlink_to(tmp_path / "elsewhere" / "more.py")
    assert value_of(addon) != before


def test_the_addon_itself_may_be_a_link(addon, tmp_path):
    (tmp_path / "link").symlink_to(addon)
    assert value_of(tmp_path / "link") == value_of(addon)


def test_what_cannot_be_read_is_told(addon):
    (addon / "models" / ".#depot.py").symlink_to("nobody@nowhere")
    with pytest.raises(SlipwayError) as caught:
        value_of(addon)
    assert str(caught.value).startswith(
        f"The checksum of {addon} cannot be made: {addon}/models/.#depot.py: No such file or directory."
    )
    assert PATTERNS in str(caught.value)


def test_a_pipe_is_told_and_not_waited_for(addon):
    os.mkfifo(addon / "models" / "pipe.py")
    with pytest.raises(SlipwayError, match=r"cannot be made: .*/models/pipe\.py: it is not a regular file"):
        value_of(addon)
    os.rename(addon / "models" / "pipe.py", addon / "static" / "pipe.py")
    assert value_of(addon)


def test_a_directory_that_cannot_be_read_is_told(addon):
    with pytest.raises(SlipwayError, match=r"cannot be made: .*/none: No such file or directory"):
        value_of(addon / "none")


def test_a_name_that_is_no_text_is_told(addon):
    with open(os.path.join(os.fsencode(addon), b"\xff.py"), "wb"):
        pass
    with pytest.raises(SlipwayError, match="cannot be made: 'utf-8' codec"):
        value_of(addon)


def test_excluded_directories_are_not_even_listed(addon, monkeypatch):
    listed = []
    real = os.scandir

    def scandir(path):
        listed.append(os.path.relpath(path, addon))
        return real(path)

    monkeypatch.setattr(odoo_checksum.os, "scandir", scandir)
    value_of(addon)
    assert "models" in listed
    assert not {"static", "static/src", "tests"} & set(listed)


def test_settings_of_a_database_that_has_none():
    assert parse_settings(None, None, ["en_US"]) == ChecksumSettings(
        exclude=("*.pyc", "*.pyo", "i18n/*.pot", "i18n_extra/*.pot", "static/*", "tests/*"),
        languages=("en_US",),
        stored={},
    )


def test_settings_of_a_database():
    stored = json.dumps({"base": "abc", "gone": False})
    assert parse_settings(stored, "*.pyc , tests/*", ["de_AT", "en_US"]) == ChecksumSettings(
        exclude=("*.pyc", "tests/*"), languages=("de_AT", "en_US"), stored={"base": "abc"}
    )
    assert parse_settings("", "", []).exclude == ("",)


@pytest.mark.parametrize("stored", ["{", "[]", '"x"', "1"])
def test_stored_checksums_that_are_none(stored):
    with pytest.raises(SlipwayError, match=f"System parameter {CHECKSUMS} does not hold a JSON object"):
        parse_settings(stored, None, [])


def test_settings_are_asked_for_once(monkeypatch):
    asked = []

    def rows(_connection, query, values):
        asked.append((query, values))
        return [('{"base": "abc"}', None, ["en_US"])]

    monkeypatch.setattr(odoo_checksum, "rows", rows)
    assert read_settings(types.SimpleNamespace()).stored == {"base": "abc"}
    [(query, values)] = asked
    assert values == {"checksums": CHECKSUMS, "patterns": PATTERNS}
    assert query.startswith("SELECT (SELECT value FROM ir_config_parameter WHERE key = %(checksums)s)")
