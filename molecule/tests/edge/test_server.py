"""The server itself"""

from __future__ import annotations

import concurrent.futures
import subprocess
import threading
import time

from edge_lab import NOBODIES, SERVER
from edge_wire import CLOSED, Connection, ask

OTHER = {"nginx": "caddy", "caddy": "nginx"}[SERVER]


def test_one_has_the_ports(edge, observed) -> None:
    """One server runs, is enabled and has ports 80 and 443, TCP and UDP; the other neither runs nor starts at boot."""
    assert edge.check_output("systemctl is-active %s", SERVER) == "active"
    assert edge.check_output("systemctl is-enabled %s", SERVER) == "enabled"
    assert edge.run("systemctl is-active %s", OTHER).stdout.strip() != "active"
    assert edge.run("systemctl is-enabled %s", OTHER).stdout.strip() != "enabled"
    assert edge.run("pgrep -x %s", OTHER).rc == 1
    for port, option in ((80, "-t"), (443, "-t"), (443, "-u")):
        owners = edge.check_output("ss -lnp %s sport = :%s", option, str(port))
        assert f'"{SERVER}"' in owners
        assert f'"{OTHER}"' not in owners
    observed("one")


def test_configuration_is_clean(edge, root, observed) -> None:
    """The server's own check of its configuration, and for nginx gixy's, find nothing."""
    if SERVER == "caddy":
        done = edge.run("runuser -u caddy -- env XDG_DATA_HOME=/var/lib caddy validate --config /etc/caddy/caddy.json")
        assert done.rc == 0, done.stderr
        assert '"level":"warn"' not in done.stderr
        observed("caddy validate", variant="caddy validate")
        return
    done = edge.run("nginx -t")
    assert done.rc == 0, done.stderr
    assert "[warn]" not in done.stderr
    dump = edge.check_output("nginx -T 2>/dev/null")
    # The policy stages HSTS, beginning with minutes.
    found = subprocess.run(
        [root / ".venv/bin/gixy", "--skips", "hsts_header", "-"],
        input=dump,
        text=True,
        capture_output=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout
    assert "No issues found" in found.stdout
    observed("nginx -t and gixy", variant="nginx -t and gixy")


def test_reload_under_load(application, edge, observed) -> None:
    """Three reloads under load: what is lost of requests over open connections and new ones."""
    over = threading.Event()
    failures: list[str] = []
    hung_up: list[str] = []
    answered = [0]
    lock = threading.Lock()

    def ask_on_one_connection(number: int, times: int) -> int:
        with Connection(source=NOBODIES[number]) as connection:
            for count in range(times):
                try:
                    answer = connection.ask("/web/static/load")
                except CLOSED:
                    # A server may close an idle connection at any time; a client then asks once more on a new one.
                    if count == 0:
                        raise
                    return count
                if answer.status != 200:
                    failures.append(str(answer.status))
                with lock:
                    answered[0] += 1
                time.sleep(0.002)
        return times

    def keep_asking(number: int) -> int:
        total = 0
        while not over.is_set():
            try:
                total += ask_on_one_connection(number, 1 if number % 2 else 50)
            except CLOSED as failure:
                hung_up.append(repr(failure))
            except OSError as failure:
                failures.append(repr(failure))
        return total

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        work = [pool.submit(keep_asking, number) for number in range(8)]
        try:
            for _number in range(3):
                time.sleep(0.7)
                edge.check_output("systemctl reload %s", SERVER)
            time.sleep(1)
        finally:
            over.set()
        count = sum(one.result() for one in work)
    assert failures == []
    assert count >= 500
    # What was not answered did not happen either: it may be sent again.
    assert len(application.of("/web/static/load")) == answered[0]
    if SERVER == "nginx":
        assert hung_up == []
        observed("nothing", variant="nothing")
    else:
        assert len(hung_up) <= 30, hung_up
        observed("a few new connections, closed before their request reached the application", variant="a few")


def test_slow_answer_over_a_reload(application, edge, observed) -> None:
    """An answer that is on its way during a reload comes to its end."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, "/x?drip=0.5&size=8")
        time.sleep(1)
        edge.check_output("systemctl reload %s", SERVER)
        assert len(answer.result().body) == 8
    observed("whole")


def test_bad_configuration(application, edge, observed) -> None:
    """A configuration that is broken does not stop the running server when it is told to reload."""
    path = {"nginx": "/etc/nginx/nginx.conf", "caddy": "/etc/caddy/caddy.json"}[SERVER]
    edge.check_output("cp -p %s %s.kept && echo broken >> %s", path, path, path)
    try:
        assert edge.run("systemctl reload %s", SERVER).rc != 0
        assert ask("/x").status == 200
    finally:
        edge.check_output("mv %s.kept %s && systemctl reload %s", path, path, SERVER)
    assert ask("/x").status == 200
    observed("refused, and the old one goes on")
