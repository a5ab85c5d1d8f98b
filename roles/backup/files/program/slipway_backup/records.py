# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manifests and records on this host and in the store; what cannot be sent is kept and sent later."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils import backup_manifest

from .config import Config
from .host import now, read_json, say, write_json
from .store import Store, StoreError


class Records:
    """What this host has written down about its backups."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._found: Store | None = None

    @property
    def _store(self) -> Store:
        # Making a client takes longer than a small request.
        if self._found is None:
            self._found = Store(self._config)
        return self._found

    @property
    def _unsent(self) -> pathlib.Path:
        return self._config.state / "unsent"

    def keep(self, path: str, document: Mapping[str, Any]) -> None:
        """Write a document here, and into the store, now or as soon as that is back."""
        write_json(self._config.state / path, document)
        write_json(self._unsent / path, document)
        try:
            self.send()
        except StoreError as error:
            say(f"{path} is kept on this host until the store is back: {error}")

    def send(self) -> int:
        """Send what has not reached the store; returns how many documents that were.

        :raises StoreError: where the store does not take them.
        """
        waiting = sorted(path for path in self._unsent.rglob("*.json")) if self._unsent.exists() else []
        if not waiting:
            return 0
        for path in waiting:
            self._store.put_json(path.relative_to(self._unsent).as_posix(), read_json(path))
            path.unlink()
        return len(waiting)

    def manifest(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Seal a manifest and keep it."""
        sealed = backup_manifest.seal(document)
        self.keep(backup_manifest.relative_path(sealed), sealed)
        return sealed

    def verification(self, kind: str, label: str, *, good: bool, by: str, faults: Sequence[str]) -> None:
        """Keep what a look at a backup has found."""
        time = backup_manifest.format_time(now())
        self.keep(
            backup_manifest.verification_path(kind, label, time),
            {"kind": kind, "label": label, "good": good, "by": by, "time": time, "faults": list(faults)},
        )

    def manifests(self, kind: str) -> list[dict[str, Any]]:
        """All manifests of a kind, from here and from the store; those of the store where both have one."""
        found = {path.stem: read_json(path) for path in (self._config.state / "manifests" / kind).glob("*.json")}
        for key in self._store.list(f"manifests/{kind}/"):
            label = pathlib.PurePosixPath(key).stem
            if label not in found:
                found[label] = self._store.get_json(key)
        return [
            document
            for _label, document in sorted(found.items())
            if not backup_manifest.check(document) or document.get("state") == "bad"
        ]

    def verifications(self) -> list[dict[str, Any]]:
        """All records of looks at backups that this host has."""
        below = self._config.state / "verifications"
        return [read_json(path) for path in sorted(below.rglob("*.json"))] if below.exists() else []

    def verified(self, kind: str) -> dict[str, bool]:
        """Whether the newest look at each backup found it good, by its label."""
        newest: dict[str, bool] = {}
        below = self._config.state / "verifications" / kind
        for path in sorted(below.rglob("*.json")) if below.exists() else []:
            newest[path.parent.name] = bool(read_json(path).get("good"))
        return newest

    def forget(self, kind: str, label: str) -> None:
        """Remove the manifest of a backup that is no more, and what was found about it."""
        path = backup_manifest.manifest_path(kind, label)
        for key in [path, *self._store.list(f"verifications/{kind}/{label}/")]:
            self._store.delete(key)
        for local in [self._config.state / path, *(self._config.state / "verifications" / kind / label).glob("*.json")]:
            local.unlink(missing_ok=True)
