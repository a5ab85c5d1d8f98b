#!/usr/bin/python
# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Initialise an Odoo database and keep its administrator's password."""

from __future__ import annotations

DOCUMENTATION = r"""
module: odoo_database
short_description: Initialise an Odoo database and keep its administrator's password
version_added: 0.1.0
description:
  - Installs Odoo's first modules in an existing, empty database, without demo data, and gives the
    administrator a log-in and a password before it ends.
  - The password reaches Odoo through a pipe. It is never on a command line, in the environment, in a
    log or in a diff.
  - An initialisation that was killed at any moment is found out and done again. A table
    C(slipway_initialising) stands in the database from before the first module until the administrator
    has the password.
  - Relations are dropped in one case only. That is when an attempt did not get as far as installing
    C(base), and nothing else can be in the database. It was empty when this module began, or there is
    nothing but the tables that Odoo starts from. Odoo 19.0 could not go on from there.
  - In a finished database it makes sure that O(modules) are installed, repairs what a killed update of
    modules left behind (see M(slipway.odoo.odoo_module)), and with O(update_admin_password=always) that
    log-in and password are the given ones.
  - It records the content of the modules that it installs, so that M(slipway.odoo.odoo_module) with
    O(slipway.odoo.odoo_module#module:state=latest) knows later which ones have changed.
options:
  name:
    description:
      - The database, which must exist. Role P(slipway.odoo.postgresql#role) makes it.
      - C(db_name) of the configuration file when not given.
    type: str
    aliases: [database]
  modules:
    description:
      - Modules that must be installed. C(base) always is.
      - Odoo adds what they depend on and what installs itself.
    type: list
    elements: str
    default: [base, web]
  language:
    description:
      - Language of the administrator and the company, as Odoo's code for it. Its translations are
        loaded.
      - Used when the database is initialised, not later.
    type: str
    default: en_US
  country:
    description:
      - The company's country as two-letter code. It gets that country's currency, and where there is
        only one time zone the administrator gets it.
      - Used when the database is initialised, not later.
    type: str
  demo:
    description:
      - Whether to load demo data.
      - Used when the database is initialised, not later.
    type: bool
    default: false
  admin_login:
    description:
      - Log-in of the user that Odoo creates as C(base.user_admin).
    type: str
    default: admin
  admin_password:
    description:
      - Password of that user. It has nothing to do with C(admin_passwd) in the configuration file, the
        master password of the database manager.
    type: str
    required: true
  update_admin_password:
    description:
      - V(always) compares log-in and password on each run and sets them where they differ. Comparing
        costs half a second and starts no Odoo.
      - V(on_create) sets them when the database is initialised and leaves them alone afterwards.
    type: str
    choices: [always, on_create]
    default: always
  wait:
    description:
      - Seconds to wait for another run that changes modules of this database.
    type: int
    default: 600
extends_documentation_fragment:
  - slipway.odoo.odoo
notes:
  - Initialise a database before its service can be reached from outside. For the second or two between
    Odoo's last module and the password the log-in is C(admin)/C(admin).
seealso:
  - module: slipway.odoo.odoo_module
  - module: slipway.odoo.odoo_parameter
author:
  - Slipway contributors (@slipway)
"""

EXAMPLES = r"""
- name: Initialise the database of an instance
  slipway.odoo.odoo_database:
    config: /etc/odoo/main.conf
    modules: [base, web, contacts]
    language: de_DE
    country: AT
    admin_password: "{{ vault_odoo_admin_password }}"
  become: true

- name: Keep what the administrator chose
  slipway.odoo.odoo_database:
    config: /etc/odoo/main.conf
    admin_password: "{{ vault_odoo_admin_password }}"
    update_admin_password: on_create
  become: true
"""

RETURN = r"""
database:
  description: The database.
  returned: unless RV(assumed)
  type: str
  sample: main
found:
  description: What the database was before.
  returned: unless RV(assumed)
  type: str
  choices: [empty, unfinished, initialised]
  sample: empty
installed:
  description:
    - Modules that were installed, or in check mode would be, with what Odoo adds to those asked for.
  returned: unless RV(assumed)
  type: list
  elements: str
  sample: [base, web]
repaired:
  description: Modules that a killed run had left half way.
  returned: unless RV(assumed)
  type: list
  elements: str
  sample: []
admin_changed:
  description: Whether log-in or password of the administrator were set, or in check mode would be.
  returned: unless RV(assumed)
  type: bool
  sample: true
log_file:
  description: The whole log of Odoo's run.
  returned: when Odoo ran to change modules
  type: str
  sample: /var/log/odoo/main/slipway-20260301T101500123456-modules.log
log_errors:
  description: Lines of that log with level ERROR or CRITICAL. There may be some although all went well.
  returned: when Odoo ran to change modules
  type: list
  elements: str
  sample: []
traceback:
  description: The last lines of the last traceback in the log.
  returned: on failure of a run of Odoo
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
  description: What would be done, and why it was too early to look.
  returned: with RV(assumed), and on failure
  type: str
  sample: Would initialise database main.
"""

import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.odoo.plugins.module_utils import odoo_setup
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_cli import require_runnable, run_shell
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_content import read_known, record
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_db import (
    FREE,
    Overview,
    module_lock,
    read_company_countries,
    read_overview,
    refuse_foreign,
    still_connected,
    wait_for_writers,
)
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_install import Outcome, carry_out, changed_anyhow
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_manifest import read_disk
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_password import verify_password
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_plan import ModulePlan, decide, needs_plan
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_session import (
    Session,
    instance_arguments,
    open_session,
    run_module,
)


def wanted_modules(params: dict[str, Any]) -> tuple[str, ...]:
    """Base first, no name twice."""
    return tuple(dict.fromkeys(["base", *params["modules"]]))


def check_input(params: dict[str, Any]) -> None:
    """Refuse what would only fail half way.

    :raises SlipwayError: a bad value.
    """
    if not params["admin_password"] or not params["admin_login"]:
        raise SlipwayError("admin_login and admin_password must not be empty")
    if not re.fullmatch(r"[a-z]{2,3}(_[A-Za-z0-9]{2,8})?(@[a-z]+)?", params["language"]):
        raise SlipwayError(f"language must be a code such as de_AT, not {params['language']!r}")
    if params["country"] and not re.fullmatch(r"[A-Za-z]{2}", params["country"]):
        raise SlipwayError(f"country must be a code of two letters, not {params['country']!r}")


def look(session: Session, params: dict[str, Any]) -> tuple[Overview, odoo_setup.Admin | None, odoo_setup.SetupPlan]:
    """Read the database, and plan."""
    overview = read_overview(session.connection)
    refuse_foreign(overview, session.database)
    names = wanted_modules(params)
    modules = ModulePlan(requested=names, before=overview.modules)
    started_empty = odoo_setup.read_started_empty(session.connection) if overview.unfinished else False
    if needs_plan(names, overview.modules):
        debris = odoo_setup.is_debris(overview, started_empty=started_empty)
        known = read_known(session.connection) if overview.initialised else {}
        modules = decide(
            names=names,
            states={} if debris else overview.modules,
            manifests=read_disk(session.config).manifests,
            countries=read_company_countries(session.connection) if overview.initialised else (),
            automatic=not session.config.skip_auto_install,
            known_depends={name: module.depends for name, module in known.items()},
            imported={name for name, module in known.items() if module.imported},
        )
    update_admin = params["update_admin_password"] == "always"  # noqa: S105 - not a password
    admin, matches = None, True
    if update_admin and odoo_setup.found_state(overview) == "initialised":
        admin = odoo_setup.read_admin(session.connection)
        matches = admin is None or verify_password(params["admin_password"], admin.stored)
    plan = odoo_setup.decide_setup(
        overview,
        modules,
        started_empty=started_empty,
        admin=admin,
        login=params["admin_login"],
        password_matches=matches,
        update_admin=update_admin,
    )
    return overview, admin, plan


def initialise(session: Session, params: dict[str, Any], overview: Overview, plan: odoo_setup.SetupPlan) -> Outcome:
    """Install the first modules and set the administrator up."""
    language = "" if params["language"] == "en_US" else params["language"]
    disk = read_disk(session.config)
    odoo_setup.set_marker(session.connection, was_empty=overview.kind == FREE)
    if plan.wipe:
        odoo_setup.wipe(session.connection)
    outcome = carry_out(
        session.connection,
        session.config,
        session.database,
        plan.modules,
        disk=disk,
        at_least=wanted_modules(params),
        extra=odoo_setup.first_run_options(series=disk.series, demo=params["demo"], language=language),
        timeout=params["timeout"],
    )
    payload = {
        "login": params["admin_login"],
        "password": params["admin_password"],
        "language": language,
        "country": (params["country"] or "").upper(),
    }
    with changed_anyhow():
        shell(session, params, odoo_setup.FINISH, payload)
        with still_connected(session.connection, session.config, session.database) as connection:
            # The country may have brought modules, and an earlier attempt that was killed recorded nothing.
            record(connection, disk, outcome.content)
    return outcome


def shell(session: Session, params: dict[str, Any], source: str, payload: dict[str, Any]) -> None:
    """Run one of our sources in odoo shell."""
    run_shell(
        session.config,
        session.database,
        source,
        payload,
        filename="<odoo_database>",
        purpose="database",
        secrets=[params["admin_password"]],
        timeout=params["timeout"],
    )


def change_admin(session: Session, params: dict[str, Any], admin: odoo_setup.Admin, plan: odoo_setup.SetupPlan) -> None:
    """Set what differs."""
    values = {}
    if plan.login:
        values["login"] = plan.login[1]
    if plan.password:
        values["password"] = params["admin_password"]
    shell(session, params, odoo_setup.CHANGE, {"id": admin.id, "values": values})


def verify(session: Session, params: dict[str, Any]) -> None:
    """Judge by the database.

    :raises SlipwayError: it is not what was wanted.
    """
    with still_connected(session.connection, session.config, session.database) as connection:
        overview = read_overview(connection)
        admin = odoo_setup.read_admin(connection)
    if odoo_setup.found_state(overview) != "initialised" or admin is None:
        raise SlipwayError(f"Database {session.database!r} is still unfinished after its initialisation")
    if admin.login != params["admin_login"] or not verify_password(params["admin_password"], admin.stored):
        raise SlipwayError(f"Odoo did not keep the administrator's log-in or password in {session.database!r}")


def result_of(session: Session, plan: odoo_setup.SetupPlan, outcome: Outcome | None = None) -> dict[str, Any]:
    """What the module returns."""
    result = {
        "changed": plan.changed,
        "database": session.database,
        "found": plan.found,
        "installed": list(outcome.installed if outcome else plan.modules.install),
        "repaired": list(plan.modules.repaired),
        "admin_changed": plan.initialise or plan.password or bool(plan.login),
        "diff": plan.diff(),
    }
    if outcome and outcome.run:
        result.update(log_file=outcome.run.log_file, log_errors=list(outcome.run.errors))
    return result


def work(module: AnsibleModule) -> dict[str, Any]:
    """Read, plan, apply."""
    params = module.params
    check_input(params)
    with open_session(params, database="name") as session:
        plan = look(session, params)[2]
        if module.check_mode or not plan.changed:
            return result_of(session, plan)
        require_runnable(session.config)
        with module_lock(session.connection, wait=params["wait"]):
            if plan.initialise or plan.modules.repaired:
                wait_for_writers(session.connection, wait=params["wait"])
            overview, admin, plan = look(session, params)
            outcome = None
            if plan.initialise:
                outcome = initialise(session, params, overview, plan)
            elif plan.modules.changed:
                outcome = carry_out(
                    session.connection,
                    session.config,
                    session.database,
                    plan.modules,
                    disk=read_disk(session.config),
                    timeout=params["timeout"],
                )
            if plan.login or plan.password:
                change_admin(session, params, admin, plan)
            if plan.initialise or plan.login or plan.password:
                with changed_anyhow():
                    verify(session, params)
        return result_of(session, plan, outcome)


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            **instance_arguments(),
            "name": {"type": "str", "aliases": ["database"]},
            "modules": {"type": "list", "elements": "str", "default": ["base", "web"]},
            "language": {"type": "str", "default": "en_US"},
            "country": {"type": "str"},
            "demo": {"type": "bool", "default": False},
            "admin_login": {"type": "str", "default": "admin"},
            "admin_password": {"type": "str", "required": True, "no_log": True},
            "update_admin_password": {
                "type": "str",
                "choices": ["always", "on_create"],
                "default": "always",
                "no_log": False,
            },
            "wait": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    run_module(
        module,
        work,
        intent=f"make sure that Odoo is in the database of {module.params['config']}, with its modules",
    )


if __name__ == "__main__":
    main()
