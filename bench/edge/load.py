"""Runs on the host of the measurement: puts load on addresses of that host, and tells who had its processors meanwhile.

One argument, JSON: ``loads`` (a list of Load), ``cgroups`` (names and directories). Prints a JSON list of results.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import re
import resource
import subprocess
import sys
import time
from collections.abc import Mapping

CGROUPS = pathlib.Path("/sys/fs/cgroup/system.slice")
LOG = pathlib.Path("/srv/slipway-bench/h2load.log")
SHARES = (50, 95, 99)
TICKS = os.sysconf("SC_CLK_TCK")


@dataclasses.dataclass(frozen=True)
class Load:
    """Requests for one address, one after the other on each connection.

    ``tool`` is hey, whose times include the connecting, for servers that close connections; or h2load, which costs
    a tenth of hey's processor time and has times in microseconds, for what hey would be the limit of.
    """

    tool: str
    url: str
    seconds: int
    connections: int
    http2: bool = False
    headers: tuple[str, ...] = ()
    bytes: int = 0


def run(command: list[str]) -> str:
    return subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True).stdout


def hey_command(load: Load, *amount: str) -> list[str]:
    headers = [word for header in load.headers for word in ("-H", header)]
    return ["hey", *amount, "-c", str(load.connections), *headers, load.url]


def h2load_command(load: Load) -> list[str]:
    protocol = [] if load.http2 else ["--h1"]
    return ["h2load", "-t1", f"-c{load.connections}", f"-D{load.seconds}", f"--log-file={LOG}", *protocol, load.url]


def read_hey(load: Load, output: str) -> dict[str, float]:
    answers, _, errors = output.partition("Status code distribution:")[2].partition("Error distribution:")
    statuses = {status: int(count) for status, count in re.findall(r"\[(\d+)\]\s+(\d+) responses", answers)}
    if set(statuses) != {"200"}:
        sys.exit(f"{load.url}: {statuses}\n{output}")
    if load.bytes and not re.search(rf"Size/request:\s+{load.bytes} bytes", output):
        sys.exit(f"{load.url}: not {load.bytes} bytes in each answer:\n{output}")
    times = {int(share): float(seconds) * 1e6 for share, seconds in re.findall(r"(\d+)% in ([\d.]+) secs", output)}
    if 99 not in times:
        sys.exit(f"{load.url}: {statuses['200']} answers in {load.seconds} s are too few for a p99")
    return {
        "requests": statuses["200"],
        "failed": sum(int(count) for count in re.findall(r"^\s+\[(\d+)\]", errors, re.MULTILINE)),
        "requests_per_s": float(re.findall(r"Requests/sec:\s+([\d.]+)", output)[0]),
        **{f"p{share}_us": times[share] for share in SHARES},
    }


def read_h2load(load: Load) -> dict[str, float]:
    statuses, times = zip(*(line.split()[1:3] for line in LOG.read_text().splitlines()), strict=True)
    if set(statuses) != {"200"}:
        sys.exit(f"{load.url}: answers with the statuses {set(statuses)}")
    ordered = sorted(map(int, times))
    return {
        "requests": len(ordered),
        "failed": 0,
        "requests_per_s": len(ordered) / load.seconds,
        **{f"p{share}_us": ordered[len(ordered) * share // 100] for share in SHARES},
    }


def seconds_used(cgroups: Mapping[str, str]) -> dict[str, float]:
    """Processor seconds so far of each cgroup, of the load's own processes, and of the whole machine."""
    used = {}
    for name, directory in cgroups.items():
        stat = CGROUPS / directory / "cpu.stat"
        used[name] = int(stat.read_text().split()[1]) / 1e6 if stat.exists() else 0.0
    own = resource.getrusage(resource.RUSAGE_CHILDREN)
    used["generator"] = own.ru_utime + own.ru_stime
    user, nice, system, _idle, _wait, irq, softirq, stolen = map(
        int, pathlib.Path("/proc/stat").read_text().split()[1:9]
    )
    used["machine"] = (user + nice + system + irq + softirq) / TICKS
    used["stolen"] = stolen / TICKS
    return used


def measure(load: Load, cgroups: Mapping[str, str]) -> dict[str, float]:
    """What the tool saw, and how many cores were in use by whom."""
    LOG.unlink(missing_ok=True)
    if load.tool == "hey":
        # Odoo's workers fill their caches with their first requests.
        run(hey_command(load, "-n", str(load.connections)))
    before, start = seconds_used(cgroups), time.monotonic()
    output = run(hey_command(load, "-z", f"{load.seconds}s") if load.tool == "hey" else h2load_command(load))
    elapsed, after = time.monotonic() - start, seconds_used(cgroups)
    found = read_hey(load, output) if load.tool == "hey" else read_h2load(load)
    cores = {name: (after[name] - before[name]) / elapsed for name in after}
    accounted = sum(cores[name] for name in (*cgroups, "generator"))
    cores["others"] = max(0.0, cores.pop("machine") - accounted)
    return {**found, "elapsed_s": elapsed, **{f"cores_{name}": value for name, value in cores.items()}}


def main() -> None:
    request = json.loads(sys.argv[1])
    loads = [Load(**{**load, "headers": tuple(load.get("headers", ()))}) for load in request["loads"]]
    print(json.dumps([measure(load, request["cgroups"]) for load in loads]))


if __name__ == "__main__":
    main()
