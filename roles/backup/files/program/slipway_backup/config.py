# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host backs up, where to, and with which keys."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

DIRECTORY = pathlib.Path(os.environ.get("SLIPWAY_BACKUP_CONFIG", "/etc/slipway"))


@dataclasses.dataclass(frozen=True)
class Config:
    """The two files that the role ``backup`` writes; the keys are described in docs/backup.md."""

    document: Mapping[str, Any]
    secrets: Mapping[str, str] = dataclasses.field(repr=False)

    def __getitem__(self, key: str) -> Any:
        try:
            return self.document[key]
        except KeyError:
            raise SlipwayError(f"{DIRECTORY / 'backup.json'} has no {key}: run the role backup again") from None

    def part(self, name: str) -> Mapping[str, Any]:
        """A part that this host has: ``database``, ``files`` or ``drill``."""
        found = self[name]
        if not found:
            raise SlipwayError(f"this host has no {name} to look after: {DIRECTORY / 'backup.json'} says {name}: null")
        return found

    def database_of(self, instance: str) -> Mapping[str, Any]:
        """The database of an instance."""
        return _entry(self.part("database")["databases"], "instance", instance)

    def files_of(self, instance: str) -> Mapping[str, Any]:
        """Where the files of an instance are."""
        return _entry(self.part("files")["instances"], "name", instance)

    @property
    def state(self) -> pathlib.Path:
        """Where the program keeps what it knows."""
        return pathlib.Path(self["state_directory"])

    @property
    def spool(self) -> pathlib.Path:
        """Where it keeps what has not reached the store."""
        return pathlib.Path(self["spool"]["directory"])


def _entry(known: Sequence[Mapping[str, Any]], key: str, instance: str) -> Mapping[str, Any]:
    for entry in known:
        if entry[key] == instance:
            return dict(entry)
    raise SlipwayError(f"there is no instance {instance} here, only {', '.join(entry[key] for entry in known)}")


def load() -> Config:
    """Read the configuration of this host."""
    return Config(document=_read("backup.json"), secrets=_read("backup-secrets.json"))


def _read(name: str) -> dict[str, Any]:
    path = DIRECTORY / name
    try:
        return dict(json.loads(path.read_text()))
    except OSError as error:
        raise SlipwayError(
            f"{path} cannot be read ({error.strerror}): run as root, on a host with the role backup"
        ) from None
    except ValueError as error:
        raise SlipwayError(f"{path} is no JSON ({error}): run the role backup again") from None
