#!/usr/bin/python
# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keep indexes as they should be."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_index
short_description: Keep indexes of PostgreSQL as they should be
version_added: 0.1.0
description:
  - Makes a list of indexes present or absent, by definition and validity and not only by name. Definitions
    compare by meaning, as M(slipway.odoo.postgresql_index_info) explains.
  - Builds and drops with C(CONCURRENTLY) by default, each in a statement of its own, so that reading and
    writing goes on.
  - An INVALID index that a failed or killed build left is dropped and built again. What a killed C(REINDEX
    CONCURRENTLY) left (C(_ccnew), C(_ccold)) is dropped.
  - An index of the right name with another definition is an error, reported before anything changes. With
    O(replace) the new one is built beside it as C(NAME_slipway_new), takes the name in one transaction, and
    the old one is dropped. Tablespace, comment, the mark that C(CLUSTER) goes by it and the statistics targets
    of expressions are kept, storage parameters unless the method is another one. Of an INVALID index, and
    of the parts of that of a partitioned table, only tablespace and storage parameters are.
  - A partitioned table gets its index without a lock on the whole. It is made for the table alone, then
    concurrently for each partition that has none of the same definition, and attached. Sub-partitions are
    included. Partitions that are made later get theirs from PostgreSQL.
  - The run may be cut off at any moment. The next one drops or takes up what is there. While the server still
    builds what a killed run began, the next one waits for it.
options:
  indexes:
    description:
      - The indexes.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the index, as it is stored.
        type: str
        required: true
      table:
        description:
          - Table, partitioned table or materialised view, with or without its schema (V(schema.table)).
          - Names are taken as they are stored, without quotes. A name with a dot in it needs
            O(indexes[].schema).
          - Needed unless the index is to be absent.
        type: str
      schema:
        description:
          - Schema of the table and so of the index. Wins over O(schema); the search path finds the table
            without either.
        type: str
      columns:
        description:
          - The keys in their order, each as SQL. A column, a function call such as V(lower(name\)), or an
            expression in brackets such as V((amount + tax\)).
          - After it may follow C(COLLATE), an operator class, C(ASC) or C(DESC), and C(NULLS FIRST) or
            C(NULLS LAST).
          - Names fold to lower case as in SQL. Write those with capitals in double quotes.
          - Needed unless the index is to be absent.
        type: list
        elements: str
      unique:
        description: Whether no two rows may have the same key.
        type: bool
        default: false
      nulls_not_distinct:
        description: Whether nulls count as equal in a unique index. From PostgreSQL 15 on.
        type: bool
        default: false
      method:
        description: Access method, such as V(btree), V(hash), V(gin), V(gist) or V(brin).
        type: str
        default: btree
      where:
        description: Predicate of a partial index, one SQL expression.
        type: str
      include:
        description: Columns that are stored with the keys. Their order means nothing.
        type: list
        elements: str
        default: []
      opclass:
        description: Operator class of the keys that name none, such as V(gin_trgm_ops).
        type: str
      state:
        description: Wins over O(state).
        type: str
        choices: [present, absent]
  schema:
    description:
      - Schema of the entries that name none. The search path finds tables and indexes without it.
    type: str
  state:
    description:
      - Whether the indexes are to be there.
      - V(absent) needs only the names. The definition is not looked at; the table is, when given. Indexes of
        constraints, those that foreign keys rely on, replica identities and parts of partitioned ones are
        refused.
    type: str
    choices: [present, absent]
    default: present
  concurrently:
    description:
      - Whether others can write while an index is built, and read while one is dropped. It takes longer, and
        waits for all transactions that are older.
      - PostgreSQL cannot drop the index of a partitioned table that way, so that is always done with a short
        lock.
    type: bool
    default: true
  replace:
    description:
      - Whether an index of another definition is replaced. Those of constraints, those that foreign keys rely
        on, replica identities and parts of partitioned ones are refused.
    type: bool
    default: false
  accept_equivalent:
    description:
      - Whether nothing is built where a valid index of another name does the same work. When false, the index
        is built and a warning tells of the other one.
    type: bool
    default: false
  lock_timeout:
    description:
      - Seconds that a statement waits for each lock. V(0) waits without limit.
      - A concurrent build waits for each older transaction this way, without holding anybody up. Raise it
        where long transactions are usual. The error names who was waited for.
      - The INVALID index that such a build leaves is dropped at once if nobody else uses the table. If somebody
        does for longer than this, it stays until the next run. The error says so, and when it is a unique one
        that refuses rows with equal keys meanwhile.
      - A statement that makes the queries of others queue behind it asks for its lock in tries of 2 seconds,
        until this time has passed. Such are builds and drops without O(concurrently), and parts of the work
        on partitioned tables.
    type: int
    default: 60
  wait:
    description:
      - Seconds to wait for another run of this module on the database, and for builds that others run on
        these tables.
    type: int
    default: 3600
  progress_interval:
    description:
      - Seconds between two lines in the system log on a statement that takes long. A change of its phase is
        logged at once.
    type: int
    default: 30
extends_documentation_fragment:
  - slipway.odoo.postgresql
notes:
  - Columns, expressions and predicates become part of SQL statements. Only what makes one expression is
    accepted. Semicolons, comments, dollar quotes, strings with a prefix such as C(E''), two strings in a row
    and brackets that do not match are refused before anything is sent.
  - A task cannot show anything while it runs. To follow a long build, read the journal of the host that the
    module runs on, C(journalctl -t ansible-slipway.odoo.postgresql_index -f). It tells phase, percentage, and
    who is waited for. In C(pg_stat_activity) the session is called C(slipway postgresql_index).
  - New definitions are tried on an empty temporary table first, also in check mode. So unknown columns,
    methods and operator classes, and expressions that are not immutable, are errors before anything changes.
    That needs the privilege C(TEMP) on the database. In check mode a column that is not there yet is no error,
    because an earlier task may make it.
  - Rows are not looked at in advance. Whether they hold equal keys shows when a unique index is built.
  - The role must own the tables, or be a superuser, and have the privilege C(CREATE) on their schema.
  - Storage parameters and tablespaces of indexes that are there are neither compared nor changed.
  - When rows with the same key prevent a unique index, the error holds a query that finds them, and none of
    their values.
seealso:
  - module: slipway.odoo.postgresql_index_info
author:
  - Slipway contributors (@slipway)
"""
EXAMPLES = r"""
- name: Index what purchase orders are looked up by
  slipway.odoo.postgresql_index:
    login_db: common_prod
    indexes:
      - {name: idx_po_buyer_company_id, table: purchase_orders, columns: [buyer_company_id]}
      - {name: idx_po_status, table: purchase_orders, columns: [status]}
      - name: idx_po_open
        table: purchase_orders
        columns: [lower(reference), created_at DESC]
        include: [product_id]
        where: status <> 'done'
  become: true

- name: Let users search for parts of names, as the role of an Odoo instance
  slipway.odoo.postgresql_index:
    config: /etc/odoo/main.conf
    indexes:
      - name: idx_partner_name_trigram
        table: res_partner
        columns: [name]
        method: gin
        opclass: gin_trgm_ops
  become: true

- name: Change what an index is on, while everybody works
  slipway.odoo.postgresql_index:
    login_db: common_prod
    replace: true
    indexes:
      - {name: idx_po_status, table: purchase_orders, columns: [status, created_at]}
  become: true

- name: Take indexes away again
  slipway.odoo.postgresql_index:
    login_db: common_prod
    state: absent
    indexes:
      - {name: idx_po_buyer_company_id}
      - {name: idx_po_status}
  become: true
"""
RETURN = r"""
database:
  description: The database.
  returned: unless RV(assumed)
  type: str
  sample: common_prod
created:
  description: Indexes that were built, or in check mode would be.
  returned: unless RV(assumed)
  type: list
  elements: str
  sample: [idx_po_status]
rebuilt:
  description: Indexes that were INVALID.
  returned: unless RV(assumed)
  type: list
  elements: str
  sample: []
replaced:
  description: Indexes that had another definition.
  returned: unless RV(assumed)
  type: list
  elements: str
  sample: []
dropped:
  description: Indexes that were to be absent.
  returned: unless RV(assumed)
  type: list
  elements: str
  sample: []
repaired:
  description: Indexes that are whole, but that something cut off had left others beside, which were dropped.
  returned: unless RV(assumed)
  type: list
  elements: str
  sample: []
accepted:
  description: Indexes that were not built because of O(accept_equivalent).
  returned: unless RV(assumed)
  type: list
  elements: str
  sample: []
waiting:
  description: Indexes that another session builds now. Check mode does not wait for it.
  returned: unless RV(assumed)
  type: list
  elements: str
  sample: []
equivalent:
  description: Of the indexes that were missing, those that others do the same work as (C(equivalent)), or that
    wider ones
    serve the same searches as (C(covered_by)).
  returned: unless RV(assumed)
  type: list
  elements: dict
  sample:
    - {name: idx_po_status, equivalent: [purchase_orders_status_idx], covered_by: []}
statements:
  description: All statements that were run, or in check mode would be, in order.
  returned: unless RV(assumed)
  type: list
  elements: str
  sample: ['CREATE INDEX CONCURRENTLY "idx_po_status" ON "public"."purchase_orders" USING "btree" ("status")']
builds:
  description: How each build went.
  returned: unless RV(assumed)
  type: list
  elements: dict
  contains:
    name:
      description: The index as it was called while it was built.
      type: str
      sample: idx_po_status
    table:
      description: Its table.
      type: str
      sample: public.purchase_orders
    seconds:
      description: How long it took.
      type: float
      sample: 61.3
    phases:
      description: The phases it was seen in, with seconds. Looked at once a second, so empty for a short build.
      type: list
      elements: dict
      sample:
        - {phase: "building index: scanning table", seconds: 44}
failed_index:
  description: The index that a statement failed for.
  returned: on failure of a statement
  type: str
  sample: idx_po_status
done:
  description: Statements that were run before one failed. The result is C(changed) if there are any, and if the
    failed one left something.
  returned: on failure of a statement
  type: list
  elements: str
  sample: []
problems:
  description: All that stands in the way, one sentence each.
  returned: on failure before anything was changed
  type: list
  elements: str
  sample: ["'idx_po_status': columns must name at least one"]
missing_tables:
  description: Tables that do not exist.
  returned: on failure because of them
  type: list
  elements: str
  sample: [purchase_orders]
assumed:
  description: Present and true when check mode could not look, because something that an earlier task makes is missing.
  returned: in check mode, when it is too early
  type: bool
  sample: true
msg:
  description: What would be done, and why it was too early to look.
  returned: with RV(assumed), and on failure
  type: str
  sample: "Would make indexes present: idx_po_status."
"""

import contextlib
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_session import run_module
from ansible_collections.slipway.odoo.plugins.module_utils.postgresql_index_build import (
    Report,
    Watcher,
    carry_out,
    statements,
)
from ansible_collections.slipway.odoo.plugins.module_utils.postgresql_index_check import resolve
from ansible_collections.slipway.odoo.plugins.module_utils.postgresql_index_facts import Facts, read_facts
from ansible_collections.slipway.odoo.plugins.module_utils.postgresql_index_form import (
    Wanted,
    form_arguments,
    read_wanted,
)
from ansible_collections.slipway.odoo.plugins.module_utils.postgresql_index_plan import Plan, decide
from ansible_collections.slipway.odoo.plugins.module_utils.postgresql_session import (
    EXCLUSIVE,
    REQUIRED,
    Server,
    advisory_lock,
    login_arguments,
    open_server,
)

#: Two halves of an advisory lock key: «SLIP», and 2 for changes of indexes.
LOCK_KEY = (0x534C4950, 2)
PURPOSE = "slipway postgresql_index"


def read(server: Server, wanted: tuple[Wanted, ...]) -> Facts:
    """Read everything about the tables in question."""
    present = [item for item in wanted if item.present]
    return read_facts(
        server.connection,
        tables=[(item.schema, item.table) for item in present],
        indexes=[(item.schema, item.name) for item in wanted],
    )


def look(server: Server, wanted: tuple[Wanted, ...], params: dict[str, Any], facts: Facts) -> Plan:
    """Plan from what was read."""
    unwanted = [(item, oid) for item, oid in zip(wanted, facts.named_indexes) if not item.present]
    return decide(
        facts,
        resolve(server.connection, facts, [item for item in wanted if item.present]),
        unwanted,
        replace=params["replace"],
        concurrently=params["concurrently"],
        accept_equivalent=params["accept_equivalent"],
    )


def wait_for_builds(module: AnsibleModule, server: Server, wanted: tuple[Wanted, ...]) -> Facts:
    """Wait while anybody else builds an index on these tables, which may be one of ours."""
    deadline = time.monotonic() + module.params["wait"]
    told = 0.0
    while True:
        facts = read(server, wanted)
        if not facts.builds:
            return facts
        builds = "; ".join(
            f"backend {build.pid} ({build.client}) on {facts.tables[build.table]}: {build.phase}"
            for build in facts.builds
        )
        if time.monotonic() >= deadline:
            raise SlipwayError(
                f"Indexes of these tables are being built, and were not after {module.params['wait']} s: {builds}. "
                "Nothing was changed"
            )
        if time.monotonic() - told >= module.params["progress_interval"]:
            told = time.monotonic()
            module.log(f"waits for {builds}")
        time.sleep(1)


def apply(module: AnsibleModule, server: Server, wanted: tuple[Wanted, ...]) -> tuple[Plan, list[Report], list[str]]:
    """Plan again with nobody else at it, carry it out, and look at what came of it."""
    params = module.params
    wait_for_builds(module, server, wanted)
    with advisory_lock(server.connection, LOCK_KEY, wait=params["wait"]):
        plan = look(server, wanted, params, wait_for_builds(module, server, wanted))
        if not plan.changed:
            return plan, [], []
        texts = statements(server.connection, plan)
        with contextlib.closing(server.another(purpose=f"{PURPOSE} (progress)")) as second:
            watcher = Watcher(
                second,
                pid=server.connection.info.backend_pid,
                log=module.log,
                interval=params["progress_interval"],
            )
            reports = carry_out(
                server.connection, plan, watcher=watcher, lock_timeout=params["lock_timeout"], log=module.log
            )
        if watcher.fault:
            module.warn(f"The progress of the builds could not be followed: {watcher.fault}")
        left = look(server, wanted, params, read(server, wanted))
        if left.changed:
            names = ", ".join(dict.fromkeys(action.name for action in left.actions))
            raise SlipwayError(
                f"Afterwards these indexes are still not as wanted: {names}", changed=True, statements=texts
            )
        return plan, reports, texts


def result_of(database: str, plan: Plan, reports: list[Report], texts: list[str]) -> dict[str, Any]:
    """What the module returns."""
    return {
        "changed": plan.changed,
        "database": database,
        **{kind: plan.named(kind) for kind in ("created", "rebuilt", "replaced", "dropped", "repaired")},
        "equivalent": list(plan.equivalent),
        "accepted": list(plan.accepted),
        "waiting": list(plan.waiting),
        "statements": texts,
        "builds": [report.result() for report in reports],
        "diff": plan.diff(),
    }


def warn(module: AnsibleModule, plan: Plan) -> None:
    """Tell of indexes that may be superfluous, and of doubts."""
    if plan.doubt:
        module.warn(plan.doubt)
    for entry in plan.equivalent:
        if entry["name"] in plan.accepted:
            continue
        others = entry["equivalent"] or entry["covered_by"]
        what = "does the same work" if entry["equivalent"] else "serves the same searches"
        module.warn(f"Index {entry['name']!r} may be superfluous: {', '.join(others)} {what}")


def work(module: AnsibleModule) -> dict[str, Any]:
    """Read, plan, apply."""
    params = module.params
    wanted = read_wanted(params["indexes"], schema=params["schema"], state=params["state"])
    with open_server(params, purpose=PURPOSE, lock_timeout=params["lock_timeout"]) as server:
        plan = look(server, wanted, params, read(server, wanted))
        reports: list[Report] = []
        if module.check_mode or not (plan.changed or plan.waiting):
            texts = statements(server.connection, plan)
        else:
            plan, reports, texts = apply(module, server, wanted)
        warn(module, plan)
        return result_of(server.database, plan, reports, texts)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **login_arguments(),
            "indexes": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": form_arguments(stateful=True),
            },
            "schema": {"type": "str"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "concurrently": {"type": "bool", "default": True},
            "replace": {"type": "bool", "default": False},
            "accept_equivalent": {"type": "bool", "default": False},
            "lock_timeout": {"type": "int", "default": 60},
            "wait": {"type": "int", "default": 3600},
            "progress_interval": {"type": "int", "default": 30},
        },
        mutually_exclusive=EXCLUSIVE,
        required_one_of=REQUIRED,
        supports_check_mode=True,
    )
    names = ", ".join(entry["name"] for entry in module.params["indexes"])
    run_module(module, work, intent=f"make indexes {module.params['state']}: {names}")


if __name__ == "__main__":
    main()
