"""A restore of the cluster that is undone: what comes after it is what is restored from then on."""

from __future__ import annotations

import uuid
from typing import Any

DATA = "/var/lib/postgresql/17/main"
UNIT = "postgresql@17-main.service"
COPY = "main-copy"


def test_after_the_old_data_directory_is_put_back_the_newest_state_is_its_own(box: Any, sql: Any) -> None:
    box.run("full")
    box.sh("systemctl stop odoo@main.service")
    try:
        done = box.call("slipway-backup restore-cluster --to latest --replace-cluster", patience=120)
        given_up = f"slipway-test-{uuid.uuid4()}"
        sql(f"INSERT INTO ir_config_parameter (key, value) VALUES ('{given_up}', 'x')")
        sql("SELECT pg_switch_wal()", name="postgres")
        box.sh("timeout 60 runuser -u postgres -- pgbackrest --stanza=main check")
        box.sh(
            f"systemctl stop {UNIT}; mv {DATA} {DATA}.undone; mv {done.result['kept']} {DATA}; systemctl start {UNIT}; "
            f"rm -rf {DATA}.undone"
        )
        after = f"slipway-test-{uuid.uuid4()}"
        sql(f"INSERT INTO ir_config_parameter (key, value) VALUES ('{after}', 'x')")
    finally:
        box.sh("systemctl start odoo@main.service")
    said = box.call(f"slipway-backup restore-database --to latest --instance main --as {COPY}", patience=120).said
    assert "following time line" in said
    keys = {row[0] for row in sql("SELECT key FROM ir_config_parameter WHERE key LIKE 'slipway-test-%'", name=COPY)}
    assert after in keys
    assert given_up not in keys
    box.call(f"slipway-backup drop-kept --name {COPY}")
    box.run("full")
    assert box.health().broken == []
