# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters ``odoo_instances``, ``odoo_instance_secrets`` and ``odoo_instance_options``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.slipway.odoo.plugins.module_utils import odoo_instance, odoo_options, odoo_workers

Instances = Sequence[Mapping[str, Any]]
Overrides = Mapping[str, Mapping[str, Any]]


def _completed(
    instances: Instances,
    names: Sequence[str] | None = None,
    overrides: Overrides | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    if not isinstance(instances, (list, tuple)):
        raise AnsibleFilterError(f"expected a list of Odoo instances, not {type(instances).__name__}")
    known = {instance["name"] for instance in instances}
    unknown = [name for name in [*(names or ()), *(overrides or {})] if name not in known]
    if unknown:
        raise AnsibleFilterError(f"no such Odoo instance: {', '.join(unknown)}")
    return [
        odoo_instance.complete({**(defaults or {}), **instance, **(overrides or {}).get(instance["name"], {})})
        for instance in instances
        if names is None or instance["name"] in names
    ]


def odoo_instances(
    instances: Instances,
    names: Sequence[str] | None = None,
    overrides: Overrides | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Fill in what the descriptions of instances leave out, and leave their secrets out."""
    return [odoo_instance.public(instance) for instance in _completed(instances, names, overrides, defaults)]


def odoo_instance_secrets(instances: Instances) -> dict[str, dict[str, Any]]:
    """The secrets of instances by the instance's name."""
    return {instance["name"]: odoo_instance.secrets(instance) for instance in _completed(instances)}


def odoo_instance_options(instance: Mapping[str, Any], instances: Instances, host: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration options of one instance among the instances of its host."""
    users_share = partial(odoo_instance.share, instance=instance, instances=instances)
    sizing = odoo_workers.size_workers(
        cores=users_share(int(host["cores"])),
        memory_mb=users_share(int(host["memory_mb"])),
        users=int(instance["users"]),
        max_connections=users_share(int(host["connections"])),
    )
    shown = {key: value for key, value in sizing.items() if key != "warnings"}
    return odoo_instance.options(instance, host=host, sizing=shown)


def odoo_instance_problems(instances: Instances, host: Mapping[str, Any], version: str) -> list[str]:
    """What Odoo would not understand in the configuration of instances, each problem once."""
    found = [
        f"instance {instance['name']}: {problem}"
        for instance in instances
        for problem in [
            *odoo_instance.config_problems({**host["config"], **instance["config"]}, version=version),
            *odoo_options.config_problems(odoo_instance_options(instance, instances, host), version),
        ]
    ]
    return list(dict.fromkeys(found))


def odoo_instance_services(instances: Instances, changed_files: Sequence[str]) -> list[dict[str, Any]]:
    """The services of instances as the module service_fresh takes them."""
    return odoo_instance.services(instances, changed_files=changed_files)


def odoo_instance_state(instances: Instances, interface: str) -> dict[str, list[dict[str, Any]]]:
    """What instances need on their host as the module drift_info takes it."""
    return odoo_instance.host_state(instances, interface=interface)


class FilterModule:
    """Filters of the collection."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "odoo_instances": odoo_instances,
            "odoo_instance_secrets": odoo_instance_secrets,
            "odoo_instance_options": odoo_instance_options,
            "odoo_instance_problems": odoo_instance_problems,
            "odoo_instance_services": odoo_instance_services,
            "odoo_instance_state": odoo_instance_state,
        }
