from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.slipway.odoo.plugins.filter.odoo_instances import FilterModule

FILTERS = FilterModule().filters()
INSTANCES = [
    {"name": "main", "domains": ["a.example.com"], "database_password": "one", "users": 30},
    {"name": "shop", "domains": ["b.example.com"], "database_password": "two", "http_port": 8169, "gevent_port": 8172},
]
HOST: dict[str, Any] = {
    "cores": 4,
    "memory_mb": 16384,
    "connections": 200,
    "addons_path": ["/usr/lib/python3/dist-packages/odoo/addons"],
    "http_interface": "127.0.0.1",
    "x_sendfile": False,
    "log_level": "info",
    "server_wide_modules": ["base", "rpc", "web"],
    "config": {},
}


def test_names_overrides_and_defaults() -> None:
    (shop,) = FILTERS["odoo_instances"](
        INSTANCES, ["shop"], {"shop": {"database_host": "10.0.0.1"}}, {"module_waves": [{"name": "w", "modules": []}]}
    )
    assert shop["database_host"] == "10.0.0.1"
    assert shop["module_waves"]
    assert "database_password" not in shop


def test_secrets_are_found_by_name() -> None:
    assert FILTERS["odoo_instance_secrets"](INSTANCES)["shop"]["database_password"] == "two"


def test_no_names_mean_all_and_an_empty_list_none() -> None:
    assert len(FILTERS["odoo_instances"](INSTANCES)) == 2
    assert FILTERS["odoo_instances"](INSTANCES, []) == []


@pytest.mark.parametrize("arguments", [(["none"],), (None, {"none": {}})])
def test_an_unknown_instance_is_refused(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(AnsibleFilterError, match="none"):
        FILTERS["odoo_instances"](INSTANCES, *arguments)


def test_what_is_no_list_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="list"):
        FILTERS["odoo_instances"]({"name": "main"})


def test_instances_share_the_host_and_odoo_knows_all_their_options() -> None:
    instances = FILTERS["odoo_instances"](INSTANCES)
    big, small = (FILTERS["odoo_instance_options"](instance, instances, HOST) for instance in instances)
    assert big["workers"] > small["workers"]
    assert FILTERS["odoo_instance_problems"](instances, HOST, "19.0") == []


def test_an_unknown_option_is_named_with_its_instance() -> None:
    instances = FILTERS["odoo_instances"]([{**INSTANCES[0], "config": {"wokers": 2}}])
    (problem,) = FILTERS["odoo_instance_problems"](instances, HOST, "19.0")
    assert "instance main" in problem
    assert "workers" in problem


def test_state_of_the_host() -> None:
    instances = FILTERS["odoo_instances"](INSTANCES, ["main"], {"main": {"database_ca": "PEM"}})
    state = FILTERS["odoo_instance_state"](instances, "127.0.0.1")
    assert state["users"] == [{"name": "odoo-main", "groups": ["odoo"]}]
    assert {"path": "/var/lib/odoo/main", "owner": "odoo-main", "mode": "0750"} in state["directories"]
    assert state["files"][0] == {"path": "/etc/odoo/main.database-ca.crt", "content": "PEM"}
