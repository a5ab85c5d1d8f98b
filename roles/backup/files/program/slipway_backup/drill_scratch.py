# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scratch place of a restore drill: made, watched, and cleared away whatever happens, a kill included."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence

from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

from .host import run_raw, say

#: Stands in every directory that a drill made. Nothing without it is ever removed.
MARKER = ".slipway-drill"
#: Transient units of a drill begin so.
UNITS = "slipway-drill-"
BEAT_SECONDS = 30.0
_LAST_WORDS = 6


class InterruptedDrill(BaseException):
    """The drill was told to stop. No handler of faults may take it for one."""


@contextlib.contextmanager
def beating(what: str) -> Iterator[None]:
    """Say now and then that something is still being done."""
    done = threading.Event()
    clock = time.monotonic()

    def beat() -> None:
        while not done.wait(BEAT_SECONDS):
            say(f"drill: {what}: still at it after {time.monotonic() - clock:.0f} s")

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


class DamageError(SlipwayError):
    """What went wrong is the backup's own fault, and not that of the drill's surroundings."""


class CommandError(SlipwayError):
    """A command failed; ``code`` is what it ended with."""

    def __init__(self, message: str, *, code: int) -> None:
        super().__init__(message)
        self.code = code


def execute(command: Sequence[str], *, what: str, user: str | None = None, stdin: str | None = None) -> str:
    """Run a command that may take long, and return what it wrote. It and its children end with us.

    :raises CommandError: it ended with another code than 0.
    """
    prefix = ["runuser", "-u", user, "--"] if user else []
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "ODOO_"))}
    try:
        process = subprocess.Popen(
            [*prefix, *command],
            env={**environment, "LC_ALL": "C.UTF-8"},
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            cwd="/",
            start_new_session=True,
        )
    except FileNotFoundError:
        raise SlipwayError(f"{command[0]} is not installed on this host: run the role backup again") from None
    try:
        with beating(what):
            out, err = process.communicate(stdin)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if process.returncode:
        # What was decrypted with a wrong passphrase is no text.
        text = "".join(sign if sign.isprintable() or sign == "\n" else "?" for sign in err.strip() or out.strip())
        said = [line.strip() for line in text.splitlines() if line.strip()]
        words = " / ".join(said[-_LAST_WORDS:]) or "it said nothing"
        raise CommandError(f"{what} failed with {process.returncode}: {words}", code=process.returncode)
    return out


def make(parent: pathlib.Path, name: str) -> pathlib.Path:
    """Make a scratch directory with its marker, after clearing what dead drills left.

    Nobody but root may list it; the users of its parts may pass through.
    """
    for above in reversed(parent.parents):
        if not above.exists():
            passage(above)
        elif not above.stat().st_mode & stat.S_IXOTH:
            raise SlipwayError(
                f"{above} lets nobody but its owner through, and PostgreSQL works below it: chmod o+x {above}"
            )
    passage(parent)
    clear(parent)
    directory = passage(parent / name)
    (directory / MARKER).touch(mode=0o600)
    return directory


def passage(path: pathlib.Path) -> pathlib.Path:
    """Make a directory that anybody may pass through and nobody but root may list, whatever the umask is."""
    path.mkdir(exist_ok=True)
    os.chmod(path, 0o711)  # noqa: S103
    return path


def own(path: pathlib.Path, user: str, *, mode: int) -> pathlib.Path:
    """Make a directory for a user."""
    path.mkdir(mode=0o700, parents=True)
    shutil.chown(path, user, user)
    os.chmod(path, mode)
    return path


def clear(parent: pathlib.Path) -> None:
    """End what drills have started below a directory, and remove what they have made. Only with the lock held."""
    left = [path for path in parent.iterdir() if path.is_dir() and not path.is_symlink() and (path / MARKER).is_file()]
    # A transient unit outlives a drill that was killed.
    run_raw(["systemctl", "stop", f"{UNITS}*.service"])
    for directory in left:
        stop_server(directory / "pg")
        end_processes(directory)
        # What an interrupted removal leaves must still have the marker, or nobody removes it.
        for entry in directory.iterdir():
            if entry.name != MARKER:
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()
        shutil.rmtree(directory)


def stop_server(data: pathlib.Path) -> None:
    """End the scratch cluster the hard way, if it runs."""
    try:
        pid = int((data / "postmaster.pid").read_text().split()[0])
        if os.readlink(f"/proc/{pid}/cwd") != str(data):
            return
        os.kill(pid, signal.SIGQUIT)
    except (OSError, ValueError, IndexError):
        return
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and os.path.exists(f"/proc/{pid}"):
        time.sleep(0.1)


def end_processes(directory: pathlib.Path) -> None:
    """End processes that have a file below the directory open or work in it: only ours can."""
    for _attempt in range(50):
        found = _users_of(str(directory))
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


def _users_of(directory: str) -> list[int]:
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            paths = [f"{entry.path}/cwd", *(one.path for one in os.scandir(f"{entry.path}/fd"))]
            links = [os.readlink(path) for path in paths]
            if any(link == directory or link.startswith(f"{directory}/") for link in links):
                found.append(int(entry.name))
    return found
