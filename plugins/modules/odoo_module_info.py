#!/usr/bin/python
# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""List the modules of an Odoo database and of its addons path."""

from __future__ import annotations

DOCUMENTATION = r"""
module: odoo_module_info
short_description: List the modules of an Odoo database and of its addons path
version_added: 0.1.0
description:
  - Returns every module that the database or the addons path knows, what each of them says of it, and
    lists of those that need attention.
  - Manifests are read from all directories that Odoo searches, in Odoo's order, and never executed. Where
    two directories hold a module, the first one that can be parsed counts, and the others are listed.
  - Whether a module's content changed since it was installed is told by the checksums that
    M(slipway.odoo.odoo_module) or C(click-odoo-update) stored in system parameter
    C(module_auto_update.installed_checksums). Without one it is unknown, and said to be.
  - Starts no Odoo, and asks the database once.
options:
  names:
    description:
      - Shell patterns of technical names, such as V(sale_*). An underscore is an underscore.
      - Modules that none of them fits are left out, of the lists too. Without it, all modules count.
    type: list
    elements: str
    default: []
    aliases: [name]
  checksums:
    description:
      - Which modules on disk to make checksums of.
      - V(installed) for those that are installed. This is what RV(changed_since_installed) takes.
      - V(all) for every module, which reads all code on the addons path.
      - V(none) to read manifests only.
    type: str
    choices: [installed, all, none]
    default: installed
extends_documentation_fragment:
  - slipway.odoo.odoo.info
notes:
  - State C(uninstallable) is normal. Odoo gives it to modules that it advertises and to those whose
    manifest says so, and no database is without.
seealso:
  - module: slipway.odoo.odoo_module
  - plugin: slipway.odoo.odoo_module_report
    plugin_type: filter
author:
  - Slipway contributors (@slipway)
"""

EXAMPLES = r"""
- name: Look at all modules
  slipway.odoo.odoo_module_info:
    config: /etc/odoo/main.conf
  become: true
  register: inventory

- name: Refuse to go on with modules that are half way or whose code is gone
  ansible.builtin.assert:
    that: inventory.broken == []
    fail_msg: "{{ inventory.broken }}"

- name: Show the installed ones as a table
  ansible.builtin.debug:
    msg: "{{ inventory.modules | selectattr('state', 'eq', 'installed') | slipway.odoo.odoo_module_report }}"

- name: See which modules of our own wait for an upgrade
  slipway.odoo.odoo_module_info:
    config: /etc/odoo/main.conf
    names: ["ipai_*", superset_connector]
  become: true
  register: ours
  failed_when: ours.outdated + ours.changed_since_installed != []
"""

RETURN = r"""
database:
  description: The database.
  returned: unless RV(assumed)
  type: str
  sample: main
series:
  description: Series of Odoo on disk.
  returned: unless RV(assumed)
  type: str
  sample: "19.0"
directories:
  description: Directories that were searched for modules, in the order in which Odoo does it.
  returned: unless RV(assumed)
  type: list
  elements: str
  sample: [/usr/lib/python3/dist-packages/odoo/addons, /opt/odoo/addons]
missing_directories:
  description: Entries of C(addons_path) that are no directories, for instance because nothing is mounted there.
  returned: unless RV(assumed)
  type: list
  elements: str
  sample: []
modules:
  description: The modules, in the order of their names.
  returned: unless RV(assumed)
  type: list
  elements: dict
  contains:
    name:
      description: Technical name.
      type: str
      sample: crm
    display_name:
      description: Name for people, in English. The disk has the word on texts where both know a module.
      type: str
      sample: CRM
    summary:
      description: What it is for, in English.
      type: str
      sample: Track leads and close opportunities
    category:
      description: Category with its parents.
      type: str
      sample: Sales/CRM
    author:
      description: Who wrote it.
      type: str
      sample: Odoo S.A.
    license:
      description: License.
      type: str
      sample: LGPL-3
    state:
      description: State in the database; null when it does not know the module.
      type: str
      sample: installed
    installed_version:
      description: Version that is installed; null when it is not installed.
      type: str
      sample: 19.0.1.9
    disk_version:
      description: Version in the manifest, with the series; null when there is none.
      type: str
      sample: 19.0.1.9
    path:
      description: Directory that Odoo takes it from; null when it is not on disk.
      type: str
      sample: /usr/lib/python3/dist-packages/odoo/addons/crm
    depends:
      description: Modules that it depends on.
      type: list
      elements: str
      sample: [mail, utm]
    checksum:
      description: SHA-1 of its content, as C(click-odoo-update) makes it; null when O(checksums) left it out.
      type: str
      sample: fecb89486c8a29d1f760cbd01c1950f6e8421b14
    changed:
      description:
        - Whether its content is another than when it was installed.
        - Null when nothing can tell, because it is not installed, not on disk, or without a checksum.
      type: bool
      sample: false
    found_in:
      description: V(both), V(database) or V(disk).
      type: str
      sample: both
pending:
  description: Names of modules C(to install), C(to upgrade) or C(to remove).
  returned: unless RV(assumed)
  type: list
  elements: str
  sample: []
outdated:
  description: Names of installed modules whose version on disk is a newer one, compared as Odoo does.
  returned: unless RV(assumed)
  type: list
  elements: str
  sample: []
changed_since_installed:
  description: Names of modules whose content is another than when they were installed.
  returned: unless RV(assumed)
  type: list
  elements: str
  sample: []
unknown_changes:
  description: Names of installed modules of which nobody stored a checksum, so that a change would not be seen.
  returned: unless RV(assumed)
  type: list
  elements: str
  sample: []
only_in_database:
  description:
    - Names of modules that the database knows and that are nowhere on disk.
    - Without those that Odoo only advertises or that were imported as data. They never had code.
  returned: unless RV(assumed)
  type: list
  elements: str
  sample: []
only_on_disk:
  description: Names of modules that the database does not know yet. Odoo learns of them when it updates its list.
  returned: unless RV(assumed)
  type: list
  elements: str
  sample: []
not_installable:
  description: Modules on disk that Odoo does not install, with their C(name), C(state), C(path) and the C(reason).
  returned: unless RV(assumed)
  type: list
  elements: dict
  sample:
    - name: iot_box_image
      state: uninstallable
      path: /usr/lib/python3/dist-packages/odoo/addons/iot_box_image
      reason: "its manifest says installable: False"
unparsable:
  description: Manifests that cannot be parsed, with C(name), C(file), C(line) (null when unknown) and C(reason).
  returned: unless RV(assumed)
  type: list
  elements: dict
  sample: []
missing_dependencies:
  description:
    - Modules that others depend on and cannot have, with C(name), the C(reason), the C(installed) modules
      among those that want it, and C(chains).
    - Each chain is the shortest way from a module that wants it, directly or not, to the missing one.
  returned: unless RV(assumed)
  type: list
  elements: dict
  sample:
    - name: project_task_checklist
      reason: it is in no directory of the addons path
      installed: []
      chains: [[ipai_taskboard, project_task_checklist], [ipai_board, ipai_taskboard, project_task_checklist]]
shadowed:
  description: Further copies of modules, with C(name), C(path) and the C(used) one's path.
  returned: unless RV(assumed)
  type: list
  elements: dict
  sample: []
broken:
  description:
    - Modules that are wrong in the database, with C(name) and C(reason). They are half way, or installed without code,
      not installable, or installed without something that they depend on.
  returned: unless RV(assumed)
  type: list
  elements: dict
  sample: []
unmatched:
  description: Those of O(names) that fit no module.
  returned: unless RV(assumed)
  type: list
  elements: str
  sample: []
assumed:
  description: Present and true when check mode could not look, because something that an earlier task
    makes is missing.
  returned: in check mode, when it is too early
  type: bool
  sample: true
msg:
  description: Why it was too early to look.
  returned: with RV(assumed), and on failure
  type: str
  sample: "Would list modules. It is too early to look closer: There is no configuration file /etc/odoo/main.conf"
"""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_checksum import ChecksumSettings, checksum
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_inventory import (
    THERE,
    Record,
    find,
    join,
    only,
    read_records,
    select,
)
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_manifest import Disk, read_disk
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_session import (
    open_session,
    reading_arguments,
    run_module,
)


def make_checksums(
    wanted: str, names: set[str], records: Mapping[str, Record], disk: Disk, settings: ChecksumSettings
) -> dict[str, str]:
    """Read the content of those of the named modules that option ``checksums`` means."""
    return {
        name: checksum(manifest.path, exclude=settings.exclude, languages=settings.languages)
        for name, manifest in disk.manifests.items()
        if name in names
        and (wanted == "all" or (wanted == "installed" and name in records and records[name].state in THERE))
    }


def work(module: AnsibleModule) -> dict[str, Any]:
    """Read both sides, and compare."""
    params = module.params
    with open_session(params, database="database") as session:
        records, settings = read_records(session.connection, session.database)
    disk = read_disk(session.config)
    names, unmatched = select(records.keys() | disk.manifests.keys(), params["names"])
    checksums = make_checksums(params["checksums"], names, records, disk, settings)
    modules = join(records, disk, settings=settings, checksums=checksums)
    return {
        "changed": False,
        "database": session.database,
        "series": disk.series,
        "directories": list(disk.directories),
        "missing_directories": [path for path in session.config.addons_path if not os.path.isdir(path)],
        "modules": [dataclasses.asdict(module) for module in modules if module.name in names],
        **only(find(modules, records, disk), names),
        "unmatched": unmatched,
    }


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            **reading_arguments(),
            "names": {"type": "list", "elements": "str", "default": [], "aliases": ["name"]},
            "checksums": {"type": "str", "choices": ["installed", "all", "none"], "default": "installed"},
        },
        supports_check_mode=True,
    )
    run_module(module, work, intent="list modules", changes=False)


if __name__ == "__main__":
    main()
