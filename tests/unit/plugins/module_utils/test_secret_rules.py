"""Secrets: what is refused, what is let through, and that nothing said about one repeats it."""

from __future__ import annotations

import secrets
import string

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils.secret_rules import (
    Secret,
    faults,
    problems,
    variety,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st

GOOD = "mZ4-kQ9x_Tb72w"
NAMES = ("main", "odoo-main", "main_db")
WELL_KNOWN = "is a well-known word or the name of its user, database or instance"
SHORT = "is shorter than 12 characters"
LOW = "repeats itself or follows a sequence"
PLACEHOLDER = "is a placeholder"


def judged(value, names=NAMES):
    return faults(secret=Secret(label="admin_password", value=value, names=names))


@pytest.mark.parametrize(
    "value",
    [
        GOOD,
        "correct horse battery staple",
        "Zürich-über-Köln-7",
        "0d6f8a1b2c3e4f5a6b7c8d9e",
        "administrator-of-Genoa-1492-x",
        "8#kd{{x}}m2!p",
        "$6$x7Fq-not-a-hash",
    ],
)
def test_good(value):
    assert judged(value) == []


@pytest.mark.parametrize(
    ("value", "reasons"),
    [
        (None, ["is not defined (or its vault cannot be opened)"]),
        (123456789012, ["is not text (put it in quotes)"]),
        (True, ["is not text (put it in quotes)"]),
        ("", ["is empty"]),
        ("  \n", ["is empty"]),
        ("$ANSIBLE_VAULT;1.1;AES256\n6162", ["is still encrypted (it lacks the !vault tag)"]),
        (GOOD + "\n", ["holds a line break, a control character, or white space at an end"]),
        (" " + GOOD, ["holds a line break, a control character, or white space at an end"]),
        ("mZ4-kQ9x\tTb72w", ["holds a line break, a control character, or white space at an end"]),
        ("admin", [WELL_KNOWN, SHORT]),
        ("Odoo", [WELL_KNOWN, SHORT]),
        ("postgres", [WELL_KNOWN, SHORT]),
        ("P@ssw0rd!2024", [WELL_KNOWN]),
        ("administrator123", [WELL_KNOWN]),
        ("odoo-admin-odoo", [WELL_KNOWN]),
        ("main", [WELL_KNOWN, SHORT]),
        ("ODOO-MAIN", [WELL_KNOWN, SHORT]),
        ("main-password-2026", [WELL_KNOWN]),
        ("kQ9x_Tb72wm", [SHORT]),
        ("aaaaaaaaaaaaaaaa", [LOW]),
        ("123456789012", [LOW]),
        ("qwertyuiopasdfghjkl", [LOW]),
        ("abcdefghijklmnop", [LOW]),
        ("zyxwvutsrqponm", [LOW]),
        ("Tr0b4Tr0b4Tr0b4Tr0b4", [LOW]),
        ("abababababab", [LOW]),
    ],
)
def test_refused(value, reasons):
    assert judged(value) == reasons


@pytest.mark.parametrize(
    "value",
    [
        "changeme",
        "CHANGE ME",
        "Change_Me_main_database",
        "please change this one",
        "<put a secret here>",
        "[secret]",
        "{{ vault_main }}",
        "xxx",
        "XXXXXXXXXXXXXXXX",
        "************",
        "---",
        "...",
        "replace-me-with-a-secret",
        "PLACEHOLDER-0001",
        "your_password_here",
        "example-example",
    ],
)
def test_placeholders(value):
    assert judged(value) == [PLACEHOLDER]


def test_a_name_of_two_letters_does_not_make_words():
    assert judged("db-Xk29-fjw8-2Lqp", names=("db",)) == []
    assert WELL_KNOWN in judged("db", names=("db",))


def test_names_matter_only_to_their_own_secret():
    assert judged("genoa-genoa-1492", names=("genoa",)) == [WELL_KNOWN]
    assert judged("genoa-genoa-1492", names=("main",)) == []


@pytest.mark.parametrize("value", ["short", "smtp", "password", "aaaaaaaaaaaa"])
def test_what_others_have_chosen_is_not_judged(value):
    assert faults(secret=Secret(label="mail", value=value, names=("smtp",), ours=False)) == []


@pytest.mark.parametrize("value", [None, "", 12, "CHANGE ME", "$ANSIBLE_VAULT;1.1;AES256"])
def test_what_others_have_chosen_must_be_there(value):
    assert len(faults(secret=Secret(label="mail", value=value, ours=False))) == 1


def test_one_secret_for_two_purposes():
    given_ = [Secret(label=label, value=GOOD) for label in ("a: admin_password", "a: master_password", "b: key")]
    assert problems(secrets=given_) == ["a: admin_password, a: master_password and b: key are one and the same secret"]
    assert problems(secrets=[*given_[:1], Secret(label="other", value=GOOD + "x")]) == []


def test_missing_secrets_are_not_the_same_secret():
    assert problems(secrets=[Secret(label="a", value=None), Secret(label="b", value="")]) == [
        "a is not defined (or its vault cannot be opened)",
        "b is empty",
    ]


@pytest.mark.parametrize(
    ("value", "count"), [("aaaa", 1), ("abab", 2), ("abcd", 1), ("4321x9", 3), ("kQ9x_T", 6), ("kQk9Kq", 3)]
)
def test_variety(value, count):
    assert variety(value=value) == count


def test_the_secret_does_not_show_in_its_own_form():
    assert GOOD not in repr(Secret(label="a", value=GOOD))


FIXED = " ".join(
    [
        *problems(secrets=[Secret(label="LABEL", value=value) for value in (None, 1, "", GOOD, GOOD, " a\n")]),
        *(WELL_KNOWN, LOW, PLACEHOLDER, "is still encrypted (it lacks the !vault tag)"),
    ]
)


@settings(deadline=None)
@given(st.lists(st.text(min_size=1), min_size=1, max_size=4), st.text())
def test_no_problem_ever_holds_a_secret(values, name):
    for value in values:
        # What the fixed words hold anyway (one letter, "is") tells nothing.
        assume(value not in FIXED and value.strip() not in FIXED)
    found = problems(secrets=[Secret(label="LABEL", value=value, names=(name,)) for value in values])
    assert not any(value in line for value in values for line in found)


@settings(deadline=None)
@given(st.text(min_size=1), st.text(alphabet=string.printable))
def test_problems_are_made_of_fixed_words_only(value, name):
    phrases = {
        "is empty",
        WELL_KNOWN,
        SHORT,
        LOW,
        PLACEHOLDER,
        "is still encrypted (it lacks the !vault tag)",
        "holds a line break, a control character, or white space at an end",
    }
    assert set(judged(value, names=(name,))) <= phrases


def test_what_a_generator_makes_is_good():
    assert [judged(secrets.token_urlsafe(24)) for _attempt in range(200)] == [[]] * 200
