# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Compare the versions of a contract that sources hold, and say what is wrong; no files and no network here.

A source that was not reached holds no version, so it never disagrees. It is told apart from one that
answers without a version (missing) and from one whose answer is no version (invalid) (E34).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

FOUND, MISSING, INVALID, UNREACHABLE, MISMATCHED = "found", "missing", "invalid", "unreachable", "mismatched"
EXACT, MAJOR, MINOR = "exact", "major", "minor"

_VERSION = re.compile(r"[!-~]{1,100}")
_SEMANTIC = re.compile(r"v?(\d+)(?:\.(\d+)(?:\.\d+)?)?(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?")
#: What YAML makes of a version with two numbers and no quotes.
_NUMBER = re.compile(r"\d+\.\d+")
QUOTED_CHARACTERS = 60


@dataclasses.dataclass(frozen=True)
class Reading:
    """What one source held. ``detail`` says why there is no version; it is empty when one was found."""

    name: str
    status: str
    where: str
    version: str | None = None
    detail: str = ""


@dataclasses.dataclass(frozen=True)
class SchemaError:
    """One place of a document that breaks its schema; without a pointer there is no document."""

    schema: str
    where: str
    pointer: str | None
    message: str


@dataclasses.dataclass(frozen=True)
class Value:
    """What was taken out of a document: a version, or the reason (``detail``) that there is none."""

    status: str
    version: str | None = None
    detail: str = ""


def missing(detail: str) -> Value:
    """Return that the place is there and the version is not."""
    return Value(status=MISSING, detail=detail)


def invalid(detail: str) -> Value:
    """Return that what is there is no version."""
    return Value(status=INVALID, detail=detail)


def version_of(value: Any) -> Value:
    """Judge a value that stands where a version should.

    White space around it does not count. A whole number is taken; other numbers are not, for 1.10 and 1.1
    are the same number.
    """
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**18:
        value = str(value)
    if not isinstance(value, str):
        hint = ": write it as a text, in quotes" if isinstance(value, float) else ""
        return invalid(f"holds {kind_of(value)} and no version{hint}")
    text = value.strip()
    if not text:
        return invalid("holds an empty text")
    if not _VERSION.fullmatch(text):
        return invalid(f"holds {quote(text)}, which is no version")
    return Value(status=FOUND, version=text)


def kind_of(value: Any) -> str:
    """Name the kind of a JSON value, without the value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "a text"
    if isinstance(value, (list, tuple)):
        return "a list"
    return "an object" if isinstance(value, dict) else f"a {type(value).__name__}"


def quote(text: str) -> str:
    """Return a text in quotes, on one line and not too long."""
    return repr(text if len(text) <= QUOTED_CHARACTERS else text[:QUOTED_CHARACTERS] + "…")


def significant(version: str, *, compare: str) -> tuple[str, ...] | None:
    """Return what of a version counts in a comparison, or None when it has no such part.

    Exactly means the text itself. For major and minor it must be a semantic version; a leading ``v``, the
    patch number and tags of pre-releases and builds do not count.
    """
    if compare == EXACT:
        return (version,)
    match = _SEMANTIC.fullmatch(version)
    if not match or (compare == MINOR and match[2] is None):
        return None
    numbers = match.groups() if compare == MINOR else match.groups()[:1]
    return tuple(str(int(number)) for number in numbers)


@dataclasses.dataclass(frozen=True)
class Judgement:
    """``version`` is what all were compared with, ``origin`` where it comes from (empty: the wanted one)."""

    version: str | None
    origin: str
    readings: tuple[Reading, ...]
    schema_errors: tuple[SchemaError, ...] = ()
    more_schema_errors: bool = False

    def _with(self, *statuses: str) -> list[Reading]:
        return [reading for reading in self.readings if reading.status in statuses]

    @property
    def drift(self) -> list[Reading]:
        """Sources that were reached and are not at the version."""
        return self._with(MISMATCHED, MISSING, INVALID)

    @property
    def unreachable(self) -> list[Reading]:
        """Sources that were not reached."""
        return self._with(UNREACHABLE)

    @property
    def in_agreement(self) -> bool:
        """Whether every source was read and all is as it should be."""
        return not (self.drift or self.unreachable or self.schema_errors)


def judge(
    readings: Iterable[Reading],
    *,
    expected: str | None,
    reference: str | None,
    compare: str,
    schema_errors: Sequence[SchemaError] = (),
    more_schema_errors: bool = False,
) -> Judgement:
    """Compare every version found with the expected one, or else with the reference's.

    The reference is the named source, or else the first. Where it has no version to offer, the next source
    that has one stands in, so that the others are compared all the same.
    """
    checked = [_comparable(reading, compare=compare) for reading in readings]
    version, origin = expected, ""
    if version is None:
        candidates = sorted(checked, key=lambda reading: reading.name != reference)
        found = next((reading for reading in candidates if reading.status == FOUND), None)
        version, origin = (found.version, found.name) if found else (None, "")
    return Judgement(
        version=version,
        origin=origin,
        readings=tuple(_compared(reading, version=version, origin=origin, compare=compare) for reading in checked),
        schema_errors=tuple(schema_errors),
        more_schema_errors=more_schema_errors,
    )


def require_comparable(expected: str | None, *, compare: str) -> None:
    """:raises SlipwayError: the expected version cannot be compared in the wanted way"""
    if expected is None:
        return
    value = version_of(expected)
    if value.version != expected:
        raise SlipwayError(f"expected {value.detail or 'has white space around it'}: give it as in '1.0.0'")
    if significant(expected, compare=compare) is None:
        raise SlipwayError(
            f"expected is {expected}, which compare: {compare} cannot use: give a version such as '1.0.0', "
            "or compare exactly"
        )


def _comparable(reading: Reading, *, compare: str) -> Reading:
    if reading.version is None or significant(reading.version, compare=compare) is not None:
        return reading
    wanted = "major and minor numbers" if compare == MINOR else "a major number"
    detail = f"holds {reading.version}, which is no semantic version with {wanted}"
    return dataclasses.replace(reading, status=INVALID, version=None, detail=detail)


def _compared(reading: Reading, *, version: str | None, origin: str, compare: str) -> Reading:
    if reading.status != FOUND or reading.version is None or version is None:
        return reading
    if significant(reading.version, compare=compare) == significant(version, compare=compare):
        return reading
    whose = f"{origin} has {version}" if origin else f"{version} is expected"
    manner = "" if compare == EXACT else f" (compared by {compare})"
    return dataclasses.replace(reading, status=MISMATCHED, detail=f"has {reading.version}, {whose}{manner}")


def report(judgement: Judgement) -> str:
    """Return one message with all faults, or with what all agree on."""
    lines = [f"{reading.name}: {_fault(reading)} ({reading.where})" for reading in judgement.drift]
    lines += [
        f"{reading.name}: not reached, which says nothing of its version: {reading.detail} ({reading.where})"
        for reading in judgement.unreachable
    ]
    lines += [_breach(error) for error in judgement.schema_errors]
    if not lines:
        count = len(judgement.readings)
        said = f"{count} source{'s' * (count != 1)} at version {judgement.version}" if count else ""
        return said or "All documents satisfy their schemas"
    faults = f"{len(lines)} fault{'s' * (len(lines) != 1)} in the contract:"
    text = "\n".join([faults, *(f"{number}. {line}" for number, line in enumerate(lines, start=1))])
    if judgement.more_schema_errors:
        text += "\nThere are more breaches of schemas than are shown."
    mismatched = any(reading.status == MISMATCHED for reading in judgement.readings)
    if mismatched and not judgement.origin and _NUMBER.fullmatch(judgement.version or ""):
        text += "\nIf expected was written without quotes, YAML took it for a number, such as 1.1 for 1.10: quote it."
    return text


def _breach(error: SchemaError) -> str:
    if error.pointer is None:
        return f"{error.where}: {error.message} (schema {error.schema})"
    return f"{error.where}: breaks the schema {error.schema} at {error.pointer or 'its root'}: {error.message}"


def _fault(reading: Reading) -> str:
    return {MISSING: "no version: ", INVALID: "not a version: "}.get(reading.status, "") + reading.detail
