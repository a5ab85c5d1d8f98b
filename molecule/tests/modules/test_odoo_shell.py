"""Scripts run in a real odoo shell: what goes in and out, what is committed, what a failure tells."""

from __future__ import annotations

import base64
import pathlib
import re
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

Instance = Any  # conftest.Instance
ROOT = pathlib.Path(__file__).resolve().parents[3]
FILES = ROOT / "playbooks" / "files"
VAULT = ROOT / ".venv/bin/ansible-vault"
TITLE = 'env["ir.config_parameter"].set_param("slipway.title", payload)'


@pytest.fixture(scope="module")
def instance(make_instance: Callable[[str], Instance]) -> Instance:
    return make_instance("mod_odoo_shell")


def title(instance: Instance) -> list[list[str]]:
    found: list[list[str]] = instance.sql("SELECT value FROM ir_config_parameter WHERE key = 'slipway.title'")
    return found


def signals(instance: Instance) -> int:
    return int(instance.sql("SELECT last_value FROM orm_signaling_stable_id_seq")[0][0]) + int(
        instance.sql("SELECT last_value FROM orm_signaling_default_id_seq")[0][0]
    )


def test_committed_with_json_both_ways_and_running_processes_are_told(instance: Instance) -> None:
    source = f"print('noise')\n{TITLE}\nresult = {{'in': payload, 'list': [1, None]}}\nchanged = True"
    before = signals(instance)
    done = instance.call("odoo_shell", source=source, payload="Größe")
    assert (done["result"], done["changed"], done["committed"]) == ({"in": "Größe", "list": [1, None]}, True, True)
    assert done["stdout"] == "noise\n"
    assert title(instance) == [["Größe"]]
    assert signals(instance) > before


def test_rolled_back(instance: Instance) -> None:
    before = title(instance)
    done = instance.call("odoo_shell", source=f"{TITLE}\nresult = 1", payload="other", commit=False)
    assert (done["result"], done["changed"], title(instance)) == (1, False, before)
    done = instance.call("odoo_shell", source=f"{TITLE}\nchanged = True", payload="other", commit=False)
    assert (done["changed"], done["committed"], title(instance)) == (False, False, before)
    planned = instance.call("odoo_shell", check=True, source=TITLE, payload="other", run_in_check_mode=True)
    assert (planned["changed"], planned["committed"], title(instance)) == (True, False, before)
    logs = instance.logs()
    planned = instance.call("odoo_shell", check=True, source=TITLE, payload="other")
    assert (planned["changed"], planned["ran"], instance.logs()) == (True, False, logs)


def test_a_failure_names_the_line_and_commits_nothing(instance: Instance) -> None:
    before = title(instance)
    source = (
        f"def work():\n    {TITLE}\n    env['res.partner'].create({{'no_such_field': secret_payload['key']}})\n\nwork()"
    )
    failed = instance.call("odoo_shell", source=source, payload="lost", secret_payload={"key": "hush-hush"}, fails=True)
    assert "Invalid field 'no_such_field'" in failed["msg"]
    assert (failed["line"], title(instance)) == (3, before)
    assert failed["traceback"]
    failed = instance.call(
        "odoo_shell", source="raise ValueError(secret_payload['key'])", secret_payload={"key": "hush-hush"}, fails=True
    )
    assert "hush-hush" not in str(failed)
    assert instance.host.run("grep -r hush-hush %s", instance.log_directory).rc == 1


def test_scripts_on_the_controller_and_on_the_target(instance: Instance, tmp_path: pathlib.Path) -> None:
    script = tmp_path / "ask me.py"
    script.write_text("result = env.cr.dbname")
    assert instance.call("odoo_shell", src=str(script), commit=False)["result"] == instance.name
    instance.write("../ask.py", "result = env.user.id\nchanged = False")
    target = f"{instance.addons}/../ask.py"
    assert instance.call("odoo_shell", src=target, remote_src=True)["result"] == 1
    assert "cannot be read on the controller" in instance.call("odoo_shell", src="none.py", fails=True)["msg"]


def test_a_script_out_of_a_vault_is_shown_nowhere(
    instance: Instance, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "password").write_text("right horse")
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", str(tmp_path / "password"))
    clear = "TOKEN = 'modhushmod'\nresult = len(TOKEN)\nif payload:\n    raise ValueError('no')"
    script = tmp_path / "secret.py"

    def logged(pattern: str) -> int:
        return int(instance.host.run("journalctl -t ansible-slipway.odoo.odoo_shell --since=-10min -g %s", pattern).rc)

    def call(text: str, **arguments: Any) -> dict[str, Any]:
        script.write_text(text)
        subprocess.run([VAULT, "encrypt", script], check=True, capture_output=True)
        done: dict[str, Any] = instance.call("odoo_shell", src=str(script), commit=False, **arguments)
        # What -vvv shows of the call.
        assert done["invocation"]["module_args"]["source"] is None
        packed = base64.b64encode(text.encode()).decode()
        assert not re.search(f"modhushmod|{re.escape(packed)}", str(done))
        assert logged(f"modhushmod|{re.escape(packed)}") == 1
        return done

    assert call(clear)["result"] == 10
    failed = call(clear, payload=1, fails=True)
    assert (failed["line"], failed["traceback"][-1]) == (4, "ValueError: no")
    # However short a script is, nothing else is masked.
    assert call("result=1")["log_file"].startswith(instance.log_directory)
    assert logged("script_base64=NOT_LOGGING_PARAMETER") == 0


def test_the_scripts_that_come_with_the_collection_tell_the_truth(instance: Instance) -> None:
    refresh = str(FILES / "refresh_module_list.py")
    instance.put_addons("slipway_depot")
    planned = instance.call("odoo_shell", check=True, src=refresh, run_in_check_mode=True)
    assert (planned["changed"], planned["result"]["added"]) == (True, ["slipway_depot"])
    done = instance.call("odoo_shell", src=refresh)
    assert (done["changed"], done["result"]) == (True, planned["result"])
    assert not instance.call("odoo_shell", src=refresh)["changed"]
    instance.edit("slipway_depot/__manifest__.py", '["web"]', '["web", "mail"]')
    done = instance.call("odoo_shell", src=refresh)
    assert (done["changed"], done["result"]) == (True, {"added": [], "rewritten": ["slipway_depot"]})
    regenerate = str(FILES / "regenerate_assets.py")
    done = instance.call("odoo_shell", src=regenerate)
    assert done["changed"]
    assert done["result"]["removed"] >= 1
    assert not instance.call("odoo_shell", src=regenerate)["changed"]
