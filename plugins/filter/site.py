# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters that turn the description of a site into the inputs of each role on each host."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils import odoo_instance
from ansible_collections.slipway.odoo.plugins.module_utils import site as sites

Instances = Sequence[Mapping[str, Any]]
Groups = Mapping[str, Sequence[str]]
HostVars = Mapping[str, Mapping[str, Any]]


def addresses(groups: Groups, hostvars: HostVars) -> dict[str, str]:
    """Address of each host of the site: its ``slipway_address``, ``ansible_host`` or name."""
    found = {}
    for group in sites.REQUIRED_GROUPS:
        for host in groups.get(group, ()):
            variables = hostvars[host]
            found[host] = str(variables.get("slipway_address") or variables.get("ansible_host") or host)
    return found


def _site(instances: Instances, groups: Groups, hostvars: HostVars) -> sites.Site:
    return sites.site(instances, groups=groups, addresses=addresses(groups, hostvars))


def site_host(instances: Instances, groups: Groups, hostvars: HostVars, host: str) -> dict[str, Any]:
    """What the roles of one host need to know, without secrets."""
    site = _site(instances, groups, hostvars)
    server = str(hostvars[host].get("edge_server") or "nginx") if host in site.edge_hosts else "nginx"
    wired: dict[str, Any] = {
        "ports": sites.ports(site, host),
        "log_files": sites.log_files(site, host, edge_server=server),
    }
    if host in site.database_hosts:
        wired["postgresql"] = sites.postgresql(site, host)
    if host in site.application_hosts:
        wired["odoo"] = sites.odoo(site, host)
    if host in site.edge_hosts:
        wired["edge"] = {"sites": sites.edge_sites(site, host)}
    if host in (*site.database_hosts, *site.application_hosts):
        wired["backup"] = sites.backup(site, host)
    return wired


def site_postgresql_roles(instances: Instances, groups: Groups, hostvars: HostVars, host: str) -> list[dict[str, Any]]:
    """The database roles of one database host, with their passwords."""
    return sites.postgresql_roles(_site(instances, groups, hostvars), host)


def site_odoo_overrides(
    instances: Instances, groups: Groups, hostvars: HostVars, host: str, certificates: Mapping[str, str] | None = None
) -> dict[str, dict[str, str]]:
    """How the instances of one application host reach their databases on other hosts."""
    return sites.odoo_overrides(_site(instances, groups, hostvars), host, certificates=certificates or {})


def site_problems(instances: Any, groups: Groups, hostvars: HostVars) -> list[str]:
    """What is wrong with the description of a site."""
    return sites.problems(instances, groups=groups, addresses=addresses(groups, hostvars))


def site_settings_problems(waves: Any, verify: Any) -> list[str]:
    """What is wrong with ``odoo_module_waves`` and ``slipway_verify``."""
    return [*sites.wave_problems(waves, where="odoo_module_waves"), *sites.verify_problems(verify)]


def site_config_problems(instances: Any, config: Mapping[str, Any], version: str) -> list[str]:
    """What Odoo would not understand in the configuration of a site."""
    wanted = [("odoo_config", config)]
    if isinstance(instances, (list, tuple)):
        wanted += [(f"config of the instance {item.get('name')}", item.get("config") or {}) for item in instances]
    return [
        f"{where}: {problem}"
        for where, options in wanted
        for problem in odoo_instance.config_problems(options, version=str(version))
    ]


class FilterModule:
    """Filters of the collection."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "site_config_problems": site_config_problems,
            "site_host": site_host,
            "site_odoo_overrides": site_odoo_overrides,
            "site_postgresql_roles": site_postgresql_roles,
            "site_problems": site_problems,
            "site_settings_problems": site_settings_problems,
        }
