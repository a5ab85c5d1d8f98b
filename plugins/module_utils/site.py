# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A site: which instance runs where, and what each role of each host needs to know of it.

Roles do not know each other. The playbooks describe a site once, and this module turns the
description into the inputs of each role on each host.
"""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.errors import UnsupportedError
from ansible_collections.slipway.odoo.plugins.module_utils import odoo_instance
from ansible_collections.slipway.odoo.plugins.module_utils.api_contract_sources import (
    require_fitting,
    source_options,
    source_rules,
)
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.postgresql_index_form import form_arguments, read_wanted

INSTANCE_KEYS = frozenset(
    {
        "name", "domains", "base_url", "database", "database_host", "database_port", "database_user",
        "database_password", "database_sslmode", "database_ca", "admin_login", "admin_password",
        "update_admin_password", "master_password", "http_port", "gevent_port", "users", "addons_path", "modules",
        "language", "module_waves", "parameters", "mail_servers", "config", "hosts", "database_server", "extensions",
        "edge", "shared_data", "indexes", "integrity_ignore", "contracts",
    }
)  # fmt: skip
"""What may stand in the description of an instance."""

LED_KEYS = ("name", "config_file", "base_url", "modules", "module_waves", "integrity_ignore")
"""What the playbooks need to know of an instance whose database they look after."""

CONTRACT_KEYS = frozenset({"name", "expected", "compare", "sources", "schemas", "schema_directory"})
"""What may stand in a contract of an instance's API."""

WAVE_OPTIONS: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "modules": {"type": "list", "elements": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "latest"]},
}
"""A wave of modules, as an argument spec."""

VERIFY_OPTIONS: dict[str, Any] = {
    "address": {"type": "str"},
    "bursts": {"type": "list", "elements": "dict"},
    "ca_path": {"type": "path"},
    "closed_doors": {"type": "raw"},
    "headers": {"type": "dict"},
    "integrity": {
        "type": "dict",
        "options": {
            "filestore": {"type": "str", "choices": ["files", "hashes"]},
            "overdue_minutes": {"type": "int"},
        },
    },
    "minimum_days": {"type": "int"},
    "timeout": {"type": "float"},
    "validate_certs": {"type": "bool"},
    "wait": {"type": "float"},
}
"""What ``slipway_verify`` may hold, as an argument spec."""

REQUIRED_GROUPS = ("odoo_db", "odoo_app", "odoo_edge")

BACKUP_STANZA = "main"
"""pgBackRest's name of a host's cluster. Hosts have a prefix of their own each, so one name does for all."""

DOMAIN = re.compile(r"(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
DATABASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
"""What Odoo itself accepts as the name of a database."""

# Parts of a host's memory when it carries more than one component; the rest is the system's and the page cache's.
DATABASE_SHARE_WITH_ODOO = 0.35
ODOO_SHARE_WITH_DATABASE = 0.55


@dataclasses.dataclass(frozen=True)
class Site:
    """Completed instances, the hosts of each group, and each host's address."""

    instances: tuple[Mapping[str, Any], ...]
    database_hosts: tuple[str, ...]
    application_hosts: tuple[str, ...]
    edge_hosts: tuple[str, ...]
    addresses: Mapping[str, str]

    def hosts_of(self, instance: Mapping[str, Any]) -> tuple[str, ...]:
        """Application hosts that run an instance."""
        return tuple(instance.get("hosts") or self.application_hosts)

    def database_server_of(self, instance: Mapping[str, Any]) -> str:
        """Database host of an instance."""
        return str(instance.get("database_server") or self.database_hosts[0])

    def interface(self, host: str) -> str:
        """Address that the instances of an application host listen on: loopback unless an edge is elsewhere."""
        return "127.0.0.1" if set(self.edge_hosts) <= {host} else self.addresses[host]

    def instances_on(self, host: str) -> list[Mapping[str, Any]]:
        """Instances that run on an application host."""
        return [instance for instance in self.instances if host in self.hosts_of(instance)]

    def instances_led_by(self, host: str) -> list[Mapping[str, Any]]:
        """Instances that run on an application host before any other: what is done once is done there."""
        return [instance for instance in self.instances if self.hosts_of(instance)[:1] == (host,)]

    def instances_in(self, host: str) -> list[Mapping[str, Any]]:
        """Instances whose database is on a database host."""
        return [instance for instance in self.instances if self.database_server_of(instance) == host]


def site(
    instances: Sequence[Mapping[str, Any]], *, groups: Mapping[str, Sequence[str]], addresses: Mapping[str, str]
) -> Site:
    """Make a site of its description. See :func:`problems` for what must not be wrong with it."""
    return Site(
        instances=tuple(odoo_instance.complete(instance) for instance in instances),
        database_hosts=tuple(groups.get("odoo_db", ())),
        application_hosts=tuple(groups.get("odoo_app", ())),
        edge_hosts=tuple(groups.get("odoo_edge", ())),
        addresses=dict(addresses),
    )


def network(address: str) -> str:
    """An address as pg_hba.conf writes it: ``10.0.0.5`` → ``10.0.0.5/32``."""
    parsed = ipaddress.ip_address(address)
    return f"{parsed}/{parsed.max_prefixlen}"


def endpoint(address: str, port: int) -> str:
    """Address and port in one word."""
    return f"{odoo_instance.url_host(address)}:{port}"


def postgresql(site: Site, host: str) -> dict[str, Any]:
    """Inputs of the role postgresql on a database host, without the passwords of its roles."""
    own = site.instances_in(host)
    clients = []
    for instance in own:
        remote = sorted(network(site.addresses[app]) for app in site.hosts_of(instance) if app != host)
        clients.append({"database": instance["database"], "role": instance["database_user"], "addresses": remote})
    has_remote = any(client["addresses"] for client in clients)
    return {
        "databases": [
            {"name": item["database"], "owner": item["database_user"], "extensions": list(item["extensions"])}
            for item in own
        ],
        "clients": clients,
        "listen_addresses": ["localhost", *([site.addresses[host]] if has_remote else [])],
        "tls": has_remote,
        "tls_names": [host, site.addresses[host]] if site.addresses[host] != host else [host],
        "memory_share": DATABASE_SHARE_WITH_ODOO if host in site.application_hosts else 1.0,
    }


def postgresql_roles(site: Site, host: str) -> list[dict[str, Any]]:
    """The roles of a database host with their passwords, each once."""
    roles = {
        instance["database_user"]: {"name": instance["database_user"], "password": instance["database_password"]}
        for instance in site.instances_in(host)
    }
    return list(roles.values())


def odoo(site: Site, host: str) -> dict[str, Any]:
    """Inputs of the role odoo on an application host, without its instances."""
    return {
        "instance_names": [instance["name"] for instance in site.instances_on(host)],
        "led_instances": [
            {**{key: instance.get(key) for key in LED_KEYS}, "expected_indexes": expected_indexes(instance)}
            for instance in site.instances_led_by(host)
        ],
        "http_interface": site.interface(host),
        # Only where every file that Odoo leaves to the web server is one that this host's own edge can read.
        "x_sendfile": set(site.edge_hosts) == {host}
        and all(site.hosts_of(instance) == (host,) for instance in site.instances_on(host)),
        "connection_share": connection_share(site, host),
        "memory_share": ODOO_SHARE_WITH_DATABASE if host in site.database_hosts else 1.0,
        "database_servers": sorted(
            {site.database_server_of(instance) for instance in site.instances_on(host)} - {host}
        ),
    }


def expected_indexes(instance: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The indexes that an instance's database is to have, as the module postgresql_index_info takes them."""
    return [
        {key: value for key, value in index.items() if key != "state"}
        for index in instance["indexes"]
        if index.get("state") != "absent"
    ]


def connection_share(site: Site, host: str) -> float:
    """Part of a database server's connections that the instances of an application host may take together."""
    users = sum(int(item["users"]) * len(site.hosts_of(item)) for item in site.instances) or 1
    return sum(int(item["users"]) for item in site.instances_on(host)) / users


def odoo_overrides(site: Site, host: str, *, certificates: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """How each instance of an application host reaches a database server on another host, by instance.

    :param certificates: PEM certificate of each database host that is not this one.
    """
    wired = {}
    for instance in site.instances_on(host):
        server = site.database_server_of(instance)
        if server != host and not instance.get("database_host"):
            wired[instance["name"]] = {"database_host": site.addresses[server]}
            if certificates.get(server) and not instance.get("database_ca"):
                wired[instance["name"]]["database_ca"] = certificates[server]
    return wired


def edge_sites(site: Site, host: str) -> list[dict[str, Any]]:
    """The role edge's sites on an edge host."""
    sites = []
    for instance in site.instances:
        applications = site.hosts_of(instance)
        entry: dict[str, Any] = {
            "name": instance["name"],
            "domains": list(instance["domains"]),
            "upstreams": [endpoint(site.interface(app), instance["http_port"]) for app in applications],
            "websocket_upstreams": [endpoint(site.interface(app), instance["gevent_port"]) for app in applications],
        }
        if set(site.edge_hosts) == {host} == set(applications):
            entry["internal_files"] = {"path": f"{instance['data_dir']}/filestore", "group": instance["user"]}
        sites.append({**entry, **instance["edge"]})
    return sites


def backup(site: Site, host: str) -> dict[str, Any]:
    """Inputs of the role backup on a host, without store and keys; ``stanza`` is that of every database host."""
    applications = site.instances_on(host)
    servers = [site.database_server_of(instance) for instance in site.instances_led_by(host)]
    drill: dict[str, Any] = {}
    # The first application host has Odoo and the code of its instances: there a restored database can be started.
    if host == next(iter(site.application_hosts), None) and servers:
        drilled = [item for item in site.instances_led_by(host) if site.database_server_of(item) == servers[0]]
        drill = {
            "database": _backup_database(site, servers[0]),
            "database_host": servers[0],
            "files": {"instances": [_backup_instance(instance) for instance in drilled], "odoo_bin": "/usr/bin/odoo"},
            "files_host": host,
            "directory": "/var/lib/slipway/drill",
        }
    return {
        "stanza": BACKUP_STANZA,
        "database": _backup_database(site, host) if site.instances_in(host) else {},
        "files": {
            "instances": [_backup_instance(instance) for instance in applications],
            "odoo_bin": "/usr/bin/odoo",
            "paths": ["/etc/odoo"],
        }
        if applications
        else {},
        "drill": drill,
    }


def _backup_database(site: Site, host: str) -> dict[str, Any]:
    own = site.instances_in(host)
    return {
        "cluster": "main",
        "port": int(own[0]["database_port"]),
        "stanza": BACKUP_STANZA,
        "databases": [
            {"instance": item["name"], "name": item["database"], "owner": item["database_user"]} for item in own
        ],
    }


def _backup_instance(instance: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": instance["name"],
        "database": instance["database"],
        "filestore": f"{instance['data_dir']}/filestore/{instance['database']}",
        "data_dir": instance["data_dir"],
        "user": instance["user"],
        "config_file": instance["config_file"],
        "addons": list(instance["addons_path"]),
        "unit": instance["unit"],
        "contracts": [str(contract.get("expected", "")) for contract in instance.get("contracts") or []],
    }


def log_files(site: Site, host: str, *, edge_server: str = "nginx") -> list[dict[str, Any]]:
    """The logs of a host's components as the role logrotate takes them. Caddy rotates its own."""
    files: list[dict[str, Any]] = []
    if host in site.database_hosts:
        files.append({"name": "PostgreSQL", "preset": "postgresql"})
    if host in site.application_hosts:
        files += [
            {
                "name": instance["unit"],
                "preset": "odoo",
                "paths": [f"{instance['log_dir']}/odoo.log"],
                "owner": instance["user"],
            }
            for instance in site.instances_on(host)
        ]
    if host in site.edge_hosts and edge_server == "nginx":
        files.append({"name": "nginx", "preset": "nginx"})
    return files


def ports(site: Site, host: str) -> list[dict[str, Any]]:
    """The ports that a host's components are going to own, and the systemd units that may have them already."""
    wanted: list[dict[str, Any]] = []
    if host in site.database_hosts:
        numbers = sorted({int(instance["database_port"]) for instance in site.instances_in(host)})
        wanted += [{"port": port, "purpose": "PostgreSQL", "owners": ["postgresql@"]} for port in numbers]
    if host in site.application_hosts:
        for instance in site.instances_on(host):
            for key, what in (("http_port", "HTTP"), ("gevent_port", "websocket")):
                purpose = f"{what} of the instance {instance['name']}"
                wanted.append({"port": int(instance[key]), "purpose": purpose, "owners": [instance["unit"]]})
    if host in site.edge_hosts:
        # Either server hands the ports over to the other.
        owners = ["nginx.service", "caddy.service"]
        wanted += [{"port": port, "purpose": "the edge", "owners": owners} for port in (80, 443)]
    return wanted


def problems(instances: Any, *, groups: Mapping[str, Sequence[str]], addresses: Mapping[str, str]) -> list[str]:
    """Everything that is wrong with the description of a site, as sentences that say what to do."""
    found = [
        f"the inventory has no host in the group {group}: name at least one"
        for group in REQUIRED_GROUPS
        if not groups.get(group)
    ]
    if not isinstance(instances, (list, tuple)) or not instances:
        return [*found, "odoo_instances must be a list with at least one instance: see docs/site.md"]
    if not all(isinstance(instance, Mapping) and instance.get("name") for instance in instances):
        return [*found, "every entry of odoo_instances must be a mapping with a name"]
    sound = []
    for instance in instances:
        faults = _instance_problems(instance, groups=groups)
        found += faults
        if not faults:
            sound.append(instance)
    if all(groups.get(group) for group in REQUIRED_GROUPS):
        found += _site_problems(site(sound, groups=groups, addresses=addresses))
    return found


def _instance_problems(instance: Mapping[str, Any], *, groups: Mapping[str, Sequence[str]]) -> list[str]:
    name = str(instance["name"])
    found = []
    if not odoo_instance.NAME.fullmatch(name):
        found.append("its name must begin with a letter and hold lower-case letters, digits and hyphens, at most 26")
    for key in sorted(set(instance) - INSTANCE_KEYS):
        near = difflib.get_close_matches(key, INSTANCE_KEYS, n=1)
        found.append(f"unknown key {key}" + (f", did you mean {near[0]}?" if near else ""))
    domains = instance.get("domains")
    if not isinstance(domains, (list, tuple)) or not domains:
        found.append("domains must list at least one name or address that users reach it by")
    else:
        found += [f"{domain} is no domain name and no address" for domain in domains if not is_domain(str(domain))]
    filled = odoo_instance.complete({**instance, "domains": domains if isinstance(domains, (list, tuple)) else []})
    if not DATABASE.fullmatch(str(filled["database"])):
        found.append(f"{filled['database']} is no database name that Odoo accepts")
    found += [
        f"{key} must be a port between 1024 and 65535, not {filled[key]!r}"
        for key in ("http_port", "gevent_port")
        if not _is_integer(filled[key], low=1024, high=65535)
    ]
    if filled["http_port"] == filled["gevent_port"]:
        found.append(f"http_port and gevent_port are both {filled['http_port']}")
    if not _is_integer(filled["users"], low=1, high=100000):
        found.append(f"users must be a whole number of at least 1, not {filled['users']!r}")
    if "base" not in filled["modules"]:
        found.append("modules must begin with base")
    found += [
        f"{host} in its hosts is not in the group odoo_app"
        for host in instance.get("hosts") or []
        if host not in groups.get("odoo_app", ())
    ]
    found += _index_problems(filled["indexes"])
    found += _contract_problems(instance.get("contracts") or [])
    found += wave_problems(instance.get("module_waves") or [], where="module_waves")
    if not isinstance(filled["integrity_ignore"], (list, tuple)):
        found.append("integrity_ignore must be a list of keys of findings")
    server = instance.get("database_server")
    if server and server not in groups.get("odoo_db", ()):
        found.append(f"its database_server {server} is not in the group odoo_db")
    return [f"instance {name}: {problem}" for problem in found]


def wave_problems(waves: Any, *, where: str) -> list[str]:
    """What is wrong with waves of modules."""
    if not _is_list_of_mappings(waves):
        return [f"{where} must be a list of mappings"]
    return [
        problem
        for number, wave in enumerate(waves, start=1)
        for problem in _spec_problems(f"wave {wave.get('name') or number} of {where}", WAVE_OPTIONS, wave)
    ]


def verify_problems(options: Any) -> list[str]:
    """What is wrong with the inventory's ``slipway_verify``."""
    if not isinstance(options, Mapping):
        return ["slipway_verify must be a mapping"]
    if not isinstance(options.get("integrity") or {}, Mapping):
        return ["integrity of slipway_verify must be a mapping"]
    return _spec_problems("slipway_verify", VERIFY_OPTIONS, options)


def _spec_problems(what: str, spec: Mapping[str, Any], value: Mapping[str, Any], **rules: Any) -> list[str]:
    """Everything in which a mapping is not as a module with this argument spec would have it."""
    found = ArgumentSpecValidator(dict(spec), **rules).validate(dict(value))
    return [
        f"{what}: {'unknown key ' if isinstance(error, UnsupportedError) else ''}{error.msg}" for error in found.errors
    ]


def _is_list_of_mappings(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(one, Mapping) for one in value)


def _index_problems(indexes: Any) -> list[str]:
    """What the module postgresql_index would refuse of an instance's indexes without having seen the database."""
    if not _is_list_of_mappings(indexes):
        return ["indexes must be a list of mappings"]
    options = form_arguments(stateful=True)
    found: list[str] = []
    sound = []
    for number, index in enumerate(indexes, start=1):
        problems = _spec_problems(f"index {index.get('name') or number}", options, index)
        found += problems
        if not problems:
            sound.append({**{key: spec.get("default") for key, spec in options.items()}, **index})
    try:
        read_wanted(sound)
    except SlipwayError as error:
        found += [f"index {problem}" for problem in error.details["problems"]]
    return found


def _contract_problems(contracts: Any) -> list[str]:
    """What is wrong with the contracts of an instance's API, as far as the module api_contract_info cannot tell."""
    if not _is_list_of_mappings(contracts):
        return ["contracts must be a list of mappings"]
    found = []
    names = [str(contract.get("name") or "") for contract in contracts]
    for contract, name in zip(contracts, names):
        found += [f"contracts: unknown key {key} in {name!r}" for key in sorted(set(contract) - CONTRACT_KEYS)]
        if not contract.get("sources") and not contract.get("schemas"):
            found.append(f"contracts: {name!r} has neither sources nor schemas, so nothing would be compared")
        found += [f"contracts: {name!r}: {problem}" for problem in _source_problems(contract.get("sources") or [])]
        if "expected" in contract and not isinstance(contract["expected"], str):
            found.append(f"contracts: expected of {name!r} must be a text, in quotes")
    if "" in names:
        found.append("contracts: each needs a name")
    return found + [
        f"contracts: the name {name!r} is used twice" for name in sorted({n for n in names if names.count(n) > 1})
    ]


def _source_problems(sources: Any) -> list[str]:
    """What the module api_contract_info would refuse of sources; what these log in with may be left out."""
    if not _is_list_of_mappings(sources):
        return ["sources must be a list of mappings"]
    options = source_options()
    found: list[str] = []
    for number, source in enumerate(sources, start=1):
        what = f"source {source.get('name') or number}"
        problems = _spec_problems(what, options, source, **source_rules())
        if not problems:
            try:
                require_fitting({**dict.fromkeys(options), **source})
            except SlipwayError as error:
                problems = [f"{what}: {error}"]
        found += problems
    return found


def _site_problems(site: Site) -> list[str]:
    found = [
        f"{what} {value} is used by {' and '.join(users)}: each needs its own"
        for what, pairs in (
            ("the instance name", [(i["name"], "an instance") for i in site.instances]),
            ("the domain", [(domain, i["name"]) for i in site.instances for domain in i["domains"]]),
            (
                "the database",
                [(f"{i['database']} on {site.database_server_of(i)}", i["name"]) for i in site.instances],
            ),
            ("the database user", [(i["database_user"], i["name"]) for i in site.instances]),
            (
                "the port",
                [
                    (f"{i[key]} of {host}", f"{i['name']} ({key})")
                    for i in site.instances
                    for host in site.hosts_of(i)
                    for key in ("http_port", "gevent_port")
                ],
            ),
        )
        for value, users in _repeated(pairs).items()
    ]
    for instance in site.instances:
        hosts = site.hosts_of(instance)
        if len(hosts) > 1 and not instance.get("shared_data"):
            found.append(
                f"instance {instance['name']}: it would run on {' and '.join(hosts)}, each with its own attachments. "
                f"Name one in `hosts`, or mount {instance['data_dir']} from shared storage and set shared_data: true"
            )
        server = site.database_server_of(instance)
        found += [
            f"{host}: {site.addresses[host]} is a name, and PostgreSQL's access rules need its "
            "address: set slipway_address in its host_vars"
            for host in ({*hosts, server} if set(hosts) != {server} else ())
            if not is_address(site.addresses[host])
        ]
    return sorted(set(found))


def _repeated(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    users: dict[str, list[str]] = {}
    for value, user in pairs:
        users.setdefault(value, []).append(user)
    return {value: names for value, names in users.items() if len(names) > 1}


def _is_integer(value: Any, *, low: int, high: int) -> bool:
    try:
        return not isinstance(value, bool) and low <= int(value) <= high
    except (TypeError, ValueError):
        return False


def is_address(text: str) -> bool:
    """Whether a text is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_domain(text: str) -> bool:
    """Whether a text can be the name of a site: a host name, perhaps with a leading ``*.``, or an address."""
    return is_address(text) or (len(text) <= 253 and DOMAIN.fullmatch(text.lower()) is not None)
