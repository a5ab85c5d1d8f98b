# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which modules an instance has: what its database says, held against what is on disk."""

from __future__ import annotations

import collections
import dataclasses
import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_checksum import (
    SETTINGS_COLUMNS,
    SETTINGS_VALUES,
    ChecksumSettings,
    parse_settings,
)
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_db import require_odoo, rows
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_manifest import (
    Disk,
    Manifest,
    full_version,
    version_key,
)
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_plan import PENDING, THERE

# One row. Columns that differ between versions are taken by name from the row as JSON: the installed version is
# latest_version up to 19 and db_version afterwards, texts are JSON by language since 16.
_QUERY = """
WITH RECURSIVE categories (id, path) AS (
    SELECT id, to_jsonb(c) #>> '{name,en_US}' FROM ir_module_category c WHERE parent_id IS NULL
    UNION ALL
    SELECT c.id, concat(p.path, '/', to_jsonb(c) #>> '{name,en_US}')
      FROM ir_module_category c JOIN categories p ON p.id = c.parent_id
), modules AS MATERIALIZED (
    SELECT m.name, m.state, m.author, m.license, m.category_id, to_jsonb(m) AS columns,
           ARRAY(SELECT d.name::text FROM ir_module_module_dependency d WHERE d.module_id = m.id ORDER BY d.id)
           AS depends
      FROM ir_module_module m
)
SELECT (SELECT json_agg(json_build_object(
                   'name', m.name,
                   'state', m.state,
                   'version', coalesce(m.columns ->> 'db_version', m.columns ->> 'latest_version', ''),
                   'title', coalesce(m.columns #>> '{shortdesc,en_US}', ''),
                   'summary', coalesce(m.columns #>> '{summary,en_US}', ''),
                   'category', coalesce(c.path, ''),
                   'author', coalesce(m.author, ''),
                   'license', coalesce(m.license, ''),
                   'depends', m.depends,
                   'codeless', coalesce(m.columns ->> 'to_buy' = 'true' OR m.columns ->> 'imported' = 'true', false)))
          FROM modules m LEFT JOIN categories c ON c.id = m.category_id),
"""


@dataclasses.dataclass(frozen=True)
class Record:
    """What the database says of one module.

    ``codeless`` ones are none of ours to miss on disk: Odoo's advertisements, and what was imported as data.
    """

    name: str
    state: str | None
    version: str = ""
    title: str = ""
    summary: str = ""
    category: str = ""
    author: str = ""
    license: str = ""
    depends: tuple[str, ...] = ()
    codeless: bool = False


def read_records(connection: Any, database: str) -> tuple[dict[str, Record], ChecksumSettings]:
    """Ask a database for all its modules, and for what it says about checksums, in one round trip.

    :raises NotReadyError: Odoo is not installed in it yet.
    :raises SlipwayError: it is none of Odoo's.
    """
    try:
        found, *settings = rows(connection, _QUERY + SETTINGS_COLUMNS, SETTINGS_VALUES)[0]
    except SlipwayError:
        # There are better words for a database without Odoo.
        require_odoo(connection, database)
        raise
    records = {row["name"]: Record(**{**row, "depends": tuple(row["depends"])}) for row in found or ()}
    if "base" not in records or records["base"].state not in THERE:
        require_odoo(connection, database)
    return records, parse_settings(*settings)


@dataclasses.dataclass(frozen=True)
class Module:
    """One module as database and disk together know it. ``changed`` is None where nothing can tell."""

    name: str
    display_name: str
    summary: str
    category: str
    author: str
    license: str
    state: str | None
    installed_version: str | None
    disk_version: str | None
    path: str | None
    depends: tuple[str, ...]
    checksum: str | None
    changed: bool | None
    found_in: str


def join(
    records: Mapping[str, Record],
    disk: Disk,
    *,
    settings: ChecksumSettings,
    checksums: Mapping[str, str],
) -> tuple[Module, ...]:
    """Put together what database and disk say, in the order of names; the disk has the newer word on texts.

    :param checksums: of the modules that were looked at.
    """
    modules = []
    for name in sorted(records.keys() | disk.manifests.keys()):
        record, manifest = records.get(name), disk.manifests.get(name)
        there = record is not None and record.state in THERE
        checksum, stored = checksums.get(name), settings.stored.get(name)
        # A manifest that cannot be parsed says nothing.
        told = manifest if manifest and manifest.readable else record
        known: Any = told or Record(name, None)
        modules.append(
            Module(
                name=name,
                display_name=known.title,
                summary=known.summary,
                category=known.category,
                author=known.author,
                license=known.license,
                state=record.state if record else None,
                installed_version=(record.version or None) if record and there else None,
                disk_version=_disk_version(manifest, disk.series),
                path=manifest.path if manifest else None,
                depends=known.depends,
                checksum=checksum,
                changed=checksum != stored if there and checksum and stored else None,
                found_in="disk" if record is None else "both" if manifest else "database",
            )
        )
    return tuple(modules)


def _disk_version(manifest: Manifest | None, series: str) -> str | None:
    if manifest is None or not manifest.readable:
        return None
    return full_version(manifest.version, series) or manifest.version


@dataclasses.dataclass(frozen=True)
class Findings:
    """What is remarkable about an instance's modules; every list in the order of names."""

    pending: list[str]
    outdated: list[str]
    changed_since_installed: list[str]
    unknown_changes: list[str]
    only_in_database: list[str]
    only_on_disk: list[str]
    not_installable: list[dict[str, Any]]
    unparsable: list[dict[str, Any]]
    missing_dependencies: list[dict[str, Any]]
    shadowed: list[dict[str, Any]]
    broken: list[dict[str, Any]]


def find(modules: Sequence[Module], records: Mapping[str, Record], disk: Disk) -> Findings:
    """Draw up the lists."""
    installable = {name for name, manifest in disk.manifests.items() if not manifest.fault}
    return Findings(
        pending=[module.name for module in modules if module.state in PENDING],
        outdated=[module.name for module in modules if module.name in installable and _outdated(module)],
        changed_since_installed=[module.name for module in modules if module.changed],
        unknown_changes=[module.name for module in modules if module.checksum and _unknown(module)],
        only_in_database=[
            module.name for module in modules if module.found_in == "database" and not records[module.name].codeless
        ],
        only_on_disk=[module.name for module in modules if module.found_in == "disk"],
        not_installable=[
            {"name": module.name, "state": module.state, "path": module.path, "reason": manifest.fault}
            for module, manifest in ((module, disk.manifests.get(module.name)) for module in modules)
            if manifest and manifest.fault
        ],
        unparsable=sorted(
            (
                {"name": manifest.name, "file": manifest.file, "line": manifest.line, "reason": manifest.fault}
                for manifest in (*disk.manifests.values(), *disk.others)
                if not manifest.readable
            ),
            key=lambda fault: (fault["name"], fault["file"]),
        ),
        missing_dependencies=missing_dependencies(modules, disk),
        shadowed=[
            {"name": other.name, "path": other.path, "used": disk.manifests[other.name].path}
            for other in sorted(disk.others, key=lambda other: other.name)
            if other.readable
        ],
        broken=_broken(modules, records, disk),
    )


def _outdated(module: Module) -> bool:
    if module.installed_version is None or module.disk_version is None:
        return False
    return version_key(module.disk_version) > version_key(module.installed_version)


def _unknown(module: Module) -> bool:
    return module.state in THERE and module.changed is None


def missing_dependencies(modules: Iterable[Module], disk: Disk) -> list[dict[str, Any]]:
    """List what modules depend on and cannot have, each with the shortest chain from every module that wants it."""
    there = {module.name for module in modules if module.state in THERE}
    wanted_by: dict[str, list[str]] = collections.defaultdict(list)
    for module in modules:
        # What is neither on disk nor installed will never be loaded.
        if module.path or module.name in there:
            for name in module.depends:
                wanted_by[name].append(module.name)
    found = []
    for name in sorted(wanted_by):
        manifest = disk.manifests.get(name)
        reason = manifest.fault if manifest else "it is in no directory of the addons path"
        if not reason:
            continue
        chains = _chains(name, wanted_by)
        found.append(
            {
                "name": name,
                "reason": reason,
                "installed": sorted(chain[0] for chain in chains if chain[0] in there),
                "chains": [list(chain) for chain in chains],
            }
        )
    return found


def _chains(end: str, wanted_by: Mapping[str, Sequence[str]]) -> list[tuple[str, ...]]:
    """All modules that need one, directly or not, each with its shortest way to it; short ways first."""
    ways = {end: (end,)}
    todo = collections.deque([end])
    while todo:
        name = todo.popleft()
        for other in sorted(wanted_by.get(name, ())):
            if other not in ways:
                ways[other] = (other, *ways[name])
                todo.append(other)
    return sorted((way for name, way in ways.items() if name != end), key=lambda way: (len(way), way))


def _broken(modules: Sequence[Module], records: Mapping[str, Record], disk: Disk) -> list[dict[str, Any]]:
    """Modules that are in the database and do not work, and why. State ``uninstallable`` is none of that."""
    states = {module.name: module.state for module in modules}
    found = []
    for module in modules:
        reasons = []
        manifest = disk.manifests.get(module.name)
        if module.state in PENDING:
            reasons.append(f"its state is {module.state}: a run of Odoo did not end, or is still to come")
        if module.state in THERE and not records[module.name].codeless:
            if manifest is None:
                reasons.append("it is installed, but in no directory of the addons path")
            elif manifest.fault:
                reasons.append(f"it is installed, but {manifest.fault} ({manifest.path})")
            missing = [name for name in module.depends if states.get(name) not in THERE]
            if missing:
                reasons.append(f"it depends on {', '.join(missing)}, which is not installed")
        if reasons:
            found.append({"name": module.name, "reason": "; ".join(reasons)})
    return found


def select(names: Iterable[str], patterns: Sequence[str]) -> tuple[set[str], list[str]]:
    """The names that any of the shell patterns fits, and the patterns that fit none; without patterns all names."""
    known = set(names)
    if not patterns:
        return known, []
    hits = {pattern: {name for name in known if fnmatch.fnmatchcase(name, pattern)} for pattern in patterns}
    return set().union(*hits.values()), [pattern for pattern, found in hits.items() if not found]


def only(findings: Findings, names: set[str]) -> dict[str, Any]:
    """The lists as a module returns them, cut down to some names; what is missing belongs to those that want it."""
    lists: dict[str, Any] = {
        field.name: [
            item
            for item in getattr(findings, field.name)
            if (item["name"] if isinstance(item, dict) else item) in names
        ]
        for field in dataclasses.fields(findings)
    }
    wanted = (
        {
            **missing,
            "installed": [name for name in missing["installed"] if name in names],
            "chains": [chain for chain in missing["chains"] if chain[0] in names],
        }
        for missing in findings.missing_dependencies
    )
    return {**lists, "missing_dependencies": [missing for missing in wanted if missing["chains"]]}
