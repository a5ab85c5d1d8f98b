# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Progress, commands, locks and files: what every part of the program does with the host."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

LOCKS = pathlib.Path("/run/lock/slipway-backup")


class BusyError(SlipwayError):
    """Another run holds the lock."""


def say(text: str) -> None:
    """Write a line of progress, to the journal where systemd runs us."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def timed(steps: dict[str, float], name: str) -> Iterator[None]:
    """Keep how many seconds a step took."""
    began = time.monotonic()
    yield
    steps[name] = round(time.monotonic() - began, 2)


def now() -> datetime.datetime:
    """This moment in UTC."""
    return datetime.datetime.now(tz=datetime.timezone.utc)


def processes() -> int:
    """How many processes to work with."""
    return min(4, max(2, os.cpu_count() or 1))


def run(
    command: Sequence[str],
    *,
    user: str | None = None,
    environment: Mapping[str, str] | None = None,
    stdin: str | None = None,
    good: Sequence[int] = (0,),
    what: str | None = None,
) -> str:
    """Run a command, as another user if named, and return what it wrote.

    :raises SlipwayError: with the last lines of what it said, when its return code is not one of ``good``.
    """
    done = run_raw(command, user=user, environment=environment, stdin=stdin)
    if done.returncode not in good:
        said = [line.strip() for line in (done.stderr.strip() or done.stdout.strip()).splitlines() if line.strip()]
        raise SlipwayError(
            f"{what or command[0]} failed with {done.returncode}: {' / '.join(said[-6:]) or 'it said nothing'}"
        )
    return done.stdout


def run_raw(
    command: Sequence[str],
    *,
    user: str | None = None,
    environment: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command, whatever its return code."""
    prefix = ["runuser", "-u", user, "--"] if user else []
    try:
        return subprocess.run(
            [*prefix, *command],
            env={**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})},
            input=stdin,
            stdin=None if stdin is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            # With a wrong passphrase pgBackRest quotes bytes that are no text.
            errors="replace",
            check=False,
            cwd="/",
        )
    except FileNotFoundError:
        raise SlipwayError(f"{command[0]} is not installed: run the role backup again") from None


@contextlib.contextmanager
def lock(name: str, *, wait: float, what: str) -> Iterator[None]:
    """Hold a lock that only one run at a time may have; it goes with the process, however that ends.

    :param wait: Seconds to wait for another run.
    :raises BusyError: names the run that has it.
    """
    LOCKS.mkdir(mode=0o700, parents=True, exist_ok=True)
    deadline = time.monotonic() + wait
    with open(LOCKS / name, "a+", encoding="utf-8") as handle:
        told = False
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                handle.seek(0)
                holder = handle.read().strip() or "another run"
                if time.monotonic() >= deadline:
                    raise BusyError(
                        f"{what} gave up after {wait:.0f} s: {holder} is still at work. Nothing was done."
                    ) from None
                if not told:
                    say(f"waiting for {holder}")
                    told = True
                time.sleep(0.5)
        handle.seek(0)
        handle.truncate()
        handle.write(f"{what} (process {os.getpid()}, since {now():%Y-%m-%d %H:%M:%SZ})")
        handle.flush()
        yield
        handle.truncate(0)


def write(path: pathlib.Path, text: str, *, mode: int = 0o600) -> None:
    """Put a file in its place in one step, so that nobody ever reads half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """A JSON file; empty where there is none, or where a full disk left none that can be read."""
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return {}


def write_json(path: pathlib.Path, document: Mapping[str, Any]) -> None:
    """Keep a JSON document."""
    write(path, json.dumps(document, indent=2, sort_keys=True) + "\n")


def make_passage(path: pathlib.Path) -> None:
    """Make a directory through which other users can pass to what is theirs, and in which they can list nothing."""
    path.mkdir(parents=True, exist_ok=True)
    # Whatever the umask is: that of the units lets nobody pass.
    path.chmod(0o711)


def tree_size(path: pathlib.Path) -> tuple[int, int]:
    """Number and bytes of the regular files below a directory."""
    count = size = 0
    for root, _directories, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                size += os.lstat(os.path.join(root, name)).st_size
                count += 1
    return count, size
