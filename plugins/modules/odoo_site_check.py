#!/usr/bin/python
# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module ``odoo_site_check``: does the site work, over its real edge, as its users reach it?"""

from __future__ import annotations

DOCUMENTATION = r"""
module: odoo_site_check
author: Slipway contributors (@slipway)
version_added: 0.1.0
short_description: Verify Odoo sites over their real edge
description:
  - Asks an edge (reverse proxy) for each site as its users do, over TLS and by the site's own names, and
    judges the answers.
  - Checks health (Odoo and its database server), the certificate, the redirect from plain HTTP, the log-in
    page, its asset bundles,
    a log-in through C(/web/session/authenticate) with the session that follows, a websocket with a ping over
      it,
    that the doors to the database manager are closed however their paths are written, the security headers,
      and the rate limits.
  - A site that is not reached is told apart from one that refuses. A 429, a redirect or a 502 is never a
    wrong password.
  - All sites are looked at before it fails, and all that is wrong is in one message.
  - A password is only sent when the certificate was verified, or O(validate_certs) says that it need not be.
attributes:
  check_mode:
    description: Can run in check mode and returns what it does without it.
    support: partial
    details: It does not log in and sends no bursts, for these leave traces (a session, entries in logs,
      used-up limits).
  diff_mode:
    description: Returns details on what has changed in diff mode.
    support: N/A
    details: It changes nothing.
  idempotent:
    description: Changes nothing when it runs again.
    support: full
    details: A log-in leaves an entry in Odoo's list of log-ins, its session is ended.
options:
  sites:
    description: The sites behind this edge.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: What to call the site in messages.
        type: str
        required: true
      domains:
        description:
          - Names it answers to. The first is the canonical one and gets all checks, the others certificate
            and redirect.
          - For V(*.example.com) a name below it is asked for.
        type: list
        elements: str
        required: true
      database:
        description: Database to log in to. Needed with O(sites[].password).
        type: str
      login:
        description: Name of the user to log in as.
        type: str
        default: admin
      password:
        description: The user's password. Without it the log-in is not checked.
        type: str
      websocket:
        description: Whether the websocket must work (Odoo with C(workers) > 0).
        type: bool
        default: true
  address:
    description: Address of the edge to connect to. Without it, what the site's name resolves to on the host
      the module runs on.
    type: str
  https_port:
    description: Port of HTTPS.
    type: int
    default: 443
  http_port:
    description: Port of plain HTTP, which must redirect. V(0) to leave that check out.
    type: int
    default: 80
  validate_certs:
    description: Whether the certificate must be valid.
    type: bool
    default: true
  ca_path:
    description: File on the target with the certificates of authorities to trust besides the system's.
    type: path
  ca_content:
    description: The same as text (PEM), in place of a file.
    type: str
  minimum_days:
    description: Days that the certificate must still be valid.
    type: int
    default: 7
  health_path:
    description: Path of the edge's health page, which must pass on what Odoo's own says about its database
      server.
    type: str
    default: /health
  headers:
    description:
      - Response headers that must be there exactly once, on the log-in page, the asset bundles, the health
        page and a refused page.
      - An empty value stands for any. V(null) stands for a header that must not be there.
      - Well-known single headers may never come twice, whether they are named here or not.
    type: dict
    default: {}
  closed_doors:
    description: Paths that the edge must refuse, each tried in several spellings (encoded, with doubled and
      trailing slashes).
    type: list
    elements: str
    default:
      - /web/database/manager
      - /web/database/selector
      - /web/database/list
      - /xmlrpc/db
      - /xmlrpc/2/db
      - /jsonrpc
  bursts:
    description:
      - Bursts of requests that the edge must limit, sent when all sites have been looked at.
      - They use up the limit of the address that the module runs on.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Path to ask for.
        type: str
        required: true
      method:
        description: HTTP method.
        type: str
        default: POST
      count:
        description: How many requests to send, 10 at a time. More than the limit lets through in that time.
        type: int
        default: 60
      expected_status:
        description: Status of the refused ones. At least one must be refused.
        type: int
        default: 429
  timeout:
    description: Seconds for each request. The first request after a start may make asset bundles.
    type: float
    default: 30.0
  wait:
    description: Seconds to wait for each site to become healthy (for an Odoo that has just started).
    type: int
    default: 60
  fail_on_fault:
    description: Whether to fail when a check fails. Otherwise only RV(verified) and RV(message) tell.
    type: bool
    default: true
seealso:
  - module: slipway.odoo.preflight_info
"""

EXAMPLES = r"""
- name: Verify the site over its edge
  slipway.odoo.odoo_site_check:
    address: 192.0.2.10
    sites:
      - name: main
        domains: [odoo.example.com, www.example.com]
        database: main
        password: "{{ vault_main_admin_password }}"
    headers:
      Strict-Transport-Security: ""
      X-Content-Type-Options: nosniff
      X-XSS-Protection: null
    bursts:
      # Without a body this is refused by Odoo in one line of its log.
      - path: /web/session/authenticate

- name: Look at a site with a certificate of one's own authority, without failing
  slipway.odoo.odoo_site_check:
    ca_path: /etc/ssl/certs/company-ca.pem
    fail_on_fault: false
    sites:
      - name: staging
        domains: [staging.example.com]
  register: staging
"""

RETURN = r"""
verified:
  description: Whether no check failed.
  returned: always
  type: bool
message:
  description: What failed, numbered; or how many checks passed and which were not made. When the module
    fails, it is C(msg).
  returned: success
  type: str
  sample: |-
    1 of 17 checks failed:
    1. main: health: answers 404 (https://odoo.example.com/health at 192.0.2.10:443). Read Odoo's log
      (/var/log/odoo/<instance>/odoo.log).
checks:
  description: Every check; when the module fails, those that are not V(ok).
  returned: always
  type: list
  elements: dict
  contains:
    site:
      description: Name of the site.
      type: str
    name:
      description: Name of the check.
      type: str
    state:
      description: V(ok), V(failed) or V(skipped).
      type: str
    what:
      description: What was seen, or why it was skipped.
      type: str
    where:
      description: URL, with the address that was asked.
      type: str
    todo:
      description: What to do about it. Empty unless it failed.
      type: str
seconds:
  description: How long all of it took.
  returned: always
  type: float
"""

import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.odoo.plugins.module_utils import site_check
from ansible_collections.slipway.odoo.plugins.module_utils.http_probe import (
    Answer,
    NoAnswer,
    Outcome,
    Place,
    burst,
    cookies,
    handshake,
    request,
    tls_context,
    websocket,
)
from ansible_collections.slipway.odoo.plugins.module_utils.name_lookup import look_up
from ansible_collections.slipway.odoo.plugins.module_utils.site_check import Check, Subject

LOOKUP_SECONDS = 5.0
# A limit that was met by the checks themselves (or by a burst just before) gives way within moments.
LIMITED_TRIES = 5
LIMITED_PAUSE_SECONDS = 2.0
# A site that hangs would hold every request for the whole timeout: give up on it after a few.
HANGING_TRIES = 3
REDIRECT_PATH = "/web/login?slipway=1"


@dataclass(frozen=True)
class Settings:
    """How to ask. The context ``verifying`` checks certificates, ``trusting`` does not."""

    address: str | None
    https_port: int
    http_port: int
    validate_certs: bool
    verifying: ssl.SSLContext
    trusting: ssl.SSLContext
    minimum_days: int
    health_path: str
    headers: Mapping[str, Any]
    closed_doors: tuple[str, ...]
    bursts: tuple[Mapping[str, Any], ...]
    timeout: float
    wait: float
    leave_traces: bool


class SiteProbe:
    """Asks one site; every step gives checks."""

    def __init__(self, *, site: Mapping[str, Any], settings: Settings, address: str) -> None:
        self.site = site
        self.domains = [domain.replace("*", "slipway") for domain in site["domains"]]
        self.settings = settings
        self.context = settings.verifying if settings.validate_certs else settings.trusting
        self.place = Place(name=self.domains[0], address=address, port=settings.https_port)
        self.certificate_refused = False
        self.reached = True
        self.hanging = 0
        self.limited = False
        self.seen: dict[str, Answer] = {}

    def run(self) -> Iterator[Check]:
        """Make every check but the bursts."""
        health, outcome = self.wait_for_health()
        yield health
        if isinstance(outcome, NoAnswer) and outcome.kind != "closed":
            self.reached = False
            yield self.subject("all other checks", "/").skipped("nothing answers there")
            return
        self.remember("health page", outcome)
        yield from self.certificates()
        yield from self.redirects()
        yield from self.pages()
        yield from self.session()
        yield from self.doors()
        yield from self.seen_headers()

    def wait_for_health(self) -> tuple[Check, Outcome]:
        """Ask until the site is healthy; a refused certificate does not heal by waiting."""
        subject = self.subject("health", self.settings.health_path)
        deadline = time.monotonic() + self.settings.wait
        while True:
            outcome = self.ask(self.settings.health_path)
            if isinstance(outcome, NoAnswer) and outcome.kind == "certificate":
                self.certificate_refused = True
                self.context = self.settings.trusting
                outcome = self.ask(self.settings.health_path)
            check = site_check.health(subject=subject, outcome=outcome)
            if check.state == "ok" or time.monotonic() >= deadline:
                return check, outcome
            self.hanging = 0
            time.sleep(1)

    def certificates(self) -> Iterator[Check]:
        """Check the certificate for each name."""
        for domain in self.domains:
            place = Place(name=domain, address=self.place.address, port=self.place.port)
            context = self.settings.verifying if self.settings.validate_certs else self.settings.trusting
            yield site_check.certificate(
                subject=self.subject("certificate", "", place=place),
                outcome=handshake(place=place, context=context, timeout=self.settings.timeout),
                now=time.time(),
                minimum_days=self.settings.minimum_days,
                verified=self.settings.validate_certs,
            )

    def redirects(self) -> Iterator[Check]:
        """Check that plain HTTP leads to HTTPS, for each name."""
        if not self.settings.http_port:
            return
        for domain in self.domains:
            place = Place(name=domain, address=self.place.address, port=self.settings.http_port, tls=False)
            own = Place(name=domain, address=self.place.address, port=self.place.port)
            yield site_check.redirect(
                subject=self.subject("redirect", REDIRECT_PATH, place=place),
                outcome=self.ask(REDIRECT_PATH, place=place),
                targets=(own.origin + REDIRECT_PATH, self.place.origin + REDIRECT_PATH),
            )

    def pages(self) -> Iterator[Check]:
        """Check the log-in page and the asset bundles that it names."""
        page = self.ask("/web/login")
        check = site_check.login_page(subject=self.subject("log-in page", "/web/login"), outcome=page)
        yield check
        if check.state != "ok" or not isinstance(page, Answer):
            self.reached = False
            yield self.subject("asset bundle", "/web/assets/").skipped("there is no log-in page to name one")
            return
        self.remember("log-in page", page)
        links = site_check.asset_links(page=page)
        if not links:
            subject = self.subject("asset bundle", "/web/login")
            yield subject.failed("the log-in page names none", "Regenerate the assets of the database.")
        for link in links:
            outcome = self.ask(link)
            self.remember("asset bundle", outcome)
            yield site_check.asset(subject=self.subject("asset bundle", link), link=link, outcome=outcome)

    def session(self) -> Iterator[Check]:
        """Log in, use the session for the websocket too, and end it."""
        jar: dict[str, str] = {}
        subject = self.subject("log-in", "/web/session/authenticate")
        refusal = self.why_no_login()
        if refusal:
            yield subject.skipped(refusal)
        else:
            outcome = self.call(
                "/web/session/authenticate",
                {},
                db=self.site["database"],
                login=self.site["login"],
                password=self.site["password"],
            )
            check = site_check.login(
                subject=subject, outcome=outcome, user=self.site["login"], database=self.site["database"]
            )
            yield check
            if check.state == "ok" and isinstance(outcome, Answer):
                jar = cookies(answer=outcome)
                yield site_check.session(
                    subject=self.subject("session", "/web/session/get_session_info"),
                    logged_in=outcome,
                    outcome=self.call("/web/session/get_session_info", jar),
                )
        try:
            yield from self.websocket(jar)
        finally:
            if jar:
                self.call("/web/session/destroy", jar)

    def why_no_login(self) -> str:
        """Return what forbids to send the password; empty when nothing does."""
        if not self.settings.leave_traces:
            return "check mode: it would leave traces"
        if not self.site["password"]:
            return "no password was given"
        if self.certificate_refused:
            return "the password is not sent past a refused certificate"
        return ""

    def websocket(self, jar: Mapping[str, str]) -> Iterator[Check]:
        """Check the websocket."""
        if not self.site["websocket"]:
            return
        page = self.seen.get("log-in page")
        version = site_check.websocket_version(page=page) if page else ""
        path = f"/websocket?version={version}" if version else "/websocket"
        yield site_check.websocket(
            subject=self.subject("websocket", "/websocket"),
            outcome=websocket(
                place=self.place,
                path=path,
                headers=_cookie(jar),
                context=self.context,
                timeout=self.settings.timeout,
            ),
        )

    def doors(self) -> Iterator[Check]:
        """Check that the doors are closed in every spelling."""
        for path in self.settings.closed_doors:
            method, headers, body = site_check.door_request(path=path)
            outcomes = []
            for written in site_check.spellings(path=path):
                outcome = self.ask(written, method=method, headers=headers, body=body)
                outcomes.append((written, outcome))
            self.remember("refused page", outcomes[0][1])
            yield site_check.door(subject=self.subject("closed door", path), path=path, outcomes=outcomes)

    def seen_headers(self) -> Iterator[Check]:
        """Check the headers of one page of each kind that was seen."""
        for page, answer in self.seen.items():
            yield site_check.headers(
                subject=self.subject("headers", "", place=self.place, note=page),
                answer=answer,
                expected=self.settings.headers,
            )

    def bursts(self) -> Iterator[Check]:
        """Send the bursts, last of all: what comes after one meets the limit. None at a site that is down."""
        if not self.reached:
            return
        for wanted in self.settings.bursts:
            subject = self.subject(f"burst of {wanted['count']} {wanted['method']}", wanted["path"])
            if not self.settings.leave_traces:
                yield subject.skipped("check mode: it would leave traces")
                continue
            outcomes = burst(
                place=self.place,
                path=wanted["path"],
                method=wanted["method"],
                count=wanted["count"],
                context=self.context,
                timeout=self.settings.timeout,
            )
            yield site_check.burst(subject=subject, outcomes=outcomes, expected_status=wanted["expected_status"])

    def call(self, path: str, jar: Mapping[str, str], **params: Any) -> Outcome:
        """Call a JSON-RPC route of Odoo's web client."""
        headers = {"Content-Type": "application/json", **_cookie(jar)}
        return self.ask(path, method="POST", headers=headers, body=site_check.json_rpc(**params))

    def ask(
        self,
        path: str,
        *,
        place: Place | None = None,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Outcome:
        """Send one request; again, after a pause, when the edge's rate limit was met."""
        if self.hanging >= HANGING_TRIES:
            return NoAnswer(
                kind="timeout", reason=f"not tried: {HANGING_TRIES} requests before it got no answer in time"
            )
        tries = 1 if self.limited else LIMITED_TRIES
        for attempt in range(1, tries + 1):
            outcome = request(
                place=place or self.place,
                path=path,
                method=method,
                headers=headers,
                body=body,
                context=self.context,
                timeout=self.settings.timeout,
            )
            if not isinstance(outcome, Answer) or outcome.status != 429:
                break
            if attempt == tries:
                self.limited = True
            else:
                time.sleep(LIMITED_PAUSE_SECONDS)
        self.hanging += isinstance(outcome, NoAnswer) and outcome.kind == "timeout"
        return outcome

    def remember(self, page: str, outcome: Outcome) -> None:
        """Keep an answer of the edge for the judgement of the headers."""
        if isinstance(outcome, Answer):
            self.seen.setdefault(page, outcome)

    def subject(self, name: str, path: str, *, place: Place | None = None, note: str = "") -> Subject:
        """Return what a check is about."""
        place = place or self.place
        where = f"{place.origin}{path} at {place.address}:{place.port}"
        return Subject(site=self.site["name"], name=name, where=f"{note}, {where}" if note else where)


def _cookie(jar: Mapping[str, str]) -> dict[str, str]:
    return {"Cookie": "; ".join(f"{name}={value}" for name, value in jar.items())} if jar else {}


def check_sites(*, sites: Sequence[Mapping[str, Any]], settings: Settings) -> Iterator[Check]:
    probes = []
    for site in sites:
        address = settings.address
        if not address:
            found = look_up(names=[site["domains"][0].replace("*", "slipway")], timeout=LOOKUP_SECONDS)[0]
            if not found.addresses:
                subject = Subject(site=site["name"], name="name", where=found.name)
                yield subject.failed(f"does not resolve ({found.error})", "Add it to DNS, or give the edge's address.")
                continue
            address = found.addresses[0]
        probe = SiteProbe(site=site, settings=settings, address=address)
        probes.append(probe)
        yield from probe.run()
    for probe in probes:
        yield from probe.bursts()


def settings_of(params: Mapping[str, Any], *, check_mode: bool) -> Settings:
    """:raises OSError: when the authorities cannot be read (``ssl.SSLError`` is one)"""
    return Settings(
        address=params["address"],
        https_port=params["https_port"],
        http_port=params["http_port"],
        validate_certs=params["validate_certs"],
        verifying=tls_context(ca_path=params["ca_path"], ca_content=params["ca_content"]),
        trusting=tls_context(verify=False),
        minimum_days=params["minimum_days"],
        health_path=params["health_path"],
        headers=params["headers"],
        closed_doors=tuple(params["closed_doors"]),
        bursts=tuple(params["bursts"]),
        timeout=params["timeout"],
        wait=params["wait"],
        leave_traces=not check_mode,
    )


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "sites": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "domains": {"type": "list", "elements": "str", "required": True},
                    "database": {"type": "str"},
                    "login": {"type": "str", "default": "admin"},
                    "password": {"type": "str", "no_log": True},
                    "websocket": {"type": "bool", "default": True},
                },
                "required_by": {"password": ["database"]},
            },
            "address": {"type": "str"},
            "https_port": {"type": "int", "default": 443},
            "http_port": {"type": "int", "default": 80},
            "validate_certs": {"type": "bool", "default": True},
            "ca_path": {"type": "path"},
            "ca_content": {"type": "str"},
            "minimum_days": {"type": "int", "default": 7},
            "health_path": {"type": "str", "default": "/health"},
            "headers": {"type": "dict", "default": {}},
            "closed_doors": {"type": "list", "elements": "str", "default": list(site_check.DOORS)},
            "bursts": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "path": {"type": "str", "required": True},
                    "method": {"type": "str", "default": "POST"},
                    "count": {"type": "int", "default": 60},
                    "expected_status": {"type": "int", "default": 429},
                },
            },
            "timeout": {"type": "float", "default": 30.0},
            "wait": {"type": "int", "default": 60},
            "fail_on_fault": {"type": "bool", "default": True},
        },
        mutually_exclusive=[("ca_path", "ca_content")],
        supports_check_mode=True,
    )
    started = time.monotonic()
    checks: list[Check] = []
    error = ""
    nameless = [site["name"] for site in module.params["sites"] if not site["domains"]]
    if nameless:
        module.fail_json(msg=f"site {nameless[0]} has no domains: name at least one that the edge answers to")
    try:
        settings = settings_of(module.params, check_mode=module.check_mode)
        checks.extend(check_sites(sites=module.params["sites"], settings=settings))
    except OSError as failure:
        source = module.params["ca_path"] or "ca_content"
        error = f"the authorities to trust cannot be read from {source}: {failure}"
    verified = not error and all(check.state != "failed" for check in checks)
    message = error or site_check.report(checks=checks)
    seconds = round(time.monotonic() - started, 2)
    if error or (module.params["fail_on_fault"] and not verified):
        # What is fine would only hide what is not.
        rest = [asdict(check) for check in checks if check.state != "ok"]
        module.fail_json(msg=message, verified=False, checks=rest, seconds=seconds)
    module.exit_json(
        changed=False,
        verified=verified,
        message=message,
        checks=[asdict(check) for check in checks],
        seconds=seconds,
    )


if __name__ == "__main__":
    main()
