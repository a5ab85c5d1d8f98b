"""Make ``ansible_collections.slipway.odoo`` the checkout, without an installed collection."""

from __future__ import annotations

import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
LINK = ROOT / "collections" / "ansible_collections" / "slipway" / "odoo"

# In front of the collections that the package ansible brings, or an installed copy would be tested.
sys.path.insert(0, str(ROOT / "collections"))


def pytest_configure() -> None:
    """Refuse to run without the link, before imports fail for reasons that nobody would guess."""
    if LINK.resolve() != ROOT:
        raise pytest.UsageError(f"{LINK} must be a link to ../../..")


@pytest.fixture(scope="session")
def root() -> pathlib.Path:
    """Return the top of the checkout."""
    return ROOT
