#!/usr/bin/python
# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Find what in an Odoo database points at nothing."""

from __future__ import annotations

DOCUMENTATION = r"""
module: odoo_integrity_info
short_description: Find what in an Odoo database points at nothing
version_added: 0.1.0
description:
  - Looks for what users meet as «key not found in registry», as a missing picture, or as a job that never
    runs, before they do. Only looks, and starts no Odoo.
  - Each finding says which module it belongs to and what may mend it, gentlest first. An update keeps
    data. Regenerating assets does too. Uninstalling a module drops its tables and records, so that is
    never the first thing to do.
  - Findings are no failure of this module. A query that fails is one, and so is a database without any
    menu, client action, external identifier or scheduled action, or a web client without any script that
    handles an action. There nothing can be called sound.
options:
  checks:
    description:
      - What to look at, at least one of these.
      - V(modules) are those left C(to install), C(to upgrade) or C(to remove), and installed ones whose
        code is gone, not installable, or without something that they depend on.
      - V(menus) are those that lead to an action that does not exist.
      - V(client_actions) are those that no script handles. The scripts of all asset bundles that the web
        client loads are read, from the manifests of the installed modules, from C(ir.asset) and from
        attachments. Tags that come from constants, other files and functions are followed.
      - V(xmlids) are external identifiers (C(ir.model.data)) of records that do not exist.
      - V(scheduled_actions) are active ones that should have run, or whose last runs failed.
      - V(attachments) are those whose file is missing from the filestore or is not what it was.
    type: list
    elements: str
    choices: [modules, menus, client_actions, xmlids, scheduled_actions, attachments]
    default: [modules, menus, client_actions, xmlids, scheduled_actions, attachments]
  modules:
    description:
      - Technical names of modules, whose findings alone are reported. Of all modules, and of records that
        none declares, when not given.
    type: list
    elements: str
  filestore:
    description:
      - How to look at files of attachments.
      - V(hashes) reads each one and compares its SHA-1 with its name and with the database. This takes
        as long as reading the filestore does, with several threads.
      - V(files) compares sizes only.
    type: str
    choices: [hashes, files]
    default: hashes
  overdue_minutes:
    description:
      - Minutes that a scheduled action may be late. One that is running is late too, until it has ended.
    type: int
    default: 60
  ignore:
    description:
      - Keys of findings that are accepted, or shell patterns of keys, such as V(client_action:my_board),
        V(xmlid:__export__.*) or V(menu:crm.menu_old).
      - They come back in RV(accepted) and do not make the database unsound. Those that fit nothing come
        back in RV(unmatched_ignores), with a warning.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - slipway.odoo.odoo.info
notes:
  - Everything but the attachments is read in one transaction that can write nothing. It takes about a
    second. What Odoo replaces in the filestore meanwhile is no finding.
  - Of each kind at most 1,000 findings are listed. RV(counts) has them all, and O(modules) narrows them down.
  - A scheduled action that Odoo has switched off after 5 failures is not active any more, so it is not
    looked at.
seealso:
  - module: slipway.odoo.odoo_module
  - module: slipway.odoo.odoo_module_info
author:
  - Slipway contributors (@slipway)
"""

EXAMPLES = r"""
- name: Look at everything
  slipway.odoo.odoo_integrity_info:
    config: /etc/odoo/main.conf
  become: true
  register: integrity

- name: Refuse to go on with an unsound database
  ansible.builtin.assert:
    that: integrity.sound
    fail_msg: "{{ integrity.findings | map(attribute='what') }}"

- name: Look quickly, and accept what was exported once
  slipway.odoo.odoo_integrity_info:
    config: /etc/odoo/main.conf
    filestore: files
    ignore: ["xmlid:__export__.*"]
  become: true
"""

RETURN = r"""
database:
  description: The database.
  returned: unless RV(assumed)
  type: str
  sample: main
sound:
  description: Whether nothing was found, apart from what is accepted.
  returned: unless RV(assumed)
  type: bool
  sample: false
findings:
  description: All that was found, kind by kind. The lists of each kind hold the same.
  returned: unless RV(assumed)
  type: list
  elements: dict
  contains:
    kind:
      description: One of V(module), V(menu), V(client_action), V(xmlid), V(scheduled_action) and V(attachment).
      type: str
      sample: client_action
    key:
      description: Names the finding for good, for O(ignore).
      type: str
      sample: client_action:slipway_depot.board
    module:
      description: Module that declares the record; empty when none does.
      type: str
      sample: slipway_depot
    what:
      description: What is wrong.
      type: str
      sample: >-
        Client action 'Depot board' (slipway_depot.action_board) has tag 'slipway_depot.board', which no script of the
        installed modules registers
    ids:
      description: Ids of the records.
      type: list
      elements: int
      sample: [412]
    steps:
      description:
        - What may mend it, in the order in which to try. V(update), V(regenerate_assets), V(install) and
          V(reinstall) speak of the module.
        - V(repair_modules) is a run of M(slipway.odoo.odoo_module). V(declare_asset), V(correct_code), V(restore_code)
          and V(remove) speak of its code.
        - V(correct_record), V(remove_record), V(restore_file), V(start_service) and V(read_log) are for people.
        - V(reinstall) stands only where no update can help, because the record is marked C(noupdate), and where the
          code does not declare what is wrong. All other records are after an update what the code declares.
      type: list
      elements: str
      sample: [update, regenerate_assets, correct_code]
    remedy:
      description: The same in words.
      type: str
      sample: >-
        Update module slipway_depot, which keeps its data; if that is not enough, regenerate the assets; what is left
        then, the code itself declares, and reinstalling would bring it back: correct the code
modules:
  description: Findings of kind V(module).
  returned: unless RV(assumed)
  type: list
  elements: dict
  sample: []
menus:
  description: Findings of kind V(menu).
  returned: unless RV(assumed)
  type: list
  elements: dict
  sample: []
client_actions:
  description: Findings of kind V(client_action).
  returned: unless RV(assumed)
  type: list
  elements: dict
  sample: []
xmlids:
  description: Findings of kind V(xmlid).
  returned: unless RV(assumed)
  type: list
  elements: dict
  sample: []
scheduled_actions:
  description: Findings of kind V(scheduled_action).
  returned: unless RV(assumed)
  type: list
  elements: dict
  sample: []
attachments:
  description: Findings of kind V(attachment), one for each file.
  returned: unless RV(assumed)
  type: list
  elements: dict
  sample: []
accepted:
  description:
    - Findings that O(ignore) names.
    - Also client actions that Odoo's Community edition declares without a handler of its own, as long as
      no menu leads to them.
  returned: unless RV(assumed)
  type: list
  elements: dict
  sample: []
unmatched_ignores:
  description:
    - Entries of O(ignore) that fit no finding, out of those of the kinds that were looked at.
    - Entries about attachments are left out with O(filestore=files), which cannot see all that they may mean.
  returned: unless RV(assumed)
  type: list
  elements: str
  sample: []
counts:
  description: How many findings there are of each kind that was looked at, the accepted ones left out.
  returned: unless RV(assumed)
  type: dict
  sample: {client_actions: 1, menus: 0}
checked:
  description:
    - How many there were to look at. V(modules) are installed or half way, V(menus) have an action,
      V(scripts) are those of the web client, V(handlers) the tags that these register, V(xmlids) point at
      a record, V(attachments) are stored in the filestore, V(scheduled_actions) are active.
  returned: unless RV(assumed)
  type: dict
  sample:
    attachments: 214
    client_actions: 4
    handlers: 12
    menus: 41
    modules: 30
    scheduled_actions: 9
    scripts: 1238
    xmlids: 6213
unchecked:
  description: What nobody can judge from the outside, and so did not.
  returned: unless RV(assumed)
  type: dict
  contains:
    models:
      description: Models whose table is not known, although external identifiers point at them.
      type: list
      elements: str
      sample: []
    registrations:
      description: >-
        Places in scripts where a handler is registered whose tag cannot be told. Every text of these scripts counts as
        a tag.
      type: list
      elements: str
      sample: []
    files_elsewhere:
      description: Number of files that other storage holds.
      type: int
      sample: 0
filestore:
  description: What was seen of the filestore.
  returned: when V(attachments) are looked at
  type: dict
  contains:
    directory:
      description: Where it lies.
      type: str
      sample: /var/lib/odoo/main/filestore/main
    files:
      description: Number of files that attachments name.
      type: int
      sample: 196
    bytes:
      description: What they hold together.
      type: int
      sample: 8123456
    hashed_bytes:
      description: How much of it was read.
      type: int
      sample: 8123456
    seconds:
      description: How long that took.
      type: float
      sample: 0.031
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
  sample: "Would look at it. It is too early to look closer: There is no configuration file /etc/odoo/main.conf"
"""

import dataclasses
import os
from collections.abc import Iterable
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.odoo.plugins.module_utils import odoo_filestore, odoo_integrity
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_assets import (
    StaticScripts,
    bundle_scripts,
    reaches_web_client,
    read_assets,
)
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_checksum import ChecksumSettings
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_client_actions import (
    Registrations,
    find_registrations,
    is_candidate,
)
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_db import rows
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_declared import declared_tags
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_integrity import (
    CHECKS,
    SHOWN,
    ClientAction,
    Finding,
    Handlers,
    Modules,
    require_some,
)
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_inventory import (
    PENDING,
    THERE,
    Record,
    find,
    join,
    read_records,
)
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_manifest import Disk, full_version, read_disk
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_plan import load_order
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_session import (
    Session,
    open_session,
    reading_arguments,
    run_module,
)


class Examination:
    """One look at one database; fills in what was found, and how much was looked at."""

    def __init__(self, session: Session, params: dict[str, Any]) -> None:
        self.session = session
        self.params = params
        self.findings: list[Finding] = []
        self.leftovers: list[Finding] = []
        self.checked: dict[str, int] = {}
        self.unchecked: dict[str, Any] = {"models": [], "registrations": [], "files_elsewhere": 0}
        self.filestore: dict[str, Any] = {}

    def run(self) -> None:
        """Look at everything that is wanted."""
        connection = self.session.connection
        self.records, self.settings = read_records(connection, self.session.database)
        # The rest as it was at one moment, though somebody may install a module meanwhile.
        rows(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        self.disk = read_disk(self.session.config)
        self.tables, self.targets = odoo_integrity.read_layout(connection)
        there = {name for name, record in self.records.items() if record.state in THERE and not record.codeless}
        on_disk = {name for name in there if name in self.disk.manifests and not self.disk.manifests[name].fault}
        self.modules = Modules(installed=frozenset(there), on_disk=frozenset(on_disk))
        for check in CHECKS:
            if check in self.params["checks"]:
                getattr(self, f"look_at_{check}")()

    def look_at_modules(self) -> None:
        """E17: half way, or installed and broken."""
        broken = examine_modules(self.records, self.disk, self.settings)
        states = {name: record.state for name, record in self.records.items()}
        self.checked["modules"] = sum(record.state in (*THERE, *PENDING) for record in self.records.values())
        self.findings += odoo_integrity.find_modules(broken, states)

    def look_at_menus(self) -> None:
        """E18."""
        menus = odoo_integrity.read_menus(self.session.connection, self.tables)
        require_some(len(menus), "menu with an action", self.session.database)
        self.checked["menus"] = len(menus)
        self.findings += odoo_integrity.find_menus(menus, self.modules)

    def look_at_client_actions(self) -> None:
        """BM-15, E54."""
        actions = odoo_integrity.read_client_actions(self.session.connection)
        require_some(len(actions), "client action", self.session.database)
        scripts = WebClientScripts(self.session, self.disk, self.modules)
        registrations = scripts.registrations()
        handled = {*registrations.tags, *registrations.possible}
        elsewhere = scripts.find_elsewhere({action.tag for action in actions} - handled)
        found, leftovers = odoo_integrity.find_client_actions(
            actions, Handlers(tags=frozenset(handled), elsewhere=elsewhere), self.modules, declared=self.declared
        )
        self.checked.update(client_actions=len(actions), scripts=len(scripts.content), handlers=len(registrations.tags))
        self.unchecked["registrations"] = list(registrations.unclear)
        self.findings += found
        self.leftovers += leftovers

    def declared(self, action: ClientAction) -> frozenset[str]:
        """The tags that its module's code gives a client action."""
        owner = action.owner
        path = self.disk.manifests[owner.module].path
        return declared_tags(path, module=owner.module, name=owner.name, tag=action.tag)

    def look_at_xmlids(self) -> None:
        """E19."""
        require_some(len(self.targets), "external identifier", self.session.database)
        tables, gone, unknown = odoo_integrity.judge_targets(self.targets, self.tables)
        dangling = odoo_integrity.read_dangling(self.session.connection, tables, gone)
        self.checked["xmlids"] = sum(target.count for target in self.targets if target.model not in unknown)
        self.unchecked["models"] = list(unknown)
        self.findings += odoo_integrity.find_identifiers(dangling, gone, self.modules)

    def look_at_scheduled_actions(self) -> None:
        """Late or failing ones."""
        actions = odoo_integrity.read_scheduled_actions(self.session.connection)
        require_some(len(actions), "active scheduled action", self.session.database)
        self.checked["scheduled_actions"] = len(actions)
        self.findings += odoo_integrity.find_scheduled_actions(
            actions,
            tolerance=self.params["overdue_minutes"],
            pending=sorted(name for name, record in self.records.items() if record.state in PENDING),
            stale_base=self.stale_base(),
        )

    def stale_base(self) -> str:
        """Why Odoo's scheduler would skip this database, as ``_check_version`` in ``ir_cron.py`` does."""
        installed = self.records["base"].version
        manifest = self.disk.manifests.get("base")
        on_disk = full_version(manifest.version, self.disk.series) if manifest else installed
        return "" if installed == on_disk else f"the database has version {installed}, the code {on_disk}"

    def look_at_attachments(self) -> None:
        """Missing and altered files. Last of all, as it may take long and needs no transaction."""
        connection = self.session.connection
        attachments = odoo_integrity.read_attachments(connection)
        rows(connection, "COMMIT")
        self.checked["attachments"] = len(attachments)
        directory = ""
        if attachments:
            directory = odoo_filestore.filestore_directory(self.session.config.data_dir, self.session.database)
        seen = odoo_filestore.inspect(
            directory,
            (odoo_filestore.StoredFile(item.store_fname, item.checksum, item.size) for item in attachments),
            hashes=self.params["filestore"] == "hashes",
        )
        suspects = [attachment for attachment in attachments if attachment.store_fname in seen.faults]
        still = odoo_integrity.read_still_stored(connection, suspects)
        self.unchecked["files_elsewhere"] = seen.elsewhere
        self.filestore = {
            "directory": directory,
            "files": seen.files,
            "bytes": seen.size,
            "hashed_bytes": seen.hashed,
            "seconds": seen.seconds,
        }
        self.findings += odoo_integrity.find_attachments(
            (item for item in suspects if item.id in still), seen.faults, self.modules, directory=directory
        )


def examine_modules(records: dict[str, Record], disk: Disk, settings: ChecksumSettings) -> list[dict[str, Any]]:
    """Broken modules, as odoo_module_info has them."""
    return find(join(records, disk, settings=settings, checksums={}), records, disk).broken


class WebClientScripts:
    """The scripts of all bundles that the web client loads."""

    def __init__(self, session: Session, disk: Disk, modules: Modules) -> None:
        self.session = session
        self.disk = disk
        loaded = (modules.installed | {*session.config.server_wide_modules}) & disk.manifests.keys()
        self.uploads = {upload.url: upload for upload in odoo_integrity.read_uploads(session.connection)}
        self.static = StaticScripts({name: disk.manifests[name].path for name in loaded}, uploaded=self.uploads.keys())
        bundles = bundle_scripts(
            [asset for name in load_order(loaded, disk.manifests) for asset in read_assets(disk.manifests[name].path)],
            odoo_integrity.read_asset_records(session.connection),
            self.static.find,
        )
        urls = {url for bundle, held in bundles.items() if reaches_web_client(bundle) for url in held}
        self.content = {url: data for url, data in ((url, self.read(url)) for url in sorted(urls)) if data is not None}

    def registrations(self) -> Registrations:
        """What they register.

        :raises SlipwayError: nothing at all, so that they were not read as they should be.
        """
        found = find_registrations(self.content, read=self.read)
        if not found.tags:
            raise SlipwayError(
                f"Not one handler of a client action was found in {len(self.content)} scripts of the web client, "
                f"although module web alone has several. Are its files complete? {self.static.modules.get('web')}"
            )
        return found

    def read(self, url: str) -> bytes | None:
        """A script's content, from a module's directory or from an attachment."""
        upload = self.uploads.get(url)
        content = self.static.read(url)
        if content is not None or upload is None or upload.content is not None or not upload.store_fname:
            return content if content is not None or upload is None else upload.content
        return odoo_filestore.read_file(
            os.path.join(self.session.config.data_dir, "filestore", self.session.database), upload.store_fname
        )

    def find_elsewhere(self, tags: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Where tags are registered by scripts on disk that the web client does not load."""
        wanted = {tag for tag in tags if tag}
        if not wanted:
            return {}
        static = StaticScripts({name: manifest.path for name, manifest in self.disk.manifests.items()})
        scripts = {}
        for name in sorted(static.modules):
            for url in static.of_module(name):
                data = static.read(url) if url not in self.content and "/static/tests/" not in url else None
                if data is not None and is_candidate(data):
                    scripts[url] = data
        found = find_registrations(scripts, read=static.read)
        return {tag: urls for tag, urls in found.tags.items() if tag in wanted}


def result_of(examination: Examination, params: dict[str, Any]) -> dict[str, Any]:
    """What the module returns."""
    everything = (*examination.findings, *examination.leftovers)
    wanted = odoo_integrity.of_modules(params["modules"], known=examination.records, findings=everything)
    findings, accepted = odoo_integrity.accept(filter(wanted, examination.findings), params["ignore"])
    leftovers = filter(wanted, examination.leftovers)
    by_kind = {
        check: [dataclasses.asdict(finding) for finding in findings if finding.kind == kind]
        for check, kind in CHECKS.items()
    }
    shown = {check: found[:SHOWN] for check, found in by_kind.items()}
    # Comparing sizes only, an altered file that somebody accepted is no finding.
    seen = {CHECKS[check] for check in params["checks"] if check != "attachments" or params["filestore"] == "hashes"}
    result: dict[str, Any] = {
        "changed": False,
        "database": examination.session.database,
        "sound": not findings,
        "findings": [finding for found in shown.values() for finding in found],
        **shown,
        "accepted": [dataclasses.asdict(finding) for finding in (*accepted, *leftovers)][:SHOWN],
        "unmatched_ignores": odoo_integrity.unmatched(everything, params["ignore"], kinds=seen),
        "counts": {check: len(found) for check, found in by_kind.items() if check in params["checks"]},
        "checked": examination.checked,
        "unchecked": examination.unchecked,
    }
    if examination.filestore:
        result["filestore"] = examination.filestore
    return result


def work(module: AnsibleModule) -> dict[str, Any]:
    """Read, and compare."""
    params = module.params
    if not params["checks"]:
        raise SlipwayError(f"checks is empty, so that nothing would be looked at. Name one of {', '.join(CHECKS)}")
    odoo_integrity.check_patterns(params["ignore"])
    if params["overdue_minutes"] < 0:
        raise SlipwayError("overdue_minutes must not be negative")
    with open_session(params, database="database") as session:
        examination = Examination(session, params)
        examination.run()
        result = result_of(examination, params)
    if result["unmatched_ignores"]:
        module.warn(f"ignore: nothing is found that {', '.join(result['unmatched_ignores'])} could stand for")
    return result


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            **reading_arguments(),
            "checks": {"type": "list", "elements": "str", "choices": list(CHECKS), "default": list(CHECKS)},
            "modules": {"type": "list", "elements": "str"},
            "filestore": {"type": "str", "choices": ["hashes", "files"], "default": "hashes"},
            "overdue_minutes": {"type": "int", "default": 60},
            "ignore": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    run_module(module, work, intent="look at it", changes=False)


if __name__ == "__main__":
    main()
