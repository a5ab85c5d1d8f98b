"""Rate limits"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import time

import pytest
from edge_lab import HOME, LIMITS, NOBODIES, PAIR, PROBE, PROXY
from edge_wire import Answer, Connection, ask

# What counts in each limit: method, path, headers.
ASKED = {
    "health": ("GET", "/web/health", ()),
    "login": ("POST", "/web/login", ()),
    "api_read": ("GET", "/api/things", ()),
    "api_call_read": ("POST", "/json/2/res.partner/search_read", ()),
    "api_write": ("POST", "/api/things", ()),
    "token": ("GET", "/by-token/x", (("Authorization", "Bearer first"),)),
    "together": ("GET", "/together/x", ()),
    "single": ("GET", "/single/x", ()),
    "web": ("GET", "/anything", ()),
}


@dataclasses.dataclass(frozen=True)
class Rate:
    """``interval`` and ``window`` are in seconds: between two requests, and for a whole burst to be free again."""

    at_once: int
    interval: float

    @property
    def window(self) -> float:
        return self.at_once * self.interval


@dataclasses.dataclass(frozen=True)
class Story:
    """What happened to a client that asked too much, waited as it was told, and asked too much again."""

    rate: Rate
    first: list[Answer]
    elapsed: float
    waited: int
    after_wait: list[int]
    second: list[int]
    second_elapsed: float


def rate_of(name: str) -> Rate:
    count, unit = LIMITS[name]["rate"].split("r/")
    return Rate(at_once=LIMITS[name].get("burst", 0) + 1, interval={"s": 1, "m": 60}[unit] / int(count))


def send(name: str, count: int, address: str, site: str = PROBE) -> tuple[list[Answer], float]:
    method, path, headers = ASKED[name]
    started = time.monotonic()
    answers: list[Answer] = []
    with Connection(site, source=address) as connection:
        for _number in range(count):
            answers.append(connection.ask(path, method, headers, b"" if method == "POST" else None))  # noqa: PERF401
    return answers, time.monotonic() - started


def live_through(name: str, address: str) -> Story:
    rate = rate_of(name)
    count = rate.at_once + max(4, round(rate.at_once * 0.4))
    first, elapsed = send(name, count, address)
    refused = [answer for answer in first if answer.status == 429]
    waited = int(refused[-1].value("Retry-After"))
    time.sleep(waited)
    after_wait, _elapsed = send(name, 2, address)
    time.sleep(rate.window + 0.2)
    second, second_elapsed = send(name, count, address)
    return Story(
        rate=rate,
        first=first,
        elapsed=elapsed,
        waited=waited,
        after_wait=[answer.status for answer in after_wait],
        second=[answer.status for answer in second],
        second_elapsed=second_elapsed,
    )


@pytest.fixture(scope="module")
def stories(_application) -> dict[str, Story]:
    """All at the same time, each from an address of its own: most of it is waiting."""
    addresses = NOBODIES[-len(ASKED) :]
    with concurrent.futures.ThreadPoolExecutor(len(ASKED)) as pool:
        return dict(zip(ASKED, pool.map(live_through, ASKED, addresses), strict=True))


def assert_arithmetic(passed: int, rate: Rate, elapsed: float) -> None:
    """What passes at once, and what has become free again meanwhile; one more for what falls on the border."""
    assert rate.at_once <= passed <= rate.at_once + elapsed / rate.interval + 1


@pytest.mark.parametrize("name", ASKED)
def test_burst(stories, observed, name: str) -> None:
    """Limit {name}: the burst passes, the rest is answered 429 with Retry-After."""
    story = stories[name]
    passed = [answer.status for answer in story.first].count(200)
    assert {answer.status for answer in story.first} == {200, 429}
    assert_arithmetic(passed, story.rate, story.elapsed)
    for answer in story.first:
        assert len(answer.values("Retry-After")) == (answer.status == 429)
        assert answer.status == 200 or 1 <= int(answer.value("Retry-After")) <= story.rate.window + 1
    observed(f"{story.rate.at_once} at once")


@pytest.mark.parametrize("name", ASKED)
def test_recovery(stories, observed, name: str) -> None:
    """Limit {name}: after Retry-After a request passes, after the limit's window the whole burst does."""
    story = stories[name]
    assert story.after_wait[0] == 200
    assert set(story.second) == {200, 429}
    assert_arithmetic(story.second.count(200), story.rate, story.second_elapsed)
    slowly = story.waited <= max(1, story.rate.interval)
    manner = "one by one" if slowly else "together after the window"
    observed(f"{story.rate.at_once} again, {manner}", variant="" if story.rate.window <= 1 else manner)


def statuses(name: str, count: int, address: str, site: str = PROBE) -> list[int]:
    return [answer.status for answer in send(name, count, address, site)[0]]


def test_exempt(application, observed) -> None:
    """Exempt networks have no limit."""
    assert set(statuses("login", 30, HOME)) == {200}
    observed("30 of 30 pass")


@pytest.mark.parametrize("path", ["/de/web/login", "//web/login", "/web/%6cogin", "/web//login", "/x/../web/login"])
def test_spellings(application, nobody, observed, path: str) -> None:
    """A log-in written as {path} counts in the same limit."""
    at_once = rate_of("login").at_once
    with Connection(source=nobody) as connection:
        found = [connection.ask(path, "POST", body=b"").status for _number in range(at_once + 6)]
    assert found.count(429) >= 4, found
    observed("limited")


def test_methods(application, nobody, observed) -> None:
    """A limit for POST leaves GET of the same path alone, and static files have none."""
    assert 429 in statuses("login", rate_of("login").at_once + 4, nobody)
    with Connection(source=nobody) as connection:
        assert {connection.ask("/web/login").status for _number in range(15)} == {200}
        assert {connection.ask("/web/static/x.js").status for _number in range(40)} == {200}
    observed("GET passes while POST is refused")


def test_limits_are_apart(application, nobody, observed) -> None:
    """A client over its limit for writing can still read."""
    assert 429 in statuses("api_write", rate_of("api_write").at_once + 4, nobody)
    assert statuses("api_read", 5, nobody) == [200] * 5
    assert statuses("api_call_read", 5, nobody) == [200] * 5
    observed("reads pass while writes are refused")


def test_clients_are_apart(application, request, observed) -> None:
    """One client's requests are not counted as another's."""
    first, second = request.getfixturevalue("nobody"), NOBODIES[0]
    assert 429 in statuses("login", rate_of("login").at_once + 4, first)
    assert statuses("login", 1, second) == [200]
    observed("another address passes")


def test_key_authorization(application, nobody, observed) -> None:
    """A limit by Authorization counts each value by itself, whatever address it comes from."""
    at_once = rate_of("token").at_once

    def ask_with(token: str, address: str) -> int:
        return ask("/by-token/x", headers=[("Authorization", token)], source=address).status

    second = NOBODIES[1]
    assert [ask_with("Bearer A", nobody) for _number in range(at_once)] == [200] * at_once
    assert 429 in [ask_with("Bearer A", second) for _number in range(3)]
    assert ask_with("Bearer B", nobody) == 200
    observed("the token counts, not the address")


def test_key_site(application, nobody, observed) -> None:
    """A limit by site counts all clients of it together, and those of another site apart."""
    at_once = rate_of("together").at_once
    second = NOBODIES[2]
    time.sleep(rate_of("together").window)
    found = statuses("together", at_once, nobody) + statuses("together", 3, second)
    assert 429 in found[at_once:]
    assert statuses("together", 1, nobody, PAIR) == [200]
    observed("two addresses share it")


def test_sites_share_a_limit(application, nobody, observed) -> None:
    """What an address asks of two sites counts together."""
    at_once = rate_of("login").at_once
    assert set(statuses("login", at_once, nobody)) == {200}
    together = 429 in statuses("login", 3, nobody, PAIR)
    observed("together" if together else "apart", variant="together" if together else "apart")


def test_behind_a_proxy(application, observed) -> None:
    """Clients behind a trusted proxy have a limit each, though the proxy is exempt."""

    def log_in(client: str) -> int:
        return ask("/web/login", "POST", [("X-Forwarded-For", client)], b"", source=PROXY).status

    at_once = rate_of("login").at_once
    assert 429 in [log_in("192.0.2.7") for _number in range(at_once + 4)]
    assert log_in("192.0.2.8") == 200
    observed("by the forwarded address")
