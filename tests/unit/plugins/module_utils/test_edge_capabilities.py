"""What a policy asks for that a server cannot do."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils.edge_capabilities import (
    CADDY_MODULE,
    RATE_LIMIT_MODULE,
    Server,
    caddy_version,
    lacks,
    numbers,
)
from ansible_collections.slipway.odoo.plugins.module_utils.edge_policy import as_data, plan
from ansible_collections.slipway.odoo.tests.unit.edge_given import GIVEN

LIMITED = {"rate_limits": [{"name": "free"}, {"name": "web", "rate": "1r/s"}]}
BUILT = {CADDY_MODULE: "v2.11.9", RATE_LIMIT_MODULE: "v0.1.0"}
WAITING = {"body_timeout": 0, "send_timeout": 0}
QUIC = "configure arguments: --with-http_v2_module --with-http_v3_module"


def found(server: Server, **wishes: Any) -> list[str]:
    return lacks(as_data(plan({**GIVEN, **wishes})), server=server)


@pytest.mark.parametrize(
    ("server", "wishes"),
    [
        (Server("nginx", "1.22.1"), {**LIMITED, "compression": ["brotli", "gzip"], "store_size": "1g"}),
        (Server("nginx", "1.26.3", QUIC), {"http3": True}),
        (Server("nginx", "1.26.3"), {"http3": True}),
        (Server("nginx", ""), {"http3": True}),
        (Server("caddy", "2.11.9", BUILT), {**LIMITED, "compression": ["zstd", "gzip"], "http3": True}),
        (Server("caddy", "2.11.2"), WAITING),
        (Server("caddy", "2.11.9"), {"rate_limits": [{"name": "free"}]}),
    ],
)
def test_what_a_server_can_do_is_no_lack(server, wishes) -> None:
    assert found(server, **wishes) == []


@pytest.mark.parametrize(
    ("server", "wishes", "words"),
    [
        (Server("nginx", "1.18.0"), {}, "this nginx is 1.18.0, and 1.22 is the oldest"),
        (Server("nginx", "1.26.3"), {"compression": ["zstd"]}, "edge_compression: nginx has no zstd"),
        (Server("nginx", "1.26.3", "--with-http_v2_module"), {"http3": True}, "edge_http3: this nginx (1.26.3)"),
        (Server("nginx", "1.22.1"), {"http3": True}, "edge_http3: this nginx (1.22.1)"),
        (Server("caddy", "2.11.4"), {}, "this Caddy (2.11.4) cannot give up clients that stall"),
        (
            Server("caddy", "2.6.2"),
            WAITING,
            "this caddy is 2.6.2, and 2.11 is the oldest",
        ),
        (Server("caddy", "2.11.9", BUILT), {"compression": ["brotli"]}, "edge_compression: Caddy has no brotli"),
        (Server("caddy", "2.11.9", BUILT), {"store_size": "1g"}, "edge_store_size: Caddy has no store"),
        (Server("caddy", "2.11.9"), LIMITED, "so web would not be held"),
        (Server("caddy", "2.11.9", {CADDY_MODULE: "v2.11.9"}), LIMITED, "edge_rate_limits: this Caddy has no"),
    ],
)
def test_what_a_server_cannot_do_is_named(server, wishes, words) -> None:
    (lack,) = found(server, **wishes)
    assert words in lack


def test_all_that_is_lacking_is_named_at_once() -> None:
    assert len(found(Server("caddy", "2.6.2"), **LIMITED, compression=["brotli"], store_size="1g")) == 5


def test_versions() -> None:
    assert caddy_version(BUILT) == "2.11.9"
    assert caddy_version({"example.com/other": "v1"}) == ""
    assert numbers("2.11.0-beta.1") == (2, 11, 0)
    assert numbers("2.6.2") < numbers("2.11")
