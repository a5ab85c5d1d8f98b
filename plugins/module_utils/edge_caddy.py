# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One edge policy as the JSON configuration of Caddy 2.11.5 with ``github.com/mholt/caddy-ratelimit``.

It does what the templates for nginx do, as far as Caddy can; ``docs/edge-parity.md`` tells the rest. Times for clients
are those of nginx: ``body`` and ``send`` count from one read or write to the next (``read_idle_timeout`` and
``write_idle_timeout``), so a large upload over a slow line is never cut while it goes on.

The fields are described at https://caddyserver.com/docs/json/.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils.edge_caddy_parts import exact_first
from ansible_collections.slipway.odoo.plugins.module_utils.edge_caddy_routes import (
    errors,
    plain,
    secure,
    status,
    takes_reports,
)
from ansible_collections.slipway.odoo.plugins.module_utils.edge_caddy_upstreams import longest_read

# Caddy's names of nginx's list of ciphers for TLS 1.2; those of TLS 1.3 are not chosen.
_CIPHERS = (
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
)
# Odoo keeps searches and filters in addresses, and cookies grow with the number of companies.
_MAX_HEADER_BYTES = 4 * 32 * 1024

_SECRETS = "token|access_token|signup_token|api_key|password"
"""Links to reset a password or to open a document carry their secret in the query: no access log keeps it."""

_NOT_LOGGED = ("bytes_read", "request", "resp_headers", "user_id")
_NOT_LOGGED_OF_REPORTS = (
    *_NOT_LOGGED, "duration", "error", "host", "limit", "method", "proto", "referer", "size", "status", "uri",
)  # fmt: skip


def render(
    policy: Mapping[str, Any],
    *,
    revision: str,
    log_directory: str = "/var/log/caddy",
    admin: str = "unix//run/caddy/admin.sock",
    acme_ca: str = "",
) -> dict[str, Any]:
    """Return the configuration for a policy without problems.

    :param policy: the plain policy of ``edge_policy``, planned without ``acme_directory``
    :param revision: what ``/revision`` is to tell
    :param log_directory: where the access logs go
    :param admin: network address of the administration, which only Caddy's user may reach
    :param acme_ca: path on the host of the certificates by which the ACME server is trusted; empty for the system's
    """
    return {
        "admin": {"listen": admin, "config": {"persist": False}},
        "logging": {"logs": _logs(policy, directory=log_directory)},
        "apps": {
            "http": {
                "grace_period": f"{longest_read(policy)}s",
                "metrics": {},
                "servers": _servers(policy, revision=revision),
            },
            "tls": _tls(policy, acme_ca=acme_ca),
        },
    }


def _servers(policy: Mapping[str, Any], *, revision: str) -> dict[str, Any]:
    return {
        "https": {
            "listen": [":443"],
            "protocols": ["h1", "h2", *(["h3"] if policy["http3"] else [])],
            # A request of HTTP/3 that comes before the handshake is over has no address that could be believed.
            **({"allow_0rtt": False} if policy["http3"] else {}),
            "tls_connection_policies": _connection_policies(policy),
            "routes": secure(policy),
            **_of_clients(policy),
        },
        "http": {"listen": [":80"], "protocols": ["h1"], "routes": plain(policy), **_of_clients(policy)},
        "status": {
            "listen": ["127.0.0.1:{}".format(policy["status_port"])],
            "protocols": ["h1"],
            "automatic_https": {"disable": True},
            "routes": status(revision=revision),
        },
    }


def _of_clients(policy: Mapping[str, Any]) -> dict[str, Any]:
    """What the servers that clients talk to have in common."""
    timeouts = policy["timeouts"]
    proxies = list(policy["trusted_proxies"])
    trusted = {"trusted_proxies": {"source": "static", "ranges": proxies}, "trusted_proxies_strict": 1}
    return {
        "automatic_https": {"disable": True},
        "errors": {"routes": errors()},
        "logs": {"default_logger_name": "other"},
        "max_header_bytes": _MAX_HEADER_BYTES,
        "read_header_timeout": "{}s".format(timeouts["header"]),
        **({"read_idle_timeout": "{}s".format(timeouts["body"])} if timeouts["body"] else {}),
        **({"write_idle_timeout": "{}s".format(timeouts["send"])} if timeouts["send"] else {}),
        "idle_timeout": "{}s".format(timeouts["keepalive"]),
        **(trusted if proxies else {}),
    }


def _connection_policies(policy: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One for each site. A handshake for which there is none is refused."""
    basics = {"protocol_min": "tls1.2", "protocol_max": "tls1.3", "cipher_suites": list(_CIPHERS)}
    addresses = [address for site in policy["sites"] for address in site["addresses"]]
    policies = [
        {"match": {"sni": names}, **_certificate_of(site), **basics}
        for site, names in exact_first(policy["sites"], without=addresses)
    ]
    # Clients name no address in the handshake: this certificate is the one for them.
    policies += [
        {"match": {"sni_regexp": {"pattern": "^$"}}, **_certificate_of(site), **basics}
        for site in policy["sites"]
        if site["name"] == policy["address_site"]
    ]
    return policies or [{**basics, "drop": True}]


def _certificate_of(site: Mapping[str, Any]) -> dict[str, Any]:
    """A given certificate is the site's by its tag, whatever names are in it."""
    return {} if site["tls"]["source"] == "acme" else {"certificate_selection": {"any_tag": [site["name"]]}}


def _tls(policy: Mapping[str, Any], *, acme_ca: str) -> dict[str, Any]:
    files = [
        {"certificate": site["tls"]["certificate"], "key": site["tls"]["private_key"], "tags": [site["name"]]}
        for site in policy["sites"]
        if site["tls"]["source"] != "acme"
    ]
    ordered = [name for site in policy["sites"] if site["tls"]["source"] == "acme" for name in site["domains"]]
    certificates = {**({"load_files": files} if files else {}), **({"automate": ordered} if ordered else {})}
    return {
        "certificates": certificates,
        **({"automation": _automation(policy["acme"], names=ordered, ca=acme_ca)} if ordered else {}),
    }


def _automation(acme: Mapping[str, Any], *, names: Sequence[str], ca: str) -> dict[str, Any]:
    issuer = {
        "module": "acme",
        "ca": acme["directory"],
        **({"email": acme["email"]} if acme.get("email") else {}),
        **({"trusted_roots_pem_files": [ca]} if ca else {}),
        "challenges": {"tls-alpn": {"disabled": True}},
    }
    interval = {"renew_interval": acme["renew_interval"]} if acme.get("renew_interval") else {}
    return {"policies": [{"subjects": list(names), "issuers": [issuer]}], **interval}


def _logs(policy: Mapping[str, Any], *, directory: str) -> dict[str, Any]:
    """Caddy's own log to the journal, and files for what clients do: by site, and of those who ask for none of them."""
    logs = {
        "default": {
            "writer": {"output": "stderr"},
            "level": "INFO",
            # Whoever is limited stands in the access log, and may come a thousand times in a second.
            "exclude": ["http.log.access", "http.handlers.rate_limit"],
        },
        "other": _access_log("other", path=f"{directory}/access.log", without=_NOT_LOGGED),
    }
    for site in policy["sites"]:
        name = site["name"]
        logs[f"site.{name}"] = _access_log(f"site.{name}", path=f"{directory}/{name}.access.log", without=_NOT_LOGGED)
        if takes_reports(policy):
            logs[f"csp.{name}"] = _access_log(
                f"csp.{name}", path=f"{directory}/{name}.csp.log", without=_NOT_LOGGED_OF_REPORTS
            )
    return logs


def _access_log(name: str, *, path: str, without: Sequence[str]) -> dict[str, Any]:
    masked = {"filter": "regexp", "regexp": rf"^([^?]*)\?(?:.*&)?(?:{_SECRETS})=.*$", "value": "$1?-"}
    return {
        "include": [f"http.log.access.{name}"],
        "writer": {
            "output": "file",
            "filename": path,
            "mode": "0640",
            "roll_size_mb": 50,
            "roll_keep": 14,
            "roll_keep_days": 30,
            "roll_gzip": True,
        },
        "encoder": {
            "format": "filter",
            "wrap": {
                "format": "json",
                "time_format": "rfc3339_nano",
                "message_key": "",
                "level_key": "",
                "name_key": "",
            },
            "fields": {
                "uri": masked,
                "referer": masked,
                **{field: {"filter": "delete"} for field in without},
            },
        },
    }
