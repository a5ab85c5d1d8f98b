"""What installing means: plans as Odoo would make them, leftovers, and the verdict afterwards."""

from __future__ import annotations

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils import odoo_install
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_cli import OdooRun
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_install import (
    ModulePlan,
    carry_out,
    decide,
    judge,
    load_order,
    needs_plan,
    run_arguments,
)
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_manifest import Manifest
from hypothesis import given
from hypothesis import strategies as st


def module(name, *depends, auto=None, countries=(), fault=""):
    return Manifest(
        name,
        f"/addons/{name}",
        depends=depends or (() if name == "base" else ("base",)),
        auto_install=None if auto is None else frozenset(auto),
        countries=countries,
        fault=fault,
    )


DISK = {
    manifest.name: manifest
    for manifest in (
        module("base", auto=[]),
        module("web", auto=["base"]),
        module("mail", "web"),
        module("crm", "mail", "utm"),
        module("utm"),
        module("sms", "mail", auto=["mail"]),
        module("crm_sms", "crm", "sms", auto=["crm", "sms"]),
        module("l10n_be", "mail", auto=["mail"], countries=("BE",)),
        module("enterprise", fault="its manifest says installable: False"),
        module("needs_enterprise", "enterprise"),
        module("needs_ghost", "needs_ghost_2"),
        module("needs_ghost_2", "ghost"),
        module("circle_a", "circle_b"),
        module("circle_b", "circle_a"),
        module("auto_bad", "mail", "ghost", auto=["mail"]),
    )
}
FRESH = {"base": "installed", "web": "installed"}


def plan(*names, states=None, **options):
    return decide(names=names, states=FRESH if states is None else states, manifests=DISK, **options)


def test_nothing_to_do_needs_no_plan():
    assert not needs_plan(["web"], FRESH)
    assert needs_plan(["crm"], FRESH)
    assert needs_plan(["web"], {**FRESH, "crm": "to upgrade"})
    assert not plan("web").changed


def test_dependencies_and_automatic_modules_are_part_of_the_plan():
    result = plan("crm")
    assert result.install == ("utm", "mail", "crm", "sms", "crm_sms")
    assert result.automatic == {"sms", "crm_sms"}
    assert result.diff() == {
        "before": dict.fromkeys(["crm", "crm_sms", "mail", "sms", "utm"], "uninstalled"),
        "after": dict.fromkeys(["crm", "crm_sms", "mail", "sms", "utm"], "installed"),
    }


def test_automatic_installation_can_be_off():
    assert plan("crm", automatic=False).install == ("utm", "mail", "crm")


def test_country_modules_come_with_a_company_of_their_country():
    assert "l10n_be" not in plan("mail", countries=["FR"]).install
    assert "l10n_be" in plan("mail", countries=["FR", "BE"]).install


def test_an_automatic_module_needs_a_trigger_that_is_new():
    states = {**FRESH, "mail": "installed"}
    assert plan("utm", states=states).install == ("utm",)


def test_an_asked_for_automatic_module_is_not_called_automatic():
    result = plan("sms", "crm_sms")
    assert result.automatic == frozenset()
    assert set(result.install) == {"mail", "sms", "utm", "crm", "crm_sms"}


def test_an_empty_database_gets_what_odoo_starts_with():
    result = plan("base", states={})
    assert result.install == ("base", "web")
    assert plan("base", states={}, automatic=False).install == ("base",)
    assert set(plan("base", "mail", states={}).install) == {"base", "web", "mail", "sms"}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("crm_sns", "module 'crm_sns' is in no directory of the addons path: did you mean crm_sms?"),
        ("zzz", "module 'zzz' is in no directory of the addons path"),
        ("enterprise", "module 'enterprise' cannot be installed: its manifest says installable: False"),
        ("needs_enterprise", "module 'enterprise' cannot be installed (needed by needs_enterprise)"),
        (
            "needs_ghost",
            "module 'ghost' is in no directory of the addons path (needed by needs_ghost_2 <- needs_ghost)",
        ),
        ("circle_a", "circle_a -> circle_b -> circle_a is a circle"),
    ],
)
def test_bad_names_are_refused_before_anything_is_done(name, words):
    with pytest.raises(SlipwayError) as caught:
        plan("crm", name)
    assert words in str(caught.value)
    assert "Nothing was changed" in str(caught.value)


def test_all_bad_names_are_told_at_once():
    with pytest.raises(SlipwayError) as caught:
        plan("one_bad", "crm", "two_bad")
    assert caught.value.details["unknown_modules"] == ["one_bad", "two_bad"]


def test_a_module_that_only_the_database_knows():
    with pytest.raises(SlipwayError, match="although the database knows it"):
        plan("old", states={**FRESH, "old": "uninstalled"})


def test_what_is_installed_need_not_be_on_disk():
    assert not plan("old", states={**FRESH, "old": "installed"}).changed


def test_leftovers_are_finished_or_put_back():
    states = {
        **FRESH,
        "mail": "to install",
        "utm": "to upgrade",
        "gone_upgrade": "to upgrade",
        "gone_install": "to install",
        "needs_ghost": "to install",
        "sms": "to remove",
    }
    result = plan("web", states=states)
    assert result.changed
    assert result.install == ("mail",)
    assert result.upgrade == ("utm",)
    assert result.reset == {
        "gone_upgrade": "installed",
        "gone_install": "uninstalled",
        "needs_ghost": "uninstalled",
        "sms": "installed",
    }
    assert result.repaired == ("gone_install", "gone_upgrade", "mail", "needs_ghost", "sms", "utm")
    assert run_arguments(result) == ["-i", "mail", "-u", "utm"]
    assert result.diff()["before"]["sms"] == "to remove"


def test_a_leftover_brings_its_missing_dependencies():
    result = plan("web", states={**FRESH, "crm": "to install"})
    assert {"mail", "utm", "crm"} <= set(result.install)
    assert run_arguments(result) == ["-i", "crm"]


def test_a_wanted_module_marked_for_removal_stays():
    result = plan("mail", states={**FRESH, "mail": "to remove"})
    assert result.reset == {"mail": "installed"}
    assert run_arguments(result) == []


def test_only_the_names_that_are_missing_are_passed_to_odoo():
    assert run_arguments(plan("web", "crm", "mail")) == ["-i", "crm,mail"]
    assert run_arguments(plan("web"), at_least=["base", "web"]) == ["-i", "base,web"]


@st.composite
def disks(draw):
    """A disk without circles: a module depends on modules made before it only."""
    names = [f"m{number}" for number in range(draw(st.integers(1, 12)))]
    found = {"base": module("base", auto=[])}
    for name in names:
        depends = draw(st.lists(st.sampled_from(sorted(found)), unique=True, max_size=3)) or ["base"]
        auto = draw(st.one_of(st.none(), st.lists(st.sampled_from(depends), unique=True)))
        found[name] = module(name, *depends, auto=auto)
    return found


@given(disks(), st.data())
def test_plans_are_closed_ordered_and_settle(disk, data):
    names = data.draw(st.lists(st.sampled_from(sorted(disk)), unique=True))
    states = {"base": "installed"}
    result = decide(names=names, states=states, manifests=disk)
    done = set(states)
    for name in result.install:
        assert name not in done
        assert set(disk[name].depends) <= done, "a module stands before something it needs"
        done.add(name)
    assert set(names) <= done
    after = {**states, **result.after()}
    assert not decide(names=names, states=after, manifests=disk).changed


@given(disks(), st.data())
def test_the_order_depends_on_the_disk_alone(disk, data):
    names = data.draw(st.permutations(sorted(disk)))
    assert load_order(names, disk) == load_order(sorted(disk), disk)


def run(**values):
    return OdooRun(**{"code": 0, "log_file": "/log", **values})


def test_a_good_run_is_silent():
    judge(plan("utm"), {**FRESH, "utm": "installed"}, run())


@pytest.mark.parametrize(
    ("states", "result", "words"),
    [
        # E68: the exit code is 0.
        ({"utm": "uninstalled"}, run(), "not installed: utm"),
        ({"utm": "installed", "mail": "to install"}, run(), "left half way: mail"),
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
        judge(plan("utm"), {**FRESH, **states}, result)
    assert words in str(caught.value)
    assert caught.value.details["log_file"] == "/log"


def test_states_are_put_back_by_sql_without_starting_odoo(monkeypatch):
    asked = []
    monkeypatch.setattr(
        odoo_install, "rows", lambda _connection, query, values=None: asked.append((query, values)) or []
    )
    monkeypatch.setattr(odoo_install, "read_module_states", lambda _connection: dict(FRESH, mail="installed"))
    monkeypatch.setattr(odoo_install, "run_odoo", lambda *_a, **_k: pytest.fail("Odoo was started"))
    outcome = carry_out(None, None, "db", plan("mail", states={**FRESH, "mail": "to remove"}), timeout=1)
    assert outcome.run is None
    assert [values for _query, values in asked] == [("installed", ["mail"])]


def test_a_run_is_told_what_it_installed(monkeypatch):
    monkeypatch.setattr(odoo_install, "rows", lambda *_a: [(True,)])
    monkeypatch.setattr(
        odoo_install, "read_module_states", lambda _c: {**FRESH, "utm": "installed", "x": "uninstalled"}
    )
    calls = []
    monkeypatch.setattr(odoo_install, "run_odoo", lambda *args, **options: calls.append((args, options)) or run())
    outcome = carry_out("connection", "config", "db", plan("utm"), extra=["--with-demo"], timeout=7)
    assert outcome.installed == ("utm",)
    assert calls == [(("config", "db", ["-i", "utm", "--with-demo"]), {"purpose": "modules", "timeout": 7})]


def test_a_database_that_vanished_under_the_run_is_a_failure(monkeypatch):
    monkeypatch.setattr(odoo_install, "rows", lambda *_a: [(False,)])
    monkeypatch.setattr(odoo_install, "run_odoo", lambda *_a, **_k: run(code=-9))
    with pytest.raises(SlipwayError, match="not installed: base"):
        carry_out(None, None, "db", ModulePlan(requested=("base",), install=("base",)), timeout=1)
