"""How long a deploy takes, against a plain shell script that does the same installs by hand.

On fresh containers each: the shell script (the floor; it does one host after the other), the first
deploy, then a second deploy with nothing to do, with and without mitogen. Seconds of one run mean
little on a shared machine; the ratios are of the same run.
"""

from __future__ import annotations

import subprocess

from lib.lab_runs import ROOT, LabRuns

FIRST_GOAL = 1.3
NOOP_GOAL_SECONDS = 25.0
HOSTS = ("db1", "app1", "edge1")
RUNS = LabRuns(inventory=ROOT / "bench" / "inventory", log=ROOT / "bench" / "deploy.log")


def fresh_hosts() -> None:
    RUNS.lab("down")
    RUNS.lab("up")


def packages() -> dict[str, set[str]]:
    """Names of the packages on each host."""
    query = "dpkg-query -W -f '${Package}\\n'"
    return {host: set(RUNS.lab("ssh", host, query).split()) for host in HOSTS}


def deploy(**environment: str) -> tuple[float, str]:
    return RUNS.playbook("playbooks/deploy.yml", **environment)


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
    RUNS.log.unlink(missing_ok=True)
    RUNS.make_secrets()
    fresh_hosts()
    addresses = [RUNS.lab("ip", host).strip() for host in HOSTS]
    print("floor: the same installs and the same database by a shell script …", flush=True)
    floor_s, _output = RUNS.run(["bash", "bench/floor.sh", str(RUNS.inventory), *addresses])
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
    RUNS.write(
        ROOT / "bench" / "deploy.json",
        {
            "floor_s": round(floor_s, 1),
            "first_s": round(first_s, 1),
            "first_to_floor": round(first_s / floor_s, 2),
            "noop_s": round(noop_s, 1),
            "noop_changed": noop_changed,
            "noop_mitogen_s": round(noop_mitogen_s, 1),
        },
    )
    RUNS.lab("down")


if __name__ == "__main__":
    main()
