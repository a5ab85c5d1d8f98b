#!/usr/bin/python
# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keep systemd services running with the files they have now."""

from __future__ import annotations

DOCUMENTATION = r"""
module: service_fresh
short_description: Keep systemd services running with the files they have now
version_added: 0.1.0
description:
  - Starts and enables services, and restarts or reloads those that have been running since before one of their files
    was written.
  - A handler is lost when a run is cut off between writing a file and the end of the play. This module looks at the
    files' times instead, so the next run does what is still to be done.
author: Slipway contributors (@slipway)
attributes:
  check_mode:
    support: full
    description: Tells what would be started, restarted or reloaded. A unit that does not exist yet would be started.
  diff_mode:
    support: full
    description: Shows the action and the reason for each service.
  idempotent:
    support: full
    description: Does nothing where every service is newer than its files.
options:
  services:
    description: The services.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the unit.
        type: str
        required: true
      restart_files:
        description: Files that take effect with a start only. Missing ones are passed over.
        type: list
        elements: path
        default: []
      reload_files:
        description: Files that a reload is enough for; a unit that cannot reload is restarted.
        type: list
        elements: path
        default: []
      reload_directories:
        description:
          - Directories with Python code that a reload is enough for, such as addons. Missing ones are passed over.
          - What counts is when a file came to stand there, not the time of its content, which copies may keep.
        type: list
        elements: path
        default: []
      force:
        description: Restart or reload whatever the files' times say.
        type: str
        choices: [none, reload, restart]
        default: none
  start:
    description: Whether services that do not run are started and enabled. When false, they are left alone.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Run the instance with its configuration
  slipway.odoo.service_fresh:
    services:
      - name: odoo@main.service
        restart_files: [/etc/systemd/system/odoo@.service]
        reload_files: [/etc/odoo/main.conf]
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be, per service.
  returned: always
  type: list
  elements: dict
  sample:
    - service: odoo@main.service
      action: reload
      enable: false
      reason: "newer than its last reload: /etc/odoo/main.conf"
"""

import contextlib
import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.odoo.plugins.module_utils import service_state


def modified(paths: list[str]) -> dict[str, float]:
    """Modification times of the files that exist, of what a link points at and of the link itself."""
    times = {}
    for path in paths:
        if os.path.lexists(path):
            times[path] = os.lstat(path).st_mtime
            if os.path.exists(path):
                times[path] = max(times[path], os.stat(path).st_mtime)
    return times


def arrived(directories: list[str]) -> dict[str, float]:
    """For each directory the Python file below it that came there last, and when."""
    times = {}
    for directory in directories:
        newest = (0.0, "")
        for top, _names, files in os.walk(directory):
            for name in files:
                if name.endswith(".py"):
                    path = os.path.join(top, name)
                    # A file may go while we look, and a link may point at nothing.
                    with contextlib.suppress(FileNotFoundError):
                        newest = max(newest, (os.stat(path).st_ctime, path))
        if newest[1]:
            times[newest[1]] = newest[0]
    return times


def systemctl(module: AnsibleModule, *arguments: str) -> str:
    """Run systemctl; a failure ends the module with systemd's own words and the unit's last log lines."""
    code, out, err = module.run_command(["systemctl", *arguments])
    if code != 0:
        unit = arguments[-1]
        _code, journal, _err = module.run_command(["journalctl", "--no-pager", "--lines=15", f"--unit={unit}"])
        module.fail_json(msg=f"systemctl {' '.join(arguments)} failed: {err.strip()}\n{journal.strip()}", rc=code)
    return out


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "services": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "restart_files": {"type": "list", "elements": "path", "default": []},
                    "reload_files": {"type": "list", "elements": "path", "default": []},
                    "reload_directories": {"type": "list", "elements": "path", "default": []},
                    "force": {"type": "str", "choices": ["none", "reload", "restart"], "default": "none"},
                },
            },
            "start": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    wanted = module.params["services"]
    if not wanted:
        module.exit_json(changed=False, actions=[], diff=service_state.diff([]))
    names = [service["name"] for service in wanted]
    shown = systemctl(
        module, "show", "--timestamp=unix", f"--property={','.join(service_state.PROPERTIES)}", "--", *names
    )
    plans = [
        service_state.decide(
            found,
            restart_files=modified(service["restart_files"]),
            reload_files={**modified(service["reload_files"]), **arrived(service["reload_directories"])},
            force="" if service["force"] == "none" else service["force"],
        )
        for service, found in zip(wanted, service_state.parse(shown))
        if module.params["start"] or found.active
    ]
    if not module.check_mode:
        if any(plan.daemon_reload for plan in plans):
            systemctl(module, "daemon-reload")
        to_enable = [plan.service for plan in plans if plan.enable]
        if to_enable:
            systemctl(module, "enable", "--quiet", "--", *to_enable)
        for plan in plans:
            if plan.action:
                systemctl(module, plan.action, "--", plan.service)
    module.exit_json(
        changed=any(plan.changed for plan in plans),
        actions=[
            {"service": plan.service, "action": plan.action, "enable": plan.enable, "reason": plan.reason}
            for plan in plans
            if plan.changed
        ],
        diff=service_state.diff(plans),
    )


if __name__ == "__main__":
    main()
