"""The database server as the role postgresql leaves it."""

from __future__ import annotations

from typing import Any


def test_databases_belong_to_a_role_that_is_nobody_special(sql: Any) -> None:
    query = (
        "SELECT r.rolname, r.rolsuper, r.rolcreatedb, r.rolcreaterole "
        "FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba WHERE d.datname = 'main'"
    )
    assert sql(query) == [["odoo-main", "f", "f", "f"]]


def test_the_database_is_what_odoo_wants(sql: Any) -> None:
    query = "SELECT pg_encoding_to_char(encoding), datcollate FROM pg_database WHERE datname = 'main'"
    assert sql(query) == [["UTF8", "C"]]
    assert {"pg_trgm", "unaccent"} <= {row[0] for row in sql("SELECT extname FROM pg_extension")}


def test_pages_have_checksums(sql: Any) -> None:
    assert sql("SHOW data_checksums") == [["on"]]


def test_passwords_are_scram_and_every_rule_asks_for_them(sql: Any, single_box: bool) -> None:
    assert sql("SELECT count(*) FROM pg_authid WHERE rolpassword NOT LIKE 'SCRAM-SHA-256%'") == [["0"]]
    rules = sql("SELECT type, auth_method, coalesce(address, '') FROM pg_hba_file_rules WHERE error IS NULL")
    assert rules
    assert {row[1] for row in rules} <= {"scram-sha-256", "peer", "reject"}
    remote = [row for row in rules if row[2] not in ("", "127.0.0.1", "::1") and row[1] != "reject"]
    assert bool(remote) is not single_box
    assert {row[0] for row in remote} <= {"hostssl"}


def test_the_application_comes_over_tls_from_another_host(sql: Any, single_box: bool) -> None:
    query = (
        "SELECT DISTINCT coalesce(s.ssl, false) FROM pg_stat_activity a JOIN pg_stat_ssl s USING (pid) "
        "WHERE a.usename = 'odoo-main'"
    )
    assert sql(query, name="postgres") == [["f" if single_box else "t"]]


def test_no_one_else_may_connect(database: Any) -> None:
    done = database.run("PGPASSWORD=wrong psql -h 127.0.0.1 -U odoo-main -d main -c 'SELECT 1'")
    assert done.rc != 0
    assert "password authentication failed" in done.stderr or "no pg_hba.conf entry" in done.stderr


def test_slow_queries_are_logged(sql: Any) -> None:
    assert sql("SHOW log_min_duration_statement") == [["1s"]]


def test_the_settings_in_the_files_are_the_settings_in_force(sql: Any) -> None:
    assert sql("SELECT count(*) FROM pg_settings WHERE pending_restart") == [["0"]]
    assert sql("SELECT count(*) FROM pg_file_settings WHERE error IS NOT NULL") == [["0"]]
