from odoo import fields, models


class Depot(models.Model):
    _name = "slipway.depot"
    _description = "Depot"

    name = fields.Char(required=True, index=True)
    code = fields.Char()
    active = fields.Boolean(default=True)

    def _sweep(self):
        """What the scheduled action does."""
        return self.search_count([])
