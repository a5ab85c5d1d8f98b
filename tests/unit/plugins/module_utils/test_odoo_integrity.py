"""Findings and their remedies."""

from __future__ import annotations

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils import odoo_integrity as integrity
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_integrity import (
    Attachment,
    ClientAction,
    Handlers,
    Identifier,
    Menu,
    Modules,
    Owner,
    ScheduledAction,
    Target,
)

MODULES = Modules(installed=frozenset(["crm", "gone"]), on_disk=frozenset(["crm"]))
CRM, GONE, NOBODY = Owner("crm", "x"), Owner("gone", "x"), Owner()
# No update reaches it.
KEPT = Owner("crm", "x", noupdate=True)
GENTLEST_FIRST = ("update", "regenerate_assets", "correct_record", "reinstall")


def test_remedies_come_gentlest_first_and_say_what_they_cost():
    steps, words = MODULES.remedy("crm", then=GENTLEST_FIRST[1:], otherwise="-")
    assert steps == GENTLEST_FIRST
    order = ("Update module crm", "regenerate the assets", "marked noupdate", "loses its data")
    positions = [words.index(text) for text in order]
    assert positions == sorted(positions)
    assert "only with a backup" in words


@pytest.mark.parametrize(
    ("module", "steps", "words"),
    [
        ("crm", ("update",), "Update module crm, which keeps its data"),
        ("gone", ("restore_code",), "Bring the code of module gone back, for it is installed, then update it"),
        ("", ("remove_record",), "Delete it"),
        ("uninstalled", ("remove_record",), "Delete it"),
    ],
)
def test_what_mends_a_record_depends_on_its_module(module, steps, words):
    assert MODULES.remedy(module, otherwise="Delete it") == (steps, words)


def test_menus():
    good = Menu(1, "Fine", "ir.actions.act_window,1", CRM, found=True)
    assert integrity.find_menus([good], MODULES) == []
    [one] = integrity.find_menus([good, Menu(2, "Pipeline", "ir.actions.act_window,7", CRM, found=False)], MODULES)
    assert (one.kind, one.key, one.module, one.ids) == ("menu", "menu:crm.x", "crm", (2,))
    assert one.what == "Menu 'Pipeline' (crm.x) leads to ir.actions.act_window,7, which does not exist"
    assert one.steps == ("update", "correct_code")
    [one] = integrity.find_menus([Menu(2, "Pipeline", "ir.actions.act_window,7", KEPT, found=False)], MODULES)
    assert one.steps == ("update", "correct_record", "reinstall")
    [one] = integrity.find_menus([Menu(2, "Mine", "ir.actions.act_window,7", NOBODY, found=False)], MODULES)
    assert (one.key, one.steps) == ("menu:2", ("remove_record",))


@pytest.mark.parametrize(
    ("action", "elsewhere", "key", "steps", "words"),
    [
        (
            ClientAction(1, "board", "Board", CRM, 1),
            {},
            "client_action:board",
            ("update", "regenerate_assets", "correct_code"),
            "no script of the installed",
        ),
        (ClientAction(1, "board", "Board", KEPT, 1), {}, "client_action:board", GENTLEST_FIRST, "no script of"),
        (ClientAction(1, "", "Board", KEPT, 1), {}, "client_action:1", GENTLEST_FIRST, "has no tag"),
        (ClientAction(1, "board", "Board", GONE, 1), {}, "client_action:board", ("restore_code",), "no script"),
        (ClientAction(1, "board", "Board", NOBODY, 0), {}, "client_action:board", ("remove_record",), "(id 1)"),
        (
            ClientAction(1, "board", "Board", CRM, 1),
            {"board": ("/crm_board/static/src/x.js",)},
            "client_action:board",
            ("install",),
            "only module crm_board registers, and that is not installed",
        ),
        (
            ClientAction(1, "board", "Board", CRM, 1),
            {"board": ("/crm/static/src/x.js",)},
            "client_action:board",
            ("update", "regenerate_assets", "declare_asset"),
            "/crm/static/src/x.js registers, but no asset bundle of the web client holds that script",
        ),
        (
            ClientAction(1, "board", "Board", CRM, 1),
            {"board": ("/crm/static/src/x.js", "/crm_board/static/src/x.js")},
            "client_action:board",
            ("update", "regenerate_assets", "declare_asset"),
            "no asset bundle",
        ),
    ],
)
def test_client_actions_without_a_handler(action, elsewhere, key, steps, words):
    handlers = Handlers(tags=frozenset(["reload"]), elsewhere=elsewhere)
    fine = ClientAction(9, "reload", "Reload", CRM, 0)
    [one], leftovers = integrity.find_client_actions([fine, action], handlers, MODULES, declared=lambda _action: ())
    assert (one.key, one.steps, leftovers) == (key, steps, [])
    assert words in one.what


@pytest.mark.parametrize(
    ("owner", "declared", "elsewhere", "last"),
    [
        (CRM, ("reload",), (), ("correct_code",)),
        (KEPT, (), (), ("correct_record", "reinstall")),
        (KEPT, ("reload",), (), ("correct_record", "reinstall")),
        (KEPT, ("reload",), ("/crm/static/src/x.js",), ("correct_record", "reinstall")),
        (KEPT, ("board",), (), ("correct_code", "correct_record")),
        (KEPT, ("other",), (), ("correct_code", "correct_record")),
        (KEPT, ("reload", "board"), (), ("correct_code", "correct_record")),
        (KEPT, ("board",), ("/crm/static/src/x.js",), ("declare_asset", "correct_record")),
        (Owner("crm", "x", noupdate=True, shared=True), (), (), ("correct_record",)),
    ],
)
def test_reinstalling_is_a_remedy_only_where_it_makes_another_record(owner, declared, elsewhere, last):
    handlers = Handlers(tags=frozenset(["reload"]), elsewhere={"board": elsewhere} if elsewhere else {})
    action = ClientAction(1, "board", "Board", owner, 1)
    [one], _leftovers = integrity.find_client_actions([action], handlers, MODULES, declared=lambda _action: declared)
    assert one.steps == ("update", "regenerate_assets", *last)
    assert ("loses its data" in one.remedy) is ("reinstall" in last)


@pytest.mark.parametrize(("menus", "owner", "known"), [(0, "mrp", True), (1, "mrp", False), (0, "crm", False)])
def test_a_leftover_of_odoo_is_none_as_soon_as_a_menu_leads_to_it(menus, owner, known):
    action = ClientAction(1, "mrp_display", "Shop Floor", Owner(owner, "x"), menus)
    handlers = Handlers(tags=frozenset())
    found, leftovers = integrity.find_client_actions([action], handlers, MODULES, declared=lambda _action: ())
    assert (len(found), len(leftovers)) == ((0, 1) if known else (1, 0))


def test_targets_of_external_identifiers():
    targets = [
        Target("res.partner", 5, registered=True),
        Target("ir.actions.act_window", 5, registered=True),
        Target("ir.actions.report", 5, registered=True),
        Target("old.model", 5, registered=False),
        Target("mail.thread", 5, registered=True, abstract=True),
        Target("strange.table", 5, registered=True),
    ]
    tables = frozenset(("res_partner", "ir_act_window", "ir_act_report_xml", "old_model"))
    assert integrity.judge_targets(targets, tables) == (
        {
            "res.partner": "res_partner",
            "ir.actions.act_window": "ir_act_window",
            "ir.actions.report": "ir_act_report_xml",
        },
        ("mail.thread", "old.model"),
        ("strange.table",),
    )


def test_external_identifiers():
    identifiers = [Identifier(4, CRM, "crm.stage", 7), Identifier(5, Owner("__export__", "y"), "old.model", 8)]
    one, two = integrity.find_identifiers(identifiers, ["old.model"], MODULES)
    assert (one.key, one.steps, one.ids) == ("xmlid:crm.x", ("update",), (4,))
    assert one.what == "External identifier crm.x points at crm.stage 7, which does not exist"
    assert (two.key, two.steps) == ("xmlid:__export__.y", ("remove_record",))
    assert two.what.endswith("points at old.model 8, a model without records")


def attachment(number, name, **values):
    usual = {"name": "p", "checksum": None, "size": 1, "res_model": "", "url": "", "module": ""}
    return Attachment(number, store_fname=name, **{**usual, **values})


def test_attachments_are_one_finding_for_each_file():
    found = integrity.find_attachments(
        [
            attachment(1, "aa/1", res_model="res.partner"),
            attachment(2, "aa/1"),
            attachment(3, "bb/2", url="/web/assets/1/web.assets_web.min.js"),
            attachment(4, "cc/3", module="crm"),
            attachment(5, "dd/4"),
        ],
        {"aa/1": "the file is missing", "bb/2": "the file is missing", "cc/3": "it is not a file"},
        MODULES,
        directory="/fs",
    )
    assert [(one.key, one.ids, one.steps) for one in found] == [
        ("attachment:aa/1", (1, 2), ("restore_file",)),
        ("attachment:bb/2", (3,), ("regenerate_assets",)),
        ("attachment:cc/3", (4,), ("update", "restore_file")),
    ]
    assert found[0].what == "Attachment 'p' (id 1, of res.partner) and 1 more: the file is missing (aa/1)"
    assert found[0].remedy == "Bring /fs/aa/1 back from a backup"


def job(number, late, failures=0, since=""):
    return ScheduledAction(number, f"Job {number}", NOBODY, late, failures, since)


def test_scheduled_actions():
    jobs = [job(1, -60), job(2, 3599), job(3, 3601), job(4, -60, 2, "2026-03-01 10:00:00")]
    late, failing = integrity.find_scheduled_actions(jobs, tolerance=60)
    assert (late.key, late.what, late.steps) == (
        "scheduled_action:3",
        "Scheduled action 'Job 3' (id 3) should have run 60 minutes ago",
        ("read_log",),
    )
    assert failing.what == "Scheduled action 'Job 4' (id 4) failed 2 times in a row, since 2026-03-01 10:00:00 UTC"


@pytest.mark.parametrize(
    ("late", "options", "steps", "words"),
    [
        (3, {"pending": ["crm"]}, ("repair_modules",), "what modules crm wait for"),
        (3, {"stale_base": "the database has 1, the code 2"}, ("update",), "Update module base: the database has 1"),
        (3, {}, ("start_service",), "Start the instance's service"),
        (1, {}, ("read_log",), "Look in Odoo's log"),
    ],
)
def test_why_a_scheduled_action_may_be_late(late, options, steps, words):
    jobs = [job(number, 99999 if number < late else -1) for number in range(4)]
    found = integrity.find_scheduled_actions(jobs, tolerance=60, **options)
    assert len(found) == late
    assert {one.steps for one in found} == {steps}
    assert words in found[0].remedy


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 minutes"), (7199, "119 minutes"), (7200, "2 hours"), (172800, "2 days")]
)
def test_durations(seconds, words):
    assert integrity.duration(seconds) == words


@pytest.mark.parametrize(
    ("state", "reason", "steps"),
    [
        ("to upgrade", "its state is to upgrade: …", ("repair_modules",)),
        ("installed", "it is installed, but in no directory of the addons path", ("restore_code", "remove")),
        ("installed", "it is installed, but its manifest cannot be parsed", ("restore_code", "update")),
    ],
)
def test_modules(state, reason, steps):
    [one] = integrity.find_modules([{"name": "crm", "reason": reason}], {"crm": state})
    assert (one.key, one.module, one.steps, one.what) == ("module:crm", "crm", steps, f"Module crm: {reason}")


def test_accepted_findings_are_parted_from_the_rest():
    found = integrity.find_identifiers([Identifier(n, Owner("m", f"x{n}"), "a", n) for n in range(3)], [], MODULES)
    kept, accepted = integrity.accept(found, ["xmlid:m.x1", "menu:*"])
    assert [one.key for one in kept] == ["xmlid:m.x0", "xmlid:m.x2"]
    assert [one.key for one in accepted] == ["xmlid:m.x1"]
    assert integrity.accept(found, ["xmlid:m.*"])[0] == []


def test_patterns_that_fit_nothing():
    found = integrity.find_identifiers([Identifier(1, CRM, "a", 1)], [], MODULES)
    patterns = ["xmlid:crm.*", "xmlid:crm.y", "menu:1", "attachment:x"]
    assert integrity.unmatched(found, patterns, kinds=["xmlid", "menu"]) == ["xmlid:crm.y", "menu:1"]


@pytest.mark.parametrize("pattern", ["crm.x", "xmlid", "xmlid:", "xmlids:crm.x", ":x", ""])
def test_a_pattern_that_can_fit_nothing_is_refused(pattern):
    with pytest.raises(SlipwayError, match="fits no finding"):
        integrity.check_patterns(["menu:1", pattern])


def test_an_empty_registry_is_no_healthy_one():
    integrity.require_some(1, "menu", "main")
    with pytest.raises(SlipwayError, match="no menu at all"):
        integrity.require_some(0, "menu", "main")
