# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The live cluster that a restore finds: whether it runs, and what of it is not in the archive yet."""

from __future__ import annotations

import time

from ansible_collections.slipway.odoo.plugins.module_utils import backup_restore as thinking
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

from . import host
from .config import Config
from .restore_sql import rows

LOCK = "restore"
"""Of the verbs that change something in it: one at a time."""

WAL_WAIT_SECONDS = 60


def unit_of(config: Config) -> str:
    """The systemd unit of the cluster."""
    part = config.part("database")
    return f"postgresql@{part['version']}-{part['cluster']}.service"


def cluster_runs(config: Config) -> bool:
    """Whether the live cluster runs."""
    return host.run_raw(["systemctl", "is-active", "--quiet", unit_of(config)]).returncode == 0


def flush_wal(port: int) -> None:
    """Have everything until now archived, so that every moment before now can be reached.

    A server that does not run, or whose archiving fails, keeps nothing from being restored.
    """
    try:
        # A commit that is later than the wanted time: PostgreSQL only stops at one.
        rows("postgres", "SELECT txid_current()", port=port)
        segment = rows("postgres", "SELECT pg_walfile_name(pg_switch_wal())", port=port)[0][0]
        deadline = time.monotonic() + WAL_WAIT_SECONDS
        while time.monotonic() < deadline:
            archived, failing = rows(
                "postgres",
                """SELECT last_archived_wal, last_failed_time > coalesce(last_archived_time, '-infinity')
                     FROM pg_stat_archiver""",
                port=port,
            )[0]
            if failing:
                # As on a host that was built anew, whose cluster the repository does not know.
                host.say("note: this server's archiving fails; what it has not archived cannot be reached")
                return
            if archived and thinking.position(archived) and archived[:24] >= segment:
                return
            time.sleep(0.2)
        host.say(
            f"note: the server did not archive {segment} within {WAL_WAIT_SECONDS} s; what came last cannot be reached"
        )
    except SlipwayError as error:
        host.say(f"note: the WAL of this server was not flushed: {error}")
