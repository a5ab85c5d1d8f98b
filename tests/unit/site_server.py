"""A real HTTPS server on loopback, an edge with an Odoo behind it, to be broken on purpose."""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

WEBSOCKET_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
LOGIN_PAGE = """<html><head>
<link rel="stylesheet" href="/web/assets/15213f5/web.assets_frontend.min.css"/>
<script>odoo.__session_info__ = {"websocket_worker_version": "19.0-2"};</script>
<script src="/web/assets/1621975/web.assets_frontend_minimal.min.js"></script>
</head><body><form class="oe_login_form">
<input name="csrf_token"/><input name="login"/><input name="password"/></form></body></html>"""


@dataclass(frozen=True)
class Call:
    """A request as it arrived."""

    method: str
    path: str
    headers: Any
    body: bytes


@dataclass(frozen=True)
class Reply:
    """What to answer: ``delay`` seconds before it, ``drip`` between its bytes; ``talk`` goes on after it."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    delay: float = 0.0
    drip: float = 0.0
    talk: Callable[[Any], None] | None = None


@dataclass
class Authority:
    """Makes certificates. ``path`` is the file of its own."""

    directory: Path
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    name: str = "slipway unit tests"

    def __post_init__(self) -> None:
        self.path = self.directory / "ca.crt"
        self.path.write_bytes(self._certificate(self.key, subject=self.name, days=(-10, 10), names=()))

    def context(self, *names: str, days: tuple[int, int] = (-1, 90)) -> ssl.SSLContext:
        """Return a server's context: a certificate for these names, valid from and to these days."""
        key = ec.generate_private_key(ec.SECP256R1())
        file = self.directory / f"{'-'.join(names)}{days}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file.write_bytes(private + self._certificate(key, subject=names[0], days=days, names=names))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _certificate(self, key: Any, *, subject: str, days: tuple[int, int], names: tuple[str, ...]) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(days=days[0]))
            .not_valid_after(now + datetime.timedelta(days=days[1]))
            .add_extension(x509.BasicConstraints(ca=not names, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if names:
            alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
            builder = builder.add_extension(alternatives, critical=False)
        else:
            usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
            builder = builder.add_extension(usage, critical=True)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


class OdooSite:
    """Answers as a healthy site; what is in ``replies`` (by path, or method and path) is answered instead."""

    def __init__(self, *, https_port: int = 443, password: str = "right horse battery") -> None:
        self.https_port = https_port
        self.password = password
        self.replies: dict[str, Reply | Callable[[Call], Reply | None] | None] = {}
        self.headers: tuple[tuple[str, str], ...] = (("X-Content-Type-Options", "nosniff"),)
        self.write_limit = 10
        self.calls: list[Call] = []
        self.sessions: set[str] = set()

    def __call__(self, call: Call) -> Reply | None:
        self.calls.append(call)
        for key in (f"{call.method} {call.path}", call.path):
            if key in self.replies:
                reply = self.replies[key]
                return reply(call) if callable(reply) else reply
        reply = self.odoo(call)
        return Reply(reply.status, reply.headers + self.headers, reply.body, talk=reply.talk)

    def plain(self, call: Call) -> Reply:
        """What the same site answers on plain HTTP."""
        name = call.headers["Host"].split(":")[0]
        return Reply(301, (("Location", f"https://{name}:{self.https_port}{call.path}"),))

    def odoo(self, call: Call) -> Reply:
        path = call.path.split("?")[0]
        if path == "/health":
            return _json({"status": "pass", "db_server_status": True})
        if path == "/web/login" and call.method == "GET":
            return Reply(200, (("Content-Type", "text/html; charset=utf-8"),), LOGIN_PAGE.encode())
        if path == "/web/login":
            return self.limited(call)
        if path.startswith("/web/assets/"):
            kind = "text/css" if path.endswith(".css") else "application/javascript; charset=utf-8"
            return Reply(200, (("Content-Type", kind),), b"x" * 1000)
        if path == "/web/session/authenticate":
            return self.log_in(json.loads(call.body)["params"])
        if path in ("/web/session/get_session_info", "/web/session/destroy"):
            known = any(f"session_id={one}" in (call.headers["Cookie"] or "") for one in self.sessions)
            if known and path.endswith("destroy"):
                self.sessions.clear()
            expired = {"error": {"data": {"name": "odoo.http.SessionExpiredException"}}}
            return _json({"result": {"uid": 2}} if known else expired)
        if path == "/websocket" and call.headers["Upgrade"] == "websocket":
            return websocket_reply(call)
        return Reply(404)

    def log_in(self, params: dict[str, Any]) -> Reply:
        if params["password"] != self.password:
            return odoo_error("odoo.exceptions.AccessDenied", "Access Denied")
        self.sessions.add("abc123")
        cookie = ("Set-Cookie", "session_id=abc123; Max-Age=604800; HttpOnly; Path=/; Secure; SameSite=Lax")
        reply = _json({"result": {"uid": 2}})
        return Reply(200, (*reply.headers, cookie), reply.body)

    def limited(self, call: Call) -> Reply:
        written = Counter(one.method for one in self.calls)[call.method]
        return Reply(400) if written <= self.write_limit else Reply(429, (("Retry-After", "2"),))


def odoo_error(name: str, message: str) -> Reply:
    """Odoo's answer to a call that failed: 200, with the exception in it."""
    return _json({"error": {"code": 0, "message": "Odoo Server Error", "data": {"name": name, "message": message}}})


def websocket_reply(call: Call, *, key: str | None = None, talk: Callable[[Any], None] | None = None) -> Reply:
    """Answer an upgrade; ``key`` in place of the one that was sent."""
    digest = hashlib.sha1(((key or call.headers["Sec-WebSocket-Key"]) + WEBSOCKET_GUID).encode()).digest()  # noqa: S324
    accept = base64.b64encode(digest).decode()
    headers = (("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept))
    return Reply(101, headers, talk=talk or pong)


def pong(handler: Any) -> None:
    """Send a message of one's own, then answer one ping."""
    handler.wfile.write(bytes((0x81, 0x7E)) + (300).to_bytes(2, "big") + b"n" * 300)
    head = handler.rfile.read(2)
    size = head[1] & 0x7F
    mask, payload = handler.rfile.read(4), handler.rfile.read(size)
    plain = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    handler.wfile.write(bytes((0x8A, size)) + plain)


@contextmanager
def serve(answer: Callable[[Call], Reply | None], *, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Serve on a free port of 127.0.0.1, which is given."""
    server = _Server(answer, context)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 100

    def __init__(self, answer: Callable[[Call], Reply | None], context: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.context = context

    def get_request(self) -> tuple[Any, Any]:
        sock, address = super().get_request()
        if self.context:
            # The handshake belongs in the request's own thread: a client that stalls must not stop others.
            sock = self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        return sock, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that refuses the certificate or hangs up is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_one_request(self) -> None:
        self.close_connection = True
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            return
        self.close_connection = True
        # parse_request() folds leading slashes; the path as it was sent is what counts here.
        path = self.raw_requestline.decode("latin-1").split(" ")[1]
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        reply = self.server.answer(Call(self.command, path, self.headers, body))
        if reply is None:
            return
        time.sleep(reply.delay)
        lines = [f"HTTP/1.1 {reply.status} so", *(f"{name}: {value}" for name, value in reply.headers)]
        if reply.status != 101:
            lines += [f"Content-Length: {len(reply.body)}", "Connection: close"]
        whole = "\r\n".join([*lines, "", ""]).encode() + reply.body
        if reply.drip:
            for index in range(len(whole)):
                self.wfile.write(whole[index : index + 1])
                time.sleep(reply.drip)
        else:
            self.wfile.write(whole)
        if reply.talk:
            reply.talk(self)


def _json(value: dict[str, Any]) -> Reply:
    return Reply(200, (("Content-Type", "application/json"),), json.dumps({"jsonrpc": "2.0", **value}).encode())
