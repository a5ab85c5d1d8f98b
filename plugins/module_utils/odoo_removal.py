# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Removing modules: what goes with them, and doing it.

Odoo removes every dependent, too, and drops tables, columns and records (``button_uninstall`` in
``ir_module.py``, ``_module_data_uninstall`` in ``ir_model.py``). What an element belongs to stands in
``ir_model_data``: it goes when no other module claims it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_cli import OdooRun, run_source
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_config import OdooConfig
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_content import read_content, record
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_db import read_module_states, rows, still_connected
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_install import changed_anyhow
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_manifest import Disk, Manifest
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_plan import (
    PENDING,
    THERE,
    Known,
    ModulePlan,
    decide,
    depends_of,
    load_order,
    near_names,
)

#: Odoo does not work without these; it says so itself of those that its configuration loads server-wide.
ALWAYS_NEEDED = ("base", "web", "rpc")
#: Rows from which on the statistics are asked instead of the table.
MANY_ROWS = 1_000_000

#: Waits for scheduled actions that run: Odoo itself gives up at once when one does. From then on nobody can install
#: from the web interface, so what was installed since the plan was made is known.
UNINSTALL = """
env.cr.execute("SET LOCAL lock_timeout = '120s'")
env.cr.execute("SELECT FROM ir_cron FOR UPDATE")
modules = env["ir.module.module"].search([("name", "in", payload)])
more = set(modules.downstream_dependencies().mapped("name")).difference(payload)
if more:
    raise ValueError("%s would go along, which had not been looked at: run this again" % ", ".join(sorted(more)))
modules.button_immediate_uninstall()
result = True
"""


@dataclasses.dataclass(frozen=True)
class Losses:
    """What goes with the data of removed modules, each with a number of rows.

    ``records`` holds models whose tables go, ``fields`` columns of other tables that hold something,
    ``relations`` tables between models, ``values`` choices of fields that rows have and that will not
    exist any more, ``data`` records that the modules themselves put into other models. ``estimated``
    names those whose number comes from statistics, as the table is large. ``tables`` are those that go.
    """

    records: Mapping[str, int] = dataclasses.field(default_factory=dict)
    fields: Mapping[str, int] = dataclasses.field(default_factory=dict)
    relations: Mapping[str, int] = dataclasses.field(default_factory=dict)
    values: Mapping[str, int] = dataclasses.field(default_factory=dict)
    data: Mapping[str, int] = dataclasses.field(default_factory=dict)
    estimated: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()

    def result(self) -> dict[str, Any]:
        """What a module returns of it."""
        found = dataclasses.asdict(self)
        del found["tables"]
        found["estimated"] = list(self.estimated)
        return found

    def words(self) -> str:
        """All of it in a sentence."""
        parts = []
        for title, found in (
            ("records", self.records),
            ("values of fields", self.fields),
            ("links", self.relations),
            ("records with a choice that goes", self.values),
            ("records that came with the modules", self.data),
        ):
            counted = [f"{name} {'about ' if name in self.estimated else ''}{n}" for name, n in found.items() if n]
            if counted:
                parts.append(f"{title}: {', '.join(counted)}")
        return "; ".join(parts) or "no records"


@dataclasses.dataclass(frozen=True)
class RemovalPlan:
    """What will be removed: ``remove`` in the order of removal, after ``repair`` has put in order what is half way.

    ``absent`` are the asked-for names that are not installed anyhow, ``unknown`` those of them that are
    nowhere.
    """

    requested: tuple[str, ...]
    repair: ModulePlan
    remove: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Tell whether there is anything to do."""
        return bool(self.remove) or self.repair.changed

    @property
    def dependents(self) -> tuple[str, ...]:
        """What goes without having been asked for."""
        return tuple(name for name in self.remove if name not in self.requested)

    def diff(self) -> dict[str, dict[str, str]]:
        """The difference for ``--diff``: states of the touched modules only."""
        diff = self.repair.diff()
        for name in self.remove:
            diff["before"][name] = self.repair.before[name]
            diff["after"][name] = "uninstalled"
        return {side: dict(sorted(states.items())) for side, states in diff.items()}


def decide_removal(
    *,
    names: Sequence[str],
    known: Mapping[str, Known],
    manifests: Mapping[str, Manifest],
    needed: Iterable[str] = (),
    countries: Iterable[str] = (),
    automatic: bool = True,
) -> RemovalPlan:
    """Plan so that none of ``names`` is installed, and nothing is left half way.

    :param needed: modules that must stay, besides those that Odoo always needs.
    :raises SlipwayError: one of them would go, or the code of one that goes is missing.
    """
    states = {name: module.state for name, module in known.items()}
    depends = {name: module.depends for name, module in known.items()}
    going = _with_dependents(names, states, depends, manifests)
    _refuse_needed(names, going, {*ALWAYS_NEEDED, *needed})
    gone = [
        f"{name} ({manifests[name].fault})" if name in manifests else name
        for name in sorted(going)
        if states[name] in THERE and (name not in manifests or manifests[name].fault)
    ]
    if gone:
        raise SlipwayError(
            f"Nothing was changed: Odoo cannot load the code of {', '.join(gone)}, and would leave tables and "
            "records behind when it removes a module without it. Put the code back where the addons path has "
            "it, in the version that is installed, then remove the module"
        )
    reset = {name: "installed" if states[name] in THERE else "uninstalled" for name in going if states[name] in PENDING}
    repair = decide(
        names=(),
        states={**states, **reset},
        manifests=manifests,
        countries=countries,
        automatic=automatic,
        known_depends=depends,
        imported={name for name, module in known.items() if module.imported},
    )
    repair = dataclasses.replace(repair, reset={**repair.reset, **reset}, before=states)
    present = [name for name in going if states[name] in THERE]
    return RemovalPlan(
        requested=tuple(names),
        repair=repair,
        remove=tuple(reversed(load_order(present, manifests))),
        unknown=tuple(name for name in names if name not in known and name not in manifests),
    )


def _with_dependents(
    names: Iterable[str],
    states: Mapping[str, str],
    depends: Mapping[str, Sequence[str]],
    manifests: Mapping[str, Manifest],
) -> set[str]:
    """What goes when ``names`` go: all that needs them, by the database (as Odoo has it) or by its manifest."""
    alive = {name for name, state in states.items() if state in THERE or state == "to install"}
    going: set[str] = set()
    more = alive.intersection(names)
    while more:
        going |= more
        more = {
            name
            for name in alive - going
            if not going.isdisjoint(depends.get(name, ())) or not going.isdisjoint(depends_of(name, manifests, depends))
        }
    return going


def _refuse_needed(names: Sequence[str], going: Iterable[str], needed: Iterable[str]) -> None:
    asked = sorted(set(needed).intersection(names))
    if asked:
        raise SlipwayError(
            f"Nothing was changed: {', '.join(asked)} cannot be removed. Odoo needs base, web and rpc, and the "
            "modules that server_wide_modules of its configuration names"
        )
    taken = sorted(set(needed).intersection(going))
    if taken:
        raise SlipwayError(
            f"Nothing was changed: removing {', '.join(names)} would take {', '.join(taken)} along, which Odoo needs"
        )


def typos(plan: RemovalPlan, names: Iterable[str]) -> list[str]:
    """Sentences about names that are nowhere: nothing is to be done, but they may be mistyped."""
    names = sorted(names)
    sentences = []
    for name in plan.unknown:
        near = near_names(name, names)
        hint = f": did you mean {near[0]}?" if near else ""
        sentences.append(f"No module {name!r} is installed, nor on the addons path{hint}")
    return sentences


_OWNED = """
  EXISTS (SELECT FROM ir_model_data d
           WHERE d.model = '{model}' AND d.res_id = {row}.id AND d.module = ANY (%(names)s))
  AND NOT EXISTS (SELECT FROM ir_model_data d
                   WHERE d.model = '{model}' AND d.res_id = {row}.id
                     AND d.module <> ALL (%(names)s) AND d.module <> '__cloc_exclude__')
"""
#: Everything with rows to count: kind, label, table, what counts it (both quoted by the server), and what the
#: statistics say. A model's table is known by a constraint that Odoo noted, as its name may be any.
_ITEMS = f"""
WITH named AS (
  SELECT DISTINCT ON (c.model) c.model AS id, p.conrelid AS rel
    FROM ir_model_constraint c JOIN pg_constraint p ON p.conname = c.name AND p.contype = 'f'
   WHERE c.type = 'f' AND c.name LIKE '%%\\_create\\_uid\\_fkey'
), tables AS (
  SELECT m.id, m.model, coalesce(n.rel, to_regclass(quote_ident(replace(m.model, '.', '_')))) AS rel
    FROM ir_model m LEFT JOIN named n USING (id)
), lost AS (
  SELECT m.id, m.model, m.transient FROM ir_model m WHERE {_OWNED.format(model="ir.model", row="m")}
), lost_fields AS (
  SELECT f.id, f.model || '.' || f.name AS label, f.name::name AS col, t.rel
    FROM ir_model_fields f JOIN tables t ON t.id = f.model_id
   WHERE f.store AND f.model_id NOT IN (SELECT id FROM lost)
     AND (f.relation IN (SELECT model FROM lost) OR ({_OWNED.format(model="ir.model.fields", row="f")}))
), items AS (
  SELECT 'records' AS kind, l.model::text AS label, t.rel, NULL::name AS col, NULL::text AS value
    FROM lost l JOIN tables t USING (id) WHERE NOT l.transient
  UNION ALL
  SELECT 'fields', label, rel, col, NULL FROM lost_fields
  UNION ALL
  SELECT 'relations', r.name::text, to_regclass(quote_ident(r.name)), NULL, NULL
    FROM ir_model_relation r JOIN ir_module_module m ON m.id = r.module
   GROUP BY r.name HAVING bool_and(m.name = ANY (%(names)s))
  UNION ALL
  SELECT 'values', f.model || '.' || f.name || '=' || s.value, t.rel, f.name::name, s.value
    FROM ir_model_fields_selection s
    JOIN ir_model_fields f ON f.id = s.field_id JOIN tables t ON t.id = f.model_id
   WHERE f.store AND f.model_id NOT IN (SELECT id FROM lost) AND f.id NOT IN (SELECT id FROM lost_fields)
     AND {_OWNED.format(model="ir.model.fields.selection", row="s")}
)
SELECT i.kind, i.label, format('%%I.%%I', n.nspname, c.relname),
       CASE WHEN i.col IS NULL THEN 'count(*)'
            WHEN i.value IS NOT NULL THEN format('count(*) FILTER (WHERE %%I::text = %%L)', i.col, i.value)
            WHEN a.atttypid = 'boolean'::regtype THEN format('count(*) FILTER (WHERE %%I)', i.col)
            ELSE format('count(%%I)', i.col) END,
       c.reltuples::float8, st.null_frac::float8
  FROM items i JOIN pg_class c ON c.oid = i.rel AND c.relkind IN ('r', 'p')
  JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = i.col AND NOT a.attisdropped
  LEFT JOIN pg_stats st ON st.schemaname = n.nspname AND st.tablename = c.relname
                       AND st.attname = i.col AND NOT st.inherited
 WHERE i.col IS NULL OR a.attname IS NOT NULL
 ORDER BY i.kind, i.label
"""  # noqa: S608 (constants of this file)
_DATA = """
SELECT d.model, count(DISTINCT d.res_id)
  FROM ir_model_data d
 WHERE d.module = ANY (%(names)s) AND d.model NOT LIKE 'ir.model%%' AND d.model <> ALL (%(lost)s)
   AND NOT EXISTS (SELECT FROM ir_model_data o
                    WHERE o.model = d.model AND o.res_id = d.res_id
                      AND o.module <> ALL (%(names)s) AND o.module <> '__cloc_exclude__')
 GROUP BY d.model ORDER BY d.model
"""


@dataclasses.dataclass(frozen=True)
class Item:
    """Something to count: the rows of a table, those with something in a column, or with a value in it."""

    kind: str
    label: str
    table: str
    expression: str
    about: float = 0
    empty_share: float | None = None

    @property
    def large(self) -> bool:
        """Tell whether counting would take long."""
        return self.about >= MANY_ROWS

    def estimate(self) -> int:
        """The number of rows as the statistics have it."""
        return round(self.about * (1 - (self.empty_share or 0)))


def read_losses(connection: Any, names: Sequence[str]) -> Losses:
    """Find out what removing modules takes along, without starting Odoo.

    Each table is gone through once, and large ones not at all.
    """
    if not names:
        return Losses()
    items = [Item(*row) for row in rows(connection, _ITEMS, {"names": list(names)})]
    counts = _count(connection, [item for item in items if not item.large])
    models = {item.table for item in items if item.kind == "records"}
    items = [item for item in items if item.kind != "relations" or item.table not in models]
    found: dict[str, dict[str, int]] = {"records": {}, "fields": {}, "relations": {}, "values": {}}
    for item in items:
        number = item.estimate() if item.large else counts[item]
        if number or item.kind == "records":
            found[item.kind][item.label] = number
    lost = [item.label for item in items if item.kind == "records"]
    return Losses(
        **found,
        data=dict(rows(connection, _DATA, {"names": list(names), "lost": lost})),
        estimated=tuple(item.label for item in items if item.large),
        tables=tuple(item.table for item in items if item.kind in ("records", "relations")),
    )


def _count(connection: Any, items: Iterable[Item]) -> dict[Item, int]:
    """Count all in one round trip, going through each table once."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.table, []).append(item)
    parts = [
        f"SELECT {number}, ARRAY[{', '.join(item.expression for item in group)}] FROM {table}"  # noqa: S608 (quoted)
        for number, (table, group) in enumerate(groups.items())
    ]
    answers = dict(rows(connection, " UNION ALL ".join(parts))) if parts else {}
    return {item: count for number, group in enumerate(groups.values()) for item, count in zip(group, answers[number])}


@dataclasses.dataclass(frozen=True)
class Removal:
    """What a removal did: ``states`` afterwards, tables that should have gone but did not, and the run."""

    states: Mapping[str, str]
    left_behind: tuple[str, ...]
    run: OdooRun


def carry_out_removal(
    connection: Any,
    config: OdooConfig,
    database: str,
    plan: RemovalPlan,
    losses: Losses,
    *,
    disk: Disk,
    timeout: int,
) -> Removal:
    """Let Odoo remove what the plan says, and judge it by the database.

    :param connection: holds the lock on this database's modules.
    :raises SlipwayError: something is still installed or half way.
    """
    failure: SlipwayError | None = None
    run: OdooRun | None = None
    try:
        run = run_source(
            config,
            database,
            UNINSTALL,
            list(plan.remove),
            filename="<odoo_module>",
            purpose="modules",
            timeout=timeout,
        ).run
    except SlipwayError as error:
        failure = error
    with changed_anyhow(), still_connected(connection, config, database) as connection:
        return _judge_removal(connection, plan, losses, disk=disk, run=run, failure=failure)


def _judge_removal(
    connection: Any,
    plan: RemovalPlan,
    losses: Losses,
    *,
    disk: Disk,
    run: OdooRun | None,
    failure: SlipwayError | None,
) -> Removal:
    states = read_module_states(connection)
    kept = [name for name in plan.remove if states.get(name) != "uninstalled"]
    halfway = sorted(name for name, state in states.items() if state in PENDING)
    if kept or halfway or run is None:
        what = f"Odoo did not remove {', '.join(kept)}" if kept else "Odoo failed after it had removed all"
        reason = f": {failure}" if failure else ""
        repair = f". Left half way: {', '.join(halfway)}; run this again, which puts them back" if halfway else ""
        raise SlipwayError(
            f"{what}{reason}{repair}",
            **{
                **(failure.details if failure else {}),
                "changed": len(kept) < len(plan.remove),
                "not_removed": kept,
                "pending": halfway,
            },
        )
    record(connection, disk, read_content(connection, disk, ()), ())
    query = "SELECT t FROM unnest(%s::text[]) t WHERE to_regclass(t) IS NOT NULL ORDER BY t"
    left = tuple(table for (table,) in rows(connection, query, (list(losses.tables),)))
    return Removal(states, left, run)
