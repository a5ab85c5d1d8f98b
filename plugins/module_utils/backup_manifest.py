# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a backup says about itself: manifests of schema 1, their names in the store, and their times.

A manifest is a JSON object. ``seal`` adds the SHA-256 of the rest of it, ``check`` says what is wrong with one that
was read back. Nothing here reads or writes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

SCHEMA = 1
KINDS = ("database", "files", "dump")
TYPES = ("full", "diff", "incr")
STATES = ("good", "bad")
VERIFIERS = ("verify", "drill")

# What a label may be, so that it names one file and one key: pgBackRest's own labels are among these.
LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}", re.ASCII)
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", re.ASCII)
SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
LSN = re.compile(r"[0-9A-F]{1,8}/[0-9A-F]{1,8}", re.ASCII)


# ---- times


def parse_time(text: str) -> datetime:
    """Read a time as manifests hold it: UTC, written with Z, seconds or parts of them.

    :raises SlipwayError: anything else. A time without a zone is never guessed at.
    """
    if not isinstance(text, str) or not TIME.fullmatch(text):
        raise SlipwayError(f"{text!r} is no time in UTC such as 2026-11-25T12:00:00Z")
    pattern = "%Y-%m-%dT%H:%M:%S.%fZ" if "." in text else "%Y-%m-%dT%H:%M:%SZ"
    try:
        return datetime.strptime(text, pattern).replace(tzinfo=timezone.utc)
    except ValueError as error:
        raise SlipwayError(f"{text!r} is no time in UTC such as 2026-11-25T12:00:00Z: {error}") from None


def format_time(moment: datetime) -> str:
    """Write a time as manifests hold it, to the second, and to the microsecond where it has some.

    :raises ValueError: the time has no zone.
    """
    if moment.tzinfo is None:
        raise ValueError("a time without a zone is no moment")
    moment = moment.astimezone(timezone.utc).replace(tzinfo=None)
    return f"{moment.isoformat(timespec='microseconds' if moment.microsecond else 'seconds')}Z"


# ---- names


def relative_path(document: Mapping[str, Any]) -> str:
    """Where a manifest lies below the prefix, and below the state directory."""
    return manifest_path(document["kind"], document["label"])


def manifest_path(kind: str, label: str) -> str:
    """``manifests/KIND/LABEL.json``.

    :raises SlipwayError: a kind that there is not, or a label that could name another file.
    """
    if kind not in KINDS:
        raise SlipwayError(f"{kind!r} is no kind of backup. There are {', '.join(KINDS)}")
    if not is_label(label):
        raise SlipwayError(f"{label!r} is no label of a backup")
    return f"manifests/{kind}/{label}.json"


def verification_path(kind: str, label: str, time: str) -> str:
    """``verifications/KIND/LABEL/TIME.json``; TIME is written as in the document."""
    parse_time(time)
    return f"verifications/{manifest_path(kind, label)[len('manifests/') : -len('.json')]}/{time}.json"


def drill_path(time: str) -> str:
    """``drills/TIME.json``."""
    parse_time(time)
    return f"drills/{time}.json"


def under(prefix: str, path: str) -> str:
    """A key in the bucket, of a path below a host's prefix."""
    prefix = prefix.strip("/")
    return f"{prefix}/{path}" if prefix else path


def key(prefix: str, document: Mapping[str, Any]) -> str:
    """The key of a manifest in the bucket."""
    return under(prefix, relative_path(document))


@dataclass(frozen=True)
class Name:
    """What the key of a manifest or of a verification says; a manifest's has no time."""

    kind: str
    label: str
    time: str = ""


def parse_key(text: str) -> Name | None:
    """What a key or path says, whatever prefix it has; None for what is neither manifest nor verification."""
    parts = text.split("/")
    if not text.endswith(".json"):
        return None
    parts[-1] = parts[-1][: -len(".json")]
    if len(parts) >= 4 and parts[-4] == "verifications" and TIME.fullmatch(parts[-1]):
        found = Name(kind=parts[-3], label=parts[-2], time=parts[-1])
    elif len(parts) >= 3 and parts[-3] == "manifests":
        found = Name(kind=parts[-2], label=parts[-1])
    else:
        return None
    return found if found.kind in KINDS and is_label(found.label) else None


def is_label(label: Any) -> bool:
    """Whether it may be a backup's label."""
    return isinstance(label, str) and LABEL.fullmatch(label) is not None


# ---- text


def canonical(document: Mapping[str, Any]) -> bytes:
    """The one way to write what a document says, without its seal."""
    rest = {name: value for name, value in document.items() if name != "sha256"}
    return json.dumps(rest, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def digest(document: Mapping[str, Any]) -> str:
    """The SHA-256 that seals a document."""
    return hashlib.sha256(canonical(document)).hexdigest()


def seal(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document with the SHA-256 of all the rest of it, in place of one that it may have had."""
    return {**{name: value for name, value in document.items() if name != "sha256"}, "sha256": digest(document)}


def dump(document: Mapping[str, Any]) -> str:
    """Text to store."""
    return json.dumps(document, sort_keys=True, indent=1, allow_nan=False) + "\n"


def load(text: str | bytes, *, where: str = "the manifest") -> dict[str, Any]:
    """Read stored text. Whether what it says holds, ``check`` says.

    :param where: what to call it when it cannot be read.
    :raises SlipwayError: it is no JSON object.
    """
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        what = "is empty" if not text.strip() else f"is no JSON: {error}"
        raise SlipwayError(f"{where} {what}") from None
    if not isinstance(document, dict):
        raise SlipwayError(f"{where} is JSON, but no object")
    return document


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


# ---- check

Faults = Iterator[str]


def check(document: Any) -> list[str]:
    """Say what is wrong with a manifest, in sentences; nothing when it can be relied upon.

    A manifest that says of a backup that it is bad may be a perfectly sound manifest.
    """
    if not isinstance(document, dict):
        return ["The manifest is no JSON object."]
    schema = document.get("schema")
    if schema != SCHEMA or isinstance(schema, bool):
        return [f"The manifest has schema {schema!r}; this program knows {SCHEMA}."]
    faults = list(_check_seal(document))
    faults += _check_shape(document, _TOP, "")
    faults += _check_sections(document)
    # The rest compares values, which need to be of their types first.
    return faults or list(_check_sense(document))


def check_verification(document: Any) -> list[str]:
    """Say what is wrong with a record of a verification, in sentences."""
    if not isinstance(document, dict):
        return ["The record of the verification is no JSON object."]
    faults = list(_check_shape(document, _VERIFICATION, ""))
    if not faults and document["good"] and document["faults"]:
        faults.append("The verification calls the backup good and names faults.")
    return faults


def needs(document: Mapping[str, Any]) -> list[str]:
    """Labels of the backups without which this one cannot be restored."""
    database = document.get("database")
    found = database.get("references") if isinstance(database, Mapping) else None
    return [label for label in found or [] if isinstance(label, str) and label != document.get("label")]


def _check_seal(document: dict[str, Any]) -> Faults:
    said = document.get("sha256")
    if not isinstance(said, str) or not SHA256.fullmatch(said):
        yield "The manifest has no SHA-256 of itself (key sha256)."
        return
    try:
        right = digest(document) == said
    except (ValueError, TypeError, RecursionError):
        right = False
    if not right:
        yield "The manifest's SHA-256 is not that of its content: it was altered or damaged."


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf")


def _is_time(value: Any) -> bool:
    try:
        parse_time(value)
    except SlipwayError:
        return False
    return True


_SORTS: dict[str, tuple[Any, str]] = {
    "text": (lambda value: isinstance(value, str) and value.strip() != "", "text"),
    "any_text": (lambda value: isinstance(value, str), "text, even if empty"),
    "texts": (lambda value: isinstance(value, list) and all(isinstance(item, str) for item in value), "a list of text"),
    "labels": (lambda value: isinstance(value, list) and all(is_label(item) for item in value), "a list of labels"),
    "label": (is_label, "a label of letters, digits, dots, dashes and underscores"),
    "kind": (lambda value: value in KINDS, f"one of {', '.join(KINDS)}"),
    "type": (lambda value: value in TYPES, f"one of {', '.join(TYPES)}"),
    "state": (lambda value: value in STATES, f"one of {', '.join(STATES)}"),
    "verifier": (lambda value: value in VERIFIERS, f"one of {', '.join(VERIFIERS)}"),
    "count": (_is_count, "a whole number from 0 up"),
    "number": (_is_number, "a number from 0 up"),
    "flag": (lambda value: isinstance(value, bool), "true or false"),
    "time": (_is_time, "a time in UTC such as 2026-11-25T12:00:00Z"),
    "lsn": (lambda value: isinstance(value, str) and LSN.fullmatch(value) is not None, "an LSN such as 0/5000028"),
    "dict": (lambda value: isinstance(value, dict), "an object"),
    "list": (lambda value: isinstance(value, list), "a list"),
    "dicts": (
        lambda value: isinstance(value, list) and all(isinstance(item, dict) for item in value),
        "a list of objects",
    ),
    "any": (lambda _value: True, "anything"),
}

# Name -> sort; a question mark: may be null. What is not listed may be there and is not looked at.
_TOP = {
    "site": "text",
    "host": "text",
    "kind": "kind",
    "label": "label",
    "type": "type?",
    "state": "state",
    "faults": "texts",
    "started": "time",
    # A backup that broke off has no end, and perhaps no size.
    "finished": "time?",
    "duration_s": "number?",
    "size_bytes": "count?",
    "stored_bytes": "count?",
    "database": "dict?",
    "databases": "dicts",
    "files": "dict?",
    "dump": "dict?",
}
_VERIFICATION = {"good": "flag", "by": "verifier", "time": "time", "faults": "texts"}
_SECTIONS = {
    "database": {
        "version": "text",
        "system_id": "any",
        "stanza": "text",
        "backup": "label",
        "references": "labels",
        "lsn_start": "lsn?",
        "lsn_stop": "lsn?",
        "time_start": "time?",
        "time_stop": "time?",
        "wal_start": "text?",
        "wal_stop": "text?",
    },
    "files": {"snapshot": "text", "complete": "flag", "instances": "dicts", "contracts": "dict"},
    "dump": {"database": "text", "snapshot": "text", "entries": "count", "files": "dict"},
}
_DATABASE = {
    "instance": "text",
    "name": "text",
    "uuid": "any_text?",
    "size_bytes": "count",
    "modules": "dict",
    "attachments": "dict",
    "fingerprint": "dict?",
}
_INSTANCE = {"name": "text", "database": "text", "filestore": "text", "count": "count", "bytes": "count"}


def _check_shape(document: Mapping[str, Any], shape: Mapping[str, str], path: str) -> Faults:
    for name, sort in shape.items():
        if name not in document:
            yield f"The manifest lacks {path}{name}."
            continue
        value = document[name]
        if value is None and sort.endswith("?"):
            continue
        fits, words = _SORTS[sort.rstrip("?")]
        if not _fits(fits, value):
            yield f"{path}{name} is {_shown(value)}, and should be {words}."


def _fits(fits: Any, value: Any) -> bool:
    try:
        return bool(fits(value))
    except TypeError:  # an unhashable or incomparable value
        return False


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _check_sections(document: dict[str, Any]) -> Faults:
    for name, shape in _SECTIONS.items():
        section = document.get(name)
        if isinstance(section, dict):
            yield from _check_shape(section, shape, f"{name}.")
    for number, database in enumerate(_dicts(document.get("databases"))):
        yield from _check_database(database, f"databases[{number}].")
    files = document.get("files")
    for number, instance in enumerate(_dicts(files.get("instances")) if isinstance(files, dict) else []):
        yield from _check_shape(instance, _INSTANCE, f"files.instances[{number}].")
    dump_section = document.get("dump")
    hashes = dump_section.get("files") if isinstance(dump_section, dict) else None
    for name, value in hashes.items() if isinstance(hashes, dict) else ():
        if not isinstance(value, str) or not SHA256.fullmatch(value):
            yield f"dump.files[{name!r}] is no SHA-256."


def _check_database(database: dict[str, Any], path: str) -> Faults:
    yield from _check_shape(database, _DATABASE, path)
    attachments = database.get("attachments")
    if isinstance(attachments, dict):
        yield from _check_shape(attachments, {"count": "count", "bytes": "count"}, f"{path}attachments.")
    modules = database.get("modules")
    for name, module in modules.items() if isinstance(modules, dict) else ():
        # A module may be half way, and then have no version yet.
        if not isinstance(module, dict) or not isinstance(module.get("version"), (str, type(None))):
            yield f"{path}modules[{name!r}] says no version."
    fingerprint = database.get("fingerprint")
    if isinstance(fingerprint, dict):
        yield from _check_shape(fingerprint, {"lsn": "lsn", "time": "time", "tables": "dict"}, f"{path}fingerprint.")
        tables = fingerprint.get("tables")
        for name, table in tables.items() if isinstance(tables, dict) else ():
            if not isinstance(table, dict) or not _is_count(table.get("rows")) or "hash" not in table:
                yield f"{path}fingerprint.tables[{name!r}] says no rows and hash."


def _check_sense(document: dict[str, Any]) -> Faults:
    """What does not go together, in a document of the right shape."""
    if document["finished"] and parse_time(document["finished"]) < parse_time(document["started"]):
        yield "It ended before it began: the clock was set back meanwhile."
    if document["state"] == "bad":
        if not document["faults"]:
            yield "The backup is called bad, and no fault is named."
        return
    if document["faults"]:
        yield f"The backup is called good, and has faults: {'; '.join(document['faults'])}."
    for name in ("finished", "duration_s", "stored_bytes"):
        if document[name] is None:
            yield f"The backup is called good, and {name} is not known."
    if not document["size_bytes"]:
        yield "The backup is called good, and holds nothing: its size is 0 or not known."
    if document[document["kind"]] is None:
        yield f"The backup is called good, and says nothing of its {document['kind']}."
    else:
        yield from _KIND_SENSE[document["kind"]](document)


def _database_sense(document: dict[str, Any]) -> Faults:
    references = needs(document)
    if document["type"] is None:
        yield "A backup of the database has a type: full, diff or incr."
    elif document["type"] == "full" and references:
        yield "A full backup needs no other, and this one names some."
    elif document["type"] != "full" and not references:
        yield f"A backup of type {document['type']} needs others, and this one names none."
    section = document["database"]
    if section["backup"] != document["label"]:
        yield f"Its label is {document['label']}, and that of pgBackRest {section['backup']}."
    if not section["lsn_stop"] or not section["wal_stop"]:
        yield "The backup is called good, and the end of its WAL (lsn_stop, wal_stop) is not known."


def _files_sense(document: dict[str, Any]) -> Faults:
    if not document["files"]["complete"]:
        yield "The backup is called good, and its snapshot is not complete."


def _dump_sense(document: dict[str, Any]) -> Faults:
    if not document["dump"]["entries"]:
        yield "The backup is called good, and its dump has no entries."
    if not document["dump"]["files"]:
        yield "The backup is called good, and its dump has no files."


_KIND_SENSE = {"database": _database_sense, "files": _files_sense, "dump": _dump_sense}
