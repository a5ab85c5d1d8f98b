"""Throw away the compiled bundles of JavaScript and CSS; Odoo makes them anew. For slipway.odoo.odoo_shell.

The next page that needs a bundle builds it. ``result`` holds the number of bundles that were ``removed``.
"""
# ruff: noqa: F821 - odoo shell brings env

from __future__ import annotations

BUNDLES = [("public", "=", True), ("url", "=like", "/web/assets/%"), ("res_model", "=", "ir.ui.view")]


def bundles() -> set[int]:
    """Ids of the compiled bundles."""
    return set(env["ir.attachment"].search(BUNDLES).ids)


before = bundles()
env["ir.attachment"].regenerate_assets_bundles()
removed = before - bundles()
result = {"removed": len(removed)}
changed = bool(removed)
