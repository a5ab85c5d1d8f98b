# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ask an API for its contract: log in where that is needed, ask again what may pass, and tell apart who answers.

A limit, a redirect or a gateway's error is not the API's answer, whatever headers it carries (E34). Redirects
are not followed: secrets go to the origin that was named, and nowhere else.
"""

from __future__ import annotations

import calendar
import dataclasses
import email.utils
import json
import re
import ssl
import time
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode, urlsplit

from ansible_collections.slipway.odoo.plugins.module_utils.api_contract import (
    Value,
    invalid,
    missing,
    quote,
    version_of,
)
from ansible_collections.slipway.odoo.plugins.module_utils.api_contract_files import UnreadableError, parse_json
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.http_probe import (
    BODY_LIMIT,
    Answer,
    NoAnswer,
    Outcome,
    Place,
    cookies,
    request,
)
from ansible_collections.slipway.odoo.plugins.module_utils.name_lookup import look_up

LOOKUP_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 10.0
AUTHENTICATE, DESTROY = "/web/session/authenticate", "/web/session/destroy"
REDIRECTS = (301, 302, 303, 307, 308)
#: What the same request may not meet again a little later.
PASSING = {
    408: "it waited for the request in vain",
    425: "it is too early for it",
    429: "it limits the rate",
    502: "the web server gets no answer from the application",
    503: "it is not available",
    504: "the application does not answer the web server in time",
}
REFUSALS = {
    401: "it does not accept the log-in or the key",
    403: "it does not allow this",
    404: "there is nothing under this path",
    405: "it does not take this method here",
    407: "a proxy wants a log-in",
    422: "it does not take these arguments",
}
_PASSING_FAILURES = ("connect", "timeout", "closed")
#: OpenSSL's words for a certificate that none of the known authorities stands for.
_UNTRUSTED = re.compile(r"issuer certificate|self.signed certificate|unable to verify the first certificate")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PRINTABLE = re.compile(r"[\t -~]*")
#: What options of their own are for, so that it is kept out of logs and off plain HTTP.
_SECRET_HEADERS = ("Authorization", "Cookie", "Proxy-Authorization")
_OWN_HEADERS = ("Connection", "Content-Length", "Host", "Transfer-Encoding", "Upgrade")


@dataclasses.dataclass(frozen=True)
class Address:
    """A URL, taken apart."""

    tls: bool
    name: str
    port: int
    path: str

    def place(self, address: str) -> Place:
        """Where to connect to for it."""
        return Place(name=self.name, address=address, port=self.port, tls=self.tls)

    @property
    def origin(self) -> str:
        """Scheme, name and port."""
        return self.place("").origin

    @property
    def shown(self) -> str:
        """The URL for people: without its query, which may hold secrets."""
        return self.origin + self.path.partition("?")[0]


@dataclasses.dataclass(frozen=True)
class Login:
    """How to get a session: Odoo's own log-in, or a form. ``form`` is where the form is; None stands for Odoo."""

    user: str
    password: str = dataclasses.field(repr=False)
    database: str = ""
    form: Address | None = None
    user_field: str = ""
    password_field: str = ""


@dataclasses.dataclass(frozen=True)
class Question:
    """What to ask. With a body it is a POST of JSON."""

    address: Address
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    api_key: str | None = dataclasses.field(default=None, repr=False)
    login: Login | None = None


@dataclasses.dataclass(frozen=True)
class Unreachable:
    """Why the API itself gave no answer, whether that may pass, and how long it asked to wait (seconds)."""

    reason: str
    passing: bool = False
    retry_after: float = 0.0


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to ask: the addresses to connect to by name, seconds for each request, seconds for all waiting."""

    addresses: Mapping[str, str]
    context: ssl.SSLContext
    timeout: float
    wait: float


def address_of(url: str) -> Address:
    """Take a URL apart.

    :raises SlipwayError: it is none of HTTP, or holds what does not belong there
    """
    try:
        parts = urlsplit(url)
        name, port = parts.hostname, parts.port
    except ValueError as error:
        raise SlipwayError("url is no URL: its name or port cannot be") from error
    if parts.username is not None:
        raise SlipwayError("url holds a user: give user and password with login, where they are kept secret")
    if parts.scheme not in ("http", "https") or not name or port == 0:
        raise SlipwayError("url is no URL to ask: it must begin with https:// (or http://) and a name")
    if parts.fragment or not re.fullmatch("[!-~]+", url):
        raise SlipwayError("url is no URL to ask: encode spaces and what is not ASCII, leave out what follows a #")
    tls = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Address(tls=tls, name=name, port=port or (443 if tls else 80), path=path)


def require_headers(headers: Mapping[str, Any]) -> dict[str, str]:
    """Return request headers as texts.

    :raises SlipwayError: one cannot be sent, or is a secret that has an option of its own
    """
    checked = {}
    for name, value in headers.items():
        title = str(name).title()
        if title in _SECRET_HEADERS:
            raise SlipwayError(f"headers must not hold {title}: use api_key or login, which are kept secret")
        if title in _OWN_HEADERS:
            raise SlipwayError(f"headers must not hold {title}: it follows from url and body")
        if not _TOKEN.fullmatch(title) or not _PRINTABLE.fullmatch(str(value)):
            raise SlipwayError(f"the header {quote(title)} has a name or value that cannot be sent")
        checked[title] = str(value)
    return checked


def require_private(question: Question, *, plain_http: bool) -> None:
    """:raises SlipwayError: a secret would be sent in the clear, to another origin, or cannot be sent at all"""
    login, where = question.login, question.address
    if question.api_key is not None and not re.fullmatch("[!-~]+", question.api_key):
        raise SlipwayError(f"the api_key for {where.shown} is empty or has white space or line breaks in it")
    if login and login.form and login.form.origin != where.origin:
        raise SlipwayError(
            f"the log-in form {login.form.shown} is not of {where.origin}, which would get its cookies: "
            "log in where the API is"
        )
    if (question.api_key is not None or login) and not where.tls and not plain_http:
        raise SlipwayError(
            f"a secret would go to {where.origin} over plain HTTP: use https://, or set allow_plain_http "
            "where nobody can listen"
        )


def judge(outcome: Outcome, *, now: float, accept: tuple[int, ...] = ()) -> Unreachable | None:
    """Tell why an outcome is not the API's own answer; None when it is.

    :param now: seconds since 1970, for a Retry-After that names a time.
    :param accept: statuses whose answers are wanted, whatever they say.
    """
    if isinstance(outcome, NoAnswer):
        untrusted = outcome.kind == "certificate" and _UNTRUSTED.search(outcome.reason)
        hint = ": name the authority that signed the certificate with ca_path or ca_content" if untrusted else ""
        return Unreachable(outcome.reason + hint, passing=outcome.kind in _PASSING_FAILURES)
    status = outcome.status
    if status in accept:
        return None
    if status in REDIRECTS:
        target = outcome.value("Location").partition("?")[0]
        return Unreachable(f"redirects ({status}) to {quote(target)}")
    if status in PASSING:
        wait = retry_after(outcome.value("Retry-After"), now=now)
        return Unreachable(f"answers {status}: {PASSING[status]}", passing=True, retry_after=wait)
    if not 200 <= status < 300:
        return Unreachable(f"answers {status}" + (f": {REFUSALS[status]}" if status in REFUSALS else ""))
    error = odoo_error(outcome)
    return Unreachable(f"Odoo answers with the error {error[0]}") if error else None


def retry_after(value: str, *, now: float) -> float:
    """Seconds that a Retry-After header asks to wait, given as a number or as a date (RFC 9110); 0 for neither."""
    if value.strip().isdecimal():
        return float(value)
    parsed = email.utils.parsedate(value)
    try:
        return max(0.0, calendar.timegm(parsed) - now) if parsed else 0.0
    except (ValueError, OverflowError):
        return 0.0


def odoo_error(answer: Answer) -> tuple[str, str] | None:
    """Name and message of the exception in a JSON-RPC answer, which Odoo sends with status 200."""
    if b'"jsonrpc"' not in answer.body:
        return None
    try:
        said = json.loads(answer.text)
    except (ValueError, RecursionError):
        return None
    error = said.get("error") if isinstance(said, dict) else None
    if not error:
        return None
    data = error.get("data") if isinstance(error, dict) else None
    data = data if isinstance(data, dict) else {}
    return str(data.get("name") or "without a name")[:100], str(data.get("message") or "")


def header_version(answer: Answer, *, name: str) -> Value:
    """Take a version out of a header, which may be there several times if it always says the same."""
    values = {value.strip() for value in answer.values(name)}
    if not values:
        return missing(f"answers {answer.status} without the header {name}")
    if len(values) > 1:
        return invalid(f"the header {name} is there several times, with {len(values)} different values")
    return version_of(values.pop())


def json_body(answer: Answer) -> Any:
    """Parse the body of an answer.

    :raises UnreadableError: it is no JSON
    """
    if len(answer.body) >= BODY_LIMIT:
        raise UnreadableError(invalid(f"answers with {BODY_LIMIT // 1024 // 1024} MiB or more"))
    encoding = answer.value("Content-Encoding")
    if encoding.lower() not in ("", "identity"):
        raise UnreadableError(invalid(f"answers with a body encoded as {quote(encoding)}, without being asked to"))
    try:
        text = answer.body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableError(invalid("answers with a body that is not UTF-8")) from error
    return parse_json(text)


class Client:
    """Asks questions, and logs in once for all of them that share a log-in."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.deadline = time.monotonic() + settings.wait
        self.found: dict[str, tuple[str, ...]] = {}
        self.sessions: dict[tuple[str, Login], dict[str, str] | Unreachable] = {}

    def ask(self, question: Question) -> Answer | Unreachable:
        """Return the API's answer, or why there is none after all the waiting."""
        headers = {"Accept": "application/json", **question.headers}
        if question.login:
            session = self._session(question.address, question.login)
            if isinstance(session, Unreachable):
                return dataclasses.replace(session, reason=f"log-in: {session.reason}")
            headers.update(_cookie(session))
        if question.api_key:
            headers["Authorization"] = f"Bearer {question.api_key}"
        body = b""
        if question.body is not None:
            headers.setdefault("Content-Type", "application/json")
            body = json.dumps(question.body).encode()
        method = "GET" if question.body is None else "POST"
        return self._insist(question.address, method=method, headers=headers, body=body)

    def close(self) -> None:
        """End the sessions of Odoo that were begun; others end by themselves."""
        for (origin, login), session in self.sessions.items():
            if login.form is None and isinstance(session, dict):
                address = address_of(origin + DESTROY)
                self._once(address, method="POST", headers=_json_headers(session), body=_call({}))
        self.sessions.clear()

    def _insist(
        self,
        address: Address,
        *,
        method: str = "GET",
        headers: Mapping[str, str],
        body: bytes = b"",
        accept: tuple[int, ...] = (),
    ) -> Answer | Unreachable:
        """Ask again what may pass, for as long as all questions together may wait."""
        started, pause, tries = time.monotonic(), 1.0, 1
        while True:
            outcome = self._once(address, method=method, headers=headers, body=body)
            trouble = outcome if isinstance(outcome, Unreachable) else judge(outcome, now=time.time(), accept=accept)
            if trouble is None:
                return outcome
            delay = max(pause, trouble.retry_after)
            if not trouble.passing or time.monotonic() + delay > self.deadline:
                break
            time.sleep(delay)
            pause, tries = min(2 * pause, LONGEST_PAUSE_SECONDS), tries + 1
        if tries == 1:
            return trouble
        seconds = time.monotonic() - started
        return dataclasses.replace(trouble, reason=f"{trouble.reason} (asked {tries} times in {seconds:.0f} s)")

    def _once(self, address: Address, *, method: str, headers: Mapping[str, str], body: bytes) -> Outcome | Unreachable:
        """Ask once, at each address of the name until one takes the connection."""
        addresses = self._addresses(address.name)
        if isinstance(addresses, Unreachable):
            return addresses
        for one in addresses:
            outcome = request(
                place=address.place(one),
                path=address.path,
                method=method,
                headers=headers,
                body=body,
                context=self.settings.context,
                timeout=self.settings.timeout,
            )
            if not (isinstance(outcome, NoAnswer) and outcome.kind == "connect"):
                break
        return outcome

    def _addresses(self, name: str) -> tuple[str, ...] | Unreachable:
        given = self.settings.addresses.get(name.lower())
        if given:
            return (given,)
        if name not in self.found:
            result = look_up(names=[name], timeout=LOOKUP_SECONDS)[0]
            if not result.addresses:
                return Unreachable(f"the name {name} does not resolve ({result.error})", passing=True)
            self.found[name] = result.addresses
        return self.found[name]

    def _session(self, address: Address, login: Login) -> dict[str, str] | Unreachable:
        key = (address.origin, login)
        if key not in self.sessions:
            self.sessions[key] = self._log_in_by_form(login) if login.form else self._log_in_to_odoo(address, login)
        return self.sessions[key]

    def _log_in_to_odoo(self, address: Address, login: Login) -> dict[str, str] | Unreachable:
        where = address_of(address.origin + AUTHENTICATE)
        params = {"db": login.database, "login": login.user, "password": login.password}
        answer = self._insist(where, method="POST", headers=_json_headers({}), body=_call(params), accept=(200,))
        if isinstance(answer, Unreachable):
            return answer
        return odoo_session(answer, user=login.user, database=login.database)

    def _log_in_by_form(self, login: Login) -> dict[str, str] | Unreachable:
        """Fill the form in as a browser does, with its hidden fields (a token against forged requests)."""
        form = login.form
        if form is None:
            raise ValueError("there is no form")
        page = self._insist(form, headers={"Accept": "text/html"})
        if isinstance(page, Unreachable):
            return page
        jar = cookies(answer=page)
        fields = hidden_fields(page.text, password_field=login.password_field)
        fields.update({login.user_field: login.user, login.password_field: login.password})
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Origin": form.origin, **_cookie(jar)}
        body = urlencode(fields).encode()
        answer = self._insist(form, method="POST", headers=headers, body=body, accept=REDIRECTS)
        if isinstance(answer, Unreachable):
            return answer
        if answer.status == 200 and login.password_field in _inputs(answer.text):
            return Unreachable(f"the form {form.shown} does not take user {login.user} with this password")
        fresh = cookies(answer=answer)
        if not jar and not fresh:
            return Unreachable(f"the form {form.shown} sets no cookie")
        return {**jar, **fresh}


def odoo_session(answer: Answer, *, user: str, database: str) -> dict[str, str] | Unreachable:
    """Return the cookies of a log-in to Odoo, or why there is no session: only AccessDenied is a wrong password."""
    error = odoo_error(answer)
    if error and error[0] == "odoo.exceptions.AccessDenied":
        if "too many" in error[1].lower():
            return Unreachable("Odoo takes no log-ins from here for a minute, after too many that failed")
        return Unreachable(f"Odoo refuses user {user} of database {database} with this password")
    if error:
        return Unreachable(f"Odoo fails with {error[0]}: does it serve database {database} under this name?")
    try:
        result = json_body(answer)["result"]
        user_id = result["uid"]
    except (UnreadableError, LookupError, TypeError):
        return Unreachable(f"{AUTHENTICATE} does not answer as Odoo does")
    jar = cookies(answer=answer)
    if not user_id or not jar:
        return Unreachable(f"Odoo asks user {user} for a second factor: use an API key, or a user without one")
    return jar


def hidden_fields(page: str, *, password_field: str) -> dict[str, str]:
    """Return the hidden fields of the form that asks for the password."""
    parser = _Forms()
    parser.feed(page)
    form = next((form for form in parser.forms if password_field in form.names), None)
    return dict(form.hidden) if form else {}


def _inputs(page: str) -> set[str]:
    parser = _Forms()
    parser.feed(page)
    return {name for form in parser.forms for name in form.names}


@dataclasses.dataclass
class _Form:
    names: set[str] = dataclasses.field(default_factory=set)
    hidden: dict[str, str] = dataclasses.field(default_factory=dict)


class _Forms(HTMLParser):
    """The forms of a page, with the names of their fields."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[_Form] = [_Form()]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "form":
            self.forms.append(_Form())
        if tag != "input":
            return
        given = {key: value or "" for key, value in attrs}
        if given.get("name"):
            self.forms[-1].names.add(given["name"])
            if given.get("type", "").lower() == "hidden":
                self.forms[-1].hidden[given["name"]] = given.get("value", "")


def _cookie(jar: Mapping[str, str]) -> dict[str, str]:
    return {"Cookie": "; ".join(f"{name}={value}" for name, value in jar.items())} if jar else {}


def _json_headers(jar: Mapping[str, str]) -> dict[str, str]:
    return {"Content-Type": "application/json", **_cookie(jar)}


def _call(params: Mapping[str, Any]) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "method": "call", "params": params}).encode()
