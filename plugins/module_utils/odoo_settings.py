# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""System parameters and mail servers: what differs, and how to say so without a secret. Pure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

#: `_default_parameters` of ir_config_parameter.py: Odoo refuses to delete them.
UNDELETABLE = frozenset(
    (
        "database.secret", "database.uuid", "database.create_date", "web.base.url",
        "base.login_cooldown_after", "base.login_cooldown_duration",
    )
)  # fmt: skip
_SECRET_NAME = re.compile(r"secret|passw|token|api_?key|private|credential|(^|[._])key$", re.IGNORECASE)
_BASE_URL = re.compile(r"https?://[^/\s]+")


@dataclasses.dataclass(frozen=True)
class ParameterPlan:
    """Parameters to write and to remove; ``before`` holds what the named ones are now."""

    before: Mapping[str, str]
    write: Mapping[str, str]
    remove: tuple[str, ...]
    secret: frozenset

    @property
    def changed(self) -> bool:
        """Tell whether there is anything to do."""
        return bool(self.write or self.remove)

    def diff(self) -> dict[str, dict[str, str]]:
        """The difference for ``--diff``; a secret shows only that it changes."""
        touched = sorted((*self.write, *self.remove))
        return {
            "before": {key: self._shown(key, self.before[key], "old") for key in touched if key in self.before},
            "after": {key: self._shown(key, self.write[key], "new") for key in touched if key in self.write},
        }

    def is_secret(self, key: str) -> bool:
        """Tell whether a parameter's value must not be shown."""
        return key in self.secret or bool(_SECRET_NAME.search(key))

    def secret_values(self) -> list[str]:
        """The values that must stay out of logs."""
        return [value for key, value in self.write.items() if self.is_secret(key)]

    def _shown(self, key: str, value: str, which: str) -> str:
        return f"({which} value hidden)" if self.is_secret(key) else value


def parameter_text(key: str, value: Any) -> str:
    """The text that Odoo would store for a value: ``True`` and ``False`` as Python writes them.

    :raises SlipwayError: nothing that could be stored.
    """
    if value == "":
        raise SlipwayError(f"Parameter {key!r} must not be empty; list it in `absent` to remove it")
    if not isinstance(value, (bool, int, float, str)):
        raise SlipwayError(f"Parameter {key!r} needs a text, number or boolean; list it in `absent` to remove it")
    text = str(value)
    if key == "web.base.url" and not _BASE_URL.fullmatch(text):
        raise SlipwayError(f"web.base.url must be like https://odoo.example.com, without a path: {text!r}")
    return text


def decide_parameters(
    current: Mapping[str, str],
    *,
    wanted: Mapping[str, Any],
    secret: Mapping[str, Any] | None = None,
    absent: Iterable[str] = (),
) -> ParameterPlan:
    """Compare the parameters in the database with the wanted ones.

    :param secret: wanted as well, but never to be shown.
    :raises SlipwayError: a parameter is named twice, has no value, or must not go.
    """
    absent = tuple(dict.fromkeys(absent))
    secret = secret or {}
    twice = (set(absent) & {*wanted, *secret}) | (set(wanted) & set(secret))
    if twice:
        raise SlipwayError(f"Named in more than one option: {', '.join(sorted(map(str, twice)))}")
    texts = {str(key): parameter_text(str(key), value) for key, value in {**wanted, **secret}.items()}
    kept = sorted(set(absent) & UNDELETABLE)
    if kept:
        raise SlipwayError(f"Odoo does not let these parameters be removed: {', '.join(kept)}")
    return ParameterPlan(
        before={key: current[key] for key in (*texts, *absent) if key in current},
        write={key: text for key, text in texts.items() if current.get(key) != text},
        remove=tuple(key for key in absent if key in current),
        secret=frozenset(secret),
    )


#: How our options are called in ir.mail_server.
MAIL_FIELDS: dict[str, str] = {
    "host": "smtp_host",
    "port": "smtp_port",
    "encryption": "smtp_encryption",
    "user": "smtp_user",
    "password": "smtp_pass",
    "from_filter": "from_filter",
    "sequence": "sequence",
    "debug": "smtp_debug",
}
_DEFAULT_PORTS = {"none": 25, "starttls": 587, "starttls_strict": 587, "ssl": 465, "ssl_strict": 465}


@dataclasses.dataclass(frozen=True)
class MailPlan:
    """Mail servers to create, to change (id to values) and to archive (ids).

    ``updated`` and ``archived`` are their names, ``before`` and ``after`` the touched fields.
    """

    create: tuple[Mapping[str, Any], ...]
    change: Mapping[int, Mapping[str, Any]]
    archive: tuple[int, ...]
    updated: tuple[str, ...]
    archived: tuple[str, ...]
    before: Mapping[str, Mapping[str, Any]]
    after: Mapping[str, Mapping[str, Any]]

    @property
    def changed(self) -> bool:
        """Tell whether there is anything to do."""
        return bool(self.create or self.change or self.archive)

    def diff(self) -> dict[str, Mapping[str, Mapping[str, Any]]]:
        """The difference for ``--diff``: touched fields only, never a password."""
        return {"before": self.before, "after": self.after}

    def payload(self) -> dict[str, Any]:
        """What the source in odoo shell gets."""
        return {
            "create": [dict(values) for values in self.create],
            "change": [[key, dict(values)] for key, values in self.change.items()],
            "archive": list(self.archive),
        }


def mail_values(server: Mapping[str, Any]) -> dict[str, Any]:
    """Turn one entry of the option into field values; an option that is not given is not managed.

    :raises SlipwayError: a port that is none, or log-in details without their other half.
    """
    if server.get("password") and not server.get("user"):
        raise SlipwayError(f"Mail server {server['name']!r} has a password but no user")
    port = server.get("port") or _DEFAULT_PORTS[server["encryption"]]
    if not 1 <= port <= 65535:
        raise SlipwayError(f"Mail server {server['name']!r}: {port} is no port")
    values: dict[str, Any] = {
        "name": server["name"],
        "active": True,
        "smtp_authentication": "login",
        "smtp_port": port,
    }
    for option, field in MAIL_FIELDS.items():
        if option != "port" and server.get(option) is not None:
            values[field] = server[option]
    return values


def decide_mail_servers(
    records: Sequence[Mapping[str, Any]],
    *,
    servers: Sequence[Mapping[str, Any]],
    purge: bool,
    encryptions: Iterable[str] | None = None,
) -> MailPlan:
    """Compare the mail servers in the database with the wanted ones, by name.

    :param records: rows of ``ir_mail_server``, archived ones too.
    :param purge: archive active servers that are not wanted; personal ones (``owner_user_id``) stay.
    :param encryptions: the values that this Odoo knows for the encryption.
    :raises SlipwayError: a name that is not unique, or an encryption that this Odoo does not know.
    """
    names = [server["name"] for server in servers]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SlipwayError(f"Mail servers are told apart by name, listed twice: {', '.join(twice)}")
    known = None if encryptions is None else frozenset(encryptions)
    create: list[Mapping[str, Any]] = []
    change: dict[int, Mapping[str, Any]] = {}
    before: dict[str, Mapping[str, Any]] = {}
    after: dict[str, Mapping[str, Any]] = {}
    updated: list[str] = []
    archived: list[str] = []
    for server in servers:
        values = mail_values(server)
        if known and values["smtp_encryption"] not in known:
            raise SlipwayError(
                f"Mail server {server['name']!r}: this Odoo knows no encryption "
                f"{values['smtp_encryption']!r}, but {', '.join(sorted(known))}"
            )
        record = _record(records, server["name"])
        if record is None:
            create.append(values)
            after[server["name"]] = _shown(values)
            continue
        differing = {field: value for field, value in values.items() if not _equal(record.get(field), value)}
        if differing:
            change[record["id"]] = differing
            updated.append(server["name"])
            before[server["name"]] = _shown({field: record.get(field) for field in differing}, "old")
            after[server["name"]] = _shown(differing, "new")
    archive = []
    for record in records if purge else ():
        if record.get("active") and not record.get("owner_user_id") and record["name"] not in names:
            archive.append(record["id"])
            archived.append(record["name"])
            before[record["name"]] = {"active": True}
            after[record["name"]] = {"active": False}
    return MailPlan(
        create=tuple(create),
        change=change,
        archive=tuple(archive),
        updated=tuple(updated),
        archived=tuple(archived),
        before=before,
        after=after,
    )


def _record(records: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any] | None:
    """The record of a name: the only active one, else the only archived one.

    :raises SlipwayError: several.
    """
    named = [record for record in records if record["name"] == name and not record.get("owner_user_id")]
    chosen = [record for record in named if record.get("active")] or named
    if len(chosen) > 1:
        raise SlipwayError(f"There are {len(chosen)} mail servers named {name!r}: rename all but one")
    return chosen[0] if chosen else None


def _equal(stored: Any, wanted: Any) -> bool:
    """Compare as Odoo would: it stores an unset text or boolean as NULL."""
    return bool(stored == wanted or (not stored and not wanted and isinstance(wanted, (bool, str))))


def _shown(values: Mapping[str, Any], which: str = "new") -> dict[str, Any]:
    shown = dict(values)
    if shown.get("smtp_pass"):
        shown["smtp_pass"] = f"({which} value hidden)"
    return shown
