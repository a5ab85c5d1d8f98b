"""How long backups and restores take, against what somebody would write by hand for the same, in one run.

One box with PostgreSQL and Odoo, and its object store, on a machine that both share. The floors are pg_basebackup
piped to zstd on the local disk (no upload, no encryption, no check, no manifest), the same encrypted and uploaded, its
archive unpacked and started, and cp of the filestore. Each is timed in turn with what it is held against.

``--small`` takes a tenth of the data and one round, to see that all of it works; it writes no result.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import ssl
import statistics
import time
import urllib.request
from collections.abc import Iterable
from typing import Any

from lib.lab_runs import ROOT, LabRuns

RUNS = LabRuns(inventory=ROOT / "bench" / "backup" / "inventory", log=ROOT / "bench" / "backup.log")
PROGRAM = "/var/lib/slipway-bench.py"
FULL_GOAL, RESTORE_GOAL, RPO_GOAL_SECONDS, INCREMENTAL_GOAL = 1.5, 1.5, 60.0, 0.1

#: What is measured in a round, floor and job next to each other.
ROUND: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("floor_full", ("floor-full",)),
    ("full", ("backup", "full")),
    ("floor_upload", ("floor-upload",)),
    ("restore", ("restore",)),
    ("floor_restore", ("floor-restore",)),
)
Result = dict[str, Any]


def store_cpu() -> float:
    """Seconds of CPU that the store has used so far."""
    said = RUNS.lab("ssh", "store1", "cat /sys/fs/cgroup/cpu.stat")
    return int(said.split("usage_usec", 1)[1].split()[0]) / 1e6


class Bench:
    """The measurements, and the load of the machine before each."""

    def __init__(self) -> None:
        self.results: dict[str, list[Result]] = {}

    def host(self, *arguments: str) -> Result:
        """Run a verb of bench/backup/host.py on the host."""
        said = RUNS.lab("ssh", "box1", f"sudo python3 {PROGRAM} {' '.join(arguments)}")
        return dict(json.loads(said.strip().splitlines()[-1]))

    def measure(self, name: str, *arguments: str) -> Result:
        """As ``host``, remembered and told."""
        load = round(os.getloadavg()[0], 1)
        before = store_cpu()
        result = {**self.host(*arguments), "store_cpu_s": round(store_cpu() - before, 1), "load": load}
        self.results.setdefault(name, []).append(result)
        more = ", ".join(f"{key} {value}" for key, value in result.items() if key not in {"seconds", "label"})
        print(f"  {name:22} {result.get('seconds', 0.0):7.2f} s   {more}", flush=True)
        return result

    def median(self, name: str, key: str = "seconds") -> float:
        return float(statistics.median(result[key] for result in self.results[name]))

    def loads(self) -> list[float]:
        return [result["load"] for results in self.results.values() for result in results]


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a tenth of the data, one round, no result written")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-deploy", action="store_true", help="the lab is there and deployed")
    parser.add_argument(
        "--no-fill", action="store_true", help="and filled as it is to be, and nothing was measured yet"
    )
    parser.add_argument("--keep", action="store_true", help="leave the lab")
    chosen = parser.parse_args()
    if chosen.small:
        chosen.rounds = 1
    return chosen


def prepare(*, deploy: bool, fill: bool, database_mb: int, files: int, files_mb: int) -> Bench:
    bench = Bench()
    if deploy:
        print("preparing: a box with Odoo and an object store …", flush=True)
        RUNS.lab("down")
        RUNS.lab("up")
        RUNS.make_secrets()
        RUNS.playbook("playbooks/backup_store.yml")
        RUNS.playbook("playbooks/deploy.yml")
    program = (ROOT / "bench" / "backup" / "host.py").read_text()
    RUNS.lab("ssh", "box1", f"sudo tee {PROGRAM} >/dev/null", stdin=program)
    bench.host("odoo", "stop")
    if fill:
        print(f"filling: {database_mb} MB of rows, {files} files of {files_mb} MB …", flush=True)
    sizes = [f"--database-mb={database_mb}", f"--files={files}", f"--files-mb={files_mb}"]
    filled = bench.measure("fill", *(["fill", *sizes] if fill else ["found"]))
    print(
        f"  the database has {filled['database_bytes'] / 1e9:.2f} GB in {filled['rows']} rows and the cluster "
        f"{filled['cluster_bytes'] / 1e9:.2f} GB; the filestore {filled['files_bytes'] / 1e9:.2f} GB in "
        f"{filled['files']} files",
        flush=True,
    )
    return bench


def databases(bench: Bench, *, rounds: int) -> None:
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", flush=True)
        first, second, *others = ROUND
        # Neither is always the one that finds the caches warm.
        for name, arguments in (*((first, second) if number % 2 == 0 else (second, first)), *others):
            bench.measure(name, *arguments)
    # A restore was in between; what an incremental one is of is the last full backup.
    print(
        "incremental, 1 % of the rows changed: the newest, some of the newest tenth, some all over the table",
        flush=True,
    )
    # In this order: who reads rows that were changed writes hint bits, and they would count for the next one.
    for _number in range(rounds):
        bench.measure("change_newest", "change", "newest")
        bench.measure("incremental_newest", "backup", "incr")
    for number in range(rounds):
        bench.measure("change", "change", "tenth", f"--number={number}")
        bench.measure("incremental", "backup", "incr")
    bench.measure("change_spread", "change", "spread")
    bench.measure("incremental_spread", "backup", "incr")
    bench.measure("incremental_idle", "backup", "incr")


def filestores(bench: Bench, *, rounds: int) -> None:
    print("filestore", flush=True)
    bench.measure("floor_files", "floor-files")
    bench.measure("files_first", "files")
    for _number in range(rounds - 1):
        bench.measure("floor_files", "floor-files")
    for _number in range(rounds):
        bench.measure("files_again", "files")


def log_in_page(address: str) -> float:
    """Wait for a log-in page over HTTPS; the seconds that it took to come."""
    start = time.monotonic()
    context = ssl.create_default_context(cafile=RUNS.lab("ca").strip())
    while time.monotonic() < start + 300:
        try:
            with urllib.request.urlopen(f"https://{address}/web/login", timeout=30, context=context) as answer:
                if answer.status == 200 and b'name="login"' in answer.read():
                    return time.monotonic() - start
        except OSError:
            time.sleep(0.5)
    raise SystemExit(f"bench: https://{address}/web/login gave no log-in page within 300 s after the restore")


def site(bench: Bench) -> Result:
    """From a host whose data are lost to a log-in page, by the collection's playbook."""
    print("restoring all of the site: empty data directory, no filestore …", flush=True)
    bench.host("odoo", "start")
    address = RUNS.lab("ip", "box1").strip()
    log_in_page(address)
    before = bench.host("found")
    bench.host("lose-all")
    load = round(os.getloadavg()[0], 1)
    start = time.monotonic()
    wanted = json.dumps({"restore_to": "latest", "restore_cluster": True, "restore_confirm": "bench-backup"})
    playbook_s, output = RUNS.playbook("playbooks/restore.yml", "-e", wanted)
    page_s = log_in_page(address)
    result = {
        "seconds": round(time.monotonic() - start, 1),
        "playbook_s": round(playbook_s, 1),
        "page_s": round(page_s, 2),
        "load": load,
        "tasks": longest_tasks(output),
    }
    after = bench.host("found")
    if any(before[key] != after[key] for key in ("rows", "files", "files_bytes")):
        raise SystemExit(f"bench: the site is not what it was: {before} before, {after} after")
    print(f"  site                   {result['seconds']:7.1f} s   load {load}, {result['tasks']}", flush=True)
    return result


def longest_tasks(output: str) -> dict[str, float]:
    """Seconds of the longest tasks, as Ansible tells them at the end."""
    found = re.findall(r"^(.+?) -{3,} ([\d.]+)s$", output.rpartition("TASKS RECAP")[2], re.MULTILINE)
    return {name.strip(): float(seconds) for name, seconds in found[:5]}


def row(title: str, seconds: float, *, against: str = "", goal: str = "", missed: bool = False) -> None:
    print(f"{title:58} {seconds:8.2f}   {against:22} {goal}{' MISSED' if missed else ''}")


def show(bench: Bench, rpo: Result, rto: Result, rounds: int) -> Result:
    """Print what was found beside the goals; returns the figures."""
    median = bench.median
    full, restored = median("full"), median("restore")
    ratios = {
        "full_to_floor": full / median("floor_full"),
        "pgbackrest_full_to_floor": median("full", "pgbackrest_s") / median("floor_full"),
        "full_to_uploading_floor": full / median("floor_upload"),
        "pgbackrest_full_to_uploading_floor": median("full", "pgbackrest_s") / median("floor_upload"),
        "full_to_floor_by_cpu_of_the_host": median("full", "cpu_s") / median("floor_full", "cpu_s"),
        "pgbackrest_full_to_floor_by_cpu_of_the_host": median("full", "pgbackrest_cpu_s")
        / median("floor_full", "cpu_s"),
        "restore_to_floor": restored / median("floor_restore"),
        "restore_to_floor_by_cpu_of_the_host": median("restore", "cpu_s") / median("floor_restore", "cpu_s"),
        "newest_incremental_to_full": median("incremental_newest") / full,
        "incremental_to_full": median("incremental") / full,
        "pgbackrest_incremental_to_full": median("incremental", "pgbackrest_s") / median("full", "pgbackrest_s"),
        "spread_incremental_to_full": median("incremental_spread") / full,
        "files_first_to_floor": median("files_first") / median("floor_files"),
        "files_again_to_floor": median("files_again") / median("floor_files"),
    }

    def both(name: str) -> str:
        return f"{ratios[f'{name}_to_floor']:.2f} / {ratios[f'{name}_to_uploading_floor']:.2f} x floors"

    loads = bench.loads()
    print(f"\nseconds, median of {rounds}; load of the machine (2 cores) {min(loads)} to {max(loads)}")
    row("floor: pg_basebackup | zstd -3 -T2, local disk", median("floor_full"))
    row("floor: the same, encrypted and uploaded to the store", median("floor_upload"))
    row("full backup, pgBackRest's part", median("full", "pgbackrest_s"),
        against=both("pgbackrest_full"),
        goal=f"goal {FULL_GOAL} x the first", missed=ratios["pgbackrest_full_to_floor"] > FULL_GOAL)  # fmt: skip
    row("full backup, whole job with fingerprint and check", full,
        against=both("full"),
        goal=f"goal {FULL_GOAL} x the first", missed=ratios["full_to_floor"] > FULL_GOAL)  # fmt: skip
    row("floor: unpack the archive from the local disk, start", median("floor_restore"))
    row("restore of the cluster from the store, until it writes", restored,
        against=f"{ratios['restore_to_floor']:.2f} x floor",
        goal=f"goal {RESTORE_GOAL} x", missed=ratios["restore_to_floor"] > RESTORE_GOAL)  # fmt: skip
    print("  seconds of CPU, which no neighbour makes more: of the host, and of the store, which shares the machine")
    for title, name, floor in (
        ("full backup", "full", "floor_full"),
        ("restore of the cluster", "restore", "floor_restore"),
    ):
        row(f"    {title}: {median(name, 'cpu_s'):.1f} + {median(name, 'store_cpu_s'):.1f} of the store; floor",
            median(floor, "cpu_s"), against=f"{ratios[f'{name}_to_floor_by_cpu_of_the_host']:.2f} x floor")  # fmt: skip
    row("    of the full backup pgBackRest's part", median("full", "pgbackrest_cpu_s"),
        against=f"{ratios['pgbackrest_full_to_floor_by_cpu_of_the_host']:.2f} x floor")  # fmt: skip
    for title, name, ratio in (
        ("incremental, the newest 1 % changed", "incremental_newest", "newest_incremental_to_full"),
        ("incremental, 1 % changed among the newest tenth", "incremental", "incremental_to_full"),
        ("incremental, 1 % changed all over the table", "incremental_spread", "spread_incremental_to_full"),
    ):
        row(title, median(name), against=f"{ratios[ratio]:.0%} of full",
            goal=f"goal {INCREMENTAL_GOAL:.0%}", missed=ratios[ratio] > INCREMENTAL_GOAL)  # fmt: skip
    row("pgBackRest's part of it among the newest tenth", median("incremental", "pgbackrest_s"),
        against=f"{ratios['pgbackrest_incremental_to_full']:.0%} of its full")  # fmt: skip
    row("incremental, nothing changed", median("incremental_idle"))
    synced = median("floor_files", "with_sync_s")
    row("floor: cp -a of the filestore", median("floor_files"), against=f"{synced:.2f} with sync")
    row("files, first run", median("files_first"), against=f"{ratios['files_first_to_floor']:.2f} x floor")
    row("files, nothing new", median("files_again"), against=f"{ratios['files_again_to_floor']:.2f} x floor")
    row(f"RPO, most (archive_timeout {rpo['archive_timeout']})", rpo["max_s"], against=f"mean {rpo['mean_s']}",
        goal=f"goal {RPO_GOAL_SECONDS:.0f} s", missed=rpo["max_s"] > RPO_GOAL_SECONDS)  # fmt: skip
    row("RTO of all of the site, to a log-in page over HTTPS", rto["seconds"])
    return {name: round(value, 3) for name, value in ratios.items()}


def seconds(results: Iterable[Result]) -> list[float]:
    return [result["seconds"] for result in results if "seconds" in result]


def main() -> None:
    chosen = options()
    RUNS.log.unlink(missing_ok=True)
    size = {"database_mb": 240, "files": 2000, "files_mb": 100} if chosen.small else {
        "database_mb": 2400, "files": 20_000, "files_mb": 1000}  # fmt: skip
    bench = prepare(deploy=not chosen.no_deploy, fill=not chosen.no_fill, **size)
    start = time.monotonic()
    databases(bench, rounds=chosen.rounds)
    filestores(bench, rounds=chosen.rounds)
    print("RPO under ten commits a second …", flush=True)
    rpo = bench.measure("rpo", "rpo", f"--seconds={75 if chosen.small else 180}")
    bench.measure("files_last", "files")
    rto = site(bench)
    ratios = show(bench, rpo, rto, chosen.rounds)
    print(f"all measurements took {time.monotonic() - start:.0f} s")
    if not chosen.small:
        filled = bench.results["fill"][0]
        RUNS.write(
            ROOT / "bench" / "backup.json",
            {
                "goals": {"full_to_floor": FULL_GOAL, "restore_to_floor": RESTORE_GOAL, "rpo_s": RPO_GOAL_SECONDS,
                          "incremental_to_full": INCREMENTAL_GOAL},
                "rounds": chosen.rounds,
                "data": {key: value for key, value in filled.items() if key not in {"seconds", "load", "store_cpu_s"}},
                "ratios": ratios,
                "seconds": {name: seconds(results) for name, results in bench.results.items() if seconds(results)},
                "pgbackrest_s": {name: [result["pgbackrest_s"] for result in results]
                                 for name, results in bench.results.items() if "pgbackrest_s" in results[0]},
                "cpu_s": {name: [{"host": result["cpu_s"], "store": result["store_cpu_s"]} for result in results]
                          for name, results in bench.results.items() if "cpu_s" in results[0]},
                "stored_bytes": {name: results[-1]["stored_bytes"]
                                 for name, results in bench.results.items() if "stored_bytes" in results[0]},
                "load": {name: [result["load"] for result in results] for name, results in bench.results.items()},
                "restore_steps_s": [result["steps"] for result in bench.results["restore"]],
                "rpo": rpo,
                "rto": rto,
            },
        )  # fmt: skip
    if not chosen.keep:
        RUNS.lab("down")


if __name__ == "__main__":
    main()
