# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Plan how indexes become what is wanted. Pure.

A plan can be cut off after any step, and within a concurrent one, and is then taken up again:

* a concurrent build that ended early leaves an INVALID index of the wanted name, which is dropped;
* ``REINDEX CONCURRENTLY`` leaves INVALID ones named ``…_ccnew`` and ``…_ccold``, which are dropped;
* a replacement is built as ``…_slipway_new``. It then takes the name in one transaction, in which the old
  one becomes ``…_slipway_old``, and that one is dropped. So the name always belongs to a whole index;
* the index of a partitioned table stays INVALID until all its partitions have theirs, and those that
  are there already are not built again.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence, Set
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.postgresql_index_check import Target, by_text_warning
from ansible_collections.slipway.odoo.plugins.module_utils.postgresql_index_facts import (
    REINDEX_NAME,
    Facts,
    Index,
    Table,
)
from ansible_collections.slipway.odoo.plugins.module_utils.postgresql_index_form import (
    NAME_BYTES,
    NO_FORM,
    IndexForm,
    Wanted,
)

CREATE, DROP, SWAP, ATTACH, REINDEX = "create", "drop", "swap", "attach", "reindex"


@dataclasses.dataclass(frozen=True)
class Step:
    """One statement, or for a swap one transaction.

    ``other`` is the index that is attached, or that takes the name; ``aside`` the name that the old one
    gets. ``only`` leaves the partitions of a table out. ``statistics`` are numbers of columns, each with its
    statistics target.
    """

    verb: str
    schema: str
    index: str
    table: Table
    form: IndexForm = NO_FORM
    concurrently: bool = True
    only: bool = False
    other: tuple[str, str] = ("", "")
    aside: str = ""
    storage: tuple[str, ...] = ()
    tablespace: str = ""
    comment: str = ""
    clustered: bool = False
    statistics: tuple[tuple[int, int], ...] = ()

    @property
    def blocking(self) -> bool:
        """Tell whether queries of others have to wait while this one waits for its lock."""
        return self.verb == ATTACH or (self.verb in (CREATE, DROP) and not self.concurrently)


@dataclasses.dataclass(frozen=True)
class Action:
    """What happens to one index. ``kind`` is created, rebuilt, replaced, dropped or repaired."""

    kind: str
    schema: str
    name: str
    table: Table
    steps: tuple[Step, ...]
    before: str = ""
    after: str = ""


@dataclasses.dataclass(frozen=True)
class Plan:
    """All actions.

    ``equivalent`` tells of wanted indexes which others do the same work or more, ``accepted`` names those that are
    left out for it, ``waiting`` those that another session builds now. ``doubt`` is a warning.
    """

    actions: tuple[Action, ...] = ()
    equivalent: tuple[dict[str, Any], ...] = ()
    accepted: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    doubt: str = ""

    @property
    def changed(self) -> bool:
        """Tell whether there is anything to do."""
        return bool(self.actions)

    def named(self, kind: str) -> list[str]:
        """Names of the indexes that something happens to."""
        return [action.name for action in self.actions if action.kind == kind]

    def diff(self) -> dict[str, dict[str, str]]:
        """The difference for ``--diff``."""
        before = {f"{action.schema}.{action.name}": action.before for action in self.actions if action.before}
        after = {f"{action.schema}.{action.name}": action.after for action in self.actions if action.after}
        return {"before": before, "after": after}


def fitted(name: str, suffix: str = "") -> str:
    """A name with a suffix that PostgreSQL does not cut off, always the same for the same name."""
    if len((name + suffix).encode()) <= NAME_BYTES:
        return name + suffix
    suffix = f"_{hashlib.sha256(name.encode()).hexdigest()[:8]}{suffix}"
    return name.encode()[: NAME_BYTES - len(suffix.encode())].decode(errors="ignore") + suffix


def new_name(name: str) -> str:
    """What the replacement of an index is called while it is built."""
    return fitted(name, "_slipway_new")


def old_name(name: str) -> str:
    """What a replaced index is called until it is dropped."""
    return fitted(name, "_slipway_old")


def is_reindex_leftover(index: Index, name: str) -> bool:
    """Tell whether a ``REINDEX CONCURRENTLY`` of the named index left this one."""
    match = REINDEX_NAME.fullmatch(index.name)
    if index.valid or not match:
        return False
    kept = name.encode()[: NAME_BYTES - len(match[2].encode())].decode(errors="ignore")
    return match[1] == kept


def decide(
    facts: Facts,
    targets: Sequence[Target],
    unwanted: Sequence[tuple[Wanted, int]] = (),
    *,
    replace: bool = False,
    concurrently: bool = True,
    accept_equivalent: bool = False,
) -> Plan:
    """Plan everything.

    :param unwanted: indexes to remove, each with its oid, or 0 where there is none.
    :raises SlipwayError: something may not or cannot be done; with all reasons.
    """
    wanted_names = {(target.table.schema, target.wanted.name) for target in targets}
    maker = _Maker(facts, wanted_names, replace=replace, concurrently=concurrently)
    actions: list[Action] = []
    equivalent: list[dict[str, Any]] = []
    accepted: list[str] = []
    waiting: list[str] = []
    for target in targets:
        if _under_way(facts, target.table, target.wanted.name):
            waiting.append(target.wanted.name)
            continue
        others = {"equivalent": target.equivalent(facts), "covered_by": target.covered_by(facts)}
        if target.found is None and any(others.values()):
            equivalent.append({"name": target.wanted.name, **others})
        if target.found is None and others["equivalent"] and accept_equivalent:
            accepted.append(target.wanted.name)
            continue
        actions.extend(maker.present(target))
    for wanted, oid in unwanted:
        actions.extend(maker.absent(wanted, oid))
    problems = [*maker.problems, *_forbidden(facts, actions)]
    if problems:
        raise SlipwayError(f"{'; '.join(problems)}. Nothing was changed", problems=problems)
    return Plan(tuple(actions), tuple(equivalent), tuple(accepted), tuple(waiting), by_text_warning(targets))


def _under_way(facts: Facts, table: Table, name: str) -> bool:
    """Tell whether another session builds this index now, or what replaces it."""
    names = (name, new_name(name), old_name(name))
    return any(
        facts.build_of(index) and (index.name in names or is_reindex_leftover(index, name))
        for index in facts.on(table.oid)
    )


def _forbidden(facts: Facts, actions: Sequence[Action]) -> list[str]:
    """What the server would refuse whatever the index."""
    if not actions:
        return []
    if facts.standby:
        return ["This server is a standby: indexes are changed on its primary"]
    tables = {step.table.oid: step.table for action in actions for step in action.steps}
    creating = {step.table.oid for action in actions for step in action.steps if step.verb in (CREATE, REINDEX)}
    problems = []
    for oid, table in tables.items():
        if not table.owned:
            problems.append(
                f"Role {facts.role!r} does not own {table}, role {table.owner!r} does: log in as that one, or as a "
                "superuser"
            )
        elif oid in creating and not table.writable:
            problems.append(f"Role {facts.role!r} has no privilege CREATE on schema {table.schema!r}")
    return problems


class _Maker:
    """Makes actions out of facts, and collects what may not be done."""

    def __init__(self, facts: Facts, wanted: Set[tuple[str, str]], *, replace: bool, concurrently: bool) -> None:
        self.facts = facts
        self.wanted = wanted
        self.replace = replace
        self.concurrently = concurrently
        self.problems: list[str] = []
        self.dropped: set[int] = set()

    def present(self, target: Target) -> list[Action]:
        """Make an index be as wanted."""
        found, name, table = target.found, target.wanted.name, target.table
        leftovers = self._leftovers(table, name)
        if found is None:
            taken = self.facts.relations.get((table.schema, name))
            if taken:
                self.problems.append(f"{target}: another relation of schema {table.schema!r} has that name")
                return []
            steps = [*self._drops(leftovers), *self._build(table, name, target.form)]
            return [self._action("created", target, steps)]
        if target.matches(found):
            if found.healthy:
                steps = self._drops(leftovers)
                return [self._action("repaired", target, steps)] if steps else []
            return [self._action("rebuilt", target, [*self._drops(leftovers), *self._rebuild(target, found)])]
        return self._replace(target, found, leftovers)

    def absent(self, wanted: Wanted, oid: int) -> list[Action]:
        """Remove an index and what is left of it."""
        index = self.facts.by_oid.get(oid)
        meant = [(index.schema, index.name)] if index else [(wanted.schema or self.facts.schema, wanted.name)]
        if not self.wanted.isdisjoint(meant):
            self.problems.append(f"{wanted.name!r} is to be present and absent")
            return []
        if index is None:
            if oid:
                self.problems.append(f"{wanted.name!r} is no index, it is not removed")
            return []
        table = self.facts.tables[index.table]
        if wanted.table and wanted.table != table.name:
            self.problems.append(f"index {wanted.name!r} is one of {table}, not of {wanted.where}")
            return []
        reason = self._needed(index)
        if reason:
            self.problems.append(f"index {wanted.name!r} on {table} cannot be dropped: {reason}")
            return []
        steps = tuple(self._drops([*self._leftovers(table, index.name), index]))
        before = describe(table, index.form)
        return [Action("dropped", index.schema, index.name, table, steps, before=before)] if steps else []

    def _replace(self, target: Target, found: Index, leftovers: Sequence[Index]) -> list[Action]:
        name, table = target.wanted.name, target.table
        if not self.replace:
            changes = "; ".join(
                f"{difference['aspect']} {_shown(difference['actual'])} instead of {_shown(difference['expected'])}"
                for difference in target.form.differences(found.form)
            )
            self.problems.append(f"{target} is another one ({changes}): set replace: true to replace it")
            return []
        reason = self._needed(found)
        if reason:
            self.problems.append(f"{target} is another one and cannot be replaced: {reason}")
            return []
        if not found.healthy:
            steps = [*self._drops([*leftovers, found]), *self._build(table, name, target.form, like=found)]
            return [self._action("replaced", target, steps)]
        begun = next((index for index in leftovers if index.name == new_name(name)), None)
        usable = begun is not None and target.matches(begun) and (begun.healthy or begun.partitioned)
        steps = self._drops([index for index in leftovers if index is not begun or not usable])
        steps += self._build(table, new_name(name), target.form, base=name, begun=begun if usable else None, like=found)
        steps.append(
            Step(
                SWAP,
                table.schema,
                name,
                table,
                other=(table.schema, new_name(name)),
                aside=old_name(name),
                comment=found.comment,
                clustered=found.clustered and target.form.method == found.form.method and not target.form.where,
                statistics=_statistics(found, target.form),
            )
        )
        steps += self._drops([dataclasses.replace(found, name=old_name(name))])
        return [self._action("replaced", target, steps)]

    def _needed(self, index: Index) -> str:
        """Why an index may not go."""
        if index.constraint:
            return f"constraint {index.constraint!r} needs it"
        if index.referenced_by:
            return f"foreign key {', '.join(index.referenced_by)} relies on it"
        if index.parent:
            return f"it is part of {index.parent_name!r}, the index of a partitioned table"
        if index.replica_identity:
            return "it is the table's replica identity"
        return ""

    def _leftovers(self, table: Table, name: str) -> list[Index]:
        return [
            index
            for index in self.facts.on(table.oid)
            if index.schema == table.schema
            and not index.parent
            and (index.schema, index.name) not in self.wanted
            and (index.name in (new_name(name), old_name(name)) or is_reindex_leftover(index, name))
        ]

    def _drops(self, indexes: Sequence[Index]) -> list[Step]:
        # What a REINDEX left may be that of several indexes, as its name is cut off.
        indexes = [index for index in indexes if index.oid not in self.dropped]
        self.dropped.update(index.oid for index in indexes)
        return [
            Step(
                DROP,
                index.schema,
                index.name,
                self.facts.tables[index.table],
                concurrently=self.concurrently and not index.partitioned,
            )
            for index in indexes
        ]

    def _rebuild(self, target: Target, found: Index) -> list[Step]:
        """Make an INVALID index whole again."""
        if found.partitioned:
            return self._build(target.table, found.name, target.form, begun=found, like=found)
        if self._needed(found):
            return [self._reindex(found)]
        return [*self._drops([found]), *self._build(target.table, found.name, target.form, like=found)]

    def _reindex(self, index: Index) -> Step:
        return Step(
            REINDEX,
            index.schema,
            index.name,
            self.facts.tables[index.table],
            form=index.form,
            concurrently=self.concurrently and index.constraint_type != "x",
        )

    def _build(
        self,
        table: Table,
        name: str,
        form: IndexForm,
        *,
        base: str = "",
        begun: Index | None = None,
        like: Index | None = None,
    ) -> list[Step]:
        """Build an index, and those of all partitions.

        :param base: what the names of the partitions' indexes begin with; the name itself when not given.
        :param begun: the index where it is there already, and may lack partitions.
        :param like: where tablespace and, unless the method is another one, storage parameters come from. Those of
            the partitions come from its parts.
        """
        steps = []
        if begun is None:
            steps.append(
                Step(
                    CREATE,
                    table.schema,
                    name,
                    table,
                    form=form,
                    concurrently=self.concurrently and not table.partitioned,
                    only=table.partitioned,
                    storage=like.storage if like and like.form.method == form.method else (),
                    tablespace=like.tablespace if like else "",
                )
            )
        if table.partitioned:
            for part in self.facts.partitions(table.oid):
                steps += self._part(part, (table.schema, name), form, base=base or name, whole=begun, like=like)
        if begun and not begun.healthy and not steps:
            # All parts are there and whole: attaching one once more makes PostgreSQL see that.
            parts = [index for index in self.facts.indexes if index.parent == begun.oid]
            steps += [self._attach((table.schema, name), part) for part in parts[:1]]
        return steps

    def _attach(self, parent: tuple[str, str], index: Index) -> Step:
        return Step(ATTACH, *parent, self.facts.tables[index.table], other=(index.schema, index.name))

    def _part(
        self,
        part: Table,
        parent: tuple[str, str],
        form: IndexForm,
        *,
        base: str,
        whole: Index | None,
        like: Index | None,
    ) -> list[Step]:
        """Give one partition its index, and attach it to that of the table."""
        here = self.facts.on(part.oid)
        like = next((index for index in here if like and index.parent == like.oid), like)
        attached = next((index for index in here if whole and index.parent == whole.oid), None)
        if attached:
            if attached.healthy:
                return []
            if attached.partitioned:
                return self._build(part, attached.name, form, base=base, begun=attached, like=like)
            return [self._reindex(attached), self._attach(parent, attached)]
        free = [index for index in here if not index.parent and not index.constraint and index.form.same(form)]
        steps: list[Step] = []
        name = self._part_name(part, base, form)
        own = next((index for index in free if index.name == name), None)
        usable = next((index for index in free if index.healthy), own if own and own.partitioned else None)
        if usable is None:
            steps = [*self._drops([own] if own else []), *self._build(part, name, form, base=base, like=like)]
        elif part.partitioned:
            steps = self._build(part, usable.name, form, base=base, begun=usable, like=like)
        child = (part.schema, usable.name if usable else name)
        return [*steps, Step(ATTACH, *parent, part, other=child)]

    def _part_name(self, part: Table, base: str, form: IndexForm) -> str:
        """The name of a partition's index: plain, unless one of another form has that name."""
        plain = fitted(f"{base}_{part.name}")
        holder = self.facts.by_name.get((part.schema, plain))
        taken = (part.schema, plain) in self.facts.relations and not holder
        if not taken and (holder is None or (holder.form.same(form) and not holder.parent)):
            return plain
        return fitted(f"{base}_{part.name}", f"_{hashlib.sha256(str(form).encode()).hexdigest()[:8]}")

    def _action(self, kind: str, target: Target, steps: Sequence[Step]) -> Action:
        found = target.found
        before = describe(target.table, found.form) + ("" if found.healthy else " (INVALID)") if found else ""
        after = describe(target.table, target.form if kind != "repaired" or not found else found.form)
        return Action(kind, target.table.schema, target.wanted.name, target.table, tuple(steps), before, after)


def _statistics(found: Index, form: IndexForm) -> tuple[tuple[int, int], ...]:
    """The statistics targets of an index for those expressions that another form has as well."""
    targets = {
        key.expression: target
        for key, target in zip(found.form.keys, found.statistics)
        if key.expression and target >= 0
    }
    return tuple(
        (number, targets[key.expression]) for number, key in enumerate(form.keys, 1) if key.expression in targets
    )


def describe(table: Table, form: IndexForm) -> str:
    """An index in one line, without its name."""
    text = str(form)
    unique = "UNIQUE " if form.unique else ""
    return f"{unique}INDEX ON {table} USING {text[len(unique) :]}"


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return f"({', '.join(value)})"
    return repr(value) if isinstance(value, str) else str(value).lower()
