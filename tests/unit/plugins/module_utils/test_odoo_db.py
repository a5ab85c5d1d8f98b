"""Connecting and reading: a stand-in for psycopg2 shows what is asked and how faults are told."""

from __future__ import annotations

import contextlib
import os
import types

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils import odoo_db
from ansible_collections.slipway.odoo.plugins.module_utils.errors import NotReadyError, SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_config import OdooConfig
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_db import (
    FOREIGN,
    FREE,
    ODOO,
    Overview,
    connect,
    module_lock,
    read_overview,
    refuse_foreign,
    require_odoo,
    rows,
    wait_for_writers,
)

CONFIG = OdooConfig(
    path="/etc/odoo/main.conf",
    db_host="db1",
    db_port=5433,
    db_user="odoo-main",
    db_password="db-secret",
    db_sslmode="verify-full",
    db_sslrootcert="/etc/odoo/ca.crt",
    user="odoo-main",
)


class Error(Exception):
    """psycopg2.Error, with the part of its diagnostics that is used."""

    diag = None


class Cursor:
    def __init__(self, connection):
        self.connection = connection
        self.description = None
        self.answer = []

    def __enter__(self):
        return self

    def __exit__(self, *_fault):
        return None

    def execute(self, query, values=None):
        self.connection.asked.append((" ".join(query.split()), values))
        answer = self.connection.answers.pop(0) if self.connection.answers else []
        if isinstance(answer, Exception):
            raise answer
        self.description = True if answer is not None else None
        self.answer = answer

    def fetchall(self):
        return self.answer

    def fetchone(self):
        return self.answer[0] if self.answer else None


class Connection:
    """Answers queries from a list, in order."""

    def __init__(self, *answers, dbname="main"):
        self.answers = list(answers)
        self.asked = []
        self.closed = False
        self.autocommit = False
        self.info = types.SimpleNamespace(dbname=dbname)

    def cursor(self):
        return Cursor(self)

    def close(self):
        self.closed = True


@pytest.fixture
def driver(monkeypatch):
    """psycopg2 with connections that the test hands out by database name."""
    known = {}
    calls = []

    def connect_to(**settings):
        calls.append(settings)
        found = known[settings["dbname"]]
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(odoo_db, "PSYCOPG2_ERROR", "")
    monkeypatch.setattr(odoo_db, "psycopg2", types.SimpleNamespace(connect=connect_to, Error=Error), raising=False)
    return types.SimpleNamespace(known=known, calls=calls)


def test_settings_reach_the_driver_and_unset_ones_do_not(driver):
    driver.known["main"] = Connection()
    assert connect(CONFIG, "main").autocommit is True
    assert driver.calls[0] == {
        "dbname": "main",
        "host": "db1",
        "port": 5433,
        "user": "odoo-main",
        "password": "db-secret",
        "sslmode": "verify-full",
        "sslrootcert": "/etc/odoo/ca.crt",
        "application_name": "slipway",
        "connect_timeout": 10,
        "keepalives_idle": 60,
    }
    connect(OdooConfig(path="/x", user="odoo"), "main")
    assert set(driver.calls[1]) == {"dbname", "application_name", "connect_timeout", "keepalives_idle"}


@pytest.mark.parametrize(("host", "users"), [("", ["odoo-main"]), ("/run/postgresql", ["odoo-main"]), ("db1", [])])
def test_on_a_socket_peer_authentication_sees_odoos_user(driver, monkeypatch, host, users):
    seen = []

    @contextlib.contextmanager
    def become(name):
        seen.append(name)
        yield

    monkeypatch.setattr(odoo_db, "as_user", become)
    driver.known["main"] = Connection()
    connect(OdooConfig(path="/x", db_host=host, user="odoo-main"), "main")
    assert seen == users


def test_a_missing_library_is_not_ready(monkeypatch):
    monkeypatch.setattr(odoo_db, "PSYCOPG2_ERROR", "Traceback …")
    with pytest.raises(NotReadyError, match="psycopg2 is missing"):
        connect(CONFIG, "main")


def test_a_missing_database_is_told_from_the_catalogue_not_from_the_servers_words(driver):
    driver.known["main"] = Error("FATAL:  Datenbank »main« existiert nicht")
    driver.known["postgres"] = Connection([], [])
    with pytest.raises(NotReadyError) as caught:
        connect(CONFIG, "main")
    assert "There is no database 'main' on db1:5433. Create it first, owned by role 'odoo-main'" in str(caught.value)
    assert driver.known["postgres"].closed


def test_no_time_limit_of_the_server_ends_what_waits_for_odoo(driver):
    driver.known["main"] = connection = Connection()
    connect(CONFIG, "main")
    ((query, (names,)),) = connection.asked
    assert query == "SELECT set_config(name, '0', false) FROM pg_settings WHERE name = ANY (%s)"
    assert {"idle_session_timeout", "statement_timeout"} <= set(names)


def test_a_refused_password_is_a_fault_and_not_too_early(driver):
    driver.known["main"] = Error('FATAL:  password authentication failed for user "odoo-main"')
    driver.known["postgres"] = Error("FATAL: the same")
    with pytest.raises(SlipwayError) as caught:
        connect(CONFIG, "main")
    assert not isinstance(caught.value, NotReadyError)
    assert "There is no such role, or db_password of /etc/odoo/main.conf is not its password" in str(caught.value)
    assert "db-secret" not in str(caught.value)


@pytest.mark.parametrize("other", [Connection([], [("main",)]), Error("no")])
def test_other_faults_are_told_in_the_servers_words_without_the_password(driver, other):
    driver.known["main"] = Error("FATAL:  no pg_hba.conf\n entry")
    driver.known["postgres"] = other
    with pytest.raises(NotReadyError) as caught:
        connect(CONFIG, "main")
    words = "Role 'odoo-main' cannot connect to database 'main' on db1:5433: FATAL: no pg_hba.conf entry"
    assert str(caught.value) == words
    assert "db-secret" not in str(caught.value)


def test_a_failed_query_is_a_sentence_without_values(driver):
    error = Error("ERROR: something\nDETAIL: (secret)")
    error.diag = types.SimpleNamespace(message_primary="permission denied for table res_users")
    with pytest.raises(SlipwayError) as caught:
        rows(Connection(error), "SELECT %s", ("secret",))
    assert str(caught.value) == "Database 'main': permission denied for table res_users"
    assert caught.value.__suppress_context__


def test_overviews(driver):
    assert read_overview(Connection([(False, False, [])])) == Overview(kind=FREE)
    assert read_overview(Connection([(False, True, [])])) == Overview(kind=FREE, unfinished=True)
    assert read_overview(Connection([(False, False, ["mine"])])) == Overview(kind=FOREIGN, relations=("mine",))
    connection = Connection([(True, False, [])], [("base", "installed"), ("crm", "uninstalled")])
    overview = read_overview(connection)
    assert overview == Overview(kind=ODOO, modules={"base": "installed", "crm": "uninstalled"})
    assert overview.initialised
    assert len(connection.asked) == 2


def test_foreign_databases_are_refused(driver):
    with pytest.raises(SlipwayError, match=r"not a database of Odoo.*holds a, b, c, d, e\. Nothing was changed"):
        refuse_foreign(Overview(kind=FOREIGN, relations=tuple("abcdefg")), "main")
    with pytest.raises(SlipwayError) as caught:
        require_odoo(Connection([(False, False, ["mine"])]), "main")
    assert not isinstance(caught.value, NotReadyError)


@pytest.mark.parametrize(
    "answers", [([(False, False, [])],), ([(True, False, ["ir_module_module"])], [("base", "to install")])]
)
def test_a_database_without_odoo_is_not_ready(driver, answers):
    with pytest.raises(NotReadyError, match="use odoo_database first"):
        require_odoo(Connection(*answers), "main")


def test_countries(driver):
    assert odoo_db.read_company_countries(Connection([("FR",), (None,), ("BE",)])) == ("BE", "FR")


@pytest.fixture
def no_sleep(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(odoo_db.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(odoo_db.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    return now


def test_the_lock_is_taken_waited_for_and_given_back(driver, no_sleep):
    connection = Connection([(False,)], [(False,)], [(True,)], [(True,)])
    with module_lock(connection, wait=5):
        assert no_sleep[0] == 1.0
        assert len(connection.asked) == 3
    assert connection.asked[-1] == ("SELECT pg_advisory_unlock(%s, %s)", odoo_db.LOCK_KEY)


def test_the_lock_is_given_back_after_a_fault_too(driver, no_sleep):
    connection = Connection([(True,)])
    with pytest.raises(ValueError, match="x"), module_lock(connection, wait=0):
        raise ValueError("x")
    assert "pg_advisory_unlock" in connection.asked[-1][0]


@pytest.mark.parametrize(
    ("holder", "words"),
    [([(77, "10.0.0.9", "2026-03-01 10:00:00")], "backend 77, from 10.0.0.9"), ([], "it has just ended")],
)
def test_who_holds_the_lock_too_long_is_named(driver, no_sleep, holder, words):
    connection = Connection([(False,)], [(False,)], [(False,)], holder)
    with pytest.raises(SlipwayError) as caught, module_lock(connection, wait=1):
        pytest.fail("the lock was not held")
    assert words in str(caught.value)
    assert "was not done after 1 s" in str(caught.value)


IMPORT = (77, "odoo-main", "10.0.0.9", "2026-03-01 10:00:00", False)
INSTALLATION = (78, "odoo-main", "this host", "2026-03-01 10:00:00", True)


@pytest.mark.parametrize(
    ("writers", "wait", "spent"),
    [
        ([[IMPORT], [IMPORT, INSTALLATION], []], 60, 1.0),
        # What does not touch modules is no reason to do nothing for ever.
        ([[IMPORT]] * 200, 600, 60.0),
        ([[IMPORT]] * 200, 4, 4.0),
        ([[INSTALLATION]] * 200 + [[IMPORT]], 600, 100.0),
    ],
)
def test_writers_are_waited_for(driver, no_sleep, writers, wait, spent):
    wait_for_writers(Connection(*writers), wait=wait)
    assert no_sleep[0] == spent


@pytest.mark.parametrize("wait", [0, 300])
def test_nobody_is_disturbed_who_works_on_modules(driver, no_sleep, wait):
    with pytest.raises(SlipwayError) as caught:
        wait_for_writers(Connection(*[[IMPORT, INSTALLATION]] * 1000), wait=wait)
    assert no_sleep[0] == wait
    assert "to work on them: backend 78 (role odoo-main, from this host, since 2026-03-01" in str(caught.value)
    assert "77" not in str(caught.value)


def test_a_connection_that_lives_is_kept(driver):
    connection = Connection()
    with odoo_db.still_connected(connection, CONFIG, "main") as found:
        assert found is connection


def test_a_lost_connection_is_replaced_and_the_lock_taken_again(driver, no_sleep):
    lost = Connection(Error("terminated"))
    lost.closed = True
    fresh = Connection([], [(True,)])
    driver.known["main"] = Error("the server is starting up")
    driver.known["postgres"] = Error("the server is starting up")
    real = odoo_db.time.sleep

    def sleep(seconds):
        driver.known["main"] = fresh
        real(seconds)

    odoo_db.time.sleep = sleep
    with odoo_db.still_connected(lost, CONFIG, "main") as found:
        assert found is fresh
        assert "pg_try_advisory_lock" in fresh.asked[-1][0]
    assert fresh.closed


def test_a_server_that_stays_away_is_a_failure(driver, no_sleep):
    lost = Connection(Error("terminated"))
    lost.closed = True
    driver.known["main"] = driver.known["postgres"] = Error("no")
    with pytest.raises(SlipwayError, match="cannot connect"), odoo_db.still_connected(lost, CONFIG, "main"):
        pytest.fail("there is no connection")
    assert no_sleep[0] == 60


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_becoming_another_user_for_a_moment():
    with odoo_db.as_user("nobody"):
        assert os.geteuid() != 0
    assert os.geteuid() == 0
    with odoo_db.as_user("no-such-user"):
        assert os.geteuid() == 0
    with odoo_db.as_user("root"):
        assert os.geteuid() == 0
