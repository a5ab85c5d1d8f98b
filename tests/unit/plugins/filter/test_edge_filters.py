"""The filters of role edge."""

from __future__ import annotations

import datetime

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.slipway.odoo.plugins.filter import edge_certificates, edge_policy
from ansible_collections.slipway.odoo.plugins.module_utils import edge_certificates as certificates

POLICY = edge_policy.FilterModule().filters()["edge_policy"]
JUDGE = edge_certificates.FilterModule().filters()["edge_certificates"]
CHAIN = edge_certificates.FilterModule().filters()["edge_certificate_chain"]


def test_policy_is_plain_data() -> None:
    policy = POLICY(
        {
            "sites": [{"name": "Main", "domains": ["a.test"], "upstreams": ["a:1"]}],
            "rate_limits": [{"name": "web"}],
            "security_headers": {},
            "closed_paths": [],
            "jsonrpc": False,
            "networks": {},
            "max_body_size": "1m",
            "read_timeout": 1,
            "tls_days": 2,
            "tls_renew_days": 1,
            "certificate_directory": "/c",
            "has_ca": True,
        }
    )
    assert policy["problems"] == ["site Main: the name must be a letter and at most 31 more of a-z, 0-9, - and _"]
    assert policy["sites"][0]["tls"]["certificate"] == "/c/Main.crt"
    assert policy["limits"] == [{"name": "web", "pattern": "^[^ ]+ /", "rate": "", "burst": 0, "retry_after": 1}]


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
