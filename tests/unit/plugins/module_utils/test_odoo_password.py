"""Password hashes against values that passlib made."""

from __future__ import annotations

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils import odoo_password
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_password import (
    is_hash,
    password_hash,
    verify_password,
)
from hypothesis import given, settings
from hypothesis import strategies as st

# passlib 1.7.4: pbkdf2_sha512.using(rounds=1000).hash(...)
PASSLIB = {
    "admin": (
        "$pbkdf2-sha512$1000$c6619v4fYyxFCIGwljJmzA$94cQYQVgstRALJCK9qSUmf/v"
        "TQasH/bQjhuoaoYzx6wAWjFjDR.ELVc5wdTRglFMrhX7BuCx1TyzcVjtib2HCQ"
    ),
    "Adm1n-Pass-X": (
        "$pbkdf2-sha512$1000$FYKwtraWEsL4v1eqNWbM2Q$WTRRD81nqgM2rCGxR0OXAw5B"
        "HclcjNAXS6i6XJuRV1J8LmwCzXpe4UMEXg83rGj7DUobTgeiigA5mmpk0z2C4Q"
    ),
    "": (
        "$pbkdf2-sha512$1000$/H.vFQJAqHUOIUTIeQ8hhA$HUEZI2vVubd3Ug8yM01HGTAx"
        "7MUBd2iQv9Lqh/wkfMk2ItFN4XKSDKv.UpHchUr0vz4V/Tx4uZzx1dFOviPM0Q"
    ),
    "ünï cödé ☃": (
        "$pbkdf2-sha512$1000$zfn/f.89R8j5v3cOwRgD4A$mdzbbfwZtPREBDV6LQOFb7G2"
        "Ob4qFsRC5G7xMZVFP8NmuD43slWtCtsT4OWwYrOuzN/HGy7AhdWp1.a0c8x8HA"
    ),
    "x" * 200: (
        "$pbkdf2-sha512$1000$S0nJOSdkDAHgXKtVau29lw$8CPqYAV9JFUQs2yR/HWxxQvD"
        "3F3v0bAyfd8G3YZanpSiiI.0ylnD9RVoz/S8h3X0gIOWIHrUGDWligO57AeF2A"
    ),
}


@pytest.mark.parametrize("password", PASSLIB)
def test_hashes_of_passlib_are_verified(password):
    assert verify_password(password, PASSLIB[password])
    assert not verify_password(password + "x", PASSLIB[password])


@pytest.mark.parametrize(
    "stored",
    [
        "",
        "admin",
        "$pbkdf2-sha512$0$c2FsdA$c2FsdA",
        "$pbkdf2-sha512$1000$$c2FsdA",
        "$pbkdf2-sha512$1000$c$c2FsdA",
        "$pbkdf2-sha512$1000$c2FsdA$c2FsdA",
        "$pbkdf2-sha256$1000$c2FsdA$c2FsdA",
        "$pbkdf2-sha512$99999999999$c2FsdA$c2FsdA",
    ],
)
def test_what_is_no_hash_of_it_never_matches(stored):
    assert not verify_password("admin", stored)


def test_a_hash_is_stable_and_has_odoos_cost(monkeypatch):
    password_hash.cache_clear()
    used = []
    real = odoo_password.hashlib.pbkdf2_hmac
    monkeypatch.setattr(
        odoo_password.hashlib,
        "pbkdf2_hmac",
        lambda name, *rest: used.append((name, rest[2])) or real(name, *rest[:2], 10),
    )
    first = password_hash("secret", "host/main")
    assert first.startswith("$pbkdf2-sha512$600000$")
    assert password_hash("secret", "host/main") == first
    assert used == [("sha512", 600_000)]
    password_hash.cache_clear()


def test_the_salt_tells_nothing_about_the_password():
    salts = {password_hash(password, "seed", rounds=1).split("$")[3] for password in ("a", "b", "c")}
    assert len(salts) == 1
    assert password_hash("a", "seed", rounds=1) != password_hash("b", "seed", rounds=1)
    assert password_hash("a", "seed", rounds=1) != password_hash("a", "other", rounds=1)


@settings(max_examples=50)
@given(st.text(), st.text(), st.integers(1, 20))
def test_round_trip(password, seed, rounds):
    stored = password_hash(password, seed, rounds=rounds)
    assert is_hash(stored)
    assert verify_password(password, stored)
    assert not verify_password(password + "\N{SNOWMAN}", stored)
