#!/usr/bin/python
# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Install, update and remove modules in an Odoo database."""

from __future__ import annotations

DOCUMENTATION = r"""
module: odoo_module
short_description: Install, update and remove modules in an Odoo database
version_added: 0.1.0
description:
  - Makes sure that modules are installed, up to date or absent, and says in advance exactly which ones
    will be touched. Dependencies, dependents and modules that install themselves are part of the plan,
    which is made from the database and the files on disk without starting Odoo.
  - A name that is nowhere on the addons path, a module that is not installable, a dependency that is
    missing, modules that exclude each other, and a manifest among them that cannot be parsed are errors before
    anything is done. Odoo
    itself would only warn, and exit with V(0). Other manifests are not this module's business.
  - A module that is on disk but that the database does not know yet is installed like any other. Odoo
    refreshes its list first.
  - All that is missing or has changed is installed and updated in one run of Odoo, in which no module is
    updated twice. Then the database is asked whether all of it is there, in the versions on disk. If not,
    the module says which one failed, with the last lines of the traceback.
  - What a killed run left behind is repaired, not built upon. Modules C(to install) and C(to upgrade)
    are finished. Modules C(to remove) go back to C(installed), as nothing of them has gone yet. What
    cannot be finished any more goes back to C(uninstalled) or C(installed). Until then Odoo
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
      - With O(state=latest), V(*) stands for everything that is installed.
    type: list
    elements: str
    required: true
    aliases: [name]
  state:
    description:
      - V(present) installs what is missing. It updates nothing, but for what a killed run left C(to upgrade), and
        removes nothing.
      - V(latest) also updates what has changed, out of O(names) and all that these depend on. A module has
        changed when its version on disk is newer than the installed one, or when the checksum of its files
        is not the one that was stored when it was installed or updated. Odoo updates every installed module
        that depends on a changed one, so these are part of the plan. Nothing else is updated, and without
        a change Odoo is not started.
      - V(absent) removes modules, with all that depend on them and with all their data. Needs
        O(allow_data_loss=true). C(base), C(web), C(rpc) and the C(server_wide_modules) of the configuration
        file cannot be removed. A module whose code is not on disk cannot either, because Odoo would leave its
        tables behind.
    type: str
    choices: [present, latest, absent]
    default: present
  adopt:
    description:
      - What to do with installed modules of which nobody has stored a checksum. They may have changed since
        they were installed or not, nobody can tell.
      - By default those in O(names), or all with V(*), count as changed, as they do for C(click-odoo-update), and
        are updated once. Those that are only needed by one in O(names) count as unchanged.
      - With V(true) what is on disk is taken for what is installed. Its checksum is stored, and nothing is
        updated unless its version is newer. Use it once, for a database that was made without Slipway
        and that you know to be up to date.
      - Only with O(state=latest).
    type: bool
    default: false
  force:
    description:
      - Whether to update O(names) that are installed even when nothing of them changed. An update makes anew what
        a module declares and somebody deleted, so this is the first thing to try with a broken one. Each run
        updates them again.
      - Only with O(state=latest), and not with V(*).
    type: bool
    default: false
  allow_data_loss:
    description:
      - Whether modules may be removed, with their tables, columns and records and those of all their
        dependents.
      - Without it O(state=absent) fails, in check mode as well, and says what would go as soon as there is something
        to remove. To have the list without the failure, use check mode and V(true).
    type: bool
    default: false
  wait:
    description:
      - Seconds to wait for another run that changes modules of this database, and before a repair for anybody else
        who works on modules, such as in the web interface. Nothing is changed when it takes longer.
    type: int
    default: 600
extends_documentation_fragment:
  - slipway.odoo.odoo
notes:
  - Checksums are those of C(click-odoo-update), in the same system parameter
    C(module_auto_update.installed_checksums) and by the same rule, so either tool knows what the other
    one has updated. The rule leaves out what system parameter C(module_auto_update.exclude_patterns) names
    (V(*.pyc,*.pyo,i18n/*.pot,i18n_extra/*.pot,static/*,tests/*) by default) and translations into languages that
    are not active.
  - Checksums are stored after every successful run of this module and of M(slipway.odoo.odoo_database), for the
    modules that it installed or updated. They are those of the files as they were before Odoo was started. A module
    whose update failed keeps its old one.
  - Modules that were imported as an archive (C(base_import_module)) have no files, so they are not updated.
  - Check mode does not look for the Python packages and programs that a manifest names in C(external_dependencies).
  - A password that the server refuses is an error in check mode as well. It is known by the server's words in
    English (C(lc_messages=C), as role P(slipway.odoo.postgresql#role) sets it).
  - Odoo commits after each module. When an update fails, the modules that were updated before stay so, and the
    next run goes on with the rest.
  - The service may run meanwhile. Odoo tells its processes through the database to reload, and users
    may wait for locks. A change of tables that a running transaction uses fails after 15 seconds, so
    prefer a quiet hour. Code that changes tables should not serve users before its update is done.
  - Modules with Python code that the running service has not loaded before are imported by it when it
    reloads its registry. Code that it has loaded stays loaded until it is restarted or reloaded.
  - Make a backup before O(state=absent). To mend a broken module, first update it, then regenerate the assets,
    and remove it last.
seealso:
  - module: slipway.odoo.odoo_database
  - module: slipway.odoo.odoo_module_info
  - module: slipway.odoo.odoo_shell
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

- name: After a deploy, update whatever has changed
  slipway.odoo.odoo_module:
    config: /etc/odoo/main.conf
    names: ["*"]
    state: latest
  become: true

- name: Take over a database from another tool without updating everything
  slipway.odoo.odoo_module:
    config: /etc/odoo/main.conf
    names: ["*"]
    state: latest
    adopt: true
  become: true

- name: Update a module whose views somebody spoilt
  slipway.odoo.odoo_module:
    config: /etc/odoo/main.conf
    name: membership
    state: latest
    force: true
  become: true

- name: List what would go with a module
  slipway.odoo.odoo_module:
    config: /etc/odoo/main.conf
    name: membership
    state: absent
    allow_data_loss: true
  become: true
  check_mode: true
  register: removal
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
  returned: unless RV(assumed); on failure of a run of Odoo those that it did install
  type: list
  elements: str
  sample: [utm, crm]
automatic:
  description: Those of the planned modules that install themselves, with what these need.
  returned: unless RV(assumed)
  type: list
  elements: str
  sample: [crm_sms]
updated:
  description:
    - Modules that were updated, or in check mode would be, dependents included, in the order of dependency.
  returned: unless RV(assumed); on failure of a run of Odoo those that it did update
  type: list
  elements: str
  sample: [crm, crm_sms]
reasons:
  description: Why each of RV(updated) is.
  returned: unless RV(assumed)
  type: dict
  sample: {crm: its content differs from what was installed, crm_sms: depends on crm}
adopted:
  description: Modules whose checksum is stored although they were not updated, see O(adopt).
  returned: unless RV(assumed)
  type: list
  elements: str
  sample: []
removed:
  description:
    - Modules that were removed, or in check mode would be, dependents included, in the order of removal.
  returned: unless RV(assumed)
  type: list
  elements: str
  sample: [membership]
dependents:
  description: Those of RV(removed) that were not asked for, but need one that was.
  returned: with O(state=absent), also when the removal is refused
  type: list
  elements: str
  sample: []
would_remove:
  description: Modules that would be removed, dependents included, in the order of removal.
  returned: when the removal is refused for want of O(allow_data_loss)
  type: list
  elements: str
  sample: [membership]
losses:
  description:
    - What goes with the removed modules, each with a number of rows.
    - C(records) holds models whose tables go, C(fields) columns of other models that hold something,
      C(relations) links between records, C(values) records with a choice of a field that will not exist any more,
      C(data) records that came with the modules. C(estimated) names those that are too many to count.
  returned: with O(state=absent), also when the removal is refused
  type: dict
  sample:
    records: {membership.membership_line: 1204}
    fields: {res.partner.free_member: 12}
    relations: {}
    values: {}
    data: {ir.ui.menu: 3}
    estimated: []
left_behind:
  description: Tables that should have gone with RV(removed), but that Odoo did not drop.
  returned: when modules were removed
  type: list
  elements: str
  sample: []
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
  description: Modules of the plan that are not installed.
  returned: on failure of a run of Odoo
  type: list
  elements: str
  sample: [broken_addon]
not_updated:
  description: Modules of the plan that were not updated.
  returned: on failure of a run of Odoo
  type: list
  elements: str
  sample: []
not_removed:
  description: Modules of the plan that were not removed.
  returned: on failure of a removal
  type: list
  elements: str
  sample: []
pending:
  description: Modules that are left half way. The next run of this module finishes them or puts them back.
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

import dataclasses
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_cli import require_runnable
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_content import (
    EVERYTHING,
    Changes,
    find_changes,
    read_known,
    versions_of,
)
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_db import (
    module_lock,
    read_company_countries,
    require_odoo,
    wait_for_writers,
)
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_install import Outcome, carry_out
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_manifest import Disk, read_disk
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_plan import ModulePlan, decide, needs_plan
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_removal import (
    Losses,
    Removal,
    RemovalPlan,
    carry_out_removal,
    decide_removal,
    read_losses,
    typos,
)
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_session import (
    Session,
    instance_arguments,
    open_session,
    run_module,
)

VERBS = {"present": "install", "latest": "install or update", "absent": "remove"}


def check_input(params: dict[str, Any]) -> None:
    """Refuse options that do not go together.

    :raises SlipwayError: they contradict each other.
    """
    state = params["state"]
    if EVERYTHING in params["names"] and state != "latest":
        raise SlipwayError(f"names: '*' goes with state: latest only, not with {state}")
    for option in ("adopt", "force"):
        if params[option] and state != "latest":
            raise SlipwayError(f"{option} goes with state: latest only, not with {state}")
    if params["force"] and EVERYTHING in params["names"]:
        raise SlipwayError("force goes with names of modules only, not with '*'")
    if params["allow_data_loss"] and state != "absent":
        raise SlipwayError(f"allow_data_loss goes with state: absent only, not with {state}")


def names_of(params: dict[str, Any]) -> tuple[str, ...]:
    """The modules that are named, each once."""
    return tuple(dict.fromkeys(name for name in params["names"] if name != EVERYTHING))


def look(session: Session, params: dict[str, Any]) -> tuple[ModulePlan, Disk | None, Changes]:
    """Read the database, and the disk where that is not enough; then plan what to install and update."""
    names = names_of(params)
    states = require_odoo(session.connection, session.database)
    if params["state"] == "present" and not needs_plan(names, states):
        return ModulePlan(requested=names, before=states), None, Changes()
    known = read_known(session.connection)
    disk = read_disk(session.config)
    changes = Changes()
    if params["state"] == "latest":
        changes = find_changes(
            session.connection, disk, known, params["names"], adopt=params["adopt"], force=params["force"]
        )
    plan = decide(
        names=names,
        states={name: module.state for name, module in known.items()},
        manifests=disk.manifests,
        countries=read_company_countries(session.connection),
        automatic=not session.config.skip_auto_install,
        changed=changes.reasons,
        known_depends={name: module.depends for name, module in known.items()},
        imported={name for name, module in known.items() if module.imported},
    )
    plan = dataclasses.replace(
        plan,
        adopt=tuple(name for name in changes.adopt if name not in plan.upgrade),
        versions=versions_of(plan.upgrade, known, disk),
    )
    return plan, disk, changes


def look_removal(session: Session, params: dict[str, Any]) -> tuple[RemovalPlan, Disk, Losses]:
    """Read the database and the disk; then plan what to remove.

    :raises SlipwayError: something would go, and may not.
    """
    require_odoo(session.connection, session.database)
    known = read_known(session.connection)
    disk = read_disk(session.config)
    plan = decide_removal(
        names=names_of(params),
        known=known,
        manifests=disk.manifests,
        needed=session.config.server_wide_modules,
        countries=read_company_countries(session.connection),
        automatic=not session.config.skip_auto_install,
    )
    repair = dataclasses.replace(plan.repair, versions=versions_of(plan.repair.upgrade, known, disk))
    plan = dataclasses.replace(plan, repair=repair)
    losses = read_losses(session.connection, plan.remove)
    if plan.remove and not params["allow_data_loss"]:
        along = f", with it its dependents {', '.join(plan.dependents)}" if plan.dependents else ""
        raise SlipwayError(
            f"Nothing was changed: removing {', '.join(plan.requested)}{along} takes along {losses.words()}. "
            "If that is meant, make a backup and set allow_data_loss: true",
            removed=[],
            would_remove=list(plan.remove),
            dependents=list(plan.dependents),
            losses=losses.result(),
        )
    return plan, disk, losses


def result_of(session: Session, plan: ModulePlan, outcome: Outcome | None = None) -> dict[str, Any]:
    """What the module returns."""
    states = outcome.states if outcome else plan.before
    result = {
        "changed": plan.changed,
        "database": session.database,
        "installed": list(outcome.installed if outcome else plan.install),
        "automatic": sorted(plan.automatic),
        "updated": list(plan.upgrade),
        "reasons": dict(plan.reasons),
        "adopted": list(plan.adopt),
        "removed": [],
        "repaired": list(plan.repaired),
        "states": {name: states.get(name, "uninstalled") for name in plan.requested},
        "diff": plan.diff(),
    }
    if outcome and outcome.run:
        result.update(log_file=outcome.run.log_file, log_errors=list(outcome.run.errors))
    return result


def result_of_removal(
    session: Session,
    plan: RemovalPlan,
    losses: Losses,
    outcome: Outcome | None = None,
    removal: Removal | None = None,
) -> dict[str, Any]:
    """What the module returns when it removes."""
    result = result_of(session, plan.repair, outcome)
    states = removal.states if removal else outcome.states if outcome else plan.repair.before
    result.update(
        changed=plan.changed,
        removed=list(plan.remove),
        dependents=list(plan.dependents),
        losses=losses.result(),
        states={name: states.get(name, "uninstalled") for name in plan.requested},
        diff=plan.diff(),
    )
    if removal:
        result.update(
            left_behind=list(removal.left_behind),
            log_file=removal.run.log_file,
            log_errors=list(removal.run.errors),
        )
    return result


def install(module: AnsibleModule, session: Session) -> dict[str, Any]:
    """Read, plan, apply: what is installed and updated."""
    params = module.params
    plan, disk, changes = look(session, params)
    for sentence in changes.passed_over:
        module.warn(sentence)
    if module.check_mode or not plan.changed:
        return result_of(session, plan)
    require_runnable(session.config)
    with module_lock(session.connection, wait=params["wait"]):
        plan, disk, changes = look(session, params)
        if plan.repaired:
            wait_for_writers(session.connection, wait=params["wait"])
            plan, disk, changes = look(session, params)
        if not plan.changed:
            return result_of(session, plan)
        outcome = carry_out(
            session.connection, session.config, session.database, plan, disk=disk, timeout=params["timeout"]
        )
    return result_of(session, plan, outcome)


def remove(module: AnsibleModule, session: Session) -> dict[str, Any]:
    """Read, plan, apply: what is removed."""
    params = module.params
    plan, disk, losses = look_removal(session, params)
    for sentence in typos(plan, disk.manifests):
        module.warn(sentence)
    if module.check_mode or not plan.changed:
        return result_of_removal(session, plan, losses)
    require_runnable(session.config)
    with module_lock(session.connection, wait=params["wait"]):
        plan, disk, losses = look_removal(session, params)
        if plan.repair.repaired:
            wait_for_writers(session.connection, wait=params["wait"])
            plan, disk, losses = look_removal(session, params)
        options = {"disk": disk, "timeout": params["timeout"]}
        place = (session.connection, session.config, session.database)
        outcome = carry_out(*place, plan.repair, **options) if plan.repair.changed else None
        removal = carry_out_removal(*place, plan, losses, **options) if plan.remove else None
    return result_of_removal(session, plan, losses, outcome, removal)


def work(module: AnsibleModule) -> dict[str, Any]:
    """Look at the options, connect, and go to work."""
    check_input(module.params)
    with open_session(module.params, database="database") as session:
        return (remove if module.params["state"] == "absent" else install)(module, session)


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            **instance_arguments(),
            "database": {"type": "str"},
            "names": {"type": "list", "elements": "str", "required": True, "aliases": ["name"]},
            "state": {"type": "str", "choices": ["present", "latest", "absent"], "default": "present"},
            "adopt": {"type": "bool", "default": False},
            "force": {"type": "bool", "default": False},
            "allow_data_loss": {"type": "bool", "default": False},
            "wait": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    run_module(module, work, intent=f"{VERBS[module.params['state']]} modules {', '.join(module.params['names'])}")


if __name__ == "__main__":
    main()
