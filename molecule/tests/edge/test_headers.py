"""Security headers"""

from __future__ import annotations

import re
import uuid

import pytest
from edge_lab import ODOO, PROBE
from edge_wire import Answer, ask

NAMES = (
    "X-Content-Type-Options",
    "X-Frame-Options",
    "Referrer-Policy",
    "Content-Security-Policy-Report-Only",
    "Strict-Transport-Security",
)
STATIC = "/web/static/img/logo.png"


def not_modified() -> Answer:
    first = ask(STATIC, site=ODOO)
    return ask(STATIC, headers=[("If-None-Match", first.value("ETag"))], site=ODOO)


def too_many(address: str) -> Answer:
    return [ask("/single/", source=address) for _number in range(3)][-1]


@pytest.mark.parametrize(
    ("what", "status"),
    [
        ("Odoo's log-in page", 200),
        ("a static file of Odoo", 200),
        ("a file that the browser has", 304),
        ("a closed path", 403),
        ("Odoo's page for what is not there", 404),
        ("a body that is too large", 413),
        ("a request over its limit", 429),
        ("a failure of the application", 500),
        ("an application that hangs up", 502),
        ("maintenance", 503),
        ("an application that is too slow", 504),
        ("a redirect of the application", 303),
    ],
)
def test_all_are_there_once(application, maintenance, request, observed, what: str, status: int) -> None:
    """{what} ({status}) has every security header once."""
    asked = {
        "Odoo's log-in page": lambda: ask("/web/login", site=ODOO),
        "a static file of Odoo": lambda: ask(STATIC, site=ODOO),
        "a file that the browser has": not_modified,
        "a closed path": lambda: ask("/web/database/manager", site=ODOO),
        "Odoo's page for what is not there": lambda: ask("/nothing/here", site=ODOO),
        "a body that is too large": lambda: ask("/x", "POST", body=b"x" * (2**21 + 1)),
        "a request over its limit": lambda: too_many(request.getfixturevalue("nobody")),
        "a failure of the application": lambda: ask("/x?status=500"),
        "an application that hangs up": lambda: ask("/x?reset=1"),
        "an application that is too slow": lambda: ask("/x?delay=4"),
        "a redirect of the application": lambda: ask("/x?status=303&header=Location:/y"),
    }
    if what == "maintenance":
        with maintenance("probe"):
            answer = ask("/x")
    else:
        answer = asked[what]()
    assert answer.status == status
    counts = {name: len(answer.values(name)) for name in NAMES}
    assert counts == dict.fromkeys(NAMES, 1)
    observed(f"{status}, {len(NAMES)} headers once each")


def test_values(application, observed) -> None:
    """The headers have the values of the policy, HSTS the seconds it is staged at."""
    answer = ask("/x")
    assert answer.value("X-Content-Type-Options") == "nosniff"
    assert answer.value("X-Frame-Options") == "SAMEORIGIN"
    assert answer.value("Referrer-Policy") == "strict-origin-when-cross-origin"
    assert answer.value("Strict-Transport-Security") == "max-age=300"
    observed(answer.value("Strict-Transport-Security"))


def test_the_application_comes_first(application, observed) -> None:
    """Where the application sends a header itself, its value is the only one."""
    own = [
        ("X-Frame-Options", "DENY"),
        ("Referrer-Policy", "no-referrer"),
        ("Content-Security-Policy", "default-src none"),
    ]
    query = "&".join(f"header={name}:{value.replace(' ', '%20')}" for name, value in own)
    answer = ask(f"/x?{query}")
    assert {name: answer.values(name) for name, _value in own} == {name: [value] for name, value in own}
    observed("X-Frame-Options: DENY, once")


def test_csp_is_only_reported(application, log_of, observed) -> None:
    """The Content-Security-Policy refuses nothing yet, and what browsers report of it is in a log."""
    answer = ask("/x")
    assert answer.values("Content-Security-Policy") == []
    place = re.search(r"report-uri (\S+)", answer.value("Content-Security-Policy-Report-Only")).group(1)
    mark = uuid.uuid4().hex
    report = f'{{"csp-report": {{"blocked-uri": "https://{mark}.example"}}}}'.encode()
    thanks = ask(place, "POST", [("Content-Type", "application/csp-report")], report)
    assert thanks.status in (200, 204)
    (line,) = log_of(mark, kind="csp")
    assert mark in str(line)
    assert application.of(mark) == []
    assert ask(place, "POST", body=b"x" * 200_000).status == 413
    observed(f"report answered {thanks.status} and written")


def test_plain_http_has_no_hsts(observed) -> None:
    """An answer over plain HTTP carries no HSTS, which browsers would ignore there."""
    answer = ask("/x", site=PROBE, tls=False)
    assert answer.values("Strict-Transport-Security") == []
    observed(str(answer.status))


def test_no_version_is_told(application, observed) -> None:
    """No answer tells the version of the server or of the application's."""
    for answer in (ask("/x"), ask("/web/database/manager"), ask("/x", tls=False), ask("/web/login", site=ODOO)):
        assert not re.search(r"\d", answer.value("Server")), answer.value("Server")
        assert answer.values("X-Powered-By") == []
        assert not re.search(rb"(?i)nginx/\d|caddy/\d|caddy v\d", answer.body)
    observed("none")


def test_cookies_are_secure(observed) -> None:
    """Odoo's session cookie goes over HTTPS only, to no script, and to no other site's forms."""
    cookies = [value for value in ask("/web/login", site=ODOO).values("Set-Cookie") if value.startswith("session_id=")]
    (cookie,) = cookies
    flags = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"secure", "httponly", "samesite=lax"} <= flags
    observed("Secure, HttpOnly, SameSite=Lax")
