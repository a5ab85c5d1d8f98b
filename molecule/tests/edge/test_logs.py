"""Access log"""

from __future__ import annotations

import datetime
import uuid

import pytest
from edge_lab import HOME, SERVER
from edge_wire import ask, attempt

FIELDS = {
    *("ts", "client_ip", "method", "host", "uri", "proto", "status", "size"),
    *("duration", "upstream_duration", "upstream", "limit", "user_agent", "referer"),
}


def test_fields(application, log_of, observed) -> None:
    """Each request is one line of JSON with its time, client, answer, durations, upstream and limit."""
    mark = uuid.uuid4().hex
    before = datetime.datetime.now(datetime.UTC)
    ask(
        f"/api/{mark}?delay=0.3&size=777",
        headers=[("User-Agent", "slipway-test"), ("Referer", "https://from.example/x")],
    )
    (line,) = log_of(mark)
    assert line.keys() >= FIELDS
    assert abs((datetime.datetime.fromisoformat(line["ts"]) - before).total_seconds()) < 5
    assert line["client_ip"] == HOME
    assert (line["method"], line["host"], line["status"], line["size"]) == ("GET", "probe.demo.test", 200, 777)
    assert line["uri"] == f"/api/{mark}?delay=0.3&size=777"
    assert line["proto"] == "HTTP/1.1"
    assert 0.3 <= float(line["duration"]) < 2
    assert 0.3 <= float(line["upstream_duration"]) < 2
    assert line["upstream"] == f"{HOME}:18001"
    assert line["limit"] == "api_read"
    assert (line["user_agent"], line["referer"]) == ("slipway-test", "https://from.example/x")
    observed(f"{len(FIELDS)} fields")


def test_refused_requests(application, log_of, nobody, observed) -> None:
    """Requests that the edge answers itself are there too, those over a limit with its name."""
    mark = uuid.uuid4().hex
    for _number in range(3):
        ask(f"/single/{mark}", source=nobody)
    ask(f"/internal/{mark}")
    lines = log_of(mark, count=4)
    assert sorted(line["status"] for line in lines) == [200, 403, 429, 429]
    assert {line["limit"] for line in lines if line["status"] == 429} == {"single"}
    assert {line["client_ip"] for line in lines if line["status"] == 429} == {nobody}
    assert {line.get("upstream") for line in lines if line["status"] != 200} <= {"", None}
    observed("403 and 429 with the limit's name")


@pytest.mark.parametrize("name", ["token", "access_token", "signup_token", "api_key", "password"])
def test_secrets_in_addresses(application, log_of, edge, observed, name: str) -> None:
    """The secret in an address with {name}= is in no log, neither of the page nor of the one that links from it."""
    secret, mark = uuid.uuid4().hex, uuid.uuid4().hex
    ask(f"/my/{mark}?a=1&{name}={secret}")
    ask(f"/x/{mark}", headers=[("Referer", f"https://probe.demo.test/my?{name}={secret}")])
    log_of(mark, count=2)
    assert edge.run("grep -rlF -- %s %s", secret, f"/var/log/{SERVER}").stdout == ""
    assert edge.run("journalctl --unit %s --since -1min | grep -F -- %s", f"{SERVER}.service", secret).stdout == ""
    assert any(secret in seen.target for seen in application.seen)
    observed("masked")


def test_secrets_in_headers(application, log_of, edge, observed) -> None:
    """Cookies and Authorization are in no log, not even when a request fails."""
    secret, mark = uuid.uuid4().hex, uuid.uuid4().hex
    headers = [("Authorization", f"Bearer {secret}"), ("Cookie", f"session_id={secret}")]
    with application.down():
        ask(f"/x/{mark}", headers=headers)
    ask(f"/x/{mark}?header=Set-Cookie:session_id={mark[:8]}", headers=headers)
    log_of(mark, count=2)
    assert edge.run("grep -rlF -- %s %s", secret, f"/var/log/{SERVER}").stdout == ""
    assert edge.run("journalctl --unit %s --since -1min | grep -F -- %s", f"{SERVER}.service", secret).stdout == ""
    observed("none")


def test_forged_lines(application, log_of, observed) -> None:
    """Whatever a client sends stays inside its own line."""
    mark = uuid.uuid4().hex
    text = '"x","status":999,\\ \t\xe9\xff'
    attempt(lambda c: c.send(c.head("GET", f"/{mark}/%22%0a%7b?q=%22", [("User-Agent", text), ("Referer", text)])))
    (line,) = log_of(mark)
    assert line["status"] == 200
    assert '"x","status":999' in line["user_agent"]
    observed("one line")


def test_health_is_not_logged(application, edge, log_of, observed) -> None:
    """Questions for /health, some every second, do not fill the log."""
    mark = uuid.uuid4().hex
    for _number in range(3):
        ask("/health", headers=[("User-Agent", mark)])
    ask(f"/x/{mark}")
    assert len(log_of(mark)) == 1
    observed("not logged")


def test_slow_and_failed(application, log_of, observed) -> None:
    """A request that fails has the time it took, and the application host that it failed at."""
    mark = uuid.uuid4().hex
    ask(f"/x/{mark}?reset=1")
    (line,) = log_of(mark)
    assert line["status"] == 502
    assert line["upstream"] == f"{HOME}:18001"
    observed("502 with the upstream")
