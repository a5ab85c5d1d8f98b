"""Playbooks truth_sync.yml and repair_module.yml, on instances of the tests' own."""

from __future__ import annotations

import concurrent.futures
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

BACKUPS = "/srv/slipway-tests/introot"
MANIFEST = "slipway_depot/__manifest__.py"
BOARD = "slipway_depot/static/src/board.js"
VIEWS = "slipway_depot/views/depots.xml"
#: In place of Odoo: a service whose reloads can be counted.
UNIT = """[Service]
ExecStart=/bin/sleep infinity
ExecReload=/bin/sh -c 'echo reload >>/srv/slipway-tests/inttruth/reloads'
"""


@pytest.fixture(scope="module")
def play(run_playbook: Callable[..., Any]) -> Callable[..., Any]:
    """Run a playbook for one or several instances of the tests, as the only ones of the site."""

    def run(playbook: str, *given: Any, fails: bool = False, **knobs: Any) -> str:
        options = [item for item in given if isinstance(item, str)]
        described = [
            {
                "name": instance.name,
                "domains": [f"{instance.name}.example.com"],
                "addons_path": [instance.addons],
                **dict.fromkeys(("database_password", "admin_password", "master_password"), "unused"),
            }
            for instance in given
            if not isinstance(instance, str)
        ]
        extra = {"odoo_instances": described, **knobs}
        done = run_playbook(playbook, "-e", json.dumps(extra), *options)
        assert (done.returncode != 0) is fails, done.stdout[-6000:]
        return str(done.stdout)

    return run


def changes(output: str) -> int:
    """Changed tasks on the host."""
    found = re.search(r"^box1\s*:.*changed=(\d+)", output.rpartition("PLAY RECAP")[2], re.MULTILINE)
    assert found
    return int(found[1])


def ran(output: str, task: str) -> bool:
    """Whether a task did anything but be skipped."""
    part = output.partition(f"TASK [{task}]")[2].partition("\nTASK [")[0]
    return bool(re.search(r"^(ok|changed|fatal|failed): ", part, re.MULTILINE))


def look(instance: Any, *checks: str) -> list[str]:
    result = instance.call("odoo_integrity_info", checks=list(checks))
    return [finding["key"] for finding in result["findings"]]


# truth_sync.yml


@pytest.fixture(scope="module")
def stale(make_instance: Callable[[str], Any]) -> Iterator[Any]:
    """An instance with slipway_depot, whose service is a stand-in."""
    instance = make_instance("inttruth")
    instance.put_addons("slipway_depot")
    instance.call("odoo_module", names=["slipway_depot"])
    unit = "/etc/systemd/system/odoo@inttruth.service"
    instance.run("printf %%s %s >%s && systemctl daemon-reload && systemctl start odoo@inttruth", UNIT, unit)
    yield instance
    instance.run("systemctl stop odoo@inttruth; rm -f %s; systemctl daemon-reload", unit)


def version(instance: Any) -> str:
    return str(instance.sql("SELECT latest_version FROM ir_module_module WHERE name = 'slipway_depot'")[0][0])


def reloads(instance: Any) -> int:
    return int(instance.run("cat /srv/slipway-tests/inttruth/reloads 2>/dev/null | wc -l"))


def test_the_truth_is_told_first_and_made_then(play: Any, stale: Any) -> None:
    adopted = play("truth_sync.yml", stale, slipway_truth_adopt=True)
    assert not ran(adopted, "Throw the compiled assets away")
    # An instance that is as it should be: nothing to do, and nothing done.
    again = play("truth_sync.yml", stale, odoo_http_interface="0.0.0.0")
    assert changes(again) == 0
    assert ran(again, "Ask for the log-in page, which compiles its assets")
    assert re.search(r"\bupdated: \[\]\n", again)
    assert "would_update" not in again

    stale.edit(MANIFEST, '"version": "19.0.1.0.0"', '"version": "19.0.1.1.0"')
    stale.put_addons("slipway_depot_line")
    before = stale.sql("SELECT count(*) FROM ir_module_module")

    checked = play("truth_sync.yml", stale, "--check")
    assert changes(checked) >= 3
    assert stale.sql("SELECT count(*) FROM ir_module_module") == before
    assert version(stale) == "19.0.1.0.0"

    assert re.search(r"would_update:\s+- slipway_depot\n", checked)

    told = play("truth_sync.yml", stale, slipway_truth_update=False)
    assert re.search(r"would_update:\s+- slipway_depot\n", told)
    assert re.search(r"newer_on_disk:\s+- slipway_depot\n", told)
    assert stale.sql("SELECT state FROM ir_module_module WHERE name = 'slipway_depot_line'") == [["uninstalled"]]
    assert version(stale) == "19.0.1.0.0"

    counted = reloads(stale)
    made = play("truth_sync.yml", stale)
    assert version(stale) == "19.0.1.1.0"
    assert ran(made, "Throw the compiled assets away")
    assert re.search(r"\bupdated:\s+- slipway_depot\n", made)
    # The file came to stand there before the last reload.
    assert reloads(stale) == counted
    assert changes(play("truth_sync.yml", stale)) == 0


def test_newer_code_is_loaded_by_a_service_that_runs(play: Any, stale: Any) -> None:
    counted = reloads(stale)
    stale.write("slipway_depot/models/later.py", "LATER = True\n")
    play("truth_sync.yml", stale)
    assert reloads(stale) == counted + 1


def test_the_failure_of_one_instance_leaves_no_service_of_another_on_older_code(
    play: Any, stale: Any, broken: Any
) -> None:
    counted, had = reloads(stale), version(broken)
    for instance in (broken, stale):
        instance.edit(MANIFEST, '"version": "19.0.1.', '"version": "19.0.2.')
    broken.edit("slipway_depot/views/depots.xml", "<odoo>", '<odoo><record id="x" model="no.such.model"/>')
    output = play("truth_sync.yml", broken, stale, fails=True)
    broken.put_addons("slipway_depot")
    assert "no.such.model" in output
    assert "were not reloaded: intrepair." in " ".join(output.split())
    assert (version(stale)[:7], version(broken)) == ("19.0.2.", had)
    assert reloads(stale) == counted + 1
    assert ran(output, "Throw the compiled assets away")


def test_what_is_broken_is_not_called_the_truth(play: Any, stale: Any) -> None:
    stale.drop_addons("slipway_depot", "slipway_depot_line")
    output = play("truth_sync.yml", stale, fails=True)
    stale.put_addons("slipway_depot")
    assert "slipway_depot" in output
    assert "in no directory of the addons path" in output


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("truth_sync.yml", {"slipway_truth_instances": ["nowhere"]}, "slipway_truth_instances is a list out of"),
    ("truth_sync.yml", {"slipway_truth_instances": "inttruth"}, "slipway_truth_instances is a list out of"),
    ("truth_sync.yml", {"slipway_truth_update": "maybe"}, "slipway_truth_update is true or false"),
    ("repair_module.yml", {}, "slipway_repair_module is the technical name"),
    ("repair_module.yml", {"slipway_repair_module": "base"}, "slipway_repair_module is the technical name"),
    ("repair_module.yml", {"slipway_repair_module": "a,b"}, "slipway_repair_module is the technical name"),
    ("repair_module.yml", {"slipway_repair_module": "slipway_dept"}, "is not installed in instance inttruth"),
    ("repair_module.yml", {"slipway_repair_module": "mail", "slipway_repair_instance": "x"}, "is one of inttruth"),
    ("repair_module.yml", {"slipway_repair_module": "mail", "slipway_repair_always": 7}, "is true or false"),
    (
        "repair_module.yml",
        {
            "slipway_repair_module": "mail",
            "slipway_repair_reinstall": True,
            "slipway_repair_allow_data_loss": True,
            "slipway_repair_backup_directory": "backups",
        },
        "is an absolute path",
    ),
]


def test_bad_input_is_refused(play: Any, stale: Any) -> None:
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        outputs = list(pool.map(lambda case: play(case[0], stale, fails=True, **case[1]), REFUSED))
    for (_playbook, knobs, words), output in zip(REFUSED, outputs, strict=True):
        assert words in " ".join(output.split()), knobs
        assert changes(output) == 0


# repair_module.yml


@pytest.fixture(scope="module")
def broken(make_instance: Callable[[str], Any]) -> Any:
    """An instance with slipway_depot and a record that a user made."""
    instance = make_instance("intrepair")
    instance.put_addons("slipway_depot")
    instance.call("odoo_module", names=["slipway_depot"])
    instance.sql("UPDATE ir_cron SET nextcall = (now() AT TIME ZONE 'UTC') + interval '1 day'")
    return instance


@pytest.fixture
def records(broken: Any) -> Callable[[], list[list[str]]]:
    """What a user would lose."""
    if not broken.sql("SELECT 1 FROM slipway_depot WHERE name = 'Ours'"):
        broken.sql("INSERT INTO slipway_depot (name) VALUES ('Ours')")
    return lambda: list(broken.sql("SELECT name FROM slipway_depot ORDER BY name"))


def repair(play: Any, instance: Any, *options: str, **knobs: Any) -> str:
    return str(play("repair_module.yml", instance, *options, slipway_repair_module="slipway_depot", **knobs))


def test_a_sound_module_is_left_alone(play: Any, broken: Any) -> None:
    output = repair(play, broken)
    assert "Nothing is wrong with module slipway_depot" in " ".join(output.split())
    assert "files are not those" not in " ".join(output.split())
    assert changes(output) == 0
    broken.write("slipway_depot/models/later.py", "LATER = True\n")
    output = repair(play, broken)
    broken.put_addons("slipway_depot")
    assert "But its files are not those that were installed: update it with playbooks/truth_sync" in " ".join(
        output.split()
    )


def test_an_update_mends_what_it_can_and_keeps_all_data(play: Any, broken: Any, records: Any) -> None:
    before = records()
    broken.sql("DELETE FROM ir_act_window WHERE res_model = 'slipway.depot'")
    checked = repair(play, broken, "--check")
    assert changes(checked) == 1
    assert look(broken, "menus") == ["menu:slipway_depot.menu_depots"]
    output = repair(play, broken)
    assert ran(output, "Update the module, which keeps its data")
    assert not ran(output, "Throw the compiled assets away")
    assert "Module slipway_depot is repaired: the update mended it." in " ".join(output.split())
    assert look(broken, "menus", "xmlids") == []
    assert records() == before
    assert changes(repair(play, broken)) == 0


def test_what_no_step_can_mend_is_said_and_nothing_is_uninstalled(play: Any, broken: Any, records: Any) -> None:
    before = records()
    broken.edit(BOARD, '"slipway_depot.board"', '"slipway_depot.other"')
    output = " ".join(repair(play, broken, fails=True, slipway_repair_reinstall=True).split())
    broken.put_addons("slipway_depot")
    assert re.search(r"records: slipway.depot: 2\b", output), output
    assert "has tag 'slipway_depot.board', which no script of the installed modules registers" in output
    assert "Nothing was uninstalled" in output
    assert records() == before


@pytest.mark.parametrize("noupdate", [False, True])
def test_what_the_code_declares_is_no_reason_to_lose_data(play: Any, broken: Any, records: Any, noupdate: bool) -> None:
    before = records()
    xmlid = "module = 'slipway_depot' AND name = 'action_board'"
    broken.edit(VIEWS, '"tag">slipway_depot.board<', '"tag">slipway_depot.none<')
    if noupdate:
        # As it would be if the code said so itself.
        broken.sql("UPDATE ir_act_client SET tag = 'slipway_depot.none' WHERE tag = 'slipway_depot.board'")
    broken.sql(f"UPDATE ir_model_data SET noupdate = {noupdate} WHERE {xmlid}")
    # Comes to the database by the update.
    knobs = {"slipway_repair_always": True, "slipway_repair_reinstall": True, "slipway_repair_allow_data_loss": True}
    output = repair(play, broken, fails=True, **knobs, slipway_repair_backup_directory=BACKUPS)
    words = " ".join(output.split())
    broken.put_addons("slipway_depot")
    broken.sql("UPDATE ir_act_client SET tag = 'slipway_depot.board' WHERE tag = 'slipway_depot.none'")
    broken.sql(f"UPDATE ir_model_data SET noupdate = false WHERE {xmlid}")
    assert "has tag 'slipway_depot.none', which no script of the installed modules registers" in words
    assert "Nothing was uninstalled. The code itself declares it so: correct the code." in words
    assert "To reinstall it with the loss" not in words
    assert ran(output, "Update the module, which keeps its data")
    assert not ran(output, "Dump the database")
    assert not ran(output, "Uninstall the module and what depends on it")
    assert records() == before
    assert broken.run("ls -d %s 2>/dev/null || true", BACKUPS) == ""


def test_a_reinstallation_comes_last_after_a_backup_and_only_when_asked_for_twice(
    play: Any, broken: Any, records: Any
) -> None:
    before = records()
    # An update leaves alone what is marked as changed by a user.
    broken.sql("UPDATE ir_act_client SET tag = 'gone' WHERE tag = 'slipway_depot.board'")
    broken.sql("UPDATE ir_model_data SET noupdate = true WHERE module = 'slipway_depot' AND name = 'action_board'")
    both = {"slipway_repair_reinstall": True, "slipway_repair_allow_data_loss": True}

    output = " ".join(repair(play, broken, fails=True).split())
    assert "correct or delete it in Odoo (Settings, Technical); last of all, and only with a backup" in output
    assert "Nothing was uninstalled. To reinstall it with the loss of its data, set slipway_repair_reinstall" in output
    assert records() == before

    # Whatever fails, nothing is lost: here the backup cannot be written.
    output = repair(play, broken, fails=True, **both, slipway_repair_backup_directory="/etc/hostname")
    assert not ran(output, "Uninstall the module and what depends on it")
    assert records() == before

    # One that fails says how to go back.
    broken.edit(MANIFEST, '"depends"', '"uninstall_hook": "refuse", "depends"')
    broken.write("slipway_depot/__init__.py", "from . import models\n\n\ndef refuse(env):\n    raise ValueError\n")
    output = " ".join(repair(play, broken, fails=True, **both, slipway_repair_backup_directory=BACKUPS).split())
    broken.put_addons("slipway_depot")
    broken.run("rm -rf %s", BACKUPS)
    assert re.search(r"Uninstall the module and what depends on it: .+ as postgres on box1: .+pg_restore", output)
    assert "slipway_depot is repaired" not in output

    output = repair(play, broken, **both, slipway_repair_backup_directory=BACKUPS)
    order = [
        output.index(f"TASK [{task}") for task in ("Update the", "Throw the", "Dump the", "Copy the", "Uninstall the")
    ]
    assert order == sorted(order)
    assert look(broken, "client_actions", "menus", "xmlids") == []
    assert records() == [["Harbour"]]
    [dump] = broken.run("stat -c '%%a %%U %%n' %s/database/*", BACKUPS).splitlines()
    assert dump.startswith(f"600 postgres {BACKUPS}/database/intrepair-")
    kept = broken.run("pg_restore --data-only --table=slipway_depot --file=- %s", dump.split()[2])
    assert "Ours" in kept
    [copy] = broken.run("ls -d %s/filestore/*", BACKUPS).splitlines()
    assert int(broken.run("find %s -type f | wc -l", copy)) > 5

    # The way back, as it is told.
    words = " ".join(output.split())
    assert "Module slipway_depot is repaired: it was uninstalled and installed again, and its data is lost." in words
    told = re.search(r"intrepair on its hosts; as postgres on box1: (.+?); as root on box1: (.+?); start odoo@", words)
    assert told
    restored, copied = told.groups()
    broken.run("rm -rf %s", copied.split()[-1])
    broken.run("cd /; mkdir %s && chown odoo-main: %s", copied.split()[-1], copied.split()[-1])
    broken.run("cd /; runuser -u postgres -- sh -ec %s", restored)
    broken.run(copied)
    assert records() == before
    assert look(broken, "attachments") == []
    assert look(broken, "client_actions") == ["client_action:gone"]
    broken.run("rm -rf %s", BACKUPS)
