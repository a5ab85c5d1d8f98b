"""What a removal takes along, and who may remove what."""

from __future__ import annotations

import contextlib
import types

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils import odoo_removal
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_cli import Answer, OdooRun
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_manifest import Manifest
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_plan import Known
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_removal import (
    MANY_ROWS,
    Losses,
    RemovalPlan,
    carry_out_removal,
    decide_removal,
    read_losses,
    typos,
)

DEPENDS = {"base": (), "web": ("base",), "mail": ("web",), "crm": ("mail",), "crm_sms": ("crm",), "sale": ("web",)}
DISK = {name: Manifest(name, f"/addons/{name}", depends=depends) for name, depends in DEPENDS.items()}
KNOWN = {name: Known("installed", "19.0.1.0", depends) for name, depends in DEPENDS.items()}


def plan(*names, known=None, manifests=None, **options):
    return decide_removal(names=names, known=known or KNOWN, manifests=manifests or DISK, **options)


def with_states(**states):
    return {name: Known(states.get(name, "installed"), "", depends) for name, depends in DEPENDS.items()}


def test_dependents_go_first():
    result = plan("mail")
    assert result.remove == ("crm_sms", "crm", "mail")
    assert result.dependents == ("crm_sms", "crm")
    assert result.changed
    assert result.diff() == {
        "before": dict.fromkeys(["crm", "crm_sms", "mail"], "installed"),
        "after": dict.fromkeys(["crm", "crm_sms", "mail"], "uninstalled"),
    }


def test_a_dependent_by_its_manifest_only_goes_too():
    manifests = {**DISK, "sale": Manifest("sale", "/addons/sale", depends=("crm",))}
    assert set(plan("crm", manifests=manifests).remove) == {"crm_sms", "crm", "sale"}


def test_what_is_not_installed_is_absent_already():
    result = plan("crm_sms", "ghost", "carm", known=with_states(crm_sms="uninstalled"))
    assert not result.changed
    assert result.unknown == ("ghost", "carm")
    assert typos(result, DISK) == [
        "No module 'ghost' is installed, nor on the addons path",
        "No module 'carm' is installed, nor on the addons path: did you mean crm?",
    ]


@pytest.mark.parametrize(
    ("names", "needed", "words"),
    [
        (["base"], (), "base cannot be removed"),
        (["crm", "web"], (), "web cannot be removed"),
        (["rpc"], (), "rpc cannot be removed"),
        (["sale"], ("sale",), "sale cannot be removed"),
        (["mail"], ("crm",), "removing mail would take crm along, which Odoo needs"),
    ],
)
def test_what_odoo_needs_stays(names, needed, words):
    with pytest.raises(SlipwayError, match=words):
        plan(*names, needed=needed)


@pytest.mark.parametrize("name", ["mail", "crm"])
def test_a_module_without_code_is_not_removed(name):
    manifests = {key: value for key, value in DISK.items() if key != "crm_sms"}
    with pytest.raises(SlipwayError, match=r"cannot load the code of crm_sms, .* Put the code back"):
        plan(name, manifests=manifests)
    manifests["crm_sms"] = Manifest("crm_sms", "/addons/crm_sms", fault="broken", readable=False)
    with pytest.raises(SlipwayError, match=r"crm_sms \(broken\)"):
        plan(name, manifests=manifests)


def test_leftovers_are_put_in_order_first():
    result = plan("crm", known=with_states(crm="to upgrade", crm_sms="to install", sale="to upgrade", mail="to remove"))
    assert result.remove == ("crm",)
    assert result.repair.reset == {"crm": "installed", "crm_sms": "uninstalled", "mail": "installed"}
    assert result.repair.roots == ("sale",)
    assert result.repair.repaired == ("crm", "crm_sms", "mail", "sale")
    assert result.diff()["before"]["crm"] == "to upgrade"
    assert result.diff()["after"] == {
        "crm": "uninstalled",
        "crm_sms": "uninstalled",
        "mail": "installed",
        "sale": "updated",
    }


def test_losses_are_counted_in_one_round_trip(monkeypatch):
    asked = []
    items = [
        ("fields", "res.partner.big", "public.res_partner", "count(big)", MANY_ROWS * 2.0, 0.75),
        ("fields", "res.users.rank", "public.res_users", "count(rank)", 3.0, None),
        ("fields", "res.users.void", "public.res_users", "count(void)", 3.0, None),
        ("records", "crm.lead", "public.crm_lead", "count(*)", 5.0, None),
        ("relations", "crm_lead", "public.crm_lead", "count(*)", 5.0, None),
        ("relations", "crm_tag_rel", "public.crm_tag_rel", "count(*)", -1.0, None),
        ("values", "res.users.kind=crm", "public.res_users", "count(*) FILTER (WHERE kind = 'crm')", 3.0, None),
    ]

    def rows(_connection, query, values=None):
        asked.append(query)
        if query is odoo_removal._ITEMS:
            return items
        if query is odoo_removal._DATA:
            assert values == {"names": ["crm"], "lost": ["crm.lead"]}
            return [("ir.ui.menu", 3)]
        assert query == (
            "SELECT 0, ARRAY[count(rank), count(void), count(*) FILTER (WHERE kind = 'crm')] FROM public.res_users"
            " UNION ALL SELECT 1, ARRAY[count(*), count(*)] FROM public.crm_lead"
            " UNION ALL SELECT 2, ARRAY[count(*)] FROM public.crm_tag_rel"
        )
        return [(0, [2, 0, 1]), (1, [5, 5]), (2, [4])]

    monkeypatch.setattr(odoo_removal, "rows", rows)
    losses = read_losses(None, ["crm"])
    assert len(asked) == 3
    assert losses == Losses(
        records={"crm.lead": 5},
        fields={"res.partner.big": MANY_ROWS // 2, "res.users.rank": 2},
        relations={"crm_tag_rel": 4},
        values={"res.users.kind=crm": 1},
        data={"ir.ui.menu": 3},
        estimated=("res.partner.big",),
        tables=("public.crm_lead", "public.crm_tag_rel"),
    )
    assert losses.words() == (
        "records: crm.lead 5; values of fields: res.partner.big about 500000, res.users.rank 2; "
        "links: crm_tag_rel 4; records with a choice that goes: res.users.kind=crm 1; "
        "records that came with the modules: ir.ui.menu 3"
    )
    assert "tables" not in losses.result()


def test_nothing_to_remove_costs_nothing():
    assert read_losses(None, []) == Losses()
    assert Losses().words() == "no records"


class Removing:
    """A removal with stand-ins for Odoo and the database."""

    def __init__(self, monkeypatch, states, error=None):
        self.recorded = []
        self.error = error
        monkeypatch.setattr(odoo_removal, "run_source", self.run_source)
        monkeypatch.setattr(odoo_removal, "read_module_states", lambda _c: states)
        monkeypatch.setattr(odoo_removal, "record", lambda _c, _d, _content, names: self.recorded.append(names))
        monkeypatch.setattr(odoo_removal, "read_content", lambda _c, _d, _names: None)
        monkeypatch.setattr(odoo_removal, "still_connected", lambda connection, *_a: contextlib.nullcontext(connection))
        monkeypatch.setattr(odoo_removal, "rows", lambda _c, _q, values: [(table,) for table in values[0]])

    def run_source(self, _config, _database, source, payload, **_options):
        assert (source, payload) == (odoo_removal.UNINSTALL, ["crm_sms", "crm"])
        if self.error:
            raise self.error
        return Answer(result=True, changed=None, printed="", run=OdooRun(code=0, log_file="/log"))

    def carry_out(self):
        removal = RemovalPlan(
            requested=("crm",), repair=types.SimpleNamespace(changed=False), remove=("crm_sms", "crm")
        )
        losses = Losses(tables=("crm_lead",))
        return carry_out_removal(None, None, "db", removal, losses, disk=None, timeout=1)


def test_a_removal_is_judged_by_the_database(monkeypatch):
    removing = Removing(monkeypatch, {"crm": "uninstalled", "crm_sms": "uninstalled"})
    outcome = removing.carry_out()
    assert (outcome.left_behind, outcome.run.log_file) == (("crm_lead",), "/log")
    assert removing.recorded == [()], "checksums of what is gone are forgotten"


@pytest.mark.parametrize(
    ("states", "error", "words", "details"),
    [
        (
            {"crm": "installed", "crm_sms": "uninstalled"},
            None,
            "Odoo did not remove crm",
            {"changed": True, "not_removed": ["crm"], "pending": []},
        ),
        (
            {"crm": "to remove", "crm_sms": "to remove"},
            SlipwayError("it was killed", log_file="/log"),
            "Odoo did not remove crm_sms, crm: it was killed. Left half way: crm, crm_sms; run this again",
            {"changed": False, "log_file": "/log", "pending": ["crm", "crm_sms"]},
        ),
        (
            {"crm": "uninstalled", "crm_sms": "uninstalled"},
            SlipwayError("it was killed"),
            "Odoo failed after it had removed all: it was killed",
            {"changed": True, "not_removed": []},
        ),
    ],
)
def test_a_removal_that_failed(monkeypatch, states, error, words, details):
    removing = Removing(monkeypatch, states, error)
    with pytest.raises(SlipwayError) as caught:
        removing.carry_out()
    assert words in str(caught.value)
    assert details.items() <= caught.value.details.items()
    assert removing.recorded == []
