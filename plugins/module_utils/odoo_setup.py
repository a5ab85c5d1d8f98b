# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From an empty database to one with Odoo in it and a password of one's own.

A killed initialisation
-----------------------
Odoo creates module base in one transaction, and commits after every further module. What a kill
leaves is therefore one of: nothing but Odoo's signalling tables; base and some more, the rest marked
``to install``; everything, but the administrator's password still ``admin``. From the states alone the
last looks finished. The database manager of 18.0 also commits the tables that Odoo starts from, before
base: 19.0 cannot go on from there, as it looks for a table that base would make. And ``-i`` of 18.0
commits base just before it calls it installed.

So the table ``slipway_initialising`` is made before Odoo starts, and dropped in the transaction that
ends the set-up. While it stands, everything is done again: ``-i`` with all first modules (which for
installed ones only runs Odoo's closing steps), then the administrator.

Where base is not installed, what is there is dropped first, but only when it can hold nothing of
anybody's: the marker says that the database was empty when we began, or there is nothing beyond the
tables that Odoo starts from (:data:`BOOTSTRAP`). Anything else is left to Odoo.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_db import (
    FREE,
    ODOO,
    Overview,
    rows,
)
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_plan import ModulePlan

#: Tables of ``base/data/base_data.sql``, the same in 18.0 and 19.0.
BOOTSTRAP = frozenset(
    (
        "ir_act_client", "ir_act_report_xml", "ir_act_server", "ir_act_url", "ir_act_window", "ir_actions",
        "ir_model_data", "ir_module_category", "ir_module_module", "ir_module_module_dependency",
        "res_company", "res_currency", "res_groups", "res_partner", "res_users",
    )
)  # fmt: skip

#: Sets the administrator up first, and commits: until then anybody may log in as admin/admin.
#: Writing a country may install its modules, which commits and renews the environment.
FINISH = """
def finish(values):
    admin = env.ref("base.user_admin")
    own = {"login": values["login"], "password": values["password"]}
    if "@" in values["login"]:
        own["email"] = values["login"]
    if values["language"]:
        env["res.lang"]._activate_lang(values["language"])
        own["lang"] = values["language"]
    admin.write(own)
    env.cr.commit()
    company = env.ref("base.main_company")
    if values["language"]:
        company.partner_id.lang = values["language"]
    if values["country"]:
        country = env["res.country"].search([("code", "=", values["country"])], limit=1)
        if not country:
            raise ValueError("Odoo knows no country " + values["country"])
        company.write({"country_id": country.id, "currency_id": country.currency_id.id})
        try:
            from pytz import country_timezones
        except ImportError:
            country_timezones = {}
        zones = country_timezones.get(values["country"], [])
        if len(zones) == 1:
            env.ref("base.user_admin").tz = zones[0]
    env.cr.execute("DROP TABLE IF EXISTS slipway_initialising")

finish(payload)
result = True
"""

CHANGE = """
env["res.users"].browse(payload["id"]).write(payload["values"])
result = True
"""


@dataclasses.dataclass(frozen=True)
class Admin:
    """The user that Odoo makes as ``base.user_admin``; ``stored`` is the password's hash."""

    id: int
    login: str
    stored: str = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True)
class SetupPlan:
    """What will be done to a database: ``initialise`` it, change modules, change the administrator."""

    found: str
    initialise: bool
    wipe: bool
    modules: ModulePlan
    login: tuple[str, str] | None = None
    password: bool = False

    @property
    def changed(self) -> bool:
        """Tell whether there is anything to do."""
        return self.initialise or self.modules.changed or bool(self.login) or self.password

    def diff(self) -> dict[str, dict[str, Any]]:
        """The difference for ``--diff``; of the password only whether it changes."""
        before: dict[str, Any] = {}
        after: dict[str, Any] = {}
        if self.initialise:
            before["database"], after["database"] = self.found, "initialised"
        modules = self.modules.diff()
        if modules["after"]:
            before["modules"], after["modules"] = modules["before"], modules["after"]
        if self.login:
            before["admin_login"], after["admin_login"] = self.login
        if self.password:
            before["admin_password"], after["admin_password"] = "(another one)", "(the given one)"
        return {"before": before, "after": after}


def found_state(overview: Overview) -> str:
    """One word for what a database is: ``empty``, ``unfinished`` or ``initialised``."""
    if overview.kind == FREE:
        return "unfinished" if overview.unfinished else "empty"
    return "unfinished" if overview.unfinished or not overview.initialised else "initialised"


def is_debris(overview: Overview, *, started_empty: bool) -> bool:
    """Tell whether a database holds nothing but the remains of an attempt that never installed base."""
    if overview.kind != ODOO or overview.initialised:
        return False
    known = {name for table in BOOTSTRAP for name in (table, f"{table}_id_seq")}
    return started_empty or (bool(overview.relations) and set(overview.relations) <= known)


def decide_setup(
    overview: Overview,
    modules: ModulePlan,
    *,
    started_empty: bool,
    admin: Admin | None = None,
    login: str,
    password_matches: bool = True,
    update_admin: bool,
) -> SetupPlan:
    """Plan the set-up of a database that is empty or Odoo's.

    :param started_empty: what the marker says of the attempt before.
    :param admin: the administrator; None while there is none yet.
    :param update_admin: whether log-in and password are kept as given in a finished database, too.
    :raises SlipwayError: a finished database without ``base.user_admin``, which then cannot be kept.
    """
    found = found_state(overview)
    initialise = found != "initialised"
    if initialise or not update_admin:
        return SetupPlan(
            found=found,
            initialise=initialise,
            wipe=is_debris(overview, started_empty=started_empty),
            modules=modules,
        )
    if admin is None:
        raise SlipwayError(
            "This database has no user base.user_admin any more, whose password could be kept: "
            "use update_admin_password: on_create"
        )
    return SetupPlan(
        found=found,
        initialise=False,
        wipe=False,
        modules=modules,
        login=None if admin.login == login else (admin.login, login),
        password=not password_matches,
    )


def first_run_options(*, series: str, demo: bool, language: str) -> list[str]:
    """Options for the run that makes the first modules.

    18.0 loads demo data unless told not to, 19.0 only when told to.
    """
    if series.startswith("18."):
        options = ["--without-demo=" if demo else "--without-demo=all"]
    else:
        options = ["--with-demo" if demo else "--without-demo=True"]
    return options + ([f"--load-language={language}"] if language else [])


def read_admin(connection: Any) -> Admin | None:
    """Read the administrator; None when somebody removed that user."""
    query = """SELECT u.id, u.login, coalesce(u.password, '')
                 FROM ir_model_data d JOIN res_users u ON u.id = d.res_id
                WHERE d.module = 'base' AND d.name = 'user_admin' AND d.model = 'res.users'"""
    for user_id, login, stored in rows(connection, query):
        return Admin(id=user_id, login=login, stored=stored)
    return None


def read_started_empty(connection: Any) -> bool:
    """Tell what the marker says: was the database empty when we began?"""
    return bool(rows(connection, "SELECT bool_or(was_empty) FROM slipway_initialising")[0][0])


def set_marker(connection: Any, *, was_empty: bool) -> None:
    """Mark the database as being initialised; a mark that stands keeps what it says."""
    rows(
        connection,
        """CREATE TABLE IF NOT EXISTS slipway_initialising
               (started timestamptz DEFAULT now(), was_empty boolean NOT NULL)""",
    )
    rows(
        connection,
        """INSERT INTO slipway_initialising (was_empty)
               SELECT %s WHERE NOT EXISTS (SELECT FROM slipway_initialising)""",
        (was_empty,),
    )


def wipe(connection: Any) -> None:
    """Drop every relation of ours but the marker, in one transaction; extensions stay."""
    rows(
        connection,
        """DO $$
        DECLARE relation record;
        BEGIN
            FOR relation IN
                SELECT format('%I.%I', c.relnamespace::regnamespace, c.relname) AS name,
                       CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
                                      WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind
                  FROM pg_class c
                 WHERE c.relnamespace = current_schema()::regnamespace
                   AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
                   AND c.relowner = current_user::regrole AND c.relname <> 'slipway_initialising'
                   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                                      AND d.objid = c.oid AND d.deptype = 'e')
            LOOP
                EXECUTE format('DROP %s IF EXISTS %s CASCADE', relation.kind, relation.name);
            END LOOP;
        END $$""",
    )
