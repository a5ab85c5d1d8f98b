"""The modules for an Odoo instance from option to result, with stand-ins for the database and for Odoo."""

from __future__ import annotations

import base64
import contextlib
import json
import types

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.slipway.odoo.plugins.module_utils import odoo_session, odoo_setup
from ansible_collections.slipway.odoo.plugins.module_utils.errors import NotReadyError, SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_cli import Answer, OdooRun
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_config import OdooConfig
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_content import Changes
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_db import FREE, ODOO, Overview
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_install import Outcome
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_manifest import Disk, Manifest
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_password import password_hash
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_plan import Known
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_removal import Losses, Removal
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_session import Session
from ansible_collections.slipway.odoo.plugins.modules import (
    odoo_database,
    odoo_mail_server,
    odoo_module,
    odoo_parameter,
    odoo_shell,
)

CONFIG = OdooConfig(path="/etc/odoo/main.conf", db_names=("main",), user="odoo-main")
PASSWORD = "adm1n-secret"
DISK = Disk(
    series="19.0",
    directories=("/addons",),
    manifests={
        "base": Manifest("base", "/addons/base", auto_install=frozenset()),
        "web": Manifest("web", "/addons/web", depends=("base",), auto_install=frozenset(["base"])),
        "crm": Manifest("crm", "/addons/crm", depends=("web",)),
    },
)


CONTENT = object()


class Host:
    """What the modules see of a host, and what they did to it, in order."""

    def __init__(self):
        self.overview = Overview(kind=FREE)
        self.started_empty = False
        self.admin = None
        self.tables = {}
        self.faults = []
        self.done = []
        self.shells = []
        self.changes = Changes()
        self.compared = []
        self.losses = Losses()
        self.says = None
        self.warned = []
        self.run = OdooRun(code=0, log_file="/var/log/odoo/main/x.log", errors=("an ERROR line",))

    @contextlib.contextmanager
    def open_session(self, params, *, database):
        for fault in self.faults:
            raise fault
        yield Session(CONFIG, params[database] or "main", self)

    @contextlib.contextmanager
    def lock(self, _connection, *, wait):
        self.done.append(f"lock {wait}")
        yield
        self.done.append("unlock")

    def states(self, _connection, _database):
        return dict(self.overview.modules)

    def carry_out(self, _connection, _config, database, plan, *, disk, at_least=(), extra=(), timeout):
        assert disk is DISK
        self.done.append(("modules", database, tuple(plan.install), tuple(at_least), tuple(extra), timeout))
        states = {**self.overview.modules, **plan.after(), **dict.fromkeys(at_least, "installed")}
        self.overview = Overview(kind=ODOO, unfinished=self.overview.unfinished, modules=states)
        return Outcome(states=states, content=CONTENT, installed=tuple(sorted(plan.install)), run=self.run)

    def record(self, _connection, disk, content):
        assert (disk, content) == (DISK, CONTENT)
        self.done.append("record")

    def known(self, _connection):
        return {name: Known(state, "19.0.1.0") for name, state in self.overview.modules.items()}

    def find_changes(self, _connection, disk, _known, names, *, adopt, force):
        assert disk is DISK
        self.compared.append((names, adopt, force))
        return self.changes

    def carry_out_removal(self, _connection, _config, database, plan, _losses, *, disk, timeout):
        assert disk is DISK
        self.done.append(("remove", database, plan.remove, timeout))
        states = {**self.overview.modules, **dict.fromkeys(plan.remove, "uninstalled")}
        self.overview = Overview(kind=ODOO, modules=states)
        return Removal(states, (), self.run)

    def run_source(self, _config, database, source, payload, **options):
        self.done.append(f"shell {database}")
        self.shells.append((source, payload, options))
        return Answer(result=["said"], changed=self.says, printed="hello", run=self.run)

    def run_shell(self, _config, database, source, payload, **options):
        self.done.append(f"shell {database}")
        self.shells.append((source, payload, options))
        if source is odoo_setup.FINISH:
            self.overview = Overview(kind=ODOO, modules=self.overview.modules)
            self.admin = odoo_setup.Admin(2, payload["login"], password_hash(payload["password"], "seed", rounds=1))
        elif source is odoo_setup.CHANGE:
            values = payload["values"]
            stored = password_hash(values["password"], "seed", rounds=1) if "password" in values else self.admin.stored
            self.admin = odoo_setup.Admin(2, values.get("login", self.admin.login), stored)
        elif source is odoo_parameter.SOURCE:
            self.tables["parameters"].update(payload["write"])
            for key in payload["remove"]:
                del self.tables["parameters"][key]
        elif source is odoo_mail_server.SOURCE:
            for values in payload["create"]:
                self.tables["mail"].append({"id": len(self.tables["mail"]) + 1, **values})
            for server_id, values in payload["change"]:
                next(record for record in self.tables["mail"] if record["id"] == server_id).update(values)
        return True

    def rows(self, _connection, query, values=None):
        if "ir_config_parameter" in query:
            return [item for item in self.tables["parameters"].items() if item[0] in values[0]]
        if "ir_model_fields_selection" in query:
            return [("none",), ("starttls",), ("starttls_strict",)]
        return [(record,) for record in self.tables["mail"]]


@pytest.fixture
def host(monkeypatch):
    host = Host()

    def note(word):
        return lambda *_args, **_options: host.done.append(word)

    for module in (odoo_database, odoo_mail_server, odoo_module, odoo_parameter, odoo_shell):
        for name, value in {
            "open_session": host.open_session,
            "require_odoo": host.states,
            "read_disk": lambda _config: DISK,
            "read_company_countries": lambda _connection: (),
            "module_lock": host.lock,
            "wait_for_writers": note("wait for writers"),
            "require_runnable": note("runnable"),
            "carry_out": host.carry_out,
            "read_known": host.known,
            "find_changes": host.find_changes,
            "record": host.record,
            "still_connected": lambda connection, _config, _database: contextlib.nullcontext(connection),
            "read_losses": lambda _connection, _names: host.losses,
            "carry_out_removal": host.carry_out_removal,
            "run_source": host.run_source,
            "run_shell": host.run_shell,
            "read_overview": lambda _connection: host.overview,
            "rows": host.rows,
        }.items():
            if hasattr(module, name):
                monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(AnsibleModule, "warn", lambda _module, text: host.warned.append(text))
    monkeypatch.setattr(odoo_setup, "read_admin", lambda _connection: host.admin)
    monkeypatch.setattr(odoo_setup, "read_started_empty", lambda _connection: host.started_empty)
    monkeypatch.setattr(
        odoo_setup, "set_marker", lambda _connection, *, was_empty: host.done.append(f"marker {was_empty}")
    )
    monkeypatch.setattr(odoo_setup, "wipe", note("wipe"))
    return host


@pytest.fixture
def call(capsys):
    def run(module, check=False, **options):
        arguments = {
            "config": "/etc/odoo/main.conf",
            "_ansible_check_mode": check,
            "_ansible_diff": True,
            **options,
        }
        with patch_module_args(arguments), pytest.raises(SystemExit) as left:
            module.main()
        output = capsys.readouterr().out
        result = json.loads(output)
        result.pop("invocation", None)
        assert PASSWORD not in json.dumps(result)
        return result, left.value.code

    return run


def database(call, check=False, **options):
    return call(odoo_database, check, **{"admin_password": PASSWORD, **options})


def test_an_empty_database_is_initialised(host, call):
    result, code = database(call, modules=["web"], language="de_AT", country="at")
    assert code == 0
    assert host.done == [
        "runnable",
        "lock 600",
        "wait for writers",
        "marker True",
        (
            "modules",
            "main",
            ("base", "web"),
            ("base", "web"),
            ("--without-demo=True", "--load-language=de_AT"),
            3600,
        ),
        "shell main",
        "record",
        "unlock",
    ]
    _source, payload, options = host.shells[0]
    assert payload == {
        "login": "admin",
        "password": PASSWORD,
        "language": "de_AT",
        "country": "AT",
    }
    assert options["secrets"] == [PASSWORD]
    assert result["changed"] is True
    assert (result["found"], result["installed"], result["admin_changed"]) == ("empty", ["base", "web"], True)
    assert result["log_file"] == "/var/log/odoo/main/x.log"
    assert result["log_errors"] == ["an ERROR line"]
    host.done.clear()
    again, code = database(call, modules=["web"], language="de_AT", country="at")
    assert (again["changed"], again["found"], code, host.done) == (False, "initialised", 0, [])


def test_check_mode_says_the_same_and_does_nothing(host, call):
    result, code = database(call, check=True)
    assert (code, result["changed"], host.done) == (0, True, [])
    assert result["installed"] == ["base", "web"]
    assert result["diff"]["after"]["database"] == "initialised"


def test_an_unfinished_attempt_is_done_again(host, call):
    host.overview = Overview(kind=ODOO, unfinished=True, modules={"base": "installed", "web": "installed"})
    result, code = database(call)
    assert (code, result["found"], result["changed"]) == (0, "unfinished", True)
    assert ("modules", "main", (), ("base", "web"), ("--without-demo=True",), 3600) in host.done
    assert "wipe" not in host.done


def test_debris_is_wiped_first(host, call):
    host.overview = Overview(kind=ODOO, relations=("ir_module_module",), modules={"base": "to install"})
    database(call)
    assert host.done.index("marker False") < host.done.index("wipe")
    assert next(step for step in host.done if step[0] == "modules")[2] == ("base", "web")


def test_a_password_that_differs_is_set_and_nothing_else(host, call):
    host.overview = Overview(kind=ODOO, modules={"base": "installed", "web": "installed"})
    host.admin = odoo_setup.Admin(2, "admin", password_hash("another", "seed", rounds=1))
    result, code = database(call)
    assert code == 0
    assert host.shells[0][1] == {"id": 2, "values": {"password": PASSWORD}}
    assert host.done == ["runnable", "lock 600", "shell main", "unlock"]
    assert result["diff"]["after"] == {"admin_password": "(the given one)"}
    host.done.clear()
    result, _code = database(call, admin_login="chef", check=True)
    assert (result["changed"], host.done) == (True, [])
    database(call, admin_login="chef")
    assert host.shells[-1][1] == {"id": 2, "values": {"login": "chef"}}


def test_on_create_does_not_look_at_the_password(host, call, monkeypatch):
    host.overview = Overview(kind=ODOO, modules={"base": "installed", "web": "installed"})
    monkeypatch.setattr(odoo_database, "verify_password", lambda *_a: pytest.fail("costs half a second"))
    result, code = database(call, update_admin_password="on_create")
    assert (result["changed"], code) == (False, 0)


def test_a_password_that_odoo_did_not_keep_is_a_failure(host, call, monkeypatch):
    host.overview = Overview(kind=ODOO, modules={"base": "installed", "web": "installed"})
    host.admin = odoo_setup.Admin(2, "admin", "")
    monkeypatch.setattr(odoo_database, "run_shell", lambda *_a, **_o: True)
    result, code = database(call)
    assert code == 1
    assert "did not keep the administrator's log-in or password" in result["msg"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"admin_login": ""}, "must not be empty"),
        ({"language": "deutsch!"}, "language must be a code"),
        ({"country": "AUT"}, "country must be a code of two letters"),
    ],
)
def test_bad_input_fails_before_anything_is_looked_at(host, call, options, words):
    host.faults = [AssertionError("looked")]
    result, code = database(call, **options)
    assert code == 1
    assert words in result["msg"]


CALLS = [
    (odoo_database, {"admin_password": PASSWORD}, "Would make sure that Odoo is in the database"),
    (odoo_module, {"names": ["crm", "web"]}, "Would install modules crm, web."),
    (odoo_parameter, {"parameters": {"b": 1}, "absent": ["a"]}, "Would set system parameters a, b."),
    (odoo_mail_server, {"servers": [{"name": "relay", "host": "mx"}]}, "Would set mail servers relay."),
    (odoo_module, {"names": ["*"], "state": "latest"}, "Would install or update modules *."),
    (odoo_module, {"names": ["crm"], "state": "absent"}, "Would remove modules crm."),
    (odoo_shell, {"source": "pass"}, "Would run a script in odoo shell."),
]


@pytest.mark.parametrize(("module", "options", "words"), CALLS)
def test_on_a_bare_host_check_mode_predicts_and_a_run_fails(host, call, module, options, words):
    host.faults = [NotReadyError("There is no configuration file /etc/odoo/main.conf")]
    result, code = call(module, check=True, **options)
    assert (code, result["changed"], result["assumed"]) == (0, True, True)
    assert result["msg"].startswith(words)
    assert "There is no configuration file" in result["msg"]
    result, code = call(module, **options)
    assert (code, result["msg"]) == (1, "There is no configuration file /etc/odoo/main.conf")


@pytest.mark.parametrize(("module", "options", "_words"), CALLS)
def test_other_faults_fail_in_check_mode_too_with_their_details(host, call, module, options, _words):
    host.faults = [SlipwayError("broken", log_file="/x.log", changed=True)]
    result, code = call(module, check=True, **options)
    assert (code, result["msg"], result["log_file"], result["changed"]) == (1, "broken", "/x.log", True)


def test_modules_are_planned_installed_and_then_left_alone(host, call):
    host.overview = Overview(kind=ODOO, modules={"base": "installed", "web": "installed", "crm": "uninstalled"})
    planned, _code = call(odoo_module, check=True, names=["crm", "crm"])
    assert host.done == []
    result, code = call(odoo_module, names=["crm", "crm"], timeout=60, wait=5)
    assert code == 0
    assert planned["installed"] == result["installed"] == ["crm"]
    assert planned["states"] == {"crm": "uninstalled"}
    assert result["states"] == {"crm": "installed"}
    assert planned["diff"] == result["diff"] == {"before": {"crm": "uninstalled"}, "after": {"crm": "installed"}}
    assert host.done == ["runnable", "lock 5", ("modules", "main", ("crm",), (), (), 60), "unlock"]
    host.done.clear()
    result, _code = call(odoo_module, name=["crm"])
    assert (result["changed"], host.done) == (False, [])


def test_the_disk_is_read_only_when_something_is_missing(host, call, monkeypatch):
    host.overview = Overview(kind=ODOO, modules={"base": "installed"})
    monkeypatch.setattr(odoo_module, "read_disk", lambda _config: pytest.fail("the disk was read"))
    assert call(odoo_module, names=["base"])[0]["changed"] is False


def test_leftovers_are_only_taken_for_such_when_nobody_writes(host, call):
    host.overview = Overview(kind=ODOO, modules={"base": "installed", "web": "to install"})
    result, code = call(odoo_module, names=["base"])
    assert code == 0
    assert result["repaired"] == ["web"]
    assert host.done[:3] == ["runnable", "lock 600", "wait for writers"]


def test_a_run_that_waited_for_another_one_finds_the_work_done(host, call, monkeypatch):
    host.overview = Overview(kind=ODOO, modules={"base": "installed", "web": "installed"})

    @contextlib.contextmanager
    def lock(_connection, *, wait):
        host.overview = Overview(kind=ODOO, modules={**host.overview.modules, "crm": "installed"})
        yield

    monkeypatch.setattr(odoo_module, "module_lock", lock)
    monkeypatch.setattr(
        odoo_module,
        "carry_out",
        lambda *_a, **_o: pytest.fail("there was nothing left to do"),
    )
    result, code = call(odoo_module, names=["crm"])
    assert (code, result["changed"], result["states"]) == (0, False, {"crm": "installed"})


def test_unknown_modules_are_named(host, call):
    host.overview = Overview(kind=ODOO, modules={"base": "installed"})
    result, code = call(odoo_module, names=["crn"], check=True)
    assert (code, result["unknown_modules"], host.done) == (1, ["crn"], [])


WEB = {"base": "installed", "web": "installed", "crm": "installed"}


def test_latest_updates_what_changed_and_warns_of_what_it_passes_over(host, call):
    host.overview = Overview(kind=ODOO, modules=WEB)
    host.changes = Changes(reasons={"web": "its content differs"}, adopt=("base", "crm"), passed_over=("x is gone",))
    planned, _code = call(odoo_module, check=True, names=["*"], state="latest")
    assert host.done == []
    result, code = call(odoo_module, names=["*"], state="latest", adopt=True)
    assert code == 0
    assert host.compared[0] == (["*"], False, False)
    assert host.compared[-1] == (["*"], True, False)
    assert planned["updated"] == result["updated"] == ["web", "crm"]
    assert result["reasons"] == {"web": "its content differs", "crm": "depends on web"}
    assert result["adopted"] == ["base"], "crm is updated"
    assert result["diff"]["after"]["web"] == "updated to 19.0.1.0"
    assert set(host.warned) == {"x is gone"}
    assert host.done[:3] == ["runnable", "lock 600", ("modules", "main", (), (), (), 3600)]


def test_latest_without_a_change_does_nothing(host, call):
    host.overview = Overview(kind=ODOO, modules=WEB)
    result, code = call(odoo_module, names=["*", "crm"], state="latest")
    assert (code, result["changed"], result["states"], host.done) == (0, False, {"crm": "installed"}, [])


def test_absent_needs_leave_and_tells_what_would_go(host, call):
    host.overview = Overview(kind=ODOO, modules=WEB)
    host.losses = Losses(records={"crm.lead": 7})
    for check in (True, False):
        result, code = call(odoo_module, check=check, names=["crm"], state="absent")
        assert (code, host.done) == (1, [])
        assert "removing crm takes along records: crm.lead 7" in result["msg"]
        assert (result["would_remove"], result["losses"]["records"]) == (["crm"], {"crm.lead": 7})
    planned, code = call(odoo_module, check=True, names=["crm"], state="absent", allow_data_loss=True)
    assert (code, planned["changed"], planned["removed"], host.done) == (0, True, ["crm"], [])
    result, code = call(odoo_module, names=["crm", "cram"], state="absent", allow_data_loss=True, timeout=9)
    assert (code, result["removed"], planned["diff"]) == (0, ["crm"], result["diff"])
    assert host.done == ["runnable", "lock 600", ("remove", "main", ("crm",), 9), "unlock"]
    assert result["states"] == {"crm": "uninstalled", "cram": "uninstalled"}
    assert "did you mean crm?" in host.warned[-1]
    host.done.clear()
    result, code = call(odoo_module, names=["crm"], state="absent")
    assert (code, result["changed"], host.done) == (0, False, [])


def test_absent_repairs_first(host, call):
    host.overview = Overview(kind=ODOO, modules={**WEB, "web": "to upgrade"})
    result, code = call(odoo_module, names=["crm"], state="absent", allow_data_loss=True)
    assert (code, result["repaired"], result["removed"]) == (0, ["web"], ["crm"])
    kinds = [step if isinstance(step, str) else step[0] for step in host.done]
    assert kinds == ["runnable", "lock 600", "wait for writers", "modules", "remove", "unlock"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"names": ["*"]}, "'*' goes with state: latest only, not with present"),
        ({"names": ["*"], "state": "absent"}, "not with absent"),
        ({"names": ["crm"], "adopt": True}, "adopt goes with state: latest only"),
        ({"names": ["crm"], "force": True}, "force goes with state: latest only"),
        ({"names": ["*"], "state": "latest", "force": True}, "force goes with names of modules only"),
        (
            {"names": ["crm"], "state": "latest", "allow_data_loss": True},
            "allow_data_loss goes with state: absent only",
        ),
    ],
)
def test_options_that_contradict_each_other(host, call, options, words):
    host.faults = [AssertionError("looked")]
    result, code = call(odoo_module, **options)
    assert code == 1
    assert words in result["msg"]


def test_a_script_is_run_and_says_what_it_did(host, call):
    payload = {"payload": [1], "secret_payload": {"a": ["hush-hush", {"b": "abc"}], "c": 5}}
    script = base64.b64encode(b"pass").decode()
    result, code = call(odoo_shell, script_base64=script, src="files/x.py", **payload)
    assert script not in str(result)
    source, sent, options = host.shells[0]
    assert (code, source, sent) == (0, "pass", [1])
    assert options["secret_payload"] == payload["secret_payload"]
    assert options["secrets"] == ["hush-hush"]
    assert (options["filename"], options["commit"], options["check_mode"]) == ("files/x.py", True, False)
    assert (result["result"], result["stdout"], result["ran"]) == (["said"], "hello", True)
    assert result["log_file"] == "/var/log/odoo/main/x.log"


@pytest.mark.parametrize(
    ("says", "options", "check", "changed", "committed"),
    [
        (None, {}, False, True, True),
        (True, {}, False, True, True),
        (False, {}, False, False, True),
        (None, {"commit": False}, False, False, False),
        (True, {"commit": False}, False, False, False),
        (None, {"run_in_check_mode": True}, True, True, False),
        (False, {"run_in_check_mode": True}, True, False, False),
    ],
)
def test_a_script_has_the_word_on_changed(host, call, says, options, check, changed, committed):
    host.says = says
    result, code = call(odoo_shell, check, source="pass", **options)
    assert (code, result["changed"], result["committed"]) == (0, changed, committed)
    assert host.shells[0][2]["commit"] is committed
    assert host.shells[0][2]["check_mode"] is check


@pytest.mark.parametrize("commit", [True, False])
def test_check_mode_runs_no_script_unless_told_to(host, call, commit):
    result, code = call(odoo_shell, check=True, source="pass", commit=commit)
    assert (code, result["changed"], result["ran"], host.shells) == (0, commit, False, [])
    assert "run_in_check_mode is not set" in result["msg"]


def test_a_script_on_the_target(host, call, tmp_path):
    script = tmp_path / "x.py"
    result, code = call(odoo_shell, src=str(script), remote_src=True)
    assert (code, result["msg"]) == (1, f"There is no script {script} on this host")
    assert call(odoo_shell, check=True, src=str(script), remote_src=True)[0]["assumed"] is True
    script.write_text(" ")
    assert call(odoo_shell, src=str(script))[0]["msg"] == "The script is empty"
    script.write_bytes(b"\xff")
    assert "cannot be read" in call(odoo_shell, src=str(script))[0]["msg"]
    script.write_text("result = 1")
    assert call(odoo_shell, src=str(script))[1] == 0
    assert host.shells[0][0] == "result = 1"
    assert "one of the following is required: src, source" in call(odoo_shell)[0]["msg"]


def test_parameters(host, call):
    host.tables["parameters"] = {"web.base.url": "http://localhost:8069", "old": "x"}
    options = {
        "parameters": {"web.base.url": "https://odoo.example.com", "web.base.url.freeze": True},
        "secret_parameters": {"quiet": "hush-hush"},
        "absent": ["old"],
    }
    planned, _code = call(odoo_parameter, check=True, **options)
    assert host.done == []
    result, code = call(odoo_parameter, **options)
    assert code == 0
    assert planned["diff"] == result["diff"]
    assert result["written"] == ["quiet", "web.base.url", "web.base.url.freeze"]
    assert result["removed"] == ["old"]
    assert host.shells[0][2]["secrets"] == ["hush-hush"]
    assert "hush-hush" not in json.dumps(result)
    assert host.tables["parameters"] == {
        "web.base.url": "https://odoo.example.com",
        "web.base.url.freeze": "True",
        "quiet": "hush-hush",
    }
    assert call(odoo_parameter, **options)[0]["changed"] is False


def test_a_parameter_that_odoo_did_not_keep_is_a_failure(host, call, monkeypatch):
    host.tables["parameters"] = {}
    monkeypatch.setattr(odoo_parameter, "run_shell", lambda *_a, **_o: True)
    result, code = call(odoo_parameter, parameters={"a": 1})
    assert (code, result["msg"]) == (1, "Odoo did not keep a")


def test_mail_servers(host, call):
    host.tables["mail"] = []
    options = {"servers": [{"name": "relay", "host": "mx", "user": "odoo", "password": "smtp-secret"}]}
    planned, _code = call(odoo_mail_server, check=True, **options)
    assert (planned["created"], host.done) == (["relay"], [])
    result, code = call(odoo_mail_server, **options)
    assert (code, result["created"]) == (0, ["relay"])
    assert "smtp-secret" not in json.dumps([planned, result])
    assert host.shells[0][2]["secrets"] == ["smtp-secret"]
    assert host.tables["mail"][0]["smtp_pass"] == "smtp-secret"
    assert call(odoo_mail_server, **options)[0]["changed"] is False
    options["servers"][0]["port"] = 2525
    assert call(odoo_mail_server, **options)[0]["updated"] == ["relay"]
    assert host.tables["mail"][0]["smtp_port"] == 2525


def test_an_encryption_that_this_odoo_does_not_know(host, call):
    host.tables["mail"] = []
    result, code = call(odoo_mail_server, servers=[{"name": "relay", "host": "mx", "encryption": "ssl_strict"}])
    assert code == 1
    assert "knows no encryption 'ssl_strict'" in result["msg"]


def test_a_session_closes_its_connection(monkeypatch):
    closed = []
    connection = types.SimpleNamespace(close=lambda: closed.append("closed"))
    monkeypatch.setattr(odoo_session, "load_config", lambda _path, odoo_bin, user: CONFIG)
    monkeypatch.setattr(odoo_session, "connect", lambda _config, _name: connection)
    params = {"config": "/x", "odoo_bin": None, "odoo_user": None, "database": None}
    with odoo_session.open_session(params, database="database") as session:
        assert (session.database, closed) == ("main", [])
    assert closed == ["closed"]
