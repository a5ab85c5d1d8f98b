"""The module: a host made of files, this machine as it is, and what the module returns."""

from __future__ import annotations

import json
import os
import platform
import socket
import time
from contextlib import closing

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.slipway.odoo.plugins.modules import preflight_info

TCP_HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


@pytest.fixture
def host(tmp_path):
    """A directory that looks like / of a Debian 13 with nginx on 443 and somebody unknown on 5432."""
    files = {
        "etc/os-release": 'ID=debian\nVERSION_ID="13"\n',
        "proc/meminfo": "MemTotal:        4096000 kB\n",
        "proc/1/comm": "systemd\n",
        "proc/1/cgroup": "0::/init.scope\n",
        "proc/20/comm": "nginx\n",
        "proc/20/cgroup": "0::/system.slice/nginx.service\n",
        "proc/21/comm": "nginx\n",
        "proc/21/cgroup": "0::/system.slice/nginx.service\n",
        "proc/net/tcp": TCP_HEADER
        + "   0: 00000000:01BB 00000000:0000 0A 0:0 00:0 0 0 0 501 1\n"
        + "   1: 00000000:1538 00000000:0000 0A 0:0 00:0 0 0 0 502 1\n"
        + "   2: 00000000:0016 00000000:0000 01 0:0 00:0 0 0 0 503 1\n",
        "sys/fs/cgroup/memory.max": "2147483648\n",
        "run/systemd/container": "podman\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for pid, target in (("20", "socket:[501]"), ("21", "socket:[501]"), ("1", "/dev/null")):
        descriptors = tmp_path / "proc" / pid / "fd"
        descriptors.mkdir()
        (descriptors / "3").symlink_to(target)
        (descriptors / "4").symlink_to("socket:[999]")
    # A process that ends while it is looked at leaves a directory without anything in it.
    (tmp_path / "proc" / "22").mkdir()
    return str(tmp_path)


def snapshot(root, **changes):
    return preflight_info.read_snapshot(**{"root": root, "paths": [], "names": [], "names_timeout": 1, **changes})


def run(capsys, **arguments):
    with patch_module_args(arguments), pytest.raises(SystemExit) as ended:
        preflight_info.main()
    result = json.loads(capsys.readouterr().out)
    return result, ended.value.code


def test_what_is_read(host):
    seen = snapshot(host)
    assert (seen.distribution, seen.version, seen.init, seen.container) == (
        "debian",
        "13",
        "systemd",
        "podman",
    )
    assert seen.memory_mb == 2048
    assert seen.architecture == platform.machine()
    assert abs(seen.clock - time.time()) < 60
    assert seen.sees_all_processes is True


def test_whose_the_listening_sockets_are(host):
    https, postgres = snapshot(host).listeners
    assert (https.port, [(owner.pid, owner.unit) for owner in https.owners]) == (
        443,
        [(20, "nginx.service"), (21, "nginx.service")],
    )
    assert (postgres.port, postgres.owners) == (5432, ())


def test_a_host_that_tells_nothing(tmp_path):
    (tmp_path / "proc").mkdir()
    seen = snapshot(str(tmp_path))
    assert (seen.distribution, seen.memory_mb, seen.init, seen.listeners) == ("", 0, "", ())


def test_processes_that_may_not_be_looked_at(host, monkeypatch):
    real = os.listdir

    def guarded(path):
        if path.endswith("/20/fd"):
            raise PermissionError(path)
        return real(path)

    monkeypatch.setattr(preflight_info.os, "listdir", guarded)
    seen = snapshot(host)
    assert seen.sees_all_processes is False
    assert [owner.pid for owner in seen.listeners[0].owners] == [21]


def test_space_is_measured_at_the_nearest_parent(tmp_path):
    path = str(tmp_path / "not" / "yet" / "there")
    (space,) = preflight_info.read_space(path)
    assert (space.path, space.measured_at) == (path, str(tmp_path))
    assert 0 < space.free_mb <= space.total_mb
    (same,) = preflight_info.read_space(str(tmp_path))
    assert same.file_system == space.file_system


def test_space_that_cannot_be_measured(monkeypatch):
    def refuse(path):
        raise PermissionError(path)

    monkeypatch.setattr(preflight_info.os, "statvfs", refuse)
    assert list(preflight_info.read_space("/srv")) == []


def test_this_machine_without_limits(capsys):
    result, code = run(capsys, systemd=False)
    assert (code, result["changed"], result["faults"]) == (0, False, [])
    assert result["host"]["clock_offset"] == []
    assert result["host"]["memory_mb"] > 0


def test_a_fault_does_not_fail_the_module(capsys):
    result, code = run(capsys, systemd=False, memory_mb=10**9, disk=[{"path": "/", "free_mb": 10**9}])
    assert code == 0
    assert [fault["kind"] for fault in result["faults"]] == ["memory", "disk"]
    assert set(result["faults"][0]) == {"kind", "where", "what", "todo", "text"}


def test_a_real_port(capsys):
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
        wanted = {"port": port, "purpose": "test"}
        result, _code = run(capsys, systemd=False, ports=[wanted])
        (fault,) = result["faults"]
        assert fault["where"] == f"port {port} (test)"
        assert f"pid {os.getpid()}" in fault["what"]
        (seen,) = [one for one in result["host"]["listeners"] if one["port"] == port]
        name = seen["owners"][0]["name"]
        assert run(capsys, systemd=False, ports=[{**wanted, "owners": [name]}])[0]["faults"] == []
    assert run(capsys, systemd=False, ports=[wanted])[0]["faults"] == []


@pytest.mark.parametrize(("offset", "kinds"), [(0, []), (-120, ["clock"]), (120, ["clock"])])
def test_clock(capsys, offset, kinds):
    result, _code = run(capsys, systemd=False, controller_time=time.time() + offset)
    assert [fault["kind"] for fault in result["faults"]] == kinds
    low, high = result["host"]["clock_offset"]
    assert low <= -offset <= high + 0.01


def test_names(capsys):
    result, _code = run(capsys, systemd=False, names=["127.0.0.1", "a" * 70 + ".test"])
    assert [fault["kind"] for fault in result["faults"]] == ["name"]
    assert result["host"]["names"][0] == {"name": "127.0.0.1", "addresses": ["127.0.0.1"], "error": None}


def test_versions_may_be_numbers(capsys):
    result, _code = run(capsys, systemd=False, distributions={"none": [12, "13"]})
    assert result["faults"][0]["todo"] == "Use one of: none 12, none 13."


@pytest.mark.parametrize("arguments", [{"python": "three"}, {"distributions": {"debian": None}}])
def test_limits_that_are_none(capsys, arguments):
    result, code = run(capsys, **arguments)
    assert code == 1
    assert "must be a version" in result["msg"]
