"""The script's way from the controller to the module."""

from __future__ import annotations

import base64
import types

import pytest
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible_collections.slipway.odoo.plugins.action.odoo_shell import ActionModule


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Run the action in a directory that holds ``files/x.py``; return the module's arguments."""
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "x.py").write_text("result = 'ä'\n")
    (tmp_path / "files" / "binary.py").write_bytes(b"\xff")
    loader = DataLoader()
    loader.set_basedir(str(tmp_path))
    seen = {}

    def execute(self, module_args, task_vars, wrap_async):
        seen.update(module_args)
        return {"changed": True}

    monkeypatch.setattr(ActionModule, "_execute_module", execute)

    def run(**arguments):
        task = types.SimpleNamespace(
            args=arguments,
            async_val=0,
            check_mode=True,
            diff=False,
            action="slipway.odoo.odoo_shell",
            get_search_path=lambda: [str(tmp_path)],
        )
        connection = types.SimpleNamespace(_shell=types.SimpleNamespace(tmpdir=None))
        play = types.SimpleNamespace(check_mode=True)
        action = ActionModule(task, connection, play, loader, None, None)
        assert action.run(task_vars={})["changed"] is True
        return seen

    return run


def test_a_script_on_the_controller_is_sent_as_text(call):
    sent = call(src="x.py", commit=False)
    assert base64.b64decode(sent.pop("script_base64")).decode() == "result = 'ä'\n"
    # Not in an option that is logged.
    assert sent == {"src": "x.py", "commit": False}


@pytest.mark.parametrize("arguments", [{"src": "/x.py", "remote_src": "yes"}, {"source": "pass"}, {}])
def test_everything_else_is_left_to_the_module(call, arguments):
    assert call(**arguments) == arguments


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"src": "x.py", "source": "pass"}, "src and source are mutually exclusive"),
        ({"src": "none.py"}, "The script none.py cannot be read on the controller"),
        ({"src": "binary.py"}, "The script binary.py cannot be read on the controller"),
    ],
)
def test_bad_scripts(call, arguments, words):
    with pytest.raises(AnsibleActionFail, match=words):
        call(**arguments)
