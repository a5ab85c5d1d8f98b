"""Closed paths and the back office"""

from __future__ import annotations

import json

import pytest
from edge_lab import DENIED, HOME, ODOO, OUTSIDER
from edge_wire import ask

DOORS = ["/web/database/manager", "/xmlrpc/db", "/xmlrpc/2/db", "/jsonrpc"]


def spellings(path: str) -> list[str]:
    """Ways to write a path that Odoo, or a careless edge, takes for the same."""
    first, rest = path[1:].split("/", 1) if "/" in path[1:] else (path[1:], "")
    letter = f"/%{ord(first[0]):02x}{first[1:]}"
    written = [
        path,
        f"{path}/",
        f"/{path}",
        f"///{path}",
        f"{letter}/{rest}".rstrip("/"),
        f"{path}?db=main",
        f"/de{path}",
        f"/x/..{path}",
    ]
    if rest:
        coded = "".join(f"%{ord(one):02X}" for one in rest)
        written += [
            f"/{first}//{rest}",
            f"/{first}/./{rest}",
            f"/{first}/{coded}",
            f"/{first}%2f{rest}",
            f"/{first}/x/../{rest}",
        ]
        written += [f"/fr_FR/{first}//{rest}", f"/{first}/{rest};x=y"]
    return written


@pytest.mark.parametrize("door", DOORS)
def test_database_manager(application, observed, door: str) -> None:
    """{door} is closed, however it is written, and nothing of it reaches the application."""
    body = json.dumps(
        {"jsonrpc": "2.0", "method": "call", "params": {"service": "db", "method": "list", "args": []}}
    ).encode()
    opened = {}
    for path in spellings(door):
        for method in ("GET", "POST"):
            application.seen.clear()
            answer = ask(path, method, [("Content-Type", "application/json")], body if method == "POST" else None)
            # What an application is asked after all must be a path that it does not take for the door.
            if answer.status not in (400, 403, 404) and not (answer.status in (301, 308) and not application.seen):
                opened[f"{method} {path}"] = answer.status
    # Odoo knows no parameters in a path.
    opened = {what: status for what, status in opened.items() if ";" not in what}
    assert opened == {}
    observed(f"closed in {len(spellings(door))} spellings")


@pytest.mark.parametrize(
    "door", ["/web/database/selector", "/web/database/backup", "/web/database/list", "/de/web/database/drop"]
)
def test_odoo_itself_is_not_asked(observed, door: str) -> None:
    """{door} of the real Odoo is closed."""
    assert ask(door, site=ODOO).status == 403
    assert ask(door, "POST", body=b"", site=ODOO).status == 403
    observed("403")


def test_near_misses(application, observed) -> None:
    """Paths that only look alike are open."""
    for path in (
        "/web/databases",
        "/web/database-x",
        "/xmlrpc/dbx",
        "/jsonrpcs",
        "/x?path=/web/database/manager",
        "/internals",
    ):
        assert ask(path).status == 200, path
    observed("200")


@pytest.mark.parametrize(
    "path",
    [
        "/internal/x",
        "//internal/x",
        "/%69nternal/x",
        "/internal//x",
        "/y/../internal/x",
        "/any/secret",
        "/any/secret/x",
        "/any%2Fsecret",
    ],
)
def test_blocked_paths(application, observed, path: str) -> None:
    """{path} is closed by the policy's own list."""
    assert ask(path).status in (400, 403)
    assert application.seen == []
    observed("closed")


OFFICE = [
    "/odoo",
    "/odoo/settings",
    "/web",
    "/web/",
    "/web/dataset/call_kw",
    "/de/odoo",
    "/web/webclient/load_menus",
    "//odoo",
    "/%6fdoo",
]


@pytest.mark.parametrize("path", OFFICE)
def test_back_office(application, observed, path: str) -> None:
    """{path} is open to the networks on the list, without those that are denied."""
    assert ask(path, source=HOME).status == 200
    assert ask(path, source=DENIED).status == 403
    assert ask(path, source=OUTSIDER).status == 403
    observed("200, 403, 403")


@pytest.mark.parametrize("path", ["/web/login", "/my", "/shop", "/web/static/x.js", "/websocket", "/odoos"])
def test_outside_of_the_back_office(application, observed, path: str) -> None:
    """{path} is open to all."""
    assert ask(path, source=DENIED).status == 200
    assert ask(path, source=OUTSIDER).status == 200
    observed("200, 200")


def test_forged_back_office(application, observed) -> None:
    """Nobody gets into the back office by claiming another address."""
    for name in ("X-Forwarded-For", "X-Real-IP", "Forwarded", "X-Client-IP"):
        assert ask("/odoo", headers=[(name, HOME)], source=OUTSIDER).status == 403
    observed("403")


def test_methods(application, observed) -> None:
    """TRACE and CONNECT get nowhere."""
    for method in ("TRACE", "CONNECT"):
        try:
            status = ask("/x?no-method", method).status
        except OSError:
            status = 400
        assert status >= 400
    assert application.of("no-method") == []
    observed("refused")
