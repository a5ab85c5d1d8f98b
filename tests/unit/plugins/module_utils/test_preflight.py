"""A host's snapshot against limits: every fault, and what is no fault."""

from __future__ import annotations

import dataclasses
import ipaddress
import sys

import pytest
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
from hypothesis import given, settings
from hypothesis import strategies as st

NGINX = Process(pid=20, name="nginx", unit="nginx.service")
APACHE = Process(pid=30, name="apache2", unit="apache2.service")
ODOO = Process(pid=40, name="odoo", unit="odoo@main.service")
HOST = Snapshot(
    distribution="debian",
    version="13",
    architecture="x86_64",
    python=(3, 13, 5),
    memory_mb=4096,
    clock=1_000_000.0,
    init="systemd",
    spaces=(
        Space(path="/var/lib/odoo", measured_at="/var/lib", file_system="1", total_mb=9000, free_mb=3000),
        Space(path="/var/lib/postgresql", measured_at="/var/lib", file_system="1", total_mb=9000, free_mb=3000),
        Space(path="/srv", measured_at="/srv", file_system="2", total_mb=9000, free_mb=500),
    ),
    listeners=(
        Listener(address="0.0.0.0", port=443, owners=(NGINX,)),
        Listener(address="127.0.0.1", port=8069, owners=(ODOO, dataclasses.replace(ODOO, pid=41))),
    ),
    names=(Resolved(name="db1", addresses=("192.0.2.1",)),),
)
LIMITS = Limits(
    distributions={"debian": ("12", "13")},
    architectures=("x86_64", "aarch64"),
    python=(3, 9),
    memory_mb=2048,
    clock=999_999.0,
    spaces=(WantedSpace(path="/var/lib/odoo", free_mb=2000), WantedSpace(path="/srv", free_mb=500)),
    ports=(
        WantedPort(port=443, purpose="HTTPS", owners=("nginx.service",)),
        WantedPort(port=8069, purpose="Odoo, instance main", owners=("odoo@main.service",)),
        WantedPort(port=5432, purpose="PostgreSQL"),
    ),
)


def faults(host=HOST, limits=LIMITS, **changes):
    host = dataclasses.replace(host, **changes)
    return [(fault.kind, fault.text) for fault in judge(snapshot=host, limits=limits)]


def limited(**changes):
    return dataclasses.replace(LIMITS, **changes)


def test_a_fit_host_has_no_faults():
    assert faults() == []


def test_without_limits_nothing_is_judged():
    bare = Snapshot(distribution="", version="", architecture="", python=(2, 7), memory_mb=0, clock=0.0, init="sh")
    assert judge(snapshot=bare, limits=Limits(systemd=False)) == ()


@pytest.mark.parametrize(
    ("changes", "kind", "text"),
    [
        (
            {"distribution": "ubuntu", "version": "24.04"},
            "distribution",
            "operating system: ubuntu 24.04 is not supported. Use one of: debian 12, debian 13.",
        ),
        (
            {"version": "11"},
            "distribution",
            "operating system: debian 11 is not supported. Use one of: debian 12, debian 13.",
        ),
        (
            {"version": ""},
            "distribution",
            "operating system: debian (no version) is not supported. Use one of: debian 12, debian 13.",
        ),
        (
            {"architecture": "riscv64"},
            "architecture",
            "architecture: riscv64 is not supported. Use one of: x86_64, aarch64.",
        ),
        (
            {"python": (3, 8, 20)},
            "python",
            "Python: 3.8.20 is too old. Point ansible_python_interpreter to Python 3.9 or newer.",
        ),
        (
            {"init": "tini"},
            "systemd",
            (
                "process 1: is tini, not systemd. Use a host or container that boots with systemd: "
                "the services are its units."
            ),
        ),
        (
            {"memory_mb": 2047},
            "memory",
            "memory: 2047 MiB, 2048 MiB are wanted. Give the host more memory, or lower the limit.",
        ),
        (
            {"names": (Resolved(name="db9", error="Name or service not known"),)},
            "name",
            (
                "name db9: does not resolve (Name or service not known). "
                "Add it to DNS or to /etc/hosts, or give an address instead."
            ),
        ),
    ],
)
def test_one_fault(changes, kind, text):
    assert faults(**changes) == [(kind, text)]


def test_a_point_release_is_the_release():
    assert faults(version="13.1") == []
    assert faults(version="130")[0][0] == "distribution"


def test_all_faults_at_once():
    kinds = [
        kind
        for kind, _text in faults(
            version="9",
            architecture="mips",
            python=(3, 7),
            init="init",
            memory_mb=1,
            spaces=(),
            listeners=(Listener(address="::", port=443, owners=(APACHE,)),),
            clock=0.0,
            names=(Resolved(name="x", error="no"),),
        )
    ]
    assert kinds == [
        "distribution", "architecture", "python", "systemd", "memory", "disk", "disk", "port", "clock",
        "name",
    ]  # fmt: skip


def test_what_is_wanted_of_one_file_system_adds_up():
    wanted = (
        WantedSpace(path="/var/lib/odoo", free_mb=2000),
        WantedSpace(path="/var/lib/postgresql", free_mb=1001),
    )
    assert faults(limits=limited(spaces=wanted)) == [
        (
            "disk",
            (
                "/var/lib/odoo, /var/lib/postgresql: 3000 MiB free (measured at /var/lib), "
                "3001 MiB are wanted. Free or add disk space, or lower the limit."
            ),
        )
    ]


def test_a_path_that_is_wanted_twice_is_named_once():
    wanted = (WantedSpace(path="/srv", free_mb=300),) * 2
    assert [text.split(" (")[0] for _kind, text in faults(limits=limited(spaces=wanted))] == ["/srv: 500 MiB free"]


def test_other_file_systems_do_not():
    wanted = (WantedSpace(path="/var/lib/odoo", free_mb=3000), WantedSpace(path="/srv", free_mb=501))
    assert [text.split(":")[0] for _kind, text in faults(limits=limited(spaces=wanted))] == ["/srv"]


def test_a_path_that_was_not_measured():
    wanted = (WantedSpace(path="/nowhere", free_mb=1),)
    assert "could not be measured" in faults(limits=limited(spaces=wanted))[0][1]


def test_a_port_taken_by_another():
    taken = (Listener(address="::", port=443, owners=(APACHE, dataclasses.replace(APACHE, pid=31))),)
    assert faults(listeners=taken) == [
        (
            "port",
            (
                "port 443 (HTTPS): taken by apache2 (pid 31, apache2.service). "
                "Stop and disable apache2.service, or choose another port."
            ),
        )
    ]


def test_a_port_taken_by_both():
    taken = (
        Listener(address="127.0.0.1", port=443, owners=(NGINX,)),
        Listener(address="192.0.2.1", port=443, owners=(APACHE,)),
    )
    assert len(faults(listeners=taken)) == 1


@pytest.mark.parametrize(
    ("process", "owners", "fine"),
    [
        (ODOO, ("odoo@main.service",), True),
        (ODOO, ("odoo@*.service",), True),
        (ODOO, ("odoo@test.service",), False),
        (ODOO, ("odoo@",), True),
        (ODOO, ("odoo",), True),
        (ODOO, ("postgresql@",), False),
        (ODOO, (), False),
        (Process(pid=9, name="postgres"), ("postgres",), True),
        (Process(pid=9, name="postgres", unit="postgresql@17-main.service"), ("postgresql@*.service",), True),
        (Process(pid=9, name="postgres", unit="podman.service"), ("postgresql@*.service",), False),
    ],
)
def test_whose_a_port_may_be(process, owners, fine):
    limits = limited(ports=(WantedPort(port=8069, purpose="x", owners=owners),))
    listeners = (Listener(address="0.0.0.0", port=8069, owners=(process,)),)
    assert (faults(limits=limits, listeners=listeners) == []) is fine


@pytest.mark.parametrize(
    ("owner", "todo"),
    [
        (Process(pid=9, name="nc"), "Stop nc, or choose another port."),
        (
            Process(pid=1, name="systemd"),
            "Stop and disable its socket unit (systemctl list-sockets), or choose",
        ),
    ],
)
def test_how_to_free_a_port(owner, todo):
    assert todo in faults(listeners=(Listener(address="::", port=5432, owners=(owner,)),))[0][1]


@pytest.mark.parametrize(("complete", "todo"), [(True, "outside this container"), (False, "Run as root")])
def test_a_port_held_by_someone_who_cannot_be_seen(complete, todo):
    (fault,) = faults(listeners=(Listener(address="0.0.0.0", port=443),), sees_all_processes=complete)
    assert "taken at 0.0.0.0 by a process that cannot be seen" in fault[1]
    assert todo in fault[1]


@pytest.mark.parametrize(
    ("offset", "text"),
    [
        (-30.0, None),
        (-31.0, "clock: at least 31 s behind the controller's"),
        (0.0, None),
        # 30 s of tolerance and 10 s that the message may have taken.
        (40.0, None),
        (41.0, "clock: at least 31 s ahead of the controller's"),
        (3600.0, "clock: at least 3590 s ahead of the controller's"),
        (-3600.0, "clock: at least 3600 s behind the controller's"),
    ],
)
def test_clock(offset, text):
    found = faults(limits=limited(clock=HOST.clock - offset))
    assert [fault[1].split(". ")[0] for fault in found] == ([text] if text else [])


@settings(deadline=None)
@given(
    real=st.floats(min_value=-1e4, max_value=1e4),
    latency=st.floats(min_value=0, max_value=10),
)
def test_a_clock_within_the_tolerance_is_never_refused(real, latency):
    """Whatever time the message took, what is refused is really off, and what is far off is refused."""
    snapshot = dataclasses.replace(HOST, clock=1e6 + real + latency)
    refused = bool(judge(snapshot=snapshot, limits=limited(clock=1e6)))
    if abs(real) <= 29.99:
        assert not refused
    if abs(real) > 40.01:
        assert refused


def test_clock_offset():
    assert clock_offset(clock=105.0, sent=100.0, latency=3.0) == (2.0, 5.0)


def test_os_release():
    text = (
        'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nVERSION_ID="13"\n# x\nID=debian\nA=\'b c\'\nQ="a \\"b\\""\nbad\n'
    )
    assert parse_os_release(text) == {
        "PRETTY_NAME": "Debian GNU/Linux 13 (trixie)",
        "VERSION_ID": "13",
        "ID": "debian",
        "A": "b c",
        "Q": 'a "b"',
    }


@pytest.mark.parametrize(
    ("limit", "memory"),
    [("", 2000), ("max\n", 2000), ("1073741824\n", 1024), ("99999999999999\n", 2000)],
)
def test_memory(limit, memory):
    assert parse_memory_mb(meminfo="MemTotal:        2048000 kB\nMemFree: 1 kB\n", limit=limit) == memory


def test_memory_that_is_not_told():
    assert parse_memory_mb(meminfo="") == 0


TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F85 00000000:0000 0A 00000000:00000000 0:0 0 102 0 27450 1 0000 100 0 0 10 0
   1: 0B22D40A:01BB 0122D40A:D2F0 01 00000000:00000000 0:0 0 0 0 31337 1 0000 20 4 30 10 -1
   2: 00000000:0050 00000000:0000 0A 00000000:00000000 0:0 0 0 0 27460 1 0000 100 0 0 10 0
"""
TCP6 = """  sl  local_address remote_address st tx rx tr tm->when uid timeout inode
   0: 00000000000000000000000001000000:1538 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 555 1
   1: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 666 1
"""


def test_sockets_that_listen():
    assert parse_sockets(TCP, byteorder="little") == (("127.0.0.1", 8069, 27450), ("0.0.0.0", 80, 27460))
    assert parse_sockets(TCP.replace("0100007F", "7F000001"), byteorder="big")[0] == (
        "127.0.0.1",
        8069,
        27450,
    )
    assert parse_sockets("") == ()


def test_sockets_of_ipv6():
    assert [(one[0], one[1]) for one in parse_sockets(TCP6, byteorder="little")] == [
        ("::1", 5432),
        ("::", 22),
    ]


@settings(deadline=None)
@given(st.ip_addresses(), st.integers(min_value=1, max_value=65535), st.sampled_from(["little", "big"]))
def test_every_address_is_read_as_the_kernel_writes_it(address, port, byteorder):
    words = [address.packed[start : start + 4] for start in range(0, len(address.packed), 4)]
    digits = "".join((word[::-1] if byteorder == "little" else word).hex().upper() for word in words)
    line = f"header\n 0: {digits}:{port:04X} 0:0 0A 0:0 00:0 0 0 0 7 1\n".replace("0 0 0 7", "0 0 0 7")
    ((read, read_port, _inode),) = parse_sockets(line, byteorder=byteorder)
    assert ipaddress.ip_address(read) == address
    assert read_port == port


@pytest.mark.parametrize(
    ("cgroup", "unit"),
    [
        ("0::/system.slice/nginx.service\n", "nginx.service"),
        ("0::/system.slice/system-odoo.slice/odoo@main.service\n", "odoo@main.service"),
        ("9:name=systemd:/\n8:pids:/\n0::/system.slice/ssh.service\n", "ssh.service"),
        ("1:name=systemd:/system.slice/cron.service\n0::/\n", "cron.service"),
        ("0::/system.slice/podman.service/libpod-1/system.slice/nginx.service\n", "podman.service"),
        ("0::/user.slice/user-0.slice/session-1.scope\n", ""),
        ("0::/init.scope\n", ""),
        ("", ""),
        ("nonsense", ""),
    ],
)
def test_unit(cgroup, unit):
    assert parse_unit(cgroup) == unit


def test_this_machine_is_read_in_its_own_byte_order():
    assert parse_sockets.__kwdefaults__["byteorder"] == sys.byteorder
