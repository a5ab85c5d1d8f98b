# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the modules for Odoo have in common: options, the way out, the connection."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any, Callable

from ansible_collections.slipway.odoo.plugins.module_utils.errors import NotReadyError, SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_config import OdooConfig, load_config
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_db import connect


def instance_arguments() -> dict[str, dict[str, Any]]:
    """The options of doc fragment ``slipway.odoo.odoo``."""
    return {
        "config": {"type": "path", "required": True},
        "odoo_bin": {"type": "path"},
        "odoo_user": {"type": "str"},
        "timeout": {"type": "int", "default": 3600},
    }


def reading_arguments() -> dict[str, dict[str, Any]]:
    """The options of doc fragment ``slipway.odoo.odoo.info``: for modules that start no Odoo."""
    options = {name: option for name, option in instance_arguments().items() if name != "timeout"}
    return {**options, "database": {"type": "str"}}


@dataclasses.dataclass(frozen=True)
class Session:
    """One instance, one of its databases and an open connection to it."""

    config: OdooConfig
    database: str
    connection: Any


@contextlib.contextmanager
def open_session(params: dict[str, Any], *, database: str) -> Iterator[Session]:
    """Read the configuration file and connect.

    :param params: a module's parameters.
    :param database: name of the parameter that holds the database's name.
    """
    config = load_config(params["config"], odoo_bin=params["odoo_bin"], user=params["odoo_user"])
    name = config.database(params[database])
    with contextlib.closing(connect(config, name)) as connection:
        yield Session(config, name, connection)


def run_module(module: Any, work: Callable[[Any], dict[str, Any]], *, intent: str, changes: bool = True) -> None:
    """Do a module's work and leave by the one exit.

    :param intent: what the module would do, should it be too early to look.
    :param changes: whether it could change anything.
    """
    try:
        result = work(module)
    except SlipwayError as error:
        if not (module.check_mode and isinstance(error, NotReadyError)):
            module.fail_json(msg=str(error), **error.details)
        result = {
            "changed": changes,
            "assumed": True,
            "msg": f"Would {intent}. It is too early to look closer: {error}",
        }
    module.exit_json(**result)
