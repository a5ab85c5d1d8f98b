# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter ``odoo_module_report``: the modules of an instance as table, CSV or JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_module_report import (
    FORMATS,
    is_inventory,
    render,
)


def odoo_module_report(modules: Any, form: str = "table", width: int = 0) -> str:
    """Render what the module ``odoo_module_info`` returns, its ``modules`` alone, or several of either by instance.

    :param form: ``table``, ``csv`` or ``json``
    :param width: how wide a table may be; 0 for no limit
    :raises AnsibleFilterError: when the input or the format is another one
    """
    if form not in FORMATS:
        raise AnsibleFilterError(f"odoo_module_report: the format is one of {', '.join(FORMATS)}, not {form!r}")
    several = isinstance(modules, Mapping) and not is_inventory(modules)
    lists = [
        found["modules"] if isinstance(found, Mapping) and "modules" in found else found
        for found in (modules.values() if several else [modules])
    ]
    if not all(isinstance(found, (list, tuple)) for found in lists) or not all(
        isinstance(module, Mapping) and "name" in module for found in lists for module in found
    ):
        raise AnsibleFilterError(
            "odoo_module_report: expected what odoo_module_info returns, its modules, or several of either by instance"
        )
    return render(modules, form=form, width=width)


class FilterModule:
    """What ansible-core looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"odoo_module_report": odoo_module_report}
