#!/usr/bin/python
# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Install modules in an Odoo database."""

from __future__ import annotations

DOCUMENTATION = r"""
module: odoo_module
short_description: Install modules in an Odoo database
version_added: 0.1.0
description:
  - Makes sure that modules are installed, and says in advance exactly which ones will be. Dependencies
    and modules that install themselves are part of the plan, which is made from the database and the
    manifests on disk without starting Odoo.
  - A name that is nowhere on the addons path, a module that is not installable, a dependency that is
    missing, and manifests that cannot be parsed are errors before anything is done. Odoo itself would
    only warn, and exit with V(0).
  - A module that is on disk but that the database does not know yet is installed like any other. Odoo
    refreshes its list first.
  - All missing modules are installed in one run of Odoo. Then the database is asked whether they are.
    If not, the module says which one failed, with the last lines of the traceback.
  - What a killed run left behind is repaired, not built upon. Modules C(to install) and C(to upgrade)
    are finished. Modules C(to remove) go back to C(installed), as nothing of them has gone yet. A
    module C(to install) that cannot be installed any more goes back to C(uninstalled). Until then Odoo
    would run no scheduled action in that database.
  - Two runs at once take turns, by an advisory lock in the database. It also waits while anybody else
    writes before it takes a state for a leftover.
options:
  database:
    description:
      - The database. C(db_name) of the configuration file when not given.
    type: str
  names:
    description:
      - Technical names of modules.
    type: list
    elements: str
    required: true
    aliases: [name]
  state:
    description:
      - V(present) installs what is missing. It never upgrades or removes anything.
    type: str
    choices: [present]
    default: present
  wait:
    description:
      - Seconds to wait for another run that changes modules of this database.
    type: int
    default: 600
extends_documentation_fragment:
  - slipway.odoo.odoo
notes:
  - The service may run meanwhile. Odoo tells its processes through the database to reload, and users
    may wait for locks. A change of tables that a running transaction uses fails after 15 seconds, so
    prefer a quiet hour.
  - Modules with Python code that the running service has not loaded before are imported by it when it
    reloads its registry.
seealso:
  - module: slipway.odoo.odoo_database
author:
  - Slipway contributors (@slipway)
"""

EXAMPLES = r"""
- name: Install the modules of the first wave
  slipway.odoo.odoo_module:
    config: /etc/odoo/main.conf
    names: [contacts, crm]
  become: true

- name: See what installing sales would bring along
  slipway.odoo.odoo_module:
    config: /etc/odoo/main.conf
    name: sale_management
  become: true
  check_mode: true
  diff: true
"""

RETURN = r"""
database:
  description: The database.
  returned: unless RV(assumed)
  type: str
  sample: main
installed:
  description:
    - Modules that were installed, or in check mode would be, dependencies and self-installing ones
      included.
    - In check mode in the order of dependency.
  returned: unless RV(assumed)
  type: list
  elements: str
  sample: [utm, crm]
automatic:
  description: Those of the planned modules that install themselves, with what these need.
  returned: unless RV(assumed)
  type: list
  elements: str
  sample: [crm_sms]
repaired:
  description: Modules that a killed run had left half way.
  returned: unless RV(assumed)
  type: list
  elements: str
  sample: []
states:
  description: State of each requested module, in check mode as it is now.
  returned: unless RV(assumed)
  type: dict
  sample: {crm: installed}
log_file:
  description: The whole log of Odoo's run.
  returned: when Odoo ran
  type: str
  sample: /var/log/odoo/main/slipway-20260301T101500123456-modules.log
log_errors:
  description: Lines of that log with level ERROR or CRITICAL. There may be some although all went well.
  returned: when Odoo ran
  type: list
  elements: str
  sample: []
failed_module:
  description: The module that Odoo was loading when it failed.
  returned: on failure of a run of Odoo
  type: str
  sample: broken_addon
not_installed:
  description: Requested modules that are not installed.
  returned: on failure of a run of Odoo
  type: list
  elements: str
  sample: [broken_addon]
pending:
  description: Modules that are left half way.
  returned: on failure of a run of Odoo
  type: list
  elements: str
  sample: []
traceback:
  description: The last lines of the last traceback in the log.
  returned: on failure of a run of Odoo
  type: list
  elements: str
  sample: ["Traceback (most recent call last):", "ValueError: boom"]
unknown_modules:
  description: Requested names that are nowhere on the addons path.
  returned: when a plan is refused
  type: list
  elements: str
  sample: [contact]
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
  sample: Would install modules crm.
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_cli import require_runnable
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_db import (
    module_lock,
    read_company_countries,
    require_odoo,
    wait_for_writers,
)
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_install import (
    ModulePlan,
    Outcome,
    carry_out,
    decide,
    needs_plan,
)
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_manifest import read_disk
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_session import (
    Session,
    instance_arguments,
    open_session,
    run_module,
)


def look(session: Session, names: tuple[str, ...]) -> ModulePlan:
    """Read the database, and the disk where that is not enough; then plan."""
    states = require_odoo(session.connection, session.database)
    if not needs_plan(names, states):
        return ModulePlan(requested=names, before=states)
    return decide(
        names=names,
        states=states,
        manifests=read_disk(session.config).manifests,
        countries=read_company_countries(session.connection),
        automatic=not session.config.skip_auto_install,
    )


def result_of(session: Session, plan: ModulePlan, outcome: Outcome | None = None) -> dict[str, Any]:
    """What the module returns."""
    states = outcome.states if outcome else plan.before
    result = {
        "changed": plan.changed,
        "database": session.database,
        "installed": list(outcome.installed if outcome else plan.install),
        "automatic": sorted(plan.automatic),
        "repaired": list(plan.repaired),
        "states": {name: states.get(name, "uninstalled") for name in plan.requested},
        "diff": plan.diff(),
    }
    if outcome and outcome.run:
        result.update(log_file=outcome.run.log_file, log_errors=list(outcome.run.errors))
    return result


def work(module: AnsibleModule) -> dict[str, Any]:
    """Read, plan, apply."""
    params = module.params
    names = tuple(dict.fromkeys(params["names"]))
    with open_session(params, database="database") as session:
        plan = look(session, names)
        if module.check_mode or not plan.changed:
            return result_of(session, plan)
        require_runnable(session.config)
        with module_lock(session.connection, wait=params["wait"]):
            plan = look(session, names)
            if plan.repaired:
                wait_for_writers(session.connection, wait=min(params["wait"], 60))
                plan = look(session, names)
            outcome = carry_out(session.connection, session.config, session.database, plan, timeout=params["timeout"])
        return result_of(session, plan, outcome)


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            **instance_arguments(),
            "database": {"type": "str"},
            "names": {"type": "list", "elements": "str", "required": True, "aliases": ["name"]},
            "state": {"type": "str", "choices": ["present"], "default": "present"},
            "wait": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    run_module(module, work, intent=f"install modules {', '.join(module.params['names'])}")


if __name__ == "__main__":
    main()
