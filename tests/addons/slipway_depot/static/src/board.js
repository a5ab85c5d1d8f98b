import { registry } from "@web/core/registry";
import { Component, xml } from "@odoo/owl";

export class DepotBoard extends Component {
    static template = xml`<div class="o_slipway_board">Board</div>`;
    static props = ["*"];
}

const actionRegistry = registry.category("actions");
const BOARD_TAG = "slipway_depot.board";

actionRegistry
    .add(
        BOARD_TAG,
        DepotBoard
    );
