"""Log rotation, and what must not be in a log."""

from __future__ import annotations

import base64
import time
from typing import Any

import pytest


def inode(host: Any, path: str) -> str:
    return host.check_output("stat -c %%i %s", path)


def wait_until_written(host: Any, path: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if host.file(path).exists and host.file(path).size > 0:
            return
        time.sleep(0.5)
    raise AssertionError(f"nothing was written to {path} after its rotation")


def test_rotated_logs_are_written_on(database: Any, application: Any, edge: Any, browser: Any) -> None:
    odoo_log = "/var/log/odoo/main/odoo.log"
    edge_log = edge.check_output("ls /var/log/nginx/*main*access*.log | head -n 1")
    database_log = database.check_output("ls -t /var/log/postgresql/*.log | head -n 1")
    browser.get("/web/login").read()
    before = inode(application, odoo_log)
    for host in {database, application, edge}:
        done = host.run("logrotate --force /etc/logrotate.conf")
        assert done.rc == 0, done.stderr
        assert "error" not in done.stderr.lower()
    browser.get("/web/login").read()
    database.run("PGPASSWORD=wrong psql -h 127.0.0.1 -U nobody -d main -c 'SELECT 1'")
    wait_until_written(application, odoo_log)
    assert inode(application, odoo_log) != before
    wait_until_written(edge, edge_log)
    wait_until_written(database, database_log)


@pytest.mark.parametrize("name", ["demo_database_password", "demo_admin_password", "demo_master_password"])
def test_no_log_and_no_other_file_holds_a_secret(all_hosts: dict[str, Any], secrets: dict[str, str], name: str) -> None:
    # sudo logs commands, this one too: the secret must not stand in it.
    pattern = base64.b64encode(secrets[name].encode()).decode()
    for host in all_hosts.values():
        found = host.run(
            f"umask 077; echo {pattern} | base64 -d >/dev/shm/pattern; "
            "grep -rlF --exclude=main.conf -f /dev/shm/pattern /var/log /etc /tmp /var/tmp /root /home /run/systemd "
            "2>/dev/null; "
            "journalctl --no-pager | grep -cF -f /dev/shm/pattern; rm /dev/shm/pattern"
        )
        assert found.stdout.split() == ["0"], (name, found.stdout)
