"""An edge policy without a fault, as the role hands it to ``edge_policy.plan``."""

from __future__ import annotations

from typing import Any

SITE = {
    "name": "main",
    "domains": ["odoo.example.com", "www.odoo.example.com"],
    "upstreams": ["10.0.0.5:8069", "[fd00::5]:8069"],
    "websocket_upstreams": ["app1:8072"],
}
NETWORKS = {
    "trusted_proxies": ["10.0.0.0/8", "fd00::1"],
    "rate_limit_exempt": [],
    "back_office_allow": [],
    "back_office_deny": [],
    "maintenance_allow": [],
}
GIVEN: dict[str, Any] = {
    "sites": [SITE],
    "rate_limits": [],
    "security_headers": {"X-Frame-Options": "SAMEORIGIN"},
    "csp": "",
    "csp_report_only": True,
    "hsts_max_age": 300,
    "hsts_subdomains": False,
    "cors": [],
    "back_office_paths": ["/odoo(?:/|$)"],
    "browser_cache": [],
    "store_size": "",
    "store_seconds": 600,
    "maintenance_page": "<p>soon",
    "maintenance_retry_after": 300,
    "maintenance_directory": "/var/lib/edge/maintenance",
    "blocked_paths": [],
    "jsonrpc": False,
    "networks": NETWORKS,
    "max_body_size": "128m",
    "read_timeout": 720,
    "connect_timeout": 60,
    "header_timeout": 20,
    "body_timeout": 60,
    "send_timeout": 60,
    "keepalive_timeout": 65,
    "upstream_fail_timeout": 10,
    "compression": ["gzip"],
    "http3": False,
    "status_port": 8180,
    "acme": {},
    "acme_directory": "/etc/letsencrypt/live",
    "tls_days": 365,
    "tls_renew_days": 30,
    "certificate_directory": "/etc/ssl/edge",
    "has_ca": True,
}
ACME = {"directory": "https://ca.test/dir", "email": "a@b.test", "terms_agreed": True}
