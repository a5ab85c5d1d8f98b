"""The modules of a real database, all that can be wrong between it and the disk, and the audit of a site."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import pathlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[3]
ADDONS = ROOT / "tests" / "addons"
OURS = ("slipway_depot", "slipway_depot_label", "slipway_depot_line")
PARAMETER = "module_auto_update.installed_checksums"
CORE = "/usr/lib/python3/dist-packages/odoo/addons"


def independent_checksum(addon: pathlib.Path) -> str:
    """The checksum of an addon whose translations are all left out or none."""
    found = hashlib.sha1(usedforsecurity=False)

    def add(directory: pathlib.Path) -> None:
        below = sorted(path for path in directory.iterdir() if path.name != "__pycache__")
        for path in [path for path in below if path.is_file()]:
            name = str(path.relative_to(addon))
            if not name.startswith(("static/", "tests/")) and not name.endswith(".po"):
                found.update(name.encode() + path.read_bytes())
        for path in [path for path in below if path.is_dir()]:
            add(path)

    add(addon)
    return found.hexdigest()


def by_name(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {module["name"]: module for module in result["modules"]}


@pytest.fixture(scope="module")
def site(make_instance: Callable[[str], Any]) -> Any:
    """An instance with the three addons, as Odoo installed them."""
    instance = make_instance("inf_info")
    instance.put_addons(*OURS)
    instance.run(
        "runuser -u odoo-main -- odoo -c %s -i slipway_depot_line --no-http --stop-after-init", instance.config
    )
    return instance


@pytest.fixture(scope="module")
def fresh(site: Any) -> dict[str, Any]:
    result: dict[str, Any] = site.call("odoo_module_info")
    return result


@pytest.fixture(scope="module")
def stored(site: Any, fresh: dict[str, Any]) -> dict[str, Any]:
    """The same, when somebody has remembered the checksums."""
    checksums = {module["name"]: module["checksum"] for module in fresh["modules"] if module["checksum"]}
    site.sql(f"INSERT INTO ir_config_parameter (key, value) VALUES ('{PARAMETER}', '{json.dumps(checksums)}')")
    result: dict[str, Any] = site.call("odoo_module_info")
    return result


@pytest.fixture(scope="module")
def faulty(site: Any, stored: dict[str, Any]) -> dict[str, Any]:
    """The same, after all kinds of accidents."""
    site.write("slipway_depot/models/more.py", "x = 1\n")
    site.write("slipway_depot/static/src/more.js", "let x;\n")
    site.edit("slipway_depot_line/__manifest__.py", "19.0.1.0.0", "19.0.1.0.1")
    site.drop_addons("slipway_depot_label")
    site.write("inf_syntax/__manifest__.py", "{\n    'name': 'Broken',\n    'depends': ['web',\n}\n")
    site.write("inf_code/__manifest__.py", "{\n    'name': open('/etc/hostname').read(),\n}\n")
    site.write("inf_top/__manifest__.py", "{'name': 'Top', 'depends': ['inf_middle']}")
    site.write("inf_middle/__manifest__.py", "{'name': 'Middle', 'depends': ['web', 'inf_nowhere']}")
    site.write("inf_off/__manifest__.py", "{'name': 'Off', 'installable': False}")
    site.write("inf_old/__manifest__.py", "{'name': 'Old', 'version': '17.0.1.0.0'}")
    site.write("contacts/__manifest__.py", "{'name': 'Our own contacts'}")
    site.sql("UPDATE ir_module_module SET state = 'to upgrade' WHERE name = 'web_tour'")
    site.run("sed -i 's|^addons_path = |addons_path = /srv/not-mounted,|' %s", site.config)
    result: dict[str, Any] = site.call("odoo_module_info")
    return result


def test_all_modules_of_database_and_disk(site: Any, fresh: dict[str, Any]) -> None:
    modules = by_name(fresh)
    states = dict(site.sql("SELECT name, state FROM ir_module_module"))
    assert {name: module["state"] for name, module in modules.items() if module["found_in"] != "disk"} == states
    assert fresh["directories"][0] == CORE
    assert site.addons in fresh["directories"]
    assert fresh["series"] == "19.0"
    assert not fresh["changed"]
    crm = modules["crm"]
    assert (crm["display_name"], crm["author"], crm["license"]) == ("CRM", "Odoo S.A.", "LGPL-3")
    assert (crm["category"], crm["path"], crm["state"]) == ("Sales/CRM", f"{CORE}/crm", "uninstalled")
    assert crm["disk_version"].startswith("19.0.")
    assert "mail" in crm["depends"]


def test_versions_of_what_is_installed_are_those_of_the_database(site: Any, fresh: dict[str, Any]) -> None:
    versions = dict(site.sql("SELECT name, latest_version FROM ir_module_module WHERE state = 'installed'"))
    modules = by_name(fresh)
    assert {name: modules[name]["installed_version"] for name in versions} == versions
    assert {name: modules[name]["disk_version"] for name in versions} == versions
    assert (fresh["outdated"], fresh["pending"], fresh["broken"]) == ([], [], [])


def test_advertised_modules_are_neither_broken_nor_missed(fresh: dict[str, Any]) -> None:
    modules = by_name(fresh)
    assert (modules["web_studio"]["state"], modules["web_studio"]["found_in"]) == ("uninstallable", "database")
    assert (modules["web_studio"]["category"], modules["web_studio"]["author"]) != ("", "")
    assert fresh["only_in_database"] == []
    assert fresh["shadowed"] == []


def test_checksums_are_those_of_click_odoo_update(fresh: dict[str, Any]) -> None:
    modules = by_name(fresh)
    assert {name: modules[name]["checksum"] for name in OURS} == {
        name: independent_checksum(ADDONS / name) for name in OURS
    }


def test_nobody_can_tell_of_changes_without_stored_checksums(fresh: dict[str, Any], stored: dict[str, Any]) -> None:
    installed = sorted(name for name, module in by_name(fresh).items() if module["state"] == "installed")
    assert fresh["unknown_changes"] == installed
    assert {by_name(fresh)[name]["changed"] for name in installed} == {None}
    assert (stored["unknown_changes"], stored["changed_since_installed"]) == ([], [])
    assert {by_name(stored)[name]["changed"] for name in installed} == {False}


def test_what_changed_is_outdated_or_pending(faulty: dict[str, Any]) -> None:
    assert faulty["changed_since_installed"] == ["slipway_depot", "slipway_depot_line"]
    assert faulty["outdated"] == ["slipway_depot_line"]
    line = by_name(faulty)["slipway_depot_line"]
    assert (line["installed_version"], line["disk_version"]) == ("19.0.1.0.0", "19.0.1.0.1")
    assert faulty["pending"] == ["web_tour"]
    assert faulty["missing_directories"] == ["/srv/not-mounted"]


def test_what_only_one_side_knows(faulty: dict[str, Any]) -> None:
    assert faulty["only_in_database"] == ["slipway_depot_label"]
    assert faulty["only_on_disk"] == ["inf_code", "inf_middle", "inf_off", "inf_old", "inf_syntax", "inf_top"]
    label = by_name(faulty)["slipway_depot_label"]
    assert (label["display_name"], label["path"]) == ("Slipway test: labels, installed by themselves", None)
    assert sorted(label["depends"]) == ["contacts", "slipway_depot_line"]
    # Odoo has another name for the category Hidden in its database.
    assert label["category"] == "Technical/Tests"


def test_manifests_that_cannot_be_parsed_are_told_with_their_lines(site: Any, faulty: dict[str, Any]) -> None:
    code, syntax = faulty["unparsable"]
    assert (code["file"], code["line"]) == (f"{site.addons}/inf_code/__manifest__.py", 2)
    assert "it holds code, not only literal values" in code["reason"]
    assert syntax["file"] == f"{site.addons}/inf_syntax/__manifest__.py"
    assert syntax["line"] in (3, 4)
    assert "Traceback" not in json.dumps(faulty)


def test_what_odoo_would_not_install(site: Any, faulty: dict[str, Any]) -> None:
    reasons = {fault["name"]: fault["reason"] for fault in faulty["not_installable"]}
    assert reasons["inf_off"] == "its manifest says installable: False"
    assert reasons["inf_old"] == "its version 17.0.1.0.0 is not one of Odoo 19.0"
    assert {"inf_code", "inf_syntax"} <= set(reasons)
    assert faulty["missing_dependencies"] == [
        {
            "name": "inf_nowhere",
            "reason": "it is in no directory of the addons path",
            "installed": [],
            "chains": [["inf_middle", "inf_nowhere"], ["inf_top", "inf_middle", "inf_nowhere"]],
        }
    ]
    assert faulty["shadowed"] == [
        {"name": "contacts", "path": f"{site.addons}/contacts", "used": f"{CORE}/contacts"},
    ]


def test_what_is_broken(faulty: dict[str, Any]) -> None:
    assert [fault["name"] for fault in faulty["broken"]] == ["slipway_depot_label", "web_tour"]


def test_check_mode_looks_as_well(site: Any, faulty: dict[str, Any]) -> None:
    again = site.call("odoo_module_info", check=True)
    assert {key: again[key] for key in ("modules", "broken")} == {key: faulty[key] for key in ("modules", "broken")}


def test_names_are_shell_patterns(site: Any, faulty: dict[str, Any]) -> None:
    result = site.call("odoo_module_info", names=["slipway_*", "inf_top", "webXtour"], checksums="none")
    assert [module["name"] for module in result["modules"]] == ["inf_top", *OURS]
    assert {module["checksum"] for module in result["modules"]} == {None}
    assert (result["pending"], result["unmatched"]) == ([], ["webXtour"])
    assert [missing["chains"] for missing in result["missing_dependencies"]] == [
        [["inf_top", "inf_middle", "inf_nowhere"]]
    ]


@pytest.fixture(scope="module")
def other_databases(site: Any) -> Iterator[None]:
    for name, query in (("inf_empty", "SELECT 1"), ("inf_foreign", "CREATE TABLE mine (id int)")):
        site.run("cd /; runuser -u postgres -- createdb --owner odoo-main %s", name)
        site.run("cd /; runuser -u postgres -- psql -XAtqc %s %s", query, name)
    yield
    for name in ("inf_empty", "inf_foreign"):
        site.run("cd /; runuser -u postgres -- dropdb %s", name)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"config": "/etc/odoo/inf_none.conf"}, "There is no configuration file /etc/odoo/inf_none.conf"),
        ({"database": "inf_none"}, "There is no database 'inf_none' on the local socket"),
        ({"database": "inf_empty"}, "Odoo is not installed in database 'inf_empty' yet"),
        ({"database": "inf_foreign"}, "Database 'inf_foreign' is not a database of Odoo"),
        ({"odoo_bin": "/usr/bin/no-odoo"}, "There is no program /usr/bin/no-odoo"),
        ({"odoo_bin": "/bin/true"}, "/bin/true does not lead to a package of Odoo"),
        ({"checksums": "some"}, "value of checksums must be one of"),
    ],
)
def test_bad_input(
    site: Any, call: Callable[..., dict[str, Any]], other_databases: None, options: dict[str, str], words: str
) -> None:
    assert words in call("odoo_module_info", fails=True, **{"config": site.config, **options})["msg"]


def test_what_cannot_be_read_is_told(site: Any, faulty: dict[str, Any]) -> None:
    site.run("ln -s nowhere %s", f"{site.addons}/slipway_depot/models/.#depot.py")
    try:
        message = site.call("odoo_module_info", fails=True)["msg"]
    finally:
        site.run("rm %s", f"{site.addons}/slipway_depot/models/.#depot.py")
    assert "slipway_depot/models/.#depot.py: No such file or directory" in message


def test_checksums_of_another_form_are_told(site: Any, faulty: dict[str, Any]) -> None:
    [[text]] = site.sql(f"SELECT value FROM ir_config_parameter WHERE key = '{PARAMETER}'")
    site.sql(f"UPDATE ir_config_parameter SET value = 'x' WHERE key = '{PARAMETER}'")
    try:
        message = site.call("odoo_module_info", fails=True)["msg"]
    finally:
        site.sql(f"UPDATE ir_config_parameter SET value = '{text}' WHERE key = '{PARAMETER}'")
    assert f"System parameter {PARAMETER} does not hold a JSON object" in message


INSTANCES = json.dumps(
    {
        "odoo_instances": [
            {
                "name": name,
                "domains": [f"{name}.test"],
                "database_password": f"database-{name}",
                "admin_password": f"admin-{name}",
                "master_password": f"master-{name}",
            }
            for name in ("main", "inf_info")
        ]
    }
)


def audit(run_playbook: Any, *arguments: str, fails: bool = False) -> str:
    done = run_playbook("modules_audit.yml", "-e", INSTANCES, *arguments)
    assert (done.returncode != 0) is fails, done.stdout[-3000:] + done.stderr[-2000:]
    assert "admin-inf_info" not in done.stdout
    return str(done.stdout)


def test_the_audit_writes_csv_of_all_instances(
    run_playbook: Any, site: Any, faulty: dict[str, Any], tmp_path: pathlib.Path
) -> None:
    file = tmp_path / "modules.csv"
    options = ("-e", "slipway_audit_format=csv", "-e", f"slipway_audit_output={file}")
    audit(run_playbook, "--check", *options)
    assert not file.exists()
    audit(run_playbook, *options)
    rows = list(csv.DictReader(io.StringIO(file.read_text(), newline="")))
    assert {row["instance"] for row in rows} == {"main", "inf_info"}
    own = {row["name"]: row for row in rows if row["instance"] == "inf_info"}
    assert len(own) == len(faulty["modules"]) + len(faulty["missing_directories"])
    label = own["slipway_depot_label"]
    assert (label["state"], label["found_in"], label["path"]) == ("installed", "database", "")
    assert own["slipway_depot"]["changed"] == "true"
    assert "it is installed, but in no directory of the addons path" in label["problems"]
    assert "inf_syntax/__manifest__.py:" in own["inf_syntax"]["problems"]
    assert own["inf_top"]["problems"] == (
        "it needs inf_nowhere through inf_middle: it is in no directory of the addons path"
    )
    assert (own[""]["path"], own[""]["problems"]) == ("/srv/not-mounted", "this entry of addons_path is no directory")
    assert own["slipway_depot"]["problems"] == ""


def test_the_audit_writes_json(run_playbook: Any, site: Any, faulty: dict[str, Any], tmp_path: pathlib.Path) -> None:
    file = tmp_path / "modules.json"
    audit(run_playbook, "-e", "slipway_audit_format=json", "-e", f"slipway_audit_output={file}")
    found = json.loads(file.read_text())
    assert list(found) == ["main", "inf_info"]
    assert found["inf_info"] == {key: value for key, value in faulty.items() if key in found["inf_info"]}
    assert {"modules", "broken", "unparsable", "missing_dependencies", "unmatched"} <= set(found["inf_info"])
    assert "item" not in found["inf_info"]


def test_the_audit_shows_a_table(run_playbook: Any, site: Any, faulty: dict[str, Any]) -> None:
    output = audit(run_playbook, "-e", json.dumps({"slipway_audit_names": ["slipway_*", "web"]}))
    lines = [line.strip() for line in output.splitlines()]
    assert "4 modules: 4 installed, 1 only in the database, 1 broken, 2 changed, 1 outdated" in lines
    (line,) = [line for line in lines if line.startswith("slipway_depot_line ")]
    assert "19.0.1.0.0 -> 19.0.1.0.1" in line
    assert "outdated, changed" in line
    assert "1 module: 1 installed" in lines


def test_the_audit_tells_what_is_wrong(run_playbook: Any, site: Any, faulty: dict[str, Any]) -> None:
    output = audit(
        run_playbook, "-e", json.dumps({"slipway_audit_names": ["inf_*", "slipway_*", "web_tour", "contacts"]})
    )
    lines = [line.strip() for line in output.splitlines()]
    for words in (
        "web_tour: its state is to upgrade: a run of Odoo did not end, or is still to come",
        "inf_old: its version 17.0.1.0.0 is not one of Odoo 19.0",
        "inf_nowhere: it is in no directory of the addons path; needed by inf_middle, inf_top",
        f"contacts: {site.addons}/contacts is not used, {CORE}/contacts is",
        "/srv/not-mounted",
    ):
        assert words in lines
    assert any(line.startswith("inf_syntax: ") and "__manifest__.py:" in line for line in lines)
    assert any(re.match(r"inf_syntax +inf_syntax +.*unreadable", line) for line in lines)


def test_the_audit_refuses_names_of_no_module(run_playbook: Any, site: Any, faulty: dict[str, Any]) -> None:
    output = audit(run_playbook, "-e", json.dumps({"slipway_audit_names": ["contcts", "inf_top"]}), fails=True)
    words = "slipway_audit_names fits no module of main, inf_info: contcts. Give technical names"
    assert words in " ".join(output.split())
    # What fits in one of the instances will do, and so does a text with commas.
    output = audit(run_playbook, "-e", "slipway_audit_names=inf_top,web")
    assert re.search(r"Patterns that fit no module here:\n +inf_top\n", output)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("slipway_audit_format=xml", "slipway_audit_format is table, csv or json, not xml"),
        ("slipway_audit_output=/nowhere/modules.csv", "slipway_audit_output is a file in a directory that is there"),
        ("slipway_audit_output=/", "slipway_audit_output is a file in a directory that is there"),
    ],
)
def test_the_audit_refuses_bad_input_before_it_looks(run_playbook: Any, extra: str, words: str) -> None:
    output = audit(run_playbook, "-e", extra, fails=True)
    assert words in " ".join(output.split())
    assert "Read the modules" not in output.partition("PLAY RECAP")[0]
