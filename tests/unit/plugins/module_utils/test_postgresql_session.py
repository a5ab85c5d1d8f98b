"""How the modules for PostgreSQL log in, and take turns."""

from __future__ import annotations

import types

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils import postgresql_session
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_config import OdooConfig
from ansible_collections.slipway.odoo.plugins.module_utils.postgresql_session import (
    EXCLUSIVE,
    advisory_lock,
    login_arguments,
    login_of,
    open_server,
)

NOTHING = dict.fromkeys(login_arguments())


class Connection:
    def __init__(self, version=170000):
        self.server_version = version
        self.closed = False
        self.info = types.SimpleNamespace(dbname="common_prod")

    def close(self):
        self.closed = True


@pytest.fixture
def server(monkeypatch):
    """Connections that write down what they are asked; ``free`` says when the lock can be had."""
    seen = types.SimpleNamespace(opened=[], asked=[], free=[True], version=170000)

    def connect(login, database):
        seen.opened.append((login, database))
        return Connection(seen.version)

    def rows(_connection, query, values=None):
        seen.asked.append((" ".join(query.split()), values))
        if "pg_try_advisory_lock" in query:
            return [(seen.free.pop(0) if len(seen.free) > 1 else seen.free[0],)]
        return [(4711, "this host")] if "pg_locks" in query else []

    monkeypatch.setattr(postgresql_session, "connect", connect)
    monkeypatch.setattr(postgresql_session, "rows", rows)
    monkeypatch.setattr(postgresql_session.time, "sleep", lambda _seconds: None)
    return seen


@pytest.mark.parametrize(
    ("options", "login"),
    [
        ({}, {"db_user": "postgres", "user": "postgres"}),
        ({"login_user": "auditor"}, {"db_user": "auditor", "user": "auditor"}),
        ({"login_unix_socket": "/run/pg"}, {"db_host": "/run/pg", "db_user": "postgres", "user": "postgres"}),
        (
            {"login_host": "db1", "login_port": 5433, "login_password": "s", "ssl_mode": "require", "ca_cert": "/ca"},
            {
                "db_host": "db1",
                "db_port": 5433,
                "db_password": "s",
                "db_sslmode": "require",
                "db_sslrootcert": "/ca",
                "db_user": "postgres",
                "user": "postgres",
            },
        ),
    ],
)
def test_logging_in_by_options(options, login):
    assert login_of({**NOTHING, **options}) == OdooConfig(path="", **login)


def test_logging_in_by_configuration_file(tmp_path, server):
    path = tmp_path / "main.conf"
    path.write_text("[options]\ndb_host = db1\ndb_name = main\ndb_user = odoo-main\n[slipway]\nuser = odoo\n")
    with open_server({**NOTHING, "config": str(path)}, purpose="p", lock_timeout=1.5) as opened:
        assert opened.database == "main"
        opened.another(purpose="p (progress)")
    assert opened.connection.closed
    (login, database), (again, other) = server.opened
    assert (login.db_host, login.db_user, login.user, database) == ("db1", "odoo-main", "odoo", "main")
    assert (again, other) == (login, database)
    assert [values for _query, values in server.asked] == [("1500ms", "p"), ("0ms", "p (progress)")]
    assert login_of({**NOTHING, "config": str(path), "odoo_user": "me"}).user == "me"


@pytest.mark.parametrize(("version", "known"), [(130010, False), (140000, True)])
def test_settings_that_the_server_knows(server, version, known):
    server.version = version
    with open_server({**NOTHING, "login_db": "x"}, purpose="p", lock_timeout=0):
        pass
    ((query, _values),) = server.asked
    assert "standard_conforming_strings" in query
    assert ("idle_session_timeout" in query) is known


def test_no_database_at_all(server):
    with pytest.raises(SlipwayError, match="set login_db, or config"), open_server(NOTHING, purpose="", lock_timeout=0):
        pass
    assert server.opened == []


def test_every_way_to_log_in_excludes_the_file():
    excluded = {option for pair in EXCLUSIVE if "config" in pair for option in pair}
    assert excluded == set(login_arguments()) - {"login_db", "odoo_user"}


def test_taking_turns(server):
    connection = Connection()
    server.free = [False, False, True]
    with advisory_lock(connection, (1, 2), wait=60):
        assert len(server.asked) == 3
    assert "pg_advisory_unlock" in server.asked[-1][0]
    server.free = [False]
    with (
        pytest.raises(
            SlipwayError, match=r"Another run .* 'common_prod', .* after 0 s \(backend 4711, from this host\)"
        ),
        advisory_lock(connection, (1, 2), wait=0),
    ):
        pass
