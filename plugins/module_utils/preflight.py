# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge whether a host is fit for what is to be put on it: snapshot and limits in, faults out, no I/O."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

LISTENING = "0A"


@dataclass(frozen=True)
class Process:
    """A process that holds a socket. ``unit`` is its systemd unit, empty where it has none."""

    pid: int
    name: str
    unit: str = ""

    @property
    def text(self) -> str:
        """The process for people."""
        return f"{self.name} (pid {self.pid}{', ' if self.unit else ''}{self.unit})"


@dataclass(frozen=True)
class Listener:
    """A TCP socket that listens. ``owners`` is empty where no process could be seen to hold it."""

    address: str
    port: int
    owners: tuple[Process, ...] = ()


@dataclass(frozen=True)
class Space:
    """What is free for a path: of the file system of its nearest parent that exists. Sizes in MiB."""

    path: str
    measured_at: str
    file_system: str
    total_mb: int
    free_mb: int


@dataclass(frozen=True)
class Resolved:
    """What the host's resolver says about a name; ``error`` is None when it knows it."""

    name: str
    addresses: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class Snapshot:
    """A host as it is now. ``clock`` is its time in seconds since 1970 (UTC), memory in MiB."""

    distribution: str
    version: str
    architecture: str
    python: tuple[int, ...]
    memory_mb: int
    clock: float
    init: str
    container: str = ""
    spaces: tuple[Space, ...] = ()
    listeners: tuple[Listener, ...] = ()
    names: tuple[Resolved, ...] = ()
    sees_all_processes: bool = True


@dataclass(frozen=True)
class WantedPort:
    """A port for a service; a process is right there when its unit or name matches an owner."""

    port: int
    purpose: str
    owners: tuple[str, ...] = ()


@dataclass(frozen=True)
class WantedSpace:
    """How much must be free for a path, in MiB."""

    path: str
    free_mb: int


@dataclass(frozen=True)
class Limits:
    """What a host must be. None, zero or empty: not judged.

    ``clock`` is the controller's time when it sent this, ``clock_latency`` the seconds the message may have
    taken, ``clock_tolerance`` how far the host's clock may be off.
    """

    distributions: Mapping[str, Sequence[str]] | None = None
    architectures: tuple[str, ...] = ()
    python: tuple[int, ...] = ()
    memory_mb: int = 0
    systemd: bool = True
    clock: float | None = None
    clock_tolerance: float = 30.0
    clock_latency: float = 10.0
    spaces: tuple[WantedSpace, ...] = ()
    ports: tuple[WantedPort, ...] = ()


@dataclass(frozen=True)
class Fault:
    """One thing that makes a host unfit: what is wrong, where, and what to do about it."""

    kind: str
    where: str
    what: str
    todo: str

    @property
    def text(self) -> str:
        """All of it in one line."""
        return f"{self.where}: {self.what}. {self.todo}"


def judge(*, snapshot: Snapshot, limits: Limits) -> tuple[Fault, ...]:
    """Return every fault of the host, in a steady order."""
    found: list[Fault] = []
    found += _system_faults(snapshot, limits)
    found += _memory_faults(snapshot, limits)
    found += _space_faults(snapshot, limits)
    found += _port_faults(snapshot, limits)
    found += _clock_faults(snapshot, limits)
    found += _name_faults(snapshot)
    return tuple(found)


def clock_offset(*, clock: float, sent: float, latency: float) -> tuple[float, float]:
    """Return the least and greatest offset of a clock in seconds, when the message took 0 to ``latency``."""
    return clock - sent - latency, clock - sent


def _system_faults(snapshot: Snapshot, limits: Limits) -> Iterator[Fault]:
    if limits.distributions is not None:
        versions = limits.distributions.get(snapshot.distribution, ())
        if not any(snapshot.version == one or snapshot.version.startswith(f"{one}.") for one in versions):
            known = ", ".join(f"{name} {version}" for name, all_ in limits.distributions.items() for version in all_)
            yield Fault(
                kind="distribution",
                where="operating system",
                what=f"{snapshot.distribution} {snapshot.version or '(no version)'} is not supported",
                todo=f"Use one of: {known}.",
            )
    if limits.architectures and snapshot.architecture not in limits.architectures:
        yield Fault(
            kind="architecture",
            where="architecture",
            what=f"{snapshot.architecture} is not supported",
            todo=f"Use one of: {', '.join(limits.architectures)}.",
        )
    if limits.python and snapshot.python < limits.python:
        yield Fault(
            kind="python",
            where="Python",
            what=f"{_dotted(snapshot.python)} is too old",
            todo=f"Point ansible_python_interpreter to Python {_dotted(limits.python)} or newer.",
        )
    if limits.systemd and snapshot.init != "systemd":
        yield Fault(
            kind="systemd",
            where="process 1",
            what=f"is {snapshot.init or 'unknown'}, not systemd",
            todo="Use a host or container that boots with systemd: the services are its units.",
        )


def _memory_faults(snapshot: Snapshot, limits: Limits) -> Iterator[Fault]:
    if snapshot.memory_mb < limits.memory_mb:
        yield Fault(
            kind="memory",
            where="memory",
            what=f"{snapshot.memory_mb} MiB, {limits.memory_mb} MiB are wanted",
            todo="Give the host more memory, or lower the limit.",
        )


def _space_faults(snapshot: Snapshot, limits: Limits) -> Iterator[Fault]:
    """Paths of one file system share what is free there, so their wants add up."""
    spaces = {space.path: space for space in snapshot.spaces}
    together: dict[str, list[WantedSpace]] = {}
    for wanted in limits.spaces:
        space = spaces.get(wanted.path)
        if space is None:
            yield Fault(
                kind="disk",
                where=wanted.path,
                what="its free space could not be measured",
                todo="See that its nearest existing parent directory can be read.",
            )
        else:
            together.setdefault(space.file_system, []).append(wanted)
    for wants in together.values():
        space = spaces[wants[0].path]
        total = sum(wanted.free_mb for wanted in wants)
        if space.free_mb < total:
            yield Fault(
                kind="disk",
                where=", ".join(dict.fromkeys(wanted.path for wanted in wants)),
                what=f"{space.free_mb} MiB free (measured at {space.measured_at}), {total} MiB are wanted",
                todo="Free or add disk space, or lower the limit.",
            )


def _port_faults(snapshot: Snapshot, limits: Limits) -> Iterator[Fault]:
    for wanted in limits.ports:
        where = f"port {wanted.port} ({wanted.purpose})"
        there = [listener for listener in snapshot.listeners if listener.port == wanted.port]
        strangers = {
            process.unit or process.name: process
            for listener in there
            for process in listener.owners
            if not is_owner(process=process, owners=wanted.owners)
        }
        for process in strangers.values():
            yield Fault(kind="port", where=where, what=f"taken by {process.text}", todo=_how_to_free(process))
        hidden = [listener.address for listener in there if not listener.owners]
        if hidden and not strangers:
            yield Fault(
                kind="port",
                where=where,
                what=f"taken at {hidden[0]} by a process that cannot be seen",
                todo="Look for it outside this container or name space, or choose another port."
                if snapshot.sees_all_processes
                else "Run as root (become: true) to see whose it is.",
            )


def _how_to_free(process: Process) -> str:
    if process.unit:
        return f"Stop and disable {process.unit}, or choose another port."
    if process.pid == 1:
        return "Stop and disable its socket unit (systemctl list-sockets), or choose another port."
    return f"Stop {process.name}, or choose another port."


def is_owner(*, process: Process, owners: Iterable[str]) -> bool:
    """Tell whether a process is one that is to own a port: its unit or its name matches a pattern.

    ``postgresql@`` stands for every instance of that template unit.
    """
    patterns = [f"{owner}*" if owner.endswith("@") else owner for owner in owners]
    return any(fnmatchcase(name, pattern) for name in (process.unit, process.name) for pattern in patterns)


def _clock_faults(snapshot: Snapshot, limits: Limits) -> Iterator[Fault]:
    if limits.clock is None:
        return
    low, high = clock_offset(clock=snapshot.clock, sent=limits.clock, latency=limits.clock_latency)
    if low > limits.clock_tolerance or high < -limits.clock_tolerance:
        off = low if low > 0 else high
        yield Fault(
            kind="clock",
            where="clock",
            what=f"at least {abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} the controller's",
            todo="Set both clocks by NTP (systemd-timesyncd or chrony) and see that they are synchronised.",
        )


def _name_faults(snapshot: Snapshot) -> Iterator[Fault]:
    for name in snapshot.names:
        if name.error is not None:
            yield Fault(
                kind="name",
                where=f"name {name.name}",
                what=f"does not resolve ({name.error})",
                todo="Add it to DNS or to /etc/hosts, or give an address instead.",
            )


def report(*, faults: Mapping[str, Sequence[str]]) -> str:
    """Return all faults as one numbered text, under what they belong to; empty where there are none."""
    lines: list[str] = []
    number = 0
    for title, texts in faults.items():
        lines += [f"{title}:"] if texts else []
        for text in texts:
            number += 1
            lines.append(f"  {number}. {text}")
    head = "Preflight found one fault" if number == 1 else f"Preflight found {number} faults"
    return "\n".join([f"{head}. Nothing was changed.", *lines]) if number else ""


def _dotted(version: Sequence[int]) -> str:
    return ".".join(str(part) for part in version)


# What the kernel and systemd write about themselves, read into the forms above.


def parse_os_release(text: str) -> dict[str, str]:
    """Return the keys of ``/etc/os-release`` (os-release(5)) with their values unquoted."""
    found = re.findall(r"""^([A-Z0-9_]+)=(["']?)(.*)\2[ \t]*$""", text, re.MULTILINE)
    return {key: re.sub(r"\\(.)", r"\1", value) for key, _quote, value in found}


def parse_memory_mb(*, meminfo: str, limit: str = "") -> int:
    """Return the memory in MiB: ``/proc/meminfo``'s, or the cgroup's limit when that is lower."""
    found = re.search(r"^MemTotal:\s+(\d+) kB$", meminfo, re.MULTILINE)
    total = int(found.group(1)) // 1024 if found else 0
    allowed = limit.strip()
    return min(total, int(allowed) // 1024**2) if allowed.isdigit() else total


def parse_sockets(text: str, *, byteorder: str = sys.byteorder) -> tuple[tuple[str, int, int], ...]:
    """Return address, port and inode of each listening socket of ``/proc/net/tcp`` or ``/proc/net/tcp6``."""
    sockets = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) >= 10 and fields[3] == LISTENING:
            address, port = fields[1].split(":")
            sockets.append((_address(address, byteorder=byteorder), int(port, 16), int(fields[9])))
    return tuple(sockets)


def _address(digits: str, *, byteorder: str) -> str:
    """The kernel prints an address as 32-bit words in the machine's own byte order."""
    words = [bytes.fromhex(digits[start : start + 8]) for start in range(0, len(digits), 8)]
    packed = b"".join(word[::-1] if byteorder == "little" else word for word in words)
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def parse_unit(cgroup: str) -> str:
    """Return the service from ``/proc/PID/cgroup`` (v2, or v1's systemd hierarchy), or nothing.

    The outermost one counts: what a container runs inside belongs to the service that runs the container.
    """
    paths = dict(line.split(":", 2)[1:] for line in cgroup.splitlines() if line.count(":") >= 2)
    for controller in ("", "name=systemd"):
        found = re.search(r"([^/]+\.service)(?=/|$)", paths.get(controller, ""))
        if found:
            return found.group(1)
    return ""
