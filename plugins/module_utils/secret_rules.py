# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge secrets before they are used, and never repeat one in what is said about it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

MINIMUM_LENGTH = 12
MINIMUM_VARIETY = 6

# Whole values made of nothing but these (and of the names that belong to the secret) are guessed first.
KNOWN_WORDS = frozenset((
    "abc", "access", "admin", "administrator", "auth", "database", "debian", "default", "demo", "erp",
    "fixme", "guest", "hello", "letmein", "login", "manager", "master", "monkey", "nginx", "odoo",
    "openerp", "pass", "passwd", "password", "passwort", "postgres", "postgresql", "qwerty", "qwertz",
    "root", "secret", "slipway", "superuser", "sysadmin", "temp", "test", "tmp", "todo", "user",
    "welcome",
))  # fmt: skip
PLACEHOLDERS = (
    "changeit", "changeme", "changethis", "dummypass", "example", "fillthisin", "insertpassword",
    "placeholder", "replaceme", "replacethis", "replacewith", "setme", "yourpassword", "yoursecret",
)  # fmt: skip
SEQUENCES = (
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890",
    "qwertyuiop",
    "qwertzuiop",
    "asdfghjkl",
    "zxcvbnm",
    "yxcvbnm",
)
LOOKALIKES = str.maketrans("01345@$", "oleasas")


@dataclass(frozen=True)
class Secret:
    """One secret as it stands in the inventory.

    ``label`` says where it stands and may be shown. ``value`` is None where it is not defined (or cannot be
    decrypted). ``names`` are what belongs to it and must not be its value: user, database, instance.
    ``ours`` is false for what others have chosen (a mail provider): there only what is missing can be told.
    """

    label: str
    value: Any = field(repr=False)
    names: tuple[str, ...] = ()
    ours: bool = True


def problems(*, secrets: Sequence[Secret]) -> list[str]:
    """Return one line for each faulty secret and for each value that serves two purposes.

    The lines hold labels and fixed words only, never a value nor a part of one.
    """
    lines = []
    for secret in secrets:
        reasons = faults(secret=secret)
        if reasons:
            lines.append(f"{secret.label} {', '.join(reasons)}")
    return lines + [f"{_join(labels)} are one and the same secret" for labels in _shared(secrets)]


def faults(*, secret: Secret) -> list[str]:
    """Return what is wrong with one secret, as fixed phrases; an empty list when it is good."""
    value = secret.value
    if value is None:
        return ["is not defined (or its vault cannot be opened)"]
    if not isinstance(value, str):
        return ["is not text (put it in quotes)"]
    if not value.strip():
        return ["is empty"]
    if value.startswith("$ANSIBLE_VAULT"):
        return ["is still encrypted (it lacks the !vault tag)"]
    if is_placeholder(value=value):
        return ["is a placeholder"]
    if not secret.ours:
        return []
    found = []
    if value != value.strip() or not value.isprintable():
        found.append("holds a line break, a control character, or white space at an end")
    if is_well_known(value=value, names=secret.names):
        found.append("is a well-known word or the name of its user, database or instance")
    if len(value) < MINIMUM_LENGTH:
        found.append(f"is shorter than {MINIMUM_LENGTH} characters")
    elif variety(value=value) < MINIMUM_VARIETY:
        found.append("repeats itself or follows a sequence")
    return found


def is_placeholder(*, value: str) -> bool:
    """Tell whether this stands where a secret is still to be filled in."""
    text = value.strip()
    if re.fullmatch(r"<.*>|\[.*\]|\{\{.*\}\}|[xX*.?_\s-]+", text, re.DOTALL):
        return True
    letters = re.sub(r"[\W_]", "", text).casefold()
    return any(word in letters for word in PLACEHOLDERS)


def is_well_known(*, value: str, names: Iterable[str]) -> bool:
    """Tell whether the letters of the value are nothing but well-known words and the names given."""
    own = {_letters(name) for name in names}
    if value.strip().casefold() in {name.casefold() for name in names if name}:
        return True
    words = KNOWN_WORDS | {word for word in own if len(word) >= 3}
    body = re.sub(r"[\W\d_]+$", "", value.casefold())
    return any(_made_of(text=text, words=words) for text in (_letters(value), _letters(body.translate(LOOKALIKES))))


def variety(*, value: str) -> int:
    """Return how many different characters remain when runs (``aaaa``, ``1234``, ``qwer``) count as one.

    A value that repeats a shorter one is judged by the shorter one.
    """
    period = (value + value).find(value, 1)
    text = value[:period].casefold()
    kept = set()
    position = 0
    while position < len(text):
        kept.add(text[position])
        position += _run_length(text[position:])
    return len(kept)


def _run_length(text: str) -> int:
    """Return how long the run is that the text begins with; 1 where there is none."""
    repeated = len(text) - len(text.lstrip(text[0]))
    longest = repeated if repeated >= 3 else 1
    for sequence in SEQUENCES:
        for row in (sequence, sequence[::-1]):
            size = 4
            while size <= len(text) and text[:size] in row:
                longest = max(longest, size)
                size += 1
    return longest


def _made_of(*, text: str, words: Iterable[str]) -> bool:
    """Tell whether the text is one or more of the words in a row."""
    reachable = {0}
    for start in range(len(text)):
        if start in reachable:
            reachable.update(start + len(word) for word in words if text.startswith(word, start))
    return bool(text) and len(text) in reachable


def _letters(text: str) -> str:
    return re.sub(r"[\W\d_]", "", text.casefold())


def _shared(secrets: Sequence[Secret]) -> list[list[str]]:
    """Return the labels of the secrets that have one value, a list for each such value."""
    labels: dict[str, list[str]] = {}
    for secret in secrets:
        if isinstance(secret.value, str) and secret.value.strip():
            labels.setdefault(secret.value, []).append(secret.label)
    return [same for same in labels.values() if len(same) > 1]


def _join(labels: Sequence[str]) -> str:
    return f"{', '.join(labels[:-1])} and {labels[-1]}"
