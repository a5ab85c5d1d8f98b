# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Options and notes that all modules for an Odoo instance share."""

from __future__ import annotations


class ModuleDocFragment:
    """Found by ansible-doc as C(slipway.odoo.odoo)."""

    DOCUMENTATION = r"""
options:
  config:
    description:
      - Path of the instance's configuration file, such as V(/etc/odoo/main.conf).
      - It yields the database connection, the addons path, the data directory and the log directory.
      - Its section C([slipway]), which Odoo ignores, may hold C(odoo_bin), C(user), C(version) and
        C(db_sslrootcert). Role P(slipway.odoo.odoo#role) writes it.
    type: path
    required: true
  odoo_bin:
    description:
      - Odoo's start script. Wins over C(odoo_bin) in section C([slipway]); V(/usr/bin/odoo) without
        either.
    type: path
  odoo_user:
    description:
      - Unix user that Odoo runs as. Wins over C(user) in section C([slipway]); the owner of O(config)
        without either.
    type: str
  timeout:
    description:
      - Seconds after which a run of Odoo is ended. V(0) waits without limit.
    type: int
    default: 3600
requirements:
  - Python 3.9 or newer and psycopg2 (C(python3-psycopg2)) on the target
  - Odoo 18.0 or 19.0 on the target; tested with 19.0
notes:
  - Run it as root (C(become)) or as Odoo's own Unix user. Odoo itself always runs as that user.
  - In check mode a missing configuration file, program, psycopg2, server, role or database is no
    failure, because an earlier task may make it. The module then reports a change and says what it
    would do. Without check mode each of them is an error.
  - Every run of Odoo keeps its whole log beside the instance's log, as C(slipway-TIME-PURPOSE.log); the
    newest 20 stay.
  - Odoo's exit code is not taken for success, the database is looked at afterwards.
attributes:
  check_mode:
    description: Can run in check mode and say what would change, without changing anything.
    support: full
  diff_mode:
    description: Says what changed, or would change in check mode. Secrets are never part of it.
    support: full
  idempotent:
    description: A second run with the same options changes nothing, and starts no Odoo process.
    support: full
  platform:
    description: Target systems.
    platforms: debian
    support: full
"""

    # For modules that only look: slipway.odoo.odoo.info.
    INFO = r"""
options:
  config:
    description:
      - Path of the instance's configuration file, such as V(/etc/odoo/main.conf).
      - It yields the database connection, the addons path and the data directory.
    type: path
    required: true
  odoo_bin:
    description:
      - Odoo's start script, which leads to its own addons. Wins over C(odoo_bin) in section C([slipway]);
        V(/usr/bin/odoo) without either.
    type: path
  odoo_user:
    description:
      - Unix user that Odoo runs as, for a database that is reached by a local socket. Wins over C(user) in
        section C([slipway]); the owner of O(config) without either.
    type: str
  database:
    description:
      - The database. C(db_name) of the configuration file when not given.
    type: str
requirements:
  - Python 3.9 or newer and psycopg2 (C(python3-psycopg2)) on the target
  - Odoo 18.0 or 19.0 on the target; tested with 19.0
notes:
  - Run it as root (C(become)) or as Odoo's own Unix user. It starts no Odoo.
  - In check mode a missing configuration file, program, psycopg2, server, role or database is no
    failure, because an earlier task may make it. The module then returns RV(ignore:assumed) and nothing of
    what it would have found. Without check mode each of them is an error.
attributes:
  check_mode:
    description: Can run in check mode, and does the same there.
    support: full
  diff_mode:
    description: Says what changed.
    support: N/A
    details: It changes nothing.
  idempotent:
    description: Changes nothing when it runs again.
    support: full
  platform:
    description: Target systems.
    platforms: debian
    support: full
"""
