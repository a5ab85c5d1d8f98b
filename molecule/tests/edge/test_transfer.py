"""Uploads and downloads"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator

import pytest
from edge_wire import Connection, ask, attempt

LIMIT = 2 * 1024 * 1024
SIZE = 10 * 1024 * 1024


def test_upload_at_the_limit(application, observed) -> None:
    """A body as large as the limit arrives whole."""
    body = os.urandom(LIMIT)
    answer = ask("/x?upload", "POST", body=body)
    assert answer.status == 200
    assert application.of("upload")[0].sha256 == hashlib.sha256(body).hexdigest()
    observed("2 MiB whole")


def test_upload_over_the_limit(application, observed) -> None:
    """One byte more is answered 413, and the application hears nothing of it."""
    assert ask("/x?too-large", "POST", body=b"x" * (LIMIT + 1)).status == 413
    assert application.of("too-large") == []
    observed("413")


def test_chunked_upload_over_the_limit(application, observed) -> None:
    """A body without a declared size ends at the limit, too."""
    part = b"10000\r\n" + b"x" * 65536 + b"\r\n"

    def say(connection: Connection) -> None:
        connection.send(connection.head("POST", "/x?chunked-large", [("Transfer-Encoding", "chunked")]))
        for _number in range(40):
            connection.send(part)
        connection.send(b"0\r\n\r\n")

    answer = attempt(say)
    assert answer is None or answer.status == 413
    assert all(seen.length <= LIMIT for seen in application.of("chunked-large"))
    observed("refused")


def test_chunked_upload(application, observed) -> None:
    """A body without a declared size arrives whole."""
    body = os.urandom(300_000)

    def say(connection: Connection) -> None:
        connection.send(connection.head("POST", "/x?chunked-ok", [("Transfer-Encoding", "chunked")]))
        for at in range(0, len(body), 50_000):
            part = body[at : at + 50_000]
            connection.send(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        connection.send(b"0\r\n\r\n")

    assert attempt(say).status == 200
    assert application.of("chunked-ok")[0].sha256 == hashlib.sha256(body).hexdigest()
    observed("300 kB whole")


def test_expect_continue(application, observed) -> None:
    """A client that asks first whether its body is welcome is told at once, and not let wait."""

    def say(connection: Connection) -> None:
        connection.send(connection.head("POST", "/x", [("Expect", "100-continue")], length=LIMIT + 1))

    answer = attempt(say)
    assert answer.status == 413
    observed("413 before the body")


@pytest.fixture(scope="module")
def attachment(odoo) -> Iterator[tuple[str, bytes]]:
    """Path and content of a large attachment in Odoo."""
    content = os.urandom(SIZE)
    values = {"name": "large.bin", "datas": base64.b64encode(content).decode()}
    (number,) = odoo.call("ir.attachment", "create", [values])
    yield f"/web/content/{number}?download=true", content
    odoo.call("ir.attachment", "unlink", [number])


def test_large_upload_to_odoo(attachment, edge, observed) -> None:
    """A large attachment gets into Odoo's filestore whole."""
    _path, content = attachment
    name = hashlib.sha1(content, usedforsecurity=False).hexdigest()
    stored = edge.check_output("sha256sum %s", f"/var/lib/odoo/main/filestore/main/{name[:2]}/{name}").split()[0]
    assert stored == hashlib.sha256(content).hexdigest()
    observed("10 MiB whole")


def test_download(odoo, attachment, observed) -> None:
    """A large attachment comes back whole, with its size and Odoo's name for it."""
    path, content = attachment
    answer = odoo.get(path)
    assert answer.status == 200
    assert answer.body == content
    assert answer.value("Content-Length") == str(SIZE)
    assert "large.bin" in answer.value("Content-Disposition")
    assert answer.values("X-Accel-Redirect") == answer.values("X-Sendfile") == []
    observed("10 MiB whole")


def test_the_edge_sends_it(odoo, attachment, edge, observed) -> None:
    """The edge itself sends it: Odoo's answer has no body, only the file's name."""
    path, content = attachment
    name = hashlib.sha1(content, usedforsecurity=False).hexdigest()
    cookie = f"Cookie: {dict(odoo.headers)['Cookie']}"
    command = "curl --silent --output /dev/null --dump-header - --write-out '%%{size_download}' --header %s %s"
    answer = edge.check_output(command, cookie, f"http://127.0.0.1:8069{path}")
    assert f"x-accel-redirect: /web/filestore/main/{name[:2]}/{name}" in answer.lower()
    assert answer.splitlines()[-1] == "0"
    observed("X-Accel-Redirect")


def test_part_of_a_download(odoo, attachment, observed) -> None:
    """A browser that goes on with a download gets the part that it asks for."""
    path, content = attachment
    answer = odoo.get(path, headers=[("Range", "bytes=1000000-1000999")])
    assert answer.status == 206
    assert answer.body == content[1000000:1001000]
    assert answer.value("Content-Range") == f"bytes 1000000-1000999/{SIZE}"
    observed("206")


def test_head_of_a_download(odoo, attachment, observed) -> None:
    """HEAD tells the size and sends nothing."""
    path, _content = attachment
    answer = odoo.get(path, "HEAD")
    assert (answer.status, answer.body, answer.value("Content-Length")) == (200, b"", str(SIZE))
    observed("200")


def test_download_that_the_browser_has(odoo, attachment, observed) -> None:
    """What the browser already has is answered 304."""
    path, _content = attachment
    first = odoo.get(path, "HEAD")
    answer = odoo.get(path, headers=[("If-None-Match", first.value("ETag"))])
    assert (answer.status, answer.body) == (304, b"")
    observed("304")


@pytest.mark.parametrize(
    "path", ["/web/filestore/main/{name}", "//web/filestore/main/{name}", "/web/%66ilestore/main/{name}"]
)
def test_the_filestore_is_not_reachable(odoo, attachment, observed, path: str) -> None:
    """The filestore has no door of its own ({path})."""
    _path, content = attachment
    name = hashlib.sha1(content, usedforsecurity=False).hexdigest()
    answer = odoo.get(path.replace("{name}", f"{name[:2]}/{name}"))
    assert answer.status == 404
    assert len(answer.body) < 100_000
    observed("404")


def test_the_application_cannot_name_other_files(application, observed) -> None:
    """A site without a filestore has no way to have files sent by the edge."""
    answer = ask("/x?header=X-Accel-Redirect:/web/filestore/../../../../etc/passwd")
    assert b"root:" not in answer.body
    assert answer.status in (200, 404)
    obeyed = answer.status == 404
    observed("no such file" if obeyed else "the application's answer", variant="obeyed" if obeyed else "passed over")


def test_clients_ask_for_no_file(application, observed) -> None:
    """A client's own X-Accel-Redirect or X-Sendfile moves nobody."""
    answer = ask("/x", headers=[("X-Accel-Redirect", "/web/filestore/main/00/00"), ("X-Sendfile", "/etc/passwd")])
    assert answer.status == 200
    assert answer.echo.target == "/x"
    observed("200")
