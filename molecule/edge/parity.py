"""Runs the edge's suite against both servers, handing the live host over between them, and writes docs/edge-parity.md.

Usage: parity.py INVENTORY. Fails when a test failed, or when two servers differ without a reason in differences.yml.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import time
from typing import Any

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
SUITE = ROOT / "molecule/tests/edge"
DIFFERENCES = SUITE / "differences.yml"
DOCUMENT = ROOT / "docs/edge-parity.md"
SERVERS = ("nginx", "caddy")
TITLES = {"nginx": "nginx", "caddy": "Caddy"}
# Back on the first server: that it has taken over again, wholly.
AGAIN = ["test_server.py", "test_browser.py"]

Rows = dict[str, dict[str, Any]]

# molecule asks for colours, which stand in the middle of what is looked for.
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if name not in ("ANSIBLE_FORCE_COLOR", "FORCE_COLOR", "PY_COLORS")
}


def say(message: str) -> None:
    print(f"parity: {message}", flush=True)


def switch(inventory: pathlib.Path, server: str) -> None:
    """Hand the host over to a server; a second run of the same must change nothing."""
    command = [ROOT / ".venv/bin/ansible-playbook", ROOT / "playbooks/stages/edge.yml", "-i", inventory]
    environment = {**ENVIRONMENT, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    for expected in ("", "changed=0"):
        started = time.monotonic()
        done = subprocess.run(
            [*command, "--extra-vars", f"edge_server={server}"],
            cwd=ROOT, env=environment, text=True, capture_output=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            sys.exit(f"parity: the edge did not become {server}:\n{done.stdout[-6000:]}\n{done.stderr[-2000:]}")
        recap = next(line for line in done.stdout.splitlines() if line.startswith("box1") and "changed=" in line)
        if f" {expected} " not in f"{recap} ":
            changed = [line for line in done.stdout.splitlines() if line.startswith(("TASK", "changed"))]
            sys.exit(f"parity: a second run with {server} changed something again:\n" + "\n".join(changed))
        what = "nothing changed by a second run" if expected else "has taken over"
        say(f"{server}: {what} ({time.monotonic() - started:.0f} s)")


def run_suite(inventory: pathlib.Path, server: str, files: list[str]) -> Rows:
    results = ROOT / ".lab" / "edge" / f"results-{server}.json"
    results.parent.mkdir(parents=True, exist_ok=True)
    results.unlink(missing_ok=True)
    environment = {
        **ENVIRONMENT,
        "SLIPWAY_INVENTORY": str(inventory),
        "SLIPWAY_EDGE_SERVER": server,
        "SLIPWAY_EDGE_RESULTS": str(results),
        "PYTHONPATH": str(ROOT / "collections"),
    }
    started = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rf", "--tb=short", "-q"]
    done = subprocess.run(
        [*command, *(SUITE / file for file in files)],
        cwd=ROOT, env=environment, text=True, capture_output=True, check=False,
    )  # fmt: skip
    print(done.stdout, done.stderr, sep="\n", flush=True)
    if not results.exists():
        sys.exit(f"parity: the suite did not run against {server}")
    say(f"{server}: {time.monotonic() - started:.0f} s")
    rows: Rows = json.loads(results.read_text())
    return rows


def differs(rows: dict[str, Rows], name: str) -> bool:
    first, second = (rows[server].get(name) for server in SERVERS)
    if first is None or second is None:
        return True
    return any(first[key] != second[key] for key in ("outcome", "variant"))


def faults(rows: dict[str, Rows], reasons: dict[str, str]) -> list[str]:
    """What keeps the servers from being held equal."""
    names = list(dict.fromkeys(name for server in SERVERS for name in rows[server]))
    found = [
        f"{name}: {rows[server][name]['outcome']} against {TITLES[server]}"
        for name in names
        for server in SERVERS
        if name in rows[server] and rows[server][name]["outcome"] != "passed"
    ]
    different = {name for name in names if differs(rows, name)}
    found += [
        f"{name}: the servers differ, and differences.yml has no reason" for name in sorted(different - reasons.keys())
    ]
    found += [
        f"{name}: differences.yml has a reason, and nothing differs" for name in sorted(reasons.keys() - different)
    ]
    return found


def cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "not run"
    seen = row["observed"].replace("|", "\\|")
    return seen if row["outcome"] == "passed" else f"**{row['outcome']}**"


def document(rows: dict[str, Rows], reasons: dict[str, str]) -> str:
    first = rows[SERVERS[0]]
    lines = [
        "# nginx and Caddy, test by test",
        "",
        "One policy (`molecule/edge/inventory`), one suite (`molecule/tests/edge`), over the network against either",
        "server on the same host, which one handed over to the other between the passes. `script/test edge` writes it.",
        "",
        f"{len(first)} rows; {len(reasons)} differ, each with its reason.",
    ]
    section = ""
    # Some tests of a section run last.
    for name, row in sorted(first.items(), key=lambda item: item[1]["section"]):
        if row["section"] != section:
            section = row["section"]
            lines += ["", f"## {section}", "", "| What | nginx | Caddy |", "|---|---|---|"]
        sentence = row["sentence"].replace("|", "\\|")
        if name in reasons:
            sentence += f" *They differ: {reasons[name]}*"
        lines.append(f"| {sentence} | " + " | ".join(cell(rows[server].get(name)) for server in SERVERS) + " |")
    return "\n".join(lines) + "\n"


def main(inventory: pathlib.Path) -> None:
    rows: dict[str, Rows] = {}
    for server in SERVERS:
        switch(inventory, server)
        rows[server] = run_suite(inventory, server, [""])
    reasons = yaml.safe_load(DIFFERENCES.read_text()) or {}
    DOCUMENT.write_text(document(rows, reasons))
    found = faults(rows, reasons)
    switch(inventory, SERVERS[0])
    again = run_suite(inventory, SERVERS[0], AGAIN)
    found += [
        f"{name}: {row['outcome']} after the way back" for name, row in again.items() if row["outcome"] != "passed"
    ]
    if found:
        sys.exit("parity: " + "\nparity: ".join(found))
    say(f"{len(rows[SERVERS[0]])} rows against each; {DOCUMENT.relative_to(ROOT)} is written")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]).resolve())
