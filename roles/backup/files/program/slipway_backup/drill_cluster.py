# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scratch cluster of a restore drill."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils import backup_drill
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

from . import database, fingerprint
from .config import Config
from .drill_scratch import execute, own
from .host import say, write

USER = "postgres"
PORT = 5432
START_SECONDS = 6 * 3600
_ENDED = "The database system is not running any more"


class Cluster:
    """A cluster below a scratch directory, reached by a socket of its own and by nothing else."""

    def __init__(self, config: Config, directory: pathlib.Path, users: Mapping[str, str]) -> None:
        """
        :param users: The Unix user that may reach a database as its owner, by the database's name.
        """
        self._drill = config.part("drill")
        self._database = self._drill["database"]
        self._directory, self._users = directory, users
        self.data, self.sockets = directory / "pg", directory / "run"
        self._log = directory / "log" / "postgresql.log"
        self._binaries = pathlib.Path("/usr/lib/postgresql") / self._database["version"] / "bin"
        self._settings: dict[str, Any] = {}
        self.segment_size = 0
        for name in ("pg", "log", "lock", "spool", "tablespaces"):
            own(directory / name, USER, mode=0o700)
        # Who gets past the socket in it, the server decides.
        own(self.sockets, USER, mode=0o711)
        private = own(directory / "conf", USER, mode=0o700)
        configuration = private / "pgbackrest.conf"
        self._ask = ["pgbackrest", f"--config={configuration}", f"--stanza={self._database['stanza']}"]
        secrets = dict(config.secrets)
        if secrets.get("drill_key_id"):
            secrets.update(key_id=secrets["drill_key_id"], secret_key=secrets["drill_secret_key"])
        self._write(
            configuration,
            backup_drill.pgbackrest_config(
                store=config["store"],
                secrets=secrets,
                prefix=self._drill["database_prefix"],
                stanza=self._database["stanza"],
                directory=str(directory),
                processes=min(8, os.cpu_count() or 1),
            ),
        )

    def _write(self, path: pathlib.Path, text: str) -> None:
        write(path, text, mode=0o600)
        os.chown(path, path.parent.stat().st_uid, path.parent.stat().st_gid)

    def archived_to(self) -> str:
        """The newest segment in the archive."""
        stanza = self._database["stanza"]
        command = [*self._ask, "--log-level-console=off", "--log-level-stderr=warn", "--output=json", "info"]
        said = execute(command, user=USER, what="pgbackrest info")
        # A wrong passphrase makes it quote what is no text.
        return backup_drill.archived_to(json.loads(said, strict=False), stanza=stanza)

    def restore(self, label: str, lsn: str) -> None:
        """Restore a backup, and configure the cluster to recover to a place in the WAL."""
        command = [*self._ask, f"--set={label}", "--type=lsn", f"--target={lsn}", "--target-exclusive"]
        # A tablespace would come back where it is on the database host, which may be this one.
        command += ["--target-action=pause", f"--tablespace-map-all={self._directory / 'tablespaces'}", "restore"]
        execute(command, user=USER, what=f"pgbackrest restore of {label}")
        version = (self.data / "PG_VERSION").read_text().strip()
        if version != self._database["version"]:
            raise SlipwayError(
                f"the backup is of PostgreSQL {version}, and this host is to restore {self._database['version']}: "
                "run the role backup on it again"
            )
        text = execute([str(self._binaries / "pg_controldata"), str(self.data)], user=USER, what="pg_controldata")
        control = backup_drill.control_data(text)
        self.segment_size = int(control["Bytes per WAL segment"])
        self._settings = {
            "control": control,
            "directory": str(self._directory),
            "port": PORT,
            "restore_command": f'{" ".join(self._ask)} archive-get %f "%p"',
        }
        rules, names = backup_drill.access_rules(self._database["databases"], self._users)
        self._write(self.data / "pg_hba.conf", rules)
        self._write(self.data / "pg_ident.conf", names)
        # What ALTER SYSTEM set on the database host is not for this cluster.
        self._write(self.data / "postgresql.auto.conf", "")
        (self.data / "standby.signal").unlink(missing_ok=True)
        self._write(self.data / "recovery.signal", "")
        self.recover_to(lsn)

    def recover_to(self, lsn: str) -> None:
        """Set where the next start recovers to; empty for the end."""
        self._write(self.data / "postgresql.conf", backup_drill.server_settings(**self._settings, lsn=lsn))

    def start(self) -> None:
        """Start the server and wait until it can be read."""
        try:
            self._control("start", "--wait", f"--timeout={START_SECONDS}", f"--log={self._log}")
        except SlipwayError as error:
            raise SlipwayError(f"PostgreSQL does not start: {self.last_words() or error}") from None

    def stop(self) -> None:
        """Stop the server cleanly."""
        self._control("stop", "--wait", f"--timeout={START_SECONDS}", "--mode=fast")

    def _control(self, verb: str, *options: str) -> None:
        command = [str(self._binaries / "pg_ctl"), verb, f"--pgdata={self.data}", *options]
        execute(command, user=USER, what=f"pg_ctl {verb}")

    def last_words(self) -> str:
        """What the server's log says of a failure."""
        with contextlib.suppress(OSError):
            lines = self._log.read_text(errors="replace").splitlines()[-200:]
            fatal = [line.split("] ", 1)[-1] for line in lines if "FATAL:" in line or "PANIC:" in line]
            return " / ".join(fatal[-2:] or lines[-3:])
        return ""

    @contextlib.contextmanager
    def connected(self, name: str = "postgres") -> Iterator[Any]:
        """A connection as administrator."""
        with database.connected(name, port=PORT, sockets=str(self.sockets)) as connection:
            yield connection

    def wait_paused(self) -> str:
        """Wait until recovery pauses at its target; returns where it is."""
        return self._wait("SELECT pg_get_wal_replay_pause_state() = 'paused'", "recovering to the fingerprint")

    def wait_promoted(self) -> str:
        """Wait until all WAL is replayed; returns where it ended."""
        return self._wait("SELECT NOT pg_is_in_recovery()", "replaying the WAL")

    def _wait(self, question: str, what: str) -> str:
        told = time.monotonic()
        with self._watched(what), self.connected() as connection, connection.cursor() as cursor:
            while True:
                cursor.execute(question)
                done = cursor.fetchone()[0]
                cursor.execute("SELECT pg_last_wal_replay_lsn()::text")
                place = str(cursor.fetchone()[0])
                if done:
                    return place
                if time.monotonic() - told > 10:
                    told = time.monotonic()
                    say(f"drill: {what}: at {place}")
                time.sleep(0.2)

    @contextlib.contextmanager
    def _watched(self, what: str) -> Iterator[None]:
        try:
            yield
        except SlipwayError:
            raise
        except Exception as error:  # noqa: BLE001  psycopg2 is imported where it is used
            raise SlipwayError(f"{what}: PostgreSQL went away: {self.last_words() or error}") from None

    def last_transaction(self) -> datetime | None:
        """When the last transaction was committed that recovery replayed since the server started."""
        with self.connected() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT pg_last_xact_replay_timestamp()")
            found: datetime | None = cursor.fetchone()[0]
            return found

    def tables(self, name: str) -> dict[str, dict[str, Any]]:
        """Rows and hash of every table of a database, by the formula of the manifest."""
        with self._watched("tables"):
            return fingerprint.tables(lambda: database.connect(name, port=PORT, sockets=str(self.sockets)))

    def names(self) -> set[str]:
        """The databases of the cluster."""
        with self.connected() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT datname FROM pg_database WHERE datallowconn")
            return {row[0] for row in cursor.fetchall()}

    def describe(self, name: str) -> dict[str, Any]:
        """Modules and the like of a database."""
        with self._watched("modules"), self.connected(name) as connection:
            return database.describe(connection)

    def attachments(self, name: str) -> list[backup_drill.Attachment]:
        """Attachments of a database whose content is a file."""
        with self._watched("attachments"), self.connected(name) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass('public.ir_attachment') IS NOT NULL")
            if not cursor.fetchone()[0]:
                return []
            # Odoo writes times without a zone, in UTC.
            cursor.execute(
                "SELECT id, store_fname, checksum, file_size, greatest(create_date, write_date) AT TIME ZONE 'UTC' "
                "FROM public.ir_attachment WHERE store_fname IS NOT NULL"
            )
            return [backup_drill.Attachment(*row) for row in cursor.fetchall()]

    def verify_checksums(self) -> str:
        """Read every page of the stopped cluster.

        :raises CommandError: pages are damaged, or the cluster has no checksums.
        """
        return execute(
            [str(self._binaries / "pg_checksums"), "--check", f"--pgdata={self.data}"], user=USER, what="pg_checksums"
        )

    def verify_indexes(self, names: Sequence[str]) -> None:
        """Look whether every B-tree index is in order.

        :raises CommandError: one is not.
        """
        command = [str(self._binaries / "pg_amcheck"), f"--host={self.sockets}", f"--port={PORT}", f"--username={USER}"]
        command += ["--install-missing", "--no-dependent-toast", "--jobs=2", *(f"--database={name}" for name in names)]
        execute(command, user=USER, what="pg_amcheck")
