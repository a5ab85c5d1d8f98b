"""Slow clients"""

from __future__ import annotations

import contextlib
import time

from edge_lab import NOBODIES, POLICY
from edge_wire import CLOSED, Connection, ask

SLACK = 2.5


def drip(connection: Connection, data: bytes, *, for_seconds: float) -> float | None:
    """Send a byte at a time; seconds until the other side hangs up, None when it does not."""
    started = time.monotonic()
    connection.sock.settimeout(0.3)
    for at in range(len(data)):
        try:
            connection.send(data[at : at + 1])
            with contextlib.suppress(TimeoutError):
                if not connection.sock.recv(65536):
                    return time.monotonic() - started
        except OSError:
            return time.monotonic() - started
        if time.monotonic() - started > for_seconds:
            break
    return None


def test_slow_headers(application, observed) -> None:
    """A client whose headers drip in is cut off after the time for headers."""
    limit = POLICY["edge_header_timeout"]
    with Connection() as connection:
        head = connection.head("GET", "/x?slow-headers", [("X-Long", "x" * 200)])
        took = drip(connection, head, for_seconds=limit + SLACK + 2)
    assert took is not None
    assert limit - 0.5 <= took <= limit + SLACK
    assert application.of("slow-headers") == []
    observed(f"after about {limit} s")


def test_no_headers(observed) -> None:
    """A client that says nothing is cut off after the time for headers."""
    limit = POLICY["edge_header_timeout"]
    with Connection() as connection:
        took = connection.closed_within(limit + SLACK)
    assert took is not None
    assert took >= limit - 0.5
    observed(f"after about {limit} s")


def test_idle_connection(application, observed) -> None:
    """A connection that is not used any more is closed after the time for the next request."""
    limit = POLICY["edge_keepalive_timeout"]
    with Connection() as connection:
        assert connection.ask("/x").status == 200
        took = connection.closed_within(limit + SLACK)
    assert took is not None
    assert took >= limit - 1
    observed(f"after about {limit} s")


def test_body_that_stops(application, observed) -> None:
    """A client that stops in the middle of a body is cut off after the time for more of it."""
    limit = POLICY["edge_body_timeout"]
    with Connection() as connection:
        connection.send(connection.head("POST", "/x?body-stops", length=100_000) + b"x" * 1000)
        took = connection.closed_within(limit + SLACK)
    assert took is not None
    assert took >= limit - 0.5
    observed(f"after about {limit} s")


def test_body_that_drips(application, observed) -> None:
    """A slow body that goes on coming is no reason to be cut off."""
    with Connection() as connection:
        connection.send(connection.head("POST", "/x?body-drips", length=12))
        for _number in range(12):
            connection.send(b"x")
            time.sleep(0.5)
        assert connection.read().status == 200
    assert [seen.length for seen in application.of("body-drips")] == [12]
    observed("200 after 6 s")


def test_slow_bodies_do_not_reach_the_application(application, observed) -> None:
    """While forty slow uploads are open, none of them occupies the application, and others are answered at once."""
    with contextlib.ExitStack() as stack:
        for _number in range(40):
            connection = stack.enter_context(Connection(source=NOBODIES[4]))
            connection.send(connection.head("POST", "/x?slow-body", length=50_000) + b"x" * 500)
        time.sleep(0.5)
        occupied = application.in_progress
        started = time.monotonic()
        assert ask("/x").status == 200
        assert time.monotonic() - started < 1
    observed(f"{'some reach it' if occupied else 'none reaches it'}", variant="passed on" if occupied else "kept")
    assert application.of("slow-body") == []


def test_client_that_does_not_read(application, observed) -> None:
    """A client that takes nothing of its answer is cut off after the time for that."""
    limit = POLICY["edge_send_timeout"]
    with Connection() as connection:
        connection.send(connection.head("GET", "/x?size=60000000"))
        time.sleep(limit + SLACK)
        connection.sock.settimeout(10)
        received = 0
        with contextlib.suppress(*CLOSED):
            while part := connection.sock.recv(1_000_000):
                received += len(part)
    assert received < 60_000_000
    observed("cut off")


def test_client_that_reads_slowly(application, observed) -> None:
    """A client that takes its answer slowly gets all of it."""
    size = 3_000_000
    with Connection(timeout=20) as connection:
        connection.send(connection.head("GET", f"/x?size={size}", [("Connection", "close")]))
        received = b""
        while part := connection.sock.recv(200_000):
            received += part
            time.sleep(0.03)
    assert len(received) > size
    observed("3 MB")
