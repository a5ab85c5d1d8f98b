# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""restic: snapshots of files in the repository of a host."""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils import backup_drill
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

from .config import Config
from .host import run, run_raw

CACHE = "/var/cache/slipway/restic"
RETRY_LOCK = "10m"
NO_REPOSITORY, INCOMPLETE_BACKUP = 10, 3
_MISSING = re.compile(r"key does not exist|not found in (repository|index)|pack .* does not exist|unexpected EOF")


class Repository:
    """The repository of one host, in the store or on the disk."""

    def __init__(
        self, config: Config, *, prefix: str | None = None, reader: bool = False, directory: pathlib.Path | None = None
    ) -> None:
        store, secrets = config["store"], config.secrets
        drill = reader and bool(secrets.get("drill_key_id"))
        where = directory or f"s3:{store['endpoint']}/{store['bucket']}/{prefix or config['prefix']}/restic"
        self.environment = {
            "RESTIC_REPOSITORY": str(where),
            "RESTIC_PASSWORD": secrets["files_passphrase"],
            "RESTIC_CACHE_DIR": CACHE,
            "AWS_ACCESS_KEY_ID": secrets["drill_key_id" if drill else "key_id"],
            "AWS_SECRET_ACCESS_KEY": secrets["drill_secret_key" if drill else "secret_key"],
            "AWS_DEFAULT_REGION": store["region"],
        }
        self._options = ["--option", "s3.bucket-lookup=" + ("path" if store.get("path_style", True) else "dns")]
        if store.get("ca") and not directory:
            self._options += ["--cacert", store["ca"]]
        if reader or directory:
            # On the disk our own lock does, and on a full disk there is no room for one of restic's.
            self._options.append("--no-lock")
        else:
            self._options += ["--retry-lock", RETRY_LOCK]

    def __call__(self, *arguments: str, good: Sequence[int] = (0,), stdin: str | None = None) -> str:
        """Run restic and return what it wrote."""
        return run(
            ["restic", *self._options, *arguments],
            environment=self.environment,
            good=good,
            stdin=stdin,
            what=f"restic {arguments[0]}",
        )

    def exists(self) -> bool:
        """Whether there is a repository; fails where it cannot be opened."""
        done = run_raw(["restic", *self._options, "--no-lock", "cat", "config"], environment=self.environment)
        if done.returncode in (0, NO_REPOSITORY):
            return done.returncode == 0
        # restic before 0.17 has no return code of its own for it.
        if done.returncode == 1 and "Is there a repository at the following location" in done.stderr:
            return False
        raise SlipwayError("restic cannot open the repository: " + " / ".join(done.stderr.strip().splitlines()[-3:]))

    def create(self) -> bool:
        """Make the repository where there is none; returns whether it had to."""
        if self.exists():
            return False
        self("init")
        return True

    def backup(
        self, paths: Sequence[str], *, tags: Mapping[str, str], time: str | None = None, files_from: str | None = None
    ) -> dict[str, Any]:
        """Make a snapshot; returns restic's summary with ``snapshot_id``."""
        options = [f"--tag={','.join(f'{key}={value}' for key, value in tags.items())}", "--json", "--exclude-caches"]
        if time:
            options.append(f"--time={time}")
        listed = ["--files-from-raw", "-"] if files_from is not None else []
        done = run_raw(
            ["restic", *self._options, "backup", *options, *listed, *paths],
            environment=self.environment,
            stdin=files_from,
        )
        faults = [line for line in done.stderr.strip().splitlines() if line.strip()]
        if done.returncode == INCOMPLETE_BACKUP:
            # A file that Odoo removed while it was read is no fault; one that is there and cannot be read is.
            faults = [fault for fault in map(unread, faults) if fault]
        if done.returncode not in (0, INCOMPLETE_BACKUP) or (done.returncode == INCOMPLETE_BACKUP and faults):
            raise SlipwayError(f"restic backup failed with {done.returncode}: {' / '.join(faults[-6:])}")
        for line in reversed(done.stdout.splitlines()):
            document = json.loads(line)
            if document.get("message_type") == "summary":
                return dict(document)
        raise SlipwayError("restic backup ended without a summary")

    def copy_from(self, other: Repository) -> None:
        """Copy the snapshots of another repository into this one; those that it has already are passed over."""
        environment = {
            **self.environment,
            "RESTIC_FROM_REPOSITORY": other.environment["RESTIC_REPOSITORY"],
            "RESTIC_FROM_PASSWORD": other.environment["RESTIC_PASSWORD"],
        }
        # It is the other one that --no-lock is about: this one is locked, for it is written to.
        run(["restic", *self._options, "--no-lock", "copy"], environment=environment, what="restic copy")

    def snapshots(self, **tags: str) -> list[dict[str, Any]]:
        """The snapshots that carry all of the tags, oldest first."""
        wanted = [f"--tag={','.join(f'{key}={value}' for key, value in tags.items())}"] if tags else []
        found = json.loads(self("snapshots", "--json", *wanted) or "[]")
        return sorted(found or [], key=lambda snapshot: snapshot["time"])


def unread(line: str) -> str:
    """What a line of restic's JSON says of a file that is there and could not be read; empty for all else."""
    try:
        document = json.loads(line)
    except ValueError:
        return ""
    if document.get("message_type") != "error" or not os.path.lexists(document.get("item") or "/"):
        return ""
    return f"{document.get('item')}: {document.get('error', {}).get('message') or 'it could not be read'}"


def is_damage(words: str) -> bool:
    """Whether restic tells of data that are damaged or missing, and not of a store or a key that keeps it from them."""
    return backup_drill.is_damage(words) or bool(_MISSING.search(words))


def moment(snapshot: Mapping[str, Any]) -> datetime.datetime:
    """When a snapshot was made."""
    return backup_drill.parse_rfc3339(snapshot["time"])


def tag(snapshot: Mapping[str, Any], name: str) -> str | None:
    """The value of a tag ``name=value`` of a snapshot."""
    for entry in snapshot.get("tags") or ():
        if entry.startswith(f"{name}="):
            return str(entry[len(name) + 1 :])
    return None


def prepare_cache() -> None:
    """Make the directory that restic keeps its index in."""
    os.makedirs(CACHE, mode=0o700, exist_ok=True)
