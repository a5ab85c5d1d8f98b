# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What in a database points at nothing: findings, each with its module and the safest remedy.

``read_*`` ask the database, once for each kind of question. ``find_*`` are pure.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

# Where it is missing, connecting says so.
with contextlib.suppress(ImportError):
    from psycopg2 import sql

from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_assets import Asset
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_db import rows

MENU, CLIENT_ACTION, XMLID = "menu", "client_action", "xmlid"
ATTACHMENT, SCHEDULED_ACTION, MODULE = "attachment", "scheduled_action", "module"
#: What option `checks` calls each kind, in the order in which findings come.
CHECKS = {
    "modules": MODULE,
    "menus": MENU,
    "client_actions": CLIENT_ACTION,
    "xmlids": XMLID,
    "scheduled_actions": SCHEDULED_ACTION,
    "attachments": ATTACHMENT,
}
#: Models whose table is not called like them; all others that Odoo's own modules have are (`_table`).
TABLES = {
    "ir.actions.actions": "ir_actions",
    "ir.actions.act_window": "ir_act_window",
    "ir.actions.act_window_close": "ir_actions",
    "ir.actions.act_window.view": "ir_act_window_view",
    "ir.actions.act_url": "ir_act_url",
    "ir.actions.server": "ir_act_server",
    "ir.actions.client": "ir_act_client",
    "ir.actions.report": "ir_act_report_xml",
    "project.task.stage.personal": "project_task_user_rel",
}
#: Client actions that Odoo's Community edition declares although only Enterprise has their handlers, or
#: whose handler it has dropped: module and tag. No menu leads to them.
LEFTOVERS = {
    ("mrp", "mrp_display"): "its handler is part of Enterprise's mrp_workorder",
    ("hr_attendance", "hr_attendance_greeting_message"): "Odoo has dropped its handler and does not call it any more",
}
#: Findings of one kind that are listed; more than that are only counted.
SHOWN = 1000

UPDATE, REGENERATE, REINSTALL = "update", "regenerate_assets", "reinstall"
DECLARE_ASSET, CORRECT_CODE, CORRECT_RECORD = "declare_asset", "correct_code", "correct_record"
_UPDATE_TEXT = "Update module {module}, which keeps its data"
_THEN = {
    REGENERATE: "if that is not enough, regenerate the assets",
    DECLARE_ASSET: "what is left then is up to the code: add the script to web.assets_backend in its manifest's assets",
    CORRECT_CODE: "what is left then, the code itself declares, and reinstalling would bring it back: correct the code",
    CORRECT_RECORD: "no update reaches it, being marked noupdate: correct or delete it in Odoo (Settings, Technical)",
    REINSTALL: "last of all, and only with a backup, uninstall and install it, which loses its data",
}


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    ``key`` names it for good, so that it can be accepted. ``steps`` are what may mend it, in the order in
    which to try; ``remedy`` says it in words.
    """

    kind: str
    key: str
    module: str
    what: str
    ids: tuple[int, ...] = ()
    steps: tuple[str, ...] = ()
    remedy: str = ""


@dataclasses.dataclass(frozen=True)
class Owner:
    """The external identifier of a record: whose it is. Both texts are empty for a record without one.

    ``noupdate`` tells that an update leaves the record as it is, and ``shared`` that another module holds it
    too, so that it outlives this one.
    """

    module: str = ""
    name: str = ""
    noupdate: bool = False
    shared: bool = False

    @property
    def xmlid(self) -> str:
        """The whole identifier."""
        return f"{self.module}.{self.name}" if self.module else ""

    def last_steps(self, *, declared: bool) -> tuple[str, ...]:
        """What to do about a record that an update did not mend.

        An update makes a record what the code declares, unless it is marked noupdate. So only then, and only if
        the code does not declare the same, can reinstalling make another of it.

        :param declared: whether the code declares what is wrong.
        """
        if not self.noupdate:
            return (CORRECT_CODE,)
        if declared:
            return (CORRECT_CODE, CORRECT_RECORD)
        return (CORRECT_RECORD,) if self.shared else (CORRECT_RECORD, REINSTALL)


@dataclasses.dataclass(frozen=True)
class Modules:
    """Which modules an update can reach: ``installed`` ones, and among them those ``on_disk``."""

    installed: frozenset[str]
    on_disk: frozenset[str]

    def remedy(self, module: str, *, then: Sequence[str] = (), otherwise: str) -> tuple[tuple[str, ...], str]:
        """Steps that mend what a module declares, gentlest first, and the same in words.

        :param then: what to try when an update was not enough.
        :param otherwise: what to do about a record that no update would make anew.
        """
        if module in self.on_disk:
            words = (_UPDATE_TEXT.format(module=module), *(_THEN[step] for step in then))
            return (UPDATE, *then), "; ".join(words)
        if module in self.installed:
            return ("restore_code",), f"Bring the code of module {module} back, for it is installed, then update it"
        return ("remove_record",), otherwise


def require_some(count: int, what: str, database: str) -> None:
    """Refuse to call an empty registry a healthy one.

    :raises SlipwayError: there is nothing.
    """
    if not count:
        raise SlipwayError(
            f"Database {database!r} holds no {what} at all, although every database of Odoo does. "
            "Nothing can be said of it, least of all that it is sound"
        )


def accept(findings: Iterable[Finding], patterns: Sequence[str]) -> tuple[list[Finding], list[Finding]]:
    """Part findings into those to report and those that somebody accepted."""
    kept: list[Finding] = []
    accepted: list[Finding] = []
    for finding in findings:
        known = any(fnmatch.fnmatchcase(finding.key, pattern) for pattern in patterns)
        (accepted if known else kept).append(finding)
    return kept, accepted


def of_modules(
    names: Sequence[str] | None, *, known: Iterable[str], findings: Iterable[Finding]
) -> Callable[[Finding], bool]:
    """Return the test for findings of some modules; without names, for all.

    :param known: modules in Odoo's list.
    :raises SlipwayError: a name is that of no module.
    """
    if names is None:
        return lambda _finding: True
    unknown = {*names} - {*known} - {finding.module for finding in findings}
    if unknown:
        raise SlipwayError(f"modules: Odoo knows no module {', '.join(sorted(unknown))}, and nothing found is of it")
    return lambda finding: finding.module in names


def unmatched(findings: Iterable[Finding], patterns: Iterable[str], *, kinds: Iterable[str]) -> list[str]:
    """Patterns that fit nothing, out of those that speak of one of the kinds that were looked at."""
    keys = [finding.key for finding in findings]
    return [
        pattern
        for pattern in patterns
        if pattern.partition(":")[0] in kinds and not any(fnmatch.fnmatchcase(key, pattern) for key in keys)
    ]


def check_patterns(patterns: Iterable[str]) -> None:
    """Refuse what no finding's key can ever be.

    :raises SlipwayError: a pattern has no kind before its colon, or one that there is not.
    """
    for pattern in patterns:
        kind, colon, rest = pattern.partition(":")
        if colon and kind not in CHECKS.values():
            raise SlipwayError(
                f"ignore: {pattern!r} fits no finding, for none is of kind {kind!r}. "
                f"The kinds are {', '.join(sorted(CHECKS.values()))}"
            )
        if not colon or not rest:
            raise SlipwayError(
                f"ignore: {pattern!r} fits no finding. Take the key of a finding, such as xmlid:sale.order_1: "
                f"one of {', '.join(sorted(CHECKS.values()))}, a colon, and a name or shell pattern"
            )


# Menus


@dataclasses.dataclass(frozen=True)
class Menu:
    """A menu that leads to an action; ``found`` tells whether that action is there."""

    id: int
    name: str
    action: str
    owner: Owner
    found: bool


_MENUS = """
WITH actions (model, id) AS ({actions}), owners AS (
    SELECT res_id, min(module) AS module, min(name) AS name, bool_or(noupdate) AS noupdate,
           count(DISTINCT module) > 1 AS shared
      FROM ir_model_data WHERE model = 'ir.ui.menu' GROUP BY res_id
)
SELECT m.id, coalesce(to_jsonb(m) #>> '{{name,en_US}}', to_jsonb(m) ->> 'name', ''), m.action,
       coalesce(o.module, ''), coalesce(o.name, ''), coalesce(o.noupdate, false), coalesce(o.shared, false),
       a.id IS NOT NULL
  FROM ir_ui_menu m
  LEFT JOIN owners o ON o.res_id = m.id
  LEFT JOIN actions a ON m.action = concat(a.model, ',', a.id)
 WHERE m.action <> ''
 ORDER BY m.id
"""


def read_menus(connection: Any, tables: frozenset[str]) -> list[Menu]:
    """Read all menus with an action.

    :param tables: the tables of the database. A type of action without a table has no actions.
    """
    branches = [
        sql.SQL("SELECT {model}, id FROM ONLY {table}").format(
            model=sql.Literal(model), table=sql.Identifier(TABLES[model])
        )
        for model in sorted(TABLES)
        if model.startswith("ir.actions.") and TABLES[model] in tables and TABLES[model] != "ir_act_window_view"
    ]
    if not branches:
        raise SlipwayError("The database has no table of actions, so no menu can be judged")
    query = sql.SQL(_MENUS).format(actions=sql.SQL(" UNION ALL ").join(branches))
    return [
        Menu(number, name, action, Owner(*owner), found)
        for number, name, action, *owner, found in rows(connection, query)
    ]


def find_menus(menus: Iterable[Menu], modules: Modules) -> list[Finding]:
    """Menus whose action is gone (E18)."""
    found = []
    for menu in menus:
        if menu.found:
            continue
        # Code names an action, not its id: none can declare one that does not exist.
        steps, remedy = modules.remedy(
            menu.owner.module,
            then=menu.owner.last_steps(declared=False),
            otherwise="Delete the menu in Odoo: no installed module declares it",
        )
        label = f"Menu {menu.name!r} ({menu.owner.xmlid or f'id {menu.id}'})"
        what = f"{label} leads to {menu.action}, which does not exist"
        key = f"{MENU}:{menu.owner.xmlid or menu.id}"
        found.append(Finding(MENU, key, menu.owner.module, what, (menu.id,), steps, remedy))
    return found


# Client actions


@dataclasses.dataclass(frozen=True)
class ClientAction:
    """An action of the web client; ``menus`` counts those that lead to it."""

    id: int
    tag: str
    name: str
    owner: Owner
    menus: int


@dataclasses.dataclass(frozen=True)
class Upload:
    """A script that is an attachment."""

    url: str
    store_fname: str | None
    content: bytes | None


_CLIENT_ACTIONS = """
SELECT a.id, coalesce(a.tag, ''), coalesce(to_jsonb(a) #>> '{name,en_US}', to_jsonb(a) ->> 'name', ''),
       coalesce(d.module, ''), coalesce(d.name, ''), coalesce(d.noupdate, false), coalesce(d.shared, false),
       (SELECT count(*) FROM ir_ui_menu m WHERE m.action = concat('ir.actions.client,', a.id))
  FROM ir_act_client a
  LEFT JOIN (SELECT res_id, min(module) AS module, min(name) AS name, bool_or(noupdate) AS noupdate,
                    count(DISTINCT module) > 1 AS shared
               FROM ir_model_data WHERE model = 'ir.actions.client' GROUP BY res_id) d ON d.res_id = a.id
 ORDER BY a.id
"""
# A website's own removal of a script says nothing of the web client.
_ASSETS = """
SELECT bundle, directive, path, coalesce(target, ''), sequence
  FROM ir_asset a
 WHERE active AND (to_jsonb(a) ->> 'website_id' IS NULL OR directive NOT IN ('remove', 'replace'))
 ORDER BY sequence, id
"""
_UPLOADS = """
SELECT url, store_fname, db_datas FROM ir_attachment
 WHERE type = 'binary' AND url LIKE '/%.js' AND url NOT LIKE '/web/assets/%' AND res_field IS NULL
"""


def read_client_actions(connection: Any) -> list[ClientAction]:
    """Read all client actions."""
    return [
        ClientAction(number, tag, name, Owner(*owner), menus)
        for number, tag, name, *owner, menus in rows(connection, _CLIENT_ACTIONS)
    ]


def read_asset_records(connection: Any) -> list[Asset]:
    """Read the directives that stand in the database, in Odoo's order."""
    return [
        Asset(bundle, directive or "append", path, target, sequence)
        for bundle, directive, path, target, sequence in rows(connection, _ASSETS)
    ]


def read_uploads(connection: Any) -> list[Upload]:
    """Read the scripts that are attachments: of imported modules, and of customised websites."""
    return [
        Upload(url, store_fname, None if content is None else bytes(content))
        for url, store_fname, content in rows(connection, _UPLOADS)
    ]


@dataclasses.dataclass(frozen=True)
class Handlers:
    """Tags that the web client's scripts register, and where other scripts on disk register further ones.

    ``elsewhere`` maps a tag to addresses of scripts that no bundle of the web client holds.
    """

    tags: frozenset[str]
    elsewhere: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)


def find_client_actions(
    actions: Iterable[ClientAction],
    handlers: Handlers,
    modules: Modules,
    *,
    declared: Callable[[ClientAction], Iterable[str]],
) -> tuple[list[Finding], list[Finding]]:
    """Client actions that no script handles (BM-15), and those of them that are Odoo's own leftovers.

    :param declared: the tags that its module's code gives an action. Asked about those that an update leaves alone.
    """
    found: list[Finding] = []
    leftovers: list[Finding] = []
    for action in actions:
        if action.tag in handlers.tags:
            continue
        what = f"Client action {action.name!r} ({action.owner.xmlid or f'id {action.id}'}) "
        what += f"has tag {action.tag!r}, which " if action.tag else "has no tag"
        owner, elsewhere = action.owner, handlers.elsewhere.get(action.tag, ())
        reachable = owner.noupdate and owner.module in modules.on_disk
        last = owner.last_steps(declared=reachable and not handlers.tags.issuperset(declared(action)))
        if elsewhere:
            last = tuple(DECLARE_ASSET if step == CORRECT_CODE else step for step in last)
        steps, remedy = modules.remedy(
            owner.module,
            then=(REGENERATE, *last),
            otherwise="Delete the action in Odoo: no installed module declares it",
        )
        owners = sorted({url.split("/")[1] for url in elsewhere})
        missing = [name for name in owners if name not in modules.installed]
        if missing and len(missing) == len(owners):
            what += f"only module {' and '.join(missing)} registers, and that is not installed"
            steps, remedy = ("install",), f"Install module {missing[0]}"
        elif elsewhere:
            what += f"{', '.join(elsewhere)} registers, but no asset bundle of the web client holds that script"
        elif action.tag:
            what += "no script of the installed modules registers"
        key = f"{CLIENT_ACTION}:{action.tag or action.id}"
        finding = Finding(CLIENT_ACTION, key, action.owner.module, what, (action.id,), steps, remedy)
        reason = "" if action.menus or elsewhere else LEFTOVERS.get((action.owner.module, action.tag), "")
        if reason:
            leftovers.append(dataclasses.replace(finding, what=f"{what}: {reason}", steps=(), remedy="Nothing to do"))
        else:
            found.append(finding)
    return found, leftovers


# External identifiers


@dataclasses.dataclass(frozen=True)
class Target:
    """A model that external identifiers point at; ``registered`` tells whether ``ir.model`` has it."""

    model: str
    count: int
    registered: bool
    abstract: bool = False


@dataclasses.dataclass(frozen=True)
class Identifier:
    """An external identifier and what it points at."""

    id: int
    owner: Owner
    model: str
    res_id: int


_LAYOUT = """
SELECT ARRAY(SELECT c.relname::text
               FROM pg_class c
              WHERE c.relkind IN ('r', 'p') AND pg_table_is_visible(c.oid)
                AND EXISTS (SELECT FROM pg_attribute a
                             WHERE a.attrelid = c.oid AND a.attname = 'id' AND NOT a.attisdropped)),
       (SELECT json_agg(json_build_array(
                   d.model, d.count, m.id IS NOT NULL, to_jsonb(m) -> 'abstract' = 'true'))
          FROM (SELECT model, count(*) FROM ir_model_data WHERE res_id <> 0 GROUP BY model) d
          LEFT JOIN ir_model m ON m.model = d.model)
"""
_IDENTIFIERS = """
SELECT d.id, d.module, d.name, d.model, d.res_id FROM ir_model_data d
 WHERE d.model = {model} AND d.res_id <> 0 AND NOT EXISTS (SELECT FROM {table} t WHERE t.id = d.res_id)
"""
_STRAYS = """
SELECT d.id, d.module, d.name, d.model, d.res_id FROM ir_model_data d WHERE d.model IN ({models}) AND d.res_id <> 0
"""


def read_layout(connection: Any) -> tuple[frozenset[str], list[Target]]:
    """The tables with an id, and the models that external identifiers point at."""
    tables, models = rows(connection, _LAYOUT)[0]
    return frozenset(tables), [
        Target(model, count, registered, bool(abstract)) for model, count, registered, abstract in models or ()
    ]


def table_of(model: str) -> str:
    """The table of a model's records."""
    return TABLES.get(model, model.replace(".", "_"))


def judge_targets(
    targets: Iterable[Target], tables: frozenset[str]
) -> tuple[dict[str, str], tuple[str, ...], tuple[str, ...]]:
    """Part models by how their external identifiers can be judged.

    :returns: model to table; models that cannot have records, because no module defines them any more or
        because they are abstract; models whose table is not known.
    """
    found: dict[str, str] = {}
    gone, unknown = [], []
    for target in targets:
        if not target.registered or target.abstract:
            gone.append(target.model)
        elif table_of(target.model) in tables:
            found[target.model] = table_of(target.model)
        else:
            unknown.append(target.model)
    return found, tuple(sorted(gone)), tuple(sorted(unknown))


def read_dangling(connection: Any, found: Mapping[str, str], gone: Sequence[str]) -> list[Identifier]:
    """Read the external identifiers whose record is not there, over all models at once."""
    branches = [
        sql.SQL(_IDENTIFIERS).format(model=sql.Literal(model), table=sql.Identifier(table))
        for model, table in sorted(found.items())
    ]
    if gone:
        branches.append(sql.SQL(_STRAYS).format(models=sql.SQL(", ").join(map(sql.Literal, gone))))
    if not branches:
        return []
    query = sql.SQL(" UNION ALL ").join(branches)
    return [
        Identifier(number, Owner(module, name), model, res_id)
        for number, module, name, model, res_id in sorted(rows(connection, query), key=lambda row: row[1:3])
    ]


def find_identifiers(identifiers: Iterable[Identifier], gone: Sequence[str], modules: Modules) -> list[Finding]:
    """External identifiers that point at nothing (E19)."""
    found = []
    for identifier in identifiers:
        owner = identifier.owner
        what = f"External identifier {owner.xmlid} points at {identifier.model} {identifier.res_id}, "
        what += "a model without records" if identifier.model in gone else "which does not exist"
        steps, remedy = modules.remedy(
            owner.module,
            otherwise="Delete the external identifier in Odoo (Settings, Technical): no installed module declares it",
        )
        found.append(
            Finding(XMLID, f"{XMLID}:{owner.xmlid}", owner.module, what, (identifier.id,), steps, remedy),
        )
    return found


# Attachments


@dataclasses.dataclass(frozen=True)
class Attachment:
    """An attachment whose content is a file."""

    id: int
    name: str
    store_fname: str
    checksum: str | None
    size: int | None
    res_model: str
    url: str
    module: str


_ATTACHMENTS = """
WITH owners AS (
    SELECT model, res_id, min(module) AS module FROM ir_model_data
     WHERE model IN ('ir.attachment', 'ir.ui.menu') GROUP BY model, res_id
)
SELECT a.id, coalesce(a.name, ''), a.store_fname, a.checksum, a.file_size, coalesce(a.res_model, ''),
       coalesce(a.url, ''), coalesce(o.module, m.module, '')
  FROM ir_attachment a
  LEFT JOIN owners o ON o.model = 'ir.attachment' AND o.res_id = a.id
  LEFT JOIN owners m ON m.model = a.res_model AND m.model = 'ir.ui.menu' AND m.res_id = a.res_id
 WHERE a.store_fname <> ''
 ORDER BY a.id
"""


def read_attachments(connection: Any) -> list[Attachment]:
    """Read all attachments that say they are files."""
    return [Attachment(*row) for row in rows(connection, _ATTACHMENTS)]


def read_still_stored(connection: Any, attachments: Iterable[Attachment]) -> set[int]:
    """Ids of those attachments that still have the same file: Odoo may have replaced one meanwhile."""
    pairs = [(attachment.id, attachment.store_fname) for attachment in attachments]
    if not pairs:
        return set()
    query = """SELECT a.id FROM ir_attachment a
                 JOIN unnest(%s::int[], %s::text[]) AS w (id, name) ON w.id = a.id AND w.name = a.store_fname"""
    return {number for (number,) in rows(connection, query, tuple(list(column) for column in zip(*pairs)))}


def find_attachments(
    attachments: Iterable[Attachment], faults: Mapping[str, str], modules: Modules, *, directory: str
) -> list[Finding]:
    """Attachments whose file is missing, or not what it was; one finding for each file."""
    sharing: dict[str, list[Attachment]] = {}
    for attachment in attachments:
        if attachment.store_fname in faults:
            sharing.setdefault(attachment.store_fname, []).append(attachment)
    found = []
    for name, group in sharing.items():
        first = group[0]
        steps: tuple[str, ...] = ("restore_file",)
        remedy = f"Bring {directory}/{name} back from a backup"
        if all(item.url.startswith("/web/assets/") for item in group):
            steps, remedy = (REGENERATE,), "Regenerate the assets: Odoo makes it anew"
        elif first.module in modules.on_disk:
            steps = (UPDATE, *steps)
            remedy = (
                f"{_UPDATE_TEXT.format(module=first.module)}; if that is not enough, bring {name} back from a backup"
            )
        more = f" and {len(group) - 1} more" if len(group) > 1 else ""
        what = (
            f"Attachment {first.name!r} (id {first.id}{f', of {first.res_model}' if first.res_model else ''}){more}: "
        )
        ids = tuple(item.id for item in group)
        key = f"{ATTACHMENT}:{name}"
        found.append(Finding(ATTACHMENT, key, first.module, f"{what}{faults[name]} ({name})", ids, steps, remedy))
    return found


# Scheduled actions


@dataclasses.dataclass(frozen=True)
class ScheduledAction:
    """An active scheduled action.

    ``late`` is how many seconds ago it should have run; negative when its time is to come. ``failures``
    counts those since its last success.
    """

    id: int
    name: str
    owner: Owner
    late: float
    failures: int
    failing_since: str


# Odoo itself counts from the last change of the record, so that one just made active is not late.
_SCHEDULED_ACTIONS = """
SELECT c.id, coalesce(to_jsonb(c) ->> 'cron_name', to_jsonb(s) #>> '{name,en_US}', to_jsonb(s) ->> 'name', ''),
       coalesce(d.module, ''), coalesce(d.name, ''),
       extract(epoch FROM (now() AT TIME ZONE 'UTC')
               - least(greatest(c.nextcall, c.write_date), t.call_at))::float,
       coalesce((to_jsonb(c) ->> 'failure_count')::int, 0),
       coalesce(replace(left(to_jsonb(c) ->> 'first_failure_date', 19), 'T', ' '), '')
  FROM ir_cron c
  LEFT JOIN ir_act_server s ON s.id = c.ir_actions_server_id
  LEFT JOIN (SELECT cron_id, min(call_at) AS call_at FROM ir_cron_trigger GROUP BY cron_id) t ON t.cron_id = c.id
  LEFT JOIN (SELECT res_id, min(module) AS module, min(name) AS name
               FROM ir_model_data WHERE model = 'ir.cron' GROUP BY res_id) d ON d.res_id = c.id
 WHERE c.active
 ORDER BY c.id
"""


def read_scheduled_actions(connection: Any) -> list[ScheduledAction]:
    """Read all active scheduled actions."""
    return [
        ScheduledAction(number, name, Owner(module, xmlid), late, failures, since)
        for number, name, module, xmlid, late, failures, since in rows(connection, _SCHEDULED_ACTIONS)
    ]


def find_scheduled_actions(
    actions: Sequence[ScheduledAction], *, tolerance: int, pending: Sequence[str] = (), stale_base: str = ""
) -> list[Finding]:
    """Scheduled actions that should have run, or that fail.

    :param tolerance: minutes that one may be late.
    :param pending: modules that are left half way: Odoo runs no scheduled action meanwhile.
    :param stale_base: why Odoo takes the database for one of another version; empty when it does not.
    """
    overdue = [action for action in actions if action.late > tolerance * 60]
    if pending:
        reason = (
            f"Finish or take back what modules {', '.join(pending)} wait for: until then Odoo runs no scheduled action"
        )
        steps: tuple[str, ...] = ("repair_modules",)
    elif stale_base:
        reason = f"Update module base: {stale_base}, and until then Odoo runs no scheduled action"
        steps = (UPDATE,)
    elif len(overdue) > len(actions) / 2:
        reason = "Start the instance's service, or give it max_cron_threads: hardly any scheduled action runs"
        steps = ("start_service",)
    else:
        reason = "Look in Odoo's log for its last run, and for another one that takes too long"
        steps = ("read_log",)
    found = []
    for action in actions:
        label = f"Scheduled action {action.name!r} ({action.owner.xmlid or f'id {action.id}'}) "
        key = f"{SCHEDULED_ACTION}:{action.owner.xmlid or action.id}"
        if action.failures:
            what = f"{label}failed {action.failures} times in a row" + (
                f", since {action.failing_since} UTC" if action.failing_since else ""
            )
            remedy = "Read the traceback in Odoo's log. After 5 failures in 7 days Odoo switches it off"
            found.append(Finding(SCHEDULED_ACTION, key, action.owner.module, what, (action.id,), ("read_log",), remedy))
        elif action in overdue:
            what = f"{label}should have run {duration(action.late)} ago"
            found.append(Finding(SCHEDULED_ACTION, key, action.owner.module, what, (action.id,), steps, reason))
    return found


def duration(seconds: float) -> str:
    """A length of time as people say it."""
    minutes = int(seconds // 60)
    if minutes < 120:
        return f"{minutes} minutes"
    return f"{minutes // 60} hours" if minutes < 2880 else f"{minutes // 1440} days"


# Modules


def find_modules(broken: Iterable[Mapping[str, Any]], states: Mapping[str, str | None]) -> list[Finding]:
    """Modules that are half way, or installed and cannot be loaded (E17).

    :param broken: name and reason of each, as module odoo_module_info lists them.
    """
    found = []
    for fault in broken:
        name = fault["name"]
        if str(states.get(name)).startswith("to "):
            steps, remedy = ("repair_modules",), "Let module odoo_module finish it: it repairs what a killed run left"
        elif "addons path" in fault["reason"]:
            steps = ("restore_code", "remove")
            remedy = f"Bring the code of {name} back; if it is to go, bring it back all the same and uninstall it then"
        else:
            steps, remedy = ("restore_code", UPDATE), f"Put the code of {name} right, then update it"
        found.append(Finding(MODULE, f"{MODULE}:{name}", name, f"Module {name}: {fault['reason']}", (), steps, remedy))
    return found
