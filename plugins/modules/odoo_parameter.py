#!/usr/bin/python
# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Set system parameters of an Odoo database."""

from __future__ import annotations

DOCUMENTATION = r"""
module: odoo_parameter
short_description: Set system parameters of an Odoo database
version_added: 0.1.0
description:
  - Sets and removes system parameters (C(ir.config_parameter)), many in one run.
  - They are read by SQL and written by Odoo itself, so that running processes drop what they had
    cached. Without a difference no Odoo is started.
  - C(web.base.url) and C(web.base.url.freeze) belong here. In the configuration file Odoo ignores them.
    Without the second one, Odoo rewrites the first whenever an administrator logs in under another
    address.
options:
  database:
    description:
      - The database. C(db_name) of the configuration file when not given.
    type: str
  parameters:
    description:
      - Name and value of each parameter.
      - Booleans are stored as C(True) and C(False), as Odoo does. A value must not be empty. To remove a
        parameter use O(absent).
    type: dict
    default: {}
  absent:
    description:
      - Names of parameters to remove.
    type: list
    elements: str
    default: []
  secret_parameters:
    description:
      - Name and value of parameters whose values are never shown, neither in the difference nor in a
        log.
      - In O(parameters), too, a difference does not show the values of those with C(secret), C(passw),
        C(token), C(api_key), C(private) or C(credential) in their names or with C(key) as their last
        part. But Ansible logs what it calls a module with, so secrets belong here.
    type: dict
    default: {}
extends_documentation_fragment:
  - slipway.odoo.odoo
seealso:
  - module: slipway.odoo.odoo_database
author:
  - Slipway contributors (@slipway)
"""

EXAMPLES = r"""
- name: Fix the address that Odoo writes into links
  slipway.odoo.odoo_parameter:
    config: /etc/odoo/main.conf
    parameters:
      web.base.url: https://odoo.example.com
      web.base.url.freeze: true
  become: true

- name: Give the key of a service
  slipway.odoo.odoo_parameter:
    config: /etc/odoo/main.conf
    secret_parameters:
      ocr.service.token: "{{ vault_ocr_token }}"
  become: true

- name: Forget a parameter
  slipway.odoo.odoo_parameter:
    config: /etc/odoo/main.conf
    absent: [ocr.service.endpoint]
  become: true
"""

RETURN = r"""
database:
  description: The database.
  returned: unless RV(assumed)
  type: str
  sample: main
written:
  description: Names of parameters that were set, or in check mode would be.
  returned: unless RV(assumed)
  type: list
  elements: str
  sample: [web.base.url]
removed:
  description: Names of parameters that were removed, or in check mode would be.
  returned: unless RV(assumed)
  type: list
  elements: str
  sample: []
assumed:
  description: Present and true when check mode could not look, because something that an earlier task
    makes is missing.
  returned: in check mode, when it is too early
  type: bool
  sample: true
msg:
  description: What would be done, and why it was too early to look.
  returned: with RV(assumed), and on failure
  type: str
  sample: Would set system parameters web.base.url.
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_cli import run_shell
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_db import require_odoo, rows
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_session import (
    Session,
    instance_arguments,
    open_session,
    run_module,
)
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_settings import (
    ParameterPlan,
    decide_parameters,
)

SOURCE = """
Parameter = env["ir.config_parameter"].sudo()
for key, value in payload["write"].items():
    Parameter.set_param(key, value)
Parameter.search([("key", "in", payload["remove"])]).unlink()
result = True
"""


def look(session: Session, params: dict[str, Any]) -> ParameterPlan:
    """Read the named parameters, and plan."""
    query = "SELECT key, value FROM ir_config_parameter WHERE key = ANY (%s)"
    return plan_for(params, dict(rows(session.connection, query, (names_of(params),))))


def names_of(params: dict[str, Any]) -> list[str]:
    """All names that the options hold."""
    return [str(key) for key in (*params["parameters"], *params["secret_parameters"], *params["absent"])]


def plan_for(params: dict[str, Any], current: dict[str, str]) -> ParameterPlan:
    """Compare what is there with the options."""
    return decide_parameters(
        current, wanted=params["parameters"], secret=params["secret_parameters"], absent=params["absent"]
    )


def work(module: AnsibleModule) -> dict[str, Any]:
    """Read, plan, apply."""
    params = module.params
    plan_for(params, {})
    with open_session(params, database="database") as session:
        require_odoo(session.connection, session.database)
        plan = look(session, params)
        if plan.changed and not module.check_mode:
            run_shell(
                session.config,
                session.database,
                SOURCE,
                {"write": dict(plan.write), "remove": list(plan.remove)},
                filename="<odoo_parameter>",
                purpose="parameters",
                secrets=plan.secret_values(),
                timeout=params["timeout"],
            )
            left = look(session, params)
            if left.changed:
                raise SlipwayError(f"Odoo did not keep {', '.join((*left.write, *left.remove))}")
        return {
            "changed": plan.changed,
            "database": session.database,
            "written": sorted(plan.write),
            "removed": sorted(plan.remove),
            "diff": plan.diff(),
        }


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            **instance_arguments(),
            "database": {"type": "str"},
            "parameters": {"type": "dict", "default": {}},
            "absent": {"type": "list", "elements": "str", "default": []},
            "secret_parameters": {"type": "dict", "default": {}, "no_log": True},
        },
        supports_check_mode=True,
    )
    run_module(module, work, intent=f"set system parameters {', '.join(sorted(names_of(module.params)))}")


if __name__ == "__main__":
    main()
