"""The hosts of the scenario's inventory, and what its site is, for tests that look at them from outside."""

from __future__ import annotations

import json
import os
import pathlib
import ssl
import subprocess
import urllib.request
from collections.abc import Callable
from http.cookiejar import CookieJar
from typing import Any

import pytest
import testinfra
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
INVENTORY = pathlib.Path(os.environ["SLIPWAY_INVENTORY"])

# molecule asks for colours, which stand in the middle of what the tests look for.
for _name in ("ANSIBLE_FORCE_COLOR", "FORCE_COLOR", "PY_COLORS"):
    os.environ.pop(_name, None)


SITE = yaml.safe_load((INVENTORY / "hosts.yml").read_text())["all"]["children"]


def hosts_of(group: str) -> list[str]:
    """Names of the hosts in a group of the inventory."""
    return list(SITE[group]["hosts"])


def connect(name: str) -> Any:
    """A testinfra host, reached as Ansible reaches it, with sudo."""
    keys = ROOT / ".lab" / SITE["lab"]["vars"]["lab_name"] / "ssh"
    options = f"-o UserKnownHostsFile={keys / 'known_hosts'} -o StrictHostKeyChecking=yes -o LogLevel=ERROR"
    return testinfra.get_host(
        f"ssh://debian@{SITE['lab']['hosts'][name]['ansible_host']}",
        ssh_identity_file=str(keys / "id_ed25519"),
        ssh_extra_args=options,
        sudo=True,
    )


def lab(*arguments: str) -> str:
    command = [ROOT / "script" / "lab", "--inventory", INVENTORY, *arguments]
    return subprocess.run(command, text=True, capture_output=True, check=True).stdout.strip()


def playbook(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of the playbooks against the scenario's hosts."""
    command = [ROOT / ".venv/bin/ansible-playbook", ROOT / "playbooks" / name, "-i", INVENTORY, *arguments]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True, timeout=600, check=False)


@pytest.fixture(scope="session")
def run_playbook() -> Callable[..., subprocess.CompletedProcess[str]]:
    return playbook


@pytest.fixture(scope="session")
def secrets() -> dict[str, str]:
    found: dict[str, str] = yaml.safe_load((INVENTORY / "group_vars/all/secrets.yml").read_text())
    return found


@pytest.fixture(scope="session")
def all_hosts() -> dict[str, Any]:
    """The hosts of the site; an object store beside them is none of it."""
    return {name: connect(name) for name, host in SITE["lab"]["hosts"].items() if "lab_store" not in host}


@pytest.fixture(scope="session")
def object_stores() -> dict[str, Any]:
    """The object stores of the lab."""
    return {name: connect(name) for name, host in SITE["lab"]["hosts"].items() if "lab_store" in host}


@pytest.fixture(scope="session")
def database(all_hosts: dict[str, Any]) -> Any:
    return all_hosts[hosts_of("odoo_db")[0]]


@pytest.fixture(scope="session")
def application(all_hosts: dict[str, Any]) -> Any:
    return all_hosts[hosts_of("odoo_app")[0]]


@pytest.fixture(scope="session")
def edge(all_hosts: dict[str, Any]) -> Any:
    return all_hosts[hosts_of("odoo_edge")[0]]


@pytest.fixture(scope="session")
def single_box(all_hosts: dict[str, Any]) -> bool:
    return len(all_hosts) == 1


@pytest.fixture(scope="session")
def sql(database: Any) -> Callable[..., list[list[str]]]:
    """Ask the database server as its own administrator."""

    def ask(query: str, *, name: str = "main") -> list[list[str]]:
        done = database.run("cd /; runuser -u postgres -- psql -XAtF '|' -d %s -c %s", name, query)
        assert done.rc == 0, done.stderr
        return [line.split("|") for line in done.stdout.strip().splitlines()]

    return ask


class Browser:
    """Speaks to the site over the edge, trusting the lab's CA and nothing else; keeps cookies."""

    def __init__(self) -> None:
        self.url = lab("url").rstrip("/")
        context = ssl.create_default_context(cafile=lab("ca"))
        self.cookies = CookieJar()
        self.opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=context), urllib.request.HTTPCookieProcessor(self.cookies)
        )

    def cookie(self, name: str) -> str:
        return next(str(cookie.value) for cookie in self.cookies if cookie.name == name)

    def get(self, path: str) -> Any:
        return self.opener.open(self.url + path, timeout=30)

    def call(self, path: str, **params: Any) -> Any:
        """A JSON-RPC call of the web client."""
        body = json.dumps({"jsonrpc": "2.0", "method": "call", "params": params}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data=body, headers=headers)  # noqa: S310  always https
        answer = json.load(self.opener.open(request, timeout=30))
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def log_in(self, password: str) -> None:
        assert self.call("/web/session/authenticate", db="main", login="admin", password=password)["uid"]


@pytest.fixture
def browser() -> Browser:
    return Browser()
