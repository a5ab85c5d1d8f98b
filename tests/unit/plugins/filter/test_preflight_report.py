"""All that is wrong in one message."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.slipway.odoo.plugins.filter.preflight_report import FilterModule, preflight_report


def test_is_found_by_its_name():
    assert FilterModule().filters() == {"preflight_report": preflight_report}


def test_faults_are_numbered_under_what_they_belong_to():
    faults = {
        "inventory": ["the port 8069 is used by main and test: each needs its own"],
        "secrets": [],
        "db1": [{"text": "memory: too little.", "kind": "memory"}, {"text": "clock: off.", "kind": "clock"}],
    }
    assert preflight_report(faults) == (
        "Preflight found 3 faults. Nothing was changed.\n"
        "inventory:\n"
        "  1. the port 8069 is used by main and test: each needs its own\n"
        "db1:\n"
        "  2. memory: too little.\n"
        "  3. clock: off."
    )


def test_one_fault():
    assert preflight_report({"db1": ["x"]}).startswith("Preflight found one fault. ")


@pytest.mark.parametrize("faults", [{}, {"inventory": [], "db1": []}])
def test_no_faults(faults):
    assert preflight_report(faults) == ""


@pytest.mark.parametrize("faults", [None, ["x"], {"db1": "x"}, {"db1": None}])
def test_another_form(faults):
    with pytest.raises(AnsibleFilterError, match="expected lists of faults"):
        preflight_report(faults)
