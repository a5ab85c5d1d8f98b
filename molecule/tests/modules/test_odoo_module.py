"""Modules installed, updated and removed for real: plans that come true, failures, leftovers, two runs at once."""

from __future__ import annotations

import concurrent.futures
import json
import textwrap
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

Instance = Any  # conftest.Instance

DEPOT, LINE, LABEL = "slipway_depot", "slipway_depot_line", "slipway_depot_label"
EXTRA = "slipway_mod_extra"
CHECKSUMS = "SELECT value FROM ir_config_parameter WHERE key = 'module_auto_update.installed_checksums'"


@pytest.fixture(scope="module")
def instance(make_instance: Callable[[str], Instance]) -> Instance:
    """The three addons are installed, and the content of everything is recorded."""
    instance = make_instance("mod_odoo_module")
    instance.put_addons(DEPOT, LINE, LABEL)
    planned = instance.call("odoo_module", check=True, names=[LINE])
    assert instance.logs() == []
    done = instance.call("odoo_module", names=[LINE])
    assert sorted(planned["installed"]) == done["installed"] == [DEPOT, LABEL, LINE]
    assert (planned["automatic"], planned["diff"]) == ([LABEL], done["diff"])
    assert set(checksums(instance)) == {DEPOT, LINE, LABEL}
    adopted = instance.call("odoo_module", names=["*"], state="latest", adopt=True)
    assert adopted["changed"]
    assert "base" in adopted["adopted"]
    assert adopted["updated"] == []
    assert len(instance.logs()) == 1
    return instance


@pytest.fixture
def tidy(instance: Instance) -> Iterator[None]:
    """Put the addons back as they were, and the database in step with them."""
    yield
    instance.put_addons(DEPOT, LINE, LABEL)
    instance.drop_addons(EXTRA)
    instance.call("odoo_module", names=["*", LABEL], state="latest")


def checksums(instance: Instance) -> dict[str, str]:
    ((text,),) = instance.sql(CHECKSUMS)
    found: dict[str, str] = json.loads(text)
    return found


def states(instance: Instance) -> dict[str, str]:
    query = "SELECT name, state FROM ir_module_module WHERE name LIKE 'slipway_depot%'"
    return dict(map(tuple, instance.sql(query)))


def touch(instance: Instance, path: str) -> None:
    instance.run("echo '# changed' >> %s", f"{instance.addons}/{path}")


def write_extra(instance: Instance, manifest: str) -> None:
    """An addon of this test, with more for its manifest."""
    text = f'{{"name": "Extra", "version": "19.0.1.0.0", "license": "LGPL-3", {manifest}}}'
    instance.write(f"{EXTRA}/__manifest__.py", text)
    instance.write(f"{EXTRA}/__init__.py", "")


def write_migration(instance: Instance, addon: str, body: str, version: str = "19.0.1.1.0") -> None:
    instance.edit(f"{addon}/__manifest__.py", '"version": "19.0.1.0.0"', f'"version": "{version}"')
    text = "def migrate(cr, version):\n" + textwrap.indent(textwrap.dedent(body), "    ")
    instance.write(f"{addon}/migrations/{version}/post-work.py", text)


def latest(instance: Instance, *names: str, **options: Any) -> dict[str, Any]:
    return instance.call("odoo_module", names=list(names or ("*",)), state="latest", **options)


def test_latest_without_a_change_starts_nothing_and_is_quick(instance: Instance, call: Callable[..., Any]) -> None:
    logs = instance.logs()
    spent = []
    for module, options in (
        ("ansible.builtin.stat", {"path": "/"}),
        ("odoo_module", {"config": instance.config, "names": ["*"], "state": "latest"}),
    ):
        begun = time.monotonic()
        assert not call(module, **options)["changed"]
        spent.append(time.monotonic() - begun)
    assert instance.logs() == logs
    assert spent[1] - spent[0] < 1.5, f"{spent[1]:.2f} s, of which {spent[0]:.2f} s are Ansible's"


def test_latest_updates_what_changed_with_its_dependents_and_nothing_else(instance: Instance, tidy: None) -> None:
    before = checksums(instance)
    touch(instance, f"{LINE}/models/line.py")
    planned = latest(instance, check=True)
    assert checksums(instance) == before
    done = latest(instance)
    assert planned["updated"] == done["updated"] == [LINE, LABEL]
    assert planned["reasons"] == {
        LINE: "its content differs from what was installed",
        LABEL: f"depends on {LINE}",
    }
    assert planned["diff"] == done["diff"]
    log = instance.run("cat %s", done["log_file"])
    assert log.count(": Loading module ") == 2
    after = checksums(instance)
    assert {name for name in after if after[name] != before[name]} == {LINE}
    assert not latest(instance)["changed"]
    # A dependency that changed is updated with what was named.
    touch(instance, f"{DEPOT}/models/depot.py")
    assert latest(instance, LABEL, check=True)["updated"] == [DEPOT, LINE, LABEL]
    assert latest(instance, "contacts", check=True)["updated"] == []
    assert latest(instance, LABEL, force=True, check=True)["reasons"][LABEL] == "its update was asked for"


def test_static_files_and_foreign_translations_do_not_count(instance: Instance, tidy: None) -> None:
    touch(instance, f"{DEPOT}/static/src/board.js")
    instance.edit(f"{DEPOT}/i18n/de.po", "Tafel", "Brett")
    assert not latest(instance, check=True)["changed"]
    instance.sql("UPDATE res_lang SET active = true WHERE code = 'de_DE'")
    try:
        assert DEPOT in latest(instance, check=True)["reasons"]
    finally:
        instance.sql("UPDATE res_lang SET active = false WHERE code = 'de_DE'")


def test_a_new_dependency_is_installed_with_the_update(instance: Instance, tidy: None) -> None:
    instance.edit(f"{LINE}/__manifest__.py", '["slipway_depot"]', '["slipway_depot", "base_sparse_field"]')
    planned = latest(instance, check=True)
    assert (planned["installed"], planned["updated"]) == (["base_sparse_field"], [LINE, LABEL])
    done = latest(instance)
    assert (done["installed"], done["updated"]) == (["base_sparse_field"], [LINE, LABEL])


def test_a_module_that_fails_at_install_and_one_at_update(instance: Instance, tidy: None) -> None:
    bad = '<odoo><record id="x" model="res.partner"><field name="no_such_field">x</field></record></odoo>'
    write_extra(instance, '"data": ["data.xml"]')
    instance.write(f"{EXTRA}/data.xml", bad)
    failed = instance.call("odoo_module", names=[EXTRA], fails=True)
    assert (failed["failed_module"], failed["not_installed"], failed["pending"]) == (EXTRA, [EXTRA], [])
    assert "no_such_field" in failed["msg"]
    assert failed["traceback"]
    assert failed["log_file"] in failed["msg"]
    before = checksums(instance)
    assert EXTRA not in before
    instance.edit(f"{LABEL}/__manifest__.py", '"auto_install"', '"data": ["data.xml"], "auto_install"')
    instance.write(f"{LABEL}/data.xml", bad)
    failed = latest(instance, fails=True)
    assert (failed["failed_module"], failed["not_updated"], failed["pending"]) == (LABEL, [LABEL], [])
    assert checksums(instance) == before


def test_a_migration_script_that_fails(instance: Instance, tidy: None) -> None:
    before = checksums(instance)
    touch(instance, f"{LINE}/models/line.py")
    write_migration(instance, LABEL, "raise ValueError('the labels are in the way')")
    failed = latest(instance, fails=True)
    assert failed["failed_module"] == LABEL
    assert "ValueError: the labels are in the way" in failed["msg"]
    assert (failed["updated"], failed["not_updated"], failed["changed"]) == ([LINE], [LABEL], True)
    assert checksums(instance) == before
    instance.write(f"{LABEL}/migrations/19.0.1.1.0/post-work.py", "def migrate(cr, version):\n    pass\n")
    done = latest(instance)
    assert done["updated"] == [LINE, LABEL]
    query = "SELECT latest_version FROM ir_module_module WHERE name = 'slipway_depot_label'"
    assert instance.sql(query) == [["19.0.1.1.0"]]


def test_what_cannot_be_done_is_refused_before_anything_is(instance: Instance, tidy: None) -> None:
    logs = instance.logs()
    write_extra(instance, '"depends": ["slipway_mod_ghost"]')
    failed = instance.call("odoo_module", names=[EXTRA], fails=True)
    assert "'slipway_mod_ghost' is in no directory" in failed["msg"]
    assert f"needed by {EXTRA}" in failed["msg"]
    failed = instance.call("odoo_module", names=["slipway_depott"], state="latest", fails=True)
    assert "did you mean slipway_depot?" in failed["msg"]
    instance.write(f"{EXTRA}/__manifest__.py", '{"name": "Extra",\n"depends": [}')
    assert "cannot be parsed" in instance.call("odoo_module", names=[EXTRA], fails=True)["msg"]
    assert not latest(instance)["changed"], "a broken manifest that nobody needs is nobody's business"
    instance.edit(f"{LABEL}/__manifest__.py", '"auto_install": True,', '"auto_install": True]')
    touch(instance, f"{LINE}/models/line.py")
    failed = latest(instance, check=True, fails=True)
    assert f"module '{LABEL}' is installed, but Odoo cannot load it" in failed["msg"]
    instance.drop_addons(LABEL)
    assert "would be updated" in latest(instance, LINE, fails=True)["msg"]
    failed = instance.call("odoo_module", names=[LABEL], state="absent", allow_data_loss=True, fails=True)
    assert "Put the code back" in failed["msg"]
    assert instance.logs() == logs


def test_two_runs_at_once_take_turns(instance: Instance, tidy: None) -> None:
    write_migration(instance, LABEL, "import time; time.sleep(6)")
    logs = len(instance.logs())
    with concurrent.futures.ThreadPoolExecutor() as pool:
        first = pool.submit(latest, instance)
        wait_for_log(instance, "Running migration")
        second = pool.submit(latest, instance)
        refused = latest(instance, wait=0, fails=True)
    assert "Another run changes modules of database" in refused["msg"]
    assert (first.result()["updated"], second.result()["updated"]) == ([LABEL], [])
    assert len(instance.logs()) == logs + 1


def wait_for_log(instance: Instance, text: str) -> None:
    for _attempt in range(60):
        name = (instance.logs() or ["none"])[-1]
        if instance.host.run("grep -q %s %s", text, f"{instance.log_directory}/{name}").rc == 0:
            return
        time.sleep(0.2)
    pytest.fail(f"no log of Odoo says {text!r}")


def test_a_killed_update_is_repaired(instance: Instance, tidy: None) -> None:
    touch(instance, f"{LINE}/models/line.py")
    write_migration(instance, LABEL, "import time; time.sleep(60)")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        running = pool.submit(latest, instance, fails=True)
        wait_for_log(instance, "Running migration")
        instance.run("kill -9 $(pgrep -f %s)", f"[o]doo -c {instance.config} ")
        failed = running.result()
    assert "it was ended by signal SIGKILL" in failed["msg"]
    assert (failed["pending"], failed["updated"], failed["changed"]) == ([LABEL], [LINE], True)
    assert "run this again" in failed["msg"]
    assert states(instance)[LABEL] == "to upgrade"
    instance.write(f"{LABEL}/migrations/19.0.1.1.0/post-work.py", "def migrate(cr, version):\n    pass\n")
    # Whatever is asked for next, it is not built upon.
    planned = instance.call("odoo_module", names=[DEPOT], check=True)
    assert (planned["repaired"], planned["updated"]) == ([LABEL], [LABEL])
    done = latest(instance, "contacts")
    assert (done["repaired"], done["updated"]) == ([LABEL], [LABEL])
    assert latest(instance, check=True)["updated"] == [LINE, LABEL], "its checksum was never stored"


def test_a_leftover_that_gained_a_dependency_is_finished(instance: Instance, tidy: None) -> None:
    write_extra(instance, '"depends": ["slipway_depot", "base_address_extended"]')
    instance.sql(f"INSERT INTO ir_module_module (name, state) VALUES ('{EXTRA}', 'to install')")
    planned = instance.call("odoo_module", names=[DEPOT], check=True)
    done = instance.call("odoo_module", names=[DEPOT])
    assert planned["repaired"] == done["repaired"] == [EXTRA]
    assert sorted(planned["installed"]) == done["installed"] == ["base_address_extended", EXTRA]
    # It excludes what is there now.
    write_extra(instance, '"depends": ["slipway_depot"], "excludes": ["base_address_extended"]')
    refused = latest(instance, check=True, fails=True)
    assert "modules 'base_address_extended' and 'slipway_mod_extra' exclude each other" in refused["msg"]
    write_extra(instance, '"depends": ["slipway_depot"]')
    instance.call("odoo_module", names=[EXTRA, "base_address_extended"], state="absent", allow_data_loss=True)


def test_a_module_imported_as_an_archive_is_left_alone(instance: Instance, tidy: None) -> None:
    instance.sql(
        """WITH archive AS (INSERT INTO ir_module_module (name, state, imported, latest_version)
                            VALUES ('slipway_depot_archive', 'installed', true, '1.0') RETURNING id)
           INSERT INTO ir_module_module_dependency (module_id, name, auto_install_required)
                SELECT id, 'slipway_depot', false FROM archive"""
    )
    try:
        touch(instance, f"{DEPOT}/models/depot.py")
        planned, done = latest(instance, check=True), latest(instance)
        assert planned["updated"] == done["updated"] == [DEPOT, LINE, LABEL]
        assert "warnings" not in done
        assert states(instance)["slipway_depot_archive"] == "installed"
        assert not latest(instance)["changed"]
    finally:
        instance.sql("DELETE FROM ir_module_module WHERE name = 'slipway_depot_archive'")


def test_what_is_changed_during_an_update_is_not_taken_for_installed(instance: Instance, tidy: None) -> None:
    touch(instance, f"{DEPOT}/models/depot.py")
    pull = f"open({instance.addons + '/' + DEPOT + '/models/pulled.py'!r}, 'w').close()"
    instance.run("chmod o+w %s", f"{instance.addons}/{DEPOT}/models")
    write_migration(instance, LABEL, pull)
    assert latest(instance)["updated"] == [DEPOT, LINE, LABEL]
    assert set(latest(instance, check=True)["reasons"]) == {DEPOT, LINE, LABEL}


def test_what_somebody_works_on_is_no_leftover(instance: Instance, tidy: None) -> None:
    instance.sql("UPDATE ir_module_module SET state = 'to remove' WHERE name = 'slipway_depot_label'")
    work = "BEGIN; UPDATE ir_module_module SET sequence = 7 WHERE name = 'slipway_depot_label'; SELECT pg_sleep(12)"
    with concurrent.futures.ThreadPoolExecutor() as pool:
        other = pool.submit(instance.sql, work)
        time.sleep(1)
        failed = instance.call("odoo_module", names=[DEPOT], wait=1, fails=True)
        assert "somebody still seems to work on them: backend " in failed["msg"]
        assert states(instance)[LABEL] == "to remove"
        assert instance.call("odoo_module", names=[DEPOT], wait=60)["repaired"] == [LABEL]
        other.result()


def test_a_connection_that_is_lost_during_the_run(instance: Instance, tidy: None) -> None:
    write_migration(instance, LABEL, "import time; time.sleep(5)")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        running = pool.submit(latest, instance)
        wait_for_log(instance, "Running migration")
        query = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'slipway' AND datname = "
        )
        assert instance.sql(query + f"'{instance.name}'") == [["t"]]
        assert running.result()["updated"] == [LABEL]
    assert not latest(instance)["changed"]


def test_a_leftover_is_put_in_order_before_a_removal(instance: Instance, tidy: None) -> None:
    instance.sql(
        "UPDATE ir_module_module SET state = 'to upgrade' WHERE name IN ('slipway_depot', 'slipway_depot_label')"
    )
    instance.sql("UPDATE ir_module_module SET state = 'to remove' WHERE name = 'slipway_depot_line'")
    planned = instance.call("odoo_module", names=[LABEL], state="absent", allow_data_loss=True, check=True)
    done = instance.call("odoo_module", names=[LABEL], state="absent", allow_data_loss=True)
    assert planned["removed"] == done["removed"] == [LABEL]
    assert planned["updated"] == done["updated"]
    assert DEPOT in done["updated"]
    assert states(instance) == {DEPOT: "installed", LINE: "installed", LABEL: "uninstalled"}


def test_removal_is_refused_listed_and_done(instance: Instance) -> None:
    """The last one here: it takes the addons away."""
    failed = instance.call("odoo_module", names=["rpc", "web"], state="absent", allow_data_loss=True, fails=True)
    assert "rpc, web cannot be removed" in failed["msg"]
    instance.sql("INSERT INTO slipway_depot (name) VALUES ('North'), ('South')")
    instance.sql("UPDATE slipway_depot SET capacity = 7 WHERE name = 'North'")
    logs = instance.logs()
    failed = instance.call("odoo_module", names=[LINE], state="absent", fails=True)
    assert failed["dependents"] == [LABEL]
    assert failed["would_remove"] == [LABEL, LINE]
    assert failed["losses"]["records"] == {"slipway.depot.line": 0}
    assert failed["losses"]["fields"] == {"slipway.depot.capacity": 1}
    assert "allow_data_loss" in failed["msg"]
    planned = instance.call("odoo_module", names=[DEPOT], state="absent", allow_data_loss=True, check=True)
    assert planned["losses"]["records"] == {"slipway.depot": 3, "slipway.depot.line": 0}
    assert planned["losses"]["data"]["ir.ui.menu"] == 3
    assert instance.logs() == logs
    done = instance.call("odoo_module", names=[DEPOT, "slipway_depott"], state="absent", allow_data_loss=True)
    assert done["removed"] == planned["removed"] == [LABEL, LINE, DEPOT]
    assert (done["left_behind"], done["losses"]) == ([], planned["losses"])
    assert any("did you mean slipway_depot?" in warning for warning in done["warnings"])
    assert set(states(instance).values()) == {"uninstalled"}
    assert instance.sql("SELECT to_regclass('slipway_depot') IS NULL") == [["t"]]
    assert not {DEPOT, LINE, LABEL} & set(checksums(instance))
    assert not instance.call("odoo_module", names=[DEPOT], state="absent")["changed"]
