"""Both modules for indexes from option to result, with stand-ins for the server."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import types

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.slipway.odoo.plugins.module_utils.errors import NotReadyError
from ansible_collections.slipway.odoo.plugins.module_utils.postgresql_index_build import Report
from ansible_collections.slipway.odoo.plugins.module_utils.postgresql_index_check import Target
from ansible_collections.slipway.odoo.plugins.module_utils.postgresql_index_facts import Build, Facts, Index, Table
from ansible_collections.slipway.odoo.plugins.module_utils.postgresql_index_form import read_definition
from ansible_collections.slipway.odoo.plugins.modules import postgresql_index, postgresql_index_info

TABLE = Table(1, "public", "po")
STATUS = {"name": "idx_po_status", "table": "po", "columns": ["status"]}


def index(name, does="btree (status)", oid=10, **changes):
    definition = f"CREATE INDEX {name} ON public.po USING {does}"
    return Index(oid, "public", name, 1, definition, read_definition(definition), **changes)


class Server:
    """The indexes of one table, what builds run there, and what was done, in order."""

    database = "main"
    connection = types.SimpleNamespace(info=types.SimpleNamespace(backend_pid=4711))

    def __init__(self):
        self.indexes = []
        self.builds = []
        self.faults = []
        self.done = []
        self.asked = []

    @contextlib.contextmanager
    def open_server(self, _params, *, purpose, lock_timeout):
        for fault in self.faults:
            raise fault
        yield self

    def another(self, *, purpose):
        return types.SimpleNamespace(close=lambda: self.done.append("closed"))

    def read_facts(self, _connection, *, tables=(), indexes=(), whole=None):
        self.asked.append((tuple(tables), whole))
        known = {found.name: found.oid for found in self.indexes}
        return Facts(
            tables={1: TABLE},
            indexes=tuple(self.indexes),
            named=(1,) * len(tables),
            named_indexes=tuple(known.get(name, 0) for _schema, name in indexes),
            builds=tuple(self.builds.pop(0)) if self.builds else (),
            relations={("public", name): "i" for name in known},
        )

    def resolve(self, _connection, facts, wanted):
        return tuple(
            Target(
                item, TABLE, item.form, facts.by_name.get(("public", item.name)), by_text=item.name.endswith("_text")
            )
            for item in wanted
        )

    @contextlib.contextmanager
    def lock(self, _connection, _key, *, wait):
        self.done.append(f"lock {wait}")
        yield
        self.done.append("unlock")

    def carry_out(self, _connection, plan, *, watcher, lock_timeout, log):
        self.done.append(("run", [(step.verb, step.index) for action in plan.actions for step in action.steps]))
        for action in plan.actions:
            self.indexes = [found for found in self.indexes if found.name != action.name]
            if action.kind != "dropped":
                self.indexes.append(index(action.name))
        return [Report(action.name, "public.po", 0.5) for action in plan.actions]


@pytest.fixture
def server(monkeypatch):
    found = Server()
    for module in (postgresql_index, postgresql_index_info):
        for name in ("open_server", "read_facts", "resolve"):
            monkeypatch.setattr(module, name, getattr(found, name))
    monkeypatch.setattr(postgresql_index, "advisory_lock", found.lock)
    monkeypatch.setattr(postgresql_index, "carry_out", found.carry_out)
    monkeypatch.setattr(
        postgresql_index,
        "statements",
        lambda _connection, plan: [f"{step.verb} {step.index}" for action in plan.actions for step in action.steps],
    )
    monkeypatch.setattr(postgresql_index.time, "sleep", lambda _seconds: None)
    monkeypatch.setattr(postgresql_index_info, "rows", lambda *_call: [("public",)])
    return found


def run(module, capsys, *, check=False, **options):
    arguments = {"login_db": "main", **options, "_ansible_check_mode": check}
    arguments = {key: value for key, value in arguments.items() if value is not None}
    with patch_module_args(arguments), pytest.raises(SystemExit):
        module.main()
    return json.loads(capsys.readouterr().out)


def put(capsys, *indexes, **options):
    return run(postgresql_index, capsys, indexes=list(indexes) or [STATUS], **options)


def look(capsys, **options):
    return run(postgresql_index_info, capsys, **options)


def test_check_mode_tells_and_the_run_does(server, capsys):
    planned = put(capsys, check=True)
    assert server.done == []
    done = put(capsys)
    for key in ("changed", "created", "statements", "diff"):
        assert planned[key] == done[key]
    assert done["statements"] == ["create idx_po_status"]
    assert done["builds"] == [{"name": "idx_po_status", "table": "public.po", "seconds": 0.5, "phases": []}]
    assert server.done == ["lock 3600", ("run", [("create", "idx_po_status")]), "closed", "unlock"]
    again = put(capsys)
    assert (again["changed"], again["statements"]) == (False, [])
    assert len(server.done) == 4


def test_what_did_not_come_about_is_a_failure(server, capsys, monkeypatch):
    monkeypatch.setattr(postgresql_index, "carry_out", lambda *_call, **_options: [])
    result = put(capsys)
    assert result["failed"]
    assert "still not as wanted: idx_po_status" in result["msg"]
    assert result["changed"]


def test_builds_of_others_are_waited_for(server, capsys):
    server.indexes = [index("idx_po_status", valid=False)]
    build = Build(4712, 1, 10, "building index", "me")
    server.builds = [[build]]
    planned = put(capsys, check=True)
    assert (planned["waiting"], planned["changed"]) == (["idx_po_status"], False)
    server.builds = [[build], [build]]
    assert put(capsys)["rebuilt"] == ["idx_po_status"]
    server.indexes = []
    server.builds = [[build]] * 3
    result = put(capsys, wait=0)
    assert "Indexes of these tables are being built, and were not after 0 s: backend 4712 (me)" in result["msg"]


def test_absent_and_present_in_one_list(server, capsys):
    server.indexes = [index("old")]
    done = put(capsys, STATUS, {"name": "old", "state": "absent"}, {"name": "gone", "state": "absent"})
    assert (done["created"], done["dropped"]) == (["idx_po_status"], ["old"])
    assert server.asked[0][0] == (("", "po"),)


def test_warnings(server, capsys, monkeypatch):
    warned = []
    # In a process that has loaded Ansible's controller, warnings are shown and not returned.
    monkeypatch.setattr(postgresql_index.AnsibleModule, "warn", lambda _module, text: warned.append(text))
    server.indexes = [index("twin")]
    put(capsys, STATUS, {**STATUS, "name": "as_text", "columns": ["lower(status)"]}, check=True)
    assert any("'idx_po_status' may be superfluous: twin does the same work" in text for text in warned)
    assert any("could not be asked" in text for text in warned)
    accepted = put(capsys, accept_equivalent=True)
    assert (accepted["accepted"], accepted["changed"]) == (["idx_po_status"], False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"login_db": None}, "one of the following is required: config, login_db"),
        ({"config": "/x.conf", "login_user": "x"}, "mutually exclusive: config|login_user"),
        ({"login_host": "a", "login_unix_socket": "b"}, "mutually exclusive: login_host|login_unix_socket"),
        ({"indexes": [{"name": "a", "table": "t"}]}, "columns must name at least one"),
        ({"indexes": [{"name": "a", "columns": ["b"]}]}, "table must be given"),
        ({"indexes": [{"table": "a"}]}, "missing required arguments: name"),
    ],
)
def test_options_that_are_not_well(server, capsys, options, message):
    result = run(postgresql_index, capsys, **{"indexes": [STATUS], **options})
    assert message in result["msg"]
    assert server.asked == []


@pytest.mark.parametrize("module", [postgresql_index, postgresql_index_info])
def test_too_early(server, capsys, module):
    server.faults = [NotReadyError("There is no database 'main'")]
    options = {"indexes": [STATUS]} if module is postgresql_index else {}
    assert run(module, capsys, **options)["failed"]
    assumed = run(module, capsys, check=True, **options)
    assert assumed["assumed"]
    assert "There is no database 'main'" in assumed["msg"]


@pytest.mark.parametrize(
    ("options", "tables", "whole"),
    [
        ({}, (), "public"),
        ({"schema": "sales"}, (), "sales"),
        ({"tables": ["po", "s.t"]}, (("", "po"), ("s", "t")), None),
        ({"tables": ["po"], "schema": "sales"}, (("sales", "po"),), None),
        ({"expected": [STATUS], "tables": ["t"]}, (("", "po"), ("", "t")), None),
        ({"expected": [STATUS], "schema": "sales"}, (("sales", "po"),), None),
    ],
)
def test_what_is_looked_at(server, capsys, options, tables, whole):
    look(capsys, **options)
    assert server.asked == [(tables, whole)]


def test_info(server, capsys):
    server.indexes = [index("idx_po_status"), index("idxXpoXother", "btree (a)", 11)]
    result = look(capsys, expected=[STATUS], name_prefix="idx_po_")
    assert (result["changed"], result["in_order"], result["extra"]) == (False, True, [])
    assert [found["name"] for found in result["indexes"]] == ["idx_po_status"]
    assert "in_order" not in look(capsys)
    server.indexes = [dataclasses.replace(server.indexes[0], valid=False)]
    assert not look(capsys, expected=[STATUS])["in_order"]
