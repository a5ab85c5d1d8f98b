from __future__ import annotations

from ansible_collections.slipway.odoo.plugins.module_utils import service_state
from ansible_collections.slipway.odoo.plugins.module_utils.service_state import Service, decide

SHOWN = """\
Id=odoo@main.service
LoadState=loaded
ActiveState=active
UnitFileState=enabled
NeedDaemonReload=no
CanReload=yes
ActiveEnterTimestamp=@1000
StateChangeTimestamp=@2000

Id=odoo@new.service
LoadState=not-found
ActiveState=inactive
UnitFileState=
NeedDaemonReload=no
CanReload=no
ActiveEnterTimestamp=
StateChangeTimestamp=
"""


def service(**changes: object) -> Service:
    running, _missing = service_state.parse(SHOWN)
    return Service(**{**running.__dict__, **changes})  # type: ignore[arg-type]


def test_parse_reads_every_block() -> None:
    running, missing = service_state.parse(SHOWN)
    assert (running.active, running.enabled, running.started, running.changed) == (True, True, 1000.0, 2000.0)
    assert (missing.loaded, missing.active, missing.started) == (False, False, 0.0)


def test_a_service_newer_than_its_files_is_left_alone() -> None:
    plan = decide(service(), restart_files={"/unit": 900.5}, reload_files={"/conf": 2000.9})
    assert not plan.changed


def test_a_file_newer_than_the_start_wants_a_restart() -> None:
    plan = decide(service(), restart_files={"/unit": 1500.0}, reload_files={})
    assert (plan.action, plan.reason) == ("restart", "newer than its start: /unit")


def test_a_reload_since_the_change_is_enough() -> None:
    assert decide(service(), restart_files={}, reload_files={"/conf": 1500.0}).action == ""
    assert decide(service(), restart_files={}, reload_files={"/conf": 2500.0}).action == "reload"


def test_what_cannot_reload_is_restarted() -> None:
    assert decide(service(can_reload=False), restart_files={}, reload_files={"/conf": 2500.0}).action == "restart"


def test_a_stopped_service_is_started_and_a_missing_unit_reread() -> None:
    assert decide(service(active=False), restart_files={}, reload_files={}).action == "start"
    plan = decide(service_state.parse(SHOWN)[1], restart_files={}, reload_files={})
    assert (plan.action, plan.enable, plan.daemon_reload) == ("start", True, True)


def test_force() -> None:
    assert decide(service(), restart_files={}, reload_files={}, force="restart").action == "restart"
    assert decide(service(), restart_files={}, reload_files={}, force="reload").action == "reload"


def test_diff_shows_actions_with_their_reason() -> None:
    plans = [decide(service(enabled=False), restart_files={"/unit": 1500.0}, reload_files={})]
    shown = service_state.diff(plans)
    assert "odoo@main.service: newer than its start: /unit" in shown["before"]
    assert "odoo@main.service: restart" in shown["after"]
