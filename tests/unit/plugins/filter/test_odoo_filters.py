"""The filters for Odoo's configuration: what they pass on, and what they refuse."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.slipway.odoo.plugins.filter.odoo_config_problems import FilterModule as Problems
from ansible_collections.slipway.odoo.plugins.filter.odoo_config_text import FilterModule as Text
from ansible_collections.slipway.odoo.plugins.filter.odoo_master_password_hash import (
    FilterModule as MasterHash,
)
from ansible_collections.slipway.odoo.plugins.filter.odoo_workers import FilterModule as Workers
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_password import password_hash, verify_password

problems = Problems().filters()["odoo_config_problems"]
text = Text().filters()["odoo_config_text"]
master_hash = MasterHash().filters()["odoo_master_password_hash"]
workers = Workers().filters()["odoo_workers"]


def test_problems():
    assert problems({"workers": 4}, "19.0") == []
    assert problems({"worker": 4}, 19.0) == ["worker: unknown to Odoo 19.0: did you mean workers?"]
    assert len(problems({"workers": 4}, "19.0", reserved=["workers"])) == 1
    assert problems({"running_env": "x"}, "19.0", allowed=["running_env"]) == []
    with pytest.raises(AnsibleFilterError, match="needs a dictionary, not list"):
        problems(["workers"], "19.0")


def test_text():
    assert text({"workers": 4}, {"user": "odoo-main"}).splitlines()[1:3] == ["[options]", "workers = 4"]
    with pytest.raises(AnsibleFilterError, match="must be a single line"):
        text({"db_user": "a\nb"})
    with pytest.raises(AnsibleFilterError, match="needs dictionaries"):
        text("workers = 4")
    with pytest.raises(AnsibleFilterError, match="needs dictionaries"):
        text({}, ["user"])


def test_master_hash():
    stored = master_hash("master-secret", "app1/main")
    assert stored.startswith("$pbkdf2-sha512$600000$")
    assert verify_password("master-secret", stored)
    assert master_hash("master-secret", "app1/main") == stored
    assert master_hash("master-secret", "app2/main") != stored
    assert master_hash(stored, "app1/main") == stored


@pytest.mark.parametrize(("password", "seed"), [("", "x"), (None, "x"), (1, "x"), ("x", ""), ("x", None)])
def test_master_hash_refuses_what_is_no_password_or_seed(password, seed):
    with pytest.raises(AnsibleFilterError):
        master_hash(password, seed)


def test_a_password_that_looks_like_a_hash_is_taken_for_one_only_when_it_is_whole():
    assert master_hash("$pbkdf2-sha512$", "x") != "$pbkdf2-sha512$"
    whole = password_hash("x", "y", rounds=1)
    assert master_hash(whole, "z") == whole


def test_workers():
    assert workers(4, 16384, 60)["workers"] == 8
    # Templates turn numbers into texts now and then.
    assert workers("4", "16384", "60") == workers(4, 16384, 60)
    assert workers(8, 8192, 90, shared=6000)["workers"] < workers(8, 8192, 90)["workers"]
    for bad in ((0, 1024, 5), ("many", 1024, 5), (4, None, 5)):
        with pytest.raises(AnsibleFilterError, match="odoo_workers"):
            workers(*bad)
