"""Module odoo_integrity_info from option to result, with stand-ins for the database and real files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.slipway.odoo.plugins.module_utils import odoo_integrity
from ansible_collections.slipway.odoo.plugins.module_utils.errors import NotReadyError, SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_config import OdooConfig
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_inventory import Record
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_manifest import Disk, Manifest
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_session import Session
from ansible_collections.slipway.odoo.plugins.modules import odoo_integrity_info

REGISTER = 'registry.category("actions").add("{}", X);'
PICTURE = b"a picture"
SHA1 = hashlib.sha1(PICTURE).hexdigest()  # noqa: S324
STORED = f"{SHA1[:2]}/{SHA1}"


class Host:
    """A host with two modules on disk, and the answers of its database by a word of the question."""

    def __init__(self, path):
        self.path = path
        self.config = OdooConfig(path="/etc/odoo/main.conf", db_names=("main",), user="odoo", data_dir=str(path))
        self.records = {
            "base": Record("base", "installed", version="19.0.1.3"),
            "web": Record("web", "installed", version="19.0.1.0", depends=("base",)),
            "extra": Record("extra", "uninstalled"),
        }
        self.asked = []
        self.fault = None
        self.answers = {
            "pg_class": [(["ir_act_client", "ir_act_window", "res_partner"], [["res.partner", 3, True, False]])],
            "ir_ui_menu m\n": [(1, "Home", "ir.actions.act_window,1", "web", "menu", False, False, True)],
            "FROM ir_act_client a": [
                (1, "reload", "Reload", "web", "reload", False, False, 0),
                (2, "board", "Board", "web", "b", False, False, 1),
            ],
            "FROM ir_asset": [],
            "db_datas": [],
            "NOT EXISTS": [],
            "FROM ir_cron": [(1, "Job", "base", "job", -60.0, 0, "")],
            "SELECT a.id, coalesce(a.name": [(1, "p", STORED, SHA1, len(PICTURE), "res.partner", "", "")],
            "unnest": [(1,)],
        }
        self.script("web", REGISTER.format("reload") + REGISTER.format("board"))
        self.script("extra", "")
        (path / "filestore" / "main" / SHA1[:2]).mkdir(parents=True)
        self.file.write_bytes(PICTURE)

    @property
    def file(self):
        return self.path / "filestore" / "main" / STORED

    def script(self, module, text):
        directory = self.path / module / "static" / "src"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "x.js").write_text(text)
        manifest = {"name": module, "assets": {"web.assets_backend": [f"{module}/static/src/*.js"]}}
        (self.path / module / "__manifest__.py").write_text(repr(manifest))

    def disk(self, _config):
        manifests = {
            "base": Manifest("base", str(self.path / "base"), version="1.3"),
            "web": Manifest("web", str(self.path / "web"), depends=("base",)),
            "extra": Manifest("extra", str(self.path / "extra"), depends=("web",)),
        }
        return Disk(series="19.0", directories=(str(self.path),), manifests=manifests)

    @contextlib.contextmanager
    def open_session(self, params, *, database):
        if self.fault:
            raise self.fault
        yield Session(self.config, params[database] or "main", self)

    def rows(self, _connection, query, values=None):
        text = query if isinstance(query, str) else query.as_string(None)
        self.asked.append(text)
        for word, answer in self.answers.items():
            if word in text:
                if isinstance(answer, Exception):
                    raise answer
                return answer
        return []


@pytest.fixture
def host(tmp_path, monkeypatch):
    host = Host(tmp_path)
    monkeypatch.setattr(odoo_integrity_info, "open_session", host.open_session)
    monkeypatch.setattr(odoo_integrity_info, "read_disk", host.disk)
    monkeypatch.setattr(odoo_integrity_info, "read_records", lambda *_arguments: (host.records, None))
    monkeypatch.setattr(odoo_integrity_info, "examine_modules", lambda *_arguments: [])
    monkeypatch.setattr(odoo_integrity_info, "rows", host.rows)
    monkeypatch.setattr(odoo_integrity, "rows", host.rows)
    # Literals are quoted by a connection, which is none here.
    monkeypatch.setattr(odoo_integrity, "read_menus", read_menus(host))
    monkeypatch.setattr(odoo_integrity, "read_dangling", lambda *_arguments: host.answers["NOT EXISTS"])
    return host


def read_menus(host):
    return lambda connection, _tables: [
        odoo_integrity.Menu(number, name, action, odoo_integrity.Owner(*owner), found)
        for number, name, action, *owner, found in host.rows(connection, "FROM ir_ui_menu m\n")
    ]


@pytest.fixture
def call(host, capsys):
    def run(*, check=False, fails=False, **options):
        arguments = {"config": "/etc/odoo/main.conf", "_ansible_check_mode": check, **options}
        with patch_module_args(arguments), pytest.raises(SystemExit) as left:
            odoo_integrity_info.main()
        result = json.loads(capsys.readouterr().out)
        assert (left.value.code != 0) is fails, result
        return result

    return run


def test_a_sound_database(host, call):
    result = call()
    assert (result["sound"], result["findings"], result["changed"]) == (True, [], False)
    assert result["checked"] == {
        "modules": 2,
        "menus": 1,
        "client_actions": 2,
        "scripts": 1,
        "handlers": 2,
        "xmlids": 3,
        "scheduled_actions": 1,
        "attachments": 1,
    }
    assert result["filestore"]["files"] == 1
    assert result["filestore"]["bytes"] == result["filestore"]["hashed_bytes"] == len(PICTURE)
    assert "READ ONLY" in host.asked[0]
    assert not any(re.search(r"\b(INSERT|UPDATE|DELETE)\b", text) for text in host.asked)


def test_only_what_is_wanted_is_looked_at(host, call):
    result = call(checks=["menus"])
    assert (result["checked"], result["counts"]) == ({"menus": 1}, {"menus": 0})
    assert "filestore" not in result
    assert not any("ir_attachment" in text or "ir_cron" in text for text in host.asked)


def test_a_client_action_without_a_handler(host, call):
    host.script("web", REGISTER.format("reload"))
    [found] = call(checks=["client_actions"])["client_actions"]
    assert (found["key"], found["module"], found["ids"]) == ("client_action:board", "web", [2])
    assert found["steps"] == ["update", "regenerate_assets", "correct_code"]
    host.script("extra", REGISTER.format("board"))
    [found] = call(checks=["client_actions"])["client_actions"]
    assert found["steps"] == ["install"]


@pytest.mark.parametrize(("tag", "reinstall"), [("reload", True), ("board", False)])
def test_reinstalling_is_a_remedy_only_where_the_code_declares_something_else(host, call, tag, reinstall):
    host.script("web", REGISTER.format("reload"))
    host.answers["FROM ir_act_client a"][1] = (2, "board", "Board", "web", "b", True, False, 1)
    record = f'<odoo><record id="b" model="ir.actions.client"><field name="tag">{tag}</field></record></odoo>'
    (host.path / "web" / "views.xml").write_text(record)
    [found] = call(checks=["client_actions"])["client_actions"]
    assert ("reinstall" in found["steps"], "correct_code" in found["steps"]) == (reinstall, not reinstall)


def test_a_registration_that_cannot_be_told_is_said(host, call):
    host.script(
        "web", REGISTER.format("reload") + 'for (const tag of ["board"]) { registry.category("actions").add(tag, X) }'
    )
    result = call(checks=["client_actions"])
    assert result["sound"]
    assert result["unchecked"]["registrations"] == ["/web/static/src/x.js:1"]


@pytest.mark.parametrize("stored", [True, False])
def test_a_script_that_is_an_attachment(host, call, stored):
    script = REGISTER.format("board").encode()
    host.script("web", REGISTER.format("reload"))
    host.answers["FROM ir_asset"] = [("web.assets_backend", None, "/imported/static/src/y.js", "", 16)]
    sha1 = hashlib.sha1(script).hexdigest()  # noqa: S324
    if stored:
        path = host.path / "filestore" / "main" / sha1[:2] / sha1
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(script)
    upload = (
        "/imported/static/src/y.js",
        f"{sha1[:2]}/{sha1}" if stored else None,
        None if stored else memoryview(script),
    )
    host.answers["db_datas"] = [upload]
    assert call(checks=["client_actions"])["sound"]


def test_a_missing_file_is_a_finding_unless_odoo_replaced_it_meanwhile(host, call):
    host.file.unlink()
    result = call(checks=["attachments"])
    assert [found["key"] for found in result["attachments"]] == [f"attachment:{STORED}"]
    host.answers["unnest"] = []
    assert call(checks=["attachments"])["sound"]


def test_accepted_findings_do_not_make_it_unsound(host, call):
    host.file.unlink()
    result = call(checks=["attachments"], ignore=["attachment:*"])
    assert (result["sound"], result["counts"], len(result["accepted"])) == (True, {"attachments": 0}, 1)


@pytest.mark.parametrize(("filestore", "unmatched"), [("hashes", ["attachment:x", "menu:x"]), ("files", ["menu:x"])])
def test_accepting_what_is_not_there_is_said(host, call, monkeypatch, filestore, unmatched):
    warnings = []
    monkeypatch.setattr(odoo_integrity_info.AnsibleModule, "warn", lambda _module, text: warnings.append(text))
    ignore = ["attachment:x", "menu:x", "xmlid:x"]
    result = call(checks=["attachments", "menus"], filestore=filestore, ignore=ignore)
    assert (result["sound"], result["unmatched_ignores"]) == (True, unmatched)
    assert [", ".join(unmatched) in text for text in warnings] == [True]
    host.file.unlink()
    result = call(checks=["attachments"], ignore=[f"attachment:{STORED}"])
    assert (result["unmatched_ignores"], len(warnings)) == ([], 1)


def test_long_lists_are_cut_and_counted(host, call, monkeypatch):
    monkeypatch.setattr(odoo_integrity_info, "SHOWN", 2)
    menu = host.answers["ir_ui_menu m\n"][0]
    host.answers["ir_ui_menu m\n"] = [(number, *menu[1:7], False) for number in range(5)]
    result = call(checks=["menus"])
    assert (len(result["findings"]), len(result["menus"]), result["counts"]) == (2, 2, {"menus": 5})


def test_findings_of_one_module_are_not_cut_off_by_those_of_others(host, call, monkeypatch):
    monkeypatch.setattr(odoo_integrity_info, "SHOWN", 2)
    menu = host.answers["ir_ui_menu m\n"][0]
    modules = ("web", "web", "", "gone", "base")
    host.answers["ir_ui_menu m\n"] = [
        (number, *menu[1:3], module, *menu[4:7], False) for number, module in enumerate(modules)
    ]
    result = call(checks=["menus"], modules=["base", "gone"], ignore=["menu:web.*"])
    assert [found["module"] for found in result["findings"]] == ["gone", "base"]
    assert (result["sound"], result["counts"], result["accepted"]) == (False, {"menus": 2}, [])
    assert call(checks=["menus"], modules=["extra"])["sound"]
    assert "Odoo knows no module nowhere" in call(checks=["menus"], modules=["base", "nowhere"], fails=True)["msg"]


def test_a_base_that_was_not_updated_explains_late_jobs(host, call):
    host.answers["FROM ir_cron"] = [(1, "Job", "base", "job", 9999.0, 0, "")]
    assert call(checks=["scheduled_actions"])["findings"][0]["steps"] == ["start_service"]
    host.records["base"] = Record("base", "installed", version="19.0.1.2")
    [found] = call(checks=["scheduled_actions"])["findings"]
    assert found["steps"] == ["update"]
    assert "the database has version 19.0.1.2, the code 19.0.1.3" in found["remedy"]


@pytest.mark.parametrize(
    ("question", "check", "words"),
    [
        ("ir_ui_menu m\n", "menus", "no menu with an action at all"),
        ("FROM ir_act_client a", "client_actions", "no client action at all"),
        ("FROM ir_cron", "scheduled_actions", "no active scheduled action at all"),
    ],
)
def test_an_empty_registry_is_a_failure(host, call, question, check, words):
    host.answers[question] = []
    assert words in call(checks=[check], fails=True)["msg"]


def test_no_external_identifier_is_a_failure(host, call):
    host.answers["pg_class"] = [(["res_partner"], None)]
    assert "no external identifier at all" in call(checks=["xmlids"], fails=True)["msg"]


@pytest.mark.parametrize("text", ["", "// " + REGISTER.format("reload")])
def test_a_web_client_without_any_handler_is_a_failure(host, call, text):
    host.script("web", text)
    assert (
        "Not one handler of a client action was found in 1 scripts"
        in call(checks=["client_actions"], fails=True)["msg"]
    )


def test_a_failed_query_is_a_failure(host, call):
    host.answers["FROM ir_cron"] = SlipwayError("Database 'main': relation does not exist")
    assert call(fails=True)["msg"] == "Database 'main': relation does not exist"


def test_no_filestore_is_a_failure(host, call):
    host.config = OdooConfig(path="/etc/odoo/main.conf", db_names=("main",), data_dir=str(host.path / "nowhere"))
    assert "There is no filestore" in call(checks=["attachments"], fails=True)["msg"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ignore": ["crm.menu"]}, "fits no finding"),
        ({"ignore": ["client_actions:x"]}, "The kinds are attachment, client_action, menu,"),
        ({"checks": []}, "checks is empty"),
        ({"overdue_minutes": -1}, "must not be negative"),
        ({"checks": ["everything"]}, "value of checks must be one or more of"),
        ({"filestore": "some"}, "value of filestore must be one of"),
    ],
)
def test_bad_input_is_refused(host, call, options, words):
    assert words in call(fails=True, **options)["msg"]
    assert host.asked == []


def test_too_early_in_check_mode_is_no_failure(host, call):
    host.fault = NotReadyError("There is no configuration file")
    result = call(check=True)
    assert (result["changed"], result["assumed"]) == (False, True)
    assert "There is no configuration file" in call(fails=True)["msg"]
