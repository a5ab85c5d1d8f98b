"""Modules called as Ansible calls them, on databases of the tests' own."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import os
import pathlib
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
INVENTORY = pathlib.Path(os.environ["SLIPWAY_INVENTORY"])
ADDONS = ROOT / "tests" / "addons"


def call_module(
    name: str, *, check: bool = False, fails: bool = False, timeout: int = 300, **arguments: Any
) -> dict[str, Any]:
    """Run a module of the collection as root on the host of the scenario, with ``--diff``, and return its result.

    :param check: run it in check mode.
    :param fails: whether the module is meant to fail.
    """
    command = [
        *(ROOT / ".venv/bin/ansible", "box1", "-i", INVENTORY, "--become", "--diff"),
        *(["--check"] if check else []),
        *("-m", name if "." in name else f"slipway.odoo.{name}", "-a", json.dumps(arguments)),
    ]
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1",
        "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
    }
    done = subprocess.run(
        command, cwd=ROOT, env=environment, text=True, capture_output=True, timeout=timeout, check=False
    )
    try:
        # The profile that ansible.cfg asks for stands around the document.
        document, _end = json.JSONDecoder().raw_decode(done.stdout, done.stdout.index("{"))
        result: dict[str, Any] = document["plays"][0]["tasks"][0]["hosts"]["box1"]
    except (ValueError, LookupError):
        pytest.fail(f"ansible ended with {done.returncode}: {done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    verdict = "succeeded" if fails else "failed"
    assert result.get("failed", False) is fails, f"{name} {verdict}: {json.dumps(result, indent=1)[:4000]}"
    return result


@dataclasses.dataclass(frozen=True)
class Instance:
    """A database of a test's own on the host of the scenario, with its configuration file and addons.

    No service runs on it. ``addons`` is a directory on the host, first on the addons path.
    """

    name: str
    host: Any

    @property
    def config(self) -> str:
        return f"/etc/odoo/{self.name}.conf"

    @property
    def addons(self) -> str:
        return f"/srv/slipway-tests/{self.name}/addons"

    @property
    def log_directory(self) -> str:
        return f"/var/log/odoo/slipway-tests-{self.name}"

    def run(self, command: str, *arguments: str) -> str:
        """Run a shell command on the host as root; arguments fill its %s, quoted."""
        done = self.host.run(command, *arguments)
        assert done.rc == 0, f"{command}: {done.stderr or done.stdout}"
        return str(done.stdout)

    def sql(self, query: str) -> list[list[str]]:
        """Ask this database as the server's administrator."""
        text = self.run(
            "cd /; runuser -u postgres -- psql -XAtq -F '|' -v ON_ERROR_STOP=1 -d %s -c %s", self.name, query
        )
        return [line.split("|") for line in text.strip().splitlines()]

    def put_addons(self, *names: str) -> None:
        """Copy addons of ``tests/addons`` to the host as they are, over what stands there."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w:gz") as tar:
            for name in names:
                tar.add(ADDONS / name, arcname=name, filter=lambda item: None if "__pycache__" in item.name else item)
        packed = base64.b64encode(archive.getvalue()).decode()
        self.drop_addons(*names)
        self.run("printf %%s %s | base64 -d | tar -xz --no-same-owner -C %s", packed, self.addons)

    def drop_addons(self, *names: str) -> None:
        for name in names:
            self.run("rm -rf %s", f"{self.addons}/{name}")

    def write(self, path: str, text: str) -> None:
        """Write a file below the addons directory."""
        target = f"{self.addons}/{path}"
        self.run("install -d %s && printf %%s %s > %s", os.path.dirname(target), text, target)

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace a text that must stand in a file below the addons directory."""
        text = self.run("cat %s", f"{self.addons}/{path}")
        assert old in text, f"{path} has no {old!r}"
        self.write(path, text.replace(old, new))

    def call(self, module: str, **arguments: Any) -> dict[str, Any]:
        """Run a module for this instance; see :func:`call_module`."""
        return call_module(module, config=self.config, **arguments)

    def logs(self) -> list[str]:
        """The logs of all runs of Odoo that modules started on this instance, oldest first."""
        return sorted(self.run("ls %s | grep ^slipway- || true", self.log_directory).split())


@pytest.fixture(scope="session")
def box(all_hosts: dict[str, Any]) -> Any:
    return all_hosts["box1"]


@pytest.fixture(scope="session")
def call() -> Callable[..., dict[str, Any]]:
    return call_module


@pytest.fixture(scope="session")
def make_instance(box: Any) -> Iterator[Callable[[str], Instance]]:
    """Make instances by name; they go when the tests end."""
    script = (HERE / "instance.sh").read_text()
    made: list[str] = []

    def make(name: str) -> Instance:
        made.append(name)
        done = box.run("bash -c %s instance.sh make %s", script, name)
        assert done.rc == 0, done.stderr
        return Instance(name=name, host=box)

    yield make
    for name in made:
        done = box.run("bash -c %s instance.sh drop %s", script, name)
        assert done.rc == 0, done.stderr
