"""Health: each threshold at both sides, and metrics that Prometheus can read."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils import backup_health as health
from ansible_collections.slipway.odoo.plugins.module_utils.backup_health import Finding, Thresholds, judge
from ansible_collections.slipway.odoo.plugins.module_utils.backup_manifest import format_time
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
DAY = 24
GB = 1024**3


def ago(hours):
    return format_time(NOW - timedelta(hours=hours))


def backup(hours, **changes):
    return {
        "label": "x",
        "type": "full",
        "time": ago(hours),
        "size_bytes": 100,
        "verified": None,
        "faults": [],
        **changes,
    }


def kind(hours=None, *, ratio=None, count=5, bad=()):
    last = None if hours is None else backup(hours)
    return {
        "last_good": last,
        "last_good_by_type": {"full": last} if last else {},
        "count": 1 if last else 0,
        "bad": list(bad),
        "size_trend": ratio and {"last": ratio * 100, "count": count, "median": 100, "ratio": ratio},
        "last_verified": None,
    }


GOOD = {
    "since": ago(DAY * 100),
    "kinds": {"database": kind(1, ratio=1.0), "files": kind(0.5), "dump": kind(DAY)},
    "archive": {"last_failed_time": ago(9), "last_archived_time": ago(1), "last_failed_wal": "0001"},
    "wal": {"ready_files": 2, "bytes": GB, "oldest_ready_time": ago(0.1)},
    "wal_gap": [],
    "drill": {"time": ago(DAY * 34), "good": True, "faults": [], "rto_s": 120.5, "rpo_s": 3},
    "verify": {"time": ago(DAY * 7), "good": True, "faults": []},
    "jobs": {"backup-database": {"failures": 2, "last_error": "S3 is away", "last_success": ago(3)}},
    "spool": {"used_bytes": 1, "max_bytes": 10 * GB},
    "databases": {"expected": ["main"], "found": ["main", "other"]},
    "store": {"required": ["versioning"], "offered": ["versioning", "lock"]},
    "unread": {},
}


def test_all_is_well():
    assert judge(GOOD, Thresholds(), NOW) == []
    assert judge({}, Thresholds(), NOW) == []


@pytest.mark.parametrize(
    ("facts", "names"),
    [
        ({"kinds": {"database": kind(25.9)}}, []),
        ({"kinds": {"database": kind(26.1)}}, ["late:database"]),
        ({"kinds": {"files": kind(0.99)}}, []),
        ({"kinds": {"files": kind(1.01)}}, ["late:files"]),
        ({"kinds": {"dump": kind(DAY * 8 - 1)}}, []),
        ({"kinds": {"dump": kind(DAY * 8 + 1)}}, ["late:dump"]),
        ({"kinds": {"database": kind()}}, ["late:database"]),
        # Nothing is late that had no time to be.
        ({"kinds": {"database": kind()}, "since": ago(25)}, []),
        ({"kinds": {"database": kind()}, "since": ago(27)}, ["late:database"]),
        ({"kinds": {"database": kind()}, "since": None}, ["late:database"]),
        # A clock that jumped makes nothing fresh.
        ({"kinds": {"database": kind(-2)}}, ["late:database"]),
        ({"kinds": {"database": kind(-0.1)}}, []),
        ({"kinds": {"database": kind(1, ratio=0.49)}}, ["size:database"]),
        ({"kinds": {"database": kind(1, ratio=0.5)}}, []),
        ({"kinds": {"database": kind(1, ratio=3.0)}}, []),
        ({"kinds": {"database": kind(1, ratio=3.1)}}, ["size:database"]),
        ({"kinds": {"database": kind(1, ratio=9, count=2)}}, []),
        ({"kinds": {"database": kind(2, bad=[backup(1, faults=["disk full"])])}}, ["bad:database"]),
        ({"kinds": {"database": kind(1, bad=[backup(2)])}}, []),
        ({"kinds": {"database": kind(1, bad=[backup(2, verified=False)])}}, ["refuted:database"]),
        ({"archive": {"last_failed_time": ago(1), "last_archived_time": ago(9)}}, ["archive_failed"]),
        ({"archive": {"last_failed_time": ago(1), "last_archived_time": None}}, ["archive_failed"]),
        ({"archive": {"last_failed_time": None, "last_archived_time": None}}, []),
        ({"wal": {"ready_files": 65, "bytes": 0, "oldest_ready_time": None}}, ["wal_backlog"]),
        ({"wal": {"ready_files": 64, "bytes": 17 * GB, "oldest_ready_time": ago(1)}}, ["wal_old", "wal_size"]),
        ({"wal_gap": ["00000001"]}, ["wal_gap"]),
        ({"drill": {"time": ago(DAY * 36), "good": True}}, ["late:drill"]),
        ({"drill": {"time": ago(1), "good": False, "faults": ["x"]}}, ["drill_failed"]),
        ({"drill": None}, ["late:drill"]),
        ({"drill": None, "since": ago(DAY)}, []),
        ({"verify": {"time": ago(DAY * 9), "good": False}}, ["late:verify", "verify_failed"]),
        ({"jobs": {"a": {"failures": 3}, "b": {"failures": 0}}}, ["job:a"]),
        ({"spool": {"used_bytes": 9, "max_bytes": 10}}, ["spool"]),
        ({"spool": {"used_bytes": 8, "max_bytes": 10}}, []),
        ({"restores": []}, []),
        ({"restores": ["database main-copy"]}, ["restore_unfinished"]),
        ({"databases": {"expected": ["main"], "found": ["main_old"]}}, ["database_missing:main"]),
        ({"store": {"required": ["lock"], "offered": []}}, ["store_lacks:lock"]),
        ({"unread": {"wal_gap": "pgbackrest: exit 50"}}, ["unread:wal_gap"]),
        ({"wal": {}}, ["unread:wal"]),
        ({"kinds": None}, ["unread:kinds"]),
        ({"since": "yesterday", "drill": None}, ["unread:drill"]),
    ],
)
def test_findings(facts, names):
    facts = {**GOOD, **facts}
    found = judge(facts, Thresholds(), NOW)
    assert sorted(finding.name for finding in found) == names
    assert all(finding.text and finding.severity in ("critical", "warning") for finding in found)
    assert readable(health.metrics(facts, found, NOW))


def test_age_by_type():
    limits = Thresholds.of({"max_age_s": {"database/full": 3600, "database/diff": 60}})
    assert limits.max_age_s["files"] == 3600
    found = judge({"kinds": {"database": kind(2)}, "since": ago(5)}, limits, NOW)
    assert [finding.name for finding in found] == ["late:database/diff", "late:database/full"]


@pytest.mark.parametrize(
    "given_limits",
    [{"max_age": 1}, {"drill_age_s": "x"}, {"drill_age_s": -1}, {"max_age_s": 3}, {"max_age_s": {"files": True}}],
)
def test_bad_thresholds(given_limits):
    with pytest.raises(SlipwayError, match="health"):
        Thresholds.of(given_limits)


def test_worst_first():
    facts = {"spool": {"used_bytes": 9, "max_bytes": 10}, "wal_gap": ["x"]}
    assert [finding.severity for finding in judge(facts, Thresholds(), NOW)] == ["critical", "warning"]


def test_a_full_spool_is_critical():
    assert judge({"spool": {"used_bytes": 10, "max_bytes": 10}}, Thresholds(), NOW)[0].severity == "critical"


LINE = re.compile(
    r"# HELP slipway_backup_\w+ [^\n]+|# TYPE slipway_backup_\w+ gauge"
    r'|slipway_backup_\w+(\{\w+="(?:[^"\\\n]|\\[\\n"])*"(,\w+="(?:[^"\\\n]|\\[\\n"])*")*\})? -?[0-9.e+-]+'
)


def readable(text):
    return text.endswith("\n") and all(LINE.fullmatch(line) for line in text[:-1].split("\n"))


def test_metrics():
    text = health.metrics(GOOD, [Finding("late:database", "critical", "x")], NOW)
    assert readable(text)
    for line in (
        f"slipway_backup_health_timestamp_seconds {int(NOW.timestamp())}",
        f'slipway_backup_last_success_timestamp_seconds{{kind="database",type="full"}} {int(NOW.timestamp()) - 3600}',
        'slipway_backup_last_size_bytes{kind="files",type="full"} 100',
        'slipway_backup_job_consecutive_failures{job="backup-database"} 2',
        "slipway_backup_archive_failed 0",
        "slipway_backup_wal_backlog_files 2",
        "slipway_backup_last_drill_success 1",
        "slipway_backup_drill_rto_seconds 120.5",
        "slipway_backup_drill_rpo_seconds 3",
        'slipway_backup_findings{severity="warning"} 0',
        'slipway_backup_finding{name="late:database",severity="critical"} 1',
    ):
        assert line in text.splitlines()


def test_metrics_are_content_with_little():
    text = health.metrics({"drill": None, "wal": {}, "kinds": 3}, [], NOW)
    assert readable(text)
    assert "drill" not in text


@given(st.text(), st.text())
def test_labels_are_escaped(name, job):
    text = health.metrics({"jobs": {job: {"failures": 1}}}, [Finding(name, "warning", "x")], NOW)
    assert readable(text)
    assert text.encode()


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(GOOD)), ANY))
def test_no_facts_stop_it(facts):
    facts = {**GOOD, **facts}
    assert readable(health.metrics(facts, judge(facts, Thresholds(), NOW), NOW))
