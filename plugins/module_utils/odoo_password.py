# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Odoo's password hashes with the standard library only: no passlib on controller or target.

Odoo hashes with passlib's ``pbkdf2_sha512`` at 600,000 rounds (``crypt_context`` in
``odoo/tools/config.py``, ``MIN_ROUNDS`` in ``res_users.py``): ``$pbkdf2-sha512$rounds$salt$digest``,
both parts in passlib's base64 (``.`` for ``+``, no padding). One hash costs about 0.4 s.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import hmac
import re

ROUNDS = 600_000
#: A hostile or broken hash must not keep a run busy for hours.
MAX_ROUNDS = 20_000_000
_SALT_BYTES = 16
_HASH = re.compile(r"\$pbkdf2-sha512\$([1-9][0-9]*)\$([A-Za-z0-9./]+)\$([A-Za-z0-9./]+)")


def is_hash(stored: str) -> bool:
    """Tell whether a stored value is a hash of the kind that Odoo writes."""
    return bool(_HASH.fullmatch(stored))


def verify_password(password: str, stored: str) -> bool:
    """Tell whether ``stored`` is the hash of ``password``; anything that is no such hash is not.

    A plain-text value is never a match, so that it is replaced by a hash.
    """
    match = _HASH.fullmatch(stored or "")
    if not match or int(match[1]) > MAX_ROUNDS:
        return False
    try:
        salt, digest = _decode(match[2]), _decode(match[3])
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(_digest(password, salt, int(match[1])), digest)


@functools.lru_cache(maxsize=64)
def password_hash(password: str, seed: str, rounds: int = ROUNDS) -> str:
    """Hash a password so that a second run writes the same text.

    The salt comes from ``seed`` alone. Were the password part of it, anybody holding the hash could
    test guesses against the salt and skip all the rounds.

    :param seed: something unique to the place of use, such as host and instance.
    """
    salt = hmac.new(b"slipway.odoo password salt", seed.encode(), hashlib.sha256).digest()[:_SALT_BYTES]
    return f"$pbkdf2-sha512${rounds}${_encode(salt)}${_encode(_digest(password, salt, rounds))}"


def _digest(password: str, salt: bytes, rounds: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha512", password.encode(), salt, rounds)


def _encode(data: bytes) -> str:
    return base64.b64encode(data, altchars=b"./").rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"./", validate=True)
