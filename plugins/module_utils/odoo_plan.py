# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Decide what installing and updating modules means, before Odoo is started. Pure.

The rules are Odoo's own: ``button_install`` and ``button_upgrade`` in ``ir_module.py`` (dependencies and
dependents, automatic installation, countries) and ``initialize`` in ``modules/db.py`` (what an empty
database starts with).
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence

from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_manifest import Manifest

#: States of a module whose tables and records are in the database.
THERE = frozenset(("installed", "to upgrade", "to remove"))
#: States that a killed run leaves.
PENDING = ("to install", "to upgrade", "to remove")
#: What Odoo Studio made lies in the database only, and Odoo never updates it.
_STUDIO = "studio_customization"


@dataclasses.dataclass(frozen=True)
class Known:
    """What the database knows of a module: its state, the version that is installed, what it depends on.

    ``imported`` is one that came as an archive through the web interface (``base_import_module``): it has no
    code, and Odoo never updates it.
    """

    state: str
    version: str = ""
    depends: tuple[str, ...] = ()
    imported: bool = False


@dataclasses.dataclass(frozen=True)
class ModulePlan:
    """What will happen to modules.

    ``install`` holds everything that will be installed in order of dependency, ``automatic`` those of
    them that install themselves, with what these need. ``upgrade`` holds everything that Odoo will update,
    in order of dependency, because ``roots`` are named to it, and ``reasons`` says why. ``reset`` holds
    states to put back after a killed run (name to state) before anything else is done, ``adopt`` modules
    whose content is taken for what is installed. ``versions`` holds the installed and the next version of
    what is updated.
    """

    requested: tuple[str, ...]
    install: tuple[str, ...] = ()
    automatic: frozenset[str] = frozenset()
    upgrade: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()
    reasons: Mapping[str, str] = dataclasses.field(default_factory=dict)
    reset: Mapping[str, str] = dataclasses.field(default_factory=dict)
    adopt: tuple[str, ...] = ()
    before: Mapping[str, str] = dataclasses.field(default_factory=dict)
    versions: Mapping[str, tuple[str, str]] = dataclasses.field(default_factory=dict)

    @property
    def changed(self) -> bool:
        """Tell whether there is anything to do."""
        return bool(self.install or self.upgrade or self.reset or self.adopt)

    @property
    def repaired(self) -> tuple[str, ...]:
        """The modules that a killed run left half way."""
        return tuple(sorted(name for name, state in self.before.items() if state in PENDING))

    def after(self) -> dict[str, str]:
        """The states that the touched modules are going to have."""
        states = dict(self.reset)
        states.update(dict.fromkeys((*self.install, *self.upgrade), "installed"))
        return dict(sorted(states.items()))

    def diff(self) -> dict[str, dict[str, str]]:
        """The difference for ``--diff``: the touched modules only, with versions where these are updated."""
        after = self.after()
        before = {name: self.before.get(name, "uninstalled") for name in after}
        for name in self.upgrade:
            old, new = self.versions.get(name, ("", ""))
            before[name] = f"{before[name]} {old}".rstrip()
            after[name] = f"updated to {new}" if new else "updated"
        for name in self.adopt:
            before.setdefault(name, "installed, content unknown")
            after.setdefault(name, "installed, content recorded")
        return {"before": dict(sorted(before.items())), "after": dict(sorted(after.items()))}


def needs_plan(names: Iterable[str], states: Mapping[str, str]) -> bool:
    """Tell from states alone whether anything can be missing: the disk need not be read otherwise."""
    if any(state in PENDING for state in states.values()):
        return True
    return any(states.get(name) != "installed" for name in names)


def decide(
    *,
    names: Sequence[str],
    states: Mapping[str, str],
    manifests: Mapping[str, Manifest],
    countries: Iterable[str] = (),
    automatic: bool = True,
    changed: Mapping[str, str] | None = None,
    known_depends: Mapping[str, Sequence[str]] | None = None,
    imported: Collection[str] = (),
) -> ModulePlan:
    """Plan so that ``names`` are installed, what changed is updated and nothing is left half way.

    :param states: module to state in the database; empty for a database without modules.
    :param manifests: the modules on disk.
    :param countries: codes of the companies' countries, in capitals.
    :param automatic: whether Odoo installs auto-install modules (``skip_auto_install`` is off).
    :param changed: installed modules to update, and why.
    :param known_depends: what modules depend on as the database knows it, which counts for those that are not
        on disk.
    :param imported: modules that have no code, which Odoo does not update.
    :raises SlipwayError: a name is unknown, something it needs cannot be installed, modules exclude each
        other, or something would be updated whose code is missing.
    """
    refuse(names, states, manifests)
    reset: dict[str, str] = {}
    reasons = dict(changed or {})
    left: list[str] = []
    unfinished: list[str] = []
    for name, state in sorted(states.items()):
        if state == "to remove":
            # Nothing of it has gone yet: Odoo removes and commits at once. Who wanted that can ask again.
            reset[name] = "installed"
        elif state == "to upgrade":
            if name in imported or first_fault(name, states, manifests):
                reset[name] = "installed"
            else:
                unfinished.append(name)
                reasons[name] = "a killed run left it half way"
        elif state == "to install":
            # Odoo marks dependencies and automatic modules for what is uninstalled only. The first module of an
            # empty database is no leftover: it is installed because of its state.
            if name != "base":
                reset[name] = "uninstalled"
            if not first_fault(name, states, manifests):
                left.append(name)
    current = {name: state for name, state in states.items() if state in THERE}
    updatable = {name: state for name, state in {**states, **reset}.items() if name not in imported}
    needed_by = _dependents_of(updatable, manifests, known_depends or {})
    roots = _roots(unfinished, reasons, needed_by, manifests)
    upgrade = _upgraded(roots, needed_by)
    _refuse_updates(upgrade, reasons, states, manifests)
    marks: set[str] = set()
    _mark((*left, *names), marks, current, manifests)
    for name in upgrade:
        _mark(manifests[name].depends, marks, current, manifests)
    asked = frozenset(marks)
    if not states:
        marks |= decide_initial(manifests, automatic=automatic)
    if automatic:
        _mark_automatic(marks, current, manifests, frozenset(countries))
    if marks or upgrade:
        _refuse_exclusions(current.keys() | marks, manifests)
    return ModulePlan(
        requested=tuple(names),
        install=load_order(marks, manifests),
        automatic=frozenset(marks) - asked,
        upgrade=load_order(upgrade, manifests),
        roots=roots,
        reasons={name: reasons.get(name) or _because(name, reasons, manifests) for name in sorted(upgrade)},
        reset=reset,
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
            if not first_fault(name, current, manifests):
                _mark([name], marks, current, manifests)
                found = True


def depends_of(
    name: str, manifests: Mapping[str, Manifest], known_depends: Mapping[str, Sequence[str]]
) -> Sequence[str]:
    """What a module depends on: its manifest tells, the database where that cannot be read."""
    manifest = manifests.get(name)
    return manifest.depends if manifest and manifest.readable else known_depends.get(name, ())


def _dependents_of(
    states: Mapping[str, str], manifests: Mapping[str, Manifest], known_depends: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """Map each module to the installed ones that depend on it, in one step."""
    found: dict[str, list[str]] = {}
    for name, state in states.items():
        if state == "installed" and name != _STUDIO:
            for other in depends_of(name, manifests, known_depends):
                found.setdefault(other, []).append(name)
            # Odoo updates all with base, also what hangs on it by a dependency that is not installed yet.
            if name != "base":
                found.setdefault("base", []).append(name)
    return found


def _upgraded(roots: Iterable[str], needed_by: Mapping[str, Sequence[str]]) -> set[str]:
    """What Odoo updates when it is told to update ``roots``."""
    found: set[str] = set()
    todo = list(roots)
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += needed_by.get(name, ())
    return found


def _roots(
    unfinished: Sequence[str],
    reasons: Mapping[str, str],
    needed_by: Mapping[str, Sequence[str]],
    manifests: Mapping[str, Manifest],
) -> tuple[str, ...]:
    """The fewest modules to name so that all that changed are updated.

    Odoo does not look for the dependents of one that is ``to upgrade`` already, so those are all named.
    """
    roots = list(unfinished)
    covered = _upgraded(roots, needed_by)
    for name in load_order(reasons, manifests):
        if name not in covered:
            roots.append(name)
            covered |= _upgraded([name], needed_by)
    return tuple(sorted(roots))


def _because(name: str, reasons: Mapping[str, str], manifests: Mapping[str, Manifest]) -> str:
    """Say which module that changed a dependent one hangs on."""
    seen: set[str] = set()
    todo = [name]
    while todo:
        for dependency in manifests[todo.pop(0)].depends:
            if dependency in reasons:
                return f"depends on {dependency}"
            if dependency not in seen and dependency in manifests:
                seen.add(dependency)
                todo.append(dependency)
    return "depends on base"


def _refuse_updates(
    upgrade: Iterable[str], reasons: Mapping[str, str], states: Mapping[str, str], manifests: Mapping[str, Manifest]
) -> None:
    """Refuse an update that Odoo would leave half way: it marks dependents whose code it then cannot load."""
    faults = []
    for name in sorted(upgrade):
        fault = first_fault(name, states, manifests)
        if fault:
            why = reasons.get(name) or "it depends on what changed"
            faults.append(f"module {name!r} would be updated ({why}), but {fault}")
    if faults:
        raise SlipwayError("Nothing was changed: " + "; ".join(faults))


def _refuse_exclusions(present: Collection[str], manifests: Mapping[str, Manifest]) -> None:
    """Refuse what Odoo would: it installs nothing while two modules that exclude each other are there."""
    pairs = {
        tuple(sorted((name, other)))
        for name in present
        if name in manifests
        for other in manifests[name].excludes
        if other in present
    }
    if pairs:
        faults = [f"modules {one!r} and {other!r} exclude each other" for one, other in sorted(pairs)]
        raise SlipwayError("Nothing was changed: " + "; ".join(faults))


def refuse(names: Iterable[str], states: Mapping[str, str], manifests: Mapping[str, Manifest]) -> None:
    """Refuse names that are not installed and cannot be.

    :raises SlipwayError: with all of them.
    """
    faults = []
    for name in names:
        if states.get(name) == "installed":
            continue
        fault = first_fault(name, states, manifests)
        if fault:
            faults.append(fault)
    if faults:
        unknown = sorted(name for name in names if name not in manifests and states.get(name) != "installed")
        raise SlipwayError("Nothing was changed: " + "; ".join(faults), unknown_modules=unknown)


def first_fault(name: str, states: Mapping[str, str], manifests: Mapping[str, Manifest]) -> str:
    """Say why Odoo could not load a module, with the chain that wants what is missing."""
    seen = set()
    todo: list[tuple[str, ...]] = [(name,)]
    while todo:
        chain = todo.pop()
        module = chain[-1]
        if module in seen:
            continue
        seen.add(module)
        manifest = manifests.get(module)
        wanted_by = f" (needed by {' <- '.join(reversed(chain[:-1]))})" if chain[1:] else ""
        if manifest is None:
            known = " although the database knows it" if module in states else ""
            near = near_names(module, manifests) if module not in states else []
            hint = f": did you mean {near[0]}?" if near else ""
            return f"module {module!r} is in no directory of the addons path{known}{wanted_by}{hint}"
        if manifest.fault:
            done = "loaded" if states.get(module) in THERE else "installed"
            return f"module {module!r} cannot be {done}{wanted_by}: {manifest.fault} ({manifest.path})"
        for dependency in manifest.depends:
            if dependency in chain:
                return f"module {name!r} cannot be installed: {' -> '.join((*chain, dependency))} is a circle"
            todo.append((*chain, dependency))
    return ""


def near_names(name: str, names: Iterable[str]) -> list[str]:
    """The name that may have been meant, if there is one."""
    return difflib.get_close_matches(name, names, n=1, cutoff=0.75)


def load_order(names: Iterable[str], manifests: Mapping[str, Manifest]) -> tuple[str, ...]:
    """Sort so that each module stands after everything that it depends on; alphabetical otherwise."""
    depth: dict[str, int] = {}

    def measure(name: str, above: tuple[str, ...]) -> int:
        if name not in depth:
            below = manifests[name].depends if name in manifests else ()
            depth[name] = 1 + max((measure(other, (*above, name)) for other in below if other not in above), default=0)
        return depth[name]

    return tuple(sorted(names, key=lambda name: (measure(name, ()), name)))
