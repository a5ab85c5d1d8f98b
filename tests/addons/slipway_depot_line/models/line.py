from odoo import fields, models


class DepotLine(models.Model):
    _name = "slipway.depot.line"
    _description = "Line of a depot"

    depot_id = fields.Many2one("slipway.depot", required=True, ondelete="cascade")
    quantity = fields.Integer()


class Depot(models.Model):
    _inherit = "slipway.depot"

    line_ids = fields.One2many("slipway.depot.line", "depot_id")
    capacity = fields.Integer()
