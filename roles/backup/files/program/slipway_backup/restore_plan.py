# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore is going to do: the wanted point, and the backup and the WAL of the repository that lead to it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils import backup_manifest
from ansible_collections.slipway.odoo.plugins.module_utils import backup_restore as thinking
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

from . import host, pgbackrest
from .config import Config
from .store import Store, StoreError


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a restore is going to do."""

    point: thinking.Point
    backup: thinking.Backup
    arguments: tuple[str, ...]
    database: str
    document: Mapping[str, Any]
    doubt: str = ""

    def shown(self) -> dict[str, Any]:
        """As JSON, for who asked."""
        moment = thinking.files_time(self.point, self.backup)
        return {
            "kind": self.point.kind,
            "label": self.backup.label,
            "backup_stop": backup_manifest.format_time(self.backup.stop),
            "files_time": "latest" if moment is None else backup_manifest.format_time(moment),
            "database_then": self.database,
            "doubt": self.doubt,
        }


def make_plan(config: Config, *, to: str, instance: str, wanted: str, store_time: str | None = None) -> Plan:
    """Find out what leads to the wanted point; fails where nothing does.

    :param wanted: name of the instance's database today.
    """
    database = config.part("database")
    past = past_options(store_time)
    try:
        found = _info(database["stanza"], past)
    except SlipwayError as error:
        if past or "missing stanza" not in str(error):
            raise
        raise SlipwayError(
            f"{error}. If somebody deleted it, say when it was still there (--store-time, restore_store_time)"
        ) from None
    documents, refuted = read_manifests(config)
    point = thinking.parse_point(to, now=host.now(), labels=[entry["label"] for entry in found.get("backup", ())])
    by_label = {document["label"]: document for document in documents if document.get("kind") == "database"}
    backups = thinking.read_backups(found, documents, database=wanted, refuted=refuted)
    backup = thinking.choose_backup(backups, point)
    document = by_label.get(backup.label, {})
    name = thinking.name_then(document, instance, default=wanted)
    if name != wanted:
        backups = thinking.read_backups(found, documents, database=name, refuted=refuted)
        backup = thinking.choose_backup(backups, point)
    segments = pgbackrest.archived(database["stanza"], backup.archive, *past)
    # A label is restored on the time line of its own.
    timeline = thinking.timeline_at(segments, point.time) if point.kind != thinking.LABEL else None
    if timeline is not None:
        backup = thinking.choose_backup(thinking.on_timeline(backups, timeline), point)
        document = by_label.get(backup.label, {})
        host.say(
            f"the cluster was restored at some time, or an older one put back: following time line {timeline}, which "
            "it was on"
        )
    reach = thinking.judge_reach(segments, backup, point)
    if reach.fault:
        # Several processes push the WAL of a busy server, and not in its order.
        time.sleep(5)
        segments = pgbackrest.archived(database["stanza"], backup.archive, *past)
        reach = thinking.judge_reach(segments, backup, point)
    if reach.fault:
        raise SlipwayError(reach.fault)
    if reach.doubt:
        host.say(f"note: {reach.doubt}")
    arguments = tuple(thinking.pgbackrest_arguments(point, backup))
    if timeline is not None:
        arguments += (f"--target-timeline={timeline}",)
    return Plan(point, backup, arguments, name, document, reach.doubt)


def read_manifests(config: Config) -> tuple[list[dict[str, Any]], dict[str, list[str]]]:
    """The manifests of this host's database backups, and what verifications found wrong: label -> faults.

    Those of the store, or those that this host keeps where the store has none. Without any a restore works as well.
    """
    try:
        store = Store(config)
        documents = [store.get_json(key) for key in store.list("manifests/database/")]
        verdicts = [(key, store.get_json(key)) for key in sorted(store.list("verifications/database/"))]
    except StoreError as error:
        host.say(f"note: no manifests from the store: {error}")
        documents, verdicts = [], []
    if not documents:
        documents = [host.read_json(path) for path in sorted((config.state / "manifests/database").glob("*.json"))]
    refuted: dict[str, list[str]] = {}
    for key, verdict in verdicts:
        # The keys are in the order of time: the last word counts.
        label = key.split("/")[-2]
        refuted.pop(label, None)
        if verdict.get("good") is False:
            refuted[label] = [str(fault) for fault in verdict.get("faults") or ["a verification found it bad"]]
    return [document for document in documents if document.get("label")], refuted


def past_options(text: str | None) -> list[str]:
    """The options of pgBackRest for the store as it was at a time; none without one."""
    if not text:
        return []
    moment = thinking.parse_time(text)
    if moment > host.now():
        raise SlipwayError(f"the time of the store, {text}, is in the future")
    # pgBackRest takes no parts of a second here.
    return [f"--repo-target-time={moment:%Y-%m-%d %H:%M:%S}+00", "--repo=1"]


def _info(stanza: str, past: Sequence[str]) -> dict[str, Any]:
    found = pgbackrest.info(stanza, *past)
    if past and not found.get("backup"):
        raise SlipwayError(f"pgbackrest finds no backup of stanza {stanza} in the store as it was then ({past[0]})")
    return found


def describe(point: thinking.Point) -> str:
    """A point in words."""
    if point.kind == thinking.LATEST:
        return "the newest state"
    if point.kind == thinking.LABEL:
        return f"backup {point.label}"
    return backup_manifest.format_time(point.time or host.now())
