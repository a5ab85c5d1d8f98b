"""Runs that are killed, run twice at once, or look at a host that is not what it should be."""

from __future__ import annotations

import concurrent.futures
import datetime
import json
import shlex
import time
from typing import Any

import pytest

FILESTORE = "/var/lib/odoo/main/filestore/main"
STATE = "/var/lib/slipway/backup"
ONLY_THE_LAST = {"within_hours": 0, "hourly": 0, "daily": 1, "weekly": 0, "monthly": 0}


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
    kill(box, "full", "[p]gbackrest.* backup( |$)")
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


@pytest.mark.parametrize("pattern", ["[p]gbackrest.* expire( |$)", "[r]estic .*prune"])
def test_a_prune_that_is_killed_loses_no_good_backup(box: Any, pattern: str) -> None:
    for job in ("full", "files", "full", "files"):
        box.run(job)
    newest = {kind: max(box.good(kind)) for kind in ("database", "files", "dump")}
    with box.configured(retention=ONLY_THE_LAST):
        kill(box, "prune", pattern)
        assert box.health().metrics['job_consecutive_failures{job="prune"}'] == 1
        assert "was killed, or the host went down" in box.job("prune")["message"]
        assert {kind: max(box.good(kind)) for kind in newest} == newest
        box.run("prune")
    # What a killed prune has dropped is not told as lost, and what it kept is whole.
    box.run("verify", patience=120)
    assert newest["database"] in box.repository()
    assert box.health().broken == []


@pytest.fixture
def clock(box: Any) -> Any:
    """Runs a job on a host whose clock is wrong; the kernel's clock is that of the whole machine, and stays."""
    box.sh("command -v faketime >/dev/null || apt-get install --yes --quiet=2 faketime >/dev/null 2>&1")
    return lambda job, by: box.call(f"faketime -f {shlex.quote(by)} slipway-backup run {job}", code=1).said


@pytest.mark.parametrize("by", ["+3d", "-3d"])
def test_a_clock_that_jumps_loses_nothing(box: Any, clock: Any, by: str) -> None:
    good = {kind: box.good(kind) for kind in ("database", "files", "dump")}
    there = box.repository()
    with box.configured(retention=ONLY_THE_LAST):
        for job in ("prune", "full", "files"):
            said = clock(job, by)
            assert "RequestTimeTooSkewed" in said or "clock" in said or "not yet valid" in said or "expired" in said, (
                said
            )
    assert {kind: box.good(kind) for kind in good} == good
    assert box.repository() == there
    box.sh(f"rm -f {STATE}/status.json")
    box.run("full")
    box.run("files")
    assert box.health().broken == []


def test_backups_that_a_wrong_clock_dated_keep_prune_from_removing(box: Any) -> None:
    box.run("files")
    label = max(box.good("files"))
    there = json.loads(box.restic("snapshots", "--json"))
    future = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=3)
    below, made = f"{STATE}/manifests/files", f"files-{future:%Y%m%dT%H%M%SZ}"
    script = (
        "import json, sys; from ansible_collections.slipway.odoo.plugins.module_utils import backup_manifest;"
        "old = json.load(open(sys.argv[1])); old.update(label=sys.argv[3], started=sys.argv[4], finished=sys.argv[4]);"
        "json.dump(backup_manifest.seal(old), open(sys.argv[2], 'w'))"
    )
    box.sh(
        f"PYTHONPATH=/usr/local/lib/slipway/backup python3 -c {shlex.quote(script)} "
        f"{below}/{label}.json {below}/{made}.json {made} {future:%Y-%m-%dT%H:%M:%SZ}"
    )
    try:
        with box.configured(retention=ONLY_THE_LAST):
            box.fails("prune", "Nothing is dropped", "Set the clock right")
        assert box.failures("prune") == 1
        assert json.loads(box.restic("snapshots", "--json")) == there
    finally:
        box.sh(f"rm -f {below}/{made}.json")
    box.run("prune")
    assert box.health().broken == []
