from __future__ import annotations

from ansible_collections.slipway.odoo.plugins.modules import odoo_config

TEXT = "[options]\ndb_name = main\ndb_password = hunter22hunter22\n; admin_passwd = commented\nworkers = 2\n"


def test_the_shown_text_has_no_secret_and_tells_which_changes() -> None:
    shown = odoo_config.masked(TEXT, changed={"db_password"}, secret={"db_password", "admin_passwd"})
    assert "hunter22" not in shown
    assert "db_password = ******** (changes)\n" in shown
    assert "workers = 2\n" in shown
    same = odoo_config.masked(TEXT, changed=set(), secret={"db_password"})
    assert "db_password = ********\n" in same


def test_values_are_read_past_comments() -> None:
    assert odoo_config.values(TEXT, keys={"db_password", "admin_passwd"}) == {"db_password": "hunter22hunter22"}


def test_a_missing_file_is_empty() -> None:
    assert odoo_config.read("/nonexistent/odoo.conf") == ""
