#!/usr/bin/python
# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Set outgoing mail servers of an Odoo database."""

from __future__ import annotations

DOCUMENTATION = r"""
module: odoo_mail_server
short_description: Set outgoing mail servers of an Odoo database
version_added: 0.1.0
description:
  - Sets outgoing mail servers (C(ir.mail_server)), told apart by their names.
  - They are read by SQL and written by Odoo itself. Without a difference no Odoo is started.
  - A server in the database is preferred to C(smtp_server) in the configuration file, whose C(smtp_ssl)
    is a boolean.
options:
  database:
    description:
      - The database. C(db_name) of the configuration file when not given.
    type: str
  servers:
    description:
      - The servers. An option that is not given is left as it is in an existing record.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description:
          - Name of the record. An archived one of this name is taken up again.
        type: str
        required: true
      host:
        description:
          - Name or address of the SMTP server.
        type: str
        required: true
      encryption:
        description:
          - V(starttls_strict) and V(ssl_strict) also check the server's certificate, V(starttls) and
            V(ssl) do not.
          - Odoo 18.0 knows V(none), V(starttls) and V(ssl) only.
        type: str
        choices: [none, starttls, starttls_strict, ssl, ssl_strict]
        default: starttls_strict
      port:
        description:
          - Port of the SMTP server. When not given it is 587 with STARTTLS, 465 with SSL and 25 with
            V(none).
        type: int
      user:
        description:
          - Log-in at the SMTP server.
        type: str
      password:
        description:
          - Password at the SMTP server. Odoo stores it in plain text.
        type: str
      from_filter:
        description:
          - Comma-separated sender addresses or domains that this server may be used for.
        type: str
      sequence:
        description:
          - The smaller, the sooner it is used.
        type: int
        default: 10
      debug:
        description:
          - Whether to log whole SMTP sessions, which may contain confidential things.
        type: bool
        default: false
  purge:
    description:
      - Whether to archive active servers that are not listed. The personal servers of users stay.
    type: bool
    default: false
extends_documentation_fragment:
  - slipway.odoo.odoo
seealso:
  - module: slipway.odoo.odoo_database
author:
  - Slipway contributors (@slipway)
"""

EXAMPLES = r"""
- name: Send through the company's relay
  slipway.odoo.odoo_mail_server:
    config: /etc/odoo/main.conf
    servers:
      - name: relay
        host: mail.example.com
        user: odoo
        password: "{{ vault_odoo_smtp_password }}"
        from_filter: example.com
    purge: true
  become: true
"""

RETURN = r"""
database:
  description: The database.
  returned: unless RV(assumed)
  type: str
  sample: main
created:
  description: Names of servers that were made, or in check mode would be.
  returned: unless RV(assumed)
  type: list
  elements: str
  sample: [relay]
updated:
  description: Names of servers that were changed, or in check mode would be.
  returned: unless RV(assumed)
  type: list
  elements: str
  sample: []
archived:
  description: Names of servers that were archived, or in check mode would be.
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
  description: What would be done, and why it was too early to look.
  returned: with RV(assumed), and on failure
  type: str
  sample: Would set mail servers relay.
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_cli import run_shell
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_db import require_odoo, rows
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_session import (
    Session,
    instance_arguments,
    open_session,
    run_module,
)
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_settings import MailPlan, decide_mail_servers

SOURCE = """
Server = env["ir.mail_server"].with_context(active_test=False)
if payload["create"]:
    Server.create(payload["create"])
for server_id, values in payload["change"]:
    Server.browse(server_id).write(values)
Server.browse(payload["archive"]).write({"active": False})
result = True
"""

RECORDS = "SELECT to_jsonb(s) - 'smtp_ssl_certificate' - 'smtp_ssl_private_key' FROM ir_mail_server s ORDER BY s.id"
ENCRYPTIONS = """SELECT s.value FROM ir_model_fields_selection s JOIN ir_model_fields f ON f.id = s.field_id
                  WHERE f.model = 'ir.mail_server' AND f.name = 'smtp_encryption'"""


def look(session: Session, params: dict[str, Any]) -> MailPlan:
    """Read all mail servers, and plan."""
    return decide_mail_servers(
        [record for (record,) in rows(session.connection, RECORDS)],
        servers=params["servers"],
        purge=params["purge"],
        encryptions=[value for (value,) in rows(session.connection, ENCRYPTIONS)],
    )


def work(module: AnsibleModule) -> dict[str, Any]:
    """Read, plan, apply."""
    params = module.params
    decide_mail_servers([], servers=params["servers"], purge=False)
    with open_session(params, database="database") as session:
        require_odoo(session.connection, session.database)
        plan = look(session, params)
        if plan.changed and not module.check_mode:
            run_shell(
                session.config,
                session.database,
                SOURCE,
                plan.payload(),
                filename="<odoo_mail_server>",
                purpose="mail-servers",
                secrets=[server["password"] for server in params["servers"] if server["password"]],
                timeout=params["timeout"],
            )
            if look(session, params).changed:
                raise SlipwayError("Odoo did not keep the mail servers as they were given")
        return {
            "changed": plan.changed,
            "database": session.database,
            "created": sorted(values["name"] for values in plan.create),
            "updated": sorted(plan.updated),
            "archived": sorted(plan.archived),
            "diff": plan.diff(),
        }


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            **instance_arguments(),
            "database": {"type": "str"},
            "servers": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "host": {"type": "str", "required": True},
                    "encryption": {
                        "type": "str",
                        "choices": ["none", "starttls", "starttls_strict", "ssl", "ssl_strict"],
                        "default": "starttls_strict",
                    },
                    "port": {"type": "int"},
                    "user": {"type": "str"},
                    "password": {"type": "str", "no_log": True},
                    "from_filter": {"type": "str"},
                    "sequence": {"type": "int", "default": 10},
                    "debug": {"type": "bool", "default": False},
                },
            },
            "purge": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    names = sorted(server["name"] for server in module.params["servers"])
    run_module(module, work, intent=f"set mail servers {', '.join(names)}")


if __name__ == "__main__":
    main()
