"""From answers to checks: what is fine, what is wrong, and what is no word of Odoo's at all."""

from __future__ import annotations

import json
import time
from urllib.parse import unquote

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils import site_check
from ansible_collections.slipway.odoo.plugins.module_utils.http_probe import Answer, NoAnswer, Upgrade
from ansible_collections.slipway.odoo.plugins.module_utils.site_check import Check, Subject
from ansible_collections.slipway.odoo.tests.unit.site_server import LOGIN_PAGE
from hypothesis import given, settings
from hypothesis import strategies as st

SUBJECT = Subject(site="main", name="log-in", where="https://odoo.example.test/x at 127.0.0.1:443")
HTML = (("Content-Type", "text/html; charset=utf-8"),)
CERTIFICATE = {"notAfter": "Nov 20 12:00:00 2026 GMT"}
EXPECTED = {"Strict-Transport-Security": "", "X-Content-Type-Options": "nosniff", "X-XSS-Protection": None}
REFUSED = NoAnswer(kind="connect", reason="Connection refused")
# What an edge, a proxy before it or a dying Odoo may put in the place of Odoo's answer.
UNREACHABLE = [
    REFUSED,
    NoAnswer(kind="timeout", reason="no complete answer within 10 s"),
    NoAnswer(kind="certificate", reason="certificate has expired"),
    NoAnswer(kind="tls", reason="WRONG_VERSION_NUMBER"),
    NoAnswer(kind="closed", reason="the server hung up before its answer was complete"),
    NoAnswer(kind="protocol", reason="220 mail"),
    Answer(status=301, headers=(("Location", "https://elsewhere.example.test/"),)),
    Answer(status=303, headers=(("Location", "/web/login"),)),
    Answer(status=429, headers=(("Retry-After", "2"),)),
    Answer(status=502, body=b"<html>502 Bad Gateway</html>"),
    Answer(status=503),
    Answer(status=504),
]
IDS = [outcome.kind if isinstance(outcome, NoAnswer) else str(outcome.status) for outcome in UNREACHABLE]


def rpc(status=200, **said):
    return Answer(status=status, body=json.dumps({"jsonrpc": "2.0", **said}).encode())


def error(name, message="Access Denied", status=200):
    return rpc(
        status=status,
        error={"code": 0, "message": "Odoo Server Error", "data": {"name": name, "message": message}},
    )


def log_in(outcome):
    return site_check.login(subject=SUBJECT, outcome=outcome, user="admin", database="main")


class TestLogin:
    def test_right_password(self):
        check = log_in(rpc(result={"uid": 2}))
        assert check.state == "ok"
        assert check.what.startswith("logged in as admin (user 2, ")

    def test_wrong_password(self):
        check = log_in(error("odoo.exceptions.AccessDenied"))
        assert (check.state, check.what) == (
            "failed",
            "wrong password: Odoo refuses user admin of database main",
        )

    @pytest.mark.parametrize("outcome", UNREACHABLE, ids=IDS)
    def test_what_is_not_reached_is_no_wrong_password(self, outcome):
        check = log_in(outcome)
        assert check.state == "failed"
        assert check.what.startswith("not reached: ")
        assert "password" not in check.text
        assert check.todo

    @pytest.mark.parametrize(
        ("outcome", "what"),
        [
            (
                error("odoo.exceptions.AccessDenied", "Too many login failures, please wait a bit"),
                "not tried by Odoo",
            ),
            (
                error("odoo.exceptions.AccessError", "Database not found."),
                "Odoo does not serve database main",
            ),
            (
                error("psycopg2.OperationalError", "connection refused"),
                "not reached: Odoo has no connection to database",
            ),
            (error("KeyError", "x"), "Odoo fails (KeyError)"),
            (rpc(error={"code": 1}), "Odoo fails (an unnamed error)"),
            (rpc(error="no"), "Odoo fails (an unnamed error)"),
            (rpc(result={"uid": None}), "the password of admin is right, but Odoo asks for a second factor"),
            (rpc(result={"uid": False}), "the password of admin is right, but Odoo asks for a second factor"),
            (Answer(status=200, body=b"<html>"), "not reached: answers 200, and not in JSON-RPC"),
            (Answer(status=200, body=b"[]"), "not reached: answers 200, and not in JSON-RPC"),
            (Answer(status=200, body=b"\xff\xfe"), "not reached: answers 200, and not in JSON-RPC"),
            (rpc(status=500, result={"uid": 2}), "not reached: answers 500, and not in JSON-RPC"),
            (Answer(status=403), "not reached: answers 403, and not in JSON-RPC"),
            (Answer(status=404), "not reached: answers 404, and not in JSON-RPC"),
        ],
    )
    def test_other_failures(self, outcome, what):
        check = log_in(outcome)
        assert check.state == "failed"
        assert check.what.startswith(what)
        assert "wrong password" not in check.text

    @settings(deadline=None)
    @given(st.integers(min_value=200, max_value=599), st.binary(max_size=60))
    def test_only_odoo_itself_can_call_a_password_wrong(self, status, body):
        assert "wrong password" not in log_in(Answer(status=status, body=body)).text


class TestSession:
    GOOD = "session_id=abc; Expires=Sat, 20 Nov 2027 10:52:51 GMT; HttpOnly; Path=/; Secure; SameSite=Lax"

    def judge(self, cookie, outcome):
        headers = (("Set-Cookie", cookie),) if cookie else ()
        logged_in = Answer(status=200, headers=headers)
        return site_check.session(subject=SUBJECT, logged_in=logged_in, outcome=outcome)

    def test_good(self):
        assert self.judge(self.GOOD, rpc(result={"uid": 2})).state == "ok"

    @pytest.mark.parametrize(
        ("cookie", "outcome", "what"),
        [
            ("", rpc(result={}), "the log-in sets no cookie session_id"),
            ("other=1; Secure; HttpOnly", rpc(result={}), "the log-in sets no cookie session_id"),
            (GOOD, error("odoo.http.SessionExpiredException"), "the session of the log-in is not known"),
            (GOOD, Answer(status=502), "not reached: the edge gets no answer from Odoo (502)"),
            ("session_id=abc; HttpOnly; Path=/", rpc(result={}), "the session cookie lacks Secure"),
            ("session_id=abc; Path=/", rpc(result={}), "the session cookie lacks Secure and HttpOnly"),
        ],
    )
    def test_faults(self, cookie, outcome, what):
        check = self.judge(cookie, outcome)
        assert check.state == "failed"
        assert check.what.startswith(what)


class TestHealth:
    def judge(self, outcome):
        return site_check.health(subject=SUBJECT, outcome=outcome)

    def test_well(self):
        assert self.judge(Answer(status=200, body=b'{"status": "pass", "db_server_status": true}')).state == "ok"

    @pytest.mark.parametrize(
        ("outcome", "what"),
        [
            (
                Answer(status=500, body=b'{"status": "fail", "db_server_status": false}'),
                "Odoo runs, its database",
            ),
            (
                Answer(status=200, body=b'{"status": "fail", "db_server_status": false}'),
                "Odoo runs, its database",
            ),
            (Answer(status=503, body=b'{"status": "fail"}'), "Odoo or its database server is not well (503)"),
            # E30: a proxy's own OK, and an Odoo that does not know the parameter.
            (Answer(status=200, body=b"OK"), "answers 200, but not Odoo's word"),
            (Answer(status=200, body=b'{"status": "pass"}'), "answers 200, but not Odoo's word"),
            (Answer(status=200, body=b'{"db_server_status": true}'), "answers 200, but not Odoo's word"),
            (
                Answer(status=200, body=b'{"status": "pass", "db_server_status": 1}'),
                "answers 200, but not Odoo's word",
            ),
            (Answer(status=500, body=b"Internal Server Error"), "answers 500"),
            (Answer(status=404), "answers 404"),
        ],
    )
    def test_ill(self, outcome, what):
        check = self.judge(outcome)
        assert check.state == "failed"
        assert check.what.startswith(what)

    @pytest.mark.parametrize("outcome", UNREACHABLE, ids=IDS)
    def test_not_reached(self, outcome):
        assert self.judge(outcome).what.startswith("not reached: ")


class TestCertificate:
    END = 1795176000.0

    def judge(self, outcome, *, days_before=10.0, minimum=7, verified=True):
        return site_check.certificate(
            subject=SUBJECT,
            outcome=outcome,
            now=self.END - days_before * 86400,
            minimum_days=minimum,
            verified=verified,
        )

    def test_the_example_ends_when_it_says(self):
        assert time.gmtime(self.END)[:6] == (2026, 11, 20, 12, 0, 0)

    @pytest.mark.parametrize(
        ("days", "minimum", "state"),
        [(10, 7, "ok"), (7, 7, "ok"), (6.99, 7, "failed"), (0, 0, "ok"), (-1, 0, "failed")],
    )
    def test_days_left(self, days, minimum, state):
        assert self.judge(CERTIFICATE, days_before=days, minimum=minimum).state == state

    def test_refused(self):
        check = self.judge(NoAnswer(kind="certificate", reason="certificate has expired"))
        assert (check.state, check.what) == ("failed", "certificate has expired")

    def test_not_verified_on_purpose(self):
        assert self.judge({}, verified=False).state == "skipped"

    def test_not_verified_on_purpose_and_not_there(self):
        assert self.judge(REFUSED, verified=False).state == "failed"


class TestRedirect:
    TARGETS = ("https://odoo.example.test/a?b", "https://www.example.test/a?b")

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    @pytest.mark.parametrize("target", TARGETS)
    def test_good(self, status, target):
        outcome = Answer(status=status, headers=(("Location", target),))
        assert site_check.redirect(subject=SUBJECT, outcome=outcome, targets=self.TARGETS).state == "ok"

    @pytest.mark.parametrize(
        ("outcome", "what"),
        [
            (Answer(status=200), "no redirect: 200"),
            (Answer(status=404), "no redirect: 404"),
            (Answer(status=301), "redirects to nowhere and not to https://odoo.example.test/a?b"),
            (
                Answer(status=301, headers=(("Location", "https://odoo.example.test/"),)),
                "redirects to https://odoo",
            ),
            (
                Answer(status=301, headers=(("Location", "http://odoo.example.test/a?b"),)),
                "redirects to http://odoo",
            ),
            (
                Answer(status=301, headers=(("Location", "https://evil.test/a?b"),)),
                "redirects to https://evil.test/a?b",
            ),
            (REFUSED, "not reached: Connection refused"),
        ],
    )
    def test_faults(self, outcome, what):
        check = site_check.redirect(subject=SUBJECT, outcome=outcome, targets=self.TARGETS)
        assert check.state == "failed"
        assert check.what.startswith(what)


class TestLoginPage:
    def judge(self, outcome):
        return site_check.login_page(subject=SUBJECT, outcome=outcome)

    def test_good(self):
        assert self.judge(Answer(status=200, headers=HTML, body=LOGIN_PAGE.encode())).state == "ok"

    @pytest.mark.parametrize(
        ("outcome", "what"),
        [
            (
                Answer(status=200, headers=HTML, body=b"Welcome to nginx!"),
                "answers 200, but not with Odoo's log-in form",
            ),
            (Answer(status=200, body=LOGIN_PAGE.encode()), "answers 200, but not with Odoo's log-in form"),
            (Answer(status=500, headers=HTML, body=LOGIN_PAGE.encode()), "answers 500"),
            (
                Answer(status=303, headers=(("Location", "/web/database/selector"),)),
                "Odoo does not know which database",
            ),
            (
                Answer(status=302, headers=(("Location", "https://sso.example.test"),)),
                "not reached: redirected to https",
            ),
        ],
    )
    def test_faults(self, outcome, what):
        check = self.judge(outcome)
        assert check.state == "failed"
        assert check.what.startswith(what)

    @pytest.mark.parametrize("outcome", UNREACHABLE, ids=IDS)
    def test_not_reached(self, outcome):
        assert self.judge(outcome).what.startswith("not reached: ")


class TestAsset:
    CSS = "/web/assets/15213f5/web.assets_frontend.min.css"
    JS = "/web/assets/1621975/web.assets_frontend_minimal.min.js"

    def test_links_of_a_page(self):
        assert site_check.asset_links(page=Answer(status=200, body=LOGIN_PAGE.encode())) == (
            self.CSS,
            self.JS,
        )

    def test_first_of_each_kind_only(self):
        page = Answer(
            status=200,
            body=b"""<script data-src='/web/assets/1/b.js'></script>"/web/assets/1/c.js" "/web/x.js" """,
        )
        assert site_check.asset_links(page=page) == ("/web/assets/1/b.js",)

    @pytest.mark.parametrize(
        ("link", "kind"),
        [
            (CSS, "text/css"),
            (CSS, "text/css; charset=utf-8"),
            (JS, "application/javascript"),
            (JS, "text/javascript"),
        ],
    )
    def test_good(self, link, kind):
        outcome = Answer(status=200, headers=(("Content-Type", kind),), body=b"x")
        assert site_check.asset(subject=SUBJECT, link=link, outcome=outcome).state == "ok"

    @pytest.mark.parametrize(
        ("outcome", "what"),
        [
            (Answer(status=200, headers=(("Content-Type", "text/css"),)), "is empty"),
            (Answer(status=200, headers=HTML, body=b"x"), "comes as text/html"),
            (Answer(status=200, body=b"x"), "comes as nothing in particular"),
            (Answer(status=404), "answers 404"),
            (Answer(status=403), "answers 403"),
            (Answer(status=502), "not reached: "),
        ],
    )
    def test_faults(self, outcome, what):
        check = site_check.asset(subject=SUBJECT, link=self.CSS, outcome=outcome)
        assert check.state == "failed"
        assert check.what.startswith(what)


class TestWebsocket:
    @pytest.mark.parametrize(
        ("outcome", "state", "what"),
        [
            (
                Upgrade(answer=Answer(status=101), accepted=True, ponged=True),
                "ok",
                "101, and a ping is answered",
            ),
            (Upgrade(answer=Answer(status=101), accepted=True), "failed", "101, but nobody answers a ping"),
            (Upgrade(answer=Answer(status=101)), "failed", "101, but the handshake is not answered rightly"),
            (Upgrade(answer=Answer(status=400)), "failed", "no upgrade: 400"),
            (Upgrade(answer=Answer(status=502)), "failed", "no upgrade: 502"),
            (REFUSED, "failed", "not reached: Connection refused"),
        ],
    )
    def test_judgement(self, outcome, state, what):
        check = site_check.websocket(subject=SUBJECT, outcome=outcome)
        assert check.state == state
        assert check.what.startswith(what)

    def test_version_of_the_page(self):
        assert site_check.websocket_version(page=Answer(status=200, body=LOGIN_PAGE.encode())) == "19.0-2"
        assert site_check.websocket_version(page=Answer(status=200)) == ""


class TestDoors:
    def judge(self, *outcomes, path="/web/database/manager"):
        return site_check.door(subject=SUBJECT, path=path, outcomes=[(path, outcome) for outcome in outcomes])

    def test_spellings(self):
        assert site_check.spellings(path="/web/database/manager") == (
            "/web/database/manager",
            "/web/database/manager/",
            "//web/database/manager",
            "/web/%64atabase/manager",
            "/web//database/manager",
            "/web%2Fdatabase/manager",
        )
        assert site_check.spellings(path="/jsonrpc") == ("/jsonrpc", "/jsonrpc/", "//jsonrpc", "/%6asonrpc")

    @pytest.mark.parametrize("path", site_check.DOORS)
    def test_every_spelling_means_the_same_to_odoo(self, path):
        """Odoo's router unquotes, and so do careless edges; slashes are merged by either."""
        for written in site_check.spellings(path=path):
            assert unquote(written).replace("//", "/").rstrip("/") == path

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410])
    def test_closed(self, status):
        check = self.judge(Answer(status=status), NoAnswer(kind="closed", reason="the server hung up"))
        assert (check.state, check.what) == ("ok", "closed in 2 spellings")

    @pytest.mark.parametrize("status", [200, 204, 302, 500, 502])
    def test_open(self, status):
        check = self.judge(Answer(status=404), Answer(status=status, headers=(("Location", "/web/login"),)))
        assert (check.state, check.what) == ("failed", f"open: /web/database/manager ({status})")

    def test_a_redirect_to_the_plain_spelling_is_no_way_in(self):
        redirect = Answer(status=308, headers=(("Location", "https://x.test//web/%64atabase/manager/"),))
        assert self.judge(Answer(status=404), redirect).state == "ok"

    @pytest.mark.parametrize("outcome", [Answer(status=429), REFUSED, NoAnswer(kind="timeout", reason="late")])
    def test_not_known(self, outcome):
        check = self.judge(Answer(status=404), outcome)
        assert check.state == "failed"
        assert check.what.startswith("not known to be closed: /web/database/manager was not reached: ")

    def test_odoos_own_refusal_counts_for_json_rpc_only(self):
        denied = error("odoo.exceptions.AccessDenied")
        assert self.judge(denied, path="/jsonrpc").state == "ok"
        assert self.judge(denied, path="/web/database/list").state == "failed"
        assert self.judge(rpc(result=["main"]), path="/jsonrpc").state == "failed"
        assert self.judge(error("KeyError"), path="/jsonrpc").state == "failed"

    @pytest.mark.parametrize("path", site_check.DOORS)
    def test_what_is_asked_changes_nothing(self, path):
        method, headers, body = site_check.door_request(path=path)
        assert method == ("GET" if path in site_check.DOORS[:2] else "POST")
        assert bool(headers) is bool(body) is (method == "POST")
        for verb in (b"create", b"drop", b"backup", b"dump", b"restore", b"duplicate", b"change"):
            assert verb not in body


class TestHeaders:
    GOOD = (("Strict-Transport-Security", "max-age=300"), ("x-content-type-options", " nosniff"))

    def judge(self, *headers):
        return site_check.headers(subject=SUBJECT, answer=Answer(status=200, headers=headers), expected=EXPECTED)

    def test_good(self):
        assert self.judge(*self.GOOD, ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")).state == "ok"

    @pytest.mark.parametrize(
        ("headers", "what"),
        [
            (GOOD[:1], "X-Content-Type-Options is missing"),
            ((*GOOD[:1], ("X-Content-Type-Options", "sniff")), "X-Content-Type-Options is sniff"),
            ((*GOOD, GOOD[0]), "Strict-Transport-Security comes 2 times"),
            ((*GOOD, ("X-XSS-Protection", "1")), "X-XSS-Protection is there"),
            # Not expected by name, and yet never twice (E4c).
            (
                (*GOOD, ("X-Frame-Options", "DENY"), ("X-Frame-Options", "SAMEORIGIN")),
                "X-Frame-Options comes 2 times",
            ),
            ((("Content-Type", "a"), ("content-type", "b"), *GOOD), "Content-Type comes 2 times"),
            ((), "Strict-Transport-Security is missing; X-Content-Type-Options is missing"),
        ],
    )
    def test_faults(self, headers, what):
        check = self.judge(*headers)
        assert (check.state, check.what) == ("failed", what)

    def test_nothing_expected(self):
        answer = Answer(status=200)
        assert site_check.headers(subject=SUBJECT, answer=answer, expected={}).state == "ok"


class TestBurst:
    def judge(self, *outcomes):
        return site_check.burst(subject=SUBJECT, outcomes=outcomes, expected_status=429)

    @pytest.mark.parametrize("value", [None, "2", "120", "Fri, 20 Nov 2026 10:52:51 GMT"])
    def test_limited(self, value):
        headers = (("Retry-After", value),) if value else ()
        check = self.judge(Answer(status=200), Answer(status=200), Answer(status=429, headers=headers))
        assert (check.state, check.what) == ("ok", "2 × 200, 1 × 429")

    @pytest.mark.parametrize(
        ("outcomes", "what"),
        [
            ([Answer(status=200)] * 3, "3 requests, none answered 429: 3 × 200"),
            # E3: nginx's own default says 503, which looks like a broken site.
            ([Answer(status=200), Answer(status=503)], "2 requests, none answered 429: 1 × 200, 1 × 503"),
            ([Answer(status=429), Answer(status=502)], "the burst broke something: 1 × 429, 1 × 502"),
            ([Answer(status=429), REFUSED], "the burst broke something: 1 × 429, 1 × Connection refused"),
            ([Answer(status=429, headers=(("Retry-After", "soon"),))], "Retry-After is soon"),
        ],
    )
    def test_faults(self, outcomes, what):
        check = self.judge(*outcomes)
        assert (check.state, check.what) == ("failed", what)


class TestReport:
    def test_failures_are_numbered_and_say_what_to_do(self):
        checks = [
            SUBJECT.ok("fine"),
            SUBJECT.failed("wrong password", "Give the right one."),
            Check(site="test", name="health", state="failed", what="answers 404", where="x", todo="Look."),
        ]
        assert site_check.report(checks=checks).splitlines() == [
            "2 of 3 checks failed:",
            f"1. main: log-in: wrong password ({SUBJECT.where}). Give the right one.",
            "2. test: health: answers 404 (x). Look.",
        ]

    def test_what_was_not_checked_is_said(self):
        assert site_check.report(checks=[SUBJECT.ok("fine"), SUBJECT.skipped("no password was given")]) == (
            "1 checks passed; not checked: log-in: no password was given"
        )

    def test_all_fine(self):
        assert site_check.report(checks=[SUBJECT.ok("fine")] * 2) == "2 checks passed"
