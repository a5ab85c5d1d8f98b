# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``slipway-backup VERB``: see docs/backup.md."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

from . import config as configuration
from . import drill, filestore, health, jobs, notify, restore, runner
from .host import BusyError, say

BUSY = 75


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="slipway-backup", description="Backups of this host and their proof.")
    verbs = top.add_subparsers(dest="verb", required=True)
    job = verbs.add_parser("run", help="run a job as its timer does")
    job.add_argument("job", choices=[*jobs.JOBS, "health", "drill"])
    verbs.add_parser("prepare", help="make the stanza and the repositories where there are none")
    verbs.add_parser("adopt", help="let the repository take the new cluster of a host that was built anew")
    verbs.add_parser("status", help="how each job ended last, as JSON")
    message = verbs.add_parser("notify", help="send a message, its text on standard input")
    message.add_argument("subject")
    restore.add_verbs(verbs)
    filestore.add_verbs(verbs)
    return top


def act(options: argparse.Namespace) -> dict[str, Any]:
    """Do what the command line asks for."""
    config = configuration.load()
    if options.verb == "run":
        # As in the unit, so that a run by hand is the same.
        os.umask(0o077)
        every = {**jobs.JOBS, "health": health.look, "drill": drill.run_drill}
        return runner.run_job(config, options.job, every[options.job])
    if options.verb == "prepare":
        return jobs.prepare(config)
    if options.verb == "adopt":
        return jobs.adopt(config)
    if options.verb == "status":
        return {"jobs": runner.jobs(config)}
    if options.verb == "notify":
        faults = notify.send(config, options.subject, sys.stdin.read())
        if faults:
            raise SlipwayError("; ".join(faults))
        return {}
    result: dict[str, Any] = options.action(config, options)
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, and say what went wrong in one line."""
    options = parser().parse_args(arguments)
    try:
        result = act(options)
    except BusyError as error:
        say(f"busy: {error}")
        return BUSY
    except SlipwayError as error:
        runner.report(str(error))
        return 1
    if result:
        print(json.dumps(result, sort_keys=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
