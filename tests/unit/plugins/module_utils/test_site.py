from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils import site as sites

THREE = {"odoo_db": ["db1"], "odoo_app": ["app1"], "odoo_edge": ["edge1"]}
THREE_ADDRESSES = {"db1": "10.0.0.11", "app1": "10.0.0.12", "edge1": "10.0.0.13"}
ONE = {"odoo_db": ["box"], "odoo_app": ["box"], "odoo_edge": ["box"]}
ONE_ADDRESS = {"box": "10.0.0.20"}


def instance(**keys: Any) -> dict[str, Any]:
    return {
        "name": "main",
        "domains": ["odoo.example.com"],
        "database_password": "d",
        "admin_password": "a",
        "master_password": "m",
        **keys,
    }


def three(*instances: dict[str, Any]) -> sites.Site:
    return sites.site(instances or (instance(),), groups=THREE, addresses=THREE_ADDRESSES)


def one(*instances: dict[str, Any]) -> sites.Site:
    return sites.site(instances or (instance(),), groups=ONE, addresses=ONE_ADDRESS)


def test_database_host_of_three_admits_the_application_host_over_tls() -> None:
    wired = sites.postgresql(three(), "db1")
    assert wired["databases"] == [{"name": "main", "owner": "odoo-main", "extensions": ["pg_trgm", "unaccent"]}]
    assert wired["clients"] == [{"database": "main", "role": "odoo-main", "addresses": ["10.0.0.12/32"]}]
    assert wired["listen_addresses"] == ["localhost", "10.0.0.11"]
    assert wired["tls"] is True
    assert wired["tls_names"] == ["db1", "10.0.0.11"]
    assert wired["memory_share"] == 1.0


def test_single_box_keeps_everything_local() -> None:
    wired = sites.postgresql(one(), "box")
    assert wired["clients"] == [{"database": "main", "role": "odoo-main", "addresses": []}]
    assert wired["listen_addresses"] == ["localhost"]
    assert wired["tls"] is False
    assert sites.odoo(one(), "box")["http_interface"] == "127.0.0.1"
    assert sites.odoo(one(), "box")["x_sendfile"] is True
    assert sites.odoo_overrides(one(), "box", certificates={}) == {}
    assert wired["memory_share"] + sites.odoo(one(), "box")["memory_share"] <= 0.9


def test_application_host_of_three_reaches_its_database_and_is_reached_by_the_edge() -> None:
    wired = sites.odoo(three(), "app1")
    assert wired["http_interface"] == "10.0.0.12"
    assert wired["x_sendfile"] is False
    assert wired["database_servers"] == ["db1"]
    overrides = sites.odoo_overrides(three(), "app1", certificates={"db1": "PEM"})
    assert overrides == {"main": {"database_host": "10.0.0.11", "database_ca": "PEM"}}


def test_a_missing_certificate_is_left_out() -> None:
    overrides = sites.odoo_overrides(three(), "app1", certificates={"db1": ""})
    assert overrides == {"main": {"database_host": "10.0.0.11"}}


def test_edge_of_three_sends_to_the_application_host() -> None:
    (site,) = sites.edge_sites(three(instance(edge={"max_body_size": "1g"})), "edge1")
    assert site == {
        "name": "main",
        "domains": ["odoo.example.com"],
        "upstreams": ["10.0.0.12:8069"],
        "websocket_upstreams": ["10.0.0.12:8072"],
        "max_body_size": "1g",
    }


def test_edge_of_a_single_box_serves_files() -> None:
    (site,) = sites.edge_sites(one(), "box")
    assert site["upstreams"] == ["127.0.0.1:8069"]
    assert site["internal_files"] == {"path": "/var/lib/odoo/main/filestore", "group": "odoo-main"}


def test_an_edge_elsewhere_keeps_files_with_python() -> None:
    groups = {**ONE, "odoo_edge": ["box", "edge2"]}
    both = sites.site([instance()], groups=groups, addresses={**ONE_ADDRESS, "edge2": "10.0.0.21"})
    assert sites.odoo(both, "box")["http_interface"] == "10.0.0.20"
    assert sites.odoo(both, "box")["x_sendfile"] is False
    assert "internal_files" not in sites.edge_sites(both, "box")[0]


def test_ipv6_addresses_are_written_as_each_file_wants_them() -> None:
    site = sites.site([instance()], groups=THREE, addresses={**THREE_ADDRESSES, "app1": "2001:db8::5"})
    assert sites.postgresql(site, "db1")["clients"][0]["addresses"] == ["2001:db8::5/128"]
    assert sites.edge_sites(site, "edge1")[0]["upstreams"] == ["[2001:db8::5]:8069"]


def test_instances_go_to_the_hosts_they_name() -> None:
    groups = {**THREE, "odoo_app": ["app1", "app2"]}
    addresses = {**THREE_ADDRESSES, "app2": "10.0.0.14"}
    instances = [
        instance(hosts=["app1"]),
        instance(name="shop", domains=["shop.example.com"], hosts=["app2"]),
    ]
    assert sites.problems(instances, groups=groups, addresses=addresses) == []
    site = sites.site(instances, groups=groups, addresses=addresses)
    assert sites.odoo(site, "app2")["instance_names"] == ["shop"]
    assert sites.odoo(site, "app2")["connection_share"] == 0.5
    assert [p["port"] for p in sites.ports(site, "app2")] == [8069, 8072]


def test_what_is_done_once_is_done_on_the_first_host_of_an_instance() -> None:
    groups = {**THREE, "odoo_app": ["app1", "app2"]}
    addresses = {**THREE_ADDRESSES, "app2": "10.0.0.14"}
    site = sites.site([instance(shared_data=True)], groups=groups, addresses=addresses)
    assert [item["name"] for item in sites.odoo(site, "app1")["led_instances"]] == ["main"]
    assert sites.odoo(site, "app2")["instance_names"] == ["main"]
    assert sites.odoo(site, "app2")["led_instances"] == []


def test_roles_are_listed_once_with_their_password() -> None:
    assert sites.postgresql_roles(three(), "db1") == [{"name": "odoo-main", "password": "d"}]


def test_ports_name_the_units_that_may_have_them() -> None:
    owners = {entry["port"]: entry["owners"] for entry in sites.ports(one(), "box")}
    assert owners[8069] == ["odoo@main.service"]
    assert owners[443] == ["nginx.service", "caddy.service"]
    assert set(owners) == {5432, 8069, 8072, 80, 443}


def test_logs_are_those_of_the_components_on_a_host() -> None:
    assert [entry["preset"] for entry in sites.log_files(one(), "box")] == ["postgresql", "odoo", "nginx"]
    assert [entry["preset"] for entry in sites.log_files(three(), "edge1")] == ["nginx"]
    assert sites.log_files(three(), "edge1", edge_server="caddy") == []
    (odoo,) = sites.log_files(three(), "app1")
    assert odoo["paths"] == ["/var/log/odoo/main/odoo.log"]
    assert odoo["owner"] == "odoo-main"


def test_a_good_site_has_no_problems() -> None:
    assert sites.problems([instance()], groups=THREE, addresses=THREE_ADDRESSES) == []
    assert sites.problems([instance()], groups=ONE, addresses=ONE_ADDRESS) == []


@pytest.mark.parametrize(
    ("instances", "words"),
    [
        (None, "at least one instance"),
        ([], "at least one instance"),
        (["main"], "mapping with a name"),
        ([instance(), instance(domains=["b.example.com"])], "the instance name main"),
        ([instance(), instance(name="b", http_port=8169, gevent_port=8172)], "the domain odoo.example.com"),
        ([instance(), instance(name="b", domains=["b.example.com"])], "the port 8069 of app1"),
        ([instance(), instance(name="b", database="main")], "the database main on db1"),
        ([instance(), instance(name="b", database_user="odoo-main")], "the database user odoo-main"),
        ([instance(name="Main")], "lower-case"),
        ([instance(name="x" * 27)], "at most 26"),
        ([instance(domains=[])], "at least one name"),
        ([instance(domains=["no domain"])], "no domain name"),
        ([instance(domains=["a..b"])], "no domain name"),
        ([instance(databse="x")], "did you mean database?"),
        ([instance(database="a/b")], "no database name"),
        ([instance(http_port=80)], "between 1024"),
        ([instance(gevent_port=8069)], "both 8069"),
        ([instance(users=0)], "at least 1"),
        ([instance(users=True)], "at least 1"),
        ([instance(modules=["web"])], "begin with base"),
        ([instance(hosts=["app9"])], "app9 in its hosts"),
        ([instance(database_server="db9")], "db9"),
    ],
)
def test_problems_are_named(instances: Any, words: str) -> None:
    found = sites.problems(instances, groups=THREE, addresses=THREE_ADDRESSES)
    assert any(words in problem for problem in found), found


def test_a_faulty_instance_does_not_hide_what_the_others_share() -> None:
    instances = [instance(), instance(name="b", domains=["b.example.com"]), instance(name="c", users=0)]
    found = sites.problems(instances, groups=THREE, addresses=THREE_ADDRESSES)
    assert any("users" in problem for problem in found)
    assert any("the port 8069 of app1" in problem for problem in found)


def test_empty_groups_are_named() -> None:
    found = sites.problems([instance()], groups={"odoo_app": ["app1"]}, addresses={})
    assert [line for line in found if "odoo_db" in line]
    assert [line for line in found if "odoo_edge" in line]


def test_files_stay_with_python_where_an_instance_also_runs_elsewhere() -> None:
    groups = {"odoo_db": ["box"], "odoo_app": ["box", "app2"], "odoo_edge": ["box"]}
    both = sites.site([instance(shared_data=True)], groups=groups, addresses={**ONE_ADDRESS, "app2": "10.0.0.22"})
    assert sites.odoo(both, "box")["x_sendfile"] is False
    assert "internal_files" not in sites.edge_sites(both, "box")[0]


def test_an_instances_own_connection_goes_before_the_wiring() -> None:
    own = three(instance(database_host="db.example.com", database_ca="OWN"))
    assert sites.odoo_overrides(own, "app1", certificates={"db1": "PEM"}) == {}


def test_an_instance_on_two_hosts_needs_shared_storage() -> None:
    groups = {**THREE, "odoo_app": ["app1", "app2"]}
    addresses = {**THREE_ADDRESSES, "app2": "10.0.0.14"}
    assert "shared_data" in sites.problems([instance()], groups=groups, addresses=addresses)[0]
    assert sites.problems([instance(shared_data=True)], groups=groups, addresses=addresses) == []


def test_a_name_is_no_address_for_access_rules() -> None:
    found = sites.problems([instance()], groups=THREE, addresses={**THREE_ADDRESSES, "app1": "app1.lan"})
    assert found == [
        "app1: app1.lan is a name, and PostgreSQL's access rules need its address: set slipway_address in its host_vars"
    ]
    assert sites.problems([instance()], groups=ONE, addresses={"box": "box.lan"}) == []


def test_verify_expects_the_indexes_that_are_not_unwanted() -> None:
    wanted = {"name": "i", "table": "res_partner", "columns": ["name"]}
    site = sites.site(
        [instance(indexes=[{**wanted, "state": "present"}, {"name": "old", "state": "absent"}])],
        groups=ONE,
        addresses=ONE_ADDRESS,
    )
    assert sites.odoo(site, "box")["led_instances"][0]["expected_indexes"] == [wanted]


@pytest.mark.parametrize(
    ("indexes", "problem"),
    [
        ([{"name": "i", "table": "res_partner", "columns": ["name"]}], None),
        ([{"name": "i", "state": "absent"}], None),
        ([{"table": "res_partner", "columns": ["name"]}], "name"),
        ([{"name": "i", "table": "res_partner", "columns": ["name"], "unique": "perhaps"}], "unique"),
        ([{"name": "i", "table": "res_partner", "columns": ["name; DROP TABLE x"]}], "semicolon"),
        ({"name": "i"}, "list of mappings"),
        ([{"name": "i", "tabel": "t", "columns": ["name"]}], "index i: unknown key tabel"),
    ],
)
def test_indexes_are_judged_before_anything_changes(indexes: object, problem: str | None) -> None:
    found = sites.problems([instance(indexes=indexes)], groups=THREE, addresses=THREE_ADDRESSES)
    assert [problem in text for text in found] == ([] if problem is None else [True])


SOURCE = {"name": "health", "url": "https://odoo.example.com/health", "header": "x-contract-version"}


@pytest.mark.parametrize(
    ("contracts", "problem"),
    [
        ([{"name": "board", "expected": "1.0.0", "sources": [SOURCE]}], None),
        ([{"name": "board", "schemas": [{"schema": "/s.json", "files": ["/f.json"]}]}], None),
        ([{"name": "board", "sources": [SOURCE]}, {"name": "board", "sources": [SOURCE]}], "used twice"),
        ([{"sources": [SOURCE]}], "needs a name"),
        ([{"name": "board"}], "neither sources nor schemas"),
        ([{"name": "board", "source": [], "sources": [SOURCE]}], "unknown key source"),
        ([{"name": "board", "expected": 1.0, "sources": [SOURCE]}], "in quotes"),
        ("board", "list of mappings"),
        ([{"name": "board", "sources": ["x"]}], "sources must be a list of mappings"),
        ([{"name": "board", "sources": [{**SOURCE, "heade": "x"}]}], "source health: unknown key heade"),
        ([{"name": "board", "sources": [{"name": "code", "file": "/x.ts"}]}], "a file needs either constant or path"),
        (
            [{"name": "board", "sources": [{"name": "code", "file": "x.ts", "constant": "V"}]}],
            "file x.ts must be an absolute path",
        ),
        ([{"name": "board", "sources": [{**SOURCE, "file": "/x.ts"}]}], "mutually exclusive"),
    ],
)
def test_contracts_are_judged_before_anything_changes(contracts: object, problem: str | None) -> None:
    found = sites.problems([instance(contracts=contracts)], groups=THREE, addresses=THREE_ADDRESSES)
    assert [problem in text for text in found] == ([] if problem is None else [True])


def test_all_faults_of_indexes_are_told_at_once() -> None:
    indexes = [
        {"name": "a", "table": "t", "columns": ["x"], "colums": ["y"]},
        {"name": "b", "table": "t", "columns": ["x; DROP"]},
        {"name": "c", "table": "t"},
    ]
    found = sites.problems([instance(indexes=indexes)], groups=THREE, addresses=THREE_ADDRESSES)
    assert [text.split(":")[1].split()[1].strip("'") for text in found] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("waves", "problem"),
    [
        ([{"name": "w", "modules": ["crm"], "state": "latest"}], None),
        ([{"name": "w", "modules": ["crm"], "state": "lates"}], "value of state must be one of: present, latest"),
        ([{"nam": "w", "name": "w", "modules": ["crm"]}], "unknown key nam"),
        ([{"name": "w"}], "missing required arguments: modules"),
        ("crm", "list of mappings"),
    ],
)
def test_waves_are_judged_before_anything_changes(waves: object, problem: str | None) -> None:
    found = sites.problems([instance(module_waves=waves)], groups=THREE, addresses=THREE_ADDRESSES)
    assert [problem in text for text in found] == ([] if problem is None else [True])
    assert len(sites.wave_problems(waves, where="odoo_module_waves")) == len(found)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"address": "10.0.0.1", "wait": 5, "bursts": [], "integrity": {"filestore": "hashes"}}, None),
        ({"integrity": {"filestore": "hash"}}, "value of filestore must be one of: files, hashes"),
        ({"integrity": {"overdue": 3}}, "unknown key integrity.overdue"),
        ({"integrity": "deep"}, "must be a mapping"),
        ({"waits": 5}, "unknown key waits"),
        ([], "must be a mapping"),
    ],
)
def test_options_of_the_verify_stage_are_judged_before_anything_changes(options: object, problem: str | None) -> None:
    found = sites.verify_problems(options)
    assert [problem in text for text in found] == ([] if problem is None else [True])


def test_accepted_findings_are_a_list() -> None:
    (found,) = sites.problems([instance(integrity_ignore="menu:x")], groups=THREE, addresses=THREE_ADDRESSES)
    assert "integrity_ignore must be a list" in found


def test_backups_of_a_single_box_are_of_all_its_parts() -> None:
    wired = sites.backup(one(), "box")
    assert wired["database"]["databases"] == [{"instance": "main", "name": "main", "owner": "odoo-main"}]
    assert [entry["filestore"] for entry in wired["files"]["instances"]] == ["/var/lib/odoo/main/filestore/main"]
    assert (wired["drill"]["database_host"], wired["drill"]["files_host"]) == ("box", "box")


def test_backups_of_three_hosts_are_of_what_each_has_and_the_drill_is_where_odoo_is() -> None:
    assert sites.backup(three(), "db1")["files"] == {}
    assert sites.backup(three(), "db1")["drill"] == {}
    wired = sites.backup(three(), "app1")
    assert wired["database"] == {}
    assert wired["drill"]["database_host"] == "db1"
    assert wired["drill"]["database"]["databases"][0]["name"] == "main"


def test_backups_hold_no_secret() -> None:
    words = repr([sites.backup(one(instance(contracts=[{"name": "api", "expected": "1.2.0"}])), "box")])
    assert "database_password" not in words
    assert "'1.2.0'" in words


def test_second_application_host_makes_no_drill() -> None:
    site = sites.site(
        (instance(),),
        groups={**THREE, "odoo_app": ["app1", "app2"]},
        addresses={**THREE_ADDRESSES, "app2": "10.0.0.14"},
    )
    assert sites.backup(site, "app2")["drill"] == {}
    assert sites.backup(site, "app2")["files"]["instances"][0]["name"] == "main"
