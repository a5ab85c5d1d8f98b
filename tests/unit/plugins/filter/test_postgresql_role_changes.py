"""Which roles are written: the missing, those with another password, those with too many rights."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.slipway.odoo.plugins.filter.postgresql_role_changes import FilterModule
from ansible_collections.slipway.odoo.plugins.module_utils.postgresql_scram import matches, verifier

FILTER = FilterModule().filters()["postgresql_role_changes"]
STORED = verifier(password="correct horse", salt=b"0123456789abcdef")


def has(stored=STORED, attributes=True):
    return {"odoo-main": {"verifier": stored, "attributes": attributes}}


def test_nothing_to_do_for_a_role_that_is_right():
    assert FILTER([{"name": "odoo-main", "password": "correct horse"}], has()) == []


@pytest.mark.parametrize(
    "current",
    [
        {},
        has(stored=None),
        has(stored="md5a3556571e93b0d20722ba62be61e8c2d"),
        has(stored=STORED.replace("4096", "4097")),
    ],
    ids=["missing", "without a password", "md5", "other verifier"],
)
def test_writes_a_verifier_of_the_password(current):
    (change,) = FILTER([{"name": "odoo-main", "password": "correct horse", "state": "present"}], current)
    assert change["name"] == "odoo-main"
    assert change["verifier"] != STORED
    assert matches(password="correct horse", stored=change["verifier"])


def test_a_new_password_gets_a_new_salt_each_time():
    role = [{"name": "odoo-main", "password": "battery staple"}]
    first, second = FILTER(role, has()), FILTER(role, has())
    assert first[0]["verifier"] != second[0]["verifier"]
    assert matches(password="battery staple", stored=first[0]["verifier"])


def test_wrong_attributes_keep_the_verifier():
    role = [{"name": "odoo-main", "password": "correct horse"}]
    assert FILTER(role, has(attributes=False)) == [{"name": "odoo-main", "verifier": STORED}]


def test_absent_roles_are_passed_over_and_order_is_kept():
    roles = [
        {"name": "b", "password": "one password"},
        {"name": "gone", "state": "absent"},
        {"name": "a", "password": "one password"},
    ]
    assert [change["name"] for change in FILTER(roles, {})] == ["b", "a"]


@pytest.mark.parametrize("role", [{"name": "x"}, {"name": "x", "password": ""}, {"name": "x", "password": 12345678}])
def test_a_role_needs_a_password(role):
    with pytest.raises(AnsibleFilterError, match="role x needs a password") as caught:
        FILTER([role], {})
    assert "12345678" not in str(caught.value)
