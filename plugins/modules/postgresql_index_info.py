#!/usr/bin/python
# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tell about indexes, and compare them with what is expected."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_index_info
short_description: Tell about indexes of PostgreSQL, and compare them with what is expected
version_added: 0.1.0
description:
  - Returns all facts about the indexes of tables or of a schema, read in one round trip. Definition,
    validity, size, use since the statistics were reset, indexes that are duplicates or prefixes of others,
    and foreign keys without an index.
  - With O(expected) it compares definition and validity, not only names. An index that a failed C(CREATE
    INDEX CONCURRENTLY) left behind is reported as invalid, one of the right name on other columns as
    mismatched. On the tables of expected indexes and their partitions, any index that is invalid counts, expected
    or not. It takes up space, every change of a row may be written to it, and a unique one may refuse rows.
  - Definitions compare by meaning. Case, quotes, spaces, brackets, casts that PostgreSQL adds, and defaults
    make no difference, so V(lower(name\)) is the same as C(lower((name)::text)). What cannot be compared as
    text is normalised by the server, on empty temporary tables in a transaction that is rolled back. The real
    tables are neither written nor locked against anything but a change of their columns.
  - Storage parameters and tablespaces are not compared.
options:
  tables:
    description:
      - Tables to tell about, with or without schema. Their partitions are included.
    type: list
    elements: str
    default: []
  schema:
    description:
      - Schema of the tables that name none. Without O(tables) and O(expected), all its tables are meant.
      - Without any of the three, all tables of the current schema are meant.
    type: str
  name_prefix:
    description:
      - Only indexes whose names begin with this text are returned, and only these can be RV(extra). The
        characters C(_) and C(%) stand for themselves. So V(idx_po_) means what C(LIKE 'idx_po_%') does not
        say.
      - Duplicates, prefixes and foreign keys are still judged by all indexes.
    type: str
    default: ''
  expected:
    description:
      - Indexes that there should be. Their tables are told about, too.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the index, as it is stored.
        type: str
        required: true
      table:
        description:
          - Table, partitioned table or materialised view, with or without its schema (V(schema.table)).
          - Names are taken as they are stored, without quotes. A name with a dot in it needs
            O(expected[].schema).
        type: str
        required: true
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
        type: list
        elements: str
        required: true
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
  accept_equivalent:
    description:
      - Whether a valid index of another name that does the same work counts as the expected one. When false,
        it is named in RV(missing[].equivalent).
    type: bool
    default: false
extends_documentation_fragment:
  - slipway.odoo.postgresql
notes:
  - Columns, expressions and predicates become part of SQL statements. Only what makes one expression is
    accepted. Semicolons, comments, dollar quotes, strings with a prefix such as C(E''), two strings in a row
    and brackets that do not match are refused before anything is sent.
  - On a standby, without the privilege C(TEMP) on the database, or without C(SELECT) on a table, the server
    cannot be asked about the meaning of a definition. It is then compared with casts and brackets left out, a
    warning says so, and RV(compared_by_text) names it.
  - Any role that can log in may run it, also one that owns nothing.
attributes:
  diff_mode:
    description: It changes nothing.
    support: none
  idempotent:
    description: It changes nothing.
    support: full
seealso:
  - module: slipway.odoo.postgresql_index
author:
  - Slipway contributors (@slipway)
"""
EXAMPLES = r"""
- name: Look whether the five indexes on purchase orders are there and whole
  slipway.odoo.postgresql_index_info:
    login_db: common_prod
    expected:
      - {name: idx_po_buyer_company_id, table: purchase_orders, columns: [buyer_company_id]}
      - {name: idx_po_seller_company_id, table: purchase_orders, columns: [seller_company_id]}
      - {name: idx_po_product_id, table: purchase_orders, columns: [product_id]}
      - {name: idx_po_status, table: purchase_orders, columns: [status]}
      - {name: idx_po_created_at, table: purchase_orders, columns: [created_at]}
  become: true
  register: found

- name: Stop unless they are
  ansible.builtin.assert:
    that: found.in_order
    fail_msg: "{{ {'missing': found.missing, 'invalid': found.invalid, 'mismatched': found.mismatched} }}"

- name: Check an index of an Odoo database from its application host
  slipway.odoo.postgresql_index_info:
    config: /etc/odoo/main.conf
    accept_equivalent: true
    expected:
      - name: idx_task_project_stage
        table: project_task
        columns: [project_id, stage_id]
        where: active
  become: true

- name: See which indexes of purchase orders are used
  slipway.odoo.postgresql_index_info:
    login_db: common_prod
    tables: [purchase_orders]
    name_prefix: idx_po_
  become: true
"""
RETURN = r"""
database:
  description: The database.
  returned: unless RV(assumed)
  type: str
  sample: common_prod
indexes:
  description: The indexes, by schema and name.
  returned: unless RV(assumed)
  type: list
  elements: dict
  contains:
    name:
      description: Its name.
      type: str
      sample: idx_po_status
    schema:
      description: Its schema.
      type: str
      sample: public
    table:
      description: Its table.
      type: str
      sample: purchase_orders
    definition:
      description: The statement that would make it, as PostgreSQL writes it.
      type: str
      sample: CREATE INDEX idx_po_status ON public.purchase_orders USING btree (status)
    method:
      description: Access method.
      type: str
      sample: btree
    keys:
      description: The keys in their order. Either C(column) or C(expression) is set. C(order) is C(asc) or C(desc),
        C(nulls) is C(first) or C(last).
      type: list
      elements: dict
      sample:
        - {column: status, expression: null, opclass: text_ops, collation: default, order: asc, nulls: last}
    include:
      description: Columns that are stored with the keys.
      type: list
      elements: str
      sample: []
    where:
      description: Predicate of a partial index, null otherwise.
      type: str
      sample: null
    unique:
      description: Whether no two rows may have the same key.
      type: bool
      sample: false
    nulls_not_distinct:
      description: Whether nulls count as equal.
      type: bool
      sample: false
    primary:
      description: Whether it is that of the primary key.
      type: bool
      sample: false
    constraint:
      description: The primary key, unique or exclusion constraint that it belongs to, null without one.
      type: str
      sample: null
    valid:
      description: Whether queries use it.
      type: bool
      sample: true
    ready:
      description: Whether changes of rows are written to it.
      type: bool
      sample: true
    building:
      description: Phase of the build that another session runs now, null without one.
      type: str
      sample: null
    size:
      description: Bytes on disk; of an index on a partitioned table, those of its parts together.
      type: int
      sample: 16384
    scans:
      description: How often it was used since RV(stats_reset); of an index on a partitioned table, all its parts.
      type: int
      sample: 42
    tuples_read:
      description: How many of its entries these scans returned.
      type: int
      sample: 4711
    partitioned:
      description: Whether it is the index of a partitioned table, and so only holds those of the partitions together.
      type: bool
      sample: false
    parent:
      description: The index of the partitioned table that it is part of, null otherwise.
      type: str
      sample: null
    duplicate_of:
      description: Valid indexes on the same table that do all that this one does. Always empty for one that a
        constraint needs.
      type: list
      elements: str
      sample: []
    prefix_of:
      description: Valid B-tree indexes that begin with the keys of this one, which may so be superfluous. Always empty
        for a unique one.
      type: list
      elements: str
      sample: []
foreign_keys_without_index:
  description: Foreign keys whose columns no valid index begins with, so that deleting a row they refer to reads the
    whole table.
  returned: unless RV(assumed)
  type: list
  elements: dict
  sample:
    - name: purchase_orders_product_id_fkey
      schema: public
      table: purchase_orders
      columns: [product_id]
      references: products
stats_reset:
  description: When the statistics of the database were reset, in UTC; null if never.
  returned: unless RV(assumed)
  type: str
  sample: "2026-03-01T10:15:00Z"
in_order:
  description: Whether nothing is missing, invalid or mismatched.
  returned: with O(expected)
  type: bool
  sample: false
ok:
  description: Expected indexes that are valid and as expected. With O(accept_equivalent) an entry may hold the name of
    the index that is there and C(instead_of), the expected name.
  returned: with O(expected)
  type: list
  elements: dict
  sample:
    - {name: idx_po_status, schema: public, table: purchase_orders}
missing:
  description: Expected indexes that there is none of that name of on the table.
  returned: with O(expected)
  type: list
  elements: dict
  contains:
    name:
      description: The expected name.
      type: str
      sample: idx_po_product_id
    schema:
      description: Schema of the table.
      type: str
      sample: public
    table:
      description: The table.
      type: str
      sample: purchase_orders
    equivalent:
      description: Indexes of other names that do the same work.
      type: list
      elements: str
      sample: [purchase_orders_product_id_idx]
    covered_by:
      description: Wider indexes that serve the same searches, such as one on more columns or without the predicate.
      type: list
      elements: str
      sample: []
    reason:
      description: Set when the name belongs to something else.
      type: str
      sample: another relation of this schema has the name
invalid:
  description: Indexes that queries do not use, with the C(reason). The expected ones of the right definition; and
    all others on the tables of expected ones and their partitions, whoever's they are, unless a build that runs now
    may own them. O(name_prefix) leaves none of them out.
  returned: with O(expected)
  type: list
  elements: dict
  sample:
    - name: idx_po_status
      schema: public
      table: purchase_orders
      reason: a build was cut off or failed, queries do not use it
mismatched:
  description: Expected indexes whose definition is another one.
  returned: with O(expected)
  type: list
  elements: dict
  contains:
    name:
      description: The name.
      type: str
      sample: idx_po_status
    schema:
      description: Schema of the table.
      type: str
      sample: public
    table:
      description: The table.
      type: str
      sample: purchase_orders
    differences:
      description: Each with C(aspect) (V(columns), V(unique), V(method), V(where), V(include) or
        V(nulls_not_distinct)), C(expected) and C(actual).
      type: list
      elements: dict
      sample:
        - {aspect: columns, expected: [status], actual: [status, created_at]}
    definition:
      description: What there is.
      type: str
      sample: CREATE INDEX idx_po_status ON public.purchase_orders USING btree (status, created_at)
    valid:
      description: Whether queries use it.
      type: bool
      sample: true
extra:
  description: Other indexes on the tables of the expected ones. Those that constraints need and parts of
    partitioned ones
    are left out.
  returned: with O(expected)
  type: list
  elements: dict
  sample:
    - name: idx_po_old
      schema: public
      table: purchase_orders
      definition: CREATE INDEX idx_po_old ON public.purchase_orders USING btree (reference)
      valid: true
compared_by_text:
  description: Expected indexes that the server could not be asked about, see the notes.
  returned: with O(expected)
  type: list
  elements: str
  sample: []
missing_tables:
  description: Tables that do not exist.
  returned: on failure because of them
  type: list
  elements: str
  sample: [purchase_orders]
problems:
  description: All that is wrong with O(expected), one sentence each.
  returned: on failure because of it
  type: list
  elements: str
  sample: ["'idx_po_status': columns must name at least one"]
assumed:
  description: Present and true when check mode could not look, because something that an earlier task makes is missing.
  returned: in check mode, when it is too early
  type: bool
  sample: true
msg:
  description: Why it was too early to look.
  returned: with RV(assumed), and on failure
  type: str
  sample: Would read the indexes.
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_db import rows
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_session import run_module
from ansible_collections.slipway.odoo.plugins.module_utils.postgresql_index_check import (
    by_text_warning,
    compare,
    resolve,
)
from ansible_collections.slipway.odoo.plugins.module_utils.postgresql_index_facts import (
    Facts,
    index_facts,
    read_facts,
    without_index,
)
from ansible_collections.slipway.odoo.plugins.module_utils.postgresql_index_form import (
    Wanted,
    form_arguments,
    read_wanted,
    split_table,
)
from ansible_collections.slipway.odoo.plugins.module_utils.postgresql_session import (
    EXCLUSIVE,
    REQUIRED,
    login_arguments,
    open_server,
)

#: Seconds that the comparison waits for somebody who changes the columns of a table.
LOCK_TIMEOUT = 15


def ask(connection: Any, params: dict[str, Any], expected: tuple[Wanted, ...]) -> Facts:
    """Read what the options want to know about."""
    schema = params["schema"]
    tables = [(item.schema, item.table) for item in expected]
    for text in params["tables"]:
        own, name = split_table(text)
        tables.append((own or schema or "", name))
    whole = schema if schema and not params["tables"] and not expected else None
    if not tables and not whole:
        ((whole,),) = rows(connection, "SELECT current_schema()")
        if not whole:
            raise SlipwayError("The search path names no schema that exists: say which schema or tables are meant")
    return read_facts(connection, tables=tables, indexes=[(i.schema, i.name) for i in expected], whole=whole)


def result_of(facts: Facts, params: dict[str, Any]) -> dict[str, Any]:
    """What the module returns about indexes as they are."""
    return {
        "changed": False,
        "indexes": [
            index_facts(facts, index) for index in facts.indexes if index.name.startswith(params["name_prefix"])
        ],
        "foreign_keys_without_index": [
            {
                "name": key.name,
                "schema": facts.tables[key.table].schema,
                "table": facts.tables[key.table].name,
                "columns": list(key.columns),
                "references": key.references,
            }
            for key in without_index(facts)
        ],
        "stats_reset": facts.stats_reset,
    }


def work(module: AnsibleModule) -> dict[str, Any]:
    """Read, compare."""
    params = module.params
    expected = read_wanted(params["expected"] or (), schema=params["schema"])
    with open_server(params, purpose="slipway postgresql_index_info", lock_timeout=LOCK_TIMEOUT) as server:
        facts = ask(server.connection, params, expected)
        result = {**result_of(facts, params), "database": server.database}
        if params["expected"] is None:
            return result
        targets = resolve(server.connection, facts, expected)
    report = compare(facts, targets, accept_equivalent=params["accept_equivalent"], name_prefix=params["name_prefix"])
    doubt = by_text_warning(targets)
    if doubt:
        module.warn(doubt)
    return {**result, **report}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **login_arguments(),
            "tables": {"type": "list", "elements": "str", "default": []},
            "schema": {"type": "str"},
            "name_prefix": {"type": "str", "default": ""},
            "expected": {"type": "list", "elements": "dict", "options": form_arguments(stateful=False)},
            "accept_equivalent": {"type": "bool", "default": False},
        },
        mutually_exclusive=EXCLUSIVE,
        required_one_of=REQUIRED,
        supports_check_mode=True,
    )
    run_module(module, work, intent="read the indexes", changes=False)


if __name__ == "__main__":
    main()
