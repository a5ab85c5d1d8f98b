"""A store that is away, refuses the key or has no bucket: what cannot be sent waits on the host, within a bound."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

SPOOL = "/var/spool/slipway/backup"
FILESTORE = "/var/lib/odoo/main/filestore/main"
ATTACHMENT = f"{FILESTORE}/ff/ff{'0' * 38}"


@pytest.fixture
def new_file(box: Any) -> Any:
    """A file that came to the filestore since the last snapshot."""
    box.sh(
        f"install -D -o odoo-main -g odoo-main -m 0640 /etc/hostname {ATTACHMENT}; echo $RANDOM-$RANDOM >>{ATTACHMENT}"
    )
    yield ATTACHMENT
    box.sh(f"rm -f {ATTACHMENT}")


def test_the_spool_is_bounded(box: Any, store_away: Callable[[], Any], new_file: str) -> None:
    good = box.good("dump")
    with box.configured(spool={"max_mb": 1}):
        said = box.fails("dump", f"no room for a dump in {SPOOL}", r"of 1 MB of its bound \(backup_spool_max_mb\)")
        assert "Nothing was removed" in said
        box.sh(f"head -c 3M /dev/urandom >>{new_file}")
        with store_away():
            box.fails("files", r"its bound \(backup_spool_max_mb\) is 1 MB: nothing more is spooled")
            assert box.sh(f"ls {SPOOL}/restic 2>/dev/null || true") == ""
        assert box.health().metrics['job_consecutive_failures{job="dump"}'] == 1
    assert box.good("dump") == good
    box.run("files")
    box.run("dump")


def test_the_spool_takes_each_file_once(box: Any, store_away: Callable[[], Any], new_file: str) -> None:
    box.run("files")
    box.sh(f"head -c 6M /dev/urandom >>{new_file}")
    with box.configured(spool={"max_mb": 10}), store_away():
        box.fails("files", "connect")
        # A second run has nothing new, and does not count the 6 MB once more against the 10.
        said = box.fails("files", "connect")
        assert "nothing more is spooled" not in said
    box.run("files")


def commit_and_switch(sql: Any) -> None:
    """Fill a segment of the WAL with something and close it."""
    sql("SELECT txid_current()", name="postgres")
    sql("SELECT pg_switch_wal()", name="postgres")


def test_a_store_that_is_away_over_several_backups_is_caught_up_with(
    box: Any, store_away: Callable[[], Any], new_file: str, sql: Any
) -> None:
    good = {kind: box.good(kind) for kind in ("database", "files", "dump")}
    with store_away():
        for _times in range(2):
            commit_and_switch(sql)
            box.fails("full", "lab-store|Could not connect|Connection was closed|connect")
            box.fails("files", "Could not connect|connect")
            box.fails("dump", "Could not connect|connect")
        box.fails("verify", "connect")
        box.fails("prune", "connect")
        health = box.health()
        assert "connect" in health.told("unread:store")
        assert health.metrics["wal_backlog_files"] >= 2
        assert health.metrics["spool_size_bytes"] > 0
        assert {name: health.metrics[f'job_consecutive_failures{{job="{name}"}}'] for name in ("full", "files")} == {
            "full": 2,
            "files": 2,
        }
        assert {kind: box.good(kind) for kind in good} == good
        spooled = box.sh(f"ls {SPOOL}/dumps").split()
        assert len(spooled) == 2
        # What came meanwhile is on this host a second time, though the store is away.
        assert box.sh(f"ls {SPOOL}/restic/snapshots").split()
        box.sh(f"mv {new_file} /run/slipway-test-attachment")
    content = box.sh("sha256sum </run/slipway-test-attachment; rm /run/slipway-test-attachment")
    box.run("files", patience=120)
    assert box.good("dump") >= {*good["dump"], *spooled}
    assert box.sh(f"ls {SPOOL}").split() == ["dumps"]
    # The file was there only while the store was away: its copy came from the spool.
    snapshots = [entry for entry in json.loads(box.restic("snapshots", "--json")) if "complete=no" in entry["tags"]]
    assert snapshots
    assert box.sha256_in_snapshot(snapshots[-1]["id"], new_file) == content.split()[0]
    box.sh("timeout 60 runuser -u postgres -- pgbackrest --stanza=main check")
    for job in ("full", "dump", "prune"):
        box.run(job)
    box.run("verify", patience=120)
    health = box.health()
    assert health.broken == []
    assert health.metrics["wal_backlog_files"] == 0


def test_a_key_that_was_revoked_is_named(box: Any, revoked: Callable[[], Any], new_file: str) -> None:
    good = {kind: box.good(kind) for kind in ("database", "files", "dump")}
    with revoked():
        for job in ("full", "files", "dump", "prune"):
            box.fails(job, "InvalidAccessKeyId.*The key was revoked|AccessDenied.*may not do this")
        health = box.health()
        assert re.search("InvalidAccessKeyId|AccessDenied", health.told("unread:store"))
        assert health.metrics['job_consecutive_failures{job="full"}'] == 1
        assert box.sh(f"ls {SPOOL}/restic/snapshots").split()
        assert {kind: box.good(kind) for kind in good} == good
    for job in ("full", "files", "dump"):
        box.run(job)
    assert box.health().broken == []


def test_a_bucket_that_is_gone_is_named(box: Any, new_file: str) -> None:
    good = {kind: box.good(kind) for kind in ("database", "files", "dump")}
    with box.configured(store={"bucket": "slipway-no-such-bucket"}):
        for job in ("full", "files", "dump", "prune"):
            box.fails(job, "bucket slipway-no-such-bucket.*(NoSuchBucket|no such bucket)")
        health = box.health()
        assert "slipway-no-such-bucket" in health.told("unread:store")
        assert health.metrics['job_consecutive_failures{job="prune"}'] == 1
        assert {kind: box.good(kind) for kind in good} == good
    for job in ("full", "files", "dump"):
        box.run(job)
    assert box.health().broken == []


def test_a_full_disk_below_the_spool_loses_nothing(box: Any, store_away: Callable[[], Any], new_file: str) -> None:
    good = {kind: box.good(kind) for kind in ("files", "dump")}
    box.sh(f"head -c 6M /dev/urandom >>{new_file}; mkdir -p {SPOOL}; mount -t tmpfs -o size=2M,mode=0711 tmpfs {SPOOL}")
    try:
        box.fails("dump", rf"no room for a dump in {SPOOL}.*MB are free")
        with store_away():
            box.fails(
                "files",
                "connect",
                f"{SPOOL} does not take what is new.*on this host only once.*no space left on device",
            )
            assert box.health().metrics['job_consecutive_failures{job="files"}'] == 1
        assert {kind: box.good(kind) for kind in good} == good
        # With the store back nothing needs the spool, full as it is.
        box.run("files")
    finally:
        box.sh(f"umount {SPOOL}")
    box.run("dump")
    assert box.health().broken == []
