"""SCRAM verifiers: against what PostgreSQL made itself, and against another implementation of SASLprep."""

from __future__ import annotations

import base64

import pytest
from ansible_collections.community.postgresql.plugins.module_utils.saslprep import saslprep
from ansible_collections.slipway.odoo.plugins.module_utils.postgresql_scram import FORM, matches, prepared, verifier
from hypothesis import given
from hypothesis import strategies as st

# SELECT rolpassword FROM pg_authid after ALTER ROLE … PASSWORD '…', PostgreSQL 17.12
MADE_BY_POSTGRESQL = [
    (
        "correct horse",
        (
            "SCRAM-SHA-256$4096:bzWGY3zUr798bn6FjGE72g=="
            "$gj2zWZZjtyuw+RkG9F6N7g3hnsVLfLQ+ZPMvx37OXYM=:g66r2rkTg5m+ENzlUCaNMFm5xhlkIMzVK1swXEGAdNE="
        ),
    ),
    (
        "pässwörd",
        (
            "SCRAM-SHA-256$4096:71wZXiJc7xlc2nB78HwV6g=="
            "$ndgKC2Jf1Psc/2WNPooS1cax5WPAXD19sP8rk+U/S3s=:1UP5ySw/op6B5Dxk0hdOdTLtoS6IDI+eCi1dvTYEBi0="
        ),
    ),
    (
        "no\u00a0break \u2168 soft\u00adhyphen",
        (
            "SCRAM-SHA-256$4096:cfvNnVNPBnKW0NTTV8O2uw=="
            "$tMXp6/MO2u0a02H245ldX5ZDJbD00f8TPuI2KtyICyo=:KnwkGGB/+Nmj0h49SWmFJp2JZ8MBScMC/L3WuHh+kec="
        ),
    ),
    (
        "\u0627\u0031",
        (
            "SCRAM-SHA-256$4096:nJTwiMSzTmfqehu125Uogg=="
            "$axgbZ5s97G5aG4XBGNZcI6emU8UDEvcsVCokfgatb/k=:1snqKSgnj1H+64hSfD4n5pl1HCA8AGIZw271CeDIIXs="
        ),
    ),
    (
        "a\u0007ü",
        (
            "SCRAM-SHA-256$4096:m/fYhmieFN+4I63sEYAE9A=="
            "$Mvc46D4rQ/9ZAFQ9KJDp+8KoTEf1AqBmD75+aoTzS2Y=:gw72tOxw1StoYcFhnf6//9wlVhuqmLRZiqRyTIVrcUw="
        ),
    ),
    (
        "日本語パスワード",
        (
            "SCRAM-SHA-256$4096:vAziWasWVa6+84bDqotTUQ=="
            "$sN9hgWEDeU2w6NZfpQ0mZQb6Tc9Bop6Al1r5oPp3jTQ=:+ZtrTHt0rP/8vY0paT4lbKIWnF4M/WULHj7jtPDgIhk="
        ),
    ),
]

SALTS = st.binary(min_size=1, max_size=32)
PASSWORDS = st.text(min_size=1, max_size=40).filter(lambda text: text.isprintable())


@pytest.mark.parametrize(("password", "stored"), MADE_BY_POSTGRESQL)
def test_agrees_with_postgresql(password, stored):
    salt = base64.b64decode(FORM.fullmatch(stored)["salt"])
    assert verifier(password=password, salt=salt) == stored
    assert matches(password=password, stored=stored)
    assert not matches(password=password + "x", stored=stored)


@pytest.mark.parametrize(
    "stored",
    [
        None,
        "",
        "md5a3556571e93b0d20722ba62be61e8c2d",
        "SCRAM-SHA-256$0:c2FsdA==$c3RvcmVk:c2VydmVy",
        "SCRAM-SHA-256$4096:c2F$c3RvcmVk:c2VydmVy",
        "SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy",
        "SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk",
        "secret",
    ],
)
def test_anything_else_does_not_match(stored):
    assert not matches(password="secret", stored=stored)


@given(password=PASSWORDS, salt=SALTS)
def test_a_verifier_matches_its_password_only(password, salt):
    stored = verifier(password=password, salt=salt, iterations=2)
    assert FORM.fullmatch(stored)
    assert matches(password=password, stored=stored)
    assert not matches(password=password + "!", stored=stored)


@given(password=PASSWORDS, salts=st.lists(SALTS, min_size=2, max_size=2, unique=True))
def test_another_salt_gives_another_verifier(password, salts):
    first, second = (verifier(password=password, salt=salt, iterations=1) for salt in salts)
    assert first != second


@given(text=st.text(min_size=1, max_size=40))
def test_prepares_as_saslprep_does(text):
    try:
        wanted = saslprep(text) or text
    except ValueError:
        wanted = text
    if text.isascii():
        wanted = text
    assert prepared(password=text) == wanted.encode("utf-8")


@pytest.mark.parametrize(
    ("password", "wanted"),
    [
        ("plain", "plain"),
        ("soft\u00adhyphen", "softhyphen"),
        ("no\u00a0break", "no break"),
        ("\u2168", "IX"),
        ("\u0627\u0031", "\u0627\u0031"),
        ("ü\u0007", "ü\u0007"),
    ],
)
def test_saslprep_examples(password, wanted):
    assert prepared(password=password) == wanted.encode("utf-8")
