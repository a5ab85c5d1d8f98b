"""What the playbooks promise on hosts that are as they should be, and on bad input."""

from __future__ import annotations

import re
from typing import Any

import pytest


def changes(output: str) -> dict[str, int]:
    """Changed tasks of each host in the recap."""
    recap = output.rpartition("PLAY RECAP")[2]
    return {host: int(count) for host, count in re.findall(r"^(\S+)\s*:.*changed=(\d+)", recap, re.MULTILINE)}


def test_check_mode_finds_nothing_to_do(run_playbook: Any) -> None:
    done = run_playbook("deploy.yml", "--check", "--diff")
    assert done.returncode == 0, done.stdout[-3000:]
    counted = changes(done.stdout)
    assert counted
    assert not any(counted.values()), done.stdout


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("demo_admin_password=admin", "admin_password"),
        ("demo_database_password={{ demo_admin_password }}", "database_password"),
        ('{"odoo_config": {"wokers": 4}}', "workers"),
        ('{"odoo_config": {"http_port": 9999}}', "http_port"),
        ('{"odoo_instances": []}', "at least one instance"),
    ],
)
def test_bad_input_is_refused_before_anything_changes(run_playbook: Any, extra: str, words: str) -> None:
    done = run_playbook("deploy.yml", "-e", extra)
    assert done.returncode != 0
    assert words in done.stdout, done.stdout[-3000:]
    assert not any(changes(done.stdout).values()), done.stdout
    assert "PLAY [Base system]" not in done.stdout
