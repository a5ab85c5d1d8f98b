# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Hand the text of a script on the controller to module odoo_shell."""

from __future__ import annotations

import base64
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Found by its name, which is the module's."""

    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Read the script where it lies on the controller, then run the module."""
        result = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        source = arguments.get("src")
        if source and arguments.get("source"):
            raise AnsibleActionFail("src and source are mutually exclusive")
        if source and not boolean(arguments.get("remote_src", False), strict=False):
            # Not as source: options are in the target's journal, and this script may come out of a vault.
            arguments["script_base64"] = base64.b64encode(self._read(source).encode()).decode()
        result.update(self._execute_module(module_args=arguments, task_vars=task_vars, wrap_async=self._task.async_val))
        return result

    def _read(self, source: str) -> str:
        """Find a script as ``ansible.builtin.script`` does, and decrypt it if it is a vault."""
        try:
            path = self._loader.get_real_file(self._find_needle("files", source), decrypt=True)
            with open(path, encoding="utf-8") as stream:
                return stream.read()
        except (AnsibleError, OSError, UnicodeDecodeError) as error:
            raise AnsibleActionFail(f"The script {source} cannot be read on the controller: {error}") from error
        finally:
            self._loader.cleanup_all_tmp_files()
