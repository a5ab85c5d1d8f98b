# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Carry out a plan for modules, and judge it by the database."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_cli import OdooRun, run_odoo
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_config import OdooConfig
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_content import (
    Content,
    read_content,
    read_known,
    record,
)
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_db import read_module_states, rows, still_connected
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_manifest import Disk
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_plan import PENDING, THERE, Known, ModulePlan


def run_arguments(plan: ModulePlan, *, at_least: Sequence[str] = ()) -> list[str]:
    """Command-line options that carry out a plan.

    Odoo adds dependencies, dependents and automatic modules itself, so nothing is named twice.
    """
    left = [name for name, state in plan.before.items() if state == "to install" and name in plan.install]
    install = sorted({name for name in plan.requested if name in plan.install} | set(left) | set(at_least))
    arguments = []
    if install:
        arguments += ["-i", ",".join(install)]
    if plan.roots:
        arguments += ["-u", ",".join(plan.roots)]
    return arguments


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a carried-out plan did: ``states`` afterwards, the run if there was one, and what it found on disk."""

    states: Mapping[str, str]
    content: Content
    installed: tuple[str, ...] = ()
    run: OdooRun | None = None


def put_back(connection: Any, reset: Mapping[str, str]) -> None:
    """Put states back that a killed run left; they stand for nothing that has happened."""
    for state in sorted(set(reset.values())):
        rows(
            connection,
            """SELECT set_config('lock_timeout', '60s', true);
               UPDATE ir_module_module SET state = %s WHERE name = ANY (%s) AND state LIKE 'to %%'""",
            (state, [name for name, new in reset.items() if new == state]),
        )


def carry_out(
    connection: Any,
    config: OdooConfig,
    database: str,
    plan: ModulePlan,
    *,
    disk: Disk,
    at_least: Sequence[str] = (),
    extra: Sequence[str] = (),
    timeout: int,
) -> Outcome:
    """Change the modules as planned, look afterwards, and remember what is installed now.

    :param connection: holds the lock on this database's modules.
    :param disk: the modules that the plan was made from.
    :param at_least: names to pass to ``-i`` even when installed, so that Odoo runs its closing steps.
    :param extra: further options for the run.
    :raises SlipwayError: the database does not say what was planned.
    """
    content = read_content(connection, disk, {*plan.install, *plan.upgrade, *plan.adopt})
    put_back(connection, plan.reset)
    arguments = run_arguments(plan, at_least=at_least)
    if not arguments:
        if plan.adopt:
            record(connection, disk, content, plan.adopt)
        return Outcome(states=read_module_states(connection), content=content)
    run = run_odoo(config, database, [*arguments, *extra], purpose="modules", timeout=timeout)
    with changed_anyhow(), still_connected(connection, config, database) as connection:
        there = rows(connection, "SELECT to_regclass('ir_module_module_dependency') IS NOT NULL")[0][0]
        known = read_known(connection) if there else {}
        imported = [name for name, module in known.items() if module.imported and module.state == "to upgrade"]
        if imported:
            # Odoo marks them as dependents, and base_import_module does this where it is loaded by then.
            put_back(connection, dict.fromkeys(imported, "installed"))
            known = read_known(connection)
        states = {name: module.state for name, module in known.items()}
        installed = tuple(
            sorted(n for n, state in states.items() if state == "installed" and plan.before.get(n) not in THERE)
        )
        judge(plan, known, run, installed=installed)
        record(connection, disk, content, (*installed, *plan.upgrade, *plan.adopt))
    return Outcome(states=states, content=content, installed=installed, run=run)


@contextlib.contextmanager
def changed_anyhow() -> Iterator[None]:
    """Let an error after a run of Odoo say that something was changed, unless it knows better."""
    try:
        yield
    except SlipwayError as error:
        error.details.setdefault("changed", True)
        raise


def judge(plan: ModulePlan, known: Mapping[str, Known], run: OdooRun, *, installed: Sequence[str] = ()) -> None:
    """Compare the database with the plan; Odoo's exit code is 0 after many a failure (E68).

    :raises SlipwayError: modules are missing or half way, have the wrong version, or the run itself failed.
    """
    asked = (name for name in plan.install if name not in plan.automatic)
    missing = [n for n in dict.fromkeys((*plan.requested, *asked, *plan.upgrade)) if _state(known, n) != "installed"]
    halfway = sorted(name for name, module in known.items() if module.state in PENDING)
    old = [
        n for n in plan.upgrade if n not in missing and n in plan.versions and plan.versions[n][1] != known[n].version
    ]
    if not (missing or halfway or old or run.failed):
        return
    updated = [name for name in plan.upgrade if name in run.loaded]
    waiting = [name for name in plan.upgrade if name not in run.loaded]
    where = f"Odoo failed while loading module {run.module!r}" if run.module else "Odoo failed"
    parts = []
    if missing:
        parts.append(f"not installed: {', '.join(missing)}")
    if waiting:
        parts.append(f"not updated: {', '.join(waiting)}")
    elif old:
        parts.append(f"still at the version before: {', '.join(old)}")
    if updated:
        parts.append(f"updated before that, and kept: {', '.join(updated)}")
    if halfway:
        parts.append(
            f"left half way: {', '.join(halfway)}. Odoo runs no scheduled actions in this database until they are "
            "done: mend the cause and run this again, which finishes or puts back what is half way"
        )
    raise SlipwayError(
        f"{where}: {run.reason()}. {'; '.join(parts) or 'All modules are installed'}. Log: {run.log_file}",
        changed=bool(installed or updated),
        failed_module=run.module,
        not_installed=missing,
        not_updated=waiting,
        updated=updated,
        pending=halfway,
        installed=list(installed),
        traceback=list(run.traceback),
        log_errors=list(run.errors),
        log_file=run.log_file,
    )


def _state(known: Mapping[str, Known], name: str) -> str:
    return known[name].state if name in known else ""
