# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SCRAM-SHA-256 verifiers as PostgreSQL stores them.

With a verifier, a password can be set and compared without the server ever reading it, so that it cannot get
into a statement that the server logs. Sources: RFC 5802, RFC 7677, RFC 4013 (SASLprep), and
``src/common/scram-common.c`` and ``src/common/saslprep.c`` of PostgreSQL.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import stringprep
import unicodedata

ITERATIONS = 4096
FORM = re.compile(
    r"SCRAM-SHA-256\$(?P<iterations>[1-9][0-9]{0,8}):(?P<salt>[A-Za-z0-9+/=]+)"
    r"\$(?P<stored>[A-Za-z0-9+/=]+):(?P<server>[A-Za-z0-9+/=]+)"
)
PROHIBITED = (
    stringprep.in_table_a1,
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def verifier(*, password: str, salt: bytes, iterations: int = ITERATIONS) -> str:
    """Return what PostgreSQL stores in ``pg_authid.rolpassword`` for this password.

    :param salt: random bytes; PostgreSQL takes 16
    """
    salted = hashlib.pbkdf2_hmac("sha256", prepared(password=password), salt, iterations)
    client = hmac.new(salted, b"Client Key", hashlib.sha256).digest()
    server = hmac.new(salted, b"Server Key", hashlib.sha256).digest()
    return f"SCRAM-SHA-256${iterations}:{_encoded(salt)}${_encoded(hashlib.sha256(client).digest())}:{_encoded(server)}"


def matches(*, password: str, stored: str | None) -> bool:
    """Tell whether the stored verifier is of this password; any other kind of hash does not match."""
    found = FORM.fullmatch(stored or "")
    if found is None:
        return False
    try:
        salt = base64.b64decode(found["salt"], validate=True)
    except binascii.Error:
        return False
    wanted = verifier(password=password, salt=salt, iterations=int(found["iterations"]))
    return hmac.compare_digest(wanted, stored or "")


def prepared(*, password: str) -> bytes:
    """Return the bytes that are hashed: after SASLprep, or as they are where SASLprep forbids them.

    PostgreSQL takes forbidden ones unchanged, so that any password can be used.
    """
    if password.isascii():
        return password.encode("ascii")
    mapped = "".join(
        " " if stringprep.in_table_c12(letter) else letter for letter in password if not stringprep.in_table_b1(letter)
    )
    normal = unicodedata.ucd_3_2_0.normalize("NFKC", mapped)
    return (normal if _is_allowed(normal) else password).encode("utf-8")


def _is_allowed(text: str) -> bool:
    if not text or any(forbids(letter) for letter in text for forbids in PROHIBITED):
        return False
    if not any(stringprep.in_table_d1(letter) for letter in text):
        return True
    ends_alike = stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
    return ends_alike and not any(stringprep.in_table_d2(letter) for letter in text)


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
