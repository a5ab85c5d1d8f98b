# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""When to tell people that something of the backups is broken, and when to be silent (E41).

The first failures are silent. The third in a row is told, once; then once a day while it lasts; and the end of it, if
it had been told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils.backup_manifest import format_time, parse_time
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

AFTER = 3
REMIND = timedelta(hours=24)
LONGEST_SUBJECT = 150

FAILING = "failing"
REMINDER = "reminder"
RECOVERED = "recovered"


@dataclass(frozen=True)
class Outcome:
    """How a job ended, or what a check found.

    :param subject: names the job or the finding for good, such as ``job:backup-database`` or ``finding:wal_backlog``.
    :param text: what is wrong; of no use when it is good.
    """

    subject: str
    good: bool
    text: str = ""
    severity: str = "critical"


@dataclass(frozen=True)
class Notice:
    """What to tell.

    :param kind: ``failing``, ``reminder`` or ``recovered``.
    :param failures: how many there were in a row.
    :param since: when the first of them was.
    """

    kind: str
    subject: str
    text: str
    severity: str
    failures: int
    since: datetime
    time: datetime


def advance(
    state: Mapping[str, Any], outcome: Outcome, now: datetime, after: int = AFTER
) -> tuple[dict[str, Any], list[Notice]]:
    """Take one outcome into account.

    :param state: what the last call returned, or ``{}``: a JSON object with one entry for each broken subject.
    :param after: which failure in a row is told.
    :return: the new state, and what to tell now.
    """
    entries = {subject: entry for subject, entry in state.items() if subject != outcome.subject}
    before = _read(state.get(outcome.subject), now)
    if outcome.good:
        if before is None or before["told"] is None:
            return entries, []
        notice = Notice(
            kind=RECOVERED,
            subject=outcome.subject,
            text=before["text"],
            severity=before["severity"],
            failures=before["failures"],
            since=before["since"],
            time=now,
        )
        return entries, [notice]

    failures = before["failures"] + 1 if before else 1
    since = before["since"] if before else now
    told = before["told"] if before else None
    notices = []
    if told is None and failures >= max(after, 1):
        notices.append(FAILING)
    elif told is not None and now - told >= REMIND:
        notices.append(REMINDER)
    entries[outcome.subject] = {
        "failures": failures,
        "since": format_time(since),
        "told": format_time(now) if notices else told and format_time(told),
        "text": outcome.text,
        "severity": outcome.severity,
    }
    return entries, [
        Notice(
            kind=kind,
            subject=outcome.subject,
            text=outcome.text,
            severity=outcome.severity,
            failures=failures,
            since=since,
            time=now,
        )
        for kind in notices
    ]


def advance_findings(
    state: Mapping[str, Any], findings: Iterable[Any], now: datetime, after: int = AFTER
) -> tuple[dict[str, Any], list[Notice]]:
    """Take one whole look of the health check into account: what it does not find any more is good again.

    :param findings: those of ``backup_health.judge``: with ``name``, ``severity`` and ``text``.
    """
    outcomes = {
        f"finding:{found.name}": Outcome(f"finding:{found.name}", good=False, text=found.text, severity=found.severity)
        for found in findings
    }
    gone = [name for name in state if name.startswith("finding:") and name not in outcomes]
    new, notices = dict(state), []
    for outcome in (*outcomes.values(), *(Outcome(name, good=True) for name in gone)):
        new, told = advance(new, outcome, now, after)
        notices += told
    return new, notices


def _read(entry: Any, now: datetime) -> dict[str, Any] | None:
    """An entry of the state; None where there is none, or one that nobody can read."""
    if not isinstance(entry, Mapping):
        return None
    try:
        told = entry["told"] and parse_time(entry["told"])
        return {
            "failures": int(entry["failures"]),
            # A clock that was set back must not silence the reminders.
            "since": min(parse_time(entry["since"]), now),
            "told": told and min(told, now),
            "text": str(entry["text"]),
            "severity": str(entry["severity"]),
        }
    except (KeyError, TypeError, ValueError, SlipwayError):
        return None


# ---- words

_SECRETS = (
    # scheme://user:password@host
    (re.compile(r"(?<=://)[^\s/@]+(?=@)"), "***"),
    # Webhooks keep their secret in the path.
    (re.compile(r"(https://hooks\.[^\s/]+|https://discord(?:app)?\.com)/\S+"), r"\1/***"),
    (re.compile(r"(?i)\b((?:proxy-)?authorization)(\s*[:=]\s*)(?:(?:bearer|basic|aws4-\S+)\s+)?[^\n]+"), r"\1\2***"),
    (
        re.compile(
            r"""(?ix)
            \b([\w-]*(?:pass(?:word|phrase|wd)?|secret|token|credential|api[_-]?key|secret[_-]?key|cipher[_-]pass|
              key[_-]?id|signature)[\w-]*["']?)
            (\s*[:=]\s*)
            ("[^"\n]*"|'[^'\n]*'|[^\s,;&]+)
            """
        ),
        r"\1\2***",
    ),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), "***"),
    (re.compile(r"-----BEGIN [^-\n]*PRIVATE KEY-----.*?(?:-----END [^-\n]*PRIVATE KEY-----|\Z)", re.DOTALL), "***"),
)


def without_secrets(words: str, secrets: Iterable[str] = ()) -> str:
    """Text that may leave the host: what is known to be a secret is blotted out, and what looks like one.

    :param secrets: values that must not occur; shorter ones than 4 characters are passed over.
    """
    for secret in sorted({item for item in secrets if item and len(item) >= 4}, key=len, reverse=True):
        words = words.replace(secret, "***")
    for pattern, instead in _SECRETS:
        words = pattern.sub(instead, words)
    return words


def text(notice: Notice, *, site: str = "", host: str = "", secrets: Iterable[str] = ()) -> tuple[str, str]:
    """Subject and body of a message; the subject is one line.

    :param secrets: values that must not occur, whatever a program printed.
    """
    secrets = list(secrets)
    where = " ".join(part for part in (site, host) if part)
    state = {FAILING: "FAILING", REMINDER: "STILL FAILING", RECOVERED: "recovered"}[notice.kind]
    subject = f"[slipway backup{' ' + where if where else ''}] {state}: {notice.subject}"
    subject = re.sub(r"[\x00-\x1f\x7f\u2028\u2029]+", " ", without_secrets(subject, secrets))[:LONGEST_SUBJECT]

    times = "time" if notice.failures == 1 else "times"
    if notice.kind == RECOVERED:
        lines = [
            f"{notice.subject} is good again.",
            "",
            f"It had failed {notice.failures} {times} in a row since {format_time(notice.since)}. The last time:",
        ]
    else:
        lines = [f"{notice.subject} has failed {notice.failures} {times} in a row since {format_time(notice.since)}."]
        lines += ["", f"Severity: {notice.severity}"]
    lines += ["", notice.text or "(no message)", ""]
    if notice.kind != RECOVERED:
        lines.append("While it lasts you are reminded once a day, and told when it is over.")
    if where:
        lines.append(f"Site and host: {where}")
    lines.append(f"Time: {format_time(notice.time)}")
    return subject, without_secrets("\n".join(lines), secrets) + "\n"
