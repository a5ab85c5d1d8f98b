# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter ``preflight_report``: all that is wrong, in one message."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.slipway.odoo.plugins.module_utils.preflight import report


def preflight_report(faults: Any) -> str:
    """Return one numbered text of faults by what they belong to; empty where there are none.

    :param faults: lists of texts, or of faults as the module ``preflight_info`` returns them, by title
    :raises AnsibleFilterError: when it is no mapping of lists
    """
    if not isinstance(faults, Mapping) or not all(isinstance(texts, (list, tuple)) for texts in faults.values()):
        raise AnsibleFilterError("preflight_report: expected lists of faults by what they belong to")
    return report(
        faults={
            str(title): [str(text["text"]) if isinstance(text, Mapping) else str(text) for text in texts]
            for title, texts in faults.items()
        }
    )


class FilterModule:
    """What ansible-core looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"preflight_report": preflight_report}
