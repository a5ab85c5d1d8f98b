# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Compare indexes with what somebody wants, by meaning.

Where the text of a definition is not the one that PostgreSQL would write, PostgreSQL is asked: in a
transaction that is rolled back, the wanted indexes are made on empty temporary tables with the columns
of the real ones, and their definitions read back. The real tables are neither written nor locked
against anything but a change of their columns. That also finds unknown columns, methods and operator
classes before anything happens.
"""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

try:
    from psycopg2 import sql
except ImportError:
    # Then there is no connection either, and the session says so.
    sql = None

from ansible_collections.slipway.odoo.plugins.module_utils.errors import NotReadyError, SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_db import rows
from ansible_collections.slipway.odoo.plugins.module_utils.postgresql_index_facts import (
    Facts,
    Index,
    Table,
)
from ansible_collections.slipway.odoo.plugins.module_utils.postgresql_index_form import (
    IndexForm,
    Wanted,
    read_definition,
)

#: Each relation that a transaction makes takes a place in the server's lock table until its end.
_BATCH = 250
_TWIN = "slipway_twin_"
_UNDEFINED_COLUMN = "42703"
_MAKE_TWINS = """
SELECT set_config('slipway.statements', %s, true), set_config('slipway.problems', '{}', true);
DO $slipway$
DECLARE
    item jsonb;
    problems jsonb := '{}';
BEGIN
    FOR item IN SELECT jsonb_array_elements(current_setting('slipway.statements')::jsonb) LOOP
        BEGIN
            EXECUTE item->>1;
        EXCEPTION WHEN OTHERS THEN
            problems := problems || jsonb_build_object(item->>0, jsonb_build_array(SQLSTATE, SQLERRM));
        END;
    END LOOP;
    PERFORM set_config('slipway.problems', problems::text, true);
END $slipway$;
SELECT current_setting('slipway.problems')::json,
       (SELECT json_object_agg(c.relname, pg_get_indexdef(c.oid))
          FROM pg_class c
         WHERE c.relnamespace = pg_my_temp_schema() AND starts_with(c.relname, %s) AND c.relkind IN ('i', 'I'))
"""


@dataclasses.dataclass(frozen=True)
class Target:
    """A wanted index, its table, and the index that has its name now.

    ``form`` is what is wanted as PostgreSQL writes it. ``by_text`` tells that PostgreSQL could not be asked.
    """

    wanted: Wanted
    table: Table
    form: IndexForm
    found: Index | None = None
    by_text: bool = False

    def __str__(self) -> str:
        return f"index {self.wanted.name!r} on {self.table}"

    def matches(self, index: Index) -> bool:
        """Tell whether an index is as wanted."""
        return self.form.same(index.form) or (self.by_text and self.form.loosely_same(index.form))

    def equivalent(self, facts: Facts) -> list[str]:
        """Names of other indexes that do the same work."""
        return [index.name for index in self._others(facts) if index.form.does_work_of(self.form)]

    def covered_by(self, facts: Facts) -> list[str]:
        """Names of wider indexes that serve the same searches."""
        return [index.name for index in self._others(facts) if index.form.covers(self.form)]

    def _others(self, facts: Facts) -> list[Index]:
        return [index for index in facts.on(self.table.oid) if index.healthy and index.name != self.wanted.name]


def identifier(*parts: str) -> Any:
    """A quoted name, with its schema where two parts are given."""
    return sql.Identifier(*parts)


def index_body(form: IndexForm) -> Any:
    """What follows the table in ``CREATE INDEX``, up to the predicate; storage parameters excluded."""
    keys = [
        sql.SQL("{}{}").format(
            identifier(key.column) if key.column else sql.SQL(f"({key.expression})"), sql.SQL(key.options)
        )
        for key in form.keys
    ]
    parts = [sql.SQL("USING {} ({})").format(identifier(form.method), sql.SQL(", ").join(keys))]
    if form.include:
        parts.append(sql.SQL("INCLUDE ({})").format(sql.SQL(", ").join(map(identifier, form.include))))
    if form.nulls_not_distinct:
        parts.append(sql.SQL("NULLS NOT DISTINCT"))
    return sql.SQL(" ").join(parts)


def predicate(form: IndexForm) -> Any:
    """The end of ``CREATE INDEX``."""
    return sql.SQL(f" WHERE ({form.where})" if form.where else "")


def resolve(connection: Any, facts: Facts, wanted: Sequence[Wanted]) -> tuple[Target, ...]:
    """Find table and index of each wanted one, and its form as PostgreSQL writes it.

    :param wanted: present ones, in the order in which their tables were asked for.
    :raises SlipwayError: two are one, or PostgreSQL refuses some; with all reasons.
    """
    targets = []
    for item, oid in zip(wanted, facts.named):
        table = facts.tables[oid]
        found = facts.by_name.get((table.schema, item.name))
        targets.append(Target(item, table, item.form, found=found if found and found.table == table.oid else None))
    _refuse_twice(targets)
    unclear = [
        number for number, target in enumerate(targets) if not target.found or not target.form.same(target.found.form)
    ]
    askable = [n for n in unclear if facts.temporary and not facts.standby and targets[n].table.readable]
    forms = _ask(connection, {number: targets[number] for number in askable})
    for number in unclear:
        form = forms.get(number)
        targets[number] = dataclasses.replace(targets[number], form=form or targets[number].form, by_text=form is None)
    return tuple(targets)


def _refuse_twice(targets: Iterable[Target]) -> None:
    """Whether two entries mean one index shows only when their tables are found."""
    counts = collections.Counter((target.table.schema, target.wanted.name) for target in targets)
    problems = [
        f"{name!r}: is named twice in schema {schema!r}" for (schema, name), times in counts.items() if times > 1
    ]
    if problems:
        raise SlipwayError(f"These indexes are not described well: {'; '.join(problems)}", problems=problems)


def _ask(connection: Any, targets: Mapping[int, Target]) -> dict[int, IndexForm]:
    forms: dict[int, IndexForm] = {}
    problems: list[str] = []
    states: set[str] = set()
    numbers = sorted(targets, key=lambda number: targets[number].table.oid)
    for start in range(0, len(numbers), _BATCH):
        batch = {number: targets[number] for number in numbers[start : start + _BATCH]}
        found, refused = _ask_batch(connection, batch)
        forms.update(found)
        problems += [f"{batch[number]}: {text}" for number, (_state, text) in refused.items()]
        states |= {state for state, _text in refused.values()}
    if problems:
        # A module that an earlier task installs may bring the column.
        fault = NotReadyError if states == {_UNDEFINED_COLUMN} else SlipwayError
        raise fault(f"PostgreSQL would refuse {'; '.join(problems)}. Nothing was changed", problems=problems)
    return forms


def _ask_batch(
    connection: Any, targets: Mapping[int, Target]
) -> tuple[dict[int, IndexForm], dict[int, tuple[str, str]]]:
    """Forms by number, and SQLSTATE and text of what was refused."""
    statements = [(key, statement.as_string(connection)) for key, statement in _twin_statements(targets)]
    rows(connection, "BEGIN READ WRITE")
    try:
        refused, made = rows(connection, _MAKE_TWINS, (json.dumps(statements), _TWIN))[0]
    finally:
        rows(connection, "ROLLBACK")
    forms = {int(name[len(_TWIN) :]): read_definition(text) for name, text in (made or {}).items()}
    broken = {key[len("table ") :]: text for key, (_state, text) in refused.items() if key.startswith("table ")}
    if broken:
        tables = {str(target.table.oid): target.table for target in targets.values()}
        text = "; ".join(f"{tables[oid]}: {text}" for oid, text in broken.items())
        raise SlipwayError(f"The columns of these tables cannot be copied into temporary ones: {text}")
    return forms, {int(key): (state, text) for key, (state, text) in refused.items()}


def _twin_statements(targets: Mapping[int, Target]) -> Iterable[tuple[str, Any]]:
    """Statements that make the twins, each with a key that its failure is reported under."""
    names: dict[int, str] = {}
    for number, target in targets.items():
        table = target.table
        if table.oid not in names:
            # Expressions may name their table, so its twin has the same name if that is free.
            names[table.oid] = f"{_TWIN}of_{table.oid}" if table.name in names.values() else table.name
            partition = sql.SQL(f" PARTITION BY {table.partition_key}" if table.partitioned else "")
            yield (
                f"table {table.oid}",
                sql.SQL("CREATE TEMPORARY TABLE {} (LIKE {}){}").format(
                    identifier("pg_temp", names[table.oid]), identifier(table.schema, table.name), partition
                ),
            )
        yield (
            str(number),
            sql.SQL("CREATE {}INDEX {} ON {} {}{}").format(
                sql.SQL("UNIQUE " if target.form.unique else ""),
                identifier(f"{_TWIN}{number}"),
                identifier("pg_temp", names[table.oid]),
                index_body(target.form),
                predicate(target.form),
            ),
        )


def by_text_warning(targets: Iterable[Target]) -> str:
    """What to say where PostgreSQL could not be asked; empty where it could."""
    names = [target.wanted.name for target in targets if target.by_text]
    if not names:
        return ""
    return (
        "PostgreSQL could not be asked what these definitions mean (standby, no privilege TEMP on the database, or no "
        f"SELECT on the table). They were compared without casts and brackets instead: {', '.join(names)}"
    )


def compare(
    facts: Facts, targets: Sequence[Target], *, accept_equivalent: bool, name_prefix: str = ""
) -> dict[str, Any]:
    """Sort wanted indexes into those that are well and those that are not.

    :param accept_equivalent: take an index of another name that does the same work for the wanted one.
    :param name_prefix: of the indexes that may be called extra.
    """
    report: dict[str, Any] = {"missing": [], "invalid": [], "mismatched": [], "ok": []}
    accepted: set[tuple[str, str]] = set()
    for target in targets:
        kind, entry = _judge(facts, target, accept_equivalent=accept_equivalent)
        report[kind].append(entry)
        if kind == "ok" and entry["name"] != target.wanted.name:
            accepted.add((entry["schema"], entry["name"]))
    report["invalid"] += _broken(facts, targets)
    report["extra"] = _extra(facts, targets, accepted, name_prefix)
    report["in_order"] = not (report["missing"] or report["invalid"] or report["mismatched"])
    report["compared_by_text"] = [target.wanted.name for target in targets if target.by_text]
    return report


def _judge(facts: Facts, target: Target, *, accept_equivalent: bool) -> tuple[str, dict[str, Any]]:
    place = {"name": target.wanted.name, "schema": target.table.schema, "table": target.table.name}
    found = target.found
    if found is None:
        equivalent = target.equivalent(facts)
        if equivalent and accept_equivalent:
            return "ok", {**place, "name": equivalent[0], "instead_of": target.wanted.name}
        entry = {**place, "equivalent": equivalent, "covered_by": target.covered_by(facts)}
        taken = facts.relations.get((target.table.schema, target.wanted.name))
        if taken:
            entry["reason"] = "another relation of this schema has the name"
        return "missing", entry
    if not target.matches(found):
        return "mismatched", {
            **place,
            "differences": target.form.differences(found.form),
            "definition": found.definition,
            "valid": found.healthy,
        }
    if not found.healthy:
        return "invalid", {**place, "reason": invalid_reason(facts, found)}
    return "ok", place


def invalid_reason(facts: Facts, index: Index) -> str:
    """Why queries cannot use an index."""
    build = facts.build_of(index)
    if build:
        return f"backend {build.pid} ({build.client}) is building it now: {build.phase}"
    if index.partitioned:
        attached = {part.table for part in facts.indexes if part.parent == index.oid and part.healthy}
        lacking = [str(table) for table in facts.partitions(index.table) if table.oid not in attached]
        return f"no valid index is attached for {', '.join(lacking) or 'any partition'}"
    reason = "a build was cut off or failed, queries do not use it"
    return f"{reason}, and it still refuses rows with equal keys" if index.ready and index.form.unique else reason


def _broken(facts: Facts, targets: Sequence[Target]) -> list[dict[str, Any]]:
    """Indexes that nobody expects, on the tables of expected ones or their partitions, that are not whole.

    Parts of one that is not whole either are left out.
    """
    expected = {(target.table.schema, target.wanted.name) for target in targets}
    tables = {target.table.oid for target in targets}
    broken = {index.oid: index for index in facts.indexes if not index.healthy and _within(facts, index.table, tables)}
    return [
        {
            "name": index.name,
            "schema": index.schema,
            "table": facts.tables[index.table].name,
            "reason": f"nobody expects it: {invalid_reason(facts, index)}",
        }
        for index in broken.values()
        if (index.schema, index.name) not in expected
        and index.parent not in broken
        and not facts.may_be_under_way(index)
    ]


def _within(facts: Facts, table: int | None, tables: Set[int]) -> bool:
    """Tell whether a table is one of some, or a partition of one."""
    while table and table not in tables:
        table = facts.tables[table].parent if table in facts.tables else None
    return bool(table)


def _extra(
    facts: Facts, targets: Sequence[Target], accepted: set[tuple[str, str]], name_prefix: str
) -> list[dict[str, Any]]:
    """Indexes on the tables of expected ones that nobody expects and no constraint or partitioned index needs."""
    expected = {(target.table.schema, target.wanted.name) for target in targets} | accepted
    return [
        {
            "name": index.name,
            "schema": index.schema,
            "table": facts.tables[oid].name,
            "definition": index.definition,
            "valid": index.healthy,
        }
        for oid in dict.fromkeys(target.table.oid for target in targets)
        for index in facts.on(oid)
        if (index.schema, index.name) not in expected
        and not index.constraint
        and not index.parent
        and index.name.startswith(name_prefix)
    ]
