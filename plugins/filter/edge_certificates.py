# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters ``edge_certificates``, which judges an edge's certificates, and ``edge_certificate_chain``."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.slipway.odoo.plugins.module_utils import edge_certificates as certificates
from ansible_collections.slipway.odoo.plugins.module_utils.edge_policy import as_data


def edge_certificates(
    sites: Sequence[Mapping[str, Any]],
    *,
    certificates_found: Mapping[str, str | None],
    public_keys: Mapping[str, str | None],
    sources: Mapping[str, str],
    ca: str,
    renew_days: int,
    orders: Mapping[str, str] | None = None,
    directory: str = "",
) -> list[dict[str, Any]]:
    """Return for each site what is to be done about its certificate now.

    :raises AnsibleFilterError: when the controller has no ``cryptography``
    """
    _require_cryptography("edge_certificates")
    known = certificates.Known(
        found=certificates_found,
        public_keys=public_keys,
        sources=sources,
        ca=ca,
        renew_days=renew_days,
        orders=orders or {},
        directory=directory,
        now=datetime.datetime.now(datetime.timezone.utc),
    )
    return as_data(certificates.judge(sites, known=known))


def edge_certificate_chain(ca: str) -> str:
    """Return the certificates of a CA that a server must send besides its own.

    :raises AnsibleFilterError: when there is none in the text, or the controller has no ``cryptography``
    """
    _require_cryptography("edge_certificate_chain")
    try:
        return certificates.chain(ca)
    except ValueError as error:
        raise AnsibleFilterError(f"edge_certificate_chain: this is no PEM certificate: {error}") from error


def _require_cryptography(name: str) -> None:
    if certificates.IMPORT_ERROR is not None:
        raise AnsibleFilterError(f"{name}: the controller needs the Python package cryptography")


class FilterModule:
    """What ansible-core looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"edge_certificates": edge_certificates, "edge_certificate_chain": edge_certificate_chain}
