"""How long the modules take to find out that nothing is to be done, against floors and peers.

On one host of the lab, each several times in turn in one run. «module» is the time of the module's process on that
host, from the start of its interpreter to its end; «task» is the whole task, with Ansible's own work and the
connection over SSH. The floors are the bare look at the same things, the peers do the same job their own way.
"""

from __future__ import annotations

import dataclasses
import io
import json
import pathlib
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from lib.lab_runs import ROOT, LabRuns

RUNS = LabRuns(inventory=ROOT / "molecule" / "modules" / "inventory", log=ROOT / "bench" / "modules.log")
INSTANCE = "bench_modules"
CONFIG = f"/etc/odoo/{INSTANCE}.conf"
ADDONS = f"/srv/slipway-tests/{INSTANCE}/addons"
CLICK = "/srv/slipway-tests/click-odoo"
TABLES, INDEXES_EACH, PEER_INDEXES = 50, 20, 50
ADDONS_ON_DISK = 650
ROUNDS = 3
#: Installed besides those of the site, so that the database is like one that people work with.
APPLICATIONS = ["crm", "project", "sale_management"]
CLOCK = "/srv/slipway-tests/python-with-a-clock"
TIMES = "/srv/slipway-tests/times"
GOAL_SECONDS = 1.0

MANIFESTS_FLOOR = f"""
import ast, glob, os
for root in ({ADDONS!r}, "/usr/lib/python3/dist-packages/odoo/addons"):
    for path in glob.glob(os.path.join(root, "*", "__manifest__.py")):
        ast.literal_eval(open(path, encoding="utf-8").read())
"""


# What Ansible starts as the interpreter of the host.
CLOCK_SCRIPT = f"""#!/bin/bash
start=$EPOCHREALTIME
/usr/bin/python3 "$@"
code=$?
echo "$SLIPWAY_STEP;$start;$EPOCHREALTIME" >>{TIMES}
exit $code
"""


@dataclasses.dataclass(frozen=True)
class Seconds:
    """Medians of one step: of its module's process, and of the whole task; the result of its last run."""

    module: float
    task: float
    result: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Step:
    """One task that is timed. ``part`` is how much of the whole job it does."""

    name: str
    task: dict[str, Any]
    rounds: int = ROUNDS
    part: float = 1.0


def on_host(script: str) -> str:
    """Run a shell script on the host as root."""
    return RUNS.lab("ssh", "box1", "sudo bash -eu -s", stdin=script)


def table_name(number: int) -> str:
    return f"bench_table_{number:02d}"


def expected_indexes() -> list[dict[str, Any]]:
    """1,000 indexes as a user would describe them, of several kinds."""
    kinds: tuple[dict[str, Any], ...] = (
        {"columns": ["name"]},
        {"columns": ["lower(name)"]},
        {"columns": ["company_id", "state"]},
        {"columns": ["created_at DESC"], "where": "state = 'open'"},
        {"columns": ["code"], "unique": True, "include": ["state"]},
    )
    return [
        {"name": f"{table_name(table)}_i{number:02d}", "table": table_name(table), **kinds[number % len(kinds)]}
        for table in range(TABLES)
        for number in range(INDEXES_EACH)
    ]


def make_indexes_sql() -> str:
    columns = "id serial PRIMARY KEY, name varchar, code text, company_id int, state varchar, created_at timestamp"
    tables = [f"CREATE TABLE {table_name(table)} ({columns});" for table in range(TABLES)]
    return "\n".join(['SET ROLE "odoo-main";', *tables, *map(create_statement, expected_indexes())])


def create_statement(index: dict[str, Any]) -> str:
    unique = "UNIQUE " if index.get("unique") else ""
    include = f" INCLUDE ({', '.join(index['include'])})" if "include" in index else ""
    where = f" WHERE {index['where']}" if "where" in index else ""
    columns = ", ".join(index["columns"])
    return f"CREATE {unique}INDEX {index['name']} ON {index['table']} ({columns}){include}{where};"


def make_addons() -> None:
    """The test addons, and empty ones until the addons path holds as many as it is to."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for addon in sorted((ROOT / "tests" / "addons").iterdir()):
            tar.add(addon, arcname=addon.name, filter=lambda item: None if "__pycache__" in item.name else item)
    command = [
        "script/lab",
        "--inventory",
        str(RUNS.inventory),
        "ssh",
        "box1",
        f"sudo tar -x --no-same-owner -C {ADDONS}",
    ]
    subprocess.run(command, cwd=ROOT, input=archive.getvalue(), check=True)
    on_host(f"""
there=$(ls -d {ADDONS}/*/ /usr/lib/python3/dist-packages/odoo/addons/*/__manifest__.py | wc -l)
for number in $(seq $(({ADDONS_ON_DISK} - there))); do
    mkdir -p {ADDONS}/bench_empty_$number
    echo '{{"name": "Bench", "version": "19.0.1.0.0", "depends": ["base"], "license": "LGPL-3"}}' \
        >{ADDONS}/bench_empty_$number/__manifest__.py
    touch {ADDONS}/bench_empty_$number/__init__.py
done
""")


def install_click_odoo() -> None:
    """The peer, from its hashed lock; the host needs no index of its own for that."""
    with tempfile.TemporaryDirectory() as work:
        RUNS.run([".venv/bin/pip", "download", "--quiet", "--require-hashes", "--no-deps", "--only-binary=:all:",
                  "-r", "bench/lib/click-odoo.txt", "-d", work])  # fmt: skip
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.add(work, arcname="wheels")
        on_host(f"rm -rf {CLICK}; mkdir -p {CLICK}; chmod 0755 {CLICK}")
        command = [
            "script/lab",
            "--inventory",
            str(RUNS.inventory),
            "ssh",
            "box1",
            f"sudo tar -x --no-same-owner -C {CLICK}",
        ]
        subprocess.run(command, cwd=ROOT, input=archive.getvalue(), check=True)
    on_host(f"""
export DEBIAN_FRONTEND=noninteractive
python3 -c 'import ensurepip' 2>/dev/null || apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
python3 -m venv --system-site-packages {CLICK}/venv
{CLICK}/venv/bin/pip install --quiet --no-index --no-deps {CLICK}/wheels/*.whl
""")


def prepare() -> None:
    print("preparing: a host with Odoo, a database of its own, 650 addons, 1,000 indexes, click-odoo …", flush=True)
    RUNS.lab("up")
    RUNS.make_secrets()
    RUNS.playbook("playbooks/deploy.yml")
    script = (ROOT / "molecule" / "tests" / "modules" / "instance.sh").read_text()
    RUNS.lab("ssh", "box1", f"sudo bash -s make {INSTANCE}", stdin=script)
    make_addons()
    on_host(
        f"cd /; runuser -u postgres -- psql -Xq -v ON_ERROR_STOP=1 -d {INSTANCE} <<'SQL'\n{make_indexes_sql()}\nSQL"
    )
    install_click_odoo()
    names = json.dumps({"config": CONFIG, "names": APPLICATIONS})
    RUNS.run(
        [".venv/bin/ansible", "box1", "-i", str(RUNS.inventory), "-b", "-m", "slipway.odoo.odoo_module", "-a", names]
    )
    on_host(f"cat >{CLOCK} <<'CLOCK'\n{CLOCK_SCRIPT}CLOCK\nchmod 0755 {CLOCK}; : >{TIMES}; chmod 0666 {TIMES}")


def odoo(*arguments: str) -> dict[str, Any]:
    """A task that runs Odoo itself on the database of the measurement."""
    return {"ansible.builtin.command": {"argv": ["/usr/bin/odoo", "-c", CONFIG, "-d", INSTANCE, *arguments]},
            "become_user": "odoo-main"}  # fmt: skip


def steps() -> list[Step]:
    expected = expected_indexes()
    psql = ["psql", "-XAtq", "-d", INSTANCE, "-c", "SELECT indexdef FROM pg_indexes"]
    peer = {
        "community.postgresql.postgresql_idx": {
            "login_db": INSTANCE,
            "name": "{{ item.name }}",
            "table": "{{ item.table }}",
            "columns": "{{ item['columns'] }}",
        },
        "become_user": "postgres",
        "loop": expected[:PEER_INDEXES],
        "loop_control": {"label": "{{ item.name }}"},
    }
    click = [f"{CLICK}/venv/bin/click-odoo-update", "-c", CONFIG, "-d", INSTANCE]
    return [
        Step("ping", {"ansible.builtin.ping": {}}),
        Step("indexes", {"slipway.odoo.postgresql_index_info": {"config": CONFIG, "expected": expected}}),
        Step("indexes floor", {"ansible.builtin.command": {"argv": psql}, "become_user": "postgres"}),
        Step("indexes peer", peer, rounds=1, part=PEER_INDEXES / len(expected)),
        Step("modules", {"slipway.odoo.odoo_module_info": {"config": CONFIG}}),
        Step("modules floor", {"ansible.builtin.command": {"argv": ["python3", "-c", MANIFESTS_FLOOR]}}),
        # Once, so that both know what is installed; then with nothing to do.
        Step("click first", {"ansible.builtin.command": {"argv": click}, "become_user": "odoo-main"}, rounds=1),
        Step("latest", {"slipway.odoo.odoo_module": {"config": CONFIG, "names": ["*"], "state": "latest"}}),
        Step("latest click", {"ansible.builtin.command": {"argv": click}, "become_user": "odoo-main"}),
        Step("latest all", odoo("-u", "all", "--no-http", "--stop-after-init"), rounds=1),
    ]


def measure(steps: Sequence[Step]) -> dict[str, Seconds]:
    """Run all steps, round by round. What does a part of a job is taken times as much."""
    tasks = [
        {
            "name": f"{step.name} {number}",
            **step.task,
            "environment": {"SLIPWAY_STEP": f"{step.name} {number}"},
            "register": "measured",
        }
        for number in range(ROUNDS)
        for step in steps
        if number < step.rounds
    ]
    variables = {"ansible_python_interpreter": CLOCK}
    play = [{"hosts": "box1", "become": True, "gather_facts": False, "vars": variables, "tasks": tasks}]
    with tempfile.TemporaryDirectory() as work:
        path = pathlib.Path(work) / "measure.json"
        path.write_text(json.dumps(play))
        _seconds, output = RUNS.playbook(str(path), ANSIBLE_STDOUT_CALLBACK="ansible.posix.json")
    document, _end = json.JSONDecoder().raw_decode(output, output.index("{\n"))
    in_module: dict[str, float] = {}
    for line in on_host(f"cat {TIMES}").splitlines():
        name, start, end = line.split(";")
        in_module[name] = in_module.get(name, 0.0) + float(end) - float(start)
    rounds: dict[str, list[tuple[float, float, dict[str, Any]]]] = {}
    for entry in document["plays"][0]["tasks"]:
        name, seconds = entry["task"]["name"], entry["task"]["duration"]
        one = (in_module[name], duration(seconds["start"], seconds["end"]), entry["hosts"]["box1"])
        rounds.setdefault(name.rpartition(" ")[0], []).append(one)
    return {
        step.name: Seconds(
            module=statistics.median(one[0] for one in rounds[step.name]) / step.part,
            task=statistics.median(one[1] for one in rounds[step.name]) / step.part,
            result=rounds[step.name][-1][2],
        )
        for step in steps
    }


def duration(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def check(found: dict[str, Seconds]) -> int:
    """End the measurement when a step did not do what its time is to stand for; returns the installed modules."""
    indexes, modules, latest = (found[name].result for name in ("indexes", "modules", "latest"))
    if len(indexes["ok"]) != TABLES * INDEXES_EACH:
        sys.exit(f"bench: of {TABLES * INDEXES_EACH} expected indexes only {len(indexes['ok'])} were found to be right")
    if len(modules["modules"]) < ADDONS_ON_DISK:
        sys.exit(f"bench: odoo_module_info saw {len(modules['modules'])} modules instead of {ADDONS_ON_DISK}")
    if latest["changed"] or "log_file" in latest:
        sys.exit("bench: odoo_module had something to do, or started Odoo")
    return sum(module["state"] == "installed" for module in modules["modules"])


def main() -> None:
    RUNS.log.unlink(missing_ok=True)
    prepare()
    found = measure(steps())
    installed = check(found)
    rows: tuple[tuple[str, str, dict[str, str]], ...] = (
        (
            "1,000 expected indexes",
            "indexes",
            {"floor: psql reads all definitions": "indexes floor", "postgresql_idx, 50 of them × 20": "indexes peer"},
        ),
        (
            f"{ADDONS_ON_DISK} modules, {installed} of them installed",
            "modules",
            {"floor: Python reads all manifests": "modules floor"},
        ),
        (
            "latest, nothing changed",
            "latest",
            {"click-odoo-update, nothing changed": "latest click", "odoo -u all": "latest all"},
        ),
        ("ping: what any module costs", "ping", {}),
    )
    print(f"\n{f'seconds, median of {ROUNDS}':42} {'module':>8} {'task':>8}")
    for title, name, others in rows:
        ours = found[name]
        goal = "" if name == "ping" else f"goal {GOAL_SECONDS:.0f}" + (" MISSED" if ours.module > GOAL_SECONDS else "")
        print(f"{title:42} {ours.module:8.2f} {ours.task:8.2f}   {goal}")
        for what, other in others.items():
            ratio = found[other].module / ours.module
            print(f"    {what:38} {found[other].module:8.2f} {found[other].task:8.2f}   {ratio:.2f} x ours")
    RUNS.write(
        ROOT / "bench" / "modules.json",
        {
            "goal_s": GOAL_SECONDS,
            "installed_modules": installed,
            "module_s": {name: round(seconds.module, 3) for name, seconds in found.items()},
            "task_s": {name: round(seconds.task, 3) for name, seconds in found.items()},
        },
    )
    script = (ROOT / "molecule" / "tests" / "modules" / "instance.sh").read_text()
    RUNS.lab("ssh", "box1", f"sudo bash -s drop {INSTANCE}", stdin=script)
    RUNS.lab("down")


if __name__ == "__main__":
    main()
