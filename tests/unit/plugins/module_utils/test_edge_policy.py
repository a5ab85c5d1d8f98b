"""One edge policy: its defaults, patterns and faults."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
import yaml
from ansible_collections.slipway.odoo.plugins.module_utils.edge_policy import (
    Policy,
    as_data,
    plan,
    retry_after,
    size_in_bytes,
)
from ansible_collections.slipway.odoo.tests.unit.edge_given import ACME, GIVEN, NETWORKS, SITE
from hypothesis import given
from hypothesis import strategies as st


def planned(**changed: Any) -> Policy:
    return plan({**GIVEN, **changed})


def with_site(**changed: Any) -> Policy:
    return planned(sites=[{**SITE, **changed}])


@pytest.fixture(scope="module")
def default_limits(root) -> list[dict[str, Any]]:
    return yaml.safe_load((root / "roles/edge/defaults/main.yml").read_text())["edge_rate_limits"]


def test_good_policy_has_no_fault(default_limits) -> None:
    assert planned(rate_limits=default_limits).problems == ()


def test_open_ends_are_filled_in() -> None:
    (site,) = planned(sites=[{**SITE, "websocket_upstreams": None}]).sites
    assert site.websocket_upstreams == site.upstreams == ("10.0.0.5:8069", "[fd00::5]:8069")
    assert (site.max_body_size, site.read_timeout) == ("128m", 720)
    assert (site.tls.source, site.tls.certificate) == ("ca", "/etc/ssl/edge/main.crt")
    (site,) = with_site(max_body_size="1g", read_timeout=60).sites
    assert (site.max_body_size, site.read_timeout) == ("1g", 60)


@pytest.mark.parametrize(
    ("tls", "source", "certificate"),
    [
        ({"certificate": "/etc/x.pem", "private_key": "/etc/x.key"}, "target", "/etc/x.pem"),
        ({"certificate_src": "x.pem", "private_key_src": "x.key"}, "controller", "/etc/ssl/edge/main.crt"),
        ({"certificate": None, "private_key": None}, "ca", "/etc/ssl/edge/main.crt"),
    ],
)
def test_certificate_has_one_source_and_place(tls, source, certificate) -> None:
    policy = with_site(tls=tls)
    assert policy.problems == ()
    assert (policy.sites[0].tls.source, policy.sites[0].tls.certificate) == (source, certificate)


def test_site_reached_by_address_is_known() -> None:
    policy = planned(sites=[SITE, {**SITE, "name": "b", "domains": ["b.test", "10.0.0.1", "fd00::1"]}])
    assert policy.problems == ()
    assert policy.address_site == "b"
    assert policy.sites[1].addresses == ("10.0.0.1", "fd00::1")
    assert planned().address_site == ""


def test_image_policy_of_odoo_is_always_passed_on() -> None:
    assert planned().security_headers == {"X-Frame-Options": "SAMEORIGIN", "Content-Security-Policy": ""}
    own = {"content-security-policy": "default-src 'self'"}
    assert planned(security_headers=own).security_headers == own


@pytest.mark.parametrize(
    ("path", "closed"),
    [
        ("/web/database", True),
        ("/web/database/manager", True),
        ("/en/web/database/manager", True),
        ("/pt_BR/web/database/list", True),
        ("/xmlrpc/db", True),
        ("/xmlrpc/2/db", True),
        ("/xmlrpc/2/db/", True),
        ("/jsonrpc", True),
        ("/jsonrpc/", True),
        ("/fr/jsonrpc", True),
        ("/secret/x", True),
        ("/web/databases", False),
        ("/web/dataset/call_kw", False),
        ("/xmlrpc/2/common", False),
        ("/xmlrpc/dbx", False),
        ("/jsonrpcx", False),
        ("/web/content/web/database", False),
        ("/a/secret", False),
    ],
)
def test_doors_are_closed_and_nothing_else(path: str, closed: bool) -> None:
    assert bool(re.match(planned(blocked_paths=["/secret"]).closed, path)) is closed


def test_jsonrpc_can_be_opened_and_no_other_door() -> None:
    closed = planned(jsonrpc=True).closed
    assert not re.match(closed, "/jsonrpc")
    assert all(re.match(closed, path) for path in ("/web/database/x", "/xmlrpc/db", "/xmlrpc/2/db"))


@pytest.mark.parametrize(
    ("request_line", "name"),
    [
        ("GET /health", "health"),
        ("GET /web/health", "health"),
        ("GET /healthy", "web"),
        ("GET /web/static/lib/owl.js", "static"),
        ("GET /sale_stock/static/img/a.png", "static"),
        ("HEAD /web/assets/0710ba1/web.assets_web.min.js", "static"),
        ("POST /web/assets/x", "web"),
        ("POST /web/login", "login"),
        ("POST /fr/web/login", "login"),
        ("POST /web/login/totp", "login"),
        ("POST /web/reset_password", "login"),
        ("POST /web/session/authenticate", "login"),
        ("POST /xmlrpc/2/common", "login"),
        ("POST /xmlrpc/common", "login"),
        ("POST /fr/web/session/authenticate", "login"),
        ("POST /fr/xmlrpc/2/common", "login"),
        ("POST /.slipway/csp-report", "reports"),
        ("GET /web/login", "web"),
        ("POST /web/dataset/call_kw/res.users/web_read", "web"),
        ("POST /web/dataset/call_kw/sale.order/web_save", "web"),
        ("GET /websocket", "web"),
        ("GET /api/v1/orders", "api_read"),
        ("POST /json/2/res.partner/search_read", "api_call_read"),
        ("POST /json/2/res.partner/read", "api_call_read"),
        ("POST /json/2/res.partner/create", "api_write"),
        ("POST /json/2/search.thing/unlink", "api_write"),
        ("PUT /api/v1/orders/5", "api_write"),
        ("DELETE /api/v1/orders/5", "api_write"),
        ("POST /xmlrpc/2/object", "rpc"),
        ("POST /jsonrpc", "rpc"),
    ],
)
def test_default_limit_of_a_request(default_limits, request_line: str, name: str) -> None:
    limits = planned(rate_limits=default_limits).limits
    assert next(limit.name for limit in limits if re.match(limit.pattern, request_line)) == name


def test_limit_without_rate_sets_none(default_limits) -> None:
    limits = {limit.name: limit for limit in planned(rate_limits=default_limits).limits}
    assert limits["static"].rate == ""
    assert limits["login"].rate == "20r/m"
    assert limits["login"].retry_after == 3


@pytest.mark.parametrize(
    ("rate", "burst", "window"), [("10r/s", 0, 0.1), ("10r/s", 19, 2), ("20r/m", 30, 93), ("", 5, 0), ("60r/m", 9, 10)]
)
def test_window_is_what_the_rate_takes_for_a_whole_burst(rate, burst, window) -> None:
    (limit,) = planned(rate_limits=[{"name": "a", "rate": rate, "burst": burst}]).limits
    assert limit.window == pytest.approx(window)
    assert (limit.key, limit.methods, limit.path) == ("address", (), "")


def test_certificate_by_acme_has_its_place_where_the_server_has_a_client_for_it() -> None:
    site = {**SITE, "tls": {"acme": True}}
    policy = planned(sites=[site], acme=ACME)
    assert policy.problems == ()
    assert policy.sites[0].tls.certificate == "/etc/letsencrypt/live/slipway-main/fullchain.pem"
    assert planned(sites=[site], acme=ACME, acme_directory="").sites[0].tls.certificate == ""


def test_policy_for_content_tells_where_to_report() -> None:
    policy = planned(csp="default-src 'self';")
    assert policy.csp_report_only == "default-src 'self'; report-uri /.slipway/csp-report"
    assert policy.security_headers["Content-Security-Policy"] == ""
    policy = planned(csp="default-src 'self'; report-to x", csp_report_only=False)
    assert policy.csp_report_only == ""
    assert policy.security_headers["Content-Security-Policy"] == "default-src 'self'; report-to x"


@pytest.mark.parametrize(
    ("age", "subdomains", "value"),
    [(0, True, ""), (300, False, "max-age=300"), (9, True, "max-age=9; includeSubDomains")],
)
def test_hsts(age, subdomains, value) -> None:
    assert planned(hsts_max_age=age, hsts_subdomains=subdomains).hsts == value


def test_cors_has_defaults() -> None:
    (cors,) = planned(cors=[{"origins": ["https://a.test"], "expose_headers": ["x-a", "x-b"]}]).cors
    assert (cors.path, cors.max_age, cors.credentials) == ("^(?:/api/|/json/)", 600, False)
    assert (cors.methods, cors.headers) == ("GET, POST, PUT, PATCH, DELETE", "Authorization, Content-Type")
    assert cors.expose_headers == "x-a, x-b"
    assert planned(cors=[{"origins": ["*"], "max_age": 0}]).cors[0].max_age == 0


def test_browser_cache_and_store_are_of_the_same_paths() -> None:
    policy = planned(
        browser_cache=[{"paths": ["/a/"], "seconds": 5, "immutable": True}, {"paths": ["/b/"], "seconds": 6}]
    )
    assert [entry.value for entry in policy.browser_cache] == ["public, max-age=5, immutable", "public, max-age=6"]
    assert policy.store.path == "^(?:/a/|/b/)"


@pytest.mark.parametrize(
    ("size", "number"), [("128m", 134217728), ("1k", 1024), ("2g", 2147483648), ("7", 7), ("x", 0)]
)
def test_size_in_bytes(size, number) -> None:
    assert size_in_bytes(size) == number


def test_defaults_of_the_role_are_a_good_policy(root) -> None:
    defaults = yaml.safe_load((root / "roles/edge/defaults/main.yml").read_text())
    given_names = {name.partition("_")[2] for name in defaults} & set(GIVEN)
    policy = planned(**{name: defaults[f"edge_{name}"] for name in given_names - {"sites"}})
    assert policy.problems == ()


@given(st.integers(min_value=1, max_value=9_999_999))
def test_one_more_request_passes_after_retry_after_and_not_a_second_before(rate: int) -> None:
    wait = retry_after(f"{rate}r/m")
    assert wait * rate >= 60 > (wait - 1) * rate


@pytest.mark.parametrize("rate", ["1r/s", "500r/s", "", "nonsense"])
def test_retry_after_is_never_less_than_a_second(rate: str) -> None:
    assert retry_after(rate) == 1


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"name": "Main"}, "the name must be"),
        ({"name": "a/b"}, "the name must be"),
        ({"domains": []}, "domains is empty"),
        ({"domains": ["Odoo.example.com"]}, "'Odoo.example.com' is neither"),
        ({"domains": ["odoo_1.example.com"]}, "is neither"),
        ({"domains": ["-a.example.com"]}, "is neither"),
        ({"domains": ["a..b"]}, "is neither"),
        ({"domains": ["https://a.b"]}, "is neither"),
        ({"domains": ["a.b:443"]}, "is neither"),
        ({"domains": ["a.b;"]}, "is neither"),
        ({"domains": ["::1%x; } y"]}, "is neither"),
        ({"domains": ["a." + "b" * 64]}, "is neither"),
        ({"domains": ["*.*.example.com"]}, "is neither"),
        ({"domains": ["a.b", "A.B"]}, "domain a.b: given more than once (in main)"),
        ({"upstreams": []}, "upstreams is empty"),
        ({"upstreams": ["10.0.0.5"]}, "is not HOST:PORT"),
        ({"upstreams": ["10.0.0.5:0"]}, "is not HOST:PORT"),
        ({"upstreams": ["10.0.0.5:65536"]}, "is not HOST:PORT"),
        ({"upstreams": ["http://10.0.0.5:80"]}, "is not HOST:PORT"),
        ({"websocket_upstreams": ["a b:80"]}, "is not HOST:PORT"),
        ({"tls": {"certificate": "/a"}}, "tls needs certificate and private_key"),
        ({"tls": {"certificate": "/a", "private_key_src": "b"}}, "tls needs"),
        ({"tls": {"certificate": "/a b", "private_key": "/c"}}, "is not a plain absolute path"),
        ({"tls": {"certificate": "/a", "private_key": "c.key"}}, "is not a plain absolute path"),
        ({"internal_files": {"path": "filestore", "group": "odoo"}}, "internal_files needs"),
        ({"internal_files": {"path": "/srv/a;b", "group": "odoo"}}, "internal_files needs"),
        ({"internal_files": {"path": "/srv/x", "group": "o d"}}, "internal_files needs"),
        ({"max_body_size": "10 MB"}, "max_body_size '10 MB'"),
        ({"read_timeout": -1}, "read_timeout"),
        ({"health": "up"}, "health 'up' is not a path"),
        ({"health": "/up;"}, "health '/up;' is not a path"),
        ({"tls": {"acme": True}}, "tls.acme needs edge_acme"),
        ({"tls": {"acme": True, "certificate": "/a"}}, "exclude each other"),
        ({"tls": {"acme": True}, "domains": ["*.a.test"]}, "*.a.test: ACME over HTTP certifies no address"),
        ({"tls": {"acme": True}, "domains": ["10.0.0.1"]}, "10.0.0.1: ACME over HTTP certifies no address"),
    ],
)
def test_fault_of_a_site_is_found(changed: dict[str, Any], problem: str) -> None:
    assert any(problem in line for line in with_site(**changed).problems), with_site(**changed).problems


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"sites": [SITE, {**SITE, "domains": ["b.test"]}]}, "site main: there is more than one of this name"),
        ({"sites": [SITE, {**SITE, "name": "b"}]}, "domain odoo.example.com: given more than once (in b, main)"),
        (
            {"sites": [{**SITE, "domains": ["::1"]}, {**SITE, "name": "b", "domains": ["10.0.0.1"]}]},
            "sites main, b: only one site can be reached by address",
        ),
        ({"has_ca": False}, "site main: there is no certificate"),
        ({"rate_limits": [{"name": "a-b"}]}, "rate limit a-b: the name"),
        ({"rate_limits": [{"name": "a"}, {"name": "a", "paths": ["/x"]}]}, "rate limit a: there is more than one"),
        ({"rate_limits": [{"name": "a"}, {"name": "b"}]}, "rate limit a: it matches every request"),
        ({"rate_limits": [{"name": "a", "methods": ["FETCH"]}]}, "unknown method 'FETCH'"),
        ({"rate_limits": [{"name": "a", "methods": ["get"]}]}, "unknown method 'get'"),
        ({"rate_limits": [{"name": "a", "rate": "10/s"}]}, "rate '10/s' is not like"),
        ({"rate_limits": [{"name": "a", "rate": "0r/s"}]}, "rate '0r/s' is not like"),
        ({"rate_limits": [{"name": "a", "rate": "1r/h"}]}, "rate '1r/h' is not like"),
        ({"rate_limits": [{"name": "a", "burst": -1}]}, "burst must not be negative"),
        ({"rate_limits": [{"name": "a", "paths": ["web"]}]}, "must start with /"),
        ({"rate_limits": [{"name": "a", "paths": ["/("]}]}, "is not a regular expression"),
        ({"rate_limits": [{"name": "a", "paths": ['/"']}]}, "holds a space, a quote"),
        ({"blocked_paths": ["/a b"]}, "closed path: pattern '/a b' holds a space"),
        ({"blocked_paths": ["/a\\n"]}, "holds a space, a quote or an escaped one"),
        ({"networks": {**NETWORKS, "trusted_proxies": ["10.0.0.1/8"]}}, "edge_trusted_proxies: 10.0.0.1/8"),
        (
            {"networks": {**NETWORKS, "rate_limit_exempt": ["office"]}},
            "edge_rate_limit_exempt: 'office' is not an address",
        ),
        (
            {"networks": {**NETWORKS, "back_office_deny": ["10.0.0.1"]}, "back_office_paths": []},
            "edge_back_office_paths is empty",
        ),
        ({"back_office_paths": ["office"]}, "back office path: pattern 'office' must start with /"),
        ({"blocked_paths": ["/a(?!b)"]}, "not have in common"),
        ({"blocked_paths": ["/(a)\\1"]}, "not have in common"),
        ({"blocked_paths": ["/(?P<a>b)"]}, "not have in common"),
        ({"blocked_paths": ["(?x)/a"]}, "not have in common"),
        ({"blocked_paths": ["/a{,3}"]}, "not have in common"),
        ({"blocked_paths": ["/a\\Z"]}, "not have in common"),
        ({"status_port": 443}, "edge_status_port 443 is not a port of its own"),
        ({"security_headers": {"Set-Cookie": "a=b"}}, "security header Set-Cookie: this one is"),
        ({"security_headers": {"Access-Control-Allow-Origin": "*"}}, "this one is the application's"),
        ({"networks": {**NETWORKS, "trusted_proxies": ["fe80::1%a; load"]}}, "is not an address or a network"),
        ({"networks": {**NETWORKS, "trusted_proxies": ["10.0.0.0/0.0.255.255"]}}, "is not an address or a network"),
        ({"rate_limits": [{"name": "a", "key": "cookie"}]}, "rate limit a: unknown key 'cookie'"),
        ({"cors": [{"origins": []}]}, "CORS entry 1: origins is empty"),
        ({"cors": [{"origins": ["https://App.test"]}]}, "origin 'https://App.test' is not like"),
        ({"cors": [{"origins": ["https://a.test/"]}]}, "origin 'https://a.test/' is not like"),
        ({"cors": [{"origins": ["*", "https://a.test"]}]}, "name no others"),
        ({"cors": [{"origins": ["*"], "credentials": True}]}, "credentials for every origin"),
        ({"cors": [{"origins": ["*"], "methods": ["TRACE"]}]}, "unknown method 'TRACE'"),
        ({"cors": [{"origins": ["*"], "headers": ["a b"]}]}, "'a b' is not a header's name"),
        ({"cors": [{"origins": ["*"], "max_age": -1}]}, "max_age must not be negative"),
        ({"cors": [{"origins": ["*"], "paths": ["x"]}]}, "CORS path: pattern 'x' must start with /"),
        ({"browser_cache": [{"paths": [], "seconds": 1}]}, "browser cache: an entry has no paths"),
        ({"browser_cache": [{"paths": ["/a"], "seconds": -1}]}, "seconds must not be negative"),
        ({"csp": "default-src {x}"}, "edge_csp must be one line"),
        (
            {"csp": "default-src *", "csp_report_only": False, "security_headers": {"Content-Security-Policy": "x"}},
            "edge_csp is there too",
        ),
        ({"security_headers": {"Content-Security-Policy-Report-Only": "x"}}, "set edge_csp instead"),
        ({"security_headers": {"X-Y": "{http.vars.x}"}}, "security header X-Y: the value"),
        ({"store_size": "big"}, "edge_store_size 'big'"),
        ({"header_timeout": 0}, "header_timeout must be at least 1 second"),
        ({"body_timeout": -1}, "body_timeout must not be negative"),
        ({"acme": {**ACME, "directory": "http://ca.test"}}, "edge_acme.directory 'http://ca.test' is not"),
        ({"acme": {**ACME, "email": "nobody"}}, "edge_acme.email 'nobody'"),
        ({"acme": {**ACME, "terms_agreed": False}}, "edge_acme.terms_agreed must be true"),
        ({"security_headers": {"X Y": "z"}}, "security header 'X Y': not a header's name"),
        ({"security_headers": {"X-Y": "$host"}}, "security header X-Y: the value"),
        ({"security_headers": {"X-Y": 'a"b'}}, "security header X-Y: the value"),
        ({"security_headers": {"X-Y": "a\nb"}}, "security header X-Y: the value"),
        ({"security_headers": {"X-Y": 1}}, "security header X-Y: the value"),
        ({"security_headers": {"X-Y": "a", "x-y": "b"}}, "security header x-y: given more than once"),
        ({"security_headers": {"Strict-Transport-Security": "max-age=1"}}, "set edge_hsts_max_age instead"),
        ({"max_body_size": "big"}, "max_body_size 'big'"),
        ({"read_timeout": 0}, "read_timeout must be at least 1 second"),
        ({"tls_renew_days": 365}, "edge_tls_renew_days must be"),
        ({"tls_renew_days": 0}, "edge_tls_renew_days must be"),
    ],
)
def test_fault_of_a_policy_is_found(changed: dict[str, Any], problem: str) -> None:
    assert any(problem in line for line in planned(**changed).problems), planned(**changed).problems


def test_all_faults_are_told_at_once() -> None:
    assert len(planned(sites=[{**SITE, "upstreams": [], "domains": []}], max_body_size="x").problems) == 3


def test_data_is_of_lists_and_mappings() -> None:
    @dataclasses.dataclass(frozen=True)
    class Inner:
        items: tuple[int, ...]

    assert as_data({"a": (Inner((1, 2)),), "b": [None, "text"]}) == {
        "a": [{"items": [1, 2]}],
        "b": [None, "text"],
    }
