"""The filter: from the site's description to secrets, whatever state the inventory is in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.slipway.odoo.plugins.filter import secret_problems as plugin
from ansible_collections.slipway.odoo.plugins.filter.secret_problems import (
    FilterModule,
    secret_problems,
    without_secrets,
)
from jinja2.exceptions import UndefinedError

COLLECTIONS = str(Path(plugin.__file__).parents[5])

GOOD = {
    "name": "main",
    "database_password": "mZ4-kQ9x_Tb72w",
    "admin_password": "Yw83-plm2_Kd91s",
    "master_password": "Hq56-vbn7_Xe40r",
}


def test_is_found_by_its_name():
    assert FilterModule().filters() == {
        "secret_problems": secret_problems,
        "without_secrets": without_secrets,
    }


def test_good_secrets():
    assert secret_problems([GOOD]) == []


def test_no_instances():
    assert secret_problems([]) == []


def test_each_secret_of_each_instance_is_judged():
    assert secret_problems([GOOD, {"name": "test"}]) == [
        f"instance test: {key} is not defined (or its vault cannot be opened)"
        for key in ("database_password", "admin_password", "master_password")
    ]


def test_master_and_admin_password_must_differ():
    assert secret_problems([{**GOOD, "master_password": GOOD["admin_password"]}]) == [
        "instance main: admin_password and instance main: master_password are one and the same secret"
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"admin_password": "genoa-genoa-1492", "name": "genoa"},
        {"admin_password": "genoa-genoa-1492", "database": "genoa"},
        {"admin_password": "genoa-genoa-1492", "database_user": "genoa"},
        {"admin_password": "odoo-main-odoo-main"},
    ],
)
def test_the_names_of_the_instance_are_no_secrets(change):
    found = secret_problems([{**GOOD, **change}])
    assert len(found) == 1
    assert "admin_password is a well-known word or the name" in found[0]


def test_an_instance_without_a_name_is_called_by_its_number():
    assert secret_problems([{**GOOD, "name": None, "admin_password": ""}]) == ["instance 1: admin_password is empty"]


def test_extra_secrets():
    extra = [
        {"what": "backup_passphrase", "value": "mZ4-kQ9x_Tb72w"},
        {"what": "mail_password", "value": "smtp-smtp-smtp-1", "names": ["smtp"]},
        {"value": ""},
    ]
    assert secret_problems([GOOD], extra) == [
        "mail_password is a well-known word or the name of its user, database or instance",
        "extra secret 3 is empty",
        "instance main: database_password and backup_passphrase are one and the same secret",
    ]


@pytest.mark.parametrize(
    ("server", "problems"),
    [
        ({"name": "Provider", "host": "smtp.example.test"}, []),
        ({"name": "Provider", "user": "odoo", "password": "short"}, []),
        ({"name": "Provider", "user": "odoo", "password": "CHANGE ME"}, ["Provider is a placeholder"]),
        (
            {"host": "smtp.example.test", "user": "odoo"},
            ["smtp.example.test is not defined (or its vault cannot be opened)"],
        ),
    ],
)
def test_passwords_of_mail_servers_are_only_missed(server, problems):
    expected = [f"instance main: password of mail server {problem}" for problem in problems]
    assert secret_problems([{**GOOD, "mail_servers": [server]}]) == expected


def test_secrets_that_others_have_chosen():
    extra = [{"what": "token", "value": "short", "ours": False}, {"what": "key", "value": "", "ours": False}]
    assert secret_problems([], extra) == ["key is empty"]


BACKUP = {
    "site": "prod",
    "keys": {"db1": {"key_id": "AK1", "secret_key": "k1"}, "admin": {"key_id": "AK2", "secret_key": "k2"}},
    "database_passphrase": "mZ4-kQ9x_Tb72w",
    "files_passphrase": "Pf81-tro3_Lk50s",
}


def test_secrets_of_the_backups():
    good = {**GOOD, "database_password": "Wd27-ysx8_Gu64n"}
    assert secret_problems([good], backup=BACKUP) == []
    assert secret_problems([good], backup={}) == []
    keys = {
        "db1": {"key_id": "CHANGE ME", "secret_key": "k"},
        "app1": None,
        "admin": {"key_id": "A", "secret_key": "k"},
    }
    assert secret_problems([good], backup={**BACKUP, "keys": keys, "files_passphrase": "short"}) == [
        "slipway_backup: files_passphrase is shorter than 12 characters",
        "slipway_backup: key_id of db1 is a placeholder",
        "slipway_backup: key_id of app1 is not defined (or its vault cannot be opened)",
        "slipway_backup: secret_key of app1 is not defined (or its vault cannot be opened)",
        "slipway_backup: secret_key of db1 and slipway_backup: secret_key of admin are one and the same secret",
    ]


class Closed(dict):
    """An instance whose secrets cannot be read, as ansible-core gives it."""

    def __getitem__(self, key):
        if key in ("admin_password", "config"):
            raise UndefinedError(f"'vault_{key}' is undefined")
        return super().__getitem__(key)

    def get(self, key, default=None):
        return self[key] if self.keys() & {key} else default


def test_a_closed_vault_is_no_error():
    (problem,) = secret_problems([Closed({**GOOD, "config": {}})])
    assert problem == "instance main: admin_password is not defined (or its vault cannot be opened)"


def test_without_secrets():
    config = {"smtp_password": "x", "workers": 2}
    described = {**GOOD, "config": config, "mail_servers": [{"password": "x"}], "users": 3}
    assert without_secrets([described]) == [{"name": "main", "users": 3, "config": {"workers": 2}}]
    assert without_secrets([Closed(described)]) == [{"name": "main", "users": 3}]


@pytest.mark.parametrize("instances", [None, "text", [1], {"a": 1}])
def test_what_is_no_list_of_instances_is_left_to_others(instances):
    assert without_secrets(instances) == instances


@pytest.mark.parametrize("instances", ["hunter2hunter2", ["hunter2hunter2"], {"password": "hunter2hunter2"}, None, 3])
def test_another_form_is_refused_without_showing_it(instances):
    with pytest.raises(AnsibleFilterError) as caught:
        secret_problems(instances)
    assert "hunter2" not in str(caught.value)


def test_what_ansible_cannot_template_is_a_missing_secret(tmp_path):
    """In a real run: the variable of a vault that was not given, and a text that nobody can decrypt."""
    site = tmp_path / "site.yml"
    site.write_text(
        "instances:\n"
        "  - name: main\n"
        "    database_password: mZ4-kQ9x_Tb72w\n"
        "    admin_password: '{{ vault_nowhere }}'\n"
        "    master_password: !vault |\n"
        "      $ANSIBLE_VAULT;1.1;AES256\n"
        "      3031\n"
    )
    command = [sys.executable, "-m", "ansible", "adhoc", "localhost", "-m", "ansible.builtin.debug"]
    command += ["-a", "msg={{ instances | slipway.odoo.secret_problems }}", "-e", f"@{site}"]
    configuration = tmp_path / "ansible.cfg"
    configuration.touch()
    settings = {
        "ANSIBLE_COLLECTIONS_PATH": COLLECTIONS,
        "ANSIBLE_CONFIG": str(configuration),
        "HOME": str(tmp_path),
    }
    run = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert json.loads(run.stdout.split(" => ", 1)[1])["msg"] == [
        "instance main: admin_password is not defined (or its vault cannot be opened)",
        "instance main: master_password is not defined (or its vault cannot be opened)",
    ]


SOURCE = {"name": "health", "url": "https://x.example/health", "api_key": "x", "login": {"password": "y"}, "body": {}}


def test_contracts_are_shown_without_what_they_log_in_with():
    described = {**GOOD, "contracts": [{"name": "board", "expected": "1.0.0", "sources": [SOURCE]}, {"name": "files"}]}
    (shown,) = without_secrets([described])
    assert shown["contracts"] == [
        {"name": "board", "expected": "1.0.0", "sources": [{"name": "health", "url": "https://x.example/health"}]},
        {"name": "files"},
    ]


def test_what_a_contract_logs_in_with_must_be_there():
    source = {"name": "health", "api_key": None, "login": {"user": "u", "password": ""}}
    described = {**GOOD, "contracts": [{"name": "board", "sources": [source]}]}
    assert secret_problems([described]) == [
        "instance main: api_key of source health of contract board is not defined (or its vault cannot be opened)",
        "instance main: password of source health of contract board is empty",
    ]
