"""The whole module against a real HTTPS server on loopback: a healthy site, and each way to break it."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.slipway.odoo.plugins.modules import odoo_site_check
from ansible_collections.slipway.odoo.tests.unit.site_server import (
    Authority,
    OdooSite,
    Reply,
    odoo_error,
    serve,
    websocket_reply,
)

NAME, ALIAS = "odoo.example.test", "www.example.test"
PASSWORD = "right horse battery"
BUNDLE = "/web/assets/15213f5/web.assets_frontend.min.css"
# Some of the doors: most tests are about something else.
FAST = {"timeout": 2, "wait": 0, "closed_doors": ["/web/database/manager", "/web/database/selector", "/xmlrpc/2/db"]}


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def context(authority):
    return authority.context(NAME, ALIAS)


@pytest.fixture(autouse=True)
def no_long_pauses(monkeypatch):
    monkeypatch.setattr(odoo_site_check, "LIMITED_PAUSE_SECONDS", 0.01)


@pytest.fixture
def edge(context, authority, capsys):
    """A healthy site, served; calling it runs the module and gives what the module returns."""

    class Edge:
        def __init__(self, site, https_port, http_port):
            self.site = site
            self.arguments = {
                "address": "127.0.0.1",
                "https_port": https_port,
                "http_port": http_port,
                "ca_path": str(authority.path),
                "headers": {"X-Content-Type-Options": "nosniff"},
                **FAST,
            }
            self.one = {"name": "main", "domains": [NAME, ALIAS], "database": "main", "password": PASSWORD}

        def __call__(self, *, check_mode=False, sites=None, **changes):
            arguments = {**self.arguments, "sites": sites or [self.one], **changes}
            given = {key: value for key, value in arguments.items() if value is not None}
            with (
                patch_module_args({**given, "_ansible_check_mode": check_mode}),
                pytest.raises(SystemExit) as ended,
            ):
                odoo_site_check.main()
            result = json.loads(capsys.readouterr().out)
            assert ended.value.code == (1 if result.get("failed") else 0)
            assert result.get("changed", False) is False
            return result

    site = OdooSite()
    with ExitStack() as stack:
        site.https_port = stack.enter_context(serve(site, context=context))
        http_port = stack.enter_context(serve(site.plain))
        yield Edge(site, site.https_port, http_port)


def states(result, name):
    """The states of the checks of one name. A failure leaves those out that are fine."""
    return [check["state"] for check in result["checks"] if check["name"] == name]


def failures(result):
    return {(check["name"], check["what"]) for check in result["checks"] if check["state"] == "failed"}


def test_a_healthy_site(edge):
    result = edge(bursts=[{"path": "/web/login", "count": 30}], closed_doors=None)
    assert failures(result) == set()
    assert result["verified"] is True
    assert result["message"] == "22 checks passed"
    names = [check["name"] for check in result["checks"]]
    assert names == [
        "health",
        *["certificate"] * 2,
        *["redirect"] * 2,
        "log-in page",
        *["asset bundle"] * 2,
        "log-in",
        "session",
        "websocket",
        *["closed door"] * 6,
        *["headers"] * 4,
        "burst of 30 POST",
    ]


def test_it_logs_in_once_uses_the_session_and_ends_it(edge):
    edge()
    calls = {call.path: call for call in edge.site.calls}
    assert json.loads(calls["/web/session/authenticate"].body)["params"] == {
        "db": "main",
        "login": "admin",
        "password": PASSWORD,
    }
    assert calls["/websocket?version=19.0-2"].headers["Cookie"] == "session_id=abc123"
    assert calls["/web/session/destroy"].headers["Cookie"] == "session_id=abc123"
    assert edge.site.sessions == set()


def test_the_password_is_not_in_the_result(edge):
    edge.site.replies["/web/session/authenticate"] = odoo_error("odoo.exceptions.AccessDenied", PASSWORD)
    assert PASSWORD not in json.dumps(edge())


def test_check_mode_leaves_no_traces(edge):
    result = edge(check_mode=True, bursts=[{"path": "/web/login"}])
    assert result["verified"] is True
    assert states(result, "log-in") == states(result, "burst of 60 POST") == ["skipped"]
    paths = [call.path for call in edge.site.calls if call.method == "POST"]
    assert "/web/session/authenticate" not in paths
    assert "/web/login" not in paths


def test_without_a_password_there_is_no_log_in(edge):
    result = edge(sites=[{"name": "main", "domains": [NAME]}])
    assert result["message"] == "14 checks passed; not checked: log-in: no password was given"


@pytest.mark.parametrize(
    ("path", "reply", "failed"),
    [
        (
            "/health",
            Reply(200, (), b"OK"),
            ("health", "answers 200, but not Odoo's word that its database server is well"),
        ),
        ("/health", Reply(502), ("health", "not reached: the edge gets no answer from Odoo (502)")),
        (
            "/web/login",
            Reply(200, (("Content-Type", "text/html"),), b"Hello"),
            ("log-in page", "answers 200, but not with"),
        ),
        ("/web/login", Reply(502), ("log-in page", "not reached: the edge gets no answer from Odoo (502)")),
        (BUNDLE, Reply(200, (("Content-Type", "text/css"),)), ("asset bundle", "is empty")),
        (BUNDLE, Reply(404), ("asset bundle", "answers 404")),
        (
            "/web/session/authenticate",
            Reply(502),
            ("log-in", "not reached: the edge gets no answer from Odoo (502)"),
        ),
        ("/web/session/authenticate", Reply(429), ("log-in", "not reached: the edge limits the rate (429)")),
        (
            "/web/session/authenticate",
            Reply(303, (("Location", "/x"),)),
            ("log-in", "not reached: redirected to /x (303)"),
        ),
        ("/web/session/authenticate", None, ("log-in", "not reached: the server hung up before its answer")),
        (
            "/web/session/authenticate",
            Reply(delay=3),
            ("log-in", "not reached: no complete answer within 2 s"),
        ),
        (
            "/web/session/get_session_info",
            odoo_error("x", "y"),
            ("session", "the session of the log-in is not known"),
        ),
        ("/websocket?version=19.0-2", Reply(400), ("websocket", "no upgrade: 400")),
        (
            "/websocket?version=19.0-2",
            lambda call: websocket_reply(call, talk=lambda handler: None),
            ("websocket", "101, but nobody answers a ping"),
        ),
        ("/web%2Fdatabase/manager", Reply(200), ("closed door", "open: /web%2Fdatabase/manager (200)")),
        ("//web/database/selector", Reply(500), ("closed door", "open: //web/database/selector (500)")),
        ("/xmlrpc/2/db", Reply(200), ("closed door", "open: /xmlrpc/2/db (200)")),
        (
            "/web/login",
            Reply(200, (("Content-Type", "a"),) * 2),
            ("log-in page", "answers 200, but not with"),
        ),
    ],
)
def test_what_is_broken_is_what_is_said(edge, path, reply, failed):
    edge.site.replies[path] = reply
    result = edge()
    name, what = failed
    assert result["failed"] is True
    assert "ok" not in {check["state"] for check in result["checks"]}
    assert what in result["msg"]
    assert {one for one in failures(result) if one[0] == name and one[1].startswith(what)}
    assert {one[0] for one in failures(result)} <= {name, "headers"}


def test_a_wrong_password(edge):
    edge.site.password = "another one"
    result = edge(fail_on_fault=False)
    assert failures(result) == {("log-in", "wrong password: Odoo refuses user admin of database main")}
    assert states(result, "session") == []
    assert states(result, "websocket") == ["ok"]


def test_all_faults_of_all_sites_in_one_message(edge):
    edge.site.replies["/health"] = edge.site.replies[BUNDLE] = Reply(404, edge.site.headers)
    result = edge(sites=[edge.one, {"name": "test", "domains": [ALIAS]}])
    lines = result["msg"].splitlines()
    assert lines[0].startswith("4 of ")
    assert [line.split(" (")[0] for line in lines[1:]] == [
        "1. main: health: answers 404",
        "2. main: asset bundle: answers 404",
        "3. test: health: answers 404",
        "4. test: asset bundle: answers 404",
    ]


def test_faults_without_failing(edge):
    edge.site.replies["/health"] = Reply(404)
    result = edge(fail_on_fault=False)
    assert (result["verified"], result.get("failed")) == (False, None)
    assert "health: answers 404" in result["message"]


@pytest.mark.parametrize("headers", [(), (("X-Content-Type-Options", "nosniff"),) * 2])
def test_headers_are_judged_on_every_kind_of_page(edge, headers):
    edge.site.headers = headers
    result = edge()
    assert states(result, "headers") == ["failed"] * 4


def test_a_limit_that_was_met_is_waited_out(edge):
    answers = iter([Reply(429), Reply(429), None])

    def limited_twice(call):
        return next(answers) or edge.site.odoo(call)

    edge.site.replies["/web/session/authenticate"] = limited_twice
    result = edge()
    assert states(result, "log-in") == ["ok"]


def test_a_limit_that_stays_is_not_waited_for_again_and_again(edge):
    edge.site.replies = {f"GET {path}": Reply(429) for path in ("/web/login", "/web/database/manager")}
    edge()
    assert sum(call.path == "/web/login" for call in edge.site.calls) == odoo_site_check.LIMITED_TRIES
    assert sum(call.path == "/web/database/manager" for call in edge.site.calls) == 1


def test_bursts_come_after_everything_else(edge):
    two = [edge.one, {**edge.one, "name": "test"}]
    result = edge(sites=two, bursts=[{"path": "/web/login", "count": 20}])
    assert result["verified"] is True
    assert [check["site"] for check in result["checks"]][-3:] == ["test", "main", "test"]
    assert [call.path for call in edge.site.calls][-40:] == ["/web/login"] * 40


def test_no_burst_at_a_site_that_is_not_reached(edge):
    result = edge(https_port=1, bursts=[{"path": "/web/login"}])
    assert [check["name"] for check in result["checks"]] == ["health", "all other checks"]


def test_no_burst_at_a_site_that_is_down(edge):
    edge.site.replies["GET /web/login"] = Reply(502)
    result = edge(bursts=[{"path": "/web/login"}])
    assert states(result, "burst of 60 POST") == []
    assert "POST /web/login" not in [f"{call.method} {call.path}" for call in edge.site.calls]


def test_a_wildcard_is_asked_by_a_name_below_it(edge, authority):
    with serve(edge.site, context=authority.context("*.example.test")) as port:
        edge.site.https_port = port
        result = edge(https_port=port, sites=[{**edge.one, "domains": ["*.example.test"]}])
    assert result["verified"] is True
    assert edge.site.calls[0].headers["Host"] == f"slipway.example.test:{port}"


def test_a_site_needs_a_name(edge):
    result = edge(sites=[{"name": "main", "domains": []}])
    assert result["msg"] == "site main has no domains: name at least one that the edge answers to"


def test_no_limit(edge):
    edge.site.write_limit = 1000
    result = edge(bursts=[{"path": "/web/login", "count": 20}])
    assert failures(result) == {("burst of 20 POST", "20 requests, none answered 429: 20 × 400")}


def test_an_odoo_that_is_still_starting_is_waited_for(edge):
    answers = iter([Reply(502), None])
    well = Reply(200, edge.site.headers, b'{"status": "pass", "db_server_status": true}')
    edge.site.replies["/health"] = lambda call: next(answers) or well
    result = edge(wait=20)
    assert result["verified"] is True
    assert result["seconds"] < 10


def test_waiting_ends(edge):
    edge.site.replies["/health"] = Reply(502)
    result = edge(wait=1)
    assert states(result, "health") == ["failed"]
    assert 1 <= result["seconds"] < 10


def test_the_password_is_not_sent_past_a_refused_certificate(edge, tmp_path):
    stranger = Authority(tmp_path)
    result = edge(ca_path=str(stranger.path), wait=20)
    assert result["seconds"] < 10
    assert {name for name, _what in failures(result)} == {"certificate"}
    assert states(result, "certificate") == ["failed", "failed"]
    assert states(result, "log-in") == ["skipped"]
    assert not any(PASSWORD.encode() in call.body for call in edge.site.calls)


def test_a_certificate_without_the_second_name(edge, authority):
    with serve(edge.site, context=authority.context(NAME)) as port:
        edge.site.https_port = port
        result = edge(https_port=port, fail_on_fault=False)
    assert states(result, "certificate") == ["ok", "failed"]
    assert states(result, "log-in") == ["ok"]


def test_a_certificate_that_soon_ends(edge):
    result = edge(minimum_days=365, fail_on_fault=False)
    assert {name for name, _what in failures(result)} == {"certificate"}
    assert states(result, "log-in") == ["ok"]


def test_certificates_need_not_be_valid(edge):
    result = edge(validate_certs=False, ca_path=None)
    assert result["verified"] is True
    assert states(result, "certificate") == ["skipped", "skipped"]
    assert states(result, "log-in") == ["ok"]


def test_the_authority_as_text(edge, authority):
    assert edge(ca_path=None, ca_content=authority.path.read_text())["verified"] is True


def test_an_authority_that_is_not_there(edge):
    result = edge(ca_path="/nonexistent/ca.pem")
    assert result["failed"] is True
    assert result["msg"].startswith("the authorities to trust cannot be read from /nonexistent/ca.pem: ")


def test_nothing_listens(edge):
    result = edge(https_port=1)
    assert failures(result) == {("health", "not reached: Connection refused")}
    assert states(result, "all other checks") == ["skipped"]


def test_a_site_that_hangs_is_given_up(edge):
    edge.site.replies = {path: Reply(delay=30) for path in ("/web/login", *edge.arguments["closed_doors"][:2])}
    started = time.monotonic()
    result = edge(timeout=0.3)
    assert time.monotonic() - started < 10
    assert result["failed"] is True
    assert "not tried: 3 requests before it got no answer in time" in result["msg"]


def test_no_plain_http(edge):
    assert states(edge(http_port=0), "redirect") == []
    assert states(edge(http_port=1), "redirect") == ["failed", "failed"]


def test_a_redirect_that_forgets_where_to(edge):
    with serve(lambda call: Reply(301, (("Location", f"https://{NAME}/"),))) as port:
        assert states(edge(http_port=port), "redirect") == ["failed", "failed"]


def test_a_name_that_does_not_resolve(edge):
    result = edge(address=None, sites=[{"name": "main", "domains": ["a" * 70 + ".test"]}])
    assert {name for name, _what in failures(result)} == {"name"}


def test_a_name_that_resolves(edge):
    result = edge(address=None, sites=[{"name": "main", "domains": ["localhost"]}])
    assert {name for name, _what in failures(result)} == {"certificate"}


def test_a_password_needs_its_database(edge):
    result = edge(sites=[{"name": "main", "domains": [NAME], "password": "x" * 12}])
    assert result["failed"] is True
    assert "database" in result["msg"]


def test_a_page_without_assets(edge):
    page = b'<html>name="login" name="password" name="csrf_token"</html>'
    edge.site.replies["/web/login"] = Reply(200, (*edge.site.headers, ("Content-Type", "text/html")), page)
    assert failures(edge()) == {("asset bundle", "the log-in page names none")}


def test_no_websocket_wanted(edge):
    assert states(edge(sites=[{**edge.one, "websocket": False}]), "websocket") == []
