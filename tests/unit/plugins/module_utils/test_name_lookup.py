"""Names resolve within the time given, even when the resolver hangs."""

from __future__ import annotations

import socket
import time

from ansible_collections.slipway.odoo.plugins.module_utils import name_lookup
from ansible_collections.slipway.odoo.plugins.module_utils.name_lookup import Lookup, look_up


def test_addresses_and_localhost_resolve():
    first, second, third = look_up(names=["127.0.0.1", "::1", "localhost"], timeout=5)
    assert (first.addresses, first.error) == (("127.0.0.1",), None)
    assert second.addresses == ("::1",)
    assert third.error is None
    assert {"127.0.0.1", "::1"} & set(third.addresses)


def test_each_name_is_asked_once_and_order_is_kept(monkeypatch):
    asked = []

    def fake(name, *_args, **_options):
        asked.append(name)
        return [(None, None, None, "", ("192.0.2.1", 0)), (None, None, None, "", ("192.0.2.1", 0))]

    monkeypatch.setattr(name_lookup.socket, "getaddrinfo", fake)
    found = look_up(names=["b", "a", "b"], timeout=5)
    assert found == (Lookup("b", ("192.0.2.1",)), Lookup("a", ("192.0.2.1",)))
    assert sorted(asked) == ["a", "b"]


def test_an_unknown_name(monkeypatch):
    def fake(*_args, **_options):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(name_lookup.socket, "getaddrinfo", fake)
    assert look_up(names=["db9"], timeout=5) == (Lookup("db9", (), "Name or service not known"),)


def test_a_name_that_is_none():
    assert look_up(names=["a" * 70 + ".example"], timeout=5)[0].error


def test_a_resolver_that_hangs(monkeypatch):
    monkeypatch.setattr(name_lookup.socket, "getaddrinfo", lambda *_args, **_options: time.sleep(30) or [])
    started = time.monotonic()
    found = look_up(names=["one", "two", "three"], timeout=0.2)
    assert time.monotonic() - started < 10
    assert {one.error for one in found} == {"the resolver gave no answer within 0.2 s"}


def test_nothing_to_ask():
    assert look_up(names=[], timeout=1) == ()
