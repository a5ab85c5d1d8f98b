"""Malformed and smuggled requests, and host names"""

from __future__ import annotations

import contextlib

import pytest
from edge_lab import BOX, HOME, ODOO, PROBE
from edge_wire import CLOSED, Connection, ask, attempt

HIDDEN = "GET /smuggled HTTP/1.1\r\nHost: probe.demo.test\r\n\r\n"
FRAMINGS = {
    "Content-Length and Transfer-Encoding": (
        f"Content-Length: {len(HIDDEN) + 5}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{HIDDEN}"
    ),
    "two different Content-Lengths": f"Content-Length: 0\r\nContent-Length: {len(HIDDEN)}\r\n\r\n{HIDDEN}",
    "a list of Content-Lengths": f"Content-Length: 0, {len(HIDDEN)}\r\n\r\n{HIDDEN}",
    "a Content-Length with a sign": f"Content-Length: +{len(HIDDEN)}\r\n\r\n{HIDDEN}",
    "a negative Content-Length": f"Content-Length: -1\r\n\r\n{HIDDEN}",
    "a hexadecimal Content-Length": f"Content-Length: 0x{len(HIDDEN):x}\r\n\r\n{HIDDEN}",
    "an unknown Transfer-Encoding": f"Content-Length: 5\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{HIDDEN}",
    "two Transfer-Encodings": (
        f"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{HIDDEN}"
    ),
    "a space before the colon": f"Content-Length: 5\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n{HIDDEN}",
    "a tab in Transfer-Encoding": f"Content-Length: 5\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n{HIDDEN}",
    "a folded header": f"Content-Length: 5\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n{HIDDEN}",
    "a chunk size with rubbish": f"Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n{HIDDEN}",
    "a chunk size too large": f"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n\r\n{HIDDEN}",
    "a carriage return alone in a header": (
        f"X-A: b\rTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{HIDDEN}"
    ),
    "a null byte in a header": f"X-A: b\x00c\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{HIDDEN}",
}


def answers_to(text: str) -> list[int]:
    """Status of everything that is answered to this text on one connection."""
    statuses: list[int] = []
    with Connection(timeout=1.5) as connection, contextlib.suppress(*CLOSED, TimeoutError):
        connection.send(text.encode("latin-1"))
        while len(statuses) < 3:
            statuses.append(connection.read().status)
    return statuses


@pytest.mark.parametrize("what", FRAMINGS)
def test_framing(application, observed, what: str) -> None:
    """A request with {what} is refused or read in one way: the edge has judged all that arrives."""
    statuses = answers_to(f"POST /outer HTTP/1.1\r\nHost: {PROBE}\r\n{FRAMINGS[what]}")
    assert len(statuses) < 3
    outer, hidden = application.of("/outer"), application.of("/smuggled")
    if statuses[:1] == [200]:
        # Framed anew by the edge, whatever the client's two lengths said.
        assert [seen.length for seen in outer] == [0]
        assert [dict(seen.headers)["X-Forwarded-For"] for seen in hidden] == [HOME] * (len(statuses) - 1)
        observed("passed on, framed anew", variant="passed on")
    else:
        assert (outer, hidden) == ([], [])
        assert set(statuses) <= {400, 411, 413, 501, 502}
        observed("refused", variant="refused")


@pytest.mark.parametrize("what", ["bare line feeds", "bare line feeds in chunks"])
def test_bare_line_feeds(application, observed, what: str) -> None:
    """A request with {what} is read in one way: refused, or passed on as just one request."""
    head = f"POST /outer HTTP/1.1\r\nHost: {PROBE}\r\n"
    text = {
        "bare line feeds": f"{head}Content-Length: {len(HIDDEN)}\r\n\r\n{HIDDEN}".replace("\r\n", "\n", 3),
        "bare line feeds in chunks": f"{head}Transfer-Encoding: chunked\r\n\r\n{len(HIDDEN):x}\n{HIDDEN}\r\n0\r\n\r\n",
    }[what]
    answer = attempt(lambda connection: connection.send(text.encode()), timeout=4)
    assert application.of("/smuggled") == []
    assert answer is None or answer.status in (200, 400, 502)
    assert len(application.of("/outer")) == (answer is not None and answer.status == 200)
    observed("read in one way")


def test_pipelining(application, observed) -> None:
    """Two requests sent at once are two, answered in order."""
    with Connection() as connection:
        connection.send(connection.head("GET", "/first") + connection.head("GET", "/second", [("Connection", "close")]))
        data = b""
        while part := connection.sock.recv(65536):
            data += part
    assert data.count(b"HTTP/1.1 200") == 2
    assert data.index(b"/first") < data.index(b"/second")
    observed("two answers")


LINES = {
    "no version": "GET /outer\r\n\r\n",
    "an unknown version": "GET /outer HTTP/3.7\r\nHost: probe.demo.test\r\n\r\n",
    "a space in the path": "GET /outer /x HTTP/1.1\r\nHost: probe.demo.test\r\n\r\n",
    "a bad escape": "GET /outer%zz HTTP/1.1\r\nHost: probe.demo.test\r\n\r\n",
    "a null byte in the path": "GET /outer%00x HTTP/1.1\r\nHost: probe.demo.test\r\n\r\n",
    "a path out of the root": "GET /../outer/../../etc/passwd HTTP/1.1\r\nHost: probe.demo.test\r\n\r\n",
    "no host": "GET /outer HTTP/1.1\r\n\r\n",
    "two hosts": "GET /outer HTTP/1.1\r\nHost: probe.demo.test\r\nHost: odoo.demo.test\r\n\r\n",
    "the same host twice": "GET /outer HTTP/1.1\r\nHost: probe.demo.test\r\nHost: probe.demo.test\r\n\r\n",
    "a host with a slash": "GET /outer HTTP/1.1\r\nHost: probe.demo.test/x\r\n\r\n",
    "a host with a space": "GET /outer HTTP/1.1\r\nHost: probe.demo.test x\r\n\r\n",
    "a host with an @": "GET /outer HTTP/1.1\r\nHost: x@probe.demo.test\r\n\r\n",
    "headers without end": "GET /outer HTTP/1.1\r\nHost: probe.demo.test\r\n"
    + "".join(f"X-{n}: {'y' * 8000}\r\n" for n in range(300))
    + "\r\n",
}


@pytest.mark.parametrize("what", LINES)
def test_request_line(application, observed, what: str) -> None:
    """A request with {what} is refused and not passed on."""
    answer = attempt(lambda connection: connection.send(LINES[what].encode()), timeout=4)
    assert answer is None or 400 <= answer.status <= 505
    assert application.seen == []
    observed("refused")


def test_unknown_host(application, observed) -> None:
    """A host name of no site gets no answer, over TLS or without."""
    for tls in (True, False):
        answer = attempt(lambda c: c.send(c.head("GET", "/x", [("Host", "unknown.example")])), site=PROBE, tls=tls)
        assert answer is None or (answer.status == 421 and tls)
    assert application.seen == []
    observed("none")


def test_unknown_name_in_the_handshake(observed) -> None:
    """A handshake for a name of no site gets no other site's answer."""
    with pytest.raises(CLOSED), Connection(PROBE, sni="unknown.example") as connection:
        connection.ask("/x")
    observed("refused")


def test_host_with_port(application, observed) -> None:
    """A host name with the port is the same site, and the application is told the name alone."""
    answer = ask("/x", headers=[("Host", f"{PROBE}:443")])
    assert answer.status == 200
    assert answer.echo.values("X-Forwarded-Host")[0].split(":")[0] == PROBE
    observed("200")


def test_host_in_capitals(application, observed) -> None:
    """A host name in capitals is the same site."""
    assert ask("/x", headers=[("Host", PROBE.upper())]).status == 200
    observed("200")


def test_subdomains(application, observed) -> None:
    """A name that a wildcard covers is the site's, one label and no more."""
    assert ask("/x", site="one.probe.demo.test").status == 200
    refused = attempt(
        lambda c: c.send(c.head("GET", "/x", [("Host", "one.two.probe.demo.test")])), site="one.probe.demo.test"
    )
    assert refused is None or refused.status == 421
    observed("200")


def test_absolute_target(application, observed) -> None:
    """In an absolute target the host counts that is in the target, and the application is never told another."""
    for target in (f"https://{PROBE}/absolute", f"http://{PROBE}/absolute"):
        answer = attempt(lambda c, target=target: c.send(c.head("GET", target, [("Host", ODOO)])))
        assert answer is None or answer.status in (200, 400, 421)
    assert all(dict(seen.headers)["Host"] == PROBE for seen in application.of("absolute"))
    answer = attempt(lambda c: c.send(c.head("GET", "https://unknown.example/absolute", [("Host", PROBE)])))
    assert answer is None or answer.status in (400, 421)
    assert not any("unknown.example" in str(seen.headers) for seen in application.seen)
    observed("the target's")


def test_by_address(observed) -> None:
    """The site that has the address as a name answers to it, with a certificate for it."""
    answer = ask("/web/login", site=BOX)
    assert answer.status == 200
    observed("200")


def test_another_site_over_this_ones_handshake(application, observed) -> None:
    """A request for another site than the handshake named is answered as that site or refused, and never mixed up."""
    answer = ask("/x", site=ODOO, headers=[("Host", PROBE)])
    assert answer.status in (200, 421)
    if answer.status == 200:
        assert answer.echo.values("Host") == [PROBE]
    observed(str(answer.status), variant="421" if answer.status == 421 else "answered")
