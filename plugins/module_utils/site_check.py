# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge what a site answered: observations in, checks out, no network here.

What the edge, a full disk or a stopped database makes of an answer is told apart from what Odoo says:
a 429, a redirect or a 502 is a site that was not reached, never a wrong password (E31b, E34).
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from ansible_collections.slipway.odoo.plugins.module_utils.http_probe import (
    Answer,
    NoAnswer,
    Outcome,
    Upgrade,
    cookies,
)

SECONDS_PER_DAY = 86400
REDIRECTS = (301, 302, 303, 307, 308)
REFUSALS = (400, 401, 403, 404, 405, 410)
LOGIN_MARKS = ('name="login"', 'name="password"', 'name="csrf_token"')
ASSET_LINK = re.compile(r"""["'](/web/assets/[^"'\s<>]+\.(css|js))["']""")
ASSET_TYPES = {"css": ("text/css",), "js": ("application/javascript", "text/javascript")}
# A browser that gets one of these twice takes the first, the last, or neither.
SINGLE_HEADERS = (
    "Content-Security-Policy",
    "Content-Type",
    "Cross-Origin-Opener-Policy",
    "Permissions-Policy",
    "Referrer-Policy",
    "Strict-Transport-Security",
    "X-Content-Type-Options",
    "X-Frame-Options",
)
DOORS = (
    "/web/database/manager",
    "/web/database/selector",
    "/web/database/list",
    "/xmlrpc/db",
    "/xmlrpc/2/db",
    "/jsonrpc",
)
ODOO_LOG = "read Odoo's log (/var/log/odoo/<instance>/odoo.log)"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: ``ok``, ``failed`` or ``skipped``. ``todo`` is empty unless it failed."""

    site: str
    name: str
    state: str
    what: str
    where: str
    todo: str = ""

    @property
    def text(self) -> str:
        """One line for people."""
        line = f"{self.site}: {self.name}: {self.what} ({self.where})"
        return f"{line}. {self.todo}" if self.todo else line


@dataclass(frozen=True)
class Subject:
    """What a check is about: the site, the check's name, and the URL with the address that was asked."""

    site: str
    name: str
    where: str

    def ok(self, what: str) -> Check:
        """Return a check that passed."""
        return Check(site=self.site, name=self.name, state="ok", what=what, where=self.where)

    def failed(self, what: str, todo: str) -> Check:
        """Return a check that failed."""
        return Check(site=self.site, name=self.name, state="failed", what=what, where=self.where, todo=todo)

    def skipped(self, why: str) -> Check:
        """Return a check that was not made."""
        return Check(site=self.site, name=self.name, state="skipped", what=why, where=self.where)


@dataclass(frozen=True)
class Trouble:
    """Why an outcome is not Odoo's own word, and what to do about it."""

    what: str
    todo: str


def word_of_odoo(outcome: Outcome) -> Answer | Trouble:
    """Return the answer where it may be Odoo's own, or else why Odoo was not reached."""
    if isinstance(outcome, NoAnswer):
        return Trouble(what=f"not reached: {outcome.reason}", todo=_NO_ANSWER_TODO[outcome.kind])
    if outcome.status == 429:
        return Trouble(what="not reached: the edge limits the rate (429)", todo="Wait a minute, or raise the limit.")
    if outcome.status in (502, 503, 504):
        what = f"not reached: the edge gets no answer from Odoo ({outcome.status})"
        return Trouble(what=what, todo=f"See systemctl status 'odoo@*' on the application host and {ODOO_LOG}.")
    if outcome.status in REDIRECTS:
        target = outcome.value("Location") or "nowhere"
        what = f"not reached: redirected to {target} ({outcome.status})"
        return Trouble(what=what, todo="Let the edge pass this path on to Odoo.")
    return outcome


_NO_ANSWER_TODO = {
    "connect": "Start the edge's web server and let the port through.",
    "timeout": f"Look at the load of the edge and of the application host, and {ODOO_LOG}.",
    "certificate": "Give the site a certificate for this name from a trusted authority, or name that "
    "authority (ca_path); where it is not yet valid or has just ended, look at the clocks too.",
    "tls": "Look at the TLS settings and the error log of the edge.",
    "closed": "Look at the error log of the edge.",
    "protocol": "Find out what listens there: it is no web server.",
}


def certificate(
    *,
    subject: Subject,
    outcome: Mapping[str, Any] | NoAnswer,
    now: float,
    minimum_days: int,
    verified: bool = True,
) -> Check:
    """Judge what the TLS handshake brought; ``now`` is in seconds since 1970."""
    if isinstance(outcome, NoAnswer):
        return subject.failed(outcome.reason, _NO_ANSWER_TODO[outcome.kind])
    if not verified:
        return subject.skipped("not verified, as asked (validate_certs)")
    days = int((ssl.cert_time_to_seconds(outcome["notAfter"]) - now) // SECONDS_PER_DAY)
    if days < minimum_days:
        return subject.failed(
            f"the certificate ends in {days} days, at least {minimum_days} are wanted",
            "Renew it, and find out why it was not renewed by itself.",
        )
    return subject.ok(f"verified, {days} days left")


def redirect(*, subject: Subject, outcome: Outcome, targets: Sequence[str]) -> Check:
    """Judge whether plain HTTP leads to one of the ``targets``: the same path and query over HTTPS."""
    todo = "Let the edge answer plain HTTP with a permanent redirect to https:// that keeps path and query."
    if isinstance(outcome, NoAnswer):
        return subject.failed(f"not reached: {outcome.reason}", _NO_ANSWER_TODO[outcome.kind])
    if outcome.status not in REDIRECTS:
        return subject.failed(f"no redirect: {outcome.status}", todo)
    target = outcome.value("Location")
    if target not in targets:
        return subject.failed(f"redirects to {target or 'nowhere'} and not to {targets[0]}", todo)
    return subject.ok(f"redirects to HTTPS ({outcome.status})")


def health(*, subject: Subject, outcome: Outcome) -> Check:
    """Judge whether the health page says that Odoo and its database server are well, and means it (E30)."""
    said = _json_object(outcome) if isinstance(outcome, Answer) else {}
    if isinstance(outcome, Answer) and said.get("db_server_status") is False:
        return subject.failed(
            f"Odoo runs, its database server does not answer ({outcome.status})",
            "See systemctl status 'postgresql@*' on the database host, and the connection settings.",
        )
    if isinstance(outcome, Answer) and said.get("status") == "fail":
        return subject.failed(
            f"Odoo or its database server is not well ({outcome.status})",
            "See systemctl status 'odoo@*' on the application host and 'postgresql@*' on the database host.",
        )
    answer = word_of_odoo(outcome)
    if isinstance(answer, Trouble):
        return subject.failed(answer.what, answer.todo)
    if answer.status != 200:
        return subject.failed(f"answers {answer.status}", _capital(f"{ODOO_LOG}."))
    if said.get("status") != "pass" or said.get("db_server_status") is not True:
        return subject.failed(
            "answers 200, but not Odoo's word that its database server is well",
            "Let the edge pass it on to /web/health?db_server_status=1: a fixed answer says nothing.",
        )
    return subject.ok("Odoo and its database server are well")


def login_page(*, subject: Subject, outcome: Outcome) -> Check:
    """Judge whether this is Odoo's log-in page."""
    if isinstance(outcome, Answer) and "/web/database/" in outcome.value("Location"):
        return subject.failed(
            "Odoo does not know which database belongs to this name",
            "Set db_name or dbfilter of the instance so that just one database matches.",
        )
    answer = word_of_odoo(outcome)
    if isinstance(answer, Trouble):
        return subject.failed(answer.what, answer.todo)
    if answer.status != 200:
        return subject.failed(f"answers {answer.status}", _capital(f"{ODOO_LOG}."))
    missing = [mark for mark in LOGIN_MARKS if mark not in answer.text]
    if missing or not answer.value("Content-Type").startswith("text/html"):
        return subject.failed(
            "answers 200, but not with Odoo's log-in form",
            "Find out what answers there: it is not this Odoo.",
        )
    return subject.ok(f"Odoo's log-in page ({answer.elapsed * 1000:.0f} ms)")


def asset_links(*, page: Answer) -> tuple[str, ...]:
    """Return the first style sheet and the first script that the page takes from Odoo's asset bundles."""
    first: dict[str, str] = {}
    for link, kind in ASSET_LINK.findall(page.text):
        first.setdefault(kind, link)
    return tuple(first[kind] for kind in sorted(first))


def asset(*, subject: Subject, link: str, outcome: Outcome) -> Check:
    """Judge whether an asset bundle arrives, whole and as what it is."""
    answer = word_of_odoo(outcome)
    if isinstance(answer, Trouble):
        return subject.failed(answer.what, answer.todo)
    todo = "Regenerate the assets; with X-Accel, let the edge read the instance's filestore."
    if answer.status != 200:
        return subject.failed(f"answers {answer.status}", todo)
    kind = answer.value("Content-Type").split(";")[0].strip()
    if kind not in ASSET_TYPES[link.rsplit(".", 1)[-1]]:
        return subject.failed(f"comes as {kind or 'nothing in particular'}", todo)
    if not answer.body:
        return subject.failed("is empty", todo)
    return subject.ok(f"{len(answer.body) / 1000:.0f} kB of {kind}")


def login(*, subject: Subject, outcome: Outcome, user: str, database: str) -> Check:
    """Judge the answer of ``/web/session/authenticate``: only Odoo's own AccessDenied is a wrong password."""
    answer = word_of_odoo(outcome)
    if isinstance(answer, Trouble):
        return subject.failed(answer.what, answer.todo)
    said = _json_object(answer)
    if answer.status != 200 or not ("result" in said or "error" in said):
        return subject.failed(
            f"not reached: answers {answer.status}, and not in JSON-RPC",
            f"Find out what answers there, and {ODOO_LOG}.",
        )
    if "error" in said:
        return _login_error(subject=subject, error=said["error"], user=user, database=database)
    result = said["result"] if isinstance(said["result"], dict) else {}
    if not isinstance(result.get("uid"), int) or isinstance(result.get("uid"), bool):
        return subject.failed(
            f"the password of {user} is right, but Odoo asks for a second factor",
            "Check with a user of its own that has no second factor, or without a password.",
        )
    return subject.ok(f"logged in as {user} (user {result['uid']}, {answer.elapsed * 1000:.0f} ms)")


def _login_error(*, subject: Subject, error: Any, user: str, database: str) -> Check:
    data = error.get("data") if isinstance(error, dict) else None
    name = str(data.get("name", "")) if isinstance(data, dict) else ""
    message = str(data.get("message", "")) if isinstance(data, dict) else ""
    if name == "odoo.exceptions.AccessDenied" and "too many" not in message.lower():
        return subject.failed(
            f"wrong password: Odoo refuses user {user} of database {database}",
            "Give the password that is in use, or set the wanted one in the database.",
        )
    if name == "odoo.exceptions.AccessDenied":
        return subject.failed(
            "not tried by Odoo: too many failed log-ins from this address",
            "Wait a minute (base.login_cooldown_duration), and find out who fails to log in.",
        )
    if name == "odoo.exceptions.AccessError":
        return subject.failed(
            f"Odoo does not serve database {database} under this name",
            "Set db_name or dbfilter of the instance, and see that the database exists.",
        )
    if name.startswith("psycopg2."):
        return subject.failed(
            f"not reached: Odoo has no connection to database {database} ({name})",
            f"See systemctl status 'postgresql@*' on the database host, its pg_hba.conf, and {ODOO_LOG}.",
        )
    return subject.failed(f"Odoo fails ({name or 'an unnamed error'})", _capital(f"{ODOO_LOG}."))


def session(*, subject: Subject, logged_in: Answer, outcome: Outcome) -> Check:
    """Judge whether the log-in's cookie carries a session, and is kept from scripts and plain HTTP."""
    answer = word_of_odoo(outcome)
    if isinstance(answer, Trouble):
        return subject.failed(answer.what, answer.todo)
    lines = [line for line in logged_in.values("Set-Cookie") if line.startswith("session_id=")]
    if not lines or "session_id" not in cookies(answer=logged_in):
        return subject.failed("the log-in sets no cookie session_id", "Let the edge pass Set-Cookie on.")
    if "result" not in _json_object(answer):
        return subject.failed(
            "the session of the log-in is not known to the next request",
            "Keep the directory data_dir/sessions in place and, with several application hosts, shared.",
        )
    flags = {part.strip().lower() for part in lines[-1].split(";")[1:]}
    missing = [flag for flag in ("Secure", "HttpOnly") if flag.lower() not in flags]
    if missing:
        return subject.failed(
            f"the session cookie lacks {' and '.join(missing)}",
            "Add the flags at the edge (nginx: proxy_cookie_flags session_id secure httponly samesite=lax).",
        )
    return subject.ok("the session cookie holds, Secure and HttpOnly")


def websocket(*, subject: Subject, outcome: Upgrade | NoAnswer) -> Check:
    """Judge whether the websocket was opened and answers: Odoo's gevent worker is behind it."""
    todo = "Let the edge pass /websocket on to the gevent port, with Upgrade and Connection (workers > 0)."
    if isinstance(outcome, NoAnswer):
        return subject.failed(f"not reached: {outcome.reason}", _NO_ANSWER_TODO[outcome.kind])
    if outcome.answer.status != 101:
        return subject.failed(f"no upgrade: {outcome.answer.status}", todo)
    if not outcome.accepted:
        return subject.failed("101, but the handshake is not answered rightly (Sec-WebSocket-Accept)", todo)
    if not outcome.ponged:
        return subject.failed("101, but nobody answers a ping", todo)
    return subject.ok("101, and a ping is answered")


def spellings(*, path: str) -> tuple[str, ...]:
    """Return the ways to write a door's path that a careless edge lets through and Odoo still understands."""
    head, tail = path[1:].split("/", 1) if "/" in path[1:] else ("", path[1:])
    encoded = f"%{ord(tail[0]):02x}{tail[1:]}"
    lead = f"/{head}" if head else ""
    written = [path, path + "/", "/" + path, f"{lead}/{encoded}"]
    if head:
        written += [f"{lead}//{tail}", f"{lead}%2F{tail}"]
    return tuple(written)


def door_request(*, path: str) -> tuple[str, dict[str, str], bytes]:
    """Return method, headers and body that a door understands, changing nothing behind it."""
    if path.startswith("/xmlrpc"):
        body = b"<?xml version='1.0'?><methodCall><methodName>list</methodName><params/></methodCall>"
        return "POST", {"Content-Type": "text/xml"}, body
    if path == "/jsonrpc":
        return "POST", {"Content-Type": "application/json"}, json_rpc(service="db", method="list", args=[])
    if path == "/web/database/list":
        return "POST", {"Content-Type": "application/json"}, json_rpc()
    return "GET", {}, b""


def door(*, subject: Subject, path: str, outcomes: Sequence[tuple[str, Outcome]]) -> Check:
    """Judge whether a door is closed however its path is written; ``outcomes`` go with each spelling."""
    left = [(written, outcome) for written, outcome in outcomes if not _is_closed(path, outcome)]
    opened = [f"{written} ({outcome.status})" for written, outcome in left if _is_told(outcome)]
    if opened:
        return subject.failed(f"open: {', '.join(opened)}", "Close it at the edge, and set list_db = False.")
    if left:
        written, outcome = left[0]
        found = word_of_odoo(outcome)
        return subject.failed(f"not known to be closed: {written} was {found.what}", found.todo)
    return subject.ok(f"closed in {len(outcomes)} spellings")


def _is_told(outcome: Outcome) -> bool:
    """Tell whether an outcome says anything about a door: silence and a rate limit do not."""
    return isinstance(outcome, Answer) and outcome.status != 429


def _is_closed(path: str, outcome: Outcome) -> bool:
    if isinstance(outcome, NoAnswer):
        return outcome.kind == "closed"
    if outcome.status in REFUSALS:
        return True
    if outcome.status in REDIRECTS:
        # To the door's own plain path, which is asked as well.
        target = re.sub("/+", "/", unquote(urlsplit(outcome.value("Location")).path)).rstrip("/")
        return target == path
    if path == "/jsonrpc" and outcome.status == 200:
        # The edge cannot see which service a body asks for: here Odoo's own refusal (list_db) counts.
        error = _json_object(outcome).get("error")
        data = error.get("data") if isinstance(error, dict) else None
        return isinstance(data, dict) and data.get("name") == "odoo.exceptions.AccessDenied"
    return False


def headers(*, subject: Subject, answer: Answer, expected: Mapping[str, str | None]) -> Check:
    """Judge whether each expected header is there just once with its value.

    An empty value stands for any, None for a header that must not be there. No header of
    ``SINGLE_HEADERS`` may come twice, expected or not.
    """
    wrong = []
    for name, value in expected.items():
        found = answer.values(name)
        if value is None:
            wrong += [f"{name} is there"] if found else []
        elif not found:
            wrong.append(f"{name} is missing")
        elif len(found) == 1 and value and " ".join(found[0].split()) != " ".join(value.split()):
            wrong.append(f"{name} is {found[0]}")
    names = dict.fromkeys((*SINGLE_HEADERS, *(name for name, value in expected.items() if value is not None)))
    doubled = {name.lower(): name for name in names if len(answer.values(name)) > 1}
    wrong += [f"{name} comes {len(answer.values(name))} times" for name in doubled.values()]
    if wrong:
        return subject.failed(
            "; ".join(wrong),
            "Set each header in one place: hide Odoo's at the edge, add the edge's in every location (always).",
        )
    return subject.ok(f"{len(expected)} headers as wanted, none doubled")


def burst(*, subject: Subject, outcomes: Sequence[Outcome], expected_status: int) -> Check:
    """Judge whether a burst of requests was limited, and limited with the wanted status."""
    answers = [outcome for outcome in outcomes if isinstance(outcome, Answer)]
    counts: dict[str, int] = {}
    for outcome in outcomes:
        key = str(outcome.status) if isinstance(outcome, Answer) else outcome.reason
        counts[key] = counts.get(key, 0) + 1
    seen = ", ".join(f"{count} × {key}" for key, count in sorted(counts.items()))
    limited = [answer for answer in answers if answer.status == expected_status]
    if not limited:
        return subject.failed(
            f"{len(outcomes)} requests, none answered {expected_status}: {seen}",
            f"Limit the rate at the edge (nginx: limit_req, and limit_req_status {expected_status}).",
        )
    broken = [answer.status for answer in answers if answer.status >= 500 and answer.status != expected_status]
    if broken or len(answers) < len(outcomes):
        return subject.failed(
            f"the burst broke something: {seen}", f"Look at the error log of the edge, and {ODOO_LOG}."
        )
    unclear = [answer.value("Retry-After") for answer in limited if not _is_retry_after(answer)]
    if unclear:
        return subject.failed(f"Retry-After is {unclear[0]}", "Let it be a number of seconds or a date.")
    return subject.ok(seen)


def _is_retry_after(answer: Answer) -> bool:
    """Tell whether Retry-After, if it is there, is what RFC 9110 allows."""
    value = answer.value("Retry-After")
    return not value or value.isdigit() or bool(re.match(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$", value))


def websocket_version(*, page: Answer) -> str:
    """Return the version that Odoo's own websocket worker would give; empty where the page does not tell."""
    found = re.search(r'"websocket_worker_version": "([\w.-]+)"', page.text)
    return found.group(1) if found else ""


def json_rpc(**params: Any) -> bytes:
    """Return the body of a JSON-RPC call as Odoo's routes take it."""
    return json.dumps({"jsonrpc": "2.0", "method": "call", "id": 1, "params": params}).encode("utf-8")


def report(*, checks: Iterable[Check]) -> str:
    """Return the failed checks as one numbered text, or what was verified when none failed."""
    checks = tuple(checks)
    failed = [check for check in checks if check.state == "failed"]
    if failed:
        lines = [f"{number}. {check.text}" for number, check in enumerate(failed, start=1)]
        return "\n".join([f"{len(failed)} of {len(checks)} checks failed:", *lines])
    passed = sum(check.state == "ok" for check in checks)
    skipped = [f"{check.name}: {check.what}" for check in checks if check.state == "skipped"]
    line = f"{passed} checks passed"
    return f"{line}; not checked: {', '.join(skipped)}" if skipped else line


def _json_object(answer: Answer) -> dict[str, Any]:
    try:
        said = json.loads(answer.text)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
