"""The client against real servers on loopback: who answered, what was sent to whom, and how long it waits."""

from __future__ import annotations

import email.utils
import json
import socket
import time
from contextlib import ExitStack, closing
from types import SimpleNamespace
from urllib.parse import parse_qs

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils import api_contract_http as contract_http
from ansible_collections.slipway.odoo.plugins.module_utils.api_contract_files import UnreadableError
from ansible_collections.slipway.odoo.plugins.module_utils.api_contract_http import (
    Client,
    Login,
    Question,
    Settings,
    Unreachable,
    address_of,
)
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.http_probe import Answer, NoAnswer, tls_context
from ansible_collections.slipway.odoo.tests.unit.site_server import Authority, OdooSite, Reply, odoo_error, serve

NAME = "api.example.test"
PASSWORD = "right horse battery"
FORM = """<form action="/search"><input name="q"><input type="hidden" name="other" value="1"></form>
<form method="post"><input TYPE="Hidden" name="csrf_token" value="a&amp;b"/>
<input name="login"/><input type="password" name="password"/><input type="submit"></form>"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def server_context(authority):
    return authority.context(NAME)


@pytest.fixture
def pauses(monkeypatch):
    """The pauses that would have been made, on a clock that runs by them alone."""
    made = []
    clock = SimpleNamespace(sleep=made.append, monotonic=lambda: float(sum(made)), time=time.time)
    monkeypatch.setattr(contract_http, "time", clock)
    return made


@pytest.fixture(scope="module")
def trusting(authority):
    return tls_context(ca_path=str(authority.path))


@pytest.fixture
def api(server_context, trusting):
    """An Odoo over HTTPS under a name that resolves nowhere; ``ask`` asks it, ``client`` may be closed."""

    class Api:
        def __init__(self):
            self.site = OdooSite(password=PASSWORD)
            self.replies, self.calls = self.site.replies, self.site.calls

        def url(self, path="/"):
            return address_of(f"https://{NAME}:{self.port}{path}")

        def client(self, **changes):
            options = {"addresses": {NAME: "127.0.0.1"}, "context": trusting, "timeout": 2.0, "wait": 0.0}
            return Client(Settings(**{**options, **changes}))

        def ask(self, path="/", *, client=None, **rest):
            return (client or self.client()).ask(Question(address=self.url(path), **rest))

    api = Api()
    with serve(api.site, context=server_context) as api.port:
        yield api


def odoo_login(password=PASSWORD):
    return Login(user="admin", password=password, database="main")


def form_login(api, password=PASSWORD):
    return Login(user="ann", password=password, form=api.url("/login"), user_field="login", password_field="password")


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("https://a.test", (True, "a.test", 443, "/")),
        ("http://A.test:8069/x?y=z", (False, "a.test", 8069, "/x?y=z")),
        ("https://[2001:db8::1]/%20", (True, "2001:db8::1", 443, "/%20")),
    ],
)
def test_a_url_is_taken_apart(url, parts):
    address = address_of(url)
    assert (address.tls, address.name, address.port, address.path) == parts


def test_what_is_shown_of_a_url():
    assert address_of("https://a.test/x?token=hush").shown == "https://a.test/x"
    assert address_of("http://a.test:8069").shown == "http://a.test:8069/"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a.test/x",
        "ftp://a.test/",
        "https:///x",
        "https://a.test:0/",
        "https://a.test:99999/",
        "https://[::1/",
        "https://hush:hush@a.test/",
        "https://hush@a.test/",
        "https://a.test/x#hush",
        "https://a.test/a b",
        "https://a.test/a\r\nX-Evil: 1",
        "https://ä.test/",
    ],
)
def test_what_is_no_url_is_refused_without_repeating_it(url):
    with pytest.raises(SlipwayError) as raised:
        address_of(url)
    assert "hush" not in str(raised.value)


def test_headers_are_texts():
    assert contract_http.require_headers({"x-odoo-database": "main", "X-N": 1}) == {
        "X-Odoo-Database": "main",
        "X-N": "1",
    }


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"authorization": "Bearer hush"}, "must not hold Authorization: use api_key or login"),
        ({"Cookie": "hush"}, "must not hold Cookie"),
        ({"host": "b.test"}, "must not hold Host: it follows from url"),
        ({"X-A": "hush\r\nX-B: 1"}, "cannot be sent"),
        ({"X A": "hush"}, "cannot be sent"),
        ({"": "hush"}, "cannot be sent"),
        ({"X-A": "hüsh"}, "cannot be sent"),
    ],
)
def test_headers_that_are_refused(headers, message):
    with pytest.raises(SlipwayError, match=message) as raised:
        contract_http.require_headers(headers)
    assert "hush" not in str(raised.value)


def test_no_secret_goes_over_plain_http_or_to_another_origin():
    plain, secure = address_of("http://a.test/"), address_of("https://a.test/")
    login = odoo_login()
    for question in (Question(address=plain, api_key="hush"), Question(address=plain, login=login)):
        with pytest.raises(SlipwayError, match="plain HTTP"):
            contract_http.require_private(question, plain_http=False)
        contract_http.require_private(question, plain_http=True)
    for form in ("https://b.test/login", "http://a.test/login", "https://a.test:444/login"):
        elsewhere = Login(user="a", password="b", form=address_of(form))
        with pytest.raises(SlipwayError, match="log in where the API is"):
            contract_http.require_private(Question(address=secure, login=elsewhere), plain_http=True)
    for key in ("", "hush\n", "hush hush", "hüsh"):
        with pytest.raises(SlipwayError, match="api_key") as raised:
            contract_http.require_private(Question(address=secure, api_key=key), plain_http=False)
        assert "hush" not in str(raised.value)
    contract_http.require_private(Question(address=secure, api_key="hush", login=None), plain_http=False)


def test_secrets_are_not_in_what_python_shows_of_a_question():
    assert "hush" not in repr(Question(address=address_of("https://a.test"), api_key="hush", login=odoo_login("hush")))


@pytest.mark.parametrize(
    ("status", "passing"),
    [(status, True) for status in (408, 425, 429, 502, 503, 504)]
    + [(status, False) for status in (101, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 410, 422, 500, 501)],
)
def test_a_status_that_is_no_answer_is_unreachable_whatever_its_headers_say(status, passing):
    answer = Answer(status, (("X-Contract-Version", "9.9.9"), ("Location", "/elsewhere?token=hush")))
    outcome = contract_http.judge(answer, now=0)
    assert isinstance(outcome, Unreachable)
    assert (outcome.passing, str(status) in outcome.reason, "hush" in outcome.reason) == (passing, True, False)


@pytest.mark.parametrize("status", [200, 201, 203, 204, 206])
def test_a_status_that_is_an_answer(status):
    assert contract_http.judge(Answer(status), now=0) is None


def test_an_answer(api):
    api.replies["/"] = Reply(200, (("X-Contract-Version", "1.0.0"),))
    assert contract_http.header_version(api.ask(), name="x-contract-version").version == "1.0.0"
    assert len(api.calls) == 1


def test_an_error_of_json_rpc_is_no_answer():
    reply = odoo_error("odoo.http.SessionExpiredException", "hush")
    outcome = contract_http.judge(Answer(200, body=reply.body), now=0)
    assert outcome == Unreachable("Odoo answers with the error odoo.http.SessionExpiredException")


@pytest.mark.parametrize(
    "body", [b'{"jsonrpc": "2.0", "result": {"error": 1}}', b'{"error": "x"}', b'"jsonrpc" {', b'["jsonrpc"]', b""]
)
def test_other_bodies_are_answers(body):
    assert contract_http.judge(Answer(200, body=body), now=0) is None


def test_the_ways_not_to_reach_it(api):
    with closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        closed = address_of(f"https://{NAME}:{sock.getsockname()[1]}/")
        assert api.client().ask(Question(address=closed)).reason.startswith("Connection refused")
    api.replies["/slow"] = Reply(delay=3)
    assert api.client(timeout=0.2).ask(Question(address=api.url("/slow"))).reason.startswith("no complete answer")
    untrusting = api.client(context=tls_context())
    assert "issuer" in untrusting.ask(Question(address=api.url())).reason
    other = address_of(f"https://other.example.test:{api.port}/")
    misnamed = api.client(addresses={"other.example.test": "127.0.0.1"}).ask(Question(address=other))
    assert "other.example.test" in misnamed.reason
    assert not misnamed.passing
    api.replies["/hang-up"] = None
    assert "hung up" in api.ask("/hang-up").reason
    unknown = api.client(addresses={}).ask(Question(address=api.url()))
    assert f"the name {NAME} does not resolve" in unknown.reason


def test_every_address_of_a_name_is_tried(api, monkeypatch):
    client = api.client()
    monkeypatch.setattr(client, "_addresses", lambda name: ("127.0.0.77", "127.0.0.1"))
    api.replies["/"] = Reply(200)
    assert isinstance(api.ask(client=client), Answer)


def test_it_asks_again_what_may_pass(api, pauses):
    replies = iter([Reply(502), Reply(429, (("Retry-After", "3"),)), Reply(503), Reply(200)])
    api.replies["/"] = lambda call: next(replies)
    assert isinstance(api.ask(client=api.client(wait=10)), Answer)
    assert pauses == [1, 3, 4]


def test_it_gives_up_when_the_time_is_used_up(api, pauses):
    api.replies["/"] = Reply(502)
    outcome = api.ask(client=api.client(wait=10))
    assert pauses == [1, 2, 4]
    assert outcome.reason == "answers 502: the web server gets no answer from the application (asked 4 times in 7 s)"


def test_all_sources_share_the_waiting(api, pauses):
    api.replies["/a"] = api.replies["/b"] = Reply(502)
    client = api.client(wait=10)
    assert "asked 4 times" in api.ask("/a", client=client).reason
    assert "asked 3 times" in api.ask("/b", client=client).reason
    assert "asked" not in api.ask("/b", client=client).reason
    assert pauses == [1, 2, 4, 1, 2]


def test_a_limit_that_lasts_longer_is_not_waited_for(api, pauses):
    api.replies["/"] = Reply(429, (("Retry-After", "11"),))
    assert api.ask(client=api.client(wait=10)).reason == "answers 429: it limits the rate"
    assert pauses == []


def test_what_does_not_pass_is_asked_once(api, pauses):
    for reply in (Reply(404), Reply(301), Reply(500), odoo_error("x", "y")):
        api.replies["/"] = reply
        api.ask(client=api.client(wait=10))
    assert pauses == []


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        (" 7 ", 7),
        (email.utils.formatdate(1_000_030, usegmt=True), 30),
        (email.utils.formatdate(999_000, usegmt=True), 0),
        ("", 0),
        ("-7", 0),
        ("soon", 0),
        ("Mon, 99 Foo 2026 99:99:99 GMT", 0),
    ],
)
def test_retry_after(value, seconds):
    assert contract_http.retry_after(value, now=1_000_000) == seconds


def test_a_get_or_with_a_body_a_post(api):
    api.ask("/json/2/m/f?a=b", body={"domain": []}, api_key="k3y", headers={"X-Odoo-Database": "main"})
    api.ask("/plain")
    post, get = api.calls
    assert (post.method, post.path, json.loads(post.body)) == ("POST", "/json/2/m/f?a=b", {"domain": []})
    assert post.headers["Authorization"] == "Bearer k3y"
    assert (post.headers["Content-Type"], post.headers["X-Odoo-Database"]) == ("application/json", "main")
    assert (get.method, get.headers["Authorization"], get.headers["Accept"]) == ("GET", None, "application/json")


def test_a_redirect_is_not_followed_with_a_secret(api):
    with serve(lambda call: pytest.fail("it was followed")) as other:
        api.replies["/"] = Reply(302, (("Location", f"http://127.0.0.1:{other}/?x=hush"),))
        assert api.ask(api_key="k3y").reason == f"redirects (302) to 'http://127.0.0.1:{other}/'"


def test_a_log_in_to_odoo_is_made_once_and_ended(api):
    api.replies["/a"] = api.replies["/b"] = Reply(200)
    client = api.client()
    for path in ("/a", "/b"):
        assert isinstance(api.ask(path, client=client, login=odoo_login()), Answer)
    client.close()
    assert [call.path for call in api.calls] == ["/web/session/authenticate", "/a", "/b", "/web/session/destroy"]
    assert [call.headers["Cookie"] for call in api.calls] == [None, *["session_id=abc123"] * 3]
    assert json.loads(api.calls[0].body)["params"] == {"db": "main", "login": "admin", "password": PASSWORD}
    assert api.site.sessions == set()


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (odoo_error("odoo.exceptions.AccessDenied", "Access Denied"), "refuses user admin of database main"),
        (odoo_error("odoo.exceptions.AccessDenied", "Too many login failures"), "after too many that failed"),
        (odoo_error("odoo.exceptions.AccessError", "hush"), "does it serve database main"),
        (Reply(200, (), b'{"jsonrpc": "2.0", "result": {"uid": null}}'), "second factor"),
        (Reply(200, (), b"<html>"), "does not answer as Odoo does"),
        (Reply(200, (), b'{"result": []}'), "does not answer as Odoo does"),
        (Reply(303, (("Location", "/x"),)), "redirects"),
        (Reply(429), "limits the rate"),
        (Reply(404), "nothing under this path"),
    ],
)
def test_a_log_in_to_odoo_that_fails(api, reply, reason):
    api.replies["/web/session/authenticate"] = reply
    client = api.client()
    for _attempt in range(2):
        outcome = api.ask(client=client, login=odoo_login("hush"))
        assert outcome.reason.startswith("log-in: ")
        assert reason in outcome.reason
        assert "hush" not in outcome.reason
    client.close()
    assert [call.path for call in api.calls] == ["/web/session/authenticate"]


def form_site(call):
    """A site with a form that wants its token back, and a page for those who filled it in."""
    if call.path == "/login" and call.method == "GET":
        return Reply(200, (("Set-Cookie", "visit=1"),), FORM.encode())
    if call.path == "/login":
        fields = parse_qs(call.body.decode())
        right = fields == {"csrf_token": ["a&b"], "login": ["ann"], "password": [PASSWORD]}
        if not right or call.headers["Cookie"] != "visit=1":
            return Reply(200, (), FORM.encode())
        return Reply(303, (("Location", "/"), ("Set-Cookie", "session=s3cret; HttpOnly")))
    return Reply(200 if "session=s3cret" in (call.headers["Cookie"] or "") else 401)


def test_a_log_in_by_form(api):
    api.replies.update(dict.fromkeys(("/login", "/page"), form_site))
    client = api.client()
    for _time in range(2):
        assert isinstance(api.ask("/page", client=client, login=form_login(api)), Answer)
    client.close()
    assert [(call.method, call.path) for call in api.calls] == [
        ("GET", "/login"),
        ("POST", "/login"),
        ("GET", "/page"),
        ("GET", "/page"),
    ]


def test_a_log_in_by_form_that_fails(api):
    api.replies["/login"] = form_site
    reason = api.ask("/page", login=form_login(api, "wrong")).reason
    assert reason == f"log-in: the form https://{NAME}:{api.port}/login does not take user ann with this password"
    api.replies["/login"] = Reply(200)
    assert "sets no cookie" in api.ask("/page", login=form_login(api)).reason
    api.replies["/login"] = lambda call: form_site(call) if call.method == "GET" else Reply(403)
    assert api.ask("/page", login=form_login(api)).reason == "log-in: answers 403: it does not allow this"
    api.replies["/login"] = Reply(404)
    assert "answers 404" in api.ask("/page", login=form_login(api)).reason
    assert "/page" not in [call.path for call in api.calls]


def test_only_the_fields_of_the_form_with_the_password_are_sent():
    assert contract_http.hidden_fields(FORM, password_field="password") == {"csrf_token": "a&b"}
    assert contract_http.hidden_fields("<p>none", password_field="password") == {}


@pytest.mark.parametrize(
    ("headers", "status", "version"),
    [
        ((("X-Contract-Version", "1.0.0"),), "found", "1.0.0"),
        ((("x-contract-version", " 1.0.0 "),), "found", "1.0.0"),
        ((("X-Contract-Version", "1.0.0"), ("X-Contract-Version", "1.0.0")), "found", "1.0.0"),
        ((("X-Contract-Version", "1.0.0"), ("X-Contract-Version", "2.0.0")), "invalid", None),
        ((("X-Contract-Version", "1.0.0, 1.0.0"),), "invalid", None),
        ((("X-Contract-Version", ""),), "invalid", None),
        ((("X-Contract-Versions", "1.0.0"),), "missing", None),
    ],
)
def test_a_version_in_a_header(headers, status, version):
    value = contract_http.header_version(Answer(status=200, headers=headers), name="X-Contract-Version")
    assert (value.status, value.version) == (status, version)


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (Answer(200, body=b"<html>"), "cannot be parsed as JSON"),
        (Answer(200, body=b""), "cannot be parsed as JSON"),
        (Answer(200, body=b'"\xff"'), "not UTF-8"),
        (Answer(200, (("Content-Encoding", "gzip"),), b"\x1f\x8b"), "encoded as 'gzip'"),
    ],
)
def test_a_body_that_is_no_json(answer, detail):
    with pytest.raises(UnreadableError, match=detail):
        contract_http.json_body(answer)


def test_a_body_that_is_too_large(monkeypatch):
    monkeypatch.setattr(contract_http, "BODY_LIMIT", 4)
    with pytest.raises(UnreadableError, match="or more"):
        contract_http.json_body(Answer(200, body=b"1234"))
    assert contract_http.json_body(Answer(200, body=b"123")) == 123


def test_an_outcome_that_is_no_http():
    outcome = contract_http.judge(NoAnswer(kind="protocol", reason="what is this"), now=0)
    assert outcome == Unreachable("what is this")


def test_a_session_is_not_shared_with_another_user(api):
    with ExitStack() as stack:
        client = stack.enter_context(closing(api.client()))
        api.ask("/a", client=client, login=odoo_login())
        api.ask("/a", client=client, login=odoo_login("other"))
    assert [call.path for call in api.calls].count("/web/session/authenticate") == 2
