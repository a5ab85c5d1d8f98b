# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a job, remember how it ended, and tell people when it keeps failing."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils import backup_manifest, backup_notice
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

from . import notify
from .config import Config
from .host import BusyError, lock, now, read_json, say, write_json

Job = Callable[[Config], "dict[str, Any]"]


def run_job(config: Config, name: str, job: Job) -> dict[str, Any]:
    """Run a job and write down how it ended, whatever that is.

    :raises SlipwayError: what the job failed with.
    """
    signal.signal(signal.SIGTERM, _end)
    _begin(config, name)
    clock = time.monotonic()
    try:
        result = job(config)
    except BusyError:
        _end_of(config, name, failed=None, seconds=time.monotonic() - clock)
        raise
    except SlipwayError as error:
        _end_of(config, name, failed=str(error), seconds=time.monotonic() - clock)
        raise
    except Stopped as stopped:
        _end_of(config, name, failed=str(stopped), seconds=time.monotonic() - clock)
        raise SlipwayError(str(stopped)) from None
    except BaseException as error:
        _end_of(config, name, failed=f"{type(error).__name__}: {error}", seconds=time.monotonic() - clock)
        raise
    _end_of(config, name, failed=None, seconds=time.monotonic() - clock, result=result)
    return result


def jobs(config: Config) -> dict[str, Any]:
    """How each job ended last, by its name."""
    return dict(read_json(config.state / "status.json").get("jobs") or {})


def count_killed(config: Config, *names: str) -> None:
    """Count runs that were killed as failures: they could not say so themselves. Of all jobs where none is named."""
    for name, entry in jobs(config).items():
        if names and name not in names:
            continue
        for run in _running(entry):
            if not _alive(run):
                why = f"the run that began {run['since']} was killed, or the host went down"
                _end_of(config, name, failed=why, seconds=0, killed=run)


class Stopped(BaseException):
    """The run was told to stop: no fault of what it was looking at, so nobody who handles those may catch it."""


def _end(_signal: int, _frame: Any) -> None:
    raise Stopped("it was told to stop (SIGTERM)")


def _begin(config: Config, name: str) -> None:
    count_killed(config, name)
    with lock("status", wait=30, what=f"the status of {name}"):
        status = read_json(config.state / "status.json")
        entry = status.setdefault("jobs", {}).setdefault(name, {})
        process, started = _own()
        own = {"process": process, "since": backup_manifest.format_time(now()), "started": started}
        # Another run may be at work: which of them goes on, the locks of the job decide.
        entry["running"] = [*_running(entry), own]
        write_json(config.state / "status.json", status)


def _end_of(
    config: Config,
    name: str,
    *,
    failed: str | None,
    seconds: float,
    result: dict[str, Any] | None = None,
    killed: dict[str, Any] | None = None,
) -> None:
    with lock("status", wait=30, what=f"the status of {name}"):
        status = read_json(config.state / "status.json")
        entry = status.setdefault("jobs", {}).setdefault(name, {})
        before = _running(entry)
        others = [run for run in before if _which(run) != (_which(killed) if killed else _own())]
        if killed and others == before:
            return  # it has ended by itself in the meantime, or somebody else has counted it
        entry["running"] = others
        if not others:
            del entry["running"]
        at = backup_manifest.format_time(now())
        if failed is not None:
            entry.update(last_failure=at, message=failed, failures=int(entry.get("failures", 0)) + 1)
        elif result is not None:
            entry.update(last_success=at, message="", failures=0, duration_s=round(seconds, 1), result=result)
        else:
            write_json(config.state / "status.json", status)
            return
        outcome = backup_notice.Outcome(f"job:{name}", good=failed is None, text=failed or "")
        status["notices"], notices = backup_notice.advance(
            status.get("notices") or {}, outcome, now(), after=int(config["notify"]["after"])
        )
        write_json(config.state / "status.json", status)
    for notice in notices:
        notify.tell(config, notice)


def _running(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """The runs of a job that have begun and not ended; an earlier version knew of one at most."""
    found = entry.get("running") or []
    return [found] if isinstance(found, dict) else list(found)


def _which(run: dict[str, Any]) -> tuple[int, str]:
    """What no two runs have in common: numbers of processes come again."""
    return int(run["process"]), str(run.get("started"))


def _own() -> tuple[int, str]:
    return os.getpid(), _started(os.getpid())


def _alive(run: dict[str, Any]) -> bool:
    process, started = _which(run)
    return _started(process) == started


def _started(process: int) -> str:
    """When a process began, in ticks since the boot; empty where there is none."""
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8") as handle:
            return handle.read().rsplit(")", 1)[1].split()[19]
    except OSError:
        return ""


def report(text: str) -> None:
    """Say what is wrong, for whoever reads the journal."""
    say(f"FAILED: {text}")
