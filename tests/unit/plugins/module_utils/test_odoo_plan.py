"""Plans as Odoo would make them: what is installed and updated, leftovers, and what is refused."""

from __future__ import annotations

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_install import run_arguments
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_manifest import Manifest
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_plan import ModulePlan, decide, load_order, needs_plan
from hypothesis import given, settings
from hypothesis import strategies as st


def module(name, *depends, auto=None, countries=(), excludes=(), fault=""):
    return Manifest(
        name,
        f"/addons/{name}",
        depends=depends or (() if name == "base" else ("base",)),
        auto_install=None if auto is None else frozenset(auto),
        countries=countries,
        excludes=excludes,
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
        "mail": "uninstalled",
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
    # Only then does Odoo look for what it needs, and for automatic modules.
    assert result.reset == {"crm": "uninstalled"}
    assert result.after()["crm"] == "installed"


def test_the_first_module_is_installed_because_of_its_state():
    assert plan("base", states={"base": "to install"}).reset == {}


def test_modules_that_exclude_each_other_are_refused():
    disk = {**DISK, "one": module("one", excludes=("crm", "ghost")), "two": module("two", excludes=("two_b",))}
    with pytest.raises(SlipwayError, match="Nothing was changed: modules 'crm' and 'one' exclude each other"):
        decide(names=["one", "crm"], states=FRESH, manifests=disk)
    with pytest.raises(SlipwayError, match="exclude each other"):
        decide(names=["sms"], states={**FRESH, "one": "installed", "crm": "installed"}, manifests=disk)
    assert decide(names=["one", "two"], states=FRESH, manifests=disk).install == ("one", "two")
    assert not decide(names=["web"], states={**FRESH, "one": "installed", "crm": "installed"}, manifests=disk).changed


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


@settings(max_examples=40)
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


@settings(max_examples=40)
@given(disks(), st.data())
def test_the_order_depends_on_the_disk_alone(disk, data):
    names = data.draw(st.permutations(sorted(disk)))
    assert load_order(names, disk) == load_order(sorted(disk), disk)


INSTALLED = dict.fromkeys(("base", "web", "mail", "utm", "crm", "sms", "crm_sms"), "installed")


def update(*changed, states=None, **options):
    reasons = dict.fromkeys(changed, "its content differs")
    return decide(names=(), states=states or INSTALLED, manifests=DISK, changed=reasons, **options)


@pytest.mark.parametrize(
    ("changed", "roots", "upgrade"),
    [
        (["crm_sms"], ("crm_sms",), ("crm_sms",)),
        (["mail"], ("mail",), ("mail", "crm", "sms", "crm_sms")),
        # What a root updates anyhow is not named to Odoo.
        (["crm_sms", "mail", "crm"], ("mail",), ("mail", "crm", "sms", "crm_sms")),
        (["sms", "crm"], ("crm", "sms"), ("crm", "sms", "crm_sms")),
        (["utm"], ("utm",), ("utm", "crm", "crm_sms")),
        (["base", "crm"], ("base",), ("base", "utm", "web", "mail", "crm", "sms", "crm_sms")),
        ([], (), ()),
    ],
)
def test_the_fewest_names_update_what_changed_and_its_dependents(changed, roots, upgrade):
    result = update(*changed)
    assert (result.roots, result.upgrade) == (roots, upgrade)
    assert run_arguments(result) == (["-u", ",".join(roots)] if roots else [])
    assert result.changed is bool(changed)


def test_why_each_is_updated():
    assert update("utm").reasons == {
        "utm": "its content differs",
        "crm": "depends on utm",
        "crm_sms": "depends on utm",
    }


def test_base_takes_along_what_hangs_on_it_by_a_new_dependency():
    disk = {**DISK, "late": module("late", "utm")}
    states = {"base": "installed", "late": "installed", "studio_customization": "installed"}
    result = decide(names=(), states=states, manifests=disk, changed={"base": "x"})
    assert set(result.upgrade) == {"base", "late"}
    assert result.install == ("utm",)
    assert not result.automatic


def test_leftovers_of_an_update_are_all_named_and_bring_their_dependents():
    result = update("mail", states={**INSTALLED, "crm": "to upgrade"})
    assert result.roots == ("crm", "mail")
    assert result.upgrade == ("mail", "crm", "sms", "crm_sms")
    assert result.reasons["crm"] == "a killed run left it half way"
    assert plan("web", states={**INSTALLED, "crm": "to upgrade"}).upgrade == ("crm", "crm_sms")


def test_an_update_that_odoo_would_leave_half_way_is_refused():
    with pytest.raises(SlipwayError) as caught:
        update("mail", states={**INSTALLED, "gone": "installed"}, known_depends={"gone": ["crm"]})
    assert "module 'gone' would be updated (it depends on what changed)" in str(caught.value)
    assert "in no directory of the addons path although the database knows it" in str(caught.value)
    with pytest.raises(SlipwayError, match="module 'enterprise' cannot be loaded"):
        update("enterprise", states={**INSTALLED, "enterprise": "installed"})


def test_imported_modules_are_not_updated():
    states = {**INSTALLED, "archive": "installed"}
    options = {"known_depends": {"archive": ["crm"]}, "imported": {"archive"}}
    assert update("mail", states=states, **options).upgrade == ("mail", "crm", "sms", "crm_sms")
    assert "archive" not in update("base", states=states, **options).upgrade
    assert update(states={**states, "archive": "to upgrade"}, **options).reset == {"archive": "installed"}


def test_a_module_whose_installed_dependency_lost_its_code_is_refused():
    with pytest.raises(SlipwayError, match=r"'ghost' is in no directory .* although the database knows it"):
        plan("needs_ghost", states={**FRESH, "ghost": "installed"})


def test_the_difference_shows_versions_and_what_is_adopted():
    result = ModulePlan(
        requested=(),
        upgrade=("crm", "sms"),
        adopt=("web",),
        before={**INSTALLED, "sms": "to upgrade"},
        versions={"crm": ("19.0.1.0", "19.0.1.1")},
    )
    assert result.diff() == {
        "before": {"crm": "installed 19.0.1.0", "sms": "to upgrade", "web": "installed, content unknown"},
        "after": {"crm": "updated to 19.0.1.1", "sms": "updated", "web": "installed, content recorded"},
    }


@settings(max_examples=50)
@given(disks(), st.data())
def test_updates_cover_what_changed_once(disk, data):
    states = dict.fromkeys(disk, "installed")
    changed = data.draw(st.lists(st.sampled_from(sorted(disk)), unique=True))
    result = decide(names=(), states=states, manifests=disk, changed=dict.fromkeys(changed, "x"))
    assert set(changed) <= set(result.upgrade)
    done = set(result.upgrade)
    for name in disk:
        if done & {*disk[name].depends}:
            assert name in done, "a dependent was forgotten"
    for name in set(result.upgrade) - {*changed}:
        assert name not in result.roots
    for root in result.roots:
        above, todo = set(), [*disk[root].depends]
        while todo:
            name = todo.pop()
            above.add(name)
            todo += disk[name].depends
        assert not above & {*result.roots}, "it would have been updated anyhow"
