"""Running commands and speaking up, for all of the lab."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence


class LabError(Exception):
    """What keeps the lab from running, with what to do about it."""


def say(message: str) -> None:
    print(f"lab: {message}", file=sys.stderr, flush=True)


def run(
    command: Sequence[str | os.PathLike[str]],
    *,
    stdin: str | None = None,
    check: bool = True,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a command and return its output; its error output becomes the message when it fails."""
    done = subprocess.run(
        [os.fspath(part) for part in command],
        input=stdin, capture_output=True, text=True, check=False, env={**os.environ, **(environment or {})},
    )  # fmt: skip
    if check and done.returncode != 0:
        tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-15:])
        raise LabError(f"`{' '.join(map(str, command[:6]))} …` failed with {done.returncode}:\n{tail}")
    return done.stdout
