"""Client addresses and what the application is told"""

from __future__ import annotations

import pytest
from edge_lab import HOME, NOBODIES, PROBE, PROXY
from edge_wire import ask

FORGED = [
    ("X-Forwarded-For", "198.51.100.1"),
    ("X-Real-IP", "198.51.100.1"),
    ("X-Forwarded-Host", "evil.example"),
    ("X-Forwarded-Proto", "http"),
    ("Forwarded", "for=198.51.100.1;host=evil.example;proto=http"),
    ("X-Forwarded-Port", "1"),
    ("X-Forwarded-Prefix", "/evil"),
    ("Proxy", "http://evil.example"),
]


def test_what_is_told(application, observed) -> None:
    """The application is told client, host and scheme, each once."""
    echo = ask("/x").echo
    assert echo.values("X-Forwarded-For") == [HOME]
    assert echo.values("X-Forwarded-Host") == [PROBE]
    assert echo.values("X-Forwarded-Proto") == ["https"]
    assert echo.values("Host") == [PROBE]
    observed("X-Forwarded-For, -Host, -Proto, Host")


def test_forged_headers(application, log_of, observed) -> None:
    """From a client that is no trusted proxy, forged X-Forwarded-*, Forwarded and Proxy never arrive."""
    source = NOBODIES[3]
    echo = ask("/x?forged-one", headers=FORGED, source=source).echo
    assert echo.values("X-Forwarded-For") == [source]
    assert echo.values("X-Forwarded-Host") == [PROBE]
    assert echo.values("X-Forwarded-Proto") == ["https"]
    assert echo.values("Proxy") == []
    rest = [value for name, value in echo.headers if name.lower() != "user-agent"]
    assert not any("198.51.100.1" in value or "evil" in value for value in rest), echo.headers
    assert log_of("forged-one")[-1]["client_ip"] == source
    observed("the client's own address")


def test_forwarding_twice(application, observed) -> None:
    """A header that is sent twice or with another case is no way around that."""
    headers = [
        ("x-forwarded-for", "198.51.100.1"),
        ("X-FORWARDED-FOR", "198.51.100.2"),
        ("X_Forwarded_For", "198.51.100.3"),
    ]
    echo = ask("/x", headers=headers).echo
    assert echo.values("X-Forwarded-For") == [HOME]
    assert echo.values("X_Forwarded_For") == []
    observed("the client's own address")


def test_trusted_proxy(application, log_of, observed) -> None:
    """From a trusted proxy X-Forwarded-For is believed, for the application and in the log."""
    echo = ask("/x?trusted-one", headers=[("X-Forwarded-For", "192.0.2.5")], source=PROXY).echo
    assert echo.values("X-Forwarded-For") == ["192.0.2.5"]
    assert log_of("trusted-one")[-1]["client_ip"] == "192.0.2.5"
    observed("the forwarded address")


def test_chain_of_proxies(application, observed) -> None:
    """Of several forwarded addresses the last one that is no trusted proxy counts; those before it may be made up."""
    headers = [("X-Forwarded-For", f"203.0.113.66, 192.0.2.6, {PROXY}")]
    assert ask("/x", headers=headers, source=PROXY).echo.values("X-Forwarded-For") == ["192.0.2.6"]
    observed("the last untrusted one")


@pytest.mark.parametrize("value", ["not-an-address", "192.0.2.9:1234", ""])
def test_odd_values(application, observed, value: str) -> None:
    """A trusted proxy that forwards `{value}` breaks nothing."""
    answer = ask("/x", headers=[("X-Forwarded-For", value)], source=PROXY)
    assert answer.status == 200
    (address,) = answer.echo.values("X-Forwarded-For")
    assert address in (PROXY, "192.0.2.9")
    observed("200")


def test_hop_by_hop_headers(application, observed) -> None:
    """Headers that Connection names do not take the edge's own away from the application."""
    echo = ask("/x", headers=[("Connection", "close, X-Forwarded-For, X-Forwarded-Host, X-Forwarded-Proto")]).echo
    assert echo.values("X-Forwarded-For") == [HOME]
    assert echo.values("X-Forwarded-Proto") == ["https"]
    observed("still told")


def test_odoo_knows_its_address(odoo, observed) -> None:
    """Odoo makes links with https and the host that the browser asked for."""
    answer = ask("/odoo", site="odoo.demo.test")
    assert answer.status in (302, 303)
    location = answer.value("Location")
    assert location.startswith(("https://odoo.demo.test/web/login", "/web/login")), location
    observed(location.split("?")[0])
