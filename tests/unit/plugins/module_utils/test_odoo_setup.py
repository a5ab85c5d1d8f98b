"""Setting a database up: what its state means, when it is wiped, and what the difference says."""

from __future__ import annotations

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils import odoo_setup
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_db import FREE, ODOO, Overview
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_install import ModulePlan
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_setup import (
    BOOTSTRAP,
    Admin,
    decide_setup,
    first_run_options,
    found_state,
    is_debris,
)

ADMIN = Admin(id=2, login="admin", stored="$pbkdf2-sha512$…")
NOTHING = ModulePlan(requested=("base",))
EMPTY = Overview(kind=FREE)
EMPTY_MARKED = Overview(kind=FREE, unfinished=True)
DONE = Overview(kind=ODOO, modules={"base": "installed", "web": "installed"})
DONE_MARKED = Overview(kind=ODOO, unfinished=True, modules={"base": "installed"})
HALF = Overview(kind=ODOO, relations=("ir_module_module", "res_users"), modules={"base": "to install"})
HALF_AND_MORE = Overview(kind=ODOO, relations=("customers", "ir_module_module"), modules={"base": "to install"})
#: As -i of 18.0 leaves it for a moment: all tables, base not called installed yet.
FULL_BUT_HALF = Overview(kind=ODOO, modules={"base": "to install"})


def decide(overview, modules=NOTHING, **options):
    values = {
        "started_empty": False,
        "admin": ADMIN,
        "login": "admin",
        "password_matches": True,
        "update_admin": True,
        **options,
    }
    return decide_setup(overview, modules, **values)


@pytest.mark.parametrize(
    ("overview", "state"),
    [
        (EMPTY, "empty"),
        (EMPTY_MARKED, "unfinished"),
        (HALF, "unfinished"),
        (FULL_BUT_HALF, "unfinished"),
        (DONE_MARKED, "unfinished"),
        (DONE, "initialised"),
        (Overview(kind=ODOO, modules={"base": "to upgrade"}), "initialised"),
    ],
)
def test_states(overview, state):
    assert found_state(overview) == state
    assert decide(overview).initialise is (state != "initialised")


@pytest.mark.parametrize(
    ("overview", "started_empty", "debris"),
    [
        (EMPTY, True, False),
        (EMPTY_MARKED, True, False),
        (HALF, False, True),
        (HALF, True, True),
        (HALF_AND_MORE, False, False),
        (HALF_AND_MORE, True, True),
        (FULL_BUT_HALF, False, False),
        (FULL_BUT_HALF, True, True),
        (DONE, True, False),
        (DONE_MARKED, True, False),
        (DONE_MARKED, False, False),
    ],
)
def test_only_what_can_hold_nothing_of_anybodys_is_dropped(overview, started_empty, debris):
    assert is_debris(overview, started_empty=started_empty) is debris
    assert decide(overview, started_empty=started_empty).wipe is debris


def test_bootstrap_tables_and_their_sequences_are_known():
    names = (*tuple(sorted(BOOTSTRAP)), "res_users_id_seq")
    assert is_debris(Overview(kind=ODOO, relations=names, modules={}), started_empty=False)


def test_a_finished_database_that_is_as_wanted_needs_nothing():
    plan = decide(DONE)
    assert not plan.changed
    assert plan.diff() == {"before": {}, "after": {}}


def test_login_and_password_are_kept():
    plan = decide(DONE, login="chef", password_matches=False)
    assert plan.changed
    assert plan.diff() == {
        "before": {"admin_login": "admin", "admin_password": "(another one)"},
        "after": {"admin_login": "chef", "admin_password": "(the given one)"},
    }


def test_on_create_leaves_the_administrator_of_a_finished_database_alone():
    assert not decide(DONE, login="chef", password_matches=False, update_admin=False).changed
    assert not decide(DONE, admin=None, update_admin=False).changed
    assert decide(DONE_MARKED, update_admin=False).initialise


def test_a_removed_administrator_is_a_clear_error():
    with pytest.raises(SlipwayError, match=r"no user base\.user_admin any more"):
        decide(DONE, admin=None)


def test_missing_modules_of_a_finished_database_are_installed_without_a_set_up():
    plan = decide(DONE, modules=ModulePlan(requested=("crm",), install=("crm",), before=DONE.modules))
    assert plan.changed
    assert not plan.initialise
    assert plan.diff()["after"] == {"modules": {"crm": "installed"}}


def test_the_difference_of_a_new_database():
    plan = decide(EMPTY, modules=ModulePlan(requested=("base",), install=("base",)))
    assert plan.diff() == {
        "before": {"database": "empty", "modules": {"base": "uninstalled"}},
        "after": {"database": "initialised", "modules": {"base": "installed"}},
    }


def test_the_hash_is_not_in_the_representation():
    assert "pbkdf2" not in repr(ADMIN)


@pytest.mark.parametrize(
    ("series", "demo", "language", "options"),
    [
        ("19.0", False, "", ["--without-demo=True"]),
        ("19.0", True, "", ["--with-demo"]),
        ("18.0", False, "de_AT", ["--without-demo=all", "--load-language=de_AT"]),
        ("18.0", True, "", ["--without-demo="]),
    ],
)
def test_demo_data_and_language(series, demo, language, options):
    assert first_run_options(series=series, demo=demo, language=language) == options


@pytest.mark.parametrize("source", [odoo_setup.FINISH, odoo_setup.CHANGE])
def test_sources_are_python(source):
    compile(source, "<source>", "exec")


class Recorder:
    """Stands in for rows()."""

    def __init__(self, answers=()):
        self.calls = []
        self.answers = list(answers)

    def __call__(self, _connection, query, values=None):
        self.calls.append((" ".join(query.split()), values))
        return self.answers.pop(0) if self.answers else []


def test_the_marker_keeps_what_it_says(monkeypatch):
    rows = Recorder()
    monkeypatch.setattr(odoo_setup, "rows", rows)
    odoo_setup.set_marker(None, was_empty=True)
    assert "CREATE TABLE IF NOT EXISTS slipway_initialising" in rows.calls[0][0]
    assert "WHERE NOT EXISTS (SELECT FROM slipway_initialising)" in rows.calls[1][0]
    assert rows.calls[1][1] == (True,)


def test_reading_the_administrator(monkeypatch):
    monkeypatch.setattr(odoo_setup, "rows", Recorder([[(2, "admin", "hash")], []]))
    assert odoo_setup.read_admin(None) == Admin(id=2, login="admin", stored="hash")
    assert odoo_setup.read_admin(None) is None


@pytest.mark.parametrize(("answer", "empty"), [(True, True), (False, False), (None, False)])
def test_reading_the_marker(monkeypatch, answer, empty):
    monkeypatch.setattr(odoo_setup, "rows", Recorder([[(answer,)]]))
    assert odoo_setup.read_started_empty(None) is empty


def test_wiping_spares_the_marker_and_what_extensions_own(monkeypatch):
    rows = Recorder()
    monkeypatch.setattr(odoo_setup, "rows", rows)
    odoo_setup.wipe(None)
    ((query, _values),) = rows.calls
    assert "c.relname <> 'slipway_initialising'" in query
    assert "d.deptype = 'e'" in query
    assert "c.relowner = current_user::regrole" in query
