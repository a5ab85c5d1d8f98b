"""The filter in front of the report: its name, its formats, and what it refuses."""

from __future__ import annotations

import json

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.slipway.odoo.plugins.filter.odoo_module_report import FilterModule, odoo_module_report

CRM = {"name": "crm", "state": "installed", "found_in": "both"}


def test_is_found_by_its_name():
    assert FilterModule().filters() == {"odoo_module_report": odoo_module_report}


def test_formats():
    assert odoo_module_report([CRM]).startswith("NAME ")
    assert odoo_module_report([CRM], "csv").startswith("name,display_name,")
    assert json.loads(odoo_module_report({"main": [CRM]}, "json")) == {"main": [CRM]}
    assert json.loads(odoo_module_report({"main": {"modules": [CRM], "item": 1}}, "json"))["main"] == {"modules": [CRM]}
    whole = {"database": "main", "modules": [CRM], "outdated": ["crm"], "item": 1}
    assert "outdated" in odoo_module_report(whole).splitlines()[1]
    # Two instances that are called so.
    assert "\n\ndatabase\nNAME " in odoo_module_report({"modules": [CRM], "database": [CRM]})
    assert len(odoo_module_report([{**CRM, "path": "/p" * 99}], width=90).splitlines()[1]) == 90


@pytest.mark.parametrize("form", ["xml", "", None, "CSV"])
def test_another_format(form):
    with pytest.raises(AnsibleFilterError, match="the format is one of table, csv, json, not"):
        odoo_module_report([CRM], form)


@pytest.mark.parametrize(
    "modules",
    [None, "crm", 1, ["crm"], [{"title": "x"}], {"main": CRM}, {"main": None}, {"modules": "crm", "database": "main"}],
)
def test_another_input(modules):
    with pytest.raises(AnsibleFilterError, match="expected what odoo_module_info returns, its modules"):
        odoo_module_report(modules)
