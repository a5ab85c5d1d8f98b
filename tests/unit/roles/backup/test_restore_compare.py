"""Whether a restored database holds what it should."""

from __future__ import annotations

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from slipway_backup import restore_compare


def test_rows_must_be_the_same():
    restore_compare.compare_rows({"public.a": 1}, {"public.a": 1})
    with pytest.raises(SlipwayError, match=r"public.a has 2 instead of 1; public.b has no rows"):
        restore_compare.compare_rows({"public.a": 1, "public.b": 0}, {"public.a": 2})
