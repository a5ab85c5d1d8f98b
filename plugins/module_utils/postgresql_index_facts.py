# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Everything about the indexes of some tables, read in one round trip, and what follows from it."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils.errors import NotReadyError, SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_db import rows
from ansible_collections.slipway.odoo.plugins.module_utils.postgresql_index_form import (
    IndexForm,
    quote_name,
    read_definition,
    read_expression,
)

#: ``REINDEX CONCURRENTLY`` makes its index under such a name, and puts the old one aside under such a name.
REINDEX_NAME = re.compile(r"(.+)(_cc(?:new|old)\d*)", re.DOTALL)
_KINDS = {"v": "a view", "S": "a sequence", "f": "a foreign table", "c": "a type", "i": "an index", "I": "an index"}


@dataclasses.dataclass(frozen=True)
class Table:
    """A table, partitioned table or materialised view.

    ``parent`` is the oid of the table that it is a partition of. ``owned``, ``writable`` and ``readable`` tell
    whether we may make indexes on it, make anything in its schema, and select from it.
    """

    oid: int
    schema: str
    name: str
    partitioned: bool = False
    parent: int | None = None
    partition_key: str = ""
    owner: str = ""
    owned: bool = True
    writable: bool = True
    readable: bool = True

    def __str__(self) -> str:
        return f"{quote_name(self.schema)}.{quote_name(self.name)}"


@dataclasses.dataclass(frozen=True)
class Index:
    """An index as it is. ``table`` and ``parent`` are oids; ``size`` is in bytes.

    ``constraint`` names the primary key, unique or exclusion constraint behind it, ``referenced_by`` the
    foreign keys that rely on it. ``storage`` are its storage parameters, ``statistics`` the statistics targets of
    its columns (-1 is the default) if it has expressions, ``clustered`` tells that ``CLUSTER`` goes by it.
    """

    oid: int
    schema: str
    name: str
    table: int
    definition: str
    form: IndexForm
    valid: bool = True
    ready: bool = True
    primary: bool = False
    constraint: str = ""
    constraint_type: str = ""
    partitioned: bool = False
    parent: int | None = None
    parent_name: str = ""
    size: int = 0
    scans: int = 0
    tuples_read: int = 0
    opclasses: tuple[str, ...] = ()
    collations: tuple[str, ...] = ()
    storage: tuple[str, ...] = ()
    tablespace: str = ""
    statistics: tuple[int, ...] = ()
    replica_identity: bool = False
    clustered: bool = False
    comment: str = ""
    referenced_by: tuple[str, ...] = ()

    @property
    def healthy(self) -> bool:
        """Tell whether queries can use it."""
        return self.valid and self.ready


@dataclasses.dataclass(frozen=True)
class ForeignKey:
    """A foreign key, with the columns that refer."""

    name: str
    table: int
    columns: tuple[str, ...]
    references: str


@dataclasses.dataclass(frozen=True)
class Build:
    """A build that another session runs now. ``index`` is 0 where it cannot be known."""

    pid: int
    table: int
    index: int = 0
    phase: str = ""
    client: str = ""


@dataclasses.dataclass(frozen=True)
class Facts:
    """What was read.

    ``named`` holds the oid for each table asked for, ``named_indexes`` for each index, in order; 0 is one
    that does not exist. ``standby`` tells that the server takes no
    changes, ``temporary`` that we may make temporary tables. ``relations`` maps schema and name to the
    kind, for all names asked for.
    """

    tables: Mapping[int, Table]
    indexes: tuple[Index, ...]
    named: tuple[int, ...] = ()
    named_indexes: tuple[int, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    builds: tuple[Build, ...] = ()
    relations: Mapping[tuple[str, str], str] = dataclasses.field(default_factory=dict)
    schema: str = "public"
    role: str = ""
    standby: bool = False
    temporary: bool = True
    stats_reset: str | None = None

    def on(self, table: int) -> list[Index]:
        """The indexes of one table."""
        return self.by_table.get(table, [])

    @functools.cached_property
    def by_table(self) -> dict[int, list[Index]]:
        """Indexes by their table's oid."""
        grouped: dict[int, list[Index]] = {}
        for index in self.indexes:
            grouped.setdefault(index.table, []).append(index)
        return grouped

    @functools.cached_property
    def by_name(self) -> dict[tuple[str, str], Index]:
        """Indexes by schema and name."""
        return {(index.schema, index.name): index for index in self.indexes}

    @functools.cached_property
    def by_oid(self) -> dict[int, Index]:
        """Indexes by oid."""
        return {index.oid: index for index in self.indexes}

    def partitions(self, table: int) -> list[Table]:
        """The partitions right below a table, by name."""
        return sorted((t for t in self.tables.values() if t.parent == table), key=lambda t: (t.schema, t.name))

    def build_of(self, index: Index) -> Build | None:
        """The build of an index that is under way."""
        return next((build for build in self.builds if build.index == index.oid), None)

    def may_be_under_way(self, index: Index) -> bool:
        """Tell whether a build that runs now may own an index: a REINDEX owns two at a time and tells of one."""
        return any(
            build.index == index.oid
            or (build.table == index.table and (not build.index or REINDEX_NAME.fullmatch(index.name) is not None))
            for build in self.builds
        )


_FACTS = """
WITH RECURSIVE named AS (
    SELECT o, to_regclass(CASE WHEN s = '' THEN quote_ident(t) ELSE quote_ident(s) || '.' || quote_ident(t) END)::oid
               AS oid
      FROM unnest(%(table_schemas)s::text[], %(tables)s::text[]) WITH ORDINALITY AS w (s, t, o)
), named_indexes AS (
    SELECT o, to_regclass(CASE WHEN s = '' THEN quote_ident(n) ELSE quote_ident(s) || '.' || quote_ident(n) END)::oid
               AS oid
      FROM unnest(%(index_schemas)s::text[], %(indexes)s::text[]) WITH ORDINALITY AS w (s, n, o)
), tree AS (
    SELECT oid FROM named WHERE oid IS NOT NULL
     UNION
    SELECT i.indrelid FROM pg_index i JOIN named_indexes n ON n.oid = i.indexrelid
     UNION
    SELECT c.oid FROM pg_class c
     WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = coalesce(%(whole)s, ''))
       AND c.relkind IN ('r', 'p', 'm')
     UNION
    SELECT i.inhrelid FROM tree t JOIN pg_inherits i ON i.inhparent = t.oid
                             JOIN pg_class c ON c.oid = i.inhrelid AND c.relispartition
                                                                 AND c.relkind IN ('r', 'p')
), referring AS MATERIALIZED (
    SELECT k.conindid AS index, array_agg(format('%%I on %%s', k.conname, k.conrelid::regclass)) AS keys
      FROM pg_constraint k
     WHERE k.contype = 'f' AND k.confrelid IN (SELECT oid FROM tree)
     GROUP BY k.conindid
), me AS (
    SELECT oid FROM pg_roles WHERE rolname = current_user
)
SELECT
  (SELECT json_build_object(
            'schema', current_schema(), 'role', current_user, 'standby', pg_is_in_recovery(),
            'temporary', has_database_privilege(current_database(), 'TEMP'),
            'stats_reset', to_char(d.stats_reset AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
            'whole', coalesce(%(whole)s, '') = '' OR EXISTS (SELECT FROM pg_namespace WHERE nspname = %(whole)s))
     FROM pg_stat_database d WHERE d.datname = current_database()),
  (SELECT json_agg(coalesce(n.oid::bigint, 0) ORDER BY o) FROM named n),
  (SELECT json_agg(coalesce(n.oid::bigint, 0) ORDER BY o) FROM named_indexes n),
  (SELECT json_agg(json_build_object(
            'oid', c.oid::bigint, 'schema', n.nspname, 'name', c.relname, 'kind', c.relkind,
            'parent', (SELECT inhparent::bigint FROM pg_inherits WHERE inhrelid = c.oid AND c.relispartition),
            'partition_key', CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END,
            'owner', pg_get_userbyid(c.relowner), 'owned', pg_has_role((SELECT oid FROM me), c.relowner, 'USAGE'),
            'writable', has_schema_privilege(n.oid, 'CREATE'), 'readable', has_table_privilege(c.oid, 'SELECT'))
            ORDER BY n.nspname, c.relname)
     FROM tree t JOIN pg_class c USING (oid) JOIN pg_namespace n ON n.oid = c.relnamespace),
  (SELECT json_agg(json_build_object(
            'oid', c.oid::bigint, 'schema', n.nspname, 'name', c.relname, 'table', i.indrelid::bigint,
            'definition', d.definition, 'valid', i.indisvalid, 'ready', i.indisready, 'primary', i.indisprimary,
            'constraint', k.conname, 'constraint_type', k.contype, 'partitioned', c.relkind = 'I',
            'parent', h.inhparent::bigint, 'parent_name', h.inhparent::regclass::text,
            'size', pg_relation_size(c.oid), 'scans', pg_stat_get_numscans(c.oid),
            'tuples_read', pg_stat_get_tuples_returned(c.oid),
            'opclasses', ARRAY(SELECT (SELECT opcname FROM pg_opclass WHERE oid = u.o)
                                 FROM unnest(i.indclass::oid[]) WITH ORDINALITY u (o, n) ORDER BY u.n),
            'collations', ARRAY(SELECT coalesce((SELECT collname FROM pg_collation WHERE oid = u.o), '')
                                  FROM unnest(i.indcollation::oid[]) WITH ORDINALITY u (o, n) ORDER BY u.n),
            'storage', c.reloptions, 'tablespace', s.spcname, 'replica_identity', i.indisreplident,
            'clustered', i.indisclustered,
            'statistics', CASE WHEN i.indexprs IS NOT NULL THEN
                               ARRAY(SELECT coalesce(a.attstattarget, -1) FROM pg_attribute a
                                      WHERE a.attrelid = c.oid ORDER BY a.attnum) END,
            'comment', obj_description(c.oid, 'pg_class'),
            'referenced_by', coalesce(f.keys, '{}'))
            ORDER BY n.nspname, c.relname)
     FROM tree t
     JOIN pg_index i ON i.indrelid = t.oid
     JOIN pg_class c ON c.oid = i.indexrelid
     JOIN pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN LATERAL (SELECT pg_get_indexdef(c.oid) AS definition) d
     LEFT JOIN pg_constraint k ON k.conindid = c.oid AND k.conrelid = i.indrelid AND k.contype IN ('p', 'u', 'x')
     LEFT JOIN referring f ON f.index = c.oid
     LEFT JOIN pg_inherits h ON h.inhrelid = c.oid
     LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace
    WHERE d.definition IS NOT NULL),
  (SELECT json_agg(json_build_object(
            'name', k.conname, 'table', k.conrelid::bigint, 'references', k.confrelid::regclass::text,
            'columns', ARRAY(SELECT a.attname FROM unnest(k.conkey) WITH ORDINALITY u (a, n)
                               JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.a ORDER BY u.n))
            ORDER BY k.conrelid, k.conname)
     FROM tree t JOIN pg_constraint k ON k.conrelid = t.oid
    WHERE k.contype = 'f' AND k.conparentid = 0),
  (SELECT json_agg(DISTINCT jsonb_build_object(
            'pid', p.pid, 'table', l.relation::bigint, 'index', coalesce(p.index_relid::bigint, 0),
            'phase', coalesce(p.phase, ''),
            'client', concat_ws(' ', a.usename, nullif(a.application_name, ''), 'from',
                                coalesce(host(a.client_addr), 'this host'))))
     FROM pg_stat_progress_create_index p
     JOIN pg_locks l ON l.pid = p.pid AND l.locktype = 'relation' AND l.granted
                    AND l.mode IN ('ShareUpdateExclusiveLock', 'ShareLock')
     JOIN tree t ON t.oid = l.relation
     LEFT JOIN pg_stat_activity a ON a.pid = p.pid
    WHERE p.datname = current_database() AND p.pid <> pg_backend_pid()
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())),
  (SELECT json_agg(json_build_array(n.nspname, c.relname, c.relkind))
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname = ANY (%(indexes)s::text[]))
"""


def read_facts(
    connection: Any,
    *,
    tables: Sequence[tuple[str, str]] = (),
    indexes: Sequence[tuple[str, str]] = (),
    whole: str | None = None,
) -> Facts:
    """Ask for everything about the indexes of tables and of their partitions.

    :param tables: schema (empty: the search path finds it) and name of each table.
    :param indexes: schema and name of indexes whose tables are meant, too.
    :param whole: a schema of which all tables are meant.
    :raises NotReadyError: a table or the schema does not exist.
    :raises SlipwayError: one of them is something that has no indexes.
    """
    values = {
        "table_schemas": [schema for schema, _name in tables],
        "tables": [name for _schema, name in tables],
        "index_schemas": [schema for schema, _name in indexes],
        "indexes": [name for _schema, name in indexes],
        "whole": whole,
    }
    server, named, named_indexes, found, listed, keys, builds, relations = rows(connection, _FACTS, values)[0]
    if not server["whole"]:
        raise NotReadyError(f"Database {connection.info.dbname!r} has no schema {whole!r}")
    named = tuple(named or ())
    _require(connection, tables, named, found or ())
    known = {table["oid"]: _table(table) for table in found or ()}
    return Facts(
        tables=known,
        indexes=tuple(_sized([_index(index) for index in listed or ()])),
        named=named,
        named_indexes=tuple(named_indexes or ()),
        foreign_keys=tuple(ForeignKey(**{**key, "columns": tuple(key["columns"])}) for key in keys or ()),
        builds=tuple(Build(**build) for build in builds or ()),
        relations={(schema, name): kind for schema, name, kind in relations or ()},
        schema=server["schema"] or "public",
        role=server["role"],
        standby=server["standby"],
        temporary=server["temporary"],
        stats_reset=server["stats_reset"],
    )


def _require(
    connection: Any, tables: Sequence[tuple[str, str]], named: Sequence[int], found: Iterable[Mapping[str, Any]]
) -> None:
    missing = [f"{schema}.{name}" if schema else name for (schema, name), oid in zip(tables, named) if not oid]
    if missing:
        raise NotReadyError(
            f"Database {connection.info.dbname!r} has no table {', '.join(dict.fromkeys(missing))}",
            missing_tables=list(dict.fromkeys(missing)),
        )
    for table in found:
        if table["kind"] in _KINDS:
            raise SlipwayError(f"{table['schema']}.{table['name']} is {_KINDS[table['kind']]}: it has no indexes")


def _table(row: Mapping[str, Any]) -> Table:
    values = {key: value for key, value in row.items() if key not in ("kind", "partition_key")}
    return Table(**values, partitioned=row["kind"] == "p", partition_key=row["partition_key"] or "")


def _index(row: Mapping[str, Any]) -> Index:
    empty = {
        "parent_name": "",
        "constraint": "",
        "constraint_type": "",
        "storage": (),
        "statistics": (),
        "tablespace": "",
        "comment": "",
        "size": 0,
    }
    values = {key: empty[key] if value is None and key in empty else value for key, value in row.items()}
    for key in ("opclasses", "collations", "storage", "statistics", "referenced_by"):
        values[key] = tuple(values[key])
    return Index(**values, form=read_definition(row["definition"]))


def _sized(indexes: list[Index]) -> list[Index]:
    """Give an index on a partitioned table the size and the use of its parts."""
    parts: dict[int, list[Index]] = {}
    for index in indexes:
        if index.parent:
            parts.setdefault(index.parent, []).append(index)

    def total(index: Index, what: str) -> int:
        if not index.partitioned:
            return int(getattr(index, what))
        return sum(total(part, what) for part in parts.get(index.oid, ()))

    sums = ("size", "scans", "tuples_read")
    return [
        dataclasses.replace(index, **{what: total(index, what) for what in sums}) if index.partitioned else index
        for index in indexes
    ]


def duplicates(index: Index, others: Iterable[Index]) -> list[str]:
    """Names of indexes that do everything this one does; none for one that a constraint needs."""
    return [
        other.name
        for other in others
        if other.oid != index.oid
        and other.table == index.table
        and other.healthy
        and not index.constraint
        and other.form.does_work_of(index.form)
    ]


def wider(index: Index, others: Iterable[Index]) -> list[str]:
    """Names of indexes that begin with this one's keys, so that it may be superfluous."""
    return [
        other.name
        for other in others
        if other.oid != index.oid
        and other.table == index.table
        and other.healthy
        and not index.constraint
        and other.form.covers(index.form)
    ]


def serves(index: Index, key: ForeignKey) -> bool:
    """Tell whether looking up the rows that refer by a foreign key can use an index."""
    leading = index.form.keys[: len(key.columns)]
    return (
        index.table == key.table
        and index.healthy
        and index.form.method in ("btree", "hash")
        and {column.column for column in leading} == set(key.columns)
        and index.form.where in ("", *(read_expression(f"{quote_name(column)} IS NOT NULL") for column in key.columns))
    )


def without_index(facts: Facts) -> list[ForeignKey]:
    """Foreign keys whose columns no index begins with."""
    return [key for key in facts.foreign_keys if not any(serves(index, key) for index in facts.on(key.table))]


def index_facts(facts: Facts, index: Index) -> dict[str, Any]:
    """One index as a module returns it."""
    table = facts.tables[index.table]
    neighbours = facts.on(index.table)
    build = facts.build_of(index)
    return {
        "name": index.name,
        "schema": index.schema,
        "table": table.name,
        "definition": index.definition,
        "method": index.form.method,
        "keys": [
            {
                "column": key.column or None,
                "expression": key.expression or None,
                "opclass": opclass,
                "collation": collation or None,
                "order": "desc" if key.descending else "asc",
                "nulls": "first" if key.nulls_first else "last",
            }
            for key, opclass, collation in zip(index.form.keys, index.opclasses, index.collations)
        ],
        "include": list(index.form.include),
        "where": index.form.where or None,
        "unique": index.form.unique,
        "nulls_not_distinct": index.form.nulls_not_distinct,
        "primary": index.primary,
        "constraint": index.constraint or None,
        "valid": index.valid,
        "ready": index.ready,
        "building": build.phase if build else None,
        "size": index.size,
        "scans": index.scans,
        "tuples_read": index.tuples_read,
        "partitioned": index.partitioned,
        "parent": index.parent_name or None,
        "duplicate_of": duplicates(index, neighbours),
        "prefix_of": wider(index, neighbours),
    }
