"""Create and destroy the lab: systemd containers with fixed addresses, reached over SSH.

The hosts are those of the group ``lab`` of an Ansible inventory directory (``hosts.yml``): its
``lab_name`` and ``lab_subnet``, optionally ``lab_client_addresses``, and for each host ``ansible_host`` and
optionally ``lab_suite``, ``lab_image`` and ``lab_store``.
Nothing else describes them, so playbooks, molecule and this script always mean the same hosts.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import ipaddress
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from typing import Any

import store as object_store
import yaml
from commands import LabError, run, say

ROOT = pathlib.Path(__file__).resolve().parent.parent
IMAGE_RECIPE = ROOT / "lab" / "image.toml"
IMAGE_NAME = "localhost/slipway-lab"
BASE_IMAGE = "base"
LOGIN_USER = "debian"
# One pure cgroup2 mount namespace, kept between calls: podman loses its networks with a new one each time.
NAMESPACE_DIR = pathlib.Path("/run/slipway-lab")
SSH_WAIT_SECONDS = 60


@dataclasses.dataclass(frozen=True)
class Host:
    """One container."""

    name: str
    address: str
    suite: str
    image: str
    store: str | None


@dataclasses.dataclass(frozen=True)
class Lab:
    """The hosts of one inventory and where their keys are kept."""

    name: str
    subnet: str
    hosts: tuple[Host, ...]
    edge_address: str
    client_addresses: tuple[str, ...]

    @property
    def state(self) -> pathlib.Path:
        return ROOT / ".lab" / self.name

    @property
    def network(self) -> str:
        return f"slipway-{self.name}"

    @property
    def ssh_key(self) -> pathlib.Path:
        return self.state / "ssh" / "id_ed25519"

    @property
    def known_hosts(self) -> pathlib.Path:
        return self.state / "ssh" / "known_hosts"

    @property
    def ca(self) -> pathlib.Path:
        return self.state / "ca" / "ca.crt"

    def container(self, host: Host) -> str:
        return f"slipway-{self.name}-{host.name}"

    def host(self, name: str) -> Host:
        for host in self.hosts:
            if host.name == name:
                return host
        raise LabError(f"no host {name} in the lab {self.name}: it has {', '.join(host.name for host in self.hosts)}")


def read_lab(inventory: pathlib.Path) -> Lab:
    """Read the hosts of an inventory directory."""
    path = inventory / "hosts.yml"
    try:
        document = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise LabError(f"no inventory at {path}: name one with --inventory DIR or SLIPWAY_INVENTORY") from None
    groups = document["all"].get("children", {})
    described = groups.get("lab", {})
    variables, entries = described.get("vars", {}), described.get("hosts") or {}
    try:
        name, subnet = variables["lab_name"], variables["lab_subnet"]
    except KeyError as missing:
        raise LabError(f"{path} describes no lab: the group lab has no {missing} in its vars") from None
    default_suite = read_recipe()["default_suite"]
    hosts = tuple(
        Host(
            name=host,
            address=entry["ansible_host"],
            suite=entry.get("lab_suite", default_suite),
            image=entry.get("lab_image", BASE_IMAGE),
            store=object_store.check_kind(host, entry.get("lab_store")),
        )
        for host, entry in entries.items()
    )
    clients = tuple(variables.get("lab_client_addresses", []))
    addresses = {host.name: host.address for host in hosts} | {f"client {address}": address for address in clients}
    for whose, address in addresses.items():
        if ipaddress.ip_address(address) not in ipaddress.ip_network(subnet):
            raise LabError(f"{path}: {whose} has {address}, outside of lab_subnet {subnet}")
    edges = groups.get("odoo_edge", {}).get("hosts") or {}
    servers = [host for host in hosts if host.store is None] or hosts
    edge = next((host.address for host in hosts if host.name in edges), servers[-1].address)
    return Lab(name=name, subnet=subnet, hosts=hosts, edge_address=edge, client_addresses=clients)


def read_recipe(image: str = BASE_IMAGE) -> dict[str, Any]:
    """Return the recipe of the image for one purpose: the base one, or that with further packages."""
    recipe = tomllib.loads(IMAGE_RECIPE.read_text())
    further = recipe.pop("further_packages")
    if image == BASE_IMAGE:
        return recipe
    if image not in further:
        raise LabError(f"lab_image: {image}: {IMAGE_RECIPE} knows {', '.join([BASE_IMAGE, *further])}")
    return {**recipe, "packages": recipe["packages"] + further[image]}


def cgroup_prefix() -> list[str]:
    """Command prefix that gives podman a pure cgroup v2 hierarchy, which trixie's systemd needs."""
    if run(["stat", "--file-system", "--format=%T", "/sys/fs/cgroup"]).strip() == "cgroup2fs":
        return []
    anchor = NAMESPACE_DIR / "mount-namespace"
    if subprocess.run(["mountpoint", "--quiet", anchor], check=False).returncode != 0:
        NAMESPACE_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
        if subprocess.run(["mountpoint", "--quiet", NAMESPACE_DIR], check=False).returncode != 0:
            # The kernel refuses to pin a mount namespace on a mount that is shared with it.
            run(["mount", "--bind", NAMESPACE_DIR, NAMESPACE_DIR])
            run(["mount", "--make-private", NAMESPACE_DIR])
        anchor.touch()
        run(
            [
                "unshare", f"--mount={anchor}", "--propagation", "private", "sh", "-euc",
                "umount --recursive /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup",
            ]
        )  # fmt: skip
    return ["nsenter", f"--mount={anchor}", "--wd=/"]


class Podman:
    """Runs podman commands in the mount namespace that this machine needs."""

    def __init__(self) -> None:
        if os.geteuid() != 0:
            raise LabError("the lab's containers run systemd with their own addresses and need root: run as root")
        missing = [tool for tool in ("podman", "mmdebstrap", "crun", "iptables", "ssh") if shutil.which(tool) is None]
        if missing:
            raise LabError(f"missing on this machine: {', '.join(missing)}. Run script/bootstrap")
        self.prefix = [*cgroup_prefix(), "podman"]

    def __call__(self, *arguments: str | os.PathLike[str], stdin: str | None = None, check: bool = True) -> str:
        return run([*self.prefix, *arguments], stdin=stdin, check=check)

    def succeeds(self, *arguments: str) -> bool:
        return subprocess.run([*self.prefix, *arguments], capture_output=True, check=False).returncode == 0


def debian_mirrors() -> tuple[str, str]:
    """Addresses of this machine's own Debian archive and security archive, as its apt knows them."""
    if configured := os.environ.get("SLIPWAY_DEBIAN_MIRROR"):
        return configured, configured.rstrip("/") + "-security"
    if shutil.which("apt-get") is None:
        raise LabError("this machine has no apt to ask for a Debian mirror: set SLIPWAY_DEBIAN_MIRROR to its address")
    found = run(["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian"])
    addresses = sorted(set(found.split()))
    archive = [address for address in addresses if "security" not in address]
    security = [address for address in addresses if "security" in address]
    if not archive:
        raise LabError("apt knows no Debian archive: run apt-get update, or set SLIPWAY_DEBIAN_MIRROR to an address")
    return archive[0], security[0] if security else archive[0].rstrip("/") + "-security"


def image_name(suite: str, image: str) -> str:
    """Name of all images, older ones too, of a Debian suite for one purpose."""
    return f"{IMAGE_NAME}-{suite}" + ("" if image == BASE_IMAGE else f"-{image}")


def image_tag(name: str, suite: str, recipe: dict[str, Any], mirrors: tuple[str, str]) -> str:
    """Name of the image that this recipe makes on this machine."""
    certificates = pathlib.Path("/etc/ssl/certs/ca-certificates.crt")
    digest = hashlib.sha256(json.dumps([suite, recipe, mirrors], sort_keys=True).encode())
    digest.update(certificates.read_bytes() if certificates.exists() else b"")
    return f"{name}:{digest.hexdigest()[:16]}"


def ensure_image(podman: Podman, suite: str, image: str) -> str:
    """Build the image of a Debian suite for one purpose unless one of the same recipe is there."""
    recipe = read_recipe(image)
    mirrors = debian_mirrors()
    name = image_name(suite, image)
    tag = image_tag(name, suite, recipe, mirrors)
    if podman.succeeds("image", "exists", tag):
        return tag
    archive, security = mirrors
    sources = "\n".join(
        [
            f"deb {archive} {suite} main",
            f"deb {archive} {suite}-updates main",
            f"deb {security} {suite}-security main",
        ]
    )
    say(f"building the {image} image of Debian {suite} (about {'25 seconds' if image == BASE_IMAGE else '2 minutes'})")
    with tempfile.TemporaryDirectory(prefix="slipway-image-") as work:
        setup, tarball = pathlib.Path(work, "setup.sh"), pathlib.Path(work, "root.tar")
        setup.write_text(recipe["setup"])
        # What the machine trusts, its hosts must trust: a mirror may sit behind a private CA.
        hooks = [
            'mkdir -p "$1/usr/local/share/ca-certificates"',
            'find /usr/local/share/ca-certificates -name "*.crt" -exec cp {} "$1/usr/local/share/ca-certificates/" ";"',
            'chroot "$1" update-ca-certificates',
            f'chroot "$1" sh -eu < {setup}',
        ]
        command: list[str | os.PathLike[str]] = ["mmdebstrap", "--quiet", "--variant=minbase"]
        command.append(f"--include={','.join(recipe['packages'])}")
        command += [f"--customize-hook={hook}" for hook in hooks]
        run([*command, suite, tarball, "-"], stdin=sources)
        podman("import", "--quiet", tarball, tag)
    for line in podman("images", "--format", "{{.Repository}}:{{.Tag}}").split():
        if line.startswith(f"{name}:") and line != tag:
            podman("rmi", line, check=False)  # another lab may still run on it: then it stays
    return tag


def ensure_keys(lab: Lab) -> None:
    """Make the log-in key, one host key per host, the known_hosts file and the lab's CA."""
    ssh = lab.ssh_key.parent
    ssh.mkdir(mode=0o700, parents=True, exist_ok=True)
    for key in (lab.ssh_key, *(ssh / f"host-{host.name}" for host in lab.hosts)):
        if not key.exists():
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"slipway-{key.name}", "-f", key])
    lines = []
    for host in lab.hosts:
        public = (ssh / f"host-{host.name}.pub").read_text().split()
        lines.append(f"{host.address} {public[0]} {public[1]}\n")
    lab.known_hosts.write_text("".join(lines))
    if not lab.ca.exists():
        lab.ca.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        run(
            [
                "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                "-keyout", lab.ca.with_suffix(".key"), "-out", lab.ca, "-days", "3650",
                "-subj", f"/CN=Slipway lab CA ({lab.name})",
                "-addext", "basicConstraints=critical,CA:TRUE,pathlen:0",
                "-addext", "keyUsage=critical,keyCertSign,cRLSign",
            ]
        )  # fmt: skip
        lab.ca.with_suffix(".key").chmod(0o600)


def owner(podman: Podman, container: str) -> str | None:
    """The checkout that made a container; None where there is no such container."""
    label = '{{ index .Config.Labels "slipway.checkout" }}'
    found = podman("container", "inspect", "--format", label, container, check=False).strip()
    return found or None


def remove(podman: Podman, container: str) -> None:
    """Destroy a container; podman may lose a race with its dying init and must be asked again."""
    for _attempt in range(3):
        podman("rm", "--force", "--ignore", "--time=1", container, check=False)
        if not podman.succeeds("container", "exists", container):
            return
        time.sleep(1)
    podman("rm", "--force", "--time=1", container)


def start_host(podman: Podman, lab: Lab, host: Host, image: str) -> bool:
    """Start one container; returns whether it had to be made."""
    container = lab.container(host)
    checkout = owner(podman, container)
    if checkout is not None:
        if checkout != str(ROOT) and pathlib.Path(checkout).exists():
            raise LabError(f"{container} belongs to the checkout {checkout}: run `script/lab down` there first")
        if checkout == str(ROOT) and podman.succeeds("exec", container, "true"):
            return False
        if checkout == str(ROOT) and podman.succeeds("start", container):
            return False
        remove(podman, container)
    ssh = lab.ssh_key.parent
    podman(
        "create", "--name", container, "--hostname", host.name, "--label", f"slipway.checkout={ROOT}",
        "--network", lab.network, "--ip", host.address, "--systemd=always", "--privileged",
        # Without CAP_SYS_RESOURCE podman cannot raise limits above the machine's own.
        "--pids-limit=-1", "--ulimit=nofile=20000:20000", "--ulimit=nproc=20000:20000",
        image, "/sbin/init",
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="slipway-host-") as work:
        tree = pathlib.Path(work)
        for source, target, mode in (
            (ssh / f"host-{host.name}", "etc/ssh/ssh_host_ed25519_key", 0o600),
            (ssh / f"host-{host.name}.pub", "etc/ssh/ssh_host_ed25519_key.pub", 0o644),
            (lab.ssh_key.with_suffix(".pub"), "etc/ssh/authorized_keys_lab", 0o644),
        ):
            path = tree / target
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(source.read_bytes())
            path.chmod(mode)
        conf = tree / "etc/ssh/sshd_config.d/lab.conf"
        conf.parent.mkdir(parents=True)
        conf.write_text("AuthorizedKeysFile /etc/ssh/authorized_keys_lab\nPasswordAuthentication no\nUseDNS no\n")
        podman("cp", f"{tree}/etc/.", f"{container}:/etc/")
    podman("start", container)
    return True


def ensure_client_addresses(lab: Lab, podman: Podman) -> None:
    """Give this machine further addresses in the lab's network, to be clients from; they go with its bridge."""
    if not lab.client_addresses:
        return
    bridge = podman("network", "inspect", "--format", "{{.NetworkInterface}}", lab.network).strip()
    for address in lab.client_addresses:
        run(["ip", "address", "replace", f"{address}/32", "dev", bridge])


def wait_for_ssh(host: Host) -> None:
    deadline = time.monotonic() + SSH_WAIT_SECONDS
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((host.address, 22), timeout=2) as connection:
                if connection.recv(4) == b"SSH-":
                    return
        except OSError:
            time.sleep(0.2)
    raise LabError(f"{host.name} ({host.address}) answers no SSH after {SSH_WAIT_SECONDS} s: see `podman logs`")


def stores(lab: Lab) -> list[object_store.Store]:
    """The object stores among the hosts of a lab."""
    return [
        object_store.Store(
            lab=lab.name, name=host.name, address=host.address, kind=host.store, container=lab.container(host),
            state=lab.state / "store" / host.name, ca=lab.ca,
        )
        for host in lab.hosts
        if host.store is not None
    ]  # fmt: skip


def servers(lab: Lab) -> list[str]:
    """The hosts that keep something in the store."""
    return [host.name for host in lab.hosts if host.store is None]


def make_store_keys(lab: Lab, inventory: pathlib.Path, podman: Podman) -> None:
    """Complete the keys in the inventory's secrets, and give them to the stores that are up."""
    for store in stores(lab):
        if object_store.complete_keys(store, inventory, servers(lab)):
            say(f"{lab.name}: made keys of {store.name} in {inventory / object_store.SECRETS_FILE}")
        if podman.succeeds("exec", store.container, "true") and object_store.apply_keys(store, inventory, servers(lab)):
            say(f"{lab.name}: gave {store.name} its keys")


def up(lab: Lab, inventory: pathlib.Path, podman: Podman) -> None:
    kinds = sorted({(host.suite, host.image) for host in lab.hosts})
    images = {kind: ensure_image(podman, *kind) for kind in kinds}
    ensure_keys(lab)
    if not podman.succeeds("network", "exists", lab.network):
        podman("network", "create", "--subnet", lab.subnet, "--label", f"slipway.checkout={ROOT}", lab.network)
    made = [host.name for host in lab.hosts if start_host(podman, lab, host, images[host.suite, host.image])]
    ensure_client_addresses(lab, podman)
    for host in lab.hosts:
        wait_for_ssh(host)
    if made:
        say(f"{lab.name}: made {', '.join(made)}")
    for store in stores(lab):
        if object_store.ensure_running(store, podman):
            say(f"{lab.name}: {store.name} runs {store.kind} for the bucket {store.bucket}")
        object_store.apply_keys(store, inventory, servers(lab))


def down(lab: Lab, names: Sequence[str], podman: Podman) -> None:
    if names:
        for host in [lab.host(name) for name in names]:
            remove(podman, lab.container(host))
        say(f"{lab.name}: destroyed {', '.join(names)}")
        return
    for host in lab.hosts:
        remove(podman, lab.container(host))
    if podman.succeeds("network", "exists", lab.network):
        podman("network", "rm", "--force", lab.network)
    say(f"{lab.name}: down")


def status(lab: Lab, podman: Podman) -> None:
    for host in lab.hosts:
        template = "{{.State.Status}}"
        state = podman("container", "inspect", "--format", template, lab.container(host), check=False).strip()
        print(f"{host.name}\t{host.address}\t{host.suite}\t{state or 'absent'}")


def ssh_command(lab: Lab, host: Host) -> list[str]:
    return [
        "ssh", "-i", str(lab.ssh_key), "-o", f"UserKnownHostsFile={lab.known_hosts}",
        "-o", "StrictHostKeyChecking=yes", "-o", "LogLevel=ERROR", f"{LOGIN_USER}@{host.address}",
    ]  # fmt: skip


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="script/lab", description="The lab: bare Debian hosts as systemd containers.")
    default = os.environ.get("SLIPWAY_INVENTORY", str(ROOT / "inventories" / "demo"))
    parser.add_argument("--inventory", type=pathlib.Path, default=pathlib.Path(default), metavar="DIR")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="up|down|status|ip|ssh|url|ca|store")
    verbs.add_parser("up", help="make the hosts that are not there, start them, wait for SSH")
    down_parser = verbs.add_parser("down", help="destroy the hosts, or those named, and everything on them")
    down_parser.add_argument("hosts", nargs="*", metavar="host")
    verbs.add_parser("status", help="list the hosts: name, address, Debian suite, state")
    verbs.add_parser("ip", help="print a host's address").add_argument("host")
    ssh = verbs.add_parser("ssh", help="log in to a host, or run a command there")
    ssh.add_argument("host")
    ssh.add_argument("command", nargs=argparse.REMAINDER)
    verbs.add_parser("url", help="print the address of the lab's Odoo")
    verbs.add_parser("ca", help="print the path of the lab's CA certificate")
    verbs.add_parser("store", help="complete the keys of the lab's object store in the inventory's secrets")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    options = parse(arguments)
    lab = read_lab(options.inventory)
    match options.verb:
        case "up":
            up(lab, options.inventory, Podman())
        case "down":
            down(lab, options.hosts, Podman())
        case "status":
            status(lab, Podman())
        case "ip":
            print(lab.host(options.host).address)
        case "store":
            make_store_keys(lab, options.inventory, Podman())
        case "url":
            print(f"https://{lab.edge_address}/")
        case "ca":
            ensure_keys(lab)
            print(lab.ca)
        case "ssh":
            command = ssh_command(lab, lab.host(options.host)) + options.command
            os.execvp(command[0], command)  # noqa: S606  the session becomes this process


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
        sys.stdout.flush()
    except LabError as error:
        sys.exit(f"lab: {error}")
    except BrokenPipeError:
        # Whoever read us, such as `head`, has seen enough. Python would complain once more when it closes the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
