"""Start deploys and kill each in the middle of a stage, without any chance to clean up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

# Name of a task, and seconds after its beginning at which the run is killed.
MOMENTS = (
    ("slipway.odoo.postgresql : Install", 4.0),
    ("Write the configuration of each instance", 0.1),
    ("Initialise the databases", 9.0),
    ("Run the instances with their code and configuration", 0.3),
    ("slipway.odoo.edge : Install", 1.0),
)
LIMIT_SECONDS = 600


def kill_run(inventory: str, task: str, delay: float) -> str:
    """Run the deploy until ``delay`` seconds into a task; returns what happened."""
    command = [".venv/bin/ansible-playbook", "playbooks/deploy.yml", "-i", inventory]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    limit = threading.Timer(LIMIT_SECONDS, os.killpg, (run.pid, signal.SIGKILL))
    limit.start()
    tail: list[str] = []
    assert run.stdout is not None
    try:
        for line in run.stdout:
            tail = [*tail[-40:], line]
            if line.startswith("TASK [") and task in line:
                time.sleep(delay)
                os.killpg(run.pid, signal.SIGKILL)
                run.wait()
                return f"killed {delay} s into «{line.strip()}»"
    finally:
        limit.cancel()
    sys.exit(f"the run ended with {run.wait()} before it came to a task «{task}»:\n{''.join(tail)}")


if __name__ == "__main__":
    for moment in MOMENTS:
        print(kill_run(sys.argv[1], *moment), flush=True)
