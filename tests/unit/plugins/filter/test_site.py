from __future__ import annotations

import pathlib
from typing import Any

import pytest
import yaml
from ansible_collections.slipway.odoo.plugins.filter.site import FilterModule

FILTERS = FilterModule().filters()
ROOT = pathlib.Path(__file__).resolve().parents[4]


def example(name: str) -> tuple[list[dict[str, Any]], dict[str, list[str]], dict[str, dict[str, Any]]]:
    """Instances, groups and host variables of one of the example inventories."""
    document = yaml.safe_load((ROOT / "inventories" / name / "hosts.yml").read_text())["all"]
    groups = {group: list(entry["hosts"]) for group, entry in document["children"].items()}
    hostvars = {host: variables or {} for host, variables in document["hosts"].items()}
    site = yaml.safe_load((ROOT / "inventories" / name / "group_vars/all/site.yml").read_text())
    return site["odoo_instances"], groups, hostvars


@pytest.mark.parametrize("name", ["prod", "staging"])
def test_the_examples_describe_sites_without_a_problem(name: str) -> None:
    instances, groups, hostvars = example(name)
    assert FILTERS["site_problems"](instances, groups, hostvars) == []
    for hosts in groups.values():
        for host in hosts:
            assert FILTERS["site_host"](instances, groups, hostvars, host)["ports"]


def test_an_address_of_its_own_goes_before_that_of_ansible() -> None:
    groups = {"odoo_db": ["db"], "odoo_app": ["app"], "odoo_edge": ["app"]}
    hostvars: dict[str, dict[str, Any]] = {
        "db": {"ansible_host": "203.0.113.1", "slipway_address": "10.0.0.1"},
        "app": {"ansible_host": "203.0.113.2"},
    }
    instances = [{"name": "main", "domains": ["a.example.com"], "database_password": "x"}]
    overrides = FILTERS["site_odoo_overrides"](instances, groups, hostvars, "app", {"db": "PEM"})
    assert overrides == {"main": {"database_host": "10.0.0.1", "database_ca": "PEM"}}
    roles = FILTERS["site_postgresql_roles"](instances, groups, hostvars, "db")
    assert roles == [{"name": "odoo-main", "password": "x"}]


def test_configuration_of_the_site_and_of_its_instances_is_judged() -> None:
    instances = [{"name": "main", "config": {"longpolling_port": 8072}}]
    found = FILTERS["site_config_problems"](instances, {"wokers": 1}, "19.0")
    assert any(problem.startswith("odoo_config: ") for problem in found)
    assert any(problem.startswith("config of the instance main: ") for problem in found)
