"""The application behind the probe sites: what it answers is in the query of what it is asked."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import hashlib
import http.server
import json
import socket
import threading
import time
import urllib.parse

LETTERS = b"The quick brown fox jumps over the lazy dog. "


@dataclasses.dataclass(frozen=True)
class Seen:
    """``sha256`` is that of the body that came."""

    port: int
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    length: int
    sha256: str


class Application:
    """Listens on several ports, each of which can be closed and opened again."""

    def __init__(self, address: str, ports: tuple[int, ...]) -> None:
        self.address = address
        self.ports = ports
        self.healthy = True
        self.seen: list[Seen] = []
        self.in_progress = 0
        self._servers: dict[int, _Server] = {}

    def open(self, *ports: int) -> None:
        for port in ports or self.ports:
            if port not in self._servers:
                server = self._servers[port] = _Server((self.address, port), _Handler)
                server.application = self
                threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self, *ports: int) -> None:
        """From now on connections are refused, and those that are open end."""
        for port in ports or self.ports:
            if server := self._servers.pop(port, None):
                server.shutdown()
                server.server_close()
                server.hang_up()

    @contextlib.contextmanager
    def down(self, *ports: int):
        self.close(*ports)
        try:
            yield
        finally:
            self.open(*ports)

    def of(self, mark: str) -> list[Seen]:
        """Requests whose target or headers hold the mark."""
        return [
            one for one in list(self.seen) if mark in one.target or any(mark in value for _name, value in one.headers)
        ]


class _Server(http.server.ThreadingHTTPServer):
    application: Application
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.connections: set[socket.socket] = set()

    def process_request(self, request, client_address) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request, client_address) -> None:
        """An edge hangs up when its client does."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, *_arguments) -> None:
        pass

    def read_body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(self) -> None:
        application = self.server.application
        application.in_progress += 1
        try:
            body = self.read_body()
        finally:
            application.in_progress -= 1
        seen = Seen(
            port=self.server.server_address[1],
            method=self.command,
            target=self.path,
            headers=tuple(self.headers.items()),
            length=len(body),
            sha256=hashlib.sha256(body).hexdigest(),
        )
        application.seen.append(seen)
        path, _mark, query = self.path.partition("?")
        wanted = urllib.parse.parse_qs(query)
        if path == "/up":
            wanted = {"status": ["200" if application.healthy else "500"]}
        self.obey(seen, wanted)

    def obey(self, seen: Seen, wanted: dict[str, list[str]]) -> None:
        time.sleep(float(wanted.get("delay", ["0"])[0]))
        if "reset" in wanted:
            self.close_connection = True
            return
        content = json.dumps(dataclasses.asdict(seen)).encode()
        if "size" in wanted:
            size = int(wanted["size"][0])
            content = (LETTERS * (size // len(LETTERS) + 1))[:size]
        headers = [("Content-Type", wanted.get("type", ["application/json"])[0])]
        if "gzipped" in wanted:
            content = gzip.compress(content)
            headers.append(("Content-Encoding", "gzip"))
        headers += [tuple(one.split(":", 1)) for one in wanted.get("header", [])]
        status = int(wanted.get("status", ["200"])[0])
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        bare = status in (204, 304)
        if not bare:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if bare or self.command == "HEAD":
            return
        pause = float(wanted.get("drip", ["0"])[0])
        for part in [content[at : at + 1] for at in range(len(content))] if pause else [content]:
            self.wfile.write(part)
            self.wfile.flush()
            time.sleep(pause)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer  # noqa: N815
