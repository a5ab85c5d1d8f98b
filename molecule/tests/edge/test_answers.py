"""CORS, browser cache and compression"""

from __future__ import annotations

import gzip
from urllib.parse import quote

import pytest
from edge_lab import ODOO
from edge_wire import Answer, ask

APP = "https://app.demo.test"
ALLOW = "Access-Control-Allow-Origin"


def preflight(path: str, origin: str = APP, method: str = "POST") -> Answer:
    return ask(path, "OPTIONS", [("Origin", origin), ("Access-Control-Request-Method", method)])


def test_preflight(application, observed) -> None:
    """A preflight of a named origin is answered 204 with what it may do, and never reaches the application."""
    answer = preflight("/api/things")
    assert answer.status == 204
    assert answer.values(ALLOW) == [APP]
    assert answer.values("Access-Control-Allow-Methods") == ["GET, POST"]
    assert answer.values("Access-Control-Allow-Headers") == ["Authorization, Content-Type, X-Wanted"]
    assert answer.values("Access-Control-Allow-Credentials") == ["true"]
    assert answer.values("Access-Control-Max-Age") == ["900"]
    assert "Origin" in answer.value("Vary")
    assert application.seen == []
    observed("204")


def test_preflight_of_others(application, observed) -> None:
    """A preflight of any other origin is answered 403, and is allowed nothing."""
    for origin in (
        "https://evil.example",
        f"{APP}.evil.example",
        "https://xapp.demo.test",
        "http://app.demo.test",
        "null",
        f"{APP}:8443",
    ):
        answer = preflight("/api/things", origin)
        assert answer.status == 403
        assert answer.values(ALLOW) == []
    assert application.seen == []
    observed("403")


def test_request_of_another_origin(application, observed) -> None:
    """An answer to a named origin says that it may be read, with its headers, once."""
    for method in ("GET", "POST"):
        answer = ask("/api/things", method, [("Origin", APP)], b"" if method == "POST" else None)
        assert answer.status == 200
        assert answer.values(ALLOW) == [APP]
        assert answer.values("Access-Control-Expose-Headers") == ["X-Contract-Version"]
        assert answer.values("Access-Control-Allow-Credentials") == ["true"]
        assert "Origin" in answer.value("Vary")
    observed(f"{ALLOW}: the origin")


def test_request_of_unknown_origin(application, observed) -> None:
    """An answer to any other origin allows nothing, whatever the application says."""
    headers = "&".join(
        f"header={name}:{value}" for name, value in ((ALLOW, "*"), ("Access-Control-Allow-Credentials", "true"))
    )
    answer = ask(f"/api/things?{headers}", headers=[("Origin", "https://evil.example")])
    assert answer.values(ALLOW) == []
    assert answer.values("Access-Control-Allow-Credentials") == []
    observed("nothing")


def test_all_origins(application, observed) -> None:
    """Paths that are open to all origins say so."""
    assert preflight("/json/2/x", "https://anyone.example").value(ALLOW) == "*"
    answer = ask("/json/2/x", "POST", [("Origin", "https://anyone.example")], b"")
    assert answer.values(ALLOW) == ["*"]
    assert answer.values("Access-Control-Allow-Credentials") == []
    observed("*")


def test_elsewhere(application, observed) -> None:
    """Other paths are the application's own business."""
    answer = ask(f"/x?header={ALLOW}:https://own.example", headers=[("Origin", APP)])
    assert answer.values(ALLOW) == ["https://own.example"]
    assert preflight("/x").status == 200
    assert len(application.of("/x")) == 2
    observed("passed on")


def test_errors_can_be_read(application, observed) -> None:
    """A failure of the API can be read by the page that asked."""
    answer = ask("/api/x?status=500", headers=[("Origin", APP)])
    assert (answer.status, answer.values(ALLOW)) == (500, [APP])
    observed("500 with the origin")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("/web/static/src/x.css", "public, max-age=604800"),
        ("/some_module/static/x.js", "public, max-age=604800"),
        ("/web/assets/1/abc/web.assets_web.min.js", "public, max-age=31536000, immutable"),
        ("/x", "nothing"),
    ],
)
def test_browser_cache(application, observed, path: str, value: str) -> None:
    """{path}: browsers are told `{value}`."""
    assert ask(path).values("Cache-Control") == ([] if value == "nothing" else [value])
    observed(value)


def test_browser_cache_of_failures(application, observed) -> None:
    """What is not there, or fails, is kept by nobody."""
    for status in (404, 500):
        assert "max-age" not in ask(f"/web/static/x.js?status={status}").value("Cache-Control")
    assert "max-age" not in ask("/web/static/x.js?delay=4").value("Cache-Control")
    observed("nothing")


def test_own_cache_control(application, observed) -> None:
    """Where the application says itself how long to keep something, that counts, once."""
    answer = ask("/web/assets/x.js?header=Cache-Control:no-cache")
    assert answer.values("Cache-Control") == ["no-cache"]
    observed("no-cache")


def test_static_files_of_odoo(observed) -> None:
    """Odoo's static files can be kept, and asked for again by their ETag."""
    answer = ask("/web/static/img/logo.png", site=ODOO)
    assert len(answer.values("Cache-Control")) == 1
    assert "max-age=604800" in answer.value("Cache-Control")
    assert answer.value("ETag")
    observed(answer.value("Cache-Control"))


ACCEPT = [("Accept-Encoding", "gzip, deflate, br, zstd")]


@pytest.mark.parametrize(
    "kind", ["text/html; charset=utf-8", "application/json", "text/css", "text/javascript", "image/svg+xml"]
)
def test_compression(application, observed, kind: str) -> None:
    """{kind} is compressed with gzip, and says that it depends on the client."""
    answer = ask(f"/x?size=20000&type={quote(kind)}", headers=ACCEPT)
    assert answer.values("Content-Encoding") == ["gzip"]
    assert len(gzip.decompress(answer.body)) == 20000
    assert len(answer.body) < 2000
    assert "Accept-Encoding" in answer.value("Vary")
    observed("gzip")


def test_compression_is_asked_for(application, observed) -> None:
    """A client that does not ask for it gets plain text."""
    for headers in ([], [("Accept-Encoding", "identity")], [("Accept-Encoding", "gzip;q=0")]):
        answer = ask("/x?size=20000&type=text/css", headers=headers)
        assert answer.values("Content-Encoding") == []
        assert len(answer.body) == 20000
    observed("plain")


@pytest.mark.parametrize("kind", ["image/png", "application/zip", "font/woff2", "application/pdf"])
def test_no_compression(application, observed, kind: str) -> None:
    """{kind} is sent as it is."""
    answer = ask(f"/x?size=20000&type={quote(kind)}", headers=ACCEPT)
    assert answer.values("Content-Encoding") == []
    observed("plain")


def test_small_answers(application, observed) -> None:
    """What is small is sent as it is."""
    assert ask("/x?size=200&type=text/css", headers=ACCEPT).values("Content-Encoding") == []
    observed("plain")


def test_compressed_once(application, observed) -> None:
    """What the application has compressed is not compressed again."""
    answer = ask("/x?size=200000&gzipped=1&type=text/css", headers=[("Accept-Encoding", "gzip")])
    assert answer.values("Content-Encoding") == ["gzip"]
    assert len(gzip.decompress(answer.body)) == 200_000
    observed("once")


def test_bundles_of_odoo(observed) -> None:
    """Odoo's own pages are compressed on their way."""
    answer = ask("/web/login", headers=ACCEPT, site=ODOO)
    assert answer.values("Content-Encoding") == ["gzip"]
    assert b"</html>" in gzip.decompress(answer.body)
    observed("gzip")
