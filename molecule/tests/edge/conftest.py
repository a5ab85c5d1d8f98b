"""Fixtures of the edge's suite, and the record of each test that becomes a row of docs/edge-parity.md."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from edge_lab import BOX, HOME, NOBODIES, ODOO, PORTS, PROBE, ROOT, SERVER
from edge_upstream import Application
from edge_wire import Answer, ask

ROW = pytest.StashKey[dict[str, Any]]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What works in the background from the beginning is asked for last; every test says what it shows."""
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)
    for item in items:
        sentence = " ".join((item.function.__doc__ or "").split())
        if not sentence:
            raise pytest.UsageError(f"{item.nodeid} has no docstring for its row of docs/edge-parity.md")
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        module = item.module
        item.stash[ROW] = {
            "section": " ".join(module.__doc__.split()),
            "sentence": sentence.format(**parameters),
            "outcome": "not run",
            "observed": "",
            "variant": "",
            "seconds": 0.0,
        }


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "last: runs after all others")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    row = item.stash[ROW]
    row["seconds"] = round(row["seconds"] + report.duration, 2)
    if report.failed:
        row["outcome"] = "failed"
    elif report.when == "call" and row["outcome"] == "not run":
        row["outcome"] = report.outcome
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    if path := os.environ.get("SLIPWAY_EDGE_RESULTS"):
        rows = {f"{item.path.stem.removeprefix('test_')}::{item.name}": item.stash[ROW] for item in session.items}
        pathlib.Path(path).write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")


@pytest.fixture
def observed(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Say what was seen, for the row; ``variant`` names a manner in which servers may differ, and need a reason."""

    def note(text: str, *, variant: str = "") -> None:
        request.node.stash[ROW].update(observed=text, variant=variant)

    return note


@pytest.fixture(scope="session")
def server() -> str:
    return SERVER


@pytest.fixture(scope="session")
def _application() -> Iterator[Application]:
    application = Application(HOME, PORTS)
    application.open()
    yield application
    application.close()


@pytest.fixture
def application(_application: Application) -> Iterator[Application]:
    """What the probe sites' edge passes requests to; well, and all of it, at the beginning of each test."""
    _application.healthy = True
    _application.seen.clear()
    _application.open()
    return _application


_addresses = iter(NOBODIES)


@pytest.fixture
def nobody() -> str:
    """An address that the edge has not seen yet and that is in no list."""
    return next(_addresses)


@pytest.fixture(scope="session")
def log_of(edge: Any) -> Callable[..., list[dict[str, Any]]]:
    """Lines of a site's log that hold a mark, once so many are there."""

    def read(mark: str, *, count: int = 1, site: str = "probe", kind: str = "access") -> list[dict[str, Any]]:
        deadline = time.monotonic() + 8
        while True:
            done = edge.run("grep -aF -- %s %s", mark, f"/var/log/{SERVER}/{site}.{kind}.log")
            lines = done.stdout_bytes.decode(errors="replace").splitlines()
            if len(lines) >= count or time.monotonic() > deadline:
                assert len(lines) >= count, f"{len(lines)} lines with {mark}: {done.stderr}"
                return [json.loads(line) for line in lines]
            time.sleep(0.3)

    return read


@pytest.fixture
def maintenance(edge: Any) -> Callable[[str], contextlib.AbstractContextManager[None]]:
    """Put a site's maintenance page up for a while."""

    @contextlib.contextmanager
    def up(site: str) -> Iterator[None]:
        flag = f"/var/lib/slipway-edge/maintenance/{site}"
        edge.check_output("touch %s", flag)
        try:
            yield
        finally:
            edge.check_output("rm %s", flag)

    return up


@pytest.fixture(scope="session", autouse=True)
def examination(request: pytest.FixtureRequest, all_hosts: dict[str, Any]) -> Callable[[], str]:
    """The report of testssl.sh, begun with the session: it takes two minutes, most of them waiting."""
    report = "/tmp/testssl.json"
    command = (
        "timeout 240 testssl --quiet --color 0 --warnings batch --overwrite --ip %s --nodns none"
        " --add-ca /usr/local/share/ca-certificates/slipway-lab.crt --jsonfile %s %s </dev/null"
    )
    pool = concurrent.futures.ThreadPoolExecutor(1)
    wanted = any(item.get_closest_marker("last") for item in request.session.items)
    done = pool.submit(all_hosts["client1"].run, command, BOX, report, f"{PROBE}:443") if wanted else None

    def wait() -> str:
        assert done is not None
        done.result()
        return str(all_hosts["client1"].check_output("cat %s && rm %s", report, report))

    return wait


class Odoo:
    """Odoo's administrator, over the edge."""

    def __init__(self, password: str) -> None:
        answer = self.post("/web/session/authenticate", {"db": "main", "login": "admin", "password": password})
        assert answer.json["result"]["uid"], answer.body
        self.cookie = next(value for value in answer.values("Set-Cookie") if value.startswith("session_id="))
        self.headers = [("Cookie", self.cookie.split(";")[0])]

    def post(self, path: str, params: dict[str, Any]) -> Answer:
        body = json.dumps({"jsonrpc": "2.0", "method": "call", "params": params}).encode()
        headers = [*getattr(self, "headers", []), ("Content-Type", "application/json")]
        return ask(path, "POST", headers, body, site=ODOO, timeout=60)

    def call(self, model: str, method: str, *args: Any) -> Any:
        path = f"/web/dataset/call_kw/{model}/{method}"
        answer = self.post(path, {"model": model, "method": method, "args": list(args), "kwargs": {}}).json
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def get(self, path: str, method: str = "GET", headers: list[tuple[str, str]] | None = None) -> Answer:
        return ask(path, method, [*self.headers, *(headers or [])], site=ODOO, timeout=60)


@pytest.fixture(scope="session")
def odoo(secrets: dict[str, str]) -> Odoo:
    return Odoo(secrets["demo_admin_password"])


@pytest.fixture(scope="session")
def root() -> pathlib.Path:
    return ROOT
