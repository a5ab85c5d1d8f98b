"""The filters of role edge."""

from __future__ import annotations

import datetime

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.slipway.odoo.plugins.filter import edge_certificates, edge_lacks, edge_policy
from ansible_collections.slipway.odoo.plugins.module_utils import edge_certificates as certificates
from ansible_collections.slipway.odoo.tests.unit.edge_given import GIVEN

POLICY = edge_policy.FilterModule().filters()["edge_policy"]
JUDGE = edge_certificates.FilterModule().filters()["edge_certificates"]
LACKS = edge_lacks.FilterModule().filters()["edge_lacks"]
CHAIN = edge_certificates.FilterModule().filters()["edge_certificate_chain"]


def test_policy_is_plain_data() -> None:
    policy = POLICY({**GIVEN, "sites": [{"name": "Main", "domains": ["a.test"], "upstreams": ["a:1"]}]})
    assert policy["problems"] == ["site Main: the name must be a letter and at most 31 more of a-z, 0-9, - and _"]
    assert policy["sites"][0]["tls"]["certificate"] == "/etc/ssl/edge/Main.crt"
    assert policy["back_office"] == {"path": "^(?:/odoo(?:/|$))", "allow": [], "deny": []}


def test_what_a_server_lacks() -> None:
    policy = POLICY({**GIVEN, "rate_limits": [{"name": "web", "rate": "1r/s"}]})
    assert LACKS(policy, "nginx", version="1.26.3") == []
    assert LACKS(policy, "caddy", build={"github.com/mholt/caddy-ratelimit": "v0.1.0"}) == [
        "edge_caddy_binary: this is no Caddy (nothing in it says so)"
    ]
    (lack,) = LACKS(policy, "caddy", build={"github.com/caddyserver/caddy/v2": "v2.11.9"})
    assert lack.startswith("edge_rate_limits: this Caddy has no rate limit")


@pytest.mark.parametrize("value", [None, {}, {"sites": "text"}, []])
def test_what_is_no_policy_is_refused(value) -> None:
    with pytest.raises(AnsibleFilterError, match="this is not a policy"):
        POLICY(value)


def judge() -> list:
    tls = {"source": "ca", "certificate": "/c", "private_key": "/k", "certificate_src": "", "private_key_src": ""}
    return JUDGE(
        [{"name": "main", "domains": ["a.test"], "tls": tls}],
        certificates_found={"/c": None},
        public_keys={"/k": None},
        sources={},
        ca="",
        renew_days=30,
    )


def test_missing_certificate_is_to_be_signed() -> None:
    assert judge() == [
        {
            "site": "main",
            "action": "sign",
            "reasons": ["there is none yet"],
            "problems": [],
            "sha256": "",
            "days_left": None,
        }
    ]


def test_certificates_are_judged_by_the_time_it_is(monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(certificates, "judge", lambda _sites, *, known: seen.append(known.now) or [])
    judge()
    assert abs(seen[0] - datetime.datetime.now(datetime.UTC)) < datetime.timedelta(minutes=1)


def test_chain_of_no_certificate_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="this is no PEM certificate"):
        CHAIN("nothing")


@pytest.mark.parametrize("call", [judge, lambda: CHAIN("")])
def test_missing_cryptography_is_named(monkeypatch, call) -> None:
    monkeypatch.setattr(certificates, "IMPORT_ERROR", ImportError("cryptography"))
    with pytest.raises(AnsibleFilterError, match="the controller needs the Python package cryptography"):
        call()
