# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters ``secret_problems`` (what is wrong with a site's secrets) and ``without_secrets``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_instance import SECRET_OPTIONS
from ansible_collections.slipway.odoo.plugins.module_utils.secret_rules import Secret, problems
from jinja2.exceptions import UndefinedError

INSTANCE_SECRETS = ("database_password", "admin_password", "master_password")
#: What a source of a contract logs in with, and what may hold such a thing.
SOURCE_SECRETS = ("api_key", "login", "body", "headers")


def secret_problems(instances: Any, extra: Any = None, backup: Any = None) -> list[str]:
    """Return what is wrong with the secrets of ``odoo_instances``, of its backups, and with ``extra`` ones.

    :param instances: list of instances as the inventory describes them (``odoo_instances``)
    :param extra: list of ``{what, value, names, ours}``: further secrets, with where they stand
    :param backup: where backups go, as the inventory describes it (``slipway_backup``)
    :returns: one line for each problem, without any secret in it
    :raises AnsibleFilterError: when either is not a list of mappings
    """
    secrets: list[Secret] = []
    for number, instance in enumerate(_mappings(instances, what="odoo_instances"), start=1):
        secrets.extend(_secrets_of(instance, number=number))
    for number, given in enumerate(_mappings(extra or [], what="extra"), start=1):
        label = _read(given, "what") or f"extra secret {number}"
        names = tuple(str(name) for name in _read(given, "names") or ())
        ours = _read(given, "ours") is not False
        secrets.append(Secret(label=str(label), value=_read(given, "value"), names=names, ours=ours))
    if isinstance(backup, Mapping) and backup:
        secrets.extend(_secrets_of_backups(backup))
    return problems(secrets=secrets)


def without_secrets(instances: Any) -> Any:
    """Return ``odoo_instances`` without what is secret, to be judged while a vault is still closed.

    What is no list of mappings is returned as it is: to judge it is not this filter's task.
    """
    if not _is_list_of_mappings(instances):
        return instances
    hidden = (*INSTANCE_SECRETS, "mail_servers", "config", "contracts")
    shown = []
    for instance in instances:
        kept = {key: instance[key] for key in instance if key not in hidden}
        options = _read(instance, "config")
        if isinstance(options, Mapping):
            kept["config"] = {key: options[key] for key in options if key not in SECRET_OPTIONS}
        if "contracts" in instance:
            kept["contracts"] = _open_contracts(_read(instance, "contracts"))
        shown.append(kept)
    return shown


def _open_contracts(contracts: Any) -> Any:
    """Contracts of an API without what their sources log in with."""
    if not _is_list_of_mappings(contracts):
        return contracts
    shown = []
    for contract in contracts:
        kept = {key: contract[key] for key in contract if key != "sources"}
        sources = _read(contract, "sources")
        if _is_list_of_mappings(sources):
            sources = [{key: source[key] for key in source if key not in SOURCE_SECRETS} for source in sources]
        if "sources" in contract:
            kept["sources"] = sources
        shown.append(kept)
    return shown


def _secrets_of(instance: Mapping[str, Any], *, number: int) -> list[Secret]:
    name = str(_read(instance, "name") or number)
    database = str(_read(instance, "database") or name)
    user = str(_read(instance, "database_user") or f"odoo-{name}")
    secrets = [
        Secret(label=f"instance {name}: {key}", value=_read(instance, key), names=(name, database, user))
        for key in INSTANCE_SECRETS
    ]
    servers = _read(instance, "mail_servers")
    for server in servers if _is_list_of_mappings(servers) else ():
        if _read(server, "user") is not None:
            label = f"instance {name}: password of mail server {_read(server, 'name') or _read(server, 'host')}"
            secrets.append(Secret(label=label, value=_read(server, "password"), ours=False))
    contracts = _read(instance, "contracts")
    for contract in contracts if _is_list_of_mappings(contracts) else ():
        sources = _read(contract, "sources")
        for source in sources if _is_list_of_mappings(sources) else ():
            label = f"instance {name}: {{}} of source {_read(source, 'name')} of contract {_read(contract, 'name')}"
            login = _read(source, "login")
            if "api_key" in source:
                secrets.append(Secret(label=label.format("api_key"), value=_read(source, "api_key"), ours=False))
            if isinstance(login, Mapping):
                secrets.append(Secret(label=label.format("password"), value=_read(login, "password"), ours=False))
    return secrets


def _secrets_of_backups(backup: Mapping[str, Any]) -> list[Secret]:
    secrets = [
        Secret(label=f"slipway_backup: {key}", value=_read(backup, key))
        for key in ("database_passphrase", "files_passphrase")
    ]
    keys = _read(backup, "keys")
    for name in keys if isinstance(keys, Mapping) else ():
        key = _read(keys, name)
        for part in ("key_id", "secret_key"):
            value = _read(key, part) if isinstance(key, Mapping) else None
            secrets.append(Secret(label=f"slipway_backup: {part} of {name}", value=value, ours=False))
    return secrets


def _read(mapping: Mapping[str, Any], key: str) -> Any:
    """Return the value, or None where the key is missing or its variable undefined or not to be decrypted."""
    try:
        return mapping.get(key)
    except UndefinedError:
        return None


def _mappings(value: Any, *, what: str) -> Sequence[Mapping[str, Any]]:
    if _is_list_of_mappings(value):
        return value
    # The value is not quoted: it may hold secrets.
    raise AnsibleFilterError(f"secret_problems: {what} must be a list of mappings")


def _is_list_of_mappings(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(one, Mapping) for one in value)


class FilterModule:
    """What ansible-core looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"secret_problems": secret_problems, "without_secrets": without_secrets}
