# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Decide what installing modules means, do it, and judge it by the database.

``decide_*`` are pure. The rules are Odoo's own: ``button_install`` in ``ir_module.py`` (dependencies,
automatic installation, countries) and ``initialize`` in ``modules/db.py`` (what an empty database
starts with).
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_cli import OdooRun, run_odoo
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_config import OdooConfig
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_db import read_module_states, rows
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_manifest import Manifest

_THERE = frozenset(("installed", "to upgrade", "to remove"))
_PENDING = ("to install", "to upgrade", "to remove")


@dataclasses.dataclass(frozen=True)
class ModulePlan:
    """What will happen to modules.

    ``install`` holds everything that will be installed in order of dependency, ``automatic`` those of
    them that install themselves, with what these need. ``upgrade`` and ``reset`` repair what a killed run
    left: upgrades to finish, and states to put back (name to state).
    """

    requested: tuple[str, ...]
    install: tuple[str, ...] = ()
    automatic: frozenset[str] = frozenset()
    upgrade: tuple[str, ...] = ()
    reset: Mapping[str, str] = dataclasses.field(default_factory=dict)
    before: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def changed(self) -> bool:
        """Tell whether there is anything to do."""
        return bool(self.install or self.upgrade or self.reset)

    @property
    def repaired(self) -> tuple[str, ...]:
        """The modules that a killed run left half way."""
        return tuple(sorted(name for name, state in self.before.items() if state in _PENDING))

    def after(self) -> dict[str, str]:
        """The states that the touched modules are going to have."""
        states = dict(self.reset)
        states.update(dict.fromkeys((*self.install, *self.upgrade), "installed"))
        return dict(sorted(states.items()))

    def diff(self) -> dict[str, dict[str, str]]:
        """The difference for ``--diff``: states of the touched modules only."""
        after = self.after()
        return {"before": {name: self.before.get(name, "uninstalled") for name in after}, "after": after}


def needs_plan(names: Iterable[str], states: Mapping[str, str]) -> bool:
    """Tell from states alone whether anything can be missing: the disk need not be read otherwise."""
    if any(state in _PENDING for state in states.values()):
        return True
    return any(states.get(name) != "installed" for name in names)


def decide(
    *,
    names: Sequence[str],
    states: Mapping[str, str],
    manifests: Mapping[str, Manifest],
    countries: Iterable[str] = (),
    automatic: bool = True,
) -> ModulePlan:
    """Plan so that ``names`` are installed and nothing is left half way.

    :param states: module to state in the database; empty for a database without modules.
    :param manifests: the modules on disk.
    :param countries: codes of the companies' countries, in capitals.
    :param automatic: whether Odoo installs auto-install modules (``skip_auto_install`` is off).
    :raises SlipwayError: a name is unknown, or something it needs cannot be installed.
    """
    _refuse(names, states, manifests)
    reset: dict[str, str] = {}
    upgrade: list[str] = []
    left: list[str] = []
    for name, state in sorted(states.items()):
        if state == "to remove":
            # Nothing of it has gone yet: Odoo removes and commits at once. Who wanted that can ask again.
            reset[name] = "installed"
        elif state == "to upgrade":
            if name in manifests:
                upgrade.append(name)
            else:
                reset[name] = "installed"
        elif state == "to install":
            if _first_fault(name, states, manifests):
                reset[name] = "uninstalled"
            else:
                left.append(name)
    current = {name: state for name, state in states.items() if state in _THERE}
    marks: set[str] = set()
    _mark((*left, *names), marks, current, manifests)
    asked = frozenset(marks)
    if not states:
        marks |= decide_initial(manifests, automatic=automatic)
    if automatic:
        _mark_automatic(marks, current, manifests, frozenset(countries))
    return ModulePlan(
        requested=tuple(names),
        install=load_order(marks, manifests),
        automatic=frozenset(marks) - asked,
        upgrade=tuple(upgrade),
        reset={name: state for name, state in reset.items() if name not in marks},
        before=dict(states),
    )


def decide_initial(manifests: Mapping[str, Manifest], *, automatic: bool) -> set[str]:
    """What Odoo marks for installation in an empty database, before it looks at ``-i``."""
    marks = {"base"} & manifests.keys()
    while automatic:
        present = frozenset(marks)
        for name, manifest in manifests.items():
            if not manifest.fault and manifest.auto_install is not None and manifest.auto_install <= present:
                marks.add(name)
        for name in tuple(marks):
            marks.update(dependency for dependency in manifests[name].depends if dependency in manifests)
        if marks == present:
            break
    return marks


def _mark(names: Iterable[str], marks: set[str], current: Mapping[str, str], manifests: Mapping[str, Manifest]) -> None:
    """Mark modules and all that they depend on."""
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in current and name not in marks and name in manifests:
            marks.add(name)
            todo += manifests[name].depends


def _mark_automatic(
    marks: set[str],
    current: Mapping[str, str],
    manifests: Mapping[str, Manifest],
    countries: frozenset[str],
) -> None:
    """Mark what installs itself: all triggers are there, at least one of them is new, the country fits."""
    found = True
    while found:
        found = False
        for name, manifest in manifests.items():
            triggers = manifest.auto_install
            if name in current or name in marks or manifest.fault or triggers is None or not triggers & marks:
                continue
            if not triggers <= current.keys() | marks or (manifest.countries and not countries & {*manifest.countries}):
                continue
            if not _first_fault(name, current, manifests):
                _mark([name], marks, current, manifests)
                found = True


def _refuse(names: Iterable[str], states: Mapping[str, str], manifests: Mapping[str, Manifest]) -> None:
    faults = []
    for name in names:
        if states.get(name) == "installed":
            continue
        fault = _first_fault(name, states, manifests)
        if fault:
            faults.append(fault)
    if faults:
        unknown = sorted(name for name in names if name not in manifests and states.get(name) != "installed")
        raise SlipwayError("Nothing was changed: " + "; ".join(faults), unknown_modules=unknown)


def _first_fault(name: str, states: Mapping[str, str], manifests: Mapping[str, Manifest]) -> str:
    """Say why a module cannot be installed, with the chain that wants what is missing."""
    seen = set()
    todo: list[tuple[str, ...]] = [(name,)]
    while todo:
        chain = todo.pop()
        module = chain[-1]
        if module in seen or (states.get(module) in _THERE and module != name):
            continue
        seen.add(module)
        manifest = manifests.get(module)
        wanted_by = f" (needed by {' <- '.join(reversed(chain[:-1]))})" if chain[1:] else ""
        if manifest is None:
            known = " although the database knows it" if module in states else ""
            near = difflib.get_close_matches(module, manifests, n=1, cutoff=0.75) if module not in states else []
            hint = f": did you mean {near[0]}?" if near else ""
            return f"module {module!r} is in no directory of the addons path{known}{wanted_by}{hint}"
        if manifest.fault:
            return f"module {module!r} cannot be installed{wanted_by}: {manifest.fault} ({manifest.path})"
        for dependency in manifest.depends:
            if dependency in chain:
                return f"module {name!r} cannot be installed: {' -> '.join((*chain, dependency))} is a circle"
            todo.append((*chain, dependency))
    return ""


def load_order(names: Iterable[str], manifests: Mapping[str, Manifest]) -> tuple[str, ...]:
    """Sort so that each module stands after everything that it depends on; alphabetical otherwise."""
    depth: dict[str, int] = {}

    def measure(name: str, above: tuple[str, ...]) -> int:
        if name not in depth:
            below = manifests[name].depends if name in manifests else ()
            depth[name] = 1 + max((measure(other, (*above, name)) for other in below if other not in above), default=0)
        return depth[name]

    return tuple(sorted(names, key=lambda name: (measure(name, ()), name)))


def run_arguments(plan: ModulePlan, *, at_least: Sequence[str] = ()) -> list[str]:
    """Command-line options that carry out a plan; Odoo adds dependencies and automatic modules itself."""
    left = [name for name, state in plan.before.items() if state == "to install" and name in plan.install]
    install = sorted({name for name in plan.requested if name in plan.install} | set(left) | set(at_least))
    arguments = []
    if install:
        arguments += ["-i", ",".join(install)]
    if plan.upgrade:
        arguments += ["-u", ",".join(plan.upgrade)]
    return arguments


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a carried-out plan did: ``states`` afterwards, and the run if there was one."""

    states: Mapping[str, str]
    installed: tuple[str, ...] = ()
    run: OdooRun | None = None


def carry_out(
    connection: Any,
    config: OdooConfig,
    database: str,
    plan: ModulePlan,
    *,
    at_least: Sequence[str] = (),
    extra: Sequence[str] = (),
    timeout: int,
) -> Outcome:
    """Change the modules as planned, and look afterwards.

    :param connection: holds the lock on this database's modules.
    :param at_least: names to pass to ``-i`` even when installed, so that Odoo runs its closing steps.
    :param extra: further options for the run.
    :raises SlipwayError: the database does not say what was planned.
    """
    for state in sorted(set(plan.reset.values())):
        rows(
            connection,
            "UPDATE ir_module_module SET state = %s WHERE name = ANY (%s) AND state LIKE 'to %%'",
            (state, [name for name, new in plan.reset.items() if new == state]),
        )
    arguments = run_arguments(plan, at_least=at_least)
    if not arguments:
        return Outcome(states=read_module_states(connection))
    run = run_odoo(config, database, [*arguments, *extra], purpose="modules", timeout=timeout)
    known = rows(connection, "SELECT to_regclass('ir_module_module') IS NOT NULL")[0][0]
    states = read_module_states(connection) if known else {}
    installed = tuple(
        sorted(n for n, state in states.items() if state == "installed" and plan.before.get(n) not in _THERE)
    )
    judge(plan, states, run, installed=installed)
    return Outcome(states=states, installed=installed, run=run)


def judge(plan: ModulePlan, states: Mapping[str, str], run: OdooRun, *, installed: Sequence[str] = ()) -> None:
    """Compare the database with the plan; Odoo's exit code is 0 after many a failure (E68).

    :raises SlipwayError: modules are missing or half way, or the run itself failed.
    """
    missing = [n for n in (*plan.requested, *plan.upgrade) if states.get(n) != "installed"]
    halfway = sorted(name for name, state in states.items() if state in _PENDING)
    if not missing and not halfway and not run.failed:
        return
    parts = []
    if missing:
        parts.append(f"not installed: {', '.join(dict.fromkeys(missing))}")
    if halfway:
        parts.append(f"left half way: {', '.join(halfway)}")
    where = f"Odoo failed while loading module {run.module!r}" if run.module else "Odoo failed"
    raise SlipwayError(
        f"{where}: {run.reason()}. {'; '.join(parts) or 'All modules are installed'}. Log: {run.log_file}",
        changed=bool(installed),
        failed_module=run.module,
        not_installed=list(dict.fromkeys(missing)),
        pending=halfway,
        installed=list(installed),
        traceback=list(run.traceback),
        log_errors=list(run.errors),
        log_file=run.log_file,
    )
