"""From the description of instances to what is checked."""

from __future__ import annotations

from ansible_collections.slipway.odoo.plugins.filter.site_checks import FilterModule, site_checks

MAIN = {
    "name": "main",
    "domains": ["odoo.example.test", "www.example.test"],
    "admin_password": "Yw83-plm2_Kd91s",
}


def test_is_found_by_its_name():
    assert FilterModule().filters() == {"site_checks": site_checks}


def test_what_the_description_leaves_out_is_filled_in():
    assert site_checks([MAIN]) == [
        {
            "name": "main",
            "domains": ["odoo.example.test", "www.example.test"],
            "database": "main",
            "login": "admin",
            "password": "Yw83-plm2_Kd91s",
        }
    ]


def test_what_it_says_counts():
    (site,) = site_checks([{**MAIN, "database": "crm", "admin_login": "root@example.test"}])
    assert (site["database"], site["login"]) == ("crm", "root@example.test")


def test_a_password_that_may_have_been_changed_is_left_out():
    (site,) = site_checks([{**MAIN, "update_admin_password": "on_create"}])
    assert "password" not in site


def test_no_instances():
    assert site_checks([]) == []
