# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter ``site_checks``: what the module ``odoo_site_check`` is to look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils import odoo_instance


def site_checks(instances: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the option ``sites`` of ``odoo_site_check`` for the instances of a site.

    A password that is only set when the instance is made may be another one by now: it is left out.
    """
    sites = []
    for instance in map(odoo_instance.complete, instances):
        site = {
            "name": instance["name"],
            "domains": list(instance["domains"]),
            "database": instance["database"],
            "login": instance["admin_login"],
        }
        if instance["update_admin_password"] == "always":  # noqa: S105
            site["password"] = instance["admin_password"]
        sites.append(site)
    return sites


class FilterModule:
    """What ansible-core looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"site_checks": site_checks}
