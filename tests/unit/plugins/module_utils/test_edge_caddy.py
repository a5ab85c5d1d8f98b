"""The configuration of Caddy: what becomes of a request, found by walking the routes as Caddy does."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import re
from typing import Any

import pytest
import yaml
from ansible_collections.slipway.odoo.plugins.module_utils.edge_caddy import render
from ansible_collections.slipway.odoo.plugins.module_utils.edge_policy import as_data, plan

SITE = {
    "name": "main",
    "domains": ["odoo.example.com", "*.shops.example.com", "192.0.2.1", "2001:db8::1"],
    "upstreams": ["10.0.0.5:8069"],
    "websocket_upstreams": ["10.0.0.5:8072"],
}
OTHER = {
    "name": "other",
    "domains": ["other.example.com"],
    "upstreams": ["10.0.0.5:8169", "10.0.0.6:8169"],
    "read_timeout": 900,
    "internal_files": {"path": "/srv/filestore", "group": "odoo"},
    "max_body_size": "1k",
    "tls": {"certificate": "/etc/ssl/other.crt", "private_key": "/etc/ssl/other.key"},
}
NETWORKS = ("trusted_proxies", "rate_limit_exempt", "back_office_allow", "back_office_deny", "maintenance_allow")
# What the role works out itself; all the rest are its inputs.
WORKED_OUT = {
    "acme": {},
    "acme_directory": "",
    "certificate_directory": "/etc/ssl/slipway-edge",
    "has_ca": True,
    "maintenance_directory": "/var/lib/slipway-edge/maintenance",
}


@pytest.fixture(scope="module")
def defaults(root) -> dict[str, Any]:
    given = yaml.safe_load((root / "roles/edge/defaults/main.yml").read_text())
    return {name.removeprefix("edge_"): value for name, value in given.items()}


@pytest.fixture
def policy_of(defaults):
    def policy_of(**changed: Any) -> dict[str, Any]:
        networks = {name: changed.pop(name, defaults[name]) for name in NETWORKS}
        planned = plan({**defaults, **WORKED_OUT, "sites": [SITE, OTHER], **changed, "networks": networks})
        assert planned.problems == ()
        return as_data(planned)

    return policy_of


@pytest.fixture
def edge(policy_of):
    return lambda **changed: Edge(render(policy_of(**changed), revision="r1"))


def handlers(part: Any, name: str) -> list[dict[str, Any]]:
    """All handlers of a name, wherever they are."""
    if isinstance(part, dict):
        here = [part] if part.get("handler") == name else []
        return here + [found for value in part.values() for found in handlers(value, name)]
    return [found for value in part for found in handlers(value, name)] if isinstance(part, list) else []


@dataclasses.dataclass
class Request:
    """A request on its way, what it passed and where it ended."""

    path: str
    method: str = "GET"
    host: str = "odoo.example.com"
    client: str = "203.0.113.9"
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    flags: tuple[str, ...] = ()
    vars: dict[str, Any] = dataclasses.field(default_factory=dict)
    passed: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    groups: set[str] = dataclasses.field(default_factory=set)
    end: dict[str, Any] | None = None

    def matches(self, matchers: dict[str, Any]) -> bool:
        return all(getattr(self, f"_{name}")(value) for name, value in matchers.items())

    def _not(self, sets: list[dict[str, Any]]) -> bool:
        return not any(self.matches(one) for one in sets)

    def _method(self, methods: list[str]) -> bool:
        return self.method in methods

    def _path_regexp(self, given: dict[str, str]) -> bool:
        return bool(re.search(given["pattern"], self.path))

    def _host(self, names: list[str]) -> bool:
        return any(re.fullmatch(re.escape(name).replace(r"\*", "[^.]+"), self.host) for name in names)

    def _vars(self, given: dict[str, list[str]]) -> bool:
        return any(self.vars.get(name) in values for name, values in given.items())

    def _vars_regexp(self, given: dict[str, Any]) -> bool:
        known = {"{http.request.uri.path}": self.path}
        return all(re.search(one["pattern"], known.get(name, "")) for name, one in given.items())

    def _client_ip(self, given: dict[str, list[str]]) -> bool:
        return any(ipaddress.ip_address(self.client) in ipaddress.ip_network(one) for one in given["ranges"])

    def _header_regexp(self, given: dict[str, dict[str, str]]) -> bool:
        return all(re.search(one["pattern"], self.headers.get(name, "")) for name, one in given.items())

    def _file(self, given: dict[str, Any]) -> bool:
        return self.vars["site"] in self.flags


class Edge:
    """A configuration that can be asked."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = json.loads(json.dumps(config))
        self.servers = self.config["apps"]["http"]["servers"]

    def ask(self, path: str, *, server: str = "https", **request: Any) -> Request:
        asked = Request(path=path, **request)
        self._walk(self.servers[server]["routes"], asked)
        return asked

    def _walk(self, routes: list[dict[str, Any]], request: Request) -> None:
        for route in routes:
            group = route.get("group")
            wanted = "match" not in route or any(request.matches(one) for one in route["match"])
            if request.end is not None or group in request.groups or not wanted:
                continue
            request.groups |= {group} if group else set()
            for handler in route["handle"]:
                self._handle(handler, request)

    def _handle(self, handler: dict[str, Any], request: Request) -> None:
        if request.end is not None:
            return
        name = handler["handler"]
        if name == "subroute":
            self._walk(handler["routes"], request)
        elif name == "vars":
            request.vars.update(handler)
        elif name in {"static_response", "error", "reverse_proxy", "metrics"}:
            request.end = handler
        else:
            request.passed.append(handler)


def answer(request: Request) -> Any:
    """Status of an answer that the edge gives itself, or where the request goes."""
    assert request.end is not None
    if request.end.get("abort"):
        return "closed"
    if request.end["handler"] == "reverse_proxy":
        return request.end["upstreams"][0]["dial"]
    return request.end.get("status_code", 200)


def answer_headers(request: Request) -> dict[str, Any]:
    """Headers that are set on the answer, where the application has none in the way."""
    together: dict[str, Any] = {}
    for handler in reversed([one for one in request.passed if one["handler"] == "headers"]):
        response = handler.get("response", {})
        for name in response.get("delete", []):
            together = {key: value for key, value in together.items() if not re.fullmatch(name.replace("*", ".*"), key)}
        together.update(
            {key: value[0] for key, value in {**response.get("set", {}), **response.get("add", {})}.items()}
        )
    return together


# Sites


@pytest.mark.parametrize(
    ("host", "went"),
    [
        ("odoo.example.com", "10.0.0.5:8069"),
        ("a.shops.example.com", "10.0.0.5:8069"),
        ("a.b.shops.example.com", "closed"),
        ("2001:db8::1", "10.0.0.5:8069"),
        ("other.example.com", "10.0.0.5:8169"),
        ("nobody.example.com", "closed"),
    ],
)
def test_a_host_leads_to_its_site_or_nowhere(edge, host, went) -> None:
    assert answer(edge().ask("/", host=host)) == went


@pytest.mark.parametrize("host", ["nobody.example.com", "203.0.113.1"])
def test_plain_http_knows_no_other_host_either(edge, host) -> None:
    assert answer(edge().ask("/", server="http", host=host)) == "closed"


def test_plain_http_leads_to_https_and_counts_nothing(edge) -> None:
    asked = edge().ask("/web/login", server="http", method="POST")
    assert asked.end["status_code"] == 301
    assert asked.end["headers"]["Location"] == ["https://{slipway.host}{http.request.uri}"]
    assert not handlers(asked.passed, "rate_limit")


def test_every_site_has_its_own_certificate(edge) -> None:
    tls = edge().config["apps"]["tls"]["certificates"]
    assert tls == {
        "load_files": [
            {
                "certificate": "/etc/ssl/slipway-edge/main.crt",
                "key": "/etc/ssl/slipway-edge/main.key",
                "tags": ["main"],
            },
            {"certificate": "/etc/ssl/other.crt", "key": "/etc/ssl/other.key", "tags": ["other"]},
        ]
    }


def test_the_certificate_follows_the_name_and_addresses_have_one_too(edge) -> None:
    policies = edge().servers["https"]["tls_connection_policies"]
    assert [(one["match"], one["certificate_selection"]["any_tag"]) for one in policies] == [
        ({"sni": ["odoo.example.com"]}, ["main"]),
        ({"sni": ["other.example.com"]}, ["other"]),
        ({"sni": ["*.shops.example.com"]}, ["main"]),
        ({"sni_regexp": {"pattern": "^$"}}, ["main"]),
    ]
    assert {one["protocol_min"] for one in policies} == {"tls1.2"}


def test_without_an_address_a_client_that_names_nothing_is_refused(edge) -> None:
    policies = edge(sites=[OTHER]).servers["https"]["tls_connection_policies"]
    assert [one["match"] for one in policies] == [{"sni": ["other.example.com"]}]


def test_an_exact_name_counts_before_another_sites_wildcard(edge) -> None:
    wild = {**SITE, "domains": ["*.example.com"]}
    config = edge(sites=[wild, OTHER])
    assert config.ask("/", host="other.example.com").vars["site"] == "other"
    assert config.ask("/", host="any.example.com").vars["site"] == "main"
    policies = config.servers["https"]["tls_connection_policies"]
    assert [one["match"] for one in policies] == [{"sni": ["other.example.com"]}, {"sni": ["*.example.com"]}]


def test_without_sites_every_handshake_is_refused(edge) -> None:
    config = edge(sites=[])
    assert [one["drop"] for one in config.servers["https"]["tls_connection_policies"]] == [True]
    assert answer(config.ask("/")) == "closed"


ACME = {"directory": "https://acme.example.com/dir", "email": "ops@example.com", "terms_agreed": True}


def test_certificates_of_acme_are_caddys_own_business(policy_of) -> None:
    site = {**OTHER, "tls": {"acme": True}}
    policy = policy_of(sites=[SITE, site], acme={**ACME, "renew_interval": "5s"})
    tls = render(policy, revision="r1", acme_ca="/etc/ssl/acme.crt")["apps"]["tls"]
    assert tls["certificates"]["automate"] == ["other.example.com"]
    assert tls["automation"] == {
        "policies": [
            {
                "subjects": ["other.example.com"],
                "issuers": [
                    {
                        "module": "acme",
                        "ca": "https://acme.example.com/dir",
                        "email": "ops@example.com",
                        "trusted_roots_pem_files": ["/etc/ssl/acme.crt"],
                        "challenges": {"tls-alpn": {"disabled": True}},
                    }
                ],
            }
        ],
        "renew_interval": "5s",
    }


def test_caddy_orders_no_certificate_that_nobody_asked_for(edge) -> None:
    config = edge()
    assert "automation" not in config.config["apps"]["tls"]
    assert {server["automatic_https"]["disable"] for server in config.servers.values()} == {True}


# What is closed


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/web/database/manager", 403),
        ("/en/web/database", 403),
        ("/xmlrpc/2/db", 403),
        ("/jsonrpc", 403),
        ("/shut/away", 403),
        ("/.slipway/anything", 404),
        ("/.slipway/csp-report/more", 404),
        ("/web/databases", "10.0.0.5:8069"),
        ("/a\0b", 400),
        ("/../etc/passwd", 400),
        ("/./../etc/passwd", 400),
        ("/..", 400),
        ("/..a/b", "10.0.0.5:8069"),
        ("/a/../b", "10.0.0.5:8069"),
    ],
)
def test_closed_doors(edge, path, status) -> None:
    assert answer(edge(blocked_paths=["/shut"]).ask(path)) == status


def test_files_of_the_filestore_are_only_sent_when_odoo_says_so(edge) -> None:
    config = edge()
    assert answer(config.ask("/web/filestore/db/ab/abc", host="other.example.com")) == 404
    assert answer(config.ask("/web/filestore/db/ab/abc")) == "10.0.0.5:8069"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("TRACE", "/", 405), ("CONNECT", "/", 405), ("CONNECT", "/websocket", "10.0.0.5:8072")],
)
def test_methods_that_are_none_of_odoos(edge, method, path, status) -> None:
    assert answer(edge().ask(path, method=method)) == status


@pytest.mark.parametrize(
    ("client", "path", "allow", "deny", "refused"),
    [
        ("10.1.2.3", "/odoo/action-1", ["10.0.0.0/8"], [], False),
        ("203.0.113.9", "/odoo/action-1", ["10.0.0.0/8"], [], True),
        ("203.0.113.9", "/shop", ["10.0.0.0/8"], [], False),
        ("10.6.6.1", "/odoo", ["10.0.0.0/8"], ["10.6.6.0/24"], True),
        ("203.0.113.9", "/odoo", [], ["10.6.6.0/24"], False),
        ("10.6.6.1", "/web", [], ["10.6.6.0/24"], True),
        ("2001:db8::9", "/odoo", ["2001:db8::/32"], [], False),
        ("203.0.113.9", "/odoo", [], [], False),
    ],
)
def test_back_office(edge, client, path, allow, deny, refused) -> None:
    asked = edge(back_office_allow=allow, back_office_deny=deny).ask(path, client=client)
    assert (answer(asked) == 403) is refused


@pytest.mark.parametrize(
    ("path", "client", "status"),
    [
        ("/", "203.0.113.9", 503),
        ("/web/database/manager", "203.0.113.9", 403),
        ("/", "10.1.2.3", "10.0.0.5:8069"),
        ("/health", "203.0.113.9", "10.0.0.5:8069"),
        ("/healthy", "203.0.113.9", 503),
        ("/.slipway/csp-report", "203.0.113.9", 204),
        ("/.well-known/acme-challenge/token", "203.0.113.9", 503),
    ],
)
def test_maintenance(edge, path, client, status) -> None:
    config = edge(maintenance_allow=["10.0.0.0/8"])
    assert answer(config.ask(path, client=client, method="POST" if "csp" in path else "GET", flags=("main",))) == status


def test_the_page_is_what_was_given_though_it_has_braces(edge) -> None:
    page = (
        edge(maintenance_page="<style>p{color:red}</style>", maintenance_retry_after=60).ask("/", flags=("main",)).end
    )
    assert page["body"] == r"<style>p\{color:red\}</style>"
    assert page["headers"] == {
        "Content-Type": ["text/html; charset=utf-8"],
        "Retry-After": ["60"],
        "Cache-Control": ["no-store"],
    }


# Rate limits


def zone(asked: Request) -> dict[str, Any] | None:
    """The zone that counts a request."""
    (handler,) = handlers(asked.passed, "rate_limit")
    counted = [one for one in handler["rate_limits"].values() if any(asked.matches(each) for each in one["match"])]
    assert len(counted) <= 1
    return counted[0] if counted else None


@pytest.mark.parametrize(
    ("method", "path", "limit"),
    [
        ("POST", "/web/login", "login"),
        ("POST", "/en/web/login", "login"),
        ("GET", "/web/login", "web"),
        ("GET", "/health", "health"),
        ("GET", "/api/partners", "api_read"),
        ("POST", "/api/partners", "api_write"),
        ("POST", "/json/2/res.partner/search_read", "api_call_read"),
        ("POST", "/json/2/res.partner/write", "api_write"),
        ("GET", "/web/static/src/x.js", "static"),
        ("POST", "/.slipway/csp-report", "reports"),
    ],
)
def test_the_first_limit_that_matches_counts(edge, method, path, limit) -> None:
    asked = edge().ask(path, method=method)
    assert asked.vars["limit"] == limit
    assert (zone(asked) is None) is (limit == "static")


@pytest.mark.parametrize(
    ("rate", "burst", "events", "window"),
    [
        ("20r/m", 30, 31, "93000000us"),
        ("20r/s", 40, 41, "2050000us"),
        ("10r/s", None, 1, "100000us"),
        ("7r/s", 2, 3, "428571us"),
        ("1000r/m", 200, 201, "12060000us"),
    ],
)
def test_a_window_lets_the_burst_and_one_more_pass(edge, rate, burst, events, window) -> None:
    counted = zone(edge(rate_limits=[{"name": "all", "rate": rate, "burst": burst}]).ask("/"))
    assert (counted["max_events"], counted["window"]) == (events, window)


@pytest.mark.parametrize(
    ("key", "placeholder"),
    [
        ("address", "{http.vars.client_ip}"),
        ("authorization", "{slipway.authorization}"),
        ("site", "{http.vars.site}"),
    ],
)
def test_what_a_limit_counts(edge, key, placeholder) -> None:
    asked = edge(rate_limits=[{"name": "all", "rate": "1r/s", "key": key}]).ask("/")
    assert zone(asked)["key"] == placeholder
    worked_out = [destination for one in handlers(asked.passed, "map") for destination in one["destinations"]]
    assert (placeholder in worked_out) is (key == "authorization")


def test_who_has_no_authorization_is_counted_by_address(edge) -> None:
    asked = edge(rate_limits=[{"name": "all", "rate": "1r/s", "key": "authorization"}]).ask("/")
    (who,) = [one for one in handlers(asked.passed, "map") if one["destinations"] == ["{slipway.authorization}"]]
    assert who["mappings"] == [{"input": "", "outputs": ["{http.vars.client_ip}"]}]
    assert who["defaults"] == ["key " + who["source"]]


def test_exempt_clients_are_not_counted(edge) -> None:
    config = edge(rate_limit_exempt=["10.0.0.0/8"])
    assert zone(config.ask("/", client="10.1.2.3")) is None
    assert zone(config.ask("/")) is not None


def test_without_rates_the_module_is_not_needed(edge) -> None:
    assert not handlers(edge(rate_limits=[{"name": "all"}]).config, "rate_limit")


def test_plain_health_counts_in_the_same_zone(edge) -> None:
    config = edge()
    assert zone(config.ask("/health", server="http")) == zone(config.ask("/health"))


# Headers


def test_every_answer_has_the_security_headers_even_errors(edge) -> None:
    config = edge(hsts_max_age=600)
    for path in ("/", "/web/database", "/.slipway/x", "/health"):
        given = answer_headers(config.ask(path))
        assert given["X-Frame-Options"] == "SAMEORIGIN"
        assert given["Strict-Transport-Security"] == "max-age=600"
        assert given["Content-Security-Policy-Report-Only"].endswith("; report-uri /.slipway/csp-report")


def test_odoos_own_security_headers_win(edge) -> None:
    asked = edge().ask("/")
    (frame,) = [one for one in asked.passed if "X-Frame-Options" in one.get("response", {}).get("set", {})]
    assert frame["response"]["require"] == {"headers": {"X-Frame-Options": None}}


def test_a_header_without_a_value_is_left_to_odoo(edge) -> None:
    given = answer_headers(edge(csp="", hsts_max_age=0).ask("/"))
    assert not {"Content-Security-Policy", "Content-Security-Policy-Report-Only", "Strict-Transport-Security"} & set(
        given
    )


@pytest.mark.parametrize(
    ("cookie", "sent"),
    [
        ("session_id=a; Path=/", "session_id=a; Path=/; Secure; SameSite=Lax"),
        ("session_id=a; SameSite=None; Secure", "session_id=a; Secure; SameSite=Lax"),
        (
            "session_id=a; secure; Path=/; samesite=strict; HttpOnly",
            "session_id=a; Path=/; HttpOnly; Secure; SameSite=Lax",
        ),
        ("lang=en; Path=/", "lang=en; Path=/; Secure"),
        ("lang=en; SameSite=None; Secure", "lang=en; SameSite=None; Secure"),
        ("secure=1; Path=/", "secure=1; Path=/; Secure"),
        ("my_session_id=1", "my_session_id=1; Secure"),
    ],
)
def test_cookies(edge, cookie, sent) -> None:
    replacements = [
        one
        for handler in edge().ask("/").passed
        for one in handler.get("response", {}).get("replace", {}).get("Set-Cookie", [])
    ]
    for one in replacements:
        cookie = re.sub(one["search_regexp"], one["replace"].replace("$1", r"\1"), cookie, count=1)
    assert cookie == sent


def test_browser_cache_is_that_of_the_first_entry(edge) -> None:
    entries = [{"paths": ["/a/b"], "seconds": 1, "immutable": True}, {"paths": ["/a"], "seconds": 2}]
    config = edge(browser_cache=entries)
    assert answer_headers(config.ask("/a/b/c"))["Cache-Control"] == "public, max-age=1, immutable"
    assert answer_headers(config.ask("/a/c"))["Cache-Control"] == "public, max-age=2"
    assert "Cache-Control" not in answer_headers(config.ask("/b"))
    (handler,) = [one for one in config.ask("/a").passed if "Cache-Control" in one.get("response", {}).get("set", {})]
    assert handler["response"]["require"] == {"status_code": [200, 206, 304], "headers": {"Cache-Control": None}}


@pytest.mark.parametrize(
    ("wanted", "got"), [(["gzip"], ["gzip"]), (["gzip", "zstd"], ["zstd", "gzip"]), (["brotli"], None), ([], None)]
)
def test_compression(edge, wanted, got) -> None:
    found = handlers(edge(compression=wanted).ask("/").passed, "encode")
    assert [one["prefer"] for one in found] == ([] if got is None else [got])


# CORS

APP = "https://app.example.com"
CORS = [
    {"origins": [APP], "paths": ["/api/v2/"], "credentials": True, "expose_headers": ["x-version"]},
    {"origins": ["*"], "paths": ["/api/"], "methods": ["GET"], "headers": ["X-Key"], "max_age": 5},
]
PREFLIGHT = {"Access-Control-Request-Method": "POST"}


@pytest.mark.parametrize(
    ("path", "origin", "status"),
    [
        ("/api/v2/x", APP, 204),
        ("/api/v2/x", f"{APP}.evil", 403),
        ("/api/v2/x", "https://appxexample.com", 403),
        ("/api/x", "https://anybody.example", 204),
        ("/other", "https://anybody.example", "10.0.0.5:8069"),
    ],
)
def test_preflights(edge, path, origin, status) -> None:
    asked = edge(cors=CORS).ask(path, method="OPTIONS", headers={"Origin": origin, **PREFLIGHT})
    assert answer(asked) == status
    allowed = {name for name in answer_headers(asked) if name.startswith("Access-Control")}
    assert bool(allowed) is (status == 204)
    assert ("Vary" in answer_headers(asked)) is (status in {204, 403})


@pytest.mark.parametrize(
    ("path", "method", "origin", "expected"),
    [
        (
            "/api/v2/x",
            "GET",
            APP,
            {
                "Allow-Origin": "{http.request.header.Origin}",
                "Allow-Credentials": "true",
                "Expose-Headers": "x-version",
            },
        ),
        ("/api/v2/x", "GET", "https://evil.example", {}),
        ("/api/v2/x", "GET", "", {}),
        ("/api/x", "POST", "https://anybody.example", {"Allow-Origin": "*"}),
        (
            "/api/x",
            "OPTIONS",
            "https://anybody.example",
            {"Allow-Origin": "*", "Allow-Methods": "GET", "Allow-Headers": "X-Key", "Max-Age": "5"},
        ),
    ],
)
def test_cors_headers(edge, path, method, origin, expected) -> None:
    headers = {"Origin": origin, **(PREFLIGHT if method == "OPTIONS" else {})}
    given = answer_headers(edge(cors=CORS).ask(path, method=method, headers=headers))
    assert {name: value for name, value in given.items() if name.startswith("Access-Control")} == {
        f"Access-Control-{name}": value for name, value in expected.items()
    }


def test_odoos_own_cors_headers_pass_elsewhere(edge) -> None:
    deleted = [
        name for one in edge(cors=CORS).ask("/shop").passed for name in one.get("response", {}).get("delete", [])
    ]
    assert "Access-Control-*" not in deleted


# The application


@pytest.mark.parametrize(
    ("path", "upgrade", "kept"),
    [
        ("/websocket", "websocket", True),
        ("/websocket", "h2c", False),
        ("/web", "websocket", False),
        ("/web", "", False),
    ],
)
def test_only_websockets_are_upgraded(edge, path, upgrade, kept) -> None:
    asked = edge().ask(path, headers={"Upgrade": upgrade} if upgrade else {})
    deleted = [name for one in asked.passed for name in one.get("request", {}).get("delete", [])]
    assert ("Upgrade" not in deleted) is kept


def test_websockets_outlive_a_reload_and_are_not_buffered(edge) -> None:
    proxy = edge().ask("/websocket").end
    assert (proxy["upstreams"], proxy["stream_close_delay"]) == ([{"dial": "10.0.0.5:8072"}], "900s")
    assert "response_buffers" not in proxy


def test_odoo_learns_the_client_from_nobody_else(edge) -> None:
    config = edge(trusted_proxies=["10.0.0.1"])
    sent = config.ask("/").end["headers"]["request"]
    assert (sent["set"]["X-Forwarded-For"], sent["set"]["X-Real-IP"]) == (["{http.vars.client_ip}"],) * 2
    assert "Proxy" in sent["delete"]
    for name in ("https", "http"):
        assert config.servers[name]["trusted_proxies"] == {"source": "static", "ranges": ["10.0.0.1"]}
        assert config.servers[name]["trusted_proxies_strict"] == 1


def test_one_host_is_never_given_up_and_of_several_the_next_takes_over(edge) -> None:
    config = edge(upstream_fail_timeout=7)
    assert not {"health_checks", "load_balancing"} & set(config.ask("/").end)
    proxy = config.ask("/", host="other.example.com").end
    assert proxy["health_checks"] == {"passive": {"fail_duration": "7s", "max_fails": 1}}
    assert proxy["load_balancing"] == {"selection_policy": {"policy": "client_ip_hash"}, "retries": 1}


def test_times_and_sizes_are_those_of_the_site(edge) -> None:
    asked = edge(connect_timeout=9).ask("/", host="other.example.com")
    assert asked.end["transport"]["dial_timeout"] == "9s"
    assert asked.end["transport"]["response_header_timeout"] == asked.end["transport"]["read_timeout"] == "900s"
    assert [one["max_size"] for one in handlers(asked.passed, "request_body")] == [1024]


def test_times_for_clients(edge) -> None:
    config = edge(header_timeout=1, body_timeout=2, send_timeout=3, keepalive_timeout=4)
    for name in ("https", "http"):
        server = config.servers[name]
        times = [server[f"{key}_timeout"] for key in ("read_header", "read_idle", "write_idle", "idle")]
        assert times == ["1s", "2s", "3s", "4s"]
        # A limit for the whole of a request or answer would cut large ones on slow lines.
        assert not {"read_timeout", "write_timeout"} & set(server)
    assert config.config["apps"]["http"]["grace_period"] == "900s"


def test_files_are_sent_from_where_they_are(edge) -> None:
    (handled,) = edge().ask("/web/content/1", host="other.example.com").end["handle_response"]
    assert handled["match"] == {"headers": {"X-Accel-Redirect": ["/web/filestore/*"]}}
    (server,) = handlers(handled, "file_server")
    assert server["root"] == "/srv/filestore"
    assert "handle_response" not in edge().ask("/web/content/1").end


@pytest.mark.parametrize("server", ["https", "http"])
@pytest.mark.parametrize(("method", "status"), [("GET", "10.0.0.5:8069"), ("HEAD", "10.0.0.5:8069"), ("POST", 405)])
def test_health_is_asked_for_and_not_logged(edge, server, method, status) -> None:
    asked = edge().ask("/health", server=server, method=method)
    assert answer(asked) == status
    assert asked.vars["log_skip"] is True


@pytest.mark.parametrize(
    ("health", "uri"), [(None, "/web/health?db_server_status=1"), ("/ping", "/ping?"), ("/ping?a=1", "/ping?a=1")]
)
def test_health_keeps_nothing_of_the_clients_query(edge, health, uri) -> None:
    asked = edge(sites=[{**SITE, "health": health}]).ask("/health")
    assert asked.end["rewrite"] == {"uri": uri}
    well, unwell = asked.end["handle_response"]
    assert well["match"] == {"status_code": [2]}
    assert (unwell["routes"][0]["handle"][0]["status_code"], "match" in unwell) == (503, False)


@pytest.mark.parametrize(("method", "status"), [("POST", 204), ("GET", 403)])
def test_reports_of_browsers_go_to_their_own_log(edge, method, status) -> None:
    config = edge()
    asked = config.ask("/.slipway/csp-report", method=method)
    assert answer(asked) == status
    assert (asked.vars["access_logger_names"] == ["csp.main"]) is (status == 204)
    assert config.config["logging"]["logs"]["csp.main"]["writer"]["filename"] == "/var/log/caddy/main.csp.log"
    assert [one["max_size"] for one in handlers(asked.passed, "request_body")] == ([16384] if status == 204 else [])


@pytest.mark.parametrize(
    ("csp", "report_only", "taken"), [("", True, False), ("img-src *", True, True), ("img-src *", False, True)]
)
def test_reports_are_only_taken_where_there_is_something_to_report(edge, csp, report_only, taken) -> None:
    config = edge(csp=csp, csp_report_only=report_only)
    assert answer(config.ask("/.slipway/csp-report", method="POST")) == (204 if taken else 404)
    assert ("csp.main" in config.config["logging"]["logs"]) is taken


# Logs and the rest


def test_access_logs_are_the_sites_own_and_nowhere_else(edge) -> None:
    config = edge()
    logs = config.config["logging"]["logs"]
    (name,) = config.ask("/").vars["access_logger_names"]
    assert logs[name]["include"] == ["http.log.access.site.main"]
    assert logs[name]["writer"]["filename"] == "/var/log/caddy/main.access.log"
    assert {log["writer"]["mode"] for key, log in logs.items() if key != "default"} == {"0640"}
    assert "http.log.access" in logs["default"]["exclude"]


def test_an_access_log_has_these_fields(edge) -> None:
    asked = edge().ask("/")
    added = {one["key"] for one in handlers(asked.passed, "log_append")}
    # ts, status, size and duration are Caddy's own.
    assert added == {
        "client_ip", "host", "limit", "method", "proto", "referer", "upstream", "upstream_duration", "uri",
        "user_agent",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("uri", "logged"),
    [
        ("/web/reset_password?token=abc", "/web/reset_password?-"),
        ("/x?a=1&access_token=abc&b=2", "/x?-"),
        ("/x?signup_token=&b", "/x?-"),
        ("/x?my_token=1", "/x?my_token=1"),
        ("/token=1?a=b", "/token=1?a=b"),
        ("/x", "/x"),
    ],
)
def test_no_log_keeps_a_secret(edge, uri, logged) -> None:
    fields = edge().config["logging"]["logs"]["site.main"]["encoder"]["fields"]
    for name in ("uri", "referer"):
        given = fields[name]
        assert re.sub(given["regexp"], given["value"].replace("$1", r"\1"), uri) == logged


def test_errors_say_nothing_of_what_went_wrong_inside(edge) -> None:
    config = edge()
    for routes in [config.servers["https"]["errors"]["routes"], config.servers["http"]["errors"]["routes"]]:
        bodies = [one["body"] for one in handlers(routes, "static_response")]
        assert bodies == ["502 Bad Gateway\n", "{http.error.status_code} {http.error.status_text}\n"]


def test_status_is_for_the_host_alone(edge) -> None:
    config = edge(status_port=8280)
    assert config.servers["status"]["listen"] == ["127.0.0.1:8280"]
    assert config.ask("/revision", server="status").end["body"] == "r1\n"
    assert config.ask("/metrics", server="status").end == {"handler": "metrics"}
    assert answer(config.ask("/", server="status")) == 404
    assert "logs" not in config.servers["status"]


@pytest.mark.parametrize(("wanted", "protocols"), [(False, ["h1", "h2"]), (True, ["h1", "h2", "h3"])])
def test_http3_is_only_offered_if_wanted(edge, wanted, protocols) -> None:
    assert edge(http3=wanted).servers["https"]["protocols"] == protocols
