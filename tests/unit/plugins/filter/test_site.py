from __future__ import annotations

import pathlib
import re
from typing import Any

import pytest
import yaml
from ansible_collections.slipway.odoo.plugins.filter.site import FilterModule

FILTERS = FilterModule().filters()
ROOT = pathlib.Path(__file__).resolve().parents[4]
INVENTORY_FILES = ("site.yml", "backup.yml", "vault.yml")


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


@pytest.mark.parametrize("name", ["prod", "staging"])
def test_the_examples_back_up_every_host_that_has_something_to_lose(name: str) -> None:
    instances, groups, hostvars = example(name)
    variables = {file: (ROOT / "inventories" / name / "group_vars/all" / file).read_text() for file in INVENTORY_FILES}
    backup = yaml.safe_load(variables["backup.yml"])["slipway_backup"]
    wired = {host: FILTERS["site_host"](instances, groups, hostvars, host) for host in hostvars}
    backed_up = {host for host, found in wired.items() if "backup" in found}
    # A host that drills restores the backups of others too, unless there are none.
    assert set(backup["keys"]) == backed_up | {"admin"} | ({"drill"} if len(backed_up) > 1 else set())
    # What is secret stands in the vault, and the vault holds nothing else.
    assert set(re.findall(r"\bvault_\w+", variables["site.yml"] + variables["backup.yml"])) == set(
        yaml.safe_load(variables["vault.yml"])
    )
    secrets = [backup["database_passphrase"], backup["files_passphrase"]]
    secrets += [value for key in backup["keys"].values() for value in key.values()]
    assert all(re.fullmatch(r"\{\{ vault_backup_\w+ \}\}", secret) for secret in secrets)
    assert len(set(secrets)) == len(secrets)


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
