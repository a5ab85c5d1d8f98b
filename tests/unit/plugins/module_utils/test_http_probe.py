"""The probe against a real HTTPS server on loopback: what it sends, understands, and how long it waits."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from contextlib import closing

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils import http_probe
from ansible_collections.slipway.odoo.plugins.module_utils.http_probe import Answer, NoAnswer, Place, Upgrade
from ansible_collections.slipway.odoo.tests.unit.site_server import Authority, Reply, serve, websocket_reply

NAME = "odoo.example.test"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def server_context(authority):
    return authority.context(NAME)


@pytest.fixture
def site(server_context):
    """A server that answers what ``reply`` says and remembers the calls."""

    class Site:
        reply = Reply(200, (), b"hello")

        def __init__(self):
            self.calls = []

        def __call__(self, call):
            self.calls.append(call)
            return self.reply(call) if callable(self.reply) else self.reply

    site = Site()
    with serve(site, context=server_context) as port:
        site.place = Place(name=NAME, address="127.0.0.1", port=port)
        yield site


@pytest.fixture(scope="module")
def trusting(authority):
    return http_probe.tls_context(ca_path=str(authority.path))


def test_asks_one_address_for_the_site_of_another_name(site, trusting):
    answer = http_probe.request(place=site.place, path="/", context=trusting)
    assert isinstance(answer, Answer)
    assert (answer.status, answer.body) == (200, b"hello")
    assert site.calls[0].headers["Host"] == f"{NAME}:{site.place.port}"
    assert answer.certificate["subjectAltName"] == (("DNS", NAME),)


@pytest.mark.parametrize("path", ["//web//database/manager", "/web%2Fdatabase/%6danager/", "/a/./../b?c=d&e"])
def test_sends_the_path_as_it_is_given(site, trusting, path):
    http_probe.request(place=site.place, path=path, context=trusting)
    assert site.calls[0].path == path


def test_sends_method_headers_and_body(site, trusting):
    http_probe.request(
        place=site.place, path="/", method="POST", headers={"Cookie": "a=b"}, body=b"{}", context=trusting
    )
    call = site.calls[0]
    assert (call.method, call.headers["Cookie"], call.body) == ("POST", "a=b", b"{}")


def test_an_empty_post_says_that_it_is_empty(site, trusting):
    http_probe.request(place=site.place, path="/", method="POST", context=trusting)
    assert site.calls[0].headers["Content-Length"] == "0"


def test_the_usual_port_is_left_out_of_the_host():
    assert Place(name=NAME, address="::1", port=443).host == NAME
    assert Place(name=NAME, address="::1", port=80, tls=False).origin == f"http://{NAME}"
    assert Place(name=NAME, address="::1", port=443, tls=False).host == f"{NAME}:443"
    assert Place(name="2001:db8::1", address="2001:db8::1", port=8443).host == "[2001:db8::1]:8443"


@pytest.mark.parametrize("path", ["/a b", "/a\r\nX-Evil: 1", "/a\n"])
def test_a_path_cannot_break_out_of_its_line(site, trusting, path):
    outcome = http_probe.request(place=site.place, path=path, context=trusting)
    assert isinstance(outcome, NoAnswer)
    assert site.calls == []


def test_a_header_cannot_break_out_of_its_line(site, trusting):
    outcome = http_probe.request(place=site.place, path="/", headers={"Cookie": "a\r\nX: y"}, context=trusting)
    assert outcome.kind == "protocol"


def test_keeps_every_header_that_comes_twice(site, trusting):
    site.reply = Reply(200, (("X-Frame-Options", "DENY"), ("x-frame-options", "SAMEORIGIN")))
    answer = http_probe.request(place=site.place, path="/", context=trusting)
    assert answer.values("X-Frame-Options") == ("DENY", "SAMEORIGIN")
    assert answer.value("X-Frame-Options") == "DENY"
    assert answer.value("X-None") == ""


@pytest.mark.parametrize("status", [204, 301, 404, 429, 502])
def test_every_status_is_an_answer(site, trusting, status):
    site.reply = Reply(status, (("Location", "/elsewhere"),))
    assert http_probe.request(place=site.place, path="/", context=trusting).status == status


def test_a_certificate_of_an_unknown_authority_is_refused(site):
    outcome = http_probe.request(place=site.place, path="/", context=http_probe.tls_context())
    assert outcome.kind == "certificate"
    assert "issuer" in outcome.reason
    assert site.calls == []


def test_a_certificate_for_another_name_is_refused(site, trusting):
    other = Place(name="other.example.test", address="127.0.0.1", port=site.place.port)
    outcome = http_probe.request(place=other, path="/", context=trusting)
    assert outcome.kind == "certificate"
    assert "other.example.test" in outcome.reason


def test_a_certificate_that_has_ended_is_refused(authority, trusting):
    with serve(lambda call: Reply(), context=authority.context(NAME, days=(-3, -1))) as port:
        place = Place(name=NAME, address="127.0.0.1", port=port)
        outcome = http_probe.handshake(place=place, context=trusting)
    assert outcome == NoAnswer(kind="certificate", reason="certificate has expired")


def test_what_is_not_verified_is_reached_all_the_same(site):
    context = http_probe.tls_context(verify=False)
    answer = http_probe.request(place=site.place, path="/", context=context)
    assert (answer.status, answer.certificate) == (200, {})


def test_the_authority_can_be_given_as_text(site, authority):
    context = http_probe.tls_context(ca_content=authority.path.read_text())
    assert "notAfter" in http_probe.handshake(place=site.place, context=context)


def test_an_authority_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        http_probe.tls_context(ca_path=str(tmp_path / "none.pem"))
    with pytest.raises(ssl.SSLError):
        http_probe.tls_context(ca_content="no certificate")


def test_nothing_listens(trusting):
    with closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        place = Place(name=NAME, address="127.0.0.1", port=sock.getsockname()[1])
        assert http_probe.request(place=place, path="/", context=trusting).kind == "connect"
        assert http_probe.handshake(place=place, context=trusting).kind == "connect"
        assert http_probe.websocket(place=place, path="/", context=trusting).kind == "connect"


def test_plain_http_where_tls_is_expected(trusting):
    with serve(lambda call: Reply()) as port:
        place = Place(name=NAME, address="127.0.0.1", port=port)
        assert http_probe.request(place=place, path="/", context=trusting).kind in ("tls", "closed")


def test_plain_http():
    with serve(lambda call: Reply(301)) as port:
        place = Place(name=NAME, address="127.0.0.1", port=port, tls=False)
        assert http_probe.request(place=place, path="/").status == 301


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, (), b"late", delay=5),
        Reply(200, (("X-Padding", "x" * 300),), b"drop by drop", drip=0.05),
        Reply(200, (), b"x" * 300, drip=0.05),
    ],
    ids=["slow", "drips its headers", "drips its body"],
)
def test_nobody_outlasts_the_timeout(site, trusting, reply):
    site.reply = reply
    started = time.monotonic()
    outcome = http_probe.request(place=site.place, path="/", context=trusting, timeout=0.4)
    assert outcome == NoAnswer(kind="timeout", reason="no complete answer within 0.4 s")
    assert time.monotonic() - started < 2


def test_a_server_that_accepts_and_says_nothing(trusting):
    with closing(socket.create_server(("127.0.0.1", 0))) as sock:
        place = Place(name=NAME, address="127.0.0.1", port=sock.getsockname()[1])
        assert http_probe.request(place=place, path="/", context=trusting, timeout=0.3).kind == "timeout"


def test_a_server_that_hangs_up(site, trusting):
    site.reply = lambda call: None
    assert http_probe.request(place=site.place, path="/", context=trusting).kind == "closed"


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        (b"220 mail.example.test ESMTP\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\ntoo short", "closed"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", "protocol"),
    ],
    ids=["not HTTP", "cut short", "too many headers"],
)
def test_an_answer_that_is_none(sent, kind):
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def answer():
            sock, _address = listener.accept()
            with sock:
                sock.recv(65536)
                sock.sendall(sent)

        thread = threading.Thread(target=answer)
        thread.start()
        place = Place(name=NAME, address="127.0.0.1", port=listener.getsockname()[1], tls=False)
        outcome = http_probe.request(place=place, path="/", timeout=5)
        thread.join()
    assert outcome.kind == kind


def test_a_websocket_opens_and_answers_a_ping(site, trusting):
    site.reply = websocket_reply
    outcome = http_probe.websocket(
        place=site.place,
        path="/websocket?version=19.0-2",
        headers={"Cookie": "session_id=a"},
        context=trusting,
    )
    assert isinstance(outcome, Upgrade)
    assert (outcome.answer.status, outcome.accepted, outcome.ponged) == (101, True, True)
    asked = site.calls[0].headers
    assert asked["Origin"] == site.place.origin
    assert (asked["Connection"], asked["Cookie"], asked["Sec-WebSocket-Version"]) == (
        "Upgrade",
        "session_id=a",
        "13",
    )


def test_a_websocket_whose_key_is_answered_wrongly(site, trusting):
    site.reply = lambda call: websocket_reply(call, key="another key")
    outcome = http_probe.websocket(place=site.place, path="/websocket", context=trusting)
    assert (outcome.answer.status, outcome.accepted, outcome.ponged) == (101, False, False)


@pytest.mark.parametrize(
    "talk",
    [lambda handler: None, lambda handler: handler.wfile.write(b"\x88\x02\x03\xe8")],
    ids=["hangs up", "sends close"],
)
def test_a_websocket_that_ends_at_once(site, trusting, talk):
    site.reply = lambda call: websocket_reply(call, talk=talk)
    outcome = http_probe.websocket(place=site.place, path="/websocket", context=trusting)
    assert (outcome.accepted, outcome.ponged) == (True, False)


def test_a_websocket_on_which_nobody_speaks(site, trusting):
    site.reply = lambda call: websocket_reply(call, talk=lambda handler: time.sleep(5))
    outcome = http_probe.websocket(place=site.place, path="/websocket", context=trusting, timeout=0.4)
    assert outcome.kind == "timeout"


@pytest.mark.parametrize("status", [200, 400, 404, 502])
def test_no_upgrade(site, trusting, status):
    site.reply = Reply(status)
    outcome = http_probe.websocket(place=site.place, path="/websocket", context=trusting)
    assert (outcome.answer.status, outcome.accepted) == (status, False)


def test_a_burst_sends_just_as_many(site, trusting):
    lock = threading.Lock()
    counter = iter(range(1000))

    def limited(call):
        with lock:
            return Reply(200, (), b"body") if next(counter) < 7 else Reply(429)

    site.reply = limited
    outcomes = http_probe.burst(place=site.place, path="/x", method="POST", count=25, context=trusting)
    assert sorted(outcome.status for outcome in outcomes) == [200] * 7 + [429] * 18
    assert {outcome.body for outcome in outcomes} == {b""}
    assert len(site.calls) == 25


def test_cookies_that_are_taken_away_do_not_count():
    answer = Answer(
        status=200,
        headers=(
            ("Set-Cookie", "session_id=one; Path=/; HttpOnly"),
            ("set-cookie", "tz=; Max-Age=0"),
            ("Set-Cookie", "old=gone; Max-Age=0"),
            ("Set-Cookie", "a=b; Max-Age=10"),
        ),
    )
    assert http_probe.cookies(answer=answer) == {"session_id": "one", "a": "b"}
