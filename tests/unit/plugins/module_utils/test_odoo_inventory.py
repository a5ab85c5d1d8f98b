"""What a database says of modules, held against the disk: tables of cases, and chains of any graph."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils import odoo_inventory
from ansible_collections.slipway.odoo.plugins.module_utils.errors import NotReadyError, SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_checksum import ChecksumSettings
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_inventory import (
    Record,
    find,
    join,
    missing_dependencies,
    only,
    read_records,
    select,
)
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_manifest import Disk, Manifest
from hypothesis import given
from hypothesis import strategies as st


def manifest(name, depends=("base",), **values):
    return Manifest(name, f"/addons/{name}", depends=() if name == "base" else tuple(depends), **values)


def record(name, state="installed", depends=("base",), **values):
    return Record(name, state, depends=() if name == "base" else tuple(depends), **values)


def take_stock(records, manifests, *, others=(), stored=None, checksums=None):
    """Modules by name, and the findings."""
    known = {item.name: item for item in (record("base"), *records)}
    disk = Disk("19.0", ("/addons",), {item.name: item for item in (manifest("base"), *manifests)}, tuple(others))
    settings = ChecksumSettings(exclude=(), languages=(), stored=stored or {})
    modules = join(known, disk, settings=settings, checksums=checksums or {})
    return {module.name: module for module in modules}, find(modules, known, disk)


def test_a_site_in_order():
    modules, findings = take_stock(
        [record("crm", version="19.0.1.9"), record("sale", "uninstalled")], [manifest("crm"), manifest("sale")]
    )
    assert list(modules) == ["base", "crm", "sale"]
    assert dataclasses.asdict(findings) == {field.name: [] for field in dataclasses.fields(findings)}


def test_what_both_know_is_told_in_the_words_of_the_disk():
    words = {"title": "CRM", "summary": "Leads", "category": "Sales", "author": "Me", "license": "AGPL-3"}
    old = {name: f"old {word}" for name, word in words.items()}
    modules, _findings = take_stock(
        [record("crm", version="19.0.1.8", depends=["mail"], **old), record("gone", version="19.0.2.0", **old)],
        [manifest("crm", ["mail", "utm"], version="1.9", **words), manifest("new", version="19.0.3.0.0")],
    )
    crm = modules["crm"]
    assert (crm.display_name, crm.summary, crm.category, crm.author, crm.license) == tuple(words.values())
    assert (crm.state, crm.installed_version, crm.disk_version) == ("installed", "19.0.1.8", "19.0.1.9")
    assert (crm.path, crm.depends, crm.found_in) == ("/addons/crm", ("mail", "utm"), "both")
    gone = modules["gone"]
    assert (gone.display_name, gone.disk_version, gone.path, gone.found_in) == ("old CRM", None, None, "database")
    new = modules["new"]
    assert (new.state, new.installed_version, new.disk_version, new.found_in) == (None, None, "19.0.3.0.0", "disk")


def test_a_manifest_that_cannot_be_parsed_leaves_the_word_to_the_database():
    bad = manifest("crm", fault="its manifest cannot be parsed: x (line 3)", readable=False, line=3)
    modules, findings = take_stock([record("crm", depends=["mail"], title="CRM")], [bad, manifest("mail")])
    assert (modules["crm"].display_name, modules["crm"].depends) == ("CRM", ("mail",))
    assert (modules["crm"].disk_version, modules["crm"].path) == (None, "/addons/crm")
    assert findings.unparsable == [
        {"name": "crm", "file": "/addons/crm/__manifest__.py", "line": 3, "reason": bad.fault},
    ]
    assert findings.not_installable == [
        {"name": "crm", "state": "installed", "path": "/addons/crm", "reason": bad.fault}
    ]


@pytest.mark.parametrize(
    ("state", "installed", "on_disk", "outdated"),
    [
        ("installed", "19.0.1.9", "1.10", True),
        ("installed", "19.0.1.9", "1.9", False),
        ("installed", "19.0.1.9", "1.8", False),
        ("installed", "18.0.1.9", "1.0", True),
        ("installed", "19.0.1.0.0", "19.0.1.0", False),
        ("to upgrade", "19.0.1.0", "1.1", True),
        ("uninstalled", "19.0.1.0", "1.1", False),
        ("installed", "", "1.1", False),
    ],
)
def test_outdated_modules(state, installed, on_disk, outdated):
    _modules, findings = take_stock([record("crm", state, version=installed)], [manifest("crm", version=on_disk)])
    assert findings.outdated == (["crm"] if outdated else [])


def test_what_odoo_does_not_install_is_not_outdated():
    bad = manifest("crm", version="20.0.1.0.0", fault="its version 20.0.1.0.0 is not one of Odoo 19.0")
    modules, findings = take_stock([record("crm", version="19.0.1.0")], [bad])
    assert findings.outdated == []
    assert modules["crm"].disk_version == "20.0.1.0.0"


@pytest.mark.parametrize(
    ("state", "stored", "checksum", "changed", "unknown"),
    [
        ("installed", "a", "a", False, False),
        ("installed", "a", "b", True, False),
        ("to upgrade", "a", "b", True, False),
        ("installed", None, "b", None, True),
        ("installed", "a", None, None, False),
        ("uninstalled", "a", "b", None, False),
        ("to install", None, "b", None, False),
    ],
)
def test_changes_since_the_installation(state, stored, checksum, changed, unknown):
    modules, findings = take_stock(
        [record("crm", state)],
        [manifest("crm")],
        stored={"crm": stored} if stored else {},
        checksums={"crm": checksum} if checksum else {},
    )
    assert modules["crm"].changed is changed
    assert modules["crm"].checksum == checksum
    assert findings.changed_since_installed == (["crm"] if changed else [])
    assert findings.unknown_changes == (["crm"] if unknown else [])


def test_where_modules_are():
    _modules, findings = take_stock(
        [
            record("gone"),
            record("left", "uninstalled"),
            record("studio", codeless=True),
            record("advert", "uninstallable", codeless=True),
        ],
        [manifest("new")],
    )
    assert findings.only_in_database == ["gone", "left"]
    assert findings.only_on_disk == ["new"]
    assert [fault["name"] for fault in findings.broken] == ["gone"]


def test_uninstallable_is_a_normal_state():
    bad = manifest("iot", fault="its manifest says installable: False")
    _modules, findings = take_stock([record("iot", "uninstallable")], [bad])
    assert findings.broken == []
    assert findings.not_installable == [
        {"name": "iot", "state": "uninstallable", "path": "/addons/iot", "reason": bad.fault}
    ]


def test_further_copies():
    others = [
        Manifest("crm", "/more/crm"),
        Manifest("crm", "/last/crm", fault="its manifest cannot be parsed: x", readable=False),
    ]
    _modules, findings = take_stock([record("crm")], [manifest("crm")], others=others)
    assert findings.shadowed == [{"name": "crm", "path": "/more/crm", "used": "/addons/crm"}]
    assert [fault["file"] for fault in findings.unparsable] == ["/last/crm/__manifest__.py"]


@pytest.mark.parametrize(
    ("records", "manifests", "reason"),
    [
        (
            [record("crm", "to upgrade")],
            [manifest("crm")],
            "its state is to upgrade: a run of Odoo did not end, or is still to come",
        ),
        ([record("crm")], [], "it is installed, but in no directory of the addons path"),
        (
            [record("crm")],
            [manifest("crm", fault="its manifest says installable: False")],
            "it is installed, but its manifest says installable: False (/addons/crm)",
        ),
        (
            [record("crm", depends=["base"]), record("utm", "uninstalled")],
            [manifest("crm", ["base", "utm", "none"]), manifest("utm")],
            "it depends on utm, none, which is not installed",
        ),
    ],
)
def test_broken_modules(records, manifests, reason):
    _modules, findings = take_stock(records, manifests)
    assert findings.broken == [{"name": "crm", "reason": reason}]


def test_pending_modules():
    states = ("to install", "to upgrade", "to remove", "installed", "uninstalled")
    _modules, findings = take_stock(
        [record(f"m{n}", state) for n, state in enumerate(states)], [manifest(f"m{n}") for n in range(5)]
    )
    assert findings.pending == ["m0", "m1", "m2"]


def test_missing_dependencies_with_their_chains():
    _modules, findings = take_stock(
        [record("board", depends=["taskboard"]), record("old", "uninstalled", depends=["never"])],
        [
            manifest("taskboard", ["project", "checklist"]),
            manifest("board", ["taskboard"]),
            manifest("wall", ["board", "checklist"]),
            manifest("project"),
            manifest("shop", ["pay"]),
            manifest("pay", fault="its manifest says installable: False"),
        ],
    )
    assert findings.missing_dependencies == [
        {
            "name": "checklist",
            "reason": "it is in no directory of the addons path",
            "installed": ["board"],
            "chains": [["taskboard", "checklist"], ["wall", "checklist"], ["board", "taskboard", "checklist"]],
        },
        {
            "name": "pay",
            "reason": "its manifest says installable: False",
            "installed": [],
            "chains": [["shop", "pay"]],
        },
    ]


def test_what_is_missing_belongs_to_those_that_want_it():
    _modules, findings = take_stock(
        [record("ours", depends=["theirs"])], [manifest("ours", ["theirs"]), manifest("theirs", ["none"])]
    )
    [missing] = only(findings, {"ours"})["missing_dependencies"]
    assert (missing["installed"], missing["chains"]) == (["ours"], [["ours", "theirs", "none"]])
    [missing] = only(findings, {"theirs"})["missing_dependencies"]
    assert (missing["installed"], missing["chains"]) == ([], [["theirs", "none"]])
    assert only(findings, {"base"})["missing_dependencies"] == []


NAMES = [f"m{n}" for n in range(7)]


@given(st.dictionaries(st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES), max_size=4)))
def test_chains_lead_from_every_module_that_wants_it_to_what_is_missing(graph):
    disk = Disk("19.0", (), {name: manifest(name, depends) for name, depends in graph.items()})
    modules = join({}, disk, settings=ChecksumSettings((), (), {}), checksums={})
    found = {item["name"]: item["chains"] for item in missing_dependencies(modules, disk)}
    assert set(found) == {name for depends in graph.values() for name in depends} - set(graph)
    for missing, chains in found.items():
        wanting = {missing}
        while True:
            more = {name for name, depends in graph.items() if wanting & set(depends)} | wanting
            if more == wanting:
                break
            wanting = more
        assert {chain[0] for chain in chains} == wanting - {missing}
        assert [len(chain) for chain in chains] == sorted(len(chain) for chain in chains)
        for chain in chains:
            assert chain[-1] == missing
            assert len(set(chain)) == len(chain)
            assert all(below in graph[above] for above, below in itertools.pairwise(chain))


@pytest.mark.parametrize(
    ("patterns", "names", "unmatched"),
    [
        ([], {"sale", "sale_crm", "saleXcrm", "base"}, []),
        (["sale_*"], {"sale_crm"}, []),
        (["sale*", "base"], {"sale", "sale_crm", "saleXcrm", "base"}, []),
        (["SALE", "crm", "base"], {"base"}, ["SALE", "crm"]),
    ],
)
def test_patterns(patterns, names, unmatched):
    modules, findings = take_stock([], [manifest(name) for name in ("sale", "sale_crm", "saleXcrm")])
    assert select(modules, patterns) == (names, unmatched)
    cut = only(findings, names)
    assert cut["only_on_disk"] == sorted(names - {"base"})
    assert set(cut) == {field.name for field in dataclasses.fields(findings)}


ROW = {
    "name": "base",
    "state": "installed",
    "version": "19.0.1.3",
    "title": "Base",
    "summary": "",
    "category": "Hidden",
    "author": "Odoo S.A.",
    "license": "LGPL-3",
    "depends": [],
    "codeless": False,
}


def database(monkeypatch, answer, refusal=None):
    """One answer to the one query, and what ``require_odoo`` says."""
    asked = []

    def rows(_connection, query, values):
        asked.append((query, values))
        if isinstance(answer, Exception):
            raise answer
        return [answer]

    def require_odoo(_connection, _database):
        if refusal:
            raise refusal

    monkeypatch.setattr(odoo_inventory, "rows", rows)
    monkeypatch.setattr(odoo_inventory, "require_odoo", require_odoo)
    return asked


def test_the_database_is_asked_once(monkeypatch):
    rows = [ROW, {**ROW, "name": "crm", "depends": ["mail"], "codeless": True}]
    asked = database(monkeypatch, (rows, '{"base": "abc"}', None, ["en_US"]))
    records, settings = read_records(None, "main")
    assert records["base"] == Record(
        "base", "installed", "19.0.1.3", "Base", "", "Hidden", "Odoo S.A.", "LGPL-3", (), codeless=False
    )
    assert (records["crm"].depends, records["crm"].codeless) == (("mail",), True)
    assert (dict(settings.stored), settings.languages) == ({"base": "abc"}, ("en_US",))
    assert len(asked) == 1


@pytest.mark.parametrize(
    "answer",
    [
        SlipwayError('relation "ir_module_module" does not exist'),
        (None, None, None, []),
        ([{**ROW, "state": "to install"}], None, None, []),
    ],
)
def test_a_database_without_odoo_is_told_as_everywhere(monkeypatch, answer):
    database(monkeypatch, answer, NotReadyError("Odoo is not installed in database 'main' yet"))
    with pytest.raises(NotReadyError, match="not installed in database 'main' yet"):
        read_records(None, "main")


def test_another_fault_of_the_query_is_told_as_it_is(monkeypatch):
    database(monkeypatch, SlipwayError("permission denied for table ir_module_module"))
    with pytest.raises(SlipwayError, match="permission denied"):
        read_records(None, "main")
