"""What a module's files declare."""

from __future__ import annotations

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_declared import declared_tags

RECORD = '<record id="{}" model="ir.actions.client"><field name="name">N</field><field name="tag"{}</record>'


@pytest.mark.parametrize(
    ("path", "text", "tags"),
    [
        ("views/v.xml", RECORD.format("act", "> board </field>"), {"board"}),
        ("views/v.xml", RECORD.format("crm.act", ">other</field>"), {"other"}),
        ("views/v.xml", RECORD.format("act", """ eval="'other'"/>"""), {"other"}),
        ("views/v.xml", RECORD.format("act", ">a</field>") + RECORD.format("act", ">b</field>"), {"a", "b"}),
        # Another action with this tag: nobody can tell how this one came to be, so it counts.
        ("views/v.xml", RECORD.format("act2", ">board</field>"), {"board"}),
        ("views/v.xml", RECORD.format("act2", ">reload</field>"), set()),
        ("views/v.xml", "<broken>board</field>", {"board"}),
        ("data/ir.actions.client.csv", "id,name,tag\nact,N,board\n", {"board"}),
        ("hooks.py", "env.create({'tag': 'board'})", {"board"}),
        ("hooks.py", "# On the board", set()),
        ("static/src/x.xml", RECORD.format("act", ">board</field>"), set()),
        ("tests/test_x.py", "'board'", set()),
        ("README.md", "'board'", set()),
    ],
)
def test_tags_that_a_module_declares(tmp_path, path, text, tags):
    file = tmp_path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text if "<broken" in text or not path.endswith(".xml") else f"<odoo>{text}</odoo>")
    assert declared_tags(str(tmp_path), module="crm", name="act", tag="board") == tags


def test_an_action_without_a_tag_is_mentioned_nowhere(tmp_path):
    (tmp_path / "x.py").write_text("''")
    assert declared_tags(str(tmp_path), module="crm", name="act", tag="") == set()
