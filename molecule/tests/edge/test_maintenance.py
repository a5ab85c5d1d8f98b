"""Maintenance"""

from __future__ import annotations

import pytest
from edge_lab import MAINTAINER, ODOO, POLICY
from edge_wire import ask


def test_page(application, maintenance, observed) -> None:
    """While the flag is there, all is answered 503 with the page and Retry-After, at once and without a reload."""
    assert ask("/x").status == 200
    with maintenance("probe"):
        for method, path in (
            ("GET", "/x?during"),
            ("POST", "/web/login"),
            ("GET", "/web/static/x.js"),
            ("GET", "/websocket"),
        ):
            answer = ask(path, method, body=b"" if method == "POST" else None)
            assert answer.status == 503
            assert answer.values("Retry-After") == [str(POLICY["edge_maintenance_retry_after"])]
            assert b"We will be right back" in answer.body
            assert answer.value("Content-Type") == "text/html; charset=utf-8"
            assert "no-store" in answer.value("Cache-Control")
    assert application.of("during") == []
    assert ask("/x").status == 200
    observed(f"503, Retry-After {POLICY['edge_maintenance_retry_after']}")


def test_allowed(application, maintenance, observed) -> None:
    """Addresses on the list pass."""
    with maintenance("probe"):
        assert ask("/x", source=MAINTAINER).status == 200
        assert ask("/x").status == 503
    observed("200")


def test_forged_allowance(application, maintenance, observed) -> None:
    """Nobody gets past by claiming to be one of them."""
    with maintenance("probe"):
        assert ask("/x", headers=[("X-Forwarded-For", MAINTAINER)]).status == 503
    observed("503")


def test_other_sites(application, maintenance, observed) -> None:
    """Other sites go on."""
    with maintenance("probe"):
        assert ask("/web/login", site=ODOO).status == 200
        assert ask("/x", site="pair.demo.test").status == 200
    observed("200")


@pytest.mark.parametrize("path", ["/health"])
def test_health(application, maintenance, observed, path: str) -> None:
    """{path} says how the application is, maintenance or not."""
    with maintenance("probe"):
        assert ask(path).status == 200
        application.healthy = False
        assert ask(path).status == 503
    observed("200, 503")


def test_closed_paths(application, maintenance, observed) -> None:
    """The page itself has no address, on or off."""
    assert ask("/.slipway/maintenance.html").status == 404
    observed("404")


def test_not_for_plain_http(application, maintenance, observed) -> None:
    """Plain HTTP is still sent to HTTPS, where the page is."""
    with maintenance("probe"):
        answer = ask("/x", tls=False)
    assert answer.status in (301, 308)
    observed("redirected")
