"""What cannot be sent to the store waits on the host, within a bound."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

SPOOL = "/var/spool/slipway/backup"
FILESTORE = "/var/lib/odoo/main/filestore/main"
ATTACHMENT = f"{FILESTORE}/ff/ff{'0' * 38}"


@pytest.fixture
def new_file(box: Any) -> Any:
    """A file that came to the filestore since the last snapshot."""
    box.sh(
        f"install -D -o odoo-main -g odoo-main -m 0640 /etc/hostname {ATTACHMENT}; echo $RANDOM-$RANDOM >>{ATTACHMENT}"
    )
    yield ATTACHMENT
    box.sh(f"rm -f {ATTACHMENT}")


def test_the_spool_is_bounded(box: Any, store_away: Callable[[], Any], new_file: str) -> None:
    good = box.good("dump")
    with box.configured(spool={"max_mb": 1}):
        said = box.fails("dump", f"no room for a dump in {SPOOL}", r"of 1 MB of its bound \(backup_spool_max_mb\)")
        assert "Nothing was removed" in said
        box.sh(f"head -c 3M /dev/urandom >>{new_file}")
        with store_away():
            box.fails("files", r"its bound \(backup_spool_max_mb\) is 1 MB: nothing more is spooled")
            assert box.sh(f"ls {SPOOL}/restic 2>/dev/null || true") == ""
        assert box.health().metrics['job_consecutive_failures{job="dump"}'] == 1
    assert box.good("dump") == good
    box.run("files")
    box.run("dump")
