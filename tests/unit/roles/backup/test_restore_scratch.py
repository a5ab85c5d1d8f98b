"""The scratch cluster of a restore: what it shares, and what it leaves alone."""

from __future__ import annotations

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from slipway_backup import restore_scratch


def test_the_scratch_cluster_shares_only_the_repository(tmp_path):
    text = (
        "[global]\nrepo1-type=s3\nrepo1-s3-key-secret=a%b;c#d\nrepo1-retention-full=7\nspool-path=/var/spool/pgbackrest\n"
        "[main]\npg1-path=/live\n"
    )
    made = restore_scratch.private_conf(text, stanza="main", data=tmp_path / "data", directory=tmp_path)
    assert "repo1-s3-key-secret=a%b;c#d\n" in made
    assert "retention" not in made
    assert "/live" not in made
    assert "/var/spool" not in made
    assert f"spool-path={tmp_path}/spool\n" in made


def test_a_directory_without_the_marker_is_left_alone(tmp_path, monkeypatch):
    (tmp_path / "of-somebody").mkdir()
    monkeypatch.setattr(restore_scratch, "SCRATCH", tmp_path)
    restore_scratch.remove_dead()
    with pytest.raises(SlipwayError, match="is not ours"):
        restore_scratch.remove_scratch(tmp_path / "of-somebody")
    assert (tmp_path / "of-somebody").is_dir()
    (tmp_path / "ours/data").mkdir(parents=True)
    (tmp_path / "ours" / restore_scratch.MARKER).touch()
    restore_scratch.remove_dead()
    assert [path.name for path in tmp_path.iterdir()] == ["of-somebody"]


def test_a_server_that_gave_up_says_why():
    lines = [
        "LOG:  last completed transaction was at log time 2026-11-25 12:00:00+00",
        "FATAL:  recovery ended before configured recovery target was reached",
    ]
    assert "the last transaction there is of 2026-11-25 12:00:00+00" in restore_scratch.recovery_fault(lines)
    assert restore_scratch.recovery_fault(["LOG: x", "FATAL: disk full"]) == "FATAL: disk full"
