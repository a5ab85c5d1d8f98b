# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Options and notes that all modules for a PostgreSQL database share."""

from __future__ import annotations


class ModuleDocFragment:
    """Found by ansible-doc as C(slipway.odoo.postgresql)."""

    DOCUMENTATION = r"""
options:
  login_host:
    description:
      - Name or address of the server. Without it, and without O(config), the local socket is used.
    type: str
  login_port:
    description:
      - Port of the server. V(5432) when not given.
    type: int
  login_user:
    description:
      - Role to log in as. V(postgres) when not given.
      - Over the local socket, a task that runs as root becomes the Unix user of the same name to log in,
        if there is one. So O(login_user) works with peer authentication and without C(become_user).
    type: str
  login_password:
    description:
      - Password of the role.
    type: str
  login_unix_socket:
    description:
      - Directory of the local socket, where it is not the usual one.
    type: str
  login_db:
    description:
      - The database. C(db_name) of the configuration file when not given; needed without O(config).
    type: str
    aliases: [db]
  ssl_mode:
    description:
      - How far the connection is encrypted and the server checked, as in libpq. V(prefer) when not given.
    type: str
    choices: [allow, disable, prefer, require, verify-ca, verify-full]
  ca_cert:
    description:
      - File with the authorities that V(verify-ca) and V(verify-full) trust.
    type: str
    aliases: [ssl_rootcert]
  config:
    description:
      - Path of an Odoo instance's configuration file, such as V(/etc/odoo/main.conf), which then yields
        the connection. So an application host can work as the instance's role, which owns its tables.
      - Excludes O(login_host), O(login_port), O(login_user), O(login_password), O(login_unix_socket),
        O(ssl_mode) and O(ca_cert).
    type: path
  odoo_user:
    description:
      - Unix user of that instance. Wins over C(user) in section C([slipway]) of O(config); the owner of the
        file without either. It matters over the local socket only.
    type: str
requirements:
  - Python 3.9 or newer and psycopg2 (C(python3-psycopg2)) where the module runs
  - PostgreSQL 13 or newer; tested with 17
notes:
  - In check mode a missing configuration file, psycopg2, server, role, database or table is no failure,
    because an earlier task may make it. The module then says what it would do. Without check mode each
    of them is an error.
attributes:
  check_mode:
    description: Can run in check mode and say what would change, without changing anything.
    support: full
  diff_mode:
    description: Says what changed, or would change in check mode.
    support: full
  idempotent:
    description: A second run with the same options changes nothing.
    support: full
  platform:
    description: Target systems.
    platforms: posix
    support: full
"""
