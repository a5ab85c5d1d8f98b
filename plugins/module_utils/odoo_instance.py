# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One Odoo instance: what its description leaves out, and the configuration it asks for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils import odoo_options

NAME = re.compile(r"[a-z][a-z0-9-]{0,25}")
"""``odoo-NAME`` must fit into the 32 characters of a Unix user name."""

GROUP = "odoo"
"""Its members may enter the directories that hold those of the instances, which Debian's package closes to others."""

COMMON_DIRECTORIES = ("/etc/odoo", "/var/lib/odoo", "/var/log/odoo")

SECRET_KEYS = ("database_password", "admin_password", "master_password", "mail_servers", "contracts")
"""What of an instance must not be shown. Mail servers and contracts carry passwords of their own."""

RESERVED_OPTIONS = frozenset(
    {
        "admin_passwd", "data_dir", "db_host", "db_name", "db_password", "db_port", "db_sslmode", "db_user",
        "gevent_port", "http_interface", "http_port", "logfile", "syslog",
    }
)  # fmt: skip
"""Options that other parts of a site depend on, so that they follow from the instance's own keys alone."""

SECRET_OPTIONS = ("admin_passwd", "db_password", "proxy_access_token", "smtp_password")
"""Options of ``odoo.conf`` that must not be shown."""


def complete(instance: Mapping[str, Any]) -> dict[str, Any]:
    """Return an instance's description with every key that can be derived from its name filled in."""
    name = str(instance.get("name", ""))
    domains = list(instance.get("domains") or [])
    filled: dict[str, Any] = {
        "database": name,
        "database_port": 5432,
        "database_user": f"odoo-{name}",
        "admin_login": "admin",
        "update_admin_password": "always",
        "http_port": 8069,
        "gevent_port": 8072,
        "users": 10,
        "addons_path": [],
        "modules": ["base", "web"],
        "language": "en_US",
        "parameters": {},
        "config": {},
        "extensions": ["pg_trgm", "unaccent"],
        "indexes": [],
        "integrity_ignore": [],
        "edge": {},
    }
    filled.update({key: value for key, value in instance.items() if value is not None})
    exact = [str(domain) for domain in domains if not str(domain).startswith("*.")]
    filled.setdefault("base_url", f"https://{url_host(exact[0])}" if exact else "")
    filled["unit"] = f"odoo@{name}.service"
    filled["user"] = f"odoo-{name}"
    filled["config_file"] = f"/etc/odoo/{name}.conf"
    filled["data_dir"] = f"/var/lib/odoo/{name}"
    filled["log_dir"] = f"/var/log/odoo/{name}"
    return filled


def url_host(domain: str) -> str:
    """A name or address as it stands in a URL: IPv6 addresses in brackets."""
    return f"[{domain}]" if ":" in domain else domain


def share(total: int, *, instance: Mapping[str, Any], instances: Sequence[Mapping[str, Any]]) -> int:
    """An instance's part of a host's memory in MB or its cores, by its expected users; at least 1."""
    users = sum(int(other["users"]) for other in instances) or 1
    return max(1, total * int(instance["users"]) // users)


def default_sslmode(instance: Mapping[str, Any]) -> str:
    """``sslmode`` of an instance that names none: as strict as what it was given allows."""
    if instance.get("database_ca"):
        return "verify-full"
    return "require" if instance.get("database_host") else "prefer"


def public(instance: Mapping[str, Any]) -> dict[str, Any]:
    """A completed instance without its secrets, fit for loops, labels and logs."""
    shown = {key: value for key, value in instance.items() if key not in SECRET_KEYS}
    shown["config"] = {key: value for key, value in instance["config"].items() if key not in SECRET_OPTIONS}
    return shown


def secrets(instance: Mapping[str, Any]) -> dict[str, Any]:
    """The part of an instance that :func:`public` leaves out."""
    kept: dict[str, Any] = {key: instance.get(key) for key in SECRET_KEYS if key != "contracts"}
    kept["mail_servers"] = list(instance.get("mail_servers") or [])
    kept["config"] = {key: value for key, value in instance["config"].items() if key in SECRET_OPTIONS}
    return kept


def options(instance: Mapping[str, Any], *, host: Mapping[str, Any], sizing: Mapping[str, Any]) -> dict[str, Any]:
    """The ``[options]`` of an instance's configuration file, without the secret ones.

    :param instance: A completed instance.
    :param host: What its host gives: ``addons_path`` (list), ``http_interface``, ``x_sendfile``, ``log_level``,
        ``server_wide_modules`` (list) and ``config`` (overrides for every instance).
    :param sizing: Options from the sizing filter (``workers``, ``limit_memory_soft`` …).
    """
    result: dict[str, Any] = {
        "addons_path": [*instance["addons_path"], *host["addons_path"]],
        "data_dir": instance["data_dir"],
        "db_name": instance["database"],
        "db_sslmode": instance.get("database_sslmode") or default_sslmode(instance),
        "db_user": instance["database_user"],
        "dbfilter": f"^{re.escape(instance['database'])}$",
        "gevent_port": instance["gevent_port"],
        "http_interface": host["http_interface"],
        "http_port": instance["http_port"],
        "list_db": False,
        "log_level": host["log_level"],
        "logfile": f"{instance['log_dir']}/odoo.log",
        "proxy_mode": True,
        "server_wide_modules": host["server_wide_modules"],
        "unaccent": "unaccent" in instance["extensions"],
        "x_sendfile": host["x_sendfile"],
        **sizing,
    }
    # On the local socket there is neither: an empty value would be taken for a name.
    if instance.get("database_host"):
        result["db_host"] = instance["database_host"]
    if instance.get("database_host") or instance["database_port"] != 5432:
        result["db_port"] = instance["database_port"]
    result.update(host["config"])
    result.update(instance["config"])
    return {key: value for key, value in result.items() if key not in SECRET_OPTIONS}


def services(instances: Sequence[Mapping[str, Any]], *, changed_files: Sequence[str]) -> list[dict[str, Any]]:
    """The instances' services as :mod:`service_fresh` takes them.

    :param changed_files: Files of which one becomes newer whenever Odoo's code changes.
    """
    return [
        {
            "name": instance["unit"],
            # A reload hands over the socket that is open: another port or address takes a restart.
            "restart_files": ["/etc/systemd/system/odoo@.service", listen_file(instance), *changed_files],
            "reload_files": [instance["config_file"], f"/etc/odoo/{instance['name']}.database-ca.crt"],
            "reload_directories": list(instance["addons_path"]),
        }
        for instance in instances
    ]


def listen_file(instance: Mapping[str, Any]) -> str:
    """File that becomes newer when an instance is to listen elsewhere."""
    return f"/etc/odoo/{instance['name']}.listen"


def config_problems(config: Mapping[str, Any], *, version: str) -> list[str]:
    """What is wrong with options that a user gives, beyond what Odoo itself would not understand."""
    found = odoo_options.config_problems(config, version, reserved=RESERVED_OPTIONS)
    if "workers" in config and str(config["workers"]).strip() in ("0", "False"):
        found.append("workers: must be at least 1, or nothing would serve websockets")
    return found


def host_state(instances: Sequence[Mapping[str, Any]], *, interface: str) -> dict[str, list[dict[str, Any]]]:
    """Users, directories and files of the instances as the module drift_info takes them.

    :param interface: Address that they listen on.
    """
    directories = [{"path": path, "owner": "root", "mode": "0755"} for path in COMMON_DIRECTORIES]
    for instance in instances:
        directories += [
            {"path": instance[key], "owner": instance["user"], "mode": "0750"} for key in ("data_dir", "log_dir")
        ]
    return {
        "users": [{"name": instance["user"], "groups": [GROUP]} for instance in instances],
        "directories": directories,
        "files": [
            *(
                {"path": f"/etc/odoo/{instance['name']}.database-ca.crt", "content": instance["database_ca"]}
                for instance in instances
                if instance.get("database_ca")
            ),
            *(
                {
                    "path": listen_file(instance),
                    "content": f"{interface} {instance['http_port']} {instance['gevent_port']}\n",
                }
                for instance in instances
            ),
        ],
    }
