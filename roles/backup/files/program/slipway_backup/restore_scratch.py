# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scratch cluster of a restore: made, reached by nobody but its administrator, and removed at the end.

A run that is killed leaves it; the next one removes it by its marker.
"""

from __future__ import annotations

import configparser
import contextlib
import io
import json
import os
import pathlib
import pwd
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils import backup_manifest
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

from . import host, pgbackrest
from .restore_sql import rows

SCRATCH = pathlib.Path("/var/lib/postgresql/slipway-restore")
MARKER = ".slipway-scratch"
PROGRESS_SECONDS = 10
PORT = 5432
"""Of the scratch cluster: there it is only part of the name of a socket in a directory of its own."""

SETTINGS = {
    "archive_mode": "off", "autovacuum": "off", "fsync": "off", "full_page_writes": "off", "synchronous_commit": "off",
    "hot_standby": "off", "jit": "off", "listen_addresses": "", "logging_collector": "off", "ssl": "off",
    "shared_preload_libraries": "", "session_preload_libraries": "", "local_preload_libraries": "",
    "max_connections": "20", "max_prepared_transactions": "64", "max_locks_per_transaction": "1024",
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0", "shared_buffers": "128MB", "maintenance_work_mem": "64MB",
    "max_wal_size": "4GB", "huge_pages": "off", "restart_after_crash": "off", "log_min_messages": "warning",
    "lc_messages": "C", "external_pid_file": "", "log_destination": "stderr", "unix_socket_permissions": "0700",
    "primary_conninfo": "", "primary_slot_name": "", "archive_cleanup_command": "", "recovery_end_command": "",
}  # fmt: skip
"""Of the scratch cluster, on its command line, which wins over what the backup brought along. It lives for minutes, and
need not survive a crash."""


class Scratch:
    """A cluster of its own below :data:`SCRATCH`, which is gone at the end."""

    def __init__(self, version: str, stanza: str) -> None:
        self.version = version
        self.stanza = stanza
        self.directory = SCRATCH / f"{host.now():%Y%m%dT%H%M%SZ}-{os.getpid()}"
        self.data = self.directory / "data"
        self.sockets = self.directory / "socket"
        self.dump = self.directory / "dump"
        self.log = self.directory / "postgresql.log"
        self.conf = self.directory / "pgbackrest.conf"

    def __enter__(self) -> Scratch:
        remove_dead()
        owner = pwd.getpwnam("postgres")
        SCRATCH.mkdir(mode=0o700, exist_ok=True)
        os.chown(SCRATCH, owner.pw_uid, owner.pw_gid)
        # The marker is there before anything else, so that whatever a killed run leaves is known for ours.
        self.directory.mkdir(mode=0o700)
        since = backup_manifest.format_time(host.now())
        (self.directory / MARKER).write_text(json.dumps({"pid": os.getpid(), "since": since}))
        for path in (self.data, self.sockets, self.directory / "spool", self.directory / "lock"):
            path.mkdir(mode=0o700)
        for path in (self.directory, *self.directory.iterdir()):
            os.chown(path, owner.pw_uid, owner.pw_gid)
        return self

    def __exit__(self, *_failed: object) -> None:
        remove_scratch(self.directory)

    def binary(self, name: str) -> str:
        """A program of this version of PostgreSQL."""
        return binary(self.version, name)

    def configure(self) -> None:
        """Write a configuration for pgBackRest that shares no lock and no spool with that of the live cluster."""
        text = private_conf(
            pathlib.Path(pgbackrest.CONF).read_text(), stanza=self.stanza, data=self.data, directory=self.directory
        )
        host.write(self.conf, text, mode=0o640)
        os.chown(self.conf, 0, pwd.getpwnam("postgres").pw_gid)

    def restore(self, *options: str) -> None:
        """Have pgBackRest write the data directory."""
        pgbackrest.pgbackrest(self.stanza, "restore", f"--pg1-path={self.data}", *options, config=str(self.conf))

    def empty(self) -> None:
        """Stop the server and empty its data directory."""
        while (pid := server_pid(self.data)) is not None:
            os.kill(pid, signal.SIGQUIT)
            time.sleep(0.2)
        shutil.rmtree(self.data)
        self.data.mkdir(mode=0o700)
        shutil.chown(self.data, "postgres", "postgres")

    def start(self) -> None:
        """Start the server; it replays WAL until the target and then becomes a server of its own."""
        hba = self.directory / "pg_hba.conf"
        hba.write_text("local all postgres peer\n")
        ident = self.directory / "pg_ident.conf"
        ident.write_text("")
        for path in (hba, ident):
            shutil.chown(path, "postgres", "postgres")
        (self.data / "postgresql.conf").touch(mode=0o600)
        shutil.chown(self.data / "postgresql.conf", "postgres", "postgres")
        settings = {
            **SETTINGS,
            "config_file": str(self.data / "postgresql.conf"),
            "hba_file": str(hba),
            "ident_file": str(ident),
            "unix_socket_directories": str(self.sockets),
            "port": str(PORT),
            "data_directory": str(self.data),
        }
        if _shared_buffers_small():
            settings["shared_buffers"] = "32MB"
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        # Not pg_ctl: its options go through a shell.
        with open(self.log, "ab") as log:
            subprocess.Popen(  # its end is seen in its lock file
                ["setsid", "runuser", "-u", "postgres", "--", self.binary("postgres"), "-D", str(self.data), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8"},
            )

    def wait(self) -> None:
        """Wait until it takes connections, which it does once the target is reached.

        :raises SlipwayError: the server gave up; says why.
        """
        began = told = time.monotonic()
        while True:
            time.sleep(0.2)
            if self._ready():
                return
            alive = server_pid(self.data) is not None
            if not alive and time.monotonic() - began > 5:
                raise SlipwayError(
                    f"The restored cluster did not reach the wanted point: {recovery_fault(self._tail(40))}"
                )
            if time.monotonic() - told > PROGRESS_SECONDS:
                told = time.monotonic()
                host.say(f"replaying WAL ({told - began:.0f} s): {self._replayed()}")

    def _ready(self) -> bool:
        done = host.run_raw(
            [self.binary("pg_isready"), "-q", "-h", str(self.sockets), "-p", str(PORT)], user="postgres"
        )
        return done.returncode == 0

    def _replayed(self) -> str:
        """The WAL that was fetched last, as the server's processes tell."""
        done = host.run_raw(["ps", "-u", "postgres", "-o", "args="])
        lines = [line for line in done.stdout.splitlines() if "startup recovering" in line or "startup waiting" in line]
        return lines[-1].strip() if lines else "..."

    def _tail(self, lines: int) -> list[str]:
        try:
            return self.log.read_text(errors="replace").splitlines()[-lines:]
        except OSError:
            return []

    def rows(self, database: str, query: str, values: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        """Ask the scratch cluster."""
        return rows(database, query, values, port=PORT, sockets=str(self.sockets))


def _shared_buffers_small() -> bool:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") < 2 << 30


def private_conf(text: str, *, stanza: str, data: pathlib.Path, directory: pathlib.Path) -> str:
    """pgBackRest's configuration for a scratch cluster: the repository of the host's, and nothing else shared."""
    given = configparser.RawConfigParser(strict=False)
    given.optionxform = str  # type: ignore[assignment,method-assign]
    given.read_string(text)
    made = configparser.RawConfigParser()
    made.optionxform = str  # type: ignore[assignment,method-assign]
    own = {}
    for section in ("global", stanza):
        if given.has_section(section):
            own.update({key: value for key, value in given.items(section) if key.startswith("repo1-")})
    own.update(
        {
            "lock-path": str(directory / "lock"),
            "spool-path": str(directory / "spool"),
            "archive-async": "y",
            "archive-get-queue-max": "256MiB",
            "process-max": str(host.processes()),
            "log-level-file": "off",
            "log-level-console": "warn",
        }
    )
    # Retention belongs to those who write into the repository.
    own = {key: value for key, value in own.items() if "retention" not in key}
    made["global"] = own
    made[stanza] = {"pg1-path": str(data), "pg1-port": str(PORT), "pg1-socket-path": str(directory / "socket")}
    written = io.StringIO()
    made.write(written, space_around_delimiters=False)
    return written.getvalue()


def recovery_fault(lines: Sequence[str]) -> str:
    """What the log of a server says about why it gave up, in words that lead further."""
    text = "\n".join(lines)
    reached = re.findall(r"last completed transaction was at log time ([^\n]+)", text)
    if "recovery ended before configured recovery target was reached" in text:
        return (
            "the WAL in the archive ends before it"
            + (f", the last transaction there is of {reached[-1].strip()}" if reached else "")
            + ". Say an earlier time, or latest"
        )
    errors = [line for line in lines if "FATAL" in line or "PANIC" in line or "ERROR" in line]
    return " / ".join((errors or list(lines))[-5:]) or "its log says nothing"


def binary(version: str, name: str) -> str:
    """A program of a version of PostgreSQL, where Debian has it."""
    return f"/usr/lib/postgresql/{version}/bin/{name}"


def server_pid(data: pathlib.Path) -> int | None:
    """The process of the server of a data directory, if it runs."""
    try:
        pid = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
        command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except (OSError, ValueError):
        return None
    # The number may be another process's by now.
    return pid if str(data) in command else None


def remove_scratch(directory: pathlib.Path) -> None:
    """Stop the server of a scratch directory and remove it; refuses what has no marker."""
    if not (directory / MARKER).is_file():
        raise SlipwayError(f"{directory} is not ours ({MARKER} is missing): it was left as it is")
    data = directory / "data"
    deadline = time.monotonic() + 60
    while (pid := server_pid(data)) is not None and time.monotonic() < deadline:
        with contextlib.suppress(ProcessLookupError):
            # Immediately: nothing of it is needed.
            os.kill(pid, signal.SIGQUIT)
        time.sleep(0.2)
    if server_pid(data) is not None:
        raise SlipwayError(f"the server of {data} does not end")
    # The marker goes last.
    for path in directory.iterdir():
        if path.name == MARKER:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    shutil.rmtree(directory)


def remove_dead() -> None:
    """Remove what killed runs left. Only who holds the lock may call this."""
    if not SCRATCH.is_dir():
        return
    for path in sorted(SCRATCH.iterdir()):
        if (path / MARKER).is_file():
            host.say(f"removing what a run that was killed left: {path}")
            remove_scratch(path)
