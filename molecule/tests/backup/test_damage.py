"""Objects of the store that are gone or other than they were: found, named, and a good backup is left."""

from __future__ import annotations

import datetime
import json
import pathlib
import re
import time
from collections.abc import Callable
from typing import Any

import pytest

HERE = pathlib.Path(__file__).resolve().parent
FILESTORE = "/var/lib/odoo/main/filestore/main"
SCRATCH = "/var/lib/postgresql/slipway-test"
ONLY_THE_LAST = {"within_hours": 0, "hourly": 0, "daily": 1, "weekly": 0, "monthly": 0}


@pytest.fixture
def attachment(box: Any) -> Any:
    """A file of some size that came to the filestore."""
    path = f"{FILESTORE}/ff/ff{'1' * 38}"
    box.sh(f"mkdir -p {FILESTORE}/ff; head -c 2M /dev/urandom >{path}; chown -R odoo-main: {FILESTORE}/ff")
    yield path
    box.sh(f"rm -f {path}")


def verifications(box: Any, kind: str, label: str) -> list[dict[str, Any]]:
    """What looks at a backup found, the newest last."""
    below = f"/var/lib/slipway/backup/verifications/{kind}/{label}"
    return [json.loads(box.sh(f"cat {below}/{name}")) for name in box.sh(f"ls {below}").split()]


def test_all_is_deleted_with_the_key_of_the_host_and_brought_back(
    box: Any, host_bucket: Any, owner_bucket: Any, run_playbook: Callable[..., Any]
) -> None:
    good = {kind: box.good(kind) for kind in ("database", "files", "dump")}
    there, snapshots = box.repository(), json.loads(box.restic("snapshots", "--json"))
    before = owner_bucket.list()
    time.sleep(1.5)
    moment = datetime.datetime.now(datetime.UTC)
    time.sleep(1.5)
    host_bucket.delete(*before)
    assert host_bucket.list() == {}

    try:
        box.fails("verify", ".")
        box.fails("full", "stanza-create|missing|unable to load info")
        box.fails("files", "Is there a repository|unable to open config file|does not exist")
        box.fails("prune", ".")
        health = box.health()
        assert "not in the store" in health.told("store_lost")
        assert health.metrics['job_consecutive_failures{job="full"}'] == 1
        assert {kind: box.good(kind) for kind in good} == good

        # pgBackRest restores what was there, without anybody's help.
        at = moment.strftime("%Y-%m-%d %H:%M:%S+00")
        box.sh(
            f"install -d -o postgres -g postgres -m 0700 {SCRATCH}; runuser -u postgres -- pgbackrest --stanza=main "
            f"--repo=1 --repo-target-time='{at}' --pg1-path={SCRATCH} --type=immediate --log-level-console=warn restore"
        )
        assert box.sh(f"cat {SCRATCH}/PG_VERSION").strip() == "17"
        box.sh(f"rm -rf {SCRATCH}")
    finally:
        done = run_playbook(str(HERE / "undelete.yml"), "-e", f"undelete_time={moment:%Y-%m-%dT%H:%M:%SZ}")
        assert done.returncode == 0, done.stdout[-4000:]
    after = owner_bucket.list()
    assert {key: after.get(key) for key in before} == before
    assert box.repository() == there
    assert json.loads(box.restic("snapshots", "--json")) == snapshots
    box.run("verify", patience=120)
    for job in ("full", "files", "prune"):
        box.run(job)
    assert box.health().broken == []


def test_a_damaged_object_of_a_database_backup_is_found_and_the_older_one_kept(box: Any, owner_bucket: Any) -> None:
    older = box.run("full").result["label"]
    newer = box.run("full").result["label"]
    bundles = owner_bucket.list(f"pgbackrest/backup/main/{newer}/bundle/")
    largest = max(bundles, key=lambda key: bundles[key])
    with owner_bucket.damaged(largest):
        said = box.fails("verify", "damage in the store: .*make a full backup now", newer, patience=120)
        assert f"{older}: " not in said
        assert [verifications(box, "database", label)[-1]["good"] for label in (older, newer)] == [True, False]
        health = box.health()
        assert newer in health.told("refuted:database")
        assert older not in health.told("refuted:database")
        assert health.metrics['bad_backups{kind="database"}'] == 1
        assert newer in health.told("verify_failed")
        with box.configured(retention=ONLY_THE_LAST):
            box.run("prune")
        assert set(box.repository()) >= {older}
    box.run("full")
    box.run("verify", patience=120)
    assert "verify_failed" not in box.health().findings


def test_a_damaged_object_of_a_snapshot_is_found_and_the_older_one_kept(
    box: Any, owner_bucket: Any, attachment: str
) -> None:
    older = sorted(box.good("files"))[-1]
    before = owner_bucket.list("restic/data/")
    newer = box.run("files").result["label"]
    packs = {key: size for key, size in owner_bucket.list("restic/data/").items() if key not in before}
    with owner_bucket.damaged(max(packs, key=lambda key: packs[key])):
        said = box.fails("verify", "damage in the store: .*make a full backup now", newer, patience=120)
        assert f"{older}: " not in said
        assert [verifications(box, "files", label)[-1]["good"] for label in (older, newer)] == [True, False]
        health = box.health()
        assert newer in health.told("refuted:files")
        assert health.metrics['bad_backups{kind="files"}'] == 1
        with box.configured(retention=ONLY_THE_LAST):
            box.run("prune")
        assert older in box.good("files")
        assert json.loads(box.restic("snapshots", "--json", f"--tag=label={older}"))
    box.run("verify", patience=120)
    assert box.health().broken == []


def test_wal_that_is_missing_in_the_middle_is_named(box: Any, owner_bucket: Any) -> None:
    for _times in range(3):
        box.sh("cd /; runuser -u postgres -- psql -qXAtc 'SELECT txid_current(); SELECT pg_switch_wal()'")
    box.sh("runuser -u postgres -- pgbackrest --stanza=main check")
    assert "wal_gap" not in box.health().findings
    segment = re.compile(r"/([0-9A-F]{24})-[0-9a-f]{40}\.zst$")
    wal = sorted(key for key in owner_bucket.list("pgbackrest/archive/main/") if segment.search(key))
    middle = wal[-3]
    name = segment.search(middle)[1]  # type: ignore[index]
    with owner_bucket.without(middle):
        told = box.health().told("wal_gap")
        assert f"from {name} to {name} is missing" in told
        assert "Make a full backup now" in told
    assert "wal_gap" not in box.health().findings


def test_a_wrong_passphrase_of_the_files_is_named_and_nothing_made_anew(box: Any, owner_bucket: Any) -> None:
    good, before = box.good("files"), owner_bucket.list("restic/")
    with box.configured(name="backup-secrets.json", files_passphrase="not the one"):
        for job in ("files", "dump", "verify", "prune"):
            box.fails(job, "wrong password|no key found")
        health = box.health()
        assert health.metrics['job_consecutive_failures{job="files"}'] == 1
    after = owner_bucket.list("restic/")
    assert {key: after.get(key) for key in before} == before
    assert box.good("files") == good
    for job in ("files", "dump"):
        box.run(job)
    box.run("verify", patience=120)
    assert box.health().broken == []


def test_a_wrong_passphrase_of_the_database_is_named_and_nothing_made_anew(box: Any, owner_bucket: Any) -> None:
    good, before = box.good("database"), owner_bucket.list("pgbackrest/backup/")
    with box.changed(
        "/etc/pgbackrest.conf", lambda text: re.sub("(?m)^repo1-cipher-pass=.*$", "repo1-cipher-pass=not-the-one", text)
    ):
        for job in ("full", "verify", "prune"):
            box.fails(job, "encrypted with another passphrase.*repo1-cipher-pass")
        health = box.health()
        assert health.metrics['job_consecutive_failures{job="full"}'] == 1
        assert any("another passphrase" in text for text in health.findings.values())
    after = owner_bucket.list("pgbackrest/backup/")
    assert {key: after.get(key) for key in before} == before
    assert box.good("database") == good
    for job in ("full", "verify", "prune"):
        box.run(job)
    assert box.health().broken == []
