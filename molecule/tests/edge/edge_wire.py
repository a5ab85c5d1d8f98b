"""A client that says exactly what it is told to, from the address it is told to, and hides nothing of the answer."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import http.client
import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from edge_lab import BOX, CA, HOME, PROBE

Headers = Sequence[tuple[str, str]]
IP_BIND_ADDRESS_NO_PORT = 24  # Linux; Python 3.11 has no name for it
CLOSED = (ConnectionError, http.client.RemoteDisconnected, http.client.BadStatusLine, ssl.SSLError)


@dataclasses.dataclass(frozen=True)
class Answer:
    """``elapsed`` is in seconds."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    elapsed: float

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def value(self, name: str) -> str:
        return ", ".join(self.values(name))

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def echo(self) -> Echo:
        """The request as the probe's application saw it."""
        seen = self.json
        return Echo(method=seen["method"], target=seen["target"], headers=seen["headers"], length=seen["length"])


@dataclasses.dataclass(frozen=True)
class Echo:
    method: str
    target: str
    headers: list[list[str]]
    length: int

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]


def context(*, ca: Any = CA, alpn: Sequence[str] = ("http/1.1",)) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=ca)
    made.set_alpn_protocols(list(alpn))
    return made


TRUSTING = context()


class Connection:
    """One connection to the edge; TLS names ``sni``, by default ``site``."""

    def __init__(
        self,
        site: str = PROBE,
        *,
        source: str = HOME,
        tls: bool = True,
        timeout: float = 10,
        sni: str = "",
        trust: ssl.SSLContext = TRUSTING,
    ) -> None:
        self.site = site
        plain = socket.socket()
        plain.settimeout(timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Or a source address would soon have no port left that is not waiting after its last connection.
        plain.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        try:
            plain.bind((source, 0))
            plain.connect((BOX, 443 if tls else 80))
            self.sock = trust.wrap_socket(plain, server_hostname=sni or site) if tls else plain
        except BaseException:
            plain.close()
            raise

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_error: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def head(self, method: str, path: str, headers: Headers = (), *, length: int | None = None) -> bytes:
        lines = list(headers)
        if not any(name.lower() == "host" for name, _value in lines):
            lines.insert(0, ("Host", self.site))
        if length is not None:
            lines.append(("Content-Length", str(length)))
        text = "".join(f"{name}: {value}\r\n" for name, value in lines)
        return f"{method} {path} HTTP/1.1\r\n{text}\r\n".encode("latin-1")

    def read(self, method: str = "GET", *, since: float | None = None) -> Answer:
        """The next answer; an interim one is passed over."""
        started = since or time.monotonic()
        response = http.client.HTTPResponse(self.sock, method=method)
        try:
            response.begin()
            body = response.read()
        finally:
            response.close()
        return Answer(response.status, tuple(response.getheaders()), body, time.monotonic() - started)

    def ask(self, path: str, method: str = "GET", headers: Headers = (), body: bytes | None = None) -> Answer:
        started = time.monotonic()
        # A server that wants no more of a large body says so and hangs up: its answer is there all the same.
        with contextlib.suppress(*(CLOSED if len(body or b"") > 65536 else ())):
            self.send(self.head(method, path, headers, length=None if body is None else len(body)) + (body or b""))
        return self.read(method, since=started)

    def closed_within(self, seconds: float) -> float | None:
        """Seconds until the other side hangs up, whatever it says before; None when it does not."""
        started = time.monotonic()
        while (left := started + seconds - time.monotonic()) > 0:
            self.sock.settimeout(left)
            try:
                if not self.sock.recv(65536):
                    return time.monotonic() - started
            except TimeoutError:
                return None
            except OSError:
                return time.monotonic() - started
        return None


def ask(
    path: str,
    method: str = "GET",
    headers: Headers = (),
    body: bytes | None = None,
    *,
    site: str = PROBE,
    source: str = HOME,
    tls: bool = True,
    timeout: float = 15,
) -> Answer:
    """One request on a connection of its own."""
    with Connection(site, source=source, tls=tls, timeout=timeout) as connection:
        return connection.ask(path, method, headers, body)


def attempt(say: Callable[[Connection], None], **how: Any) -> Answer | None:
    """What is answered to whatever ``say`` sends; None when the edge hangs up or never speaks."""
    try:
        with Connection(**{"timeout": 5, **how}) as connection:
            say(connection)
            return connection.read()
    except (*CLOSED, TimeoutError):
        return None


def together(work: Callable[[int], Any], count: int, *, threads: int = 8) -> list[Any]:
    """Call ``work`` for 0 … count-1 by several threads; what it raises is raised here."""
    results: list[Any] = [None] * count
    failures: list[BaseException] = []
    numbers = iter(range(count))
    lock = threading.Lock()

    def run() -> None:
        while not failures:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            try:
                results[number] = work(number)
            except BaseException as failure:  # noqa: BLE001
                failures.append(failure)

    workers = [threading.Thread(target=run, daemon=True) for _one in range(min(threads, count))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failures:
        raise failures[0]
    return results


class WebSocket:
    """A websocket client (RFC 6455) that speaks in short texts."""

    def __init__(self, connection: Connection, path: str, headers: Headers = ()) -> None:
        self.connection = connection
        upgrade = [
            *(("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13")),
            ("Sec-WebSocket-Key", base64.b64encode(os.urandom(16)).decode()),
        ]
        connection.send(connection.head("GET", path, [*headers, *upgrade]))
        self.reader = connection.sock.makefile("rb")
        self.status = int(self.reader.readline().split()[1])
        while self.reader.readline().strip():
            pass

    def say(self, text: str) -> None:
        payload, mask = text.encode(), os.urandom(4)
        assert len(payload) < 65536
        size = bytes([0x80 | len(payload)]) if len(payload) < 126 else bytes([0xFE]) + len(payload).to_bytes(2, "big")
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
        self.connection.send(b"\x81" + size + mask + masked)

    def texts(self) -> Iterable[str]:
        """Texts as they come, until the other side closes."""
        while head := self.reader.read(2):
            size = head[1] & 0x7F
            if size >= 126:
                size = int.from_bytes(self.reader.read(2 if size == 126 else 8), "big")
            payload = self.reader.read(size)
            if head[0] & 0x0F == 0x8:
                return
            if head[0] & 0x0F in (0x0, 0x1):
                yield payload.decode()
