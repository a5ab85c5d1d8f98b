# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Decide what a systemd service needs so that it runs with the files it has now."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

PROPERTIES = (
    "Id",
    "LoadState",
    "ActiveState",
    "UnitFileState",
    "NeedDaemonReload",
    "StateChangeTimestamp",
    "ActiveEnterTimestamp",
    "CanReload",
)
"""What :func:`parse` needs of ``systemctl show``."""


@dataclasses.dataclass(frozen=True)
class Service:
    """A unit as systemd sees it. Times are seconds since the epoch, 0 where it never ran.

    A reload moves ``changed`` but not ``started``.
    """

    name: str
    loaded: bool
    active: bool
    enabled: bool
    needs_daemon_reload: bool
    can_reload: bool
    started: float
    changed: float


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to do to one service: ``action`` is start, restart, reload or empty."""

    service: str
    action: str
    enable: bool
    daemon_reload: bool
    reason: str

    @property
    def changed(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.action or self.enable)


def parse(text: str) -> list[Service]:
    """Read the output of ``systemctl show --timestamp=unix`` for one or more units."""
    services = []
    for block in text.strip().split("\n\n"):
        values = dict(line.partition("=")[::2] for line in block.splitlines() if "=" in line)
        if not values.get("Id"):
            continue
        services.append(
            Service(
                name=values["Id"],
                loaded=values.get("LoadState") == "loaded",
                active=values.get("ActiveState") in ("active", "reloading"),
                enabled=values.get("UnitFileState") in ("enabled", "enabled-runtime", "static", "alias"),
                needs_daemon_reload=values.get("NeedDaemonReload") == "yes",
                can_reload=values.get("CanReload") == "yes",
                started=timestamp(values.get("ActiveEnterTimestamp", "")),
                changed=timestamp(values.get("StateChangeTimestamp", "")),
            )
        )
    return services


def timestamp(text: str) -> float:
    """Seconds since the epoch from systemd's ``@1700000000``; 0 for an empty one."""
    return float(text[1:]) if text.startswith("@") else 0.0


def newer(files: Mapping[str, float], *, than: float) -> list[str]:
    """The files whose modification time, in whole seconds as systemd counts, lies after a moment."""
    return sorted(path for path, modified in files.items() if int(modified) > than)


def decide(
    service: Service, *, restart_files: Mapping[str, float], reload_files: Mapping[str, float], force: str = ""
) -> Plan:
    """Plan for one service.

    :param restart_files: Paths and modification times of files that take effect with a start only.
    :param reload_files: The same for files that a reload is enough for.
    :param force: ``restart`` or ``reload`` where something else changed that the service must pick up.
    """
    action, reason = "", ""
    stale_restart = newer(restart_files, than=service.started)
    stale_reload = newer(reload_files, than=max(service.changed, service.started))
    if not service.active:
        action, reason = "start", "it does not run"
    elif stale_restart or force == "restart":
        action = "restart"
        reason = f"newer than its start: {', '.join(stale_restart)}" if stale_restart else "asked for"
    elif stale_reload or force == "reload":
        action = "reload" if service.can_reload else "restart"
        reason = f"newer than its last reload: {', '.join(stale_reload)}" if stale_reload else "asked for"
    return Plan(
        service=service.name,
        action=action,
        enable=not service.enabled,
        daemon_reload=service.needs_daemon_reload or not service.loaded,
        reason=reason,
    )


def diff(plans: Sequence[Plan]) -> dict[str, str]:
    """What the plans change, for people."""
    before, after = [], []
    for plan in plans:
        if plan.enable:
            before.append(f"{plan.service}: disabled")
            after.append(f"{plan.service}: enabled")
        if plan.action:
            before.append(f"{plan.service}: {plan.reason}")
            after.append(f"{plan.service}: {plan.action}")
    return {"before": "".join(f"{line}\n" for line in before), "after": "".join(f"{line}\n" for line in after)}
