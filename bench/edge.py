"""How fast a site is over nginx, over Caddy and without an edge, and what the edge costs for each request.

On one host of the lab that is the whole site, in one run, round by round with another server first each time. Where
somebody waits for an answer, hey plays 50 users, each on a connection of its own. What the edge costs is measured with
h2load before an application that does next to nothing. All share the host's processors, so who had them is told too.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lib.lab_runs import ROOT, LabRuns

ROOM = ROOT / "bench" / "edge"
RUNS = LabRuns(inventory=ROOM / "inventory", log=ROOT / "bench" / "edge.log")
USERS = 50
ROUNDS = 3
PAGE_SECONDS, FILE_SECONDS, COST_SECONDS = 5, 6, 2
ATTACHMENT_BYTES = 10 * 1024 * 1024
ASSET = "/web/static/src/libs/fontawesome/css/font-awesome.css"
ADDONS = "/usr/lib/python3/dist-packages/odoo/addons"
WORK = "/srv/slipway-bench"

EDGES = ("nginx", "caddy")
ODOO, UPSTREAM, BARE_NGINX, BARE_CADDY = "odoo", "upstream", "bare nginx", "bare caddy"
#: Those that are no edge; see the files in bench/edge.
ORIGINS = {
    ODOO: "http://127.0.0.1:8069",
    UPSTREAM: "http://127.0.0.1:18001",
    BARE_NGINX: "https://127.0.0.1:18443",
    BARE_CADDY: "https://127.0.0.1:18444",
}
#: Whose processor time is told, by directory below system.slice.
CGROUPS = {
    "nginx": "nginx.service",
    "caddy": "caddy.service",
    ODOO: "system-odoo.slice",
    "postgresql": "system-postgresql.slice",
    UPSTREAM: "bench-upstream.service",
    BARE_NGINX: "bench-bare-nginx.service",
    BARE_CADDY: "bench-bare-caddy.service",
}

LOGIN, STATIC, ACCEL, PYTHON = "log-in page", "static asset", "10 MB attachment, X-Accel", "10 MB attachment, Python"
#: What each row of users is held against.
FLOORS = {LOGIN: ODOO, STATIC: BARE_NGINX, ACCEL: BARE_NGINX, PYTHON: ODOO}
BUSY, BUSY_HTTP2, ALONE = "50 connections", "50 connections, HTTP/2", "1 connection"


@dataclasses.dataclass(frozen=True)
class Target:
    """One thing that is measured: a row of the result, the server that answers, and the load as load.py takes it."""

    row: str
    server: str
    load: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Site:
    """What the measurements need to know of the site."""

    address: str
    attachment: int
    cookie: str

    def page(self, row: str, server: str, path: str) -> Target:
        """Users who wait for an answer. Who asks for a log-in page has no session yet."""
        session = [] if row == LOGIN else [f"Cookie: {self.cookie}"]
        is_file = row in (ACCEL, PYTHON)
        load = {
            "tool": "hey",
            "url": ORIGINS.get(server, f"https://{self.address}") + path,
            "seconds": FILE_SECONDS if is_file else PAGE_SECONDS,
            "connections": USERS,
            "headers": ["Accept-Encoding: gzip", *session],
            "bytes": ATTACHMENT_BYTES if is_file else 0,
        }
        return Target(row, server, load)

    def pages(self, server: str, *, accel: bool) -> list[Target]:
        """What is measured of a server while Odoo leaves the sending of files to the edge, or does not."""
        attachment = f"/web/content/{self.attachment}"
        if server == BARE_NGINX and accel:
            return [self.page(STATIC, server, "/files/asset.css"), self.page(ACCEL, server, "/files/attachment")]
        if server not in (ODOO, *EDGES):
            return []
        if not accel:
            return [self.page(PYTHON, server, attachment)]
        targets = [self.page(LOGIN, server, "/web/login"), self.page(STATIC, server, ASSET)]
        # Without an edge there is nobody to send the file that Odoo's header names.
        return targets if server == ODOO else [*targets, self.page(ACCEL, server, attachment)]

    @staticmethod
    def costs(server: str) -> list[Target]:
        """Requests that cost the application next to nothing, so that the edge is what they cost."""
        if server == ODOO:
            return []
        url = ORIGINS.get(server, "https://floor.demo.test") + "/"
        base = {"tool": "h2load", "url": url, "seconds": COST_SECONDS, "connections": USERS}
        targets = [Target(BUSY, server, base), Target(ALONE, server, {**base, "connections": 1})]
        return targets if server == UPSTREAM else [*targets, Target(BUSY_HTTP2, server, {**base, "http2": True})]


Found = Mapping[tuple[str, str], Mapping[str, float]]


def on_host(script: str) -> str:
    """Run a shell script on the host as root."""
    return RUNS.lab("ssh", "box1", "sudo bash -eu -o pipefail -s", stdin=script)


def make_attachment() -> tuple[int, str]:
    """The identifier of an attachment that nothing can compress, and its file below the filestore."""
    source = (
        "import os\n"
        "values = {'name': 'bench.bin', 'raw': os.urandom(payload), 'mimetype': 'application/octet-stream'}\n"
        "attachment = env['ir.attachment'].create({**values, 'public': True})\n"
        "result = {'id': attachment.id, 'file': attachment.store_fname}"
    )
    options = json.dumps({"config": "/etc/odoo/main.conf", "source": source, "payload": ATTACHMENT_BYTES})
    command = [".venv/bin/ansible", "box1", "-i", str(RUNS.inventory), "-b", "-m", "slipway.odoo.odoo_shell"]
    _seconds, output = RUNS.run([*command, "-a", options], environment={"ANSIBLE_CALLBACK_RESULT_FORMAT": "json"})
    result = json.JSONDecoder().raw_decode(output, output.index("{"))[0]["result"]
    return result["id"], result["file"]


def sign_in() -> str:
    """The cookie of a session in which the administrator is signed in."""
    secrets = (RUNS.inventory / "group_vars" / "all" / "secrets.yml").read_text()
    password = re.findall(r'^demo_admin_password: "(\w+)"$', secrets, re.MULTILINE)[0]
    parameters = {"db": "main", "login": "admin", "password": password}
    body = json.dumps({"jsonrpc": "2.0", "method": "call", "params": parameters})
    return on_host(f"""
url={ORIGINS[ODOO]}/web/session/authenticate
curl -sSf -o /dev/null -c - -H 'Content-Type: application/json' -d @- $url <<'BODY' |
{body}
BODY
    awk '$6 == "session_id" {{ print $6 "=" $7; found = 1 }} END {{ exit !found }}'
""").strip()


def equip() -> Site:
    """Put on the host what measures it, and the floors."""
    address = RUNS.lab("ip", "box1").strip()
    attachment, file = make_attachment()
    files = [*ROOM.glob("*.conf"), *ROOM.glob("*.json")]
    copies = "\n".join(f"cat >{WORK}/{path.name} <<'FILE'\n{path.read_text()}FILE" for path in files)
    on_host(f"""
export DEBIAN_FRONTEND=noninteractive
apt-get install -y -qq --no-install-recommends hey nghttp2-client curl >/dev/null
echo '{address} floor.demo.test' >>/etc/hosts
mkdir -p {WORK}/files
ln -sf {ADDONS}{ASSET} {WORK}/files/asset.css
ln -sf /var/lib/odoo/main/filestore/main/{file} {WORK}/files/attachment
{copies}
start() {{ systemd-run --quiet --collect --unit="bench-$1" "${{@:2}}"; }}
start upstream nginx -c {WORK}/upstream.conf -g 'daemon off;'
start bare-nginx nginx -c {WORK}/bare-nginx.conf -g 'daemon off;'
start bare-caddy caddy run --config {WORK}/bare-caddy.json
for url in {ORIGINS[UPSTREAM]} {ORIGINS[BARE_NGINX]}/files/attachment {ORIGINS[BARE_CADDY]}; do
    curl -sSfk --retry 5 --retry-connrefused --retry-delay 1 -o /dev/null $url
done
""")
    return Site(address=address, attachment=attachment, cookie=sign_in())


def prepare() -> Site:
    print("preparing: a host with the whole site, both edges, an attachment …", flush=True)
    RUNS.lab("down")
    RUNS.lab("up")
    RUNS.make_secrets()
    RUNS.playbook("playbooks/deploy.yml")
    RUNS.playbook("playbooks/stages/edge.yml", "-e", "edge_server=caddy")
    return equip()


def run_edge(server: str) -> None:
    """Let one of the edges have the ports; both are configured as the role left them."""
    other = next(edge for edge in EDGES if edge != server)
    on_host(f"""
systemctl stop {other}.service
systemctl start {server}.service
curl -sSfk --retry 20 --retry-connrefused --retry-delay 1 -o /dev/null https://floor.demo.test/
""")


def set_accel(site: Site, *, wanted: bool) -> None:
    """Whether Odoo leaves the sending of files to the edge, as its own answer shows."""
    header = on_host(f"""
if ! grep -qx 'x_sendfile = {wanted}' /etc/odoo/main.conf; then
    sed -i 's/^x_sendfile = .*/x_sendfile = {wanted}/' /etc/odoo/main.conf
    systemctl restart odoo@main.service
fi
curl -sSf --retry 60 --retry-connrefused --retry-delay 1 -o /dev/null -D - \
    {ORIGINS[ODOO]}/web/content/{site.attachment}
""")
    if ("x-accel-redirect:" in header.lower()) is not wanted:
        sys.exit(f"bench: with x_sendfile = {wanted} Odoo answers\n{header}")


def measure(targets: Sequence[Target]) -> list[dict[str, float]]:
    request = json.dumps({"loads": [target.load for target in targets], "cgroups": CGROUPS})
    script = (ROOM / "load.py").read_text()
    output = RUNS.lab("ssh", "box1", f"sudo python3 - {shlex.quote(request)}", stdin=script)
    return json.loads(output.splitlines()[-1])


def turns(number: int) -> Iterator[tuple[bool, str]]:
    """Whether files are left to the edge, and a server; every other round the other way round."""
    servers = (*EDGES, BARE_NGINX, BARE_CADDY, UPSTREAM, ODOO)
    step = 1 if number % 2 == 0 else -1
    for accel in (True, False)[::step]:
        for server in servers[::step]:
            yield accel, server


def rounds(site: Site) -> Found:
    """The medians of all rounds, by row and server."""
    results: dict[tuple[str, str], list[dict[str, float]]] = {}
    for number in range(ROUNDS):
        print(f"round {number + 1} of {ROUNDS} …", flush=True)
        for accel, server in turns(number):
            targets = [*site.pages(server, accel=accel), *(site.costs(server) if accel else [])]
            if not targets:
                continue
            set_accel(site, wanted=accel)
            if server in EDGES:
                run_edge(server)
            for target, result in zip(targets, measure(targets), strict=True):
                results.setdefault((target.row, target.server), []).append(result)
    return {
        key: {name: statistics.median(one[name] for one in several) for name in several[0]}
        for key, several in results.items()
    }


def cores(result: Mapping[str, float]) -> dict[str, float]:
    """Who had at least a twentieth of a core, the largest share first."""
    shares = {name.removeprefix("cores_"): value for name, value in result.items() if name.startswith("cores_")}
    return {name: round(share, 2) for name, share in sorted(shares.items(), key=lambda s: -s[1]) if share >= 0.05}


def page_figures(found: Found, row: str, server: str) -> dict[str, Any]:
    result = found[row, server]
    return {
        "requests_per_s": round(result["requests_per_s"], 1),
        **{f"p{share}_ms": round(result[f"p{share}_us"] / 1000, 1) for share in (50, 95, 99)},
        "to_floor": round(result["requests_per_s"] / found[row, FLOORS[row]]["requests_per_s"], 2),
        "failed": result["failed"],
        "cores": cores(result),
    }


def cost_figures(found: Found, server: str) -> dict[str, Any]:
    """Microseconds of a server's processors, and of waiting beyond what the application alone takes."""
    alone = found[ALONE, server]["p50_us"]
    figures: dict[str, Any] = {
        "p50_us": round(alone),
        "added_us": round(alone - found[ALONE, UPSTREAM]["p50_us"]),
    }
    for row, name in ((BUSY, "http1"), (BUSY_HTTP2, "http2")):
        if (row, server) in found:
            result = found[row, server]
            figures[name] = {
                "requests_per_s": round(result["requests_per_s"]),
                "cpu_us": round(result[f"cores_{server}"] * result["elapsed_s"] / result["requests"] * 1e6, 1),
                "cores": cores(result),
            }
    return figures


def show(pages: Mapping[str, Mapping[str, Any]], costs: Mapping[str, Any]) -> None:
    title = f"{USERS} users, median of {ROUNDS} rounds"
    print(f"\n{title:34} {'requests/s':>10} {'p50':>7} {'p95':>7} {'p99 ms':>7} {'x floor':>7}   cores used by")
    for row, servers in pages.items():
        print(row)
        for server, figures in servers.items():
            name = f"{'floor: ' if server == FLOORS[row] else ''}{server}"
            times = " ".join(f"{figures[f'p{share}_ms']:7.1f}" for share in (50, 95, 99))
            failed = f"   {figures['failed']:.0f} FAILED" if figures["failed"] else ""
            shares = ", ".join(f"{who} {share:.2f}" for who, share in figures["cores"].items())
            print(
                f"    {name:30} {figures['requests_per_s']:10.1f} {times} {figures['to_floor']:7.2f}   {shares}{failed}"
            )
    for edge in EDGES:
        ratio = pages[ACCEL][edge]["requests_per_s"] / pages[PYTHON][edge]["requests_per_s"]
        print(f"attachment over {edge}: X-Accel sends {ratio:.2f} x as many as Python")
    print(f"\n{'cost of one request, TLS':34} {'CPU µs':>10} {'HTTP/2':>7} {'+ µs':>7} {'req/s':>7}   cores used by")
    for server, figures in costs.items():
        busy, http2 = figures["http1"], figures.get("http2", {}).get("cpu_us", "")
        shares = ", ".join(f"{who} {share:.2f}" for who, share in busy["cores"].items())
        rate = busy["requests_per_s"]
        print(f"    {server:30} {busy['cpu_us']:10.1f} {http2:>7} {figures['added_us']:7} {rate:7}   {shares}")
    print("    CPU: of that server alone, at 50 connections; + µs: median wait of one connection beyond the upstream's")


def main() -> None:
    RUNS.log.unlink(missing_ok=True)
    site = prepare()
    versions = on_host(
        "dpkg-query -W -f '${Package} ${Version}\\n' odoo-19 postgresql-17 nginx hey nghttp2-client; caddy version"
    )
    report(rounds(site), versions.splitlines())
    RUNS.lab("down")


def report(found: Found, servers: Sequence[str]) -> None:
    pages = {
        row: {
            server: page_figures(found, row, server) for server in (FLOORS[row], *EDGES, ODOO) if (row, server) in found
        }
        for row in FLOORS
    }
    costs = {server: cost_figures(found, server) for server in (UPSTREAM, BARE_NGINX, "nginx", BARE_CADDY, "caddy")}
    show(pages, costs)
    RUNS.write(
        ROOT / "bench" / "edge.json",
        {"users": USERS, "rounds": ROUNDS, "pages": pages, "costs": costs, "servers": list(servers)},
    )


if __name__ == "__main__":
    main()
