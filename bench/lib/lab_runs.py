"""Commands run against a lab, timed and logged."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import platform
import subprocess
import sys
import time
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIMIT_SECONDS = 1200


@dataclasses.dataclass(frozen=True)
class LabRuns:
    """One lab by its inventory, and the log that everything printed goes to."""

    inventory: pathlib.Path
    log: pathlib.Path

    def run(
        self, command: list[str], *, environment: dict[str, str] | None = None, stdin: str | None = None
    ) -> tuple[float, str]:
        """Run a command to its end; returns its seconds and what it printed. A failure ends the measurement."""
        start = time.monotonic()
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, **(environment or {})}, text=True, timeout=LIMIT_SECONDS, input=stdin,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        seconds = time.monotonic() - start
        with self.log.open("a") as log:
            log.write(f"$ {' '.join(command)}\n{done.stdout}\n")
        if done.returncode != 0:
            sys.exit(
                f"bench: {' '.join(command)} failed with {done.returncode}, see {self.log}:\n{done.stdout[-3000:]}"
            )
        return seconds, done.stdout

    def lab(self, *arguments: str, stdin: str | None = None) -> str:
        """``script/lab`` for this lab."""
        return self.run(["script/lab", "--inventory", str(self.inventory), *arguments], stdin=stdin)[1]

    def make_secrets(self) -> None:
        self.run(["bash", "-euc", '. script/lib/lab.sh; make_secrets "$0"', str(self.inventory)])

    def playbook(self, path: str, *arguments: str, **environment: str) -> tuple[float, str]:
        """Run a playbook on the lab."""
        command = [".venv/bin/ansible-playbook", path, "-i", str(self.inventory), *arguments]
        return self.run(command, environment=environment)

    def versions(self) -> dict[str, str]:
        """What the figures were measured with, on this side."""
        ansible = self.run([".venv/bin/ansible", "--version"])[1].splitlines()[0]
        return {"ansible": ansible, "python": platform.python_version(), "kernel": platform.release()}

    def write(self, result: pathlib.Path, figures: dict[str, Any]) -> None:
        """Write the figures, with what they were measured with."""
        complete = {**figures, "versions": self.versions(), "cores": os.cpu_count()}
        result.write_text(json.dumps(complete, indent=2) + "\n")
        print(f"written: {result.relative_to(ROOT)}")
