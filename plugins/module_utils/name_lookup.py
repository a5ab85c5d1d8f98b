# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resolve names within a given time: ``getaddrinfo`` itself knows no timeout."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Lookup:
    """What the resolver of this host said about one name.

    ``error`` is None when ``addresses`` (in the resolver's order) are known.
    """

    name: str
    addresses: tuple[str, ...] = ()
    error: str | None = None


def look_up(*, names: Iterable[str], timeout: float) -> tuple[Lookup, ...]:
    """Resolve all names at the same time, waiting at most ``timeout`` seconds for all of them together."""
    wanted = tuple(dict.fromkeys(names))
    answers: dict[str, Lookup] = {}

    def ask(name: str) -> None:
        answers[name] = _ask(name)

    # Daemon threads: one that hangs in the resolver must not keep the module from ending.
    threads = [threading.Thread(target=ask, args=(name,), daemon=True) for name in wanted]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + timeout
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = f"the resolver gave no answer within {timeout:g} s"
    return tuple(answers.get(name) or Lookup(name=name, error=late) for name in wanted)


def _ask(name: str) -> Lookup:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        return Lookup(name=name, error=error.strerror or str(error))
    except (OSError, UnicodeError) as error:
        return Lookup(name=name, error=str(error))
    return Lookup(name=name, addresses=tuple(dict.fromkeys(str(entry[4][0]) for entry in found)))
