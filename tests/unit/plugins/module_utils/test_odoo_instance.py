from __future__ import annotations

from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils import odoo_instance

SECRETS = {"database_password": "dbpw", "admin_password": "adminpw", "master_password": "masterpw"}
HOST = {
    "addons_path": ["/usr/lib/python3/dist-packages/odoo/addons"],
    "http_interface": "127.0.0.1",
    "x_sendfile": True,
    "log_level": "info",
    "server_wide_modules": ["base", "rpc", "web"],
    "config": {"log_level": "warn"},
}


def completed(**keys: Any) -> dict[str, Any]:
    return odoo_instance.complete({"name": "main", "domains": ["odoo.example.com"], **SECRETS, **keys})


def test_everything_follows_from_the_name() -> None:
    instance = completed()
    assert instance["database"] == "main"
    assert instance["database_user"] == "odoo-main"
    assert instance["unit"] == "odoo@main.service"
    assert instance["base_url"] == "https://odoo.example.com"


def test_an_ipv6_address_makes_a_url() -> None:
    assert completed(domains=["2001:db8::1"])["base_url"] == "https://[2001:db8::1]"


def test_a_given_key_wins_and_an_empty_one_does_not() -> None:
    assert completed(database="prod")["database"] == "prod"
    assert completed(database=None)["database"] == "main"


def test_what_is_shown_holds_no_secret() -> None:
    instance = completed(
        mail_servers=[{"name": "x", "password": "mailpw"}], config={"workers": 4, "smtp_password": "smtppw"}
    )
    shown = odoo_instance.public(instance)
    for secret in ("dbpw", "adminpw", "masterpw", "mailpw", "smtppw"):
        assert secret not in repr(shown)
        assert secret in repr(odoo_instance.secrets(instance))
    assert shown["config"] == {"workers": 4}


def test_options_never_hold_a_secret_and_overrides_win_in_order() -> None:
    instance = completed(config={"workers": 3, "db_password": "oops"})
    options = odoo_instance.options(instance, host=HOST, sizing={"workers": 5})
    assert options["workers"] == 3
    assert options["log_level"] == "warn"
    assert options["list_db"] is False
    assert options["dbfilter"] == "^main$"
    assert not set(options) & set(odoo_instance.SECRET_OPTIONS)


def test_the_local_socket_has_neither_host_nor_port() -> None:
    options = odoo_instance.options(completed(), host=HOST, sizing={})
    assert "db_host" not in options
    assert "db_port" not in options
    assert options["db_sslmode"] == "prefer"


def test_a_remote_server_is_verified_as_far_as_it_is_known() -> None:
    remote = odoo_instance.options(completed(database_host="10.0.0.1"), host=HOST, sizing={})
    assert (remote["db_host"], remote["db_port"], remote["db_sslmode"]) == ("10.0.0.1", 5432, "require")
    known = odoo_instance.options(completed(database_host="10.0.0.1", database_ca="PEM"), host=HOST, sizing={})
    assert known["db_sslmode"] == "verify-full"
    chosen = completed(database_host="10.0.0.1", database_ca="PEM", database_sslmode="verify-ca")
    assert odoo_instance.options(chosen, host=HOST, sizing={})["db_sslmode"] == "verify-ca"


def test_a_dot_in_a_database_name_matches_only_itself() -> None:
    assert odoo_instance.options(completed(database="a.b"), host=HOST, sizing={})["dbfilter"] == r"^a\.b$"


def test_a_host_is_shared_by_users() -> None:
    big, small = completed(users=30), completed(users=10)
    assert odoo_instance.share(8000, instance=big, instances=[big, small]) == 6000
    assert odoo_instance.share(2, instance=small, instances=[big, small]) == 1


def test_services_name_the_files_they_depend_on() -> None:
    (service,) = odoo_instance.services([completed()], changed_files=["/opt/odoo/current"])
    assert service["name"] == "odoo@main.service"
    assert "/opt/odoo/current" in service["restart_files"]
    assert "/etc/odoo/main.conf" in service["reload_files"]
    assert "/etc/odoo/main.listen" in service["restart_files"]


def test_another_port_or_address_changes_the_file_that_a_restart_follows() -> None:
    def listen(interface: str, **keys: Any) -> str:
        state = odoo_instance.host_state([completed(**keys)], interface=interface)
        return next(file["content"] for file in state["files"] if file["path"] == "/etc/odoo/main.listen")

    before = listen("127.0.0.1", users=5)
    assert listen("127.0.0.1", users=50) == before
    assert listen("127.0.0.1", http_port=8169) != before
    assert listen("10.0.0.1") != before


def test_options_that_the_site_depends_on_are_refused_in_config() -> None:
    found = odoo_instance.config_problems({"http_port": 9999, "data_dir": "/srv/x", "workers": 0}, version="19.0")
    assert len(found) == 3
    assert odoo_instance.config_problems({"workers": 3, "limit_time_cpu": 600}, version="19.0") == []


def test_a_wildcard_is_no_base_url() -> None:
    assert completed(domains=["*.example.com", "odoo.example.com"])["base_url"] == "https://odoo.example.com"
