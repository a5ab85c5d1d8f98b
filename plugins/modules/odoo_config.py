#!/usr/bin/python
# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write the configuration file of an Odoo instance."""

from __future__ import annotations

DOCUMENTATION = r"""
module: odoo_config
short_description: Write the configuration file of an Odoo instance
version_added: 0.1.0
description:
  - Writes C(odoo.conf) from options that were checked against what this version of Odoo knows, so that a misspelt
    option is refused instead of ignored.
  - The difference it shows names the secret options that change, never their values.
  - The section C([slipway]), which Odoo skips, tells the other modules of this collection how the instance is run.
author: Slipway contributors (@slipway)
attributes:
  check_mode:
    support: full
    description: Tells what would change, and refuses what would be refused.
  diff_mode:
    support: full
    description: Shows the file before and after with the secret values replaced.
  idempotent:
    support: full
    description: Writes only what differs.
extends_documentation_fragment:
  - ansible.builtin.files
options:
  path:
    description: Path of the configuration file.
    type: path
    required: true
  version:
    description: Series of Odoo whose options are known.
    type: str
    required: true
  options:
    description: Options and their values. Lists are joined with commas.
    type: dict
    required: true
  secrets:
    description: Options whose values must not be shown, over O(options).
    type: dict
    default: {}
  slipway:
    description: Keys of the section C([slipway]).
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Write the configuration
  slipway.odoo.odoo_config:
    path: /etc/odoo/main.conf
    version: "19.0"
    options:
      db_name: main
      db_user: odoo-main
      workers: 4
      list_db: false
    secrets:
      db_password: "{{ vault_main_database_password }}"
    slipway:
      odoo_bin: /usr/bin/odoo
      user: odoo-main
    owner: odoo-main
    group: root
    mode: "0400"
"""

RETURN = r"""
problems:
  description: What is wrong with the options; not empty only when the module fails.
  returned: always
  type: list
  elements: str
"""

import os
import tempfile

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.odoo.plugins.module_utils import odoo_options

MASK = "********"


def read(path: str) -> str:
    """Text of the file as it is, empty where there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def masked(text: str, *, changed: set[str], secret: set[str]) -> str:
    """The text with the values of secret options replaced; a value that changes looks different before and after."""
    lines = []
    for line in text.splitlines(keepends=True):
        key = line.partition("=")[0].strip()
        lines.append(f"{key} = {MASK}{' (changes)' if key in changed else ''}\n" if key in secret else line)
    return "".join(lines)


def values(text: str, *, keys: set[str]) -> dict[str, str]:
    """Values of some options in a configuration text."""
    pairs = (line.partition("=") for line in text.splitlines() if not line.lstrip().startswith((";", "#")))
    return {key.strip(): value.strip() for key, _separator, value in pairs if key.strip() in keys}


def write(module: AnsibleModule, *, path: str, text: str) -> None:
    """Replace the file in one step; readable by root alone until its owner is set."""
    if not os.path.exists(path):
        # A file that is new here would be readable by all until its mode is set.
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    handle, temporary = tempfile.mkstemp(dir=module.tmpdir)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    module.atomic_move(temporary, path)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "version": {"type": "str", "required": True},
            "options": {"type": "dict", "required": True},
            "secrets": {"type": "dict", "default": {}, "no_log": True},
            "slipway": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
        add_file_common_args=True,
    )
    path, wanted = module.params["path"], {**module.params["options"], **module.params["secrets"]}
    problems = odoo_options.config_problems(wanted, module.params["version"])
    if problems:
        module.fail_json(msg=f"{path} is not written: {'; '.join(problems)}", problems=problems)
    before = read(path)
    after = odoo_options.render_config(wanted, module.params["slipway"])
    secret = set(module.params["secrets"])
    old, new = values(before, keys=secret), values(after, keys=secret)
    changing = {key for key in secret if old.get(key) != new.get(key)}
    changed = before != after
    if changed and not module.check_mode:
        write(module, path=path, text=after)
    attributes = module.load_file_common_arguments(module.params, path=path)
    changed = module.set_fs_attributes_if_different(attributes, changed)
    diff = {
        "before_header": path,
        "after_header": path,
        "before": masked(before, changed=set(), secret=secret),
        "after": masked(after, changed=changing, secret=secret),
    }
    module.exit_json(changed=changed, problems=[], diff=diff)


if __name__ == "__main__":
    main()
