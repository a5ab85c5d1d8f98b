"""Runs that are killed, run twice at once, or look at a host that is not what it should be."""

from __future__ import annotations

import concurrent.futures
import time
from typing import Any

FILESTORE = "/var/lib/odoo/main/filestore/main"


def kill(box: Any, job: str, pattern: str) -> None:
    """Start a job as its timer does and kill it with all that it started, while that pattern is at work."""
    unit = f"slipway-backup@{job}.service"
    box.sh(
        f"systemctl reset-failed {unit} 2>/dev/null || true; systemctl start --no-block {unit}; "
        f"for try in $(seq 900); do if pgrep -f '{pattern}' >/dev/null; then at_work=yes; break; fi; sleep 0.02; done; "
        f'test "${{at_work:-}}" = yes; systemctl kill --signal=KILL {unit}; '
        f"for try in $(seq 100); do systemctl is-failed --quiet {unit} && exit 0; sleep 0.1; done; exit 9"
    )
    box.sh(f"systemctl reset-failed {unit}")


def test_a_full_backup_that_is_killed_is_a_failure_and_the_next_one_heals(box: Any) -> None:
    good, there = box.good("database"), box.repository()
    kill(box, "full", "[p]gbackrest.* backup$")
    assert box.good("database") == good
    health = box.health()
    assert health.metrics['job_consecutive_failures{job="full"}'] == 1
    assert "was killed, or the host went down" in box.job("full")["message"]
    made = box.run("full").result["label"]
    assert box.repository() == [*there, made]
    assert box.good("database") == good | {made}
    status = box.job("full")
    assert (status["failures"], status["message"]) == (0, "")
    assert status["last_failure"] <= status["last_success"]
    assert box.health().broken == []


def test_two_runs_at_once_are_never_at_work_together(box: Any) -> None:
    there = box.repository()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first = pool.submit(box.run, "full", patience=120)
        time.sleep(1)
        second = pool.submit(box.run, "incr", patience=120)
        ended = [first.result(), second.result()]
    assert "waiting for backup full (process " in ended[1].said
    assert box.repository() == [*there, *(run.result["label"] for run in ended)]
    assert [box.job(name)["failures"] for name in ("full", "incr")] == [0, 0]
    # One that does not want to wait: the lock names who has it.
    held = box.sh(
        "flock --exclusive /run/lock/slipway-backup/files sleep 20 & "
        "cd /usr/local/lib/slipway/backup && python3 -c '"
        'from slipway_backup import host\ntry:\n  with host.lock("files", wait=1, what="a test"): print("got it")\n'
        "except host.BusyError as error: print(error)'; kill %1"
    )
    assert "a test gave up after 1 s" in held
    assert "Nothing was done" in held


def test_a_database_that_was_renamed_is_named(box: Any, sql: Any) -> None:
    good = box.good("database")
    box.sh("systemctl stop 'odoo@main.service'")
    try:
        sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'main'", name="postgres")
        sql("ALTER DATABASE main RENAME TO other", name="postgres")
        box.fails("full", "database main of instance main is not on this server: it has other", "Was it renamed")
        assert "Was it renamed" in box.health().told("database_missing:main")
        box.fails("dump", "main.*does not exist|no database")
        assert box.good("database") == good
    finally:
        sql("ALTER DATABASE other RENAME TO main", name="postgres")
        box.sh("systemctl start odoo@main.service")
    box.run("full")
    box.run("dump")
    assert box.health().broken == []


def test_a_filestore_that_is_gone_makes_the_backup_a_bad_one(box: Any) -> None:
    good = box.good("files")
    box.sh(f"mv {FILESTORE} {FILESTORE}.away")
    try:
        box.fails("files", f"the filestore {FILESTORE} of instance main is gone; .*backups before had it")
        health = box.health()
        assert "is gone" in health.told("bad:files")
        assert health.metrics['bad_backups{kind="files"}'] == 1
        assert box.good("files") == good
        # Nor does the one after that take it for normal.
        box.fails("files", "is gone; .*backups before had it")
    finally:
        box.sh(f"rm -rf {FILESTORE}; mv {FILESTORE}.away {FILESTORE}")
    box.run("files")
    assert "bad:files" not in box.health().findings


def test_a_dump_of_nothing_is_no_backup(box: Any) -> None:
    good = box.good("dump")
    box.sh("printf '#!/bin/sh\\nexit 0\\n' >/usr/local/bin/pg_dump; chmod 0755 /usr/local/bin/pg_dump")
    try:
        box.fails("dump", "^main: pg_restore --list failed")
        # And one that writes a file of zero bytes.
        box.sh(
            'printf \'#!/bin/sh\\nfor option; do case $option in --file=*) mkdir -p "${option#--file=}"; '
            ': >"${option#--file=}/toc.dat";; esac; done\\n\' >/usr/local/bin/pg_dump'
        )
        box.fails("dump", "^main: pg_restore --list failed")
    finally:
        box.sh("rm /usr/local/bin/pg_dump")
    assert box.failures("dump") == 2
    assert box.good("dump") == good
    assert box.sh("ls -A /var/spool/slipway/backup/dumps") == ""
    box.run("dump")
    assert box.failures("dump") == 0
