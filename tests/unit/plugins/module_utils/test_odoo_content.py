"""What counts as changed since it was installed, and what is remembered."""

from __future__ import annotations

import json
import os

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils import odoo_content
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_checksum import (
    DEFAULT_PATTERNS,
    ChecksumSettings,
    checksum,
)
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_content import (
    FORCED,
    UNKNOWN,
    Changes,
    find_changes,
    in_scope,
    read_content,
    read_known,
    record,
    versions_of,
    why_changed,
)
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_manifest import Disk, Manifest
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_plan import Known

NAMES = {"base": (), "web": ("base",), "crm": ("web",), "sale": ("web",)}


@pytest.fixture
def disk(tmp_path):
    manifests = {}
    for name, depends in NAMES.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"# {name}")
        manifests[name] = Manifest(name, str(tmp_path / name), "1.0", depends)
    return Disk("19.0", (str(tmp_path),), manifests)


class Database:
    """The stored checksums and the states of the modules."""

    def __init__(self, monkeypatch, disk):
        self.disk = disk
        self.stored = {name: self.current(name) for name in NAMES}
        self.known = {name: Known("installed", "19.0.1.0", depends) for name, depends in NAMES.items()}
        self.written = []
        self.languages = ("de_DE",)
        self.there = True
        monkeypatch.setattr(odoo_content, "read_settings", lambda _c: ChecksumSettings((), self.languages, self.stored))
        monkeypatch.setattr(odoo_content, "rows", self.rows)

    def current(self, name):
        return checksum(self.disk.manifests[name].path, exclude=(), languages=("de_DE",))

    def rows(self, _connection, query, values=None):
        if "to_regclass" in query:
            return [(self.there,)]
        if values is None:
            return [(name,) for name, module in self.known.items() if module.state == "installed"]
        self.written.append(values)
        return []

    def content(self):
        return read_content(None, self.disk, NAMES)

    def changes(self, *names, **options):
        return find_changes(None, self.disk, self.known, names, **options)

    def edit(self, name):
        with open(f"{self.disk.manifests[name].path}/__init__.py", "a") as stream:
            stream.write("changed")


@pytest.fixture
def database(monkeypatch, disk):
    return Database(monkeypatch, disk)


@pytest.mark.parametrize(
    ("installed", "on_disk", "stored", "reason"),
    [
        ("19.0.1.0", "19.0.1.0", "same", ""),
        ("19.0.1.0", "19.0.1.0", "other", "its content differs from what was installed"),
        ("19.0.1.0", "19.0.1.0", None, UNKNOWN),
        ("19.0.1.9", "19.0.1.10", "same", "version 19.0.1.9 is installed, 19.0.1.10 is on disk"),
        ("19.0.1.9", "19.0.1.10", None, "version 19.0.1.9 is installed, 19.0.1.10 is on disk"),
        ("", "19.0.1.0", "same", "version unknown is installed, 19.0.1.0 is on disk"),
        # Older code is not newer, but its content differs.
        ("19.0.1.10", "19.0.1.9", "same", ""),
    ],
)
def test_why_changed(installed, on_disk, stored, reason):
    found = why_changed(installed_version=installed, disk_version=on_disk, stored=stored, current="same")
    assert found == reason


def test_scope_is_what_is_named_and_what_that_needs(disk, database):
    database.known["old"] = Known("uninstalled", "", ("crm",))
    assert in_scope(["crm", "ghost", "old"], database.known, disk.manifests) == ["base", "crm", "web"]
    assert in_scope(["*"], database.known, disk.manifests) == ["base", "crm", "sale", "web"]


def test_without_a_change_there_is_none(database):
    assert database.changes("*") == Changes()


def test_changes_count_for_what_is_named_and_what_that_needs(database):
    database.edit("web")
    database.edit("sale")
    assert set(database.changes("*").reasons) == {"web", "sale"}
    assert set(database.changes("crm").reasons) == {"web"}


def test_what_nobody_recorded_counts_where_it_was_asked_for(database):
    database.stored = {}
    assert database.changes("*").reasons == dict.fromkeys(NAMES, UNKNOWN)
    assert database.changes("crm").reasons == {"crm": UNKNOWN}
    adopted = database.changes("crm", adopt=True)
    assert (adopted.reasons, adopted.adopt) == ({}, ("base", "crm", "web"))
    database.known["crm"] = Known("installed", "19.0.0.9", ("web",))
    adopted = database.changes("*", adopt=True)
    assert (set(adopted.reasons), set(adopted.adopt)) == ({"crm"}, {"base", "web", "sale"})


def test_an_update_can_be_forced_for_what_is_named(database):
    assert database.changes("crm", force=True).reasons == {"crm": FORCED}
    database.edit("web")
    assert database.changes("crm", force=True).reasons == {
        "crm": FORCED,
        "web": "its content differs from what was installed",
    }


def test_code_that_is_gone_matters_to_who_asks_for_it(database):
    del database.disk.manifests["sale"]
    changes = database.changes("*")
    assert changes.reasons == {}
    assert "'sale' is installed, but Odoo cannot load it: it is in no directory" in changes.passed_over[0]
    with pytest.raises(SlipwayError, match="Nothing was changed: module 'sale' is installed"):
        database.changes("*", "sale")
    assert database.changes("crm") == Changes()


def test_a_broken_manifest_of_an_installed_module_is_refused(database):
    database.disk.manifests["sale"] = Manifest("sale", "/a/sale", fault="its manifest cannot be parsed", readable=False)
    with pytest.raises(SlipwayError, match=r"its manifest cannot be parsed \(/a/sale\)"):
        database.changes("*")
    assert database.changes("crm") == Changes()


def test_versions(database, disk):
    assert versions_of(["crm"], database.known, disk) == {"crm": ("19.0.1.0", "19.0.1.0")}


def test_checksums_are_merged_sorted_and_forgotten(database, disk):
    database.stored = {"sale": "theirs", "gone": "x"}
    database.edit("crm")
    database.known["web"] = Known("uninstalled")
    record(None, disk, database.content(), ["crm", "web", "ghost"])
    ((key, text),) = database.written
    assert key == "module_auto_update.installed_checksums"
    assert json.loads(text) == {"crm": database.current("crm"), "sale": "theirs"}
    assert list(json.loads(text)) == ["crm", "sale"]


def test_everything_can_be_recorded_and_nothing_is_written_twice(database, disk):
    record(None, disk, database.content())
    assert database.written == []
    database.stored = {}
    record(None, disk, database.content())
    assert set(json.loads(database.written[0][1])) == set(NAMES)


def test_what_is_recorded_is_what_lay_there_before_odoo_read_it(database, disk):
    content, before = database.content(), database.current("crm")
    database.edit("crm")
    record(None, disk, content, ["crm"])
    assert database.written == [], "the edit came too late"
    assert database.changes("*").reasons == {"crm": "its content differs from what was installed"}
    # Even when the language of the translations that count is another one now.
    database.languages = ("fr_FR",)
    database.stored = {}
    record(None, disk, content, ["crm"])
    assert json.loads(database.written[0][1]) == {"crm": before}


def test_a_language_that_came_with_the_run_counts(database, disk):
    directory = disk.manifests["crm"].path
    os.mkdir(f"{directory}/i18n")
    with open(f"{directory}/i18n/fr.po", "w") as stream:
        stream.write("French")
    content = database.content()
    database.languages, database.stored = ("fr_FR",), {}
    record(None, disk, content, ["crm"])
    french = checksum(directory, exclude=(), languages=("fr_FR",))
    assert json.loads(database.written[0][1]) == {"crm": french}
    assert french != content.checksums["crm"]


def test_in_a_database_without_settings_the_usual_ones_count(database, disk):
    database.there = False
    assert read_content(None, disk, ["crm", "ghost"]).settings.exclude == tuple(DEFAULT_PATTERNS.split(","))


def test_imported_modules_have_nothing_on_disk(database):
    database.known["archive"] = Known("installed", "1.0", ("crm",), imported=True)
    assert database.changes("*", "archive") == Changes()


def test_what_the_database_knows(monkeypatch):
    found = [("crm", "installed", "19.0.1.0", ["web", "base"], False), ("x", "uninstalled", "", None, True)]
    monkeypatch.setattr(odoo_content, "rows", lambda _c, _q: found)
    assert read_known(None) == {
        "crm": Known("installed", "19.0.1.0", ("base", "web")),
        "x": Known("uninstalled", imported=True),
    }
