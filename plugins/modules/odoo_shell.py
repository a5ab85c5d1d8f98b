#!/usr/bin/python
# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run a Python script inside odoo shell."""

from __future__ import annotations

DOCUMENTATION = r"""
module: odoo_shell
short_description: Run a Python script inside odoo shell
version_added: 0.1.0
description:
  - Runs a script with Odoo's environment in one database, for what no other module does. JSON goes in, JSON comes
    out, and everything that the script did is committed when it ends without an exception, or nothing is.
  - The script finds C(env) (as the superuser), C(payload), C(secret_payload) and C(check_mode), and may set
    C(result), which is anything that JSON can hold, and C(changed).
  - A script knows best whether it changed anything, so it should set C(changed) to C(True) or C(False).
    When it does not, it counts as a change. With O(commit=false) nothing does.
  - What the script prints is returned and does no harm. Script and payload reach Odoo through a pipe. Nothing
    of them is on a command line or in the environment.
  - As with every module the options are in the target's journal. Neither the text of a script that O(src) names
    nor O(secret_payload) is, so a script with secrets in it can be a vault.
  - After the commit the running processes of Odoo are told to drop what they had cached, which C(odoo shell)
    itself does not do.
  - When the script fails, the exception, the line of the script and the last lines of the traceback are
    returned, and nothing is committed but for what the script itself committed before.
options:
  src:
    description:
      - The script, on the controller. A relative path is looked for as M(ansible.builtin.script) does it, that is
        in C(files) beside the role or playbook.
      - Excludes O(source). One of both is required.
    type: str
  remote_src:
    description:
      - Whether O(src) lies on the target.
    type: bool
    default: false
  script_base64:
    description:
      - What O(src) names on the controller, read and decrypted there and sent so that no log shows it. The
        action plugin fills it, and nobody else needs to.
    type: str
  source:
    description:
      - The script's text. It is in the target's journal, so secrets belong in O(secret_payload).
    type: str
  database:
    description:
      - The database. C(db_name) of the configuration file when not given.
    type: str
  payload:
    description:
      - Anything that JSON can hold. The script finds it as C(payload).
    type: raw
  secret_payload:
    description:
      - Like O(payload), for what must not be shown. The script finds it as C(secret_payload).
      - Texts of four characters and more in it are taken out of the log and of the result.
    type: dict
    default: {}
  commit:
    description:
      - Whether to commit when the script ends without an exception. With V(false) everything is rolled back,
        and C(env.cr.commit) is an error.
    type: bool
    default: true
  run_in_check_mode:
    description:
      - Whether to run the script in check mode, too, and then roll back.
      - By default check mode runs nothing and reports a change, because a script may do what cannot be rolled
        back, such as send a mail, write a file or call another system. Set it for a script that does not, or that
        looks at C(check_mode) first.
    type: bool
    default: false
extends_documentation_fragment:
  - slipway.odoo.odoo
attributes:
  action:
    description: Has an action plugin of the same name, which reads the script on the controller.
    support: full
  async:
    description: Can be run with C(async).
    support: full
  check_mode:
    description: Can run in check mode, see O(run_in_check_mode).
    support: partial
    details: By default the script is not run, and a change is reported.
  diff_mode:
    description: Says what changed, or would change in check mode.
    support: none
  idempotent:
    description: A second run with the same options changes nothing.
    support: partial
    details: As far as the script is. Odoo is started each time.
notes:
  - Two ready-made scripts come with this collection. C(playbooks/files/refresh_module_list.py) reads the manifests
    into Odoo's list of modules. C(playbooks/files/regenerate_assets.py) throws the compiled bundles of JavaScript
    and CSS away.
  - To install, update or remove modules use M(slipway.odoo.odoo_module), which knows what may go wrong.
seealso:
  - module: slipway.odoo.odoo_module
  - module: slipway.odoo.odoo_parameter
author:
  - Slipway contributors (@slipway)
"""

EXAMPLES = r"""
# files/count_partners.py beside the playbook holds: result = env["res.partner"].search_count([])
- name: Run a script of your own
  slipway.odoo.odoo_shell:
    config: /etc/odoo/main.conf
    src: count_partners.py
    commit: false
    run_in_check_mode: true
  become: true
  register: partners

- name: Let Odoo see modules that are new on disk, with a script of this collection, installed beside the playbook
  slipway.odoo.odoo_shell:
    config: /etc/odoo/main.conf
    src: "{{ playbook_dir }}/collections/ansible_collections/slipway/odoo/playbooks/files/refresh_module_list.py"
    run_in_check_mode: true
  become: true

- name: Archive partners that nobody has touched for years
  slipway.odoo.odoo_shell:
    config: /etc/odoo/main.conf
    source: |
      partners = env["res.partner"].search([("write_date", "<", payload["before"]), ("user_ids", "=", False)])
      partners.active = False
      result = partners.ids
      changed = bool(partners)
    payload:
      before: "2015-01-01"
    run_in_check_mode: true
  become: true
  register: archived

- name: Give the key of a service to a record that has none
  slipway.odoo.odoo_shell:
    config: /etc/odoo/main.conf
    source: |
      provider = env.ref("delivery_acme.provider")
      changed = provider.api_key != secret_payload["key"]
      if changed:
          provider.api_key = secret_payload["key"]
    secret_payload:
      key: "{{ vault_acme_key }}"
  become: true

- name: Ask something without leaving a trace
  slipway.odoo.odoo_shell:
    config: /etc/odoo/main.conf
    source: result = env["res.users"].search_count([("share", "=", False)])
    commit: false
    run_in_check_mode: true
  become: true
  register: internal_users
"""

RETURN = r"""
database:
  description: The database.
  returned: unless RV(assumed)
  type: str
  sample: main
ran:
  description: Whether the script was run. In check mode it is not, unless O(run_in_check_mode=true).
  returned: unless RV(assumed)
  type: bool
  sample: true
committed:
  description: Whether what the script did was committed.
  returned: unless RV(assumed)
  type: bool
  sample: true
result:
  description: What the script set as C(result), or nothing.
  returned: when the script was run
  type: raw
  sample: {added: [], rewritten: []}
stdout:
  description: What the script printed.
  returned: when the script was run
  type: str
  sample: ""
log_file:
  description: The whole log of the run.
  returned: when the script was run
  type: str
  sample: /var/log/odoo/main/slipway-20260301T101500123456-shell.log
log_errors:
  description: Lines of that log with level ERROR or CRITICAL.
  returned: when the script was run, and did not fail
  type: list
  elements: str
  sample: []
line:
  description: The last line of the script that was being run when it failed.
  returned: when the script failed
  type: int
  sample: 3
traceback:
  description: The last lines of the traceback.
  returned: when the script failed
  type: list
  elements: str
  sample: ["Traceback (most recent call last):", "ValueError: boom"]
assumed:
  description: Present and true when check mode could not look, because something that an earlier task
    makes is missing.
  returned: in check mode, when it is too early
  type: bool
  sample: true
msg:
  description: What would be done, and why it was not done.
  returned: in check mode, when the script was not run, and on failure
  type: str
  sample: Would run regenerate_assets.py in odoo shell.
"""

import base64
from collections.abc import Iterator
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.odoo.plugins.module_utils.errors import NotReadyError, SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_cli import run_source
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_db import require_odoo
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_session import (
    instance_arguments,
    open_session,
    run_module,
)

SHORTEST_SECRET = 4


def read_source(params: dict[str, Any]) -> str:
    """The script's text; the action plugin has sent it along unless it lies on the target.

    :raises NotReadyError: it lies there not.
    :raises SlipwayError: it cannot be read, or is empty.
    """
    text = params["source"]
    if params["script_base64"] is not None:
        text = base64.b64decode(params["script_base64"]).decode()
    elif text is None:
        try:
            with open(params["src"], encoding="utf-8") as stream:
                text = stream.read()
        except FileNotFoundError as error:
            raise NotReadyError(f"There is no script {params['src']} on this host") from error
        except (OSError, UnicodeDecodeError) as error:
            raise SlipwayError(f"The script {params['src']} cannot be read: {error}") from error
    if not text.strip():
        raise SlipwayError("The script is empty")
    return text


def texts_in(value: Any) -> Iterator[str]:
    """Every text in a JSON value."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from texts_in(item)
    elif isinstance(value, str):
        yield value


def work(module: AnsibleModule) -> dict[str, Any]:
    """Look whether the script can run, and run it."""
    params = module.params
    source = read_source(params)
    name = params["src"] or "<source>"
    with open_session(params, database="database") as session:
        require_odoo(session.connection, session.database)
        result: dict[str, Any] = {"database": session.database, "committed": False}
        if module.check_mode and not params["run_in_check_mode"]:
            message = f"Would run {name} in odoo shell. It was not run, because run_in_check_mode is not set"
            return {**result, "changed": params["commit"], "ran": False, "msg": message}
        answer = run_source(
            session.config,
            session.database,
            source,
            params["payload"],
            secret_payload=params["secret_payload"],
            filename=name,
            purpose="shell",
            commit=params["commit"] and not module.check_mode,
            check_mode=module.check_mode,
            secrets=[text for text in texts_in(params["secret_payload"]) if len(text) >= SHORTEST_SECRET],
            timeout=params["timeout"],
        )
    result.update(
        # What is rolled back in any case is no change, whatever the script says.
        changed=params["commit"] and answer.changed is not False,
        ran=True,
        committed=params["commit"] and not module.check_mode,
        result=answer.result,
        stdout=answer.printed,
        log_file=answer.run.log_file,
        log_errors=list(answer.run.errors),
    )
    return result


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            **instance_arguments(),
            "src": {"type": "str"},
            "remote_src": {"type": "bool", "default": False},
            "source": {"type": "str"},
            # The text of src in base64: that of a short script would be masked wherever the result happens to hold it.
            "script_base64": {"type": "str", "no_log": True},
            "database": {"type": "str"},
            "payload": {"type": "raw"},
            "secret_payload": {"type": "dict", "default": {}, "no_log": True},
            "commit": {"type": "bool", "default": True},
            "run_in_check_mode": {"type": "bool", "default": False},
        },
        required_one_of=[("src", "source")],
        supports_check_mode=True,
    )
    run_module(module, work, intent=f"run {module.params['src'] or 'a script'} in odoo shell")


if __name__ == "__main__":
    main()
