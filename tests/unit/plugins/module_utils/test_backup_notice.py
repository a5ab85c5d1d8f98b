"""Notices: when, how often, and with what words."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils import backup_notice
from ansible_collections.slipway.odoo.plugins.module_utils.backup_notice import Notice, Outcome, advance
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


def told(outcomes, *, after=3, step=timedelta(hours=1), state=None):
    """Return for each outcome, F or good (.), what is told: nothing (.), f, r or R."""
    state = {} if state is None else state
    words = ""
    for number, mark in enumerate(outcomes):
        outcome = Outcome("job:x", mark == ".", f"failure {number}")
        state, notices = advance(json.loads(json.dumps(state)), outcome, NOW + number * step, after)
        assert len(notices) <= 1
        words += {"failing": "f", "reminder": "r", "recovered": "R"}[notices[0].kind] if notices else "."
    return words


@pytest.mark.parametrize(
    ("outcomes", "after", "words"),
    [
        ("....", 3, "...."),
        ("FF.FF.", 3, "......"),
        ("FFF", 3, "..f"),
        ("FFFFFF.", 3, "..f...R"),
        ("FFF.FFF.", 3, "..fR..fR"),
        ("F.F.", 1, "fRfR"),
        ("F.", 0, "fR"),
        ("F" * 60 + ".", 3, ".." + "f" + "." * 23 + "r" + "." * 23 + "r" + "." * 9 + "R"),
    ],
)
def test_when(outcomes, after, words):
    assert told(outcomes, after=after) == words


def test_subjects_are_apart():
    state = {}
    for subject in ("a", "b", "a", "b", "a"):
        state, notices = advance(state, Outcome(subject, good=False, text="x"), NOW)
    assert [notice.subject for notice in notices] == ["a"]
    assert (state["a"]["failures"], state["b"]["failures"]) == (3, 2)
    state, notices = advance(state, Outcome("b", good=True), NOW)
    assert (list(state), notices) == (["a"], [])


def test_what_a_notice_holds():
    state = {}
    for hour in range(3):
        state, notices = advance(state, Outcome("a", good=False, text=f"x{hour}"), NOW + timedelta(hours=hour))
    assert notices == [Notice("failing", "a", "x2", "critical", 3, NOW, NOW + timedelta(hours=2))]
    state, notices = advance(state, Outcome("a", good=True), NOW + timedelta(hours=9))
    assert notices == [Notice("recovered", "a", "x2", "critical", 3, NOW, NOW + timedelta(hours=9))]
    assert state == {}


def test_a_clock_set_back_silences_nothing():
    state = {}
    for _ in range(3):
        state, _ = advance(state, Outcome("a", good=False), NOW + timedelta(days=400))
    state, notices = advance(state, Outcome("a", good=False), NOW)
    assert notices == []
    # The state says 2027 still, until a reminder is due by what is known now.
    assert state["a"]["told"] == backup_notice.format_time(NOW)
    state, notices = advance(state, Outcome("a", good=False), NOW + timedelta(hours=24))
    assert [notice.kind for notice in notices] == ["reminder"]


@pytest.mark.parametrize("entry", [None, 3, [], {}, {"failures": "x"}, {"failures": 1, "since": "y", "told": None}])
def test_a_damaged_state_is_a_new_one(entry):
    state, notices = advance({"a": entry}, Outcome("a", good=False), NOW)
    assert (state["a"]["failures"], notices) == (1, [])
    assert advance({"a": entry}, Outcome("a", good=True), NOW) == ({}, [])


def test_findings():
    def found(*names):
        return [SimpleNamespace(name=name, severity="warning", text=f"{name} is bad") for name in names]

    state, notices = {"job:x": {"failures": 1}}, []
    for names in (("a", "b"), ("a", "b"), ("a", "b"), ("b",)):
        state, notices = backup_notice.advance_findings(state, found(*names), NOW)
    assert [(notice.kind, notice.subject) for notice in notices] == [("recovered", "finding:a")]
    assert sorted(state) == ["finding:b", "job:x"]


@given(st.text("F.", max_size=120), st.integers(1, 5))
def test_every_course(outcomes, after):
    words = told(outcomes, after=after)
    open_failure = False
    for number, mark in enumerate(words):
        if mark == "f":
            assert not open_failure
            assert outcomes[number + 1 - after : number + 1] == "F" * after
            open_failure = True
        elif mark == "r":
            assert open_failure
            assert words[number - 23 : number] == "." * 23
        elif mark == "R":
            assert open_failure
            open_failure = False


@pytest.mark.parametrize(
    "line",
    [
        "cannot reach https://AK:hunter2@store/x",
        "AWS_SECRET_ACCESS_KEY=hunter2 restic backup",
        "password: 'hunter2', next",
        '{"passphrase": "hunter2"}',
        "repo1-cipher-pass=hunter2",
        "Authorization: AWS4-HMAC-SHA256 Credential=x, Signature=hunter2",
        "GET /x?X-Amz-Signature=hunter2&y=1",
        "https://hooks.example.org/services/hunter2",
        "-----BEGIN RSA PRIVATE KEY-----\nhunter2\n-----END RSA PRIVATE KEY-----",
        "what nobody could know: hunter2.",
    ],
)
def test_no_secret_leaves(line):
    notice = Notice("failing", f"job:{line}", line, "critical", 3, NOW, NOW)
    known = ["hunter2"] if line.startswith("what") else []
    for words in backup_notice.text(notice, site="demo", host="db1", secrets=known):
        assert "hunter2" not in words
        assert "***" in words


def test_words():
    notice = Notice("failing", "job:backup-database", "S3 is away", "critical", 3, NOW, NOW + timedelta(hours=2))
    subject, body = backup_notice.text(notice, site="demo", host="db1")
    assert subject == "[slipway backup demo db1] FAILING: job:backup-database"
    assert "has failed 3 times in a row since 2026-11-25T12:00:00Z." in body
    assert "S3 is away" in body
    recovered = Notice("recovered", "job:x", "S3 is away", "critical", 1, NOW, NOW)
    subject, body = backup_notice.text(recovered)
    assert subject == "[slipway backup] recovered: job:x"
    assert body.startswith("job:x is good again.\n")


@given(st.text(), st.text(), st.sampled_from(["failing", "reminder", "recovered"]))
def test_a_subject_is_one_line(name, words, kind):
    subject, body = backup_notice.text(Notice(kind, name, words, "warning", 1, NOW, NOW), site=words)
    assert len(subject) <= 150
    assert not {"\n", "\r", "\0"} & set(subject)
    assert body.endswith("\n")
