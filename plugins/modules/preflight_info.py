#!/usr/bin/python
# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module ``preflight_info``: is this host fit for what is to be put on it?"""

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight_info
author: Slipway contributors (@slipway)
version_added: 0.1.0
short_description: Say whether a host is fit before anything on it changes
description:
  - Looks at a host once and judges it against limits, operating system, architecture, Python, systemd,
    memory, free disk space,
    ports that others have taken, the clock, and name resolution.
  - Never fails because a host is unfit. It returns the faults, so that a playbook can gather those of all
    hosts
    and refuse once, with all of them in one message.
  - Reads C(/proc), C(/sys/fs/cgroup) and C(/etc/os-release) and starts no other program.
requirements:
  - root on the target (C(become)), to see which process holds a port
attributes:
  check_mode:
    description: Can run in check mode and returns what it does without it.
    support: full
  diff_mode:
    description: Returns details on what has changed in diff mode.
    support: N/A
    details: It changes nothing.
  idempotent:
    description: Changes nothing when it runs again.
    support: full
options:
  distributions:
    description:
      - Supported operating systems, C(ID) of C(/etc/os-release) and its versions (C(VERSION_ID), as strings).
      - A version V(13) stands for V(13.1) too. Without it, any will do.
    type: dict
  architectures:
    description: Supported machine architectures, as C(uname -m) names them. Without it, any will do.
    type: list
    elements: str
    default: []
  python:
    description: Oldest Python that will do on the target, for example V(3.11).
    type: str
    default: "3.9"
  systemd:
    description: Whether process 1 must be systemd.
    type: bool
    default: true
  memory_mb:
    description: Least memory, in MiB. In a container its own limit counts.
    type: int
    default: 0
  disk:
    description: Space that must be free. What is wanted on one file system is added up.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path. Where it does not exist yet, its nearest parent that does is measured.
        type: path
        required: true
      free_mb:
        description: Least free space, in MiB.
        type: int
        required: true
  ports:
    description: TCP ports that services are to listen on.
    type: list
    elements: dict
    default: []
    suboptions:
      port:
        description: The port.
        type: int
        required: true
      purpose:
        description: What it is for, to be shown.
        type: str
        required: true
      owners:
        description:
          - Whose it may be already, so that a second run finds its own services in their places.
          - Shell patterns of a systemd unit (V(odoo@main.service), V(postgresql@*.service)) or of a process
            name.
          - V(postgresql@) stands for every instance of that template unit.
        type: list
        elements: str
        default: []
  names:
    description: Host names that must resolve. Addresses do.
    type: list
    elements: str
    default: []
  names_timeout:
    description: Seconds to wait for the resolver, for all names together.
    type: float
    default: 5.0
  controller_time:
    description:
      - Time on the controller, in seconds since 1970 (UTC), as late as possible before the module runs.
      - Without it the clock is not judged.
    type: float
  clock_tolerance:
    description: Seconds that the clock may be off.
    type: float
    default: 30.0
  clock_latency:
    description: Seconds that may have passed between O(controller_time) and the start of the module.
    type: float
    default: 10.0
"""

EXAMPLES = r"""
- name: Look at each host
  slipway.odoo.preflight_info:
    distributions:
      debian: ["12", "13"]
    memory_mb: 2048
    disk:
      - path: /var/lib/odoo
        free_mb: 4096
    ports:
      - port: 8069
        purpose: Odoo, instance main
        owners: [odoo@main.service]
      - port: 443
        purpose: HTTPS
        owners: [nginx.service]
    names: [db1.example.com]
    controller_time: "{{ now().timestamp() }}"
  become: true
  register: host

- name: Refuse an unfit host
  ansible.builtin.assert:
    that: host.faults | length == 0
    fail_msg: "{{ host.faults | map(attribute='text') | join('\n') }}"
"""

RETURN = r"""
faults:
  description: What makes the host unfit; empty when it is fit.
  returned: always
  type: list
  elements: dict
  contains:
    kind:
      description: One of V(distribution), V(architecture), V(python), V(systemd), V(memory), V(disk),
        V(port), V(clock), V(name).
      type: str
    where:
      description: What of the host is meant.
      type: str
    what:
      description: What is wrong.
      type: str
    todo:
      description: What to do about it.
      type: str
    text:
      description: All of it in one line.
      type: str
  sample:
    - kind: port
      where: port 443 (HTTPS)
      what: taken by apache2 (pid 612, apache2.service)
      todo: Stop and disable apache2.service, or choose another port.
      text: >-
        port 443 (HTTPS): taken by apache2 (pid 612, apache2.service).
        Stop and disable apache2.service, or choose another port.
host:
  description: What was seen.
  returned: always
  type: dict
  contains:
    distribution:
      description: C(ID) of C(/etc/os-release).
      type: str
    version:
      description: C(VERSION_ID) of C(/etc/os-release).
      type: str
    architecture:
      description: As C(uname -m) names it.
      type: str
    python:
      description: Version of the Python that ran the module.
      type: str
    memory_mb:
      description: Memory in MiB.
      type: int
    init:
      description: Name of process 1.
      type: str
    container:
      description: What kind of container this is, as systemd knows it; empty when it is none.
      type: str
    clock:
      description: Time on the host, in seconds since 1970 (UTC).
      type: float
    clock_offset:
      description: Least and greatest number of seconds the clock may be ahead of the controller's; empty
        without O(controller_time).
      type: list
      elements: float
    disk:
      description: For each path, C(path), C(measured_at), C(file_system), C(total_mb) and C(free_mb).
      type: list
      elements: dict
    listeners:
      description: All TCP sockets that listen, C(address), C(port) and C(owners) (each C(pid), C(name) and
        C(unit)).
      type: list
      elements: dict
    names:
      description: For each name, C(name), C(addresses) and C(error).
      type: list
      elements: dict
"""

import os
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.odoo.plugins.module_utils.name_lookup import look_up
from ansible_collections.slipway.odoo.plugins.module_utils.preflight import (
    Limits,
    Listener,
    Process,
    Resolved,
    Snapshot,
    Space,
    WantedPort,
    WantedSpace,
    clock_offset,
    judge,
    parse_memory_mb,
    parse_os_release,
    parse_sockets,
    parse_unit,
)

MIB = 1024 * 1024


def read_snapshot(*, root: str, paths: list[str], names: list[str], names_timeout: float) -> Snapshot:
    """Look at the host whose ``/proc``, ``/sys``, ``/run`` and ``/etc`` are under ``root``."""
    clock = time.time()
    os_release = parse_os_release(read_text(root, "etc/os-release") or read_text(root, "usr/lib/os-release"))
    listeners, complete = read_listeners(root)
    found = look_up(names=names, timeout=names_timeout)
    return Snapshot(
        distribution=os_release.get("ID", ""),
        version=os_release.get("VERSION_ID", ""),
        architecture=platform.machine(),
        python=tuple(sys.version_info[:3]),
        memory_mb=parse_memory_mb(
            meminfo=read_text(root, "proc/meminfo"), limit=read_text(root, "sys/fs/cgroup/memory.max")
        ),
        clock=clock,
        init=read_text(root, "proc/1/comm").strip(),
        container=read_text(root, "run/systemd/container").strip(),
        spaces=tuple(space for path in paths for space in read_space(path)),
        listeners=listeners,
        names=tuple(Resolved(name=one.name, addresses=one.addresses, error=one.error) for one in found),
        sees_all_processes=complete,
    )


def read_space(path: str) -> Iterator[Space]:
    """Measure the file system of the path's nearest existing parent; nothing where it cannot be measured."""
    parent = os.path.abspath(path)
    while not os.path.exists(parent) and parent != os.path.dirname(parent):
        parent = os.path.dirname(parent)
    try:
        room = os.statvfs(parent)
        device = os.stat(parent).st_dev
    except OSError:
        return
    yield Space(
        path=path,
        measured_at=parent,
        file_system=str(device),
        total_mb=room.f_blocks * room.f_frsize // MIB,
        free_mb=room.f_bavail * room.f_frsize // MIB,
    )


def read_listeners(root: str) -> tuple[tuple[Listener, ...], bool]:
    """Return the listening sockets with their owners, and whether every process could be looked at."""
    sockets = parse_sockets(read_text(root, "proc/net/tcp")) + parse_sockets(read_text(root, "proc/net/tcp6"))
    owners, complete = read_owners(root, inodes={inode for _address, _port, inode in sockets})
    listeners = (
        Listener(address=address, port=port, owners=tuple(owners.get(inode, ()))) for address, port, inode in sockets
    )
    return tuple(sorted(listeners, key=lambda one: (one.port, one.address))), complete


def read_owners(root: str, *, inodes: set[int]) -> tuple[dict[int, list[Process]], bool]:
    """Return which processes hold which of the sockets; those that end meanwhile are passed over."""
    owners: dict[int, list[Process]] = {}
    complete = True
    for pid in sorted(int(name) for name in os.listdir(os.path.join(root, "proc")) if name.isdigit()):
        directory = os.path.join(root, "proc", str(pid), "fd")
        try:
            held = {inode for name in os.listdir(directory) for inode in socket_inode(os.path.join(directory, name))}
        except PermissionError:
            complete = False
            continue
        except OSError:
            continue
        for inode in held & inodes:
            process = Process(
                pid=pid,
                name=read_text(root, f"proc/{pid}/comm").strip(),
                unit=parse_unit(read_text(root, f"proc/{pid}/cgroup")),
            )
            owners.setdefault(inode, []).append(process)
    return owners, complete


def socket_inode(path: str) -> Iterator[int]:
    """Give the inode when the file descriptor is a socket."""
    try:
        target = os.readlink(path)
    except OSError:
        return
    if target.startswith("socket:["):
        yield int(target[8:-1])


def read_text(root: str, path: str) -> str:
    """Return a file's text, or nothing where there is no such file (any more) or it may not be read."""
    try:
        with open(os.path.join(root, path), encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def limits_of(params: dict[str, Any]) -> Limits:
    """:raises ValueError: when the Python version is no version"""
    distributions = params["distributions"]
    return Limits(
        distributions=None
        if distributions is None
        else {name: tuple(str(version) for version in versions) for name, versions in distributions.items()},
        architectures=tuple(params["architectures"]),
        python=tuple(int(part) for part in params["python"].split(".")),
        memory_mb=params["memory_mb"],
        systemd=params["systemd"],
        clock=params["controller_time"],
        clock_tolerance=params["clock_tolerance"],
        clock_latency=params["clock_latency"],
        spaces=tuple(WantedSpace(path=one["path"], free_mb=one["free_mb"]) for one in params["disk"]),
        ports=tuple(
            WantedPort(port=one["port"], purpose=one["purpose"], owners=tuple(one["owners"])) for one in params["ports"]
        ),
    )


def host_facts(snapshot: Snapshot, limits: Limits) -> dict[str, Any]:
    facts = asdict(snapshot)
    facts["disk"] = facts.pop("spaces")
    facts["python"] = ".".join(str(part) for part in snapshot.python)
    facts["clock_offset"] = (
        []
        if limits.clock is None
        else list(clock_offset(clock=snapshot.clock, sent=limits.clock, latency=limits.clock_latency))
    )
    return facts


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "distributions": {"type": "dict"},
            "architectures": {"type": "list", "elements": "str", "default": []},
            "python": {"type": "str", "default": "3.9"},
            "systemd": {"type": "bool", "default": True},
            "memory_mb": {"type": "int", "default": 0},
            "disk": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "path": {"type": "path", "required": True},
                    "free_mb": {"type": "int", "required": True},
                },
            },
            "ports": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "port": {"type": "int", "required": True},
                    "purpose": {"type": "str", "required": True},
                    "owners": {"type": "list", "elements": "str", "default": []},
                },
            },
            "names": {"type": "list", "elements": "str", "default": []},
            "names_timeout": {"type": "float", "default": 5.0},
            "controller_time": {"type": "float"},
            "clock_tolerance": {"type": "float", "default": 30.0},
            "clock_latency": {"type": "float", "default": 10.0},
        },
        supports_check_mode=True,
    )
    try:
        limits = limits_of(module.params)
    except (TypeError, ValueError, AttributeError):
        module.fail_json(
            msg="preflight_info: python must be a version such as 3.11, distributions a list of versions each"
        )
    snapshot = read_snapshot(
        root="/",
        paths=[wanted.path for wanted in limits.spaces],
        names=module.params["names"],
        names_timeout=module.params["names_timeout"],
    )
    faults = [dict(asdict(fault), text=fault.text) for fault in judge(snapshot=snapshot, limits=limits)]
    module.exit_json(changed=False, faults=faults, host=host_facts(snapshot, limits))


if __name__ == "__main__":
    main()
