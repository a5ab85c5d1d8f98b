"""Who is who in the lab of the edge, as its inventory says it."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[3]
INVENTORY = pathlib.Path(os.environ["SLIPWAY_INVENTORY"])
POLICY: dict[str, Any] = yaml.safe_load((INVENTORY / "group_vars/all/site.yml").read_text())
LAB: dict[str, Any] = yaml.safe_load((INVENTORY / "hosts.yml").read_text())["all"]["children"]["lab"]
CA = ROOT / ".lab" / LAB["vars"]["lab_name"] / "ca" / "ca.crt"
SCREENSHOTS = ROOT / ".lab" / LAB["vars"]["lab_name"] / "screenshots"

BOX = LAB["hosts"]["box1"]["ansible_host"]
CLIENT = LAB["hosts"]["client1"]["ansible_host"]

# This machine on the lab's bridge: exempt from rate limits, so that tests which are not about them need not count.
HOME = "10.212.25.1"
PROXY = POLICY["edge_trusted_proxies"][0]
DENIED = POLICY["edge_back_office_deny"][0]
MAINTAINER = POLICY["edge_maintenance_allow"][0]
# In no list of the policy.
OUTSIDER = "10.212.25.200"
_TAKEN = {PROXY, DENIED, MAINTAINER, OUTSIDER}
NOBODIES = [address for address in LAB["vars"]["lab_client_addresses"] if address not in _TAKEN]

ODOO, PROBE, PAIR, ACME = "odoo.demo.test", "probe.demo.test", "pair.demo.test", "acme.demo.test"
PORTS = (18001, 18002)
SITES = {site["name"]: site for site in POLICY["slipway_edge_sites"]}
LIMITS = {limit["name"]: limit for limit in POLICY["edge_rate_limits"]}
SERVER = os.environ.get("SLIPWAY_EDGE_SERVER", "nginx")
