"""The lab's object store: MinIO or versitygw on a host of its own, with one key for each host that keeps backups.

Both are built from the Go module proxy, once for a machine. Nobody is advised to run MinIO: the lab needs a real S3
server with versions, object lock and policies, and that is what it is here for.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
import secrets
import ssl
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import urllib3
import yaml
from commands import LabError, run, say
from minio.credentials import StaticProvider
from minio.minioadmin import MinioAdmin

ROOT = pathlib.Path(__file__).resolve().parent.parent
REGION = "us-east-1"
WAIT_SECONDS = 60
SECRETS_FILE = pathlib.Path("group_vars", "all", "secrets.yml")
KEYS_VARIABLE = "demo_store_keys"
NEVER = ("DeleteObjectVersion", "BypassGovernanceRetention", "PutObjectRetention", "PutObjectLegalHold")
DRILL, ADMIN = "drill", "admin"


@dataclasses.dataclass(frozen=True)
class Program:
    """One S3 server: how it is built, started and asked whether it is up."""

    package: str
    version: str
    command: str
    health: str

    @property
    def recipe(self) -> str:
        document = {"package": self.package, "version": self.version, **BUILD}
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]


BUILD = {"ldflags": "-s -w", "cgo": "0"}
PROGRAMS = {
    "minio": Program(
        package="github.com/minio/minio",
        version="v0.0.0-20260212201848-7aac2a2c5b7c",
        command="server --quiet --address :443 --certs-dir /etc/lab-store/certs /srv/store",
        health="minio/health/live",
    ),
    "versitygw": Program(
        package="github.com/versity/versitygw/cmd/versitygw",
        version="v1.8.0",
        command=(
            "--port :443 --cert /etc/lab-store/certs/public.crt --key /etc/lab-store/certs/private.key"
            f" --region {REGION} --iam-dir /srv/accounts --health /health"
            " posix --versioning-dir /srv/versions /srv/store"
        ),
        health="health",
    ),
}
UNIT = """\
[Unit]
Description=Object store of the lab
After=network.target

[Service]
EnvironmentFile=/etc/lab-store/environment
ExecStartPre=/usr/bin/mkdir -p /srv/store /srv/versions /srv/accounts
ExecStart=/usr/local/bin/{binary} {command}
Restart=on-failure

[Install]
WantedBy=multi-user.target
"""


@dataclasses.dataclass(frozen=True)
class Store:
    """A store of one lab."""

    lab: str
    name: str
    address: str
    kind: str
    container: str
    state: pathlib.Path
    ca: pathlib.Path

    @property
    def bucket(self) -> str:
        return f"slipway-{self.lab}"

    @property
    def site(self) -> str:
        return self.lab

    @property
    def program(self) -> Program:
        return PROGRAMS[self.kind]


def check_kind(name: str, kind: str | None) -> str | None:
    """The kind of store a host is to be, or None."""
    if kind is not None and kind not in PROGRAMS:
        raise LabError(f"{name}: lab_store: {kind}: it can be {' or '.join(PROGRAMS)}")
    return kind


def binary(kind: str) -> pathlib.Path:
    """The server's program; built when this machine has none of the same recipe."""
    program = PROGRAMS[kind]
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "slipway" / "store"
    target = cache / f"{kind}-{program.recipe}"
    if target.is_file() and target.stat().st_size > 0:
        return target
    say(
        f"building {kind} {program.version} (about {'150' if kind == 'minio' else '75'} seconds, once for this machine)"
    )
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="build-", dir=cache) as work:
        source = f"{program.package}@{program.version}"
        run(
            [ROOT / ".venv/bin/go", "install", "-trimpath", "-ldflags", BUILD["ldflags"], source],
            environment={"GOBIN": work, "CGO_ENABLED": BUILD["cgo"], "GOFLAGS": ""},
        )  # fmt: skip
        pathlib.Path(work, kind).replace(target)
    return target


def write_private(path: pathlib.Path, text: str) -> None:
    """Write a file that nobody else may read."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    new.replace(path)


def root_credentials(store: Store) -> dict[str, str]:
    """User and password of the store's owner and its key for encryption; made at first use."""
    path = store.state / "root.json"
    if not path.exists():
        made = {"user": "lab-root", "password": secrets.token_hex(20)}
        made["encryption_key"] = run(["openssl", "rand", "-base64", "32"]).strip()
        write_private(path, json.dumps(made))
    found: dict[str, str] = json.loads(path.read_text())
    return found


def certificate(store: Store) -> tuple[pathlib.Path, pathlib.Path]:
    """Certificate and key for the store's name and address from the lab's CA; made anew when the CA is another."""
    public, private = store.state / "public.crt", store.state / "private.key"
    if public.exists() and private.exists() and public.stat().st_mtime >= store.ca.stat().st_mtime:
        return public, private
    store.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="slipway-store-") as work:
        request = pathlib.Path(work, "store.csr")
        run(
            [
                "openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                "-keyout", private, "-out", request, "-subj", f"/CN={store.name}",
                "-addext", f"subjectAltName=DNS:{store.name},DNS:{store.name}.lab.test,IP:{store.address}",
                "-addext", "extendedKeyUsage=serverAuth",
            ]
        )  # fmt: skip
        private.chmod(0o600)
        run(
            [
                "openssl", "x509", "-req", "-in", request, "-CA", store.ca, "-CAkey", store.ca.with_suffix(".key"),
                "-days", "825", "-copy_extensions", "copy", "-out", public,
            ]
        )  # fmt: skip
    return public, private


def environment(store: Store) -> str:
    root = root_credentials(store)
    if store.kind == "versitygw":
        return f"ROOT_ACCESS_KEY={root['user']}\nROOT_SECRET_KEY={root['password']}\n"
    return (
        f"MINIO_ROOT_USER={root['user']}\nMINIO_ROOT_PASSWORD={root['password']}\n"
        f"MINIO_KMS_SECRET_KEY=lab:{root['encryption_key']}\nMINIO_REGION={REGION}\nMINIO_UPDATE=off\n"
    )


def ensure_running(store: Store, podman: Callable[..., str]) -> bool:
    """Install and start the server; returns whether anything had to be changed."""
    program, (public, private) = store.program, certificate(store)
    source = binary(store.kind)
    files = {
        "etc/lab-store/environment": (environment(store), 0o600),
        "etc/lab-store/certs/public.crt": (public.read_text(), 0o644),
        "etc/lab-store/certs/private.key": (private.read_text(), 0o600),
        "etc/lab-store/recipe": (program.recipe, 0o644),
        "etc/systemd/system/lab-store.service": (UNIT.format(binary=store.kind, command=program.command), 0o644),
    }
    digest = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
    changed = podman("exec", store.container, "cat", "/etc/lab-store/digest", check=False).strip() != digest
    if changed:
        with tempfile.TemporaryDirectory(prefix="slipway-store-") as work:
            tree = pathlib.Path(work)
            for name, (text, mode) in {**files, "etc/lab-store/digest": (digest, 0o600)}.items():
                path = tree / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
                path.chmod(mode)
            podman("exec", store.container, "systemctl", "stop", "lab-store.service", check=False)
            podman("cp", source, f"{store.container}:/usr/local/bin/{store.kind}")
            podman("exec", store.container, "chmod", "0755", f"/usr/local/bin/{store.kind}")
            podman("cp", f"{tree}/etc/.", f"{store.container}:/etc/")
        podman("exec", store.container, "systemctl", "daemon-reload")
        podman("exec", store.container, "systemctl", "enable", "--quiet", "lab-store.service")
    podman("exec", store.container, "systemctl", "start", "lab-store.service")
    wait_until_up(store)
    return changed


def wait_until_up(store: Store) -> None:
    context = ssl.create_default_context(cafile=str(store.ca))
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )  # no proxy: it is next door
    deadline, problem = time.monotonic() + WAIT_SECONDS, "no answer"
    while time.monotonic() < deadline:
        try:
            with opener.open(f"https://{store.address}/{store.program.health}", timeout=3):
                return
        except (urllib.error.URLError, OSError) as error:
            problem = str(error)
            time.sleep(0.3)
    raise LabError(
        f"{store.name}: {store.kind} is not up after {WAIT_SECONDS} s ({problem}): see `script/lab ssh {store.name}"
        " sudo journalctl -u lab-store`"
    )


def read_secrets(inventory: pathlib.Path) -> dict[str, Any]:
    path = inventory / SECRETS_FILE
    found: dict[str, Any] = (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}
    return found


def complete_keys(store: Store, inventory: pathlib.Path, hosts: Iterable[str]) -> bool:
    """Write a key for each host, the drill and the owner to the inventory's secrets; keys that are there stay."""
    found: Mapping[str, Any] = read_secrets(inventory).get(KEYS_VARIABLE) or {}
    wanted = dict(found)  # a host that left may come back
    for name in (*hosts, DRILL, ADMIN):
        made = {"key_id": f"{name}-{secrets.token_hex(4)}", "secret_key": secrets.token_hex(20)}
        if store.kind == "versitygw" and name == ADMIN:
            root = root_credentials(store)
            made = {"key_id": root["user"], "secret_key": root["password"]}
        wanted.setdefault(name, made)
    if found == wanted:
        return False
    path = inventory / SECRETS_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.read_text().splitlines() if path.exists() else ["---"]
    # It is this function alone that writes the variable; nothing else in the file is indented.
    lines = [line for line in lines if not line.startswith((f"{KEYS_VARIABLE}:", "  "))]
    keys = [f"  {name}: {json.dumps(key)}" for name, key in wanted.items()]
    write_private(path, "\n".join([*lines, f"{KEYS_VARIABLE}:", *keys]) + "\n")
    return True


def host_policy(bucket: str, prefix: str, *, write: bool) -> dict[str, Any]:
    """What a key may do below a prefix: everything a backup needs, but never to delete a version or shorten a lock."""
    actions = ["s3:GetObject", "s3:GetObjectVersion"]
    if write:
        actions += ["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
    arn = f"arn:aws:s3:::{bucket}"
    listing = {"StringLike": {"s3:prefix": [prefix, f"{prefix}/*"]}}
    of_bucket = [
        "GetBucketLocation",
        "GetBucketVersioning",
        "GetBucketObjectLockConfiguration",
        "GetLifecycleConfiguration",
    ]
    if write:
        of_bucket.append("ListBucketMultipartUploads")
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": actions, "Resource": [f"{arn}/{prefix}/*"]},
            {
                "Effect": "Allow",
                "Action": ["s3:ListBucket", "s3:ListBucketVersions"],
                "Resource": [arn],
                "Condition": listing,
            },
            {"Effect": "Allow", "Action": [f"s3:{action}" for action in of_bucket], "Resource": [arn]},
            # MinIO takes the right to delete an object for that to delete its versions, unless this is denied.
            {"Effect": "Deny", "Action": [f"s3:{action}" for action in NEVER], "Resource": [f"{arn}/*"]},
        ],
    }


def policies(store: Store, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The policy of each key by its name in the inventory."""
    owner = {
        "Effect": "Allow",
        "Action": ["s3:*"],
        "Resource": [f"arn:aws:s3:::{store.bucket}", f"arn:aws:s3:::{store.bucket}/*"],
    }
    result = {}
    for name in names:
        match name:
            case "admin":
                result[name] = {"Version": "2012-10-17", "Statement": [owner]}
            case "drill":
                result[name] = host_policy(store.bucket, store.site, write=False)
            case _:
                result[name] = host_policy(store.bucket, f"{store.site}/{name}", write=True)
    return result


def apply_keys(store: Store, inventory: pathlib.Path, hosts: Iterable[str]) -> bool:
    """Give the store exactly the keys of these hosts, the drill and the owner; returns whether anything changed."""
    mine = (*hosts, DRILL, ADMIN)
    keys = {name: key for name, key in (read_secrets(inventory).get(KEYS_VARIABLE) or {}).items() if name in mine}
    if not keys or store.kind != "minio":
        return False
    wanted = {"keys": keys, "policies": policies(store, keys)}
    digest = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()
    root = root_credentials(store)
    admin = MinioAdmin(
        endpoint=f"{store.address}:443",
        credentials=StaticProvider(root["user"], root["password"]),
        region=REGION,
        http_client=urllib3.PoolManager(ca_certs=str(store.ca), cert_reqs="CERT_REQUIRED", retries=3, timeout=20),
    )
    present = json.loads(admin.user_list() or "{}")
    by_key = {key["key_id"]: name for name, key in keys.items()}
    applied = store.state / "keys.sha256"
    same = applied.exists() and applied.read_text() == digest
    if same and {user: found.get("policyName") for user, found in present.items()} == by_key:
        return False
    for user in set(present) - set(by_key):
        admin.user_remove(user)
    for name, policy in wanted["policies"].items():
        admin.policy_add(name, policy=policy)
        admin.user_add(keys[name]["key_id"], keys[name]["secret_key"])
        admin.policy_set(name, user=keys[name]["key_id"])
    write_private(applied, digest)
    return True
