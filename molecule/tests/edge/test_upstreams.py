"""The application down, slow and back"""

from __future__ import annotations

import time

import pytest
from edge_lab import NOBODIES, PAIR, POLICY, PORTS, SITES
from edge_wire import CLOSED, Connection, ask, together


def wait_until_forgiven() -> None:
    """An application host that failed is left alone for a while, which nginx counts in whole seconds."""
    time.sleep(POLICY["edge_upstream_fail_timeout"] + 1.1)
    # Until it has answered once more, nginx sends it one request at a time.
    for address in NOBODIES[:12] * 3:
        ask("/x", site=PAIR, source=address)


def test_down_and_back(application, observed) -> None:
    """An application that is down is answered 502 at once, and works as soon as it is back."""
    with application.down():
        started = time.monotonic()
        assert ask("/x").status == 502
        assert time.monotonic() - started < 2
    assert ask("/x").status == 200
    observed("502, then 200")


def test_hangs_up(application, observed) -> None:
    """An application that hangs up without an answer is answered 502, and asked only once."""
    assert ask("/x?reset=1&hangs-up", "POST", body=b"").status == 502
    assert len(application.of("hangs-up")) == 1
    observed("502")


def test_slow(application, observed) -> None:
    """An application that takes longer than the site's time is answered 504 then."""
    limit = SITES["probe"]["read_timeout"]
    answer = ask(f"/x?delay={limit + 2}")
    assert answer.status == 504
    assert limit - 0.5 <= answer.elapsed <= limit + 1.5
    assert ask(f"/x?delay={limit - 2}").status == 200
    observed(f"504 after about {limit} s")


def test_drips(application, observed) -> None:
    """An answer that goes on coming may take longer than that time."""
    answer = ask("/x?drip=0.5&size=9")
    assert answer.status == 200
    assert len(answer.body) == 9
    assert answer.elapsed > SITES["probe"]["read_timeout"]
    observed("200 after 4.5 s")


def test_stops_in_the_middle(application, observed) -> None:
    """An answer that stops in the middle is cut off, so that nobody takes it for whole."""
    with pytest.raises(Exception, match=r".") as caught:
        ask("/x?drip=5&size=3")
    assert isinstance(caught.value, (*CLOSED, EOFError, OSError)) or "IncompleteRead" in repr(caught.value)
    observed("cut off")


@pytest.mark.parametrize("gone", PORTS)
def test_one_of_two_is_down(application, observed, gone: int) -> None:
    """With the application host on port {gone} down, all requests are answered well by the other."""
    wait_until_forgiven()
    with application.down(gone):
        answers = together(lambda number: ask("/x", site=PAIR, source=NOBODIES[number % 8]), 40)
    assert [answer.status for answer in answers] == [200] * 40
    assert {seen.json["port"] for seen in answers} == set(PORTS) - {gone}
    observed("40 of 40")


def test_a_client_stays_with_one(application, observed) -> None:
    """A client stays with one of two application hosts, and clients are spread over both."""
    wait_until_forgiven()
    ports = {}
    for address in NOBODIES[:16]:
        found = {ask("/x", site=PAIR, source=address).json["port"] for _number in range(4)}
        assert len(found) == 1
        ports[address] = found.pop()
    assert set(ports.values()) == set(PORTS)
    observed("one each, both used")


def test_no_write_is_sent_twice(application, observed) -> None:
    """A write that an application host took and did not answer is not sent to another one."""
    wait_until_forgiven()
    answer = ask("/x?reset=1&not-twice", "POST", body=b"x", site=PAIR)
    assert answer.status == 502
    assert len(application.of("not-twice")) == 1
    observed("502")


def test_both_are_down(application, observed) -> None:
    """With both down the answer is 502, and with both back 200 after the time for which they are left alone."""
    wait_until_forgiven()
    with application.down():
        assert {ask("/x", site=PAIR).status for _number in range(4)} <= {502, 503}
    wait_until_forgiven()
    assert ask("/x", site=PAIR).status == 200
    observed("502, then 200")


def test_health(application, observed) -> None:
    """/health is 200 when the application is well, and 503 when it says otherwise or is down."""
    assert ask("/health").status == 200
    application.healthy = False
    assert ask("/health").status == 503
    application.healthy = True
    with application.down():
        assert ask("/health").status == 503
    assert ask("/health").status == 200
    observed("200, 503, 503, 200")


def test_health_of_odoo(observed) -> None:
    """/health of an Odoo is 200 while it has its database, over plain HTTP, too."""
    assert ask("/health", site="odoo.demo.test").status == 200
    assert ask("/health", site="odoo.demo.test", tls=False).status == 200
    observed("200")


def test_health_is_for_reading(application, observed) -> None:
    """/health answers GET and HEAD only."""
    assert ask("/health", "HEAD").status == 200
    refused = {ask("/health", method, body=b"").status for method in ("POST", "PUT", "DELETE")}
    assert refused <= {403, 405}
    assert all(seen.method in ("GET", "HEAD") for seen in application.seen)
    observed(", ".join(map(str, sorted(refused))))


def test_connection_is_reused(application, observed) -> None:
    """A client can send many requests over one connection."""
    with Connection() as connection:
        assert {connection.ask("/x", "POST", body=b"y").status for _number in range(20)} == {200}
    observed("20")
