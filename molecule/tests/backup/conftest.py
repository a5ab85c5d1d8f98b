"""A box whose backups are made and broken on purpose, and its object store seen with the keys of host and owner."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import shlex
import time
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import botocore.config
import botocore.exceptions
import pytest
import urllib3
import yaml
from minio.credentials import StaticProvider
from minio.minioadmin import MinioAdmin

INVENTORY = pathlib.Path(os.environ["SLIPWAY_INVENTORY"])
STATE = "/var/lib/slipway/backup"
SPOOL = "/var/spool/slipway/backup"
METRICS = "/var/lib/prometheus/node-exporter/slipway_backup.prom"
#: No job may hang longer when something is broken.
PATIENCE_SECONDS = 60


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a run of a job ended."""

    code: int
    said: str
    result: dict[str, Any]
    seconds: float


@dataclasses.dataclass(frozen=True)
class Health:
    """What ``run health`` found, and the metrics that it wrote."""

    findings: dict[str, str]
    metrics: dict[str, float]

    @property
    def broken(self) -> list[str]:
        """What is not good; the sizes of the few backups of a test are as they are."""
        return [name for name in self.findings if not name.startswith("size:")]

    def told(self, name: str) -> str:
        """The text of a finding, which stands in the metrics as well."""
        assert name in self.findings, self.findings
        assert any(f'finding{{name="{name}"' in line for line in self.metrics), self.metrics
        return self.findings[name]


class Box:
    """The host that makes the backups."""

    def __init__(self, host: Any) -> None:
        self.host = host

    def sh(self, command: str, *, good: tuple[int, ...] = (0,)) -> str:
        """Run a line of shell as root and return what it wrote."""
        done = self.host.run(f"cd /; bash -euc {shlex.quote(command)}")
        assert done.rc in good, f"{command}: {done.rc}: {done.stdout}{done.stderr}"
        return str(done.stdout)

    def run(self, job: str, *, code: int = 0, patience: float = PATIENCE_SECONDS) -> Ended:
        """Run a job as its timer does."""
        return self.call(f"slipway-backup run {job}", code=code, patience=patience)

    def call(self, command: str, *, code: int = 0, patience: float = PATIENCE_SECONDS) -> Ended:
        began = time.monotonic()
        done = self.host.run(f"timeout {patience} {command}")
        assert done.rc == code, f"{command}: {done.rc} and not {code}: {done.stdout}{done.stderr}"
        result = json.loads(done.stdout) if done.stdout.strip().startswith("{") else {}
        return Ended(done.rc, " ".join(done.stderr.split()), result, time.monotonic() - began)

    def fails(self, job: str, *words: str, patience: float = PATIENCE_SECONDS) -> str:
        """Run a job that has to fail, saying these words; the status says them too."""
        before = self.job(job).get("failures", 0)
        said = self.run(job, code=1, patience=patience).said.rpartition("FAILED: ")[2]
        for word in words:
            assert re.search(word, said), f"{word!r} is not in {said!r}"
        status = self.job(job)
        assert status["failures"] == before + 1
        assert " ".join(status["message"].split()) == said
        return said

    def job(self, name: str) -> dict[str, Any]:
        """How a job ended last, by ``slipway-backup status``."""
        found: dict[str, Any] = self.call("slipway-backup status").result["jobs"]
        return dict(found.get(name, {}))

    def health(self) -> Health:
        result = self.run("health").result
        text = self.sh(f"cat {METRICS}")
        metrics = {
            key.removeprefix("slipway_backup_"): float(value)
            for key, _space, value in (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        }
        return Health({finding["name"]: finding["text"] for finding in result["findings"]}, metrics)

    def failures(self, job: str) -> float:
        """The metric of a job's failures in a row."""
        return self.health().metrics[f'job_consecutive_failures{{job="{job}"}}']

    def manifests(self, kind: str) -> dict[str, dict[str, Any]]:
        """The manifests that the host has, by label."""
        text = self.sh(f"cd {STATE}/manifests/{kind} 2>/dev/null || exit 0; cat -- *.json | tr -d '\\n'; echo")
        found, decoder, at = {}, json.JSONDecoder(), 0
        while at < len(text.rstrip()):
            document, at = decoder.raw_decode(text, at)
            found[document["label"]] = document
        return found

    def good(self, kind: str) -> set[str]:
        """Labels of the backups that their manifests call good."""
        return {label for label, document in self.manifests(kind).items() if document["state"] == "good"}

    def repository(self) -> list[str]:
        """Labels of the backups that pgBackRest has."""
        said = json.loads(self.sh("runuser -u postgres -- pgbackrest --stanza=main --output=json info"))
        return [backup["label"] for backup in said[0]["backup"]]

    def restic(self, *arguments: str, code: int = 0) -> Any:
        """Ask restic as the program does."""
        script = (
            "import sys; from slipway_backup import config, restic;"
            "print(restic.Repository(config.load())(*sys.argv[1:]))"
        )
        library = "/usr/local/lib/slipway/backup"
        done = self.host.run(f"PYTHONPATH={library} python3 -c {shlex.quote(script)} {shlex.join(arguments)}")
        assert done.rc == code, done.stderr
        return done.stdout

    def sha256_in_snapshot(self, snapshot: str, path: str) -> str:
        """SHA-256 of a file in a snapshot of the store."""
        target = "/run/slipway-test-dumped"
        self.restic("dump", snapshot, path, "--target", target)
        return self.sh(f"sha256sum <{target}; rm {target}").split()[0]

    @contextlib.contextmanager
    def changed(self, path: str, change: Callable[[str], str]) -> Iterator[None]:
        """A file on the host with other content for a while."""
        before = self.sh(f"cat {path}")
        self._put(path, change(before))
        try:
            yield
        finally:
            self._put(path, before)

    def _put(self, path: str, text: str) -> None:
        # In place, so that owner and mode stay.
        self.sh(f"printf %s {shlex.quote(text)} >{path}")

    @contextlib.contextmanager
    def configured(self, *, name: str = "backup.json", **changes: Any) -> Iterator[None]:
        """Other values in the program's configuration for a while; a value that is a dictionary is merged."""

        def change(text: str) -> str:
            document = json.loads(text)
            for key, value in changes.items():
                document[key] = {**document[key], **value} if isinstance(value, dict) else value
            return json.dumps(document)

        with self.changed(f"/etc/slipway/{name}", change):
            yield


class Bucket:
    """The bucket with the key of one of its users."""

    def __init__(self, site: dict[str, Any], secrets: dict[str, Any], user: str, ca: pathlib.Path) -> None:
        lab = site["lab"]
        key = secrets["demo_store_keys"][user]
        self.name = f"slipway-{lab['vars']['lab_name']}"
        self.prefix = f"{lab['vars']['lab_name']}/box1/"
        self.client = boto3.client(
            "s3",
            endpoint_url=f"https://{lab['hosts']['store1']['ansible_host']}",
            region_name="us-east-1",
            verify=str(ca),
            aws_access_key_id=key["key_id"],
            aws_secret_access_key=key["secret_key"],
            config=botocore.config.Config(s3={"addressing_style": "path"}, proxies={}),
        )

    def list(self, below: str = "") -> dict[str, int]:
        """Keys below the host's prefix, without it, and their sizes."""
        found = {}
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=self.prefix + below):
            found |= {entry["Key"][len(self.prefix) :]: entry["Size"] for entry in page.get("Contents", ())}
        return found

    def delete(self, *keys: str) -> None:
        for start in range(0, len(keys), 1000):
            objects = [{"Key": self.prefix + key} for key in keys[start : start + 1000]]
            answer = self.client.delete_objects(Bucket=self.name, Delete={"Objects": objects})
            assert not answer.get("Errors"), answer["Errors"]

    @contextlib.contextmanager
    def damaged(self, *keys: str) -> Iterator[None]:
        """Objects with a few other bytes in the middle for a while."""
        before = {}
        for key in keys:
            content = self.client.get_object(Bucket=self.name, Key=self.prefix + key)["Body"].read()
            middle = len(content) // 2
            damaged = (
                content[:middle] + bytes(byte ^ 0xFF for byte in content[middle : middle + 64]) + content[middle + 64 :]
            )
            before[key] = content
            self.put(key, damaged)
        try:
            yield
        finally:
            for key, content in before.items():
                self.put(key, content)

    def put(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=self.prefix + key, Body=content)

    @contextlib.contextmanager
    def without(self, *keys: str) -> Iterator[None]:
        """The bucket without these objects for a while."""
        before = {key: self.client.get_object(Bucket=self.name, Key=self.prefix + key)["Body"].read() for key in keys}
        self.delete(*keys)
        try:
            yield
        finally:
            for key, content in before.items():
                self.put(key, content)


@pytest.fixture(scope="session")
def site() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((INVENTORY / "hosts.yml").read_text())["all"]["children"]
    return found


def bucket_of(site: dict[str, Any], secrets: dict[str, Any], user: str) -> Bucket:
    ca = INVENTORY.parents[2] / ".lab" / site["lab"]["vars"]["lab_name"] / "ca/ca.crt"
    return Bucket(site, secrets, user, ca)


@pytest.fixture(scope="session")
def host_bucket(site: dict[str, Any], secrets: dict[str, Any]) -> Bucket:
    """With the key that the host has."""
    return bucket_of(site, secrets, "box1")


@pytest.fixture(scope="session")
def owner_bucket(site: dict[str, Any], secrets: dict[str, Any]) -> Bucket:
    """With the key of the bucket's owner, which no host has."""
    return bucket_of(site, secrets, "admin")


@pytest.fixture(scope="session")
def _baseline(all_hosts: dict[str, Any]) -> Box:
    box = Box(all_hosts["box1"])
    for job in ("full", "files", "dump"):
        box.run(job)
    return box


@pytest.fixture
def box(_baseline: Box) -> Box:
    """The host with at least one good backup of each kind, and nothing that an earlier test left."""
    _baseline.sh(f"rm -rf {STATE}/status.json {SPOOL}/restic {SPOOL}/dumps; umount -q {SPOOL} || true")
    return _baseline


@pytest.fixture
def store_away(
    object_stores: dict[str, Any], owner_bucket: Bucket
) -> Callable[[], contextlib.AbstractContextManager[None]]:
    """The store stopped for a while."""
    store = object_stores["store1"]

    @contextlib.contextmanager
    def away() -> Iterator[None]:
        assert store.run("systemctl stop lab-store").rc == 0
        try:
            yield
        finally:
            assert store.run("systemctl start lab-store").rc == 0
            deadline = time.monotonic() + 30
            while True:
                try:
                    owner_bucket.list("manifests/")
                    break
                except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
                    assert time.monotonic() < deadline, "the store does not come back"

    return away


@pytest.fixture
def revoked(site: dict[str, Any], secrets: dict[str, Any]) -> Callable[[], contextlib.AbstractContextManager[None]]:
    """The key of the host refused by the store for a while."""
    lab = site["lab"]["vars"]["lab_name"]
    state = INVENTORY.parents[2] / ".lab" / lab
    [root_file] = state.glob("**/root.json")
    root = json.loads(root_file.read_text())
    admin = MinioAdmin(
        endpoint=f"{site['lab']['hosts']['store1']['ansible_host']}:443",
        credentials=StaticProvider(root["user"], root["password"]),
        region="us-east-1",
        http_client=urllib3.PoolManager(ca_certs=str(state / "ca/ca.crt"), cert_reqs="CERT_REQUIRED", timeout=20),
    )
    key = secrets["demo_store_keys"]["box1"]["key_id"]

    @contextlib.contextmanager
    def without_the_key() -> Iterator[None]:
        admin.user_disable(key)
        try:
            yield
        finally:
            admin.user_enable(key)

    return without_the_key
