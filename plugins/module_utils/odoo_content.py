# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which installed modules have changed on disk since, and remembering what was installed.

The checksums stand in the system parameter of ``click-odoo-update``. They are written by SQL: no process
of Odoo reads that parameter through its cache, only tools like this one and that one do, by SQL as well.
So nothing needs to be told of it, and a start of Odoo is saved.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_checksum import (
    CHECKSUMS,
    ChecksumSettings,
    checksum,
    parse_settings,
    read_settings,
)
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_db import rows
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_manifest import (
    Disk,
    Manifest,
    full_version,
    version_key,
)
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_plan import Known, depends_of

#: As a name: everything that is installed.
EVERYTHING = "*"
UNKNOWN = "nobody recorded what was installed"
FORCED = "its update was asked for"
_INSTALLED = ("installed", "to upgrade")


@dataclasses.dataclass(frozen=True)
class Changes:
    """What differs between the installed modules and the disk.

    ``reasons`` says of each changed module why it counts as changed, ``adopt`` names those whose content
    nobody recorded and that are taken as they are, ``passed_over`` says of modules why they cannot be
    compared.
    """

    reasons: Mapping[str, str] = dataclasses.field(default_factory=dict)
    adopt: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()


def read_known(connection: Any) -> dict[str, Known]:
    """Read state, installed version and dependencies of every module that the database knows.

    Column ``imported`` is there once ``base_import_module`` is installed.
    """
    query = """SELECT m.name, m.state, coalesce(m.latest_version, ''),
                      array_agg(d.name::text) FILTER (WHERE d.name IS NOT NULL),
                      coalesce((to_jsonb(m) ->> 'imported')::boolean, false)
                 FROM ir_module_module m LEFT JOIN ir_module_module_dependency d ON d.module_id = m.id
                GROUP BY m.id"""
    return {
        name: Known(state, version, tuple(sorted(depends or ())), imported)
        for name, state, version, depends, imported in rows(connection, query)
    }


def in_scope(names: Iterable[str], known: Mapping[str, Known], manifests: Mapping[str, Manifest]) -> list[str]:
    """The installed modules to compare: those that are named and all that they depend on.

    A module must not meet code of its dependencies that the database has not been updated for. Imported ones
    have nothing on disk.
    """
    depends = {name: module.depends for name, module in known.items()}
    names = list(names)
    todo = list(known) if EVERYTHING in names else names
    found: set[str] = set()
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += depends_of(name, manifests, depends)
    return sorted(
        name for name in found if name in known and known[name].state in _INSTALLED and not known[name].imported
    )


def why_changed(*, installed_version: str, disk_version: str, stored: str | None, current: str) -> str:
    """Say why an installed module has to be updated; empty when it has not.

    :param stored: the checksum from when it was installed or updated; None when nobody recorded it.
    :param current: the checksum of what is on disk.
    """
    if version_key(disk_version) > version_key(installed_version):
        return f"version {installed_version or 'unknown'} is installed, {disk_version} is on disk"
    if stored is None:
        return UNKNOWN
    return "" if stored == current else "its content differs from what was installed"


def find_changes(
    connection: Any,
    disk: Disk,
    known: Mapping[str, Known],
    names: Sequence[str],
    *,
    adopt: bool = False,
    force: bool = False,
) -> Changes:
    """Compare what is installed with the disk.

    What nobody recorded counts as changed where it was asked for, and not where it is a dependency only: that
    would be no reason to update what was not named.

    :param names: modules to look at, with their dependencies; ``*`` for all that are installed.
    :param adopt: whether unknown content is taken for what is installed.
    :param force: whether all that is named counts as changed.
    :raises SlipwayError: a manifest that is needed cannot be parsed, or a file cannot be read.
    """
    settings = read_settings(connection)
    reasons: dict[str, str] = {}
    adopted: list[str] = []
    passed_over: list[str] = []
    broken: list[str] = []
    everything = EVERYTHING in names
    wanted = in_scope([name for name in names if name != EVERYTHING], known, disk.manifests)
    for name in in_scope(names, known, disk.manifests):
        manifest = disk.manifests.get(name)
        if manifest is None or manifest.fault:
            fault = f"{manifest.fault} ({manifest.path})" if manifest else "it is in no directory of the addons path"
            sentence = f"module {name!r} is installed, but Odoo cannot load it: {fault}"
            needed = name in wanted or (manifest is not None and not manifest.readable)
            (broken if needed else passed_over).append(sentence)
        else:
            reason = why_changed(
                installed_version=known[name].version,
                disk_version=full_version(manifest.version, disk.series),
                stored=settings.stored.get(name),
                current=_checksum(manifest, settings),
            )
            if force and name in names:
                reasons[name] = reason or FORCED
            elif reason == UNKNOWN and adopt:
                adopted.append(name)
            elif reason and (reason != UNKNOWN or everything or name in names):
                reasons[name] = reason
    if broken:
        raise SlipwayError("Nothing was changed: " + "; ".join(broken))
    return Changes(reasons, tuple(adopted), tuple(passed_over))


def versions_of(names: Iterable[str], known: Mapping[str, Known], disk: Disk) -> dict[str, tuple[str, str]]:
    """The installed version and the one on disk of each module."""
    return {name: (known[name].version, full_version(disk.manifests[name].version, disk.series)) for name in names}


@dataclasses.dataclass(frozen=True)
class Content:
    """Checksums of modules as they lay on disk before Odoo read them, made by ``settings``."""

    settings: ChecksumSettings
    checksums: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def checksum(self, manifest: Manifest, settings: ChecksumSettings) -> str:
        """The checksum of what Odoo has read, by the settings as they are now.

        Odoo may have got another language meanwhile: then that of the files as they are, if they are the same.
        What was not foreseen is taken as it is.
        """
        before = self.checksums.get(manifest.name)
        same = _rule(self.settings) == _rule(settings)
        if before is not None and (same or _checksum(manifest, self.settings) != before):
            return before
        return _checksum(manifest, settings)


def read_content(connection: Any, disk: Disk, names: Iterable[str]) -> Content:
    """Make the checksums to record, before Odoo reads the files: they may be changed while it works.

    :raises SlipwayError: a file cannot be read.
    """
    query = "SELECT to_regclass('ir_config_parameter') IS NOT NULL AND to_regclass('res_lang') IS NOT NULL"
    settings = read_settings(connection) if rows(connection, query)[0][0] else parse_settings(None, None, ())
    manifests = [disk.manifests[name] for name in names if name in disk.manifests]
    return Content(settings, {manifest.name: _checksum(manifest, settings) for manifest in manifests})


def _checksum(manifest: Manifest, settings: ChecksumSettings) -> str:
    return checksum(manifest.path, exclude=settings.exclude, languages=settings.languages)


def _rule(settings: ChecksumSettings) -> tuple[Sequence[str], Sequence[str]]:
    return settings.exclude, settings.languages


def record(connection: Any, disk: Disk, content: Content, names: Iterable[str] | None = None) -> None:
    """Store what Odoo has read as what is installed, and forget what is not installed any more.

    The database has been found good: only now, so that what failed keeps its old checksum.

    :param content: the files as they were before Odoo read them.
    :param names: the modules that were just installed or updated; None for all that are installed.
    """
    settings = read_settings(connection)
    query = "SELECT name FROM ir_module_module WHERE state = 'installed'"
    installed = {name for (name,) in rows(connection, query)}
    fresh = {
        name: content.checksum(disk.manifests[name], settings)
        for name in (installed if names is None else installed.intersection(names))
        if name in disk.manifests
    }
    merged = {name: value for name, value in {**settings.stored, **fresh}.items() if name in installed}
    if merged != settings.stored:
        rows(
            connection,
            """INSERT INTO ir_config_parameter (key, value, create_date, write_date)
                    VALUES (%s, %s, now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC')
               ON CONFLICT (key) DO UPDATE SET value = excluded.value, write_date = excluded.write_date""",
            (CHECKSUMS, json.dumps(merged, sort_keys=True)),
        )
