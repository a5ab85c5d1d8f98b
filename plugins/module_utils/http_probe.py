# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small HTTP/1.1 client that asks one address for the site of another name, within a given time.

The client of ``ansible.module_utils.urls`` connects where the name resolves to and tidies the path up.
A probe must do neither: it asks the edge it was told to ask, for exactly the path it was told to send.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import os
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any, Union

USER_AGENT = "slipway-probe"
BODY_LIMIT = 16 * 1024 * 1024
# RFC 6455: what the server proves it has understood.
WEBSOCKET_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CLOSE_FRAME, PING_FRAME, PONG_FRAME = 0x8, 0x9, 0xA


@dataclass(frozen=True)
class Place:
    """Where to connect to and which site to ask for."""

    name: str
    address: str
    port: int
    tls: bool = True

    @property
    def origin(self) -> str:
        """The site as a browser names it, without the port where it is the usual one."""
        usual = 443 if self.tls else 80
        port = "" if self.port == usual else f":{self.port}"
        scheme = "https" if self.tls else "http"
        name = f"[{self.name}]" if ":" in self.name else self.name
        return f"{scheme}://{name}{port}"

    @property
    def host(self) -> str:
        """The value of the Host header."""
        return self.origin.split("://", 1)[1]


@dataclass(frozen=True)
class Answer:
    """What came after ``elapsed`` seconds; ``certificate`` is empty when it was not verified."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    elapsed: float = 0.0
    certificate: Mapping[str, Any] = field(default_factory=dict)

    def values(self, name: str) -> tuple[str, ...]:
        """Return every value of a header, in the order sent."""
        return tuple(value for key, value in self.headers if key.lower() == name.lower())

    def value(self, name: str) -> str:
        """Return the first value of a header; empty when it is not there."""
        return next(iter(self.values(name)), "")

    @property
    def text(self) -> str:
        """The body as text; what is not UTF-8 is replaced."""
        return self.body.decode("utf-8", "replace")


@dataclass(frozen=True)
class NoAnswer:
    """Why there was no answer.

    ``kind`` is ``connect`` (nothing listens, or no way there), ``timeout``, ``certificate`` (it was refused),
    ``tls`` (another failure of the handshake), ``closed`` (the server hung up without a word) or ``protocol``
    (what it sent is not HTTP).
    """

    kind: str
    reason: str


Outcome = Union[Answer, NoAnswer]


@dataclass(frozen=True)
class Upgrade:
    """How an upgrade to a websocket went: whether the key was answered rightly, and then a ping."""

    answer: Answer
    accepted: bool = False
    ponged: bool = False


def tls_context(*, verify: bool = True, ca_path: str | None = None, ca_content: str | None = None) -> ssl.SSLContext:
    """Return a context that trusts the system's authorities and the given ones.

    :raises OSError: (``ssl.SSLError`` is one) when the CA file cannot be read or holds no certificate
    """
    context = ssl.create_default_context()
    if ca_path or ca_content:
        context.load_verify_locations(cafile=ca_path, cadata=ca_content)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def request(
    *,
    place: Place,
    path: str,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    context: ssl.SSLContext | None = None,
    timeout: float = 10.0,
) -> Outcome:
    """Send one request and return the whole answer, or why there is none, after at most ``timeout`` seconds.

    Redirects are not followed, the path is sent as it is given, and at most 16 MiB of the body are read.
    """
    started = time.monotonic()
    try:
        with closing(_connect(place=place, context=context, deadline=started + timeout)) as stream:
            stream.send(_head(place=place, method=method, path=path, headers=headers or {}, body=body) + body)
            with http.client.HTTPResponse(stream, method=method) as response:  # type: ignore[arg-type]
                response.begin()
                content = response.read(BODY_LIMIT)
                if response.length and len(content) < BODY_LIMIT:
                    raise http.client.IncompleteRead(content, response.length)
                return Answer(
                    status=response.status,
                    headers=tuple(response.getheaders()),
                    body=content,
                    elapsed=time.monotonic() - started,
                    certificate=stream.certificate,
                )
    except (OSError, ValueError, http.client.HTTPException) as error:
        return _no_answer(error, timeout=timeout)


def handshake(*, place: Place, context: ssl.SSLContext, timeout: float = 10.0) -> Mapping[str, Any] | NoAnswer:
    """Return the certificate that the place shows (empty when it is not verified), or why there is none."""
    try:
        with closing(_connect(place=place, context=context, deadline=time.monotonic() + timeout)) as stream:
            return stream.certificate
    except (OSError, ValueError) as error:
        return _no_answer(error, timeout=timeout)


def websocket(
    *,
    place: Place,
    path: str,
    headers: Mapping[str, str] | None = None,
    context: ssl.SSLContext | None = None,
    timeout: float = 10.0,
) -> Upgrade | NoAnswer:
    """Ask for a websocket, send a ping over it, wait for the pong, and close it."""
    started = time.monotonic()
    key = base64.b64encode(os.urandom(16)).decode("ascii")
    asked = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": key,
        "Origin": place.origin,
    }
    asked.update(headers or {})
    try:
        with closing(_connect(place=place, context=context, deadline=started + timeout)) as stream:
            stream.send(_head(place=place, method="GET", path=path, headers=asked, body=b""))
            reader = stream.makefile("rb")
            with http.client.HTTPResponse(_Once(reader)) as response:  # type: ignore[arg-type]
                response.begin()
                answer = Answer(
                    status=response.status,
                    headers=tuple(response.getheaders()),
                    elapsed=time.monotonic() - started,
                )
                # RFC 6455 asks for SHA-1; nothing is kept secret by it.
                digest = hashlib.sha1((key + WEBSOCKET_GUID).encode("ascii")).digest()  # noqa: S324
                expected = base64.b64encode(digest).decode("ascii")
                accepted = answer.status == 101 and answer.value("Sec-WebSocket-Accept") == expected
                ponged = accepted and _ping(stream=stream, reader=reader)
                return Upgrade(answer=answer, accepted=accepted, ponged=ponged)
    except (OSError, ValueError, http.client.HTTPException) as error:
        return _no_answer(error, timeout=timeout)


def burst(
    *,
    place: Place,
    path: str,
    method: str,
    count: int,
    concurrency: int = 10,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    context: ssl.SSLContext | None = None,
    timeout: float = 10.0,
) -> tuple[Outcome, ...]:
    """Send equal requests, ``concurrency`` at a time; return what came of each, without the bodies."""
    outcomes: list[Outcome] = []
    tickets = iter(range(count))
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                if next(tickets, None) is None:
                    return
            outcome = request(
                place=place,
                path=path,
                method=method,
                headers=headers,
                body=body,
                context=context,
                timeout=timeout,
            )
            if isinstance(outcome, Answer):
                outcome = Answer(status=outcome.status, headers=outcome.headers, elapsed=outcome.elapsed)
            outcomes.append(outcome)

    threads = [threading.Thread(target=work, daemon=True) for _number in range(min(count, concurrency))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tuple(outcomes)


def cookies(*, answer: Answer) -> dict[str, str]:
    """Return the cookies that the answer sets, without those it takes away (empty or expired at once)."""
    jar: dict[str, str] = {}
    for line in answer.values("Set-Cookie"):
        try:
            parsed = SimpleCookie(line)
        except CookieError:
            continue
        jar.update({name: one.value for name, one in parsed.items() if one.value and one["max-age"] != "0"})
    return jar


class _Stream:
    """A connected socket whose reads and writes all end at one deadline."""

    def __init__(self, sock: socket.socket, *, deadline: float) -> None:
        self.sock = sock
        self.deadline = deadline

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()

    @property
    def certificate(self) -> Mapping[str, Any]:
        return (self.sock.getpeercert() or {}) if isinstance(self.sock, ssl.SSLSocket) else {}

    def makefile(self, _mode: str) -> io.BufferedReader:
        """What ``http.client.HTTPResponse`` reads from."""
        return io.BufferedReader(_DeadlineReader(self))

    def wait(self) -> None:
        """Let the next operation on the socket take no longer than what is left."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise socket.timeout("timed out")
        self.sock.settimeout(left)

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.wait()
        self.sock.sendall(data)


class _DeadlineReader(io.RawIOBase):
    """Reads from a stream; a server that drips a byte a second cannot outlast the deadline."""

    def __init__(self, stream: _Stream) -> None:
        super().__init__()
        self.stream = stream

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what is there, waiting no longer than the deadline."""
        self.stream.wait()
        return self.stream.sock.recv_into(buffer)


class _Once:
    """Hands out one reader that stays usable after the response that was parsed from it."""

    def __init__(self, reader: io.BufferedReader) -> None:
        self.reader = reader

    def makefile(self, _mode: str) -> io.BufferedReader:
        """What ``http.client.HTTPResponse`` asks for."""
        return self.reader


def _connect(*, place: Place, context: ssl.SSLContext | None, deadline: float) -> _Stream:
    """Connect, with TLS where it is wanted.

    :raises OSError: when there is no connection (``ConnectionError``, ``ssl.SSLError``, ``socket.timeout``)
    """
    try:
        sock = socket.create_connection((place.address, place.port), timeout=max(0.01, deadline - time.monotonic()))
    except socket.timeout:
        raise
    except OSError as error:
        raise _ConnectError(error.strerror or str(error)) from error
    if not place.tls:
        return _Stream(sock, deadline=deadline)
    try:
        sock.settimeout(max(0.01, deadline - time.monotonic()))
        context = context or tls_context()
        return _Stream(context.wrap_socket(sock, server_hostname=place.name), deadline=deadline)
    except BaseException:
        sock.close()
        raise


class _ConnectError(OSError):
    """There is no way to the server, or nothing listens there."""


def _head(*, place: Place, method: str, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """Return the head of a request.

    :raises ValueError: for what would break out of its line
    """
    lines = {"Host": place.host, "User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
    if "Upgrade" not in headers:
        lines["Connection"] = "close"
    if body or method not in ("GET", "HEAD"):
        lines["Content-Length"] = str(len(body))
    lines.update(headers)
    text = f"{method} {path} HTTP/1.1\r\n"
    text += "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    if text.count("\n") != len(lines) + 1 or text.count("\r") != len(lines) + 1 or " " in path:
        raise ValueError("a path or header holds a space or a line break")
    return (text + "\r\n").encode("latin-1")


def _ping(*, stream: _Stream, reader: io.BufferedReader) -> bool:
    """Send a ping and tell whether a pong came back, ignoring what the server sends on its own."""
    stream.send(_frame(PING_FRAME, b"slipway"))
    for _attempt in range(20):
        head = reader.read(2)
        if len(head) < 2:
            return False
        opcode, size = head[0] & 0x0F, head[1] & 0x7F
        if size >= 126:
            size = int.from_bytes(reader.read(2 if size == 126 else 8), "big")
        if size > BODY_LIMIT:
            return False
        payload = reader.read(size)
        if opcode == PONG_FRAME:
            stream.send(_frame(CLOSE_FRAME, (1000).to_bytes(2, "big")))
            return payload == b"slipway"
        if opcode == CLOSE_FRAME:
            return False
    return False


def _frame(opcode: int, payload: bytes) -> bytes:
    """Return a short final frame, masked as a client must."""
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    return bytes((0x80 | opcode, 0x80 | len(payload))) + mask + masked


def _no_answer(error: Exception, *, timeout: float) -> NoAnswer:
    if isinstance(error, socket.timeout):
        return NoAnswer(kind="timeout", reason=f"no complete answer within {timeout:g} s")
    if isinstance(error, ssl.SSLCertVerificationError):
        return NoAnswer(kind="certificate", reason=error.verify_message)
    if isinstance(error, ssl.SSLError):
        return NoAnswer(kind="tls", reason=error.reason or str(error))
    if isinstance(error, _ConnectError):
        return NoAnswer(kind="connect", reason=str(error))
    if isinstance(error, (http.client.RemoteDisconnected, http.client.IncompleteRead, ConnectionError)):
        return NoAnswer(kind="closed", reason="the server hung up before its answer was complete")
    return NoAnswer(kind="protocol", reason=str(error) or type(error).__name__)
