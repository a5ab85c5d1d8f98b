"""Module odoo_integrity_info: everything that can be broken, broken on purpose."""

from __future__ import annotations

import concurrent.futures
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

BOARD = "slipway_depot/static/src/board.js"
RECORD = """SELECT res_id FROM ir_model_data WHERE module = 'slipway_depot' AND name = '{}'"""


@pytest.fixture(scope="module")
def depot(make_instance: Callable[[str], Any]) -> Any:
    """An instance with the module slipway_depot, of which nothing is late."""
    instance = make_instance("int_sound")
    instance.put_addons("slipway_depot")
    instance.call("odoo_module", names=["slipway_depot"])
    # No service runs on it.
    instance.sql("DELETE FROM ir_cron_trigger")
    instance.sql("UPDATE ir_cron SET nextcall = (now() AT TIME ZONE 'UTC') + interval '1 day'")
    return instance


@pytest.fixture(scope="module")
def wreck(make_instance: Callable[[str], Any]) -> Any:
    """An instance to destroy."""
    return make_instance("int_wreck")


def look(instance: Any, *checks: str, **options: Any) -> dict[str, Any]:
    if checks:
        options["checks"] = list(checks)
    result: dict[str, Any] = instance.call("odoo_integrity_info", **options)
    assert result["changed"] is False
    assert result["sound"] is (result["findings"] == [])
    return result


def one(result: dict[str, Any]) -> dict[str, Any]:
    [finding] = result["findings"]
    assert finding["what"]
    assert finding["remedy"]
    return dict(finding)


@contextlib.contextmanager
def changed(instance: Any, *change: str, back: str) -> Iterator[None]:
    for statement in change:
        instance.sql(statement)
    try:
        yield
    finally:
        instance.sql(back)


@contextlib.contextmanager
def edited(instance: Any, path: str, old: str, new: str) -> Iterator[None]:
    instance.edit(path, old, new)
    try:
        yield
    finally:
        instance.put_addons("slipway_depot")


def test_a_sound_database_is_called_sound_and_says_what_was_looked_at(depot: Any) -> None:
    result = look(depot)
    assert result["findings"] == []
    assert result["unchecked"] == {"models": [], "registrations": [], "files_elsewhere": 0}
    assert set(result["counts"].values()) == {0}
    checked = result["checked"]
    assert checked["xmlids"] > 5000
    assert checked["scripts"] > 1000
    assert checked["client_actions"] > 4
    assert checked["handlers"] >= checked["client_actions"]
    assert min(checked[key] for key in ("menus", "modules", "scheduled_actions", "attachments")) > 10
    assert result["filestore"]["hashed_bytes"] == result["filestore"]["bytes"] > 0
    assert result["database"] == "int_sound"


def test_check_mode_looks_all_the_same(depot: Any) -> None:
    assert look(depot, "menus", check=True)["checked"]["menus"] > 10


def test_a_menu_without_its_action_is_mended_by_the_first_remedy(depot: Any) -> None:
    depot.sql(f"DELETE FROM ir_act_window WHERE id = ({RECORD.format('action_depots')})")
    result = look(depot, "menus", "xmlids")
    [menu], [xmlid] = result["menus"], result["xmlids"]
    assert menu["key"] == "menu:slipway_depot.menu_depots"
    assert menu["module"] == xmlid["module"] == "slipway_depot"
    assert menu["steps"][0] == xmlid["steps"][0] == "update"
    assert xmlid["key"] == "xmlid:slipway_depot.action_depots"
    before = depot.sql("SELECT count(*) FROM slipway_depot")
    depot.call("odoo_module", names=["slipway_depot"], state="latest", force=True)
    assert look(depot, "menus", "xmlids")["sound"]
    assert depot.sql("SELECT count(*) FROM slipway_depot") == before


def test_a_menu_that_names_an_action_of_the_wrong_type(depot: Any) -> None:
    menu = RECORD.format("menu_depots")
    right = depot.sql(f"SELECT action FROM ir_ui_menu WHERE id = ({menu})")[0][0]
    wrong = right.replace("act_window", "act_url")
    back = f"UPDATE ir_ui_menu SET action = '{right}' WHERE id = ({menu})"
    with changed(depot, back.replace(right, wrong), back=back):
        assert wrong in one(look(depot, "menus"))["what"]
    with changed(depot, back.replace(right, "nonsense"), back=back):
        assert "nonsense" in one(look(depot, "menus"))["what"]


def test_a_client_action_whose_handler_is_commented_out(depot: Any) -> None:
    with edited(depot, BOARD, "actionRegistry\n    .add(", "// actionRegistry.add(BOARD_TAG, DepotBoard)\nvoid ("):
        found = one(look(depot, "client_actions"))
    assert found["key"] == "client_action:slipway_depot.board"
    assert found["steps"] == ["update", "regenerate_assets", "correct_code"]
    assert look(depot, "client_actions")["sound"]


def test_reinstalling_is_a_remedy_only_where_the_code_declares_something_else(depot: Any) -> None:
    row = "WHERE module = 'slipway_depot' AND name = '{}'"
    back = (
        f"UPDATE ir_act_client SET tag = 'slipway_depot.board' WHERE id = ({RECORD.format('action_board')});"
        "UPDATE ir_model_data SET noupdate = false WHERE module = 'slipway_depot'"
    )
    kept = f"UPDATE ir_model_data SET noupdate = true {row.format('action_board')}"
    with changed(depot, "UPDATE ir_act_client SET tag = 'none' WHERE tag = 'slipway_depot.board'", back=back):
        assert one(look(depot, "client_actions"))["steps"] == ["update", "regenerate_assets", "correct_code"]
        depot.sql(kept)
        found = one(look(depot, "client_actions"))
        assert found["steps"] == ["update", "regenerate_assets", "correct_record", "reinstall"]
        with edited(depot, "slipway_depot/views/depots.xml", ">slipway_depot.board<", ">none<"):
            found = one(look(depot, "client_actions"))
            assert found["steps"] == ["update", "regenerate_assets", "correct_code", "correct_record"]
    menu = RECORD.format("menu_depots")
    right = depot.sql(f"SELECT action FROM ir_ui_menu WHERE id = ({menu})")[0][0]
    back = f"UPDATE ir_ui_menu SET action = '{right}' WHERE id = ({menu});" + back.partition(";")[2]
    with changed(depot, back.partition(";")[0].replace(right, "ir.actions.act_url,99999"), back=back):
        assert one(look(depot, "menus"))["steps"] == ["update", "correct_code"]
        depot.sql(f"UPDATE ir_model_data SET noupdate = true {row.format('menu_depots')}")
        assert one(look(depot, "menus"))["steps"] == ["update", "correct_record", "reinstall"]


def test_a_client_action_whose_handler_is_in_no_bundle(depot: Any) -> None:
    manifest = "slipway_depot/__manifest__.py"
    for bundle in ("web.assets_frontend", "web.assets_unit_tests"):
        with edited(depot, manifest, "web.assets_backend", bundle):
            found = one(look(depot, "client_actions"))
            assert found["steps"] == ["update", "regenerate_assets", "declare_asset"]
            assert f"/{BOARD} registers" in found["what"]


def test_a_client_action_whose_handler_comes_with_a_module_that_is_not_installed(depot: Any) -> None:
    depot.put_addons("slipway_depot_label")
    depot.edit("slipway_depot_label/__manifest__.py", '"auto_install": True', '"assets": {"web.assets_backend": ["x"]}')
    depot.write("slipway_depot_label/static/src/x.js", 'registry.category("actions").add("slipway_depot.board", X);')
    with edited(depot, BOARD, '"slipway_depot.board"', '"slipway_depot.other"'):
        found = one(look(depot, "client_actions"))
    depot.drop_addons("slipway_depot_label")
    assert found["steps"] == ["install"]
    assert "only module slipway_depot_label registers" in found["what"]


def test_assets_of_the_database_count_too(depot: Any) -> None:
    back = "DELETE FROM ir_asset WHERE name = 'int'"
    insert = (
        "INSERT INTO ir_asset (name, bundle, directive, path, active, sequence) VALUES ('int', 'web.assets_backend',"
    )
    with changed(depot, f"{insert} 'remove', '{BOARD}', true, 16)", back=back):
        assert one(look(depot, "client_actions"))["steps"][-1] == "declare_asset"
    with changed(depot, f"{insert} 'remove', '{BOARD}', false, 16)", back=back):
        assert look(depot, "client_actions")["sound"]


def test_a_handler_in_an_attachment_counts(depot: Any) -> None:
    script = 'registry.category("actions").add("slipway_depot.board", X);'
    with (
        edited(depot, BOARD, '"slipway_depot.board"', '"slipway_depot.other"'),
        changed(
            depot,
            "INSERT INTO ir_asset (name, bundle, directive, path, active, sequence)"
            " VALUES ('int', 'web.assets_backend', 'append', '/int_import/static/src/x.js', true, 16)",
            "INSERT INTO ir_attachment (name, type, url, db_datas)"
            f" VALUES ('int', 'binary', '/int_import/static/src/x.js', convert_to('{script}', 'UTF8'))",
            back="DELETE FROM ir_asset WHERE name = 'int'; DELETE FROM ir_attachment WHERE name = 'int'",
        ),
    ):
        assert look(depot, "client_actions")["sound"]


def test_external_identifiers_of_nothing(depot: Any) -> None:
    insert = "INSERT INTO ir_model_data (module, name, model, res_id) VALUES"
    with changed(
        depot,
        f"{insert} ('slipway_depot', 'int_a', 'slipway.depot', 99999), ('__export__', 'int_b', 'no.such.model', 1)",
        f"{insert} ('slipway_depot', 'int_c', 'ir.actions.act_window', 99999), ('x', 'int_d', 'res.partner', NULL)",
        back="DELETE FROM ir_model_data WHERE name LIKE 'int\\__'",
    ):
        result = look(depot, "xmlids")
        assert {finding["key"]: finding["steps"] for finding in result["findings"]} == {
            "xmlid:__export__.int_b": ["remove_record"],
            "xmlid:slipway_depot.int_a": ["update"],
            "xmlid:slipway_depot.int_c": ["update"],
        }
        assert result["counts"] == {"xmlids": 3}
        accepted = look(depot, "xmlids", ignore=["xmlid:slipway_depot.int_?", "xmlid:__export__.*"])
        assert accepted["sound"]
        assert len(accepted["accepted"]) == 3
        assert accepted["unmatched_ignores"] == []
        assert look(depot, "xmlids", ignore=["xmlid:x", "menu:x"])["unmatched_ignores"] == ["xmlid:x"]


def test_files_of_attachments(depot: Any) -> None:
    directory = look(depot, "attachments")["filestore"]["directory"]
    assert directory.endswith("/filestore/int_sound")
    names = [
        name for (name,) in depot.sql("SELECT DISTINCT store_fname FROM ir_attachment WHERE file_size > 9 LIMIT 3")
    ]
    missing, altered, cut = (f"{directory}/{name}" for name in names)
    depot.run("cp -a %s /srv/slipway-tests/int_sound/filestore", directory)
    try:
        depot.run("rm %s && printf x | dd of=%s conv=notrunc status=none && truncate -s 1 %s", missing, altered, cut)
        found = {finding["key"]: finding["what"] for finding in look(depot, "attachments")["findings"]}
        assert found.keys() == {f"attachment:{name}" for name in names}
        assert "the file is missing" in found[f"attachment:{names[0]}"]
        assert "the file was altered: its SHA-1 is" in found[f"attachment:{names[1]}"]
        assert "the file has 1 bytes instead of" in found[f"attachment:{names[2]}"]
        quick = look(depot, "attachments", filestore="files")
        assert {finding["key"] for finding in quick["findings"]} == {
            f"attachment:{name}" for name in (names[0], names[2])
        }
        assert quick["filestore"]["hashed_bytes"] == 0
        depot.run("rm -rf %s", directory)
        assert "no filestore" in look_failing(depot, "attachments")
    finally:
        depot.run("rm -rf %s && mv /srv/slipway-tests/int_sound/filestore %s", directory, directory)
    assert look(depot, "attachments")["sound"]


def test_a_name_that_leads_out_of_the_filestore_is_refused(depot: Any) -> None:
    insert = "INSERT INTO ir_attachment (name, type, store_fname) VALUES ('int', 'binary', '../../../../../etc/shadow')"
    with changed(depot, insert, back="DELETE FROM ir_attachment WHERE name = 'int'"):
        assert "its name is not that of a file in a filestore" in one(look(depot, "attachments"))["what"]


def test_scheduled_actions_that_are_late_or_fail(depot: Any) -> None:
    job = f"UPDATE ir_cron SET {{}} WHERE id = ({RECORD.format('cron_sweep')})"
    ahead = job.format(
        "nextcall = now() AT TIME ZONE 'UTC' + interval '1 day', active = true, failure_count = 0,"
        " first_failure_date = NULL"
    )
    late = job.format(
        "nextcall = now() AT TIME ZONE 'UTC' - interval '3 hours', write_date = nextcall - interval '1 day'"
    )
    with changed(depot, late, late, back=ahead):
        found = one(look(depot, "scheduled_actions"))
        assert found["key"] == "scheduled_action:slipway_depot.cron_sweep"
        assert "should have run 3 hours ago" in found["what"]
        assert look(depot, "scheduled_actions", overdue_minutes=240)["sound"]
        with changed(
            depot,
            "UPDATE ir_module_module SET state = 'to upgrade' WHERE name = 'slipway_depot'",
            back="UPDATE ir_module_module SET state = 'installed' WHERE name = 'slipway_depot'",
        ):
            assert one(look(depot, "scheduled_actions"))["steps"] == ["repair_modules"]
        depot.sql(job.format("active = false"))
        assert look(depot, "scheduled_actions")["sound"]
    failing = job.format("failure_count = 3, first_failure_date = '2026-03-01 10:00:00'")
    with changed(depot, failing, back=ahead):
        assert "failed 3 times in a row, since 2026-03-01 10:00:00 UTC" in one(look(depot, "scheduled_actions"))["what"]


def test_a_module_that_is_half_way(depot: Any) -> None:
    state = "UPDATE ir_module_module SET state = '{}' WHERE name = 'slipway_depot'"
    with changed(depot, state.format("to upgrade"), back=state.format("installed")):
        found = one(look(depot, "modules"))
        assert (found["key"], found["steps"]) == ("module:slipway_depot", ["repair_modules"])


def test_a_module_whose_code_is_gone_or_broken(depot: Any) -> None:
    depot.drop_addons("slipway_depot")
    result = look(depot, "modules", "client_actions")
    depot.put_addons("slipway_depot")
    assert [finding["steps"] for finding in result["modules"]] == [["restore_code", "remove"]]
    assert [finding["steps"] for finding in result["client_actions"]] == [["restore_code"]]
    with edited(depot, "slipway_depot/__manifest__.py", '"depends": ["web"]', '"depends": ["web", "crm"]'):
        assert "depends on crm" in one(look(depot, "modules"))["what"]
    with edited(depot, "slipway_depot/__manifest__.py", "{", "{{"):
        assert "cannot be parsed" in one(look(depot, "modules"))["what"]


def look_failing(instance: Any, *checks: str, **options: Any) -> str:
    return str(instance.call("odoo_integrity_info", checks=list(checks), fails=True, **options)["msg"])


@pytest.mark.parametrize(
    ("statement", "check", "words"),
    [
        ("UPDATE ir_ui_menu SET action = NULL", "menus", "no menu with an action at all"),
        ("UPDATE ir_cron SET active = false", "scheduled_actions", "no active scheduled action at all"),
        ("TRUNCATE ir_act_client CASCADE", "client_actions", "no client action at all"),
        ("ALTER TABLE ir_attachment RENAME TO gone", "attachments", "ir_attachment"),
        ("TRUNCATE ir_model_data CASCADE", "xmlids", "no external identifier at all"),
        ("ALTER TABLE ir_model_data RENAME TO gone2", "menus", "ir_model_data"),
    ],
)
def test_an_empty_registry_and_a_failed_query_are_failures(wreck: Any, statement: str, check: str, words: str) -> None:
    wreck.sql(statement)
    assert words in look_failing(wreck, check)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"database": "int_nowhere"}, "There is no database 'int_nowhere'"),
    ({"database": "postgres"}, "not installed in database 'postgres'"),
    ({"ignore": ["crm.menu"]}, "fits no finding"),
    ({"ignore": ["client_actions:x"]}, "none is of kind 'client_actions'"),
    ({"checks": []}, "checks is empty"),
    ({"overdue_minutes": -1}, "must not be negative"),
    ({"config": "/etc/odoo/nowhere.conf"}, "no configuration file"),
    ({"modules": ["base", "nowhere"]}, "Odoo knows no module nowhere"),
]


def test_bad_input_is_refused(depot: Any, call: Any) -> None:
    def refuse(options: dict[str, Any]) -> str:
        return str(
            call("odoo_integrity_info", fails=True, **{"config": depot.config, "checks": ["menus"], **options})["msg"]
        )

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        messages = list(pool.map(refuse, [options for options, _words in REFUSED]))
    for (options, words), message in zip(REFUSED, messages, strict=True):
        assert words in message, options
