"""Carrying a plan out, and the verdict of the database afterwards."""

from __future__ import annotations

import contextlib

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils import odoo_install
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_cli import OdooRun
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_install import carry_out, judge
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_manifest import Disk
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_plan import Known, ModulePlan

DISK = Disk("19.0", (), {})
FRESH = {"base": "installed", "web": "installed"}
INSTALL = ModulePlan(requested=("utm",), install=("utm",), before=FRESH)
UPDATE = ModulePlan(
    requested=(),
    upgrade=("utm", "crm"),
    roots=("utm",),
    before={**FRESH, "utm": "installed", "crm": "installed"},
    versions={"utm": ("19.0.1.0", "19.0.1.1"), "crm": ("19.0.2.0", "19.0.2.0")},
)


def known(states, **versions):
    return {name: Known(state, versions.get(name, "")) for name, state in states.items()}


def run(**values):
    return OdooRun(**{"code": 0, "log_file": "/log", **values})


def test_a_good_run_is_silent():
    judge(INSTALL, known({**FRESH, "utm": "installed"}), run())
    judge(UPDATE, known(UPDATE.before, utm="19.0.1.1", crm="19.0.2.0"), run(loaded=("utm", "crm")))


@pytest.mark.parametrize(
    ("states", "result", "words"),
    [
        # E68: the exit code is 0.
        ({"utm": "uninstalled"}, run(), "not installed: utm"),
        ({"utm": "installed", "mail": "to install"}, run(), "left half way: mail. Odoo runs no scheduled actions"),
        ({"utm": "installed"}, run(code=255), "it ended with code 255"),
        ({"utm": "installed"}, run(broken=True), "All modules are installed"),
        ({"utm": "uninstalled"}, run(code=-9), "it was ended by signal SIGKILL"),
        ({"utm": "uninstalled"}, run(timed_out=True), "longer than the time limit"),
        (
            {"utm": "uninstalled"},
            run(module="utm", traceback=("Traceback (most recent call last):", "ValueError: boom")),
            "Odoo failed while loading module 'utm': ValueError: boom. not installed: utm. Log: /log",
        ),
    ],
)
def test_the_database_judges(states, result, words):
    with pytest.raises(SlipwayError) as caught:
        judge(INSTALL, known({**FRESH, **states}), result)
    assert words in str(caught.value)
    assert caught.value.details["log_file"] == "/log"


def test_an_update_that_failed_says_what_was_done_before():
    with pytest.raises(SlipwayError) as caught:
        judge(UPDATE, known(UPDATE.before, utm="19.0.1.1"), run(broken=True, module="crm", loaded=("utm",)))
    assert "not updated: crm; updated before that, and kept: utm" in str(caught.value)
    details = caught.value.details
    assert (details["updated"], details["not_updated"], details["changed"]) == (["utm"], ["crm"], True)


def test_a_version_that_did_not_rise_is_a_failure():
    with pytest.raises(SlipwayError, match="still at the version before: utm"):
        judge(UPDATE, known(UPDATE.before, utm="19.0.1.0", crm="19.0.2.0"), run(loaded=("utm", "crm")))


class Database:
    """What carrying out a plan asks and writes."""

    def __init__(self, monkeypatch, states, **versions):
        self.asked, self.queries, self.recorded, self.runs = [], [], [], []
        self.result = run()
        self.there = True
        monkeypatch.setattr(odoo_install, "rows", self.rows)
        monkeypatch.setattr(odoo_install, "read_module_states", lambda _c: dict(states))
        monkeypatch.setattr(odoo_install, "read_known", lambda _c: known(states, **versions))
        monkeypatch.setattr(odoo_install, "read_content", self.content)
        monkeypatch.setattr(odoo_install, "record", self.record)
        monkeypatch.setattr(odoo_install, "still_connected", lambda connection, *_a: contextlib.nullcontext(connection))
        monkeypatch.setattr(odoo_install, "run_odoo", self.run)

    def content(self, _connection, disk, names):
        assert (disk, self.runs) == (DISK, []), "Odoo must not have read them yet"
        return ("content", *sorted(names))

    def record(self, _connection, _disk, content, names):
        self.recorded.append((content, names))

    def rows(self, _connection, query, values=None):
        self.asked.append(values)
        self.queries.append(query)
        return [(self.there,)]

    def run(self, *args, **options):
        self.runs.append((args, options))
        return self.result


def test_states_are_put_back_by_sql_without_starting_odoo(monkeypatch):
    database = Database(monkeypatch, {**FRESH, "mail": "installed"})
    plan = ModulePlan(requested=("mail",), reset={"mail": "installed"}, before={**FRESH, "mail": "to remove"})
    outcome = carry_out(None, None, "db", plan, disk=DISK, timeout=1)
    assert outcome.run is None
    assert (database.asked, database.runs, database.recorded) == ([("installed", ["mail"])], [], [])
    assert "lock_timeout" in database.queries[0], "somebody may hold the row"


def test_what_was_installed_is_told_and_recorded(monkeypatch):
    database = Database(monkeypatch, {**FRESH, "utm": "installed", "x": "uninstalled"})
    outcome = carry_out("connection", "config", "db", INSTALL, disk=DISK, extra=["--with-demo"], timeout=7)
    assert outcome.installed == ("utm",)
    assert database.runs == [(("config", "db", ["-i", "utm", "--with-demo"]), {"purpose": "modules", "timeout": 7})]
    assert database.recorded == [(("content", "utm"), ("utm",))]


def test_what_was_updated_is_recorded(monkeypatch):
    database = Database(monkeypatch, UPDATE.before, utm="19.0.1.1", crm="19.0.2.0")
    carry_out("connection", "config", "db", UPDATE, disk=DISK, timeout=7)
    assert database.runs[0][0][2] == ["-u", "utm"]
    assert database.recorded == [(("content", "crm", "utm"), ("utm", "crm"))]


def test_adopting_starts_no_odoo(monkeypatch):
    database = Database(monkeypatch, FRESH)
    carry_out(None, None, "db", ModulePlan(requested=(), adopt=("web",), before=FRESH), disk=DISK, timeout=1)
    assert (database.runs, database.recorded) == ([], [(("content", "web"), ("web",))])


def test_imported_modules_that_odoo_marked_are_put_back(monkeypatch):
    database = Database(monkeypatch, {})
    before = {"utm": Known("installed", "19.0.1.1"), "crm": Known("installed", "19.0.2.0")}
    answers = [
        {**before, "archive": Known("to upgrade", imported=True)},
        {**before, "archive": Known("installed", imported=True)},
    ]
    monkeypatch.setattr(odoo_install, "read_known", lambda _c: answers.pop(0))
    assert carry_out(None, None, "db", UPDATE, disk=DISK, timeout=1).states["archive"] == "installed"
    assert ("installed", ["archive"]) in database.asked


def test_a_leftover_that_odoo_did_not_install_is_missed():
    plan = ModulePlan(requested=(), install=("utm", "sms"), automatic=frozenset(["sms"]), before=FRESH)
    with pytest.raises(SlipwayError, match="not installed: utm"):
        judge(plan, known({**FRESH, "utm": "uninstalled"}), run())


def test_an_error_after_the_run_says_that_something_changed(monkeypatch):
    Database(monkeypatch, FRESH)

    def lost(*_arguments):
        raise SlipwayError("server closed the connection")

    monkeypatch.setattr(odoo_install, "still_connected", lost)
    with pytest.raises(SlipwayError) as caught:
        carry_out(None, None, "db", INSTALL, disk=DISK, timeout=1)
    assert caught.value.details["changed"] is True


def test_nothing_is_recorded_after_a_failure(monkeypatch):
    database = Database(monkeypatch, UPDATE.before, utm="19.0.1.1")
    database.result = run(broken=True, loaded=("utm",))
    with pytest.raises(SlipwayError):
        carry_out(None, None, "db", UPDATE, disk=DISK, timeout=1)
    assert database.recorded == []


def test_a_database_that_vanished_under_the_run_is_a_failure(monkeypatch):
    database = Database(monkeypatch, {})
    database.there, database.result = False, run(code=-9)
    with pytest.raises(SlipwayError, match="not installed: base"):
        carry_out(None, None, "db", ModulePlan(requested=("base",), install=("base",)), disk=DISK, timeout=1)
