"""Restores that are killed, or find that not all is there: the live instance stays as it is."""

from __future__ import annotations

import datetime
import re
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

SCRATCH = "/var/lib/postgresql/slipway-restore"
COPY = "main-copy"
ONLY_THE_LAST = {"within_hours": 0, "hourly": 0, "daily": 1, "weekly": 0, "monthly": 0}
UNIT = "slipway-test-restore.service"


def databases(sql: Any) -> set[str]:
    return {row[0] for row in sql("SELECT datname FROM pg_database WHERE NOT datistemplate", name="postgres")}


@pytest.fixture
def no_copy(box: Any) -> Iterator[None]:
    yield
    for name in (COPY, "main-restored"):
        box.call(f"slipway-backup drop-kept --name {name}")
        box.call(f"slipway-backup drop-kept-files --instance main --name {name}")


@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param("[p]gbackrest .*slipway-restore.* restore ", id="fetching"),
        pytest.param("[p]ostgres -D /var/lib/postgresql/slipway-restore", id="replaying"),
        pytest.param("[p]g_restore .*post-data", id="loading"),
    ],
)
@pytest.mark.usefixtures("no_copy")
def test_a_restore_that_is_killed_leaves_the_live_database_alone_and_the_next_one_heals(
    box: Any, sql: Any, pattern: str
) -> None:
    partners = sql("SELECT count(*) FROM res_partner")
    before = databases(sql)
    command = f"slipway-backup restore-database --to latest --instance main --as {COPY}"
    kill(box, command, pattern)
    assert databases(sql) - before <= {COPY}
    assert sql("SELECT count(*) FROM res_partner") == partners
    assert box.sh("curl -so /dev/null -w '%{http_code}' http://127.0.0.1:8069/web/login").strip() == "200"
    # What is half done says so, and is never taken for a restored database.
    told = box.health().told("restore_unfinished")
    assert "run the restore again" in told
    said = box.call(f"slipway-backup swap-database --instance main --new {COPY} --keep-as main-kept", code=1).said
    assert "Nothing was changed" in said
    done = box.call(command, patience=120)
    assert "removing what a run that was killed left" in done.said
    assert done.result["name"] == COPY
    assert sql("SELECT count(*) FROM res_partner", name=COPY) == partners
    assert box.sh(f"ls {SCRATCH}") == ""
    assert box.health().broken == []


def kill(box: Any, command: str, pattern: str) -> None:
    """Start a restore and kill it with all that it started, while that pattern is at work."""
    box.sh(
        f"systemd-run --quiet --unit={UNIT} {command}; "
        f"for try in $(seq 2000); do pgrep -f '{pattern}' >/dev/null && at_work=yes && break; sleep 0.02; done; "
        f'test "${{at_work:-}}" = yes; systemctl kill --signal=KILL {UNIT}; '
        f"for try in $(seq 100); do systemctl is-failed --quiet {UNIT} && break; sleep 0.1; done; "
        f"systemctl is-failed --quiet {UNIT}; systemctl reset-failed {UNIT}"
    )


def test_a_restore_of_the_cluster_that_is_killed_keeps_the_old_one_and_the_next_one_heals(box: Any, sql: Any) -> None:
    box.run("full")
    key = f"slipway-test-{uuid.uuid4()}"
    there = f"SELECT count(*) FROM ir_config_parameter WHERE key = '{key}'"
    sql(f"INSERT INTO ir_config_parameter (key, value) VALUES ('{key}', 'x')")
    moment = datetime.datetime.now(datetime.UTC)
    time.sleep(0.5)
    sql(f"DELETE FROM ir_config_parameter WHERE key = '{key}'")
    command = f"slipway-backup restore-cluster --to {moment:%Y-%m-%dT%H:%M:%S.%fZ} --replace-cluster"
    box.sh("systemctl stop odoo@main.service")
    try:
        kill(box, command, "[p]gbackrest .* restore ")
        told = box.health().told("restore_unfinished")
        [kept] = re.findall(r"the one of before is (\S+)\)", told)
        assert box.sh(f"cat {kept}/PG_VERSION").strip() == "17"
        done = box.call(command, patience=120)
        assert "the cluster of before is in its place again" in done.said
        assert "restore_unfinished" not in box.health().findings
        # Neither the cluster of before has it, nor the newest state.
        assert sql(there) == [["1"]]
        assert box.sh(f"cat {done.result['kept']}/PG_VERSION").strip() == "17"
        box.sh(f"rm -rf {done.result['kept']}")
        # What is written from now on is archived within archive_timeout, not only after the next checkpoint.
        sql("SELECT txid_current()", name="postgres")
        segment = sql("SELECT pg_walfile_name(pg_current_wal_insert_lsn())", name="postgres")[0][0]
        deadline = time.monotonic() + 75
        while segment not in sql("SELECT last_archived_wal FROM pg_stat_archiver", name="postgres")[0][0]:
            assert time.monotonic() < deadline, "a commit after the restore is not archived"
            time.sleep(2)
    finally:
        box.sh("systemctl start odoo@main.service")
    box.run("full")
    assert box.health().broken == []


@pytest.fixture
def lost_attachment(box: Any, sql: Any) -> Iterator[str]:
    """An attachment of the database whose file is nowhere."""
    digest = uuid.uuid4().hex + "0" * 8
    name = f"{digest[:2]}/{digest}"
    sql(f"INSERT INTO ir_attachment (name, type, store_fname) VALUES ('slipway-test', 'binary', '{name}')")
    try:
        yield name
    finally:
        sql("DELETE FROM ir_attachment WHERE name = 'slipway-test'")


@pytest.mark.usefixtures("no_copy")
def test_attachments_that_are_in_no_snapshot_stop_a_restore_and_are_named(
    box: Any, sql: Any, lost_attachment: str, run_playbook: Callable[..., Any], site: dict[str, Any]
) -> None:
    name = site["lab"]["vars"]["lab_name"]
    wanted = ("-e", "restore_to=latest", "-e", "restore_instance=main", "-e", "restore_replace=true")
    before = databases(sql)
    done = run_playbook("restore.yml", *wanted, "-e", f"restore_as={COPY}")
    assert done.returncode != 0
    said = " ".join(done.stdout.split())
    assert "1 are in no snapshot" in said
    assert lost_attachment in said
    assert "The live instance was not touched" in said
    # A restore in place stops at the same point.
    done = run_playbook("restore.yml", *wanted)
    assert done.returncode != 0
    assert lost_attachment in done.stdout
    assert box.sh("curl -so /dev/null -w '%{http_code}' http://127.0.0.1:8069/web/login").strip() == "200"
    # Whoever needs the rest says so.
    accepted = ("-e", "restore_accept_missing_files=true")
    refused = run_playbook("restore.yml", *wanted, "-e", f"restore_as={COPY}", *accepted)
    assert f"restore_confirm={name}" in refused.stdout
    done = run_playbook("restore.yml", *wanted, "-e", f"restore_as={COPY}", *accepted, "-e", f"restore_confirm={name}")
    assert done.returncode == 0, done.stdout[-4000:]
    assert databases(sql) >= {*before, COPY}
    # And the drill finds it in the newest backup, before anybody has to restore.
    box.run("full")
    box.run("files")
    box.fails("drill", lost_attachment, patience=180)
    health = box.health()
    assert lost_attachment in health.told("drill_failed")
    assert health.metrics["last_drill_success"] == 0
    sql("DELETE FROM ir_attachment WHERE name = 'slipway-test'")
    for job in ("full", "files", "drill"):
        box.run(job, patience=180)
    # The snapshot without it stays refuted until it is pruned.
    assert box.health().broken == ["refuted:files"]
    with box.configured(retention=ONLY_THE_LAST):
        box.run("prune")
    health = box.health()
    assert health.broken == []
    assert health.metrics["last_drill_success"] == 1
