"""What role edge reads of a host, and how it checks the running edge."""

from __future__ import annotations

import grp
import hashlib
import http.server
import importlib.util
import json
import pathlib
import subprocess
import sys
import threading
from types import ModuleType

import pytest

FILES = pathlib.Path(__file__).resolve().parent.parent.parent.parent / "roles" / "edge" / "files"
GROUP = grp.getgrgid(0)


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"edge_{name}", FILES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def probe() -> ModuleType:
    return load("probe")


@pytest.fixture
def verify() -> ModuleType:
    return load("verify")


@pytest.fixture
def port() -> int:
    """Return the port of a server that names its revision."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/revision" else 404)
            self.end_headers()
            self.wfile.write(b"abc123\n")

        def log_message(self, *_arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def test_missing_packages_keep_their_order(probe, monkeypatch) -> None:
    monkeypatch.setattr(probe, "output", lambda *_command: "a installed\nb config-files\n")
    assert probe.missing(["d", "a", "b", "c"]) == ["d", "b", "c"]


def test_command_that_is_not_installed_says_nothing(probe) -> None:
    assert probe.output("/nonexistent/command") == ""


def test_public_half_is_read_and_no_other_text(probe, tmp_path) -> None:
    key = tmp_path / "a.key"
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key], check=True
    )
    assert probe.public_key(str(key)).startswith("-----BEGIN PUBLIC KEY-----\n")
    key.write_text("no key")
    assert probe.public_key(str(key)) is None
    assert probe.public_key(str(tmp_path / "none")) is None


@pytest.mark.parametrize(
    ("name", "user", "processes", "state"),
    [
        ("no-such-group", "www", [{0}], {"exists": False, "member": False, "live": False}),
        (GROUP.gr_name, "nobody-at-all", [{0, 5}, {0}], {"exists": True, "member": False, "live": True}),
        (GROUP.gr_name, "nobody-at-all", [{0}, {5}], {"exists": True, "member": False, "live": False}),
        (GROUP.gr_name, "nobody-at-all", [], {"exists": True, "member": False, "live": False}),
    ],
)
def test_group_is_live_when_every_process_has_it(probe, name, user, processes, state) -> None:
    assert probe.group(name, user=user, processes=processes) == state


PROCESSES = {
    "/proc/7/task/7/children": "8 9 10",
    "/proc/7/status": "Name:\tcaddy\nGroups:\t998 \n",
    "/proc/8/cmdline": "nginx: worker process",
    "/proc/8/status": "Name:\tnginx\nGroups:\t33 996 \n",
    "/proc/9/cmdline": "nginx: worker process is shutting down",
    "/proc/9/status": "Groups:\t33 \n",
    "/proc/10/cmdline": "nginx: cache manager process",
}


@pytest.mark.parametrize(
    ("unit", "main", "groups"),
    [
        ("nginx.service", "7\n", [{33, 996}]),
        ("caddy.service", "7\n", [{998}]),
        ("nginx.service", "0\n", []),
        ("nginx.service", "", []),
    ],
)
def test_processes_that_take_new_connections_count(probe, monkeypatch, unit, main, groups) -> None:
    monkeypatch.setattr(probe, "text_of", PROCESSES.get)
    monkeypatch.setattr(probe, "output", lambda *_command: main)
    assert probe.serving_groups(unit) == groups


@pytest.mark.parametrize(
    ("shown", "version"),
    [
        ("caddy:\n  Installed: (none)\n  Candidate: 2.6.2-12+deb13u1\n", "2.6.2"),
        ("nginx:\n  Installed: 1.26.3-3\n  Candidate: 2:1.26.3-3\n", "1.26.3"),
        ("", ""),
        ("E: The value 'x' is invalid for APT::Default-Release", ""),
    ],
)
def test_version_that_apt_would_install(probe, monkeypatch, shown, version) -> None:
    monkeypatch.setattr(probe, "output", lambda *_command: shown)
    assert probe.candidate("x") == version


def test_caddy_of_backports_is_taken_where_it_can_be_had(probe, monkeypatch) -> None:
    monkeypatch.setattr(probe, "candidate", lambda _package, *options: "2.11.1" if options else "2.6.2")
    monkeypatch.setattr(probe, "has_user", lambda name: name == "caddy")
    assert probe.caddy("trixie-backports") == {"candidate": "2.11.1", "suite": "trixie-backports", "user": True}
    monkeypatch.setattr(probe, "candidate", lambda _package, *options: "" if options else "2.6.2")
    assert probe.caddy("trixie-backports") == {"candidate": "2.6.2", "suite": "", "user": True}


def test_server_of_an_order_is_read_from_certbots_file(probe, tmp_path) -> None:
    (tmp_path / "slipway-a.conf").write_text("[renewalparams]\naccount = 1\nserver = https://ca.test/dir\n")
    (tmp_path / "slipway-b.conf").write_text("[renewalparams]\n")
    (tmp_path / "other.conf").write_text("server = https://ca.test/dir\n")
    assert probe.orders(f"{tmp_path}/slipway-*.conf") == {"slipway-a": "https://ca.test/dir"}


def test_modules_of_a_caddy_are_read_without_running_it() -> None:
    facts = load("caddy_facts").facts
    content = b"\x7fELF\0\npath\tslipway/caddy\nmod\tslipway/caddy\t(devel)\t\ndep\texample.com/a\tv1.2.3\th1:x=\n\0"
    assert facts(content)["modules"] == {"slipway/caddy": "(devel)", "example.com/a": "v1.2.3"}
    assert facts(b"#!/bin/sh\n")["modules"] == {}


def test_loaded_revision_is_asked_for(probe, verify, port) -> None:
    assert probe.revision(port) == verify.loaded_revision(port) == "abc123"


def test_server_that_does_not_answer_has_no_revision(probe, port) -> None:
    assert probe.revision(1) == ""


def test_probe_reads_a_bare_host(tmp_path) -> None:
    asked = {
        "packages": ["no-such-package-at-all"],
        "certificates": [str(tmp_path / "a.crt")],
        "private_keys": [str(tmp_path / "a.key")],
        "certificate_directory": str(tmp_path / "none"),
        "groups": ["no-such-group"],
        "orders": str(tmp_path / "slipway-*.conf"),
        "backports": "trixie-backports",
        "unit": "no-such-unit.service",
        "units": ["no-such-unit.service"],
        "user": "no-such-user",
        "status_port": 1,
    }
    command = [sys.executable, "-", json.dumps(asked)]
    done = subprocess.run(command, input=(FILES / "probe.py").read_text(), capture_output=True, check=True, text=True)
    state = json.loads(done.stdout)
    assert state["missing"] == ["no-such-package-at-all"]
    assert state["certificates"] == {str(tmp_path / "a.crt"): None}
    assert state["public_keys"] == {str(tmp_path / "a.key"): None}
    assert (state["revision"], state["own_files"], state["orders"]) == ("", [], {})
    assert (state["active"], state["enabled"]) == ([], [])


GOOD = hashlib.sha256(b"good").hexdigest()


def answers(
    verify, monkeypatch, *, certificate=b"good", days=90, health=200, redirect=(301, "https://a.test/"), unknown=0
) -> None:
    monkeypatch.setattr(verify, "secure", lambda _domain: (certificate, health))
    monkeypatch.setattr(verify, "days_left", lambda _certificate: days)
    monkeypatch.setattr(verify, "plain", lambda host: (unknown, "") if host == "unknown.invalid" else redirect)
    monkeypatch.setattr(verify, "loaded_revision", lambda _port: "abc")


ASKED = {"revision": "abc", "status_port": 1, "log": "/log", "fail_days": 7, "sites": {"a.test": GOOD}, "wait": 0}


@pytest.mark.parametrize("status", [200, 204, 503])
def test_edge_is_good_with_or_without_odoo(verify, monkeypatch, status) -> None:
    answers(verify, monkeypatch, health=status)
    states: dict[str, dict] = {}
    assert verify.check(ASKED, states) == []
    assert states == {"a.test": {"health": status, "sha256": GOOD, "days_left": 90}}


def test_certificate_that_is_not_known_beforehand_is_judged_by_its_days(verify, monkeypatch) -> None:
    answers(verify, monkeypatch, certificate=b"from an ACME server")
    assert verify.check({**ASKED, "sites": {"a.test": ""}}, {}) == []


def test_days_left_of_a_certificate(verify, tmp_path) -> None:
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3"]
    files = ["-keyout", tmp_path / "key", "-out", tmp_path / "crt", "-outform", "DER", "-subj", "/CN=a"]
    subprocess.run([*made, *files], check=True, capture_output=True)
    assert verify.days_left((tmp_path / "crt").read_bytes()) == 2


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ({"certificate": b"other"}, "a.test: another certificate is shown"),
        ({"days": 6}, "a.test: its certificate has 6 days left, and 7 are wanted"),
        ({"health": 502}, "a.test: /health answers 502"),
        ({"redirect": (200, "")}, "a.test: http:// does not lead to https://"),
        ({"redirect": (301, "https://b.test/")}, "a.test: http:// does not lead to https://"),
        ({"unknown": 200}, "a host name of no site is answered"),
    ],
)
def test_fault_of_the_edge_is_found(verify, monkeypatch, answer, fault) -> None:
    answers(verify, monkeypatch, **answer)
    (found,) = verify.check(ASKED, {})
    assert found.startswith(fault)


def test_configuration_that_was_not_loaded_is_found(verify, monkeypatch) -> None:
    answers(verify, monkeypatch)
    (found,) = verify.check({**ASKED, "revision": "new"}, {})
    assert found.startswith("the server has not loaded what was written; /log says why")


def test_no_answer_is_a_fault(verify) -> None:
    found = verify.check(ASKED, {})
    assert [line.partition(":")[0] for line in found] == ["no answer", "a.test"]


def test_wildcard_and_addresses_are_asked_for_by_a_name(verify, monkeypatch) -> None:
    asked = []
    answers(verify, monkeypatch)
    monkeypatch.setattr(verify, "plain", lambda host: asked.append(host) or (301, f"https://{host}/"))
    for domain in ("*.a.test", "fd00::1"):
        assert verify.check({**ASKED, "sites": {domain: GOOD}}, {}) == ["a host name of no site is answered"]
    assert [host for host in asked if host != "unknown.invalid"] == ["slipway-probe.a.test", "[fd00::1]"]


def test_faults_count_once_the_time_to_wait_is_over(verify, monkeypatch, capsys) -> None:
    outcomes = [["late"], ["late"], []]
    monkeypatch.setattr(verify, "check", lambda _asked, _health: outcomes.pop(0))
    monkeypatch.setattr(sys, "argv", ["verify", json.dumps({**ASKED, "wait": 30})])
    assert (verify.main(), capsys.readouterr().out) == (0, "{}")
    monkeypatch.setattr(verify, "check", lambda _asked, _health: ["one", "two"])
    monkeypatch.setattr(sys, "argv", ["verify", json.dumps(ASKED)])
    assert (verify.main(), capsys.readouterr().err) == (1, "one\ntwo\n")
