"""Read all manifests into Odoo's list of modules, as «Update Apps List» does. For slipway.odoo.odoo_shell.

``result`` holds the names that were ``added`` and those of which anything was ``rewritten``. Odoo's own count
of updated modules counts those with a newer version on disk, whether or not anything was written, so
``changed`` compares the list itself.
"""
# ruff: noqa: F821 - odoo shell brings env

from __future__ import annotations

LISTED = """
    SELECT m.name,
           md5(concat(to_jsonb(m) - ARRAY['write_date', 'write_uid'],
               (SELECT jsonb_agg(ARRAY[d.name, d.auto_install_required::text] ORDER BY d.name)
                  FROM ir_module_module_dependency d WHERE d.module_id = m.id),
               (SELECT jsonb_agg(e.name ORDER BY e.name)
                  FROM ir_module_module_exclusion e WHERE e.module_id = m.id),
               (SELECT jsonb_agg(c.country_id ORDER BY c.country_id)
                  FROM module_country c WHERE c.module_id = m.id)))
      FROM ir_module_module m
"""


def listed() -> dict[str, str]:
    """Map each module that Odoo lists to a digest of what it knows of it."""
    env.flush_all()
    env.cr.execute(LISTED)
    return dict(env.cr.fetchall())


before = listed()
env["ir.module.module"].update_list()
after = listed()
result = {
    "added": sorted(after.keys() - before.keys()),
    "rewritten": sorted(name for name in before if after.get(name) != before[name]),
}
changed = before != after
