"""How long a deploy takes, against a plain shell script that does the same installs by hand.

On fresh containers each: the shell script (the floor; it does one host after the other), the first
deploy, then a second deploy with nothing to do, with and without mitogen. Seconds of one run mean
little on a shared machine; the ratios are of the same run.
"""

from __future__ import annotations

import json
import os
import pathlib
import platform
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
INVENTORY = ROOT / "bench" / "inventory"
RESULT = ROOT / "bench" / "deploy.json"
LOG = ROOT / "bench" / "deploy.log"
FIRST_GOAL = 1.3
NOOP_GOAL_SECONDS = 25.0
LIMIT_SECONDS = 1200
HOSTS = ("db1", "app1", "edge1")


def run(command: list[str], *, environment: dict[str, str] | None = None) -> tuple[float, str]:
    """Run a command to its end; returns its seconds and what it printed, which also goes to the log."""
    start = time.monotonic()
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **(environment or {})}, text=True, timeout=LIMIT_SECONDS,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    seconds = time.monotonic() - start
    with LOG.open("a") as log:
        log.write(f"$ {' '.join(command)}\n{done.stdout}\n")
    if done.returncode != 0:
        sys.exit(f"bench: {' '.join(command)} failed with {done.returncode}, see {LOG}:\n{done.stdout[-3000:]}")
    return seconds, done.stdout


def lab(*arguments: str) -> str:
    return run(["script/lab", "--inventory", str(INVENTORY), *arguments])[1]


def fresh_hosts() -> None:
    lab("down")
    lab("up")


def packages() -> dict[str, set[str]]:
    """Names of the packages on each host."""
    query = "dpkg-query -W -f '${Package}\\n'"
    return {host: set(lab("ssh", host, query).split()) for host in HOSTS}


def deploy(**environment: str) -> tuple[float, str]:
    command = [".venv/bin/ansible-playbook", "playbooks/deploy.yml", "-i", str(INVENTORY)]
    return run(command, environment=environment)


def changed(output: str) -> int:
    """Sum of the recap's changed counts."""
    recap = output.rpartition("PLAY RECAP")[2]
    return sum(int(word.removeprefix("changed=")) for word in recap.split() if word.startswith("changed="))


def mitogen() -> dict[str, str]:
    """Environment that makes Ansible run its tasks through mitogen."""
    found = subprocess.run(
        [".venv/bin/python", "-c", "import ansible_mitogen as m; print(m.__path__[0])"],
        cwd=ROOT, text=True, capture_output=True, check=True,
    )  # fmt: skip
    plugins = f"{found.stdout.strip()}/plugins/strategy"
    return {"ANSIBLE_STRATEGY_PLUGINS": plugins, "ANSIBLE_STRATEGY": "mitogen_linear"}


def main() -> None:
    LOG.unlink(missing_ok=True)
    run(["bash", "-euc", '. script/lib/lab.sh; make_secrets "$0"', str(INVENTORY)])
    fresh_hosts()
    addresses = [lab("ip", host).strip() for host in HOSTS]
    print("floor: the same installs and the same database by a shell script …", flush=True)
    floor_s, _output = run(["bash", "bench/floor.sh", str(INVENTORY), *addresses])
    floor_packages = packages()
    fresh_hosts()
    print(f"floor  {floor_s:7.1f} s\nfirst deploy on fresh hosts …", flush=True)
    first_s, _output = deploy()
    deploy_packages = packages()
    print(f"first  {first_s:7.1f} s   {first_s / floor_s:.2f} x floor (goal {FIRST_GOAL})", flush=True)
    noop_s, output = deploy()
    print(f"noop   {noop_s:7.1f} s   changed={changed(output)} (goal {NOOP_GOAL_SECONDS:.0f} s)", flush=True)
    noop_changed = changed(output)
    noop_mitogen_s, output = deploy(**mitogen())
    print(f"noop   {noop_mitogen_s:7.1f} s   with mitogen, changed={changed(output)}", flush=True)
    for host in HOSTS:
        for what, names in (
            ("only the floor installed", floor_packages[host] - deploy_packages[host]),
            ("only the deploy installed", deploy_packages[host] - floor_packages[host]),
        ):
            if names:
                print(f"{host}: {what}: {', '.join(sorted(names))}")
    versions = run([".venv/bin/ansible", "--version"])[1].splitlines()[0]
    RESULT.write_text(
        json.dumps(
            {
                "floor_s": round(floor_s, 1),
                "first_s": round(first_s, 1),
                "first_to_floor": round(first_s / floor_s, 2),
                "noop_s": round(noop_s, 1),
                "noop_changed": noop_changed,
                "noop_mitogen_s": round(noop_mitogen_s, 1),
                "versions": {"ansible": versions, "python": platform.python_version(), "kernel": platform.release()},
                "cores": os.cpu_count(),
            },
            indent=2,
        )
        + "\n"
    )
    lab("down")
    print(f"written: {RESULT.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
