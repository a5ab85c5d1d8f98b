"""What a restore drill makes of what it sees."""

from __future__ import annotations

import configparser
import pathlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils import backup_drill, backup_health, backup_manifest
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from slipway_backup import health, host
from slipway_backup.config import Config

SAVED = datetime(2026, 11, 25, 12, tzinfo=UTC)
SEGMENT = 16 << 20


def manifest(kind: str = "database", label: str = "20261125-120000F", **changes: Any) -> dict[str, Any]:
    """A sealed manifest of a good backup."""
    database = {
        "instance": "main",
        "name": "main",
        "uuid": "u",
        "size_bytes": 1,
        "modules": {},
        "attachments": {"count": 0, "bytes": 0},
        "fingerprint": {"lsn": "0/5000028", "time": "2026-11-25T12:00:05Z", "tables": {}},
    }
    server = {
        "version": "17",
        "system_id": 1,
        "stanza": "main",
        "backup": label,
        "references": [],
        "lsn_start": "0/4000028",
        "lsn_stop": "0/5000000",
        "time_start": None,
        "time_stop": None,
        "wal_start": "000000010000000000000004",
        "wal_stop": "000000010000000000000004",
    }
    files = {"snapshot": "abc", "complete": True, "instances": [], "contracts": {}}
    return backup_manifest.seal(
        {
            "schema": 1,
            "site": "demo",
            "host": "db1",
            "kind": kind,
            "label": label,
            "type": "full" if kind == "database" else None,
            "state": "good",
            "faults": [],
            "started": "2026-11-25T12:00:00Z",
            "finished": "2026-11-25T12:00:09Z",
            "duration_s": 9,
            "size_bytes": 1,
            "stored_bytes": 1,
            "database": server if kind == "database" else None,
            "databases": [database] if kind == "database" else [],
            "files": files if kind == "files" else None,
            "dump": None,
            **changes,
        }
    )


def without_fingerprint() -> list[dict[str, Any]]:
    return [{**manifest()["databases"][0], "fingerprint": None}]


class TestChoice:
    def test_newest_is_taken(self) -> None:
        old = manifest()
        new = manifest(label="20261126-120000F", started="2026-11-26T12:00:00Z", finished="2026-11-26T12:01:00Z")
        assert backup_drill.choose([new, old, manifest("files", "f1")], kind="database") == (new, [])

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"state": "bad", "faults": ["no room"]}, "marked bad: no room"),
            ({"size_bytes": 0}, "cannot be relied upon"),
        ],
    )
    def test_bad_one_is_passed_over_and_told(self, changes: dict[str, Any], said: str) -> None:
        bad = manifest(label="20261126-120000F", started="2026-11-25T12:00:01Z", **changes)
        found, passed_over = backup_drill.choose([manifest(), bad], kind="database")
        assert found == manifest()
        assert said in passed_over[0]

    def test_altered_manifest_is_passed_over(self) -> None:
        found, passed_over = backup_drill.choose([{**manifest(), "size_bytes": 7}], kind="database")
        assert found is None
        assert "altered or damaged" in passed_over[0]

    def test_one_that_was_found_bad_is_passed_over(self) -> None:
        found, passed_over = backup_drill.choose([manifest()], kind="database", known_bad=["20261125-120000F"])
        assert found is None
        assert passed_over == ["20261125-120000F: its last verification found faults"]

    def test_without_fingerprint_there_is_nothing_to_hold_it_to(self) -> None:
        incremental = manifest(databases=without_fingerprint())
        assert backup_drill.choose([incremental], kind="database") == (None, [])
        assert backup_drill.choose([manifest(databases=[])], kind="database") == (None, [])


def snapshot(name: str, minutes: int, *, site: str = "demo", **more: Any) -> dict[str, Any]:
    time = (SAVED + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%S.123456789Z")
    return {"id": name * 8, "short_id": name, "time": time, "tags": [f"site={site}", "kind=files"], "paths": [], **more}


class TestSnapshots:
    ALL = (snapshot("d", 30), snapshot("a", -60), snapshot("c", 0), snapshot("b", -30), snapshot("x", 10, site="other"))

    def chosen(self, newest: str, moment: datetime | None) -> list[str]:
        found = backup_drill.choose_snapshots(self.ALL, newest=newest, site="demo", moment=moment)
        return [one["short_id"] for one in found]

    def test_newest_complete_and_all_later(self) -> None:
        assert self.chosen("cccccccc", SAVED + timedelta(hours=1)) == ["c", "d"]

    def test_database_that_ends_before_takes_the_nearest_before(self) -> None:
        assert self.chosen("cccccccc", SAVED - timedelta(minutes=10)) == ["b", "c", "d"]

    def test_database_that_ends_before_all_takes_what_there_is(self) -> None:
        assert self.chosen("cccccccc", SAVED - timedelta(days=1)) == ["c", "d"]

    def test_unknown_end(self) -> None:
        assert self.chosen("cccccccc", None) == ["c", "d"]

    def test_lost_snapshot_is_told(self) -> None:
        with pytest.raises(SlipwayError, match="has no snapshot feed"):
            self.chosen("feed", None)

    def test_rewritten_snapshot_is_known_by_its_original(self) -> None:
        found = backup_drill.choose_snapshots(
            [snapshot("z", 0, original="feed")], newest="feed", site="demo", moment=None
        )
        assert found[0]["short_id"] == "z"

    @pytest.mark.parametrize("text", ["2026-11-25T13:00:00+01:00", "2026-11-25T12:00:00Z", "2026-11-25 12:00:00.0+00"])
    def test_times(self, text: str) -> None:
        assert backup_drill.parse_rfc3339(text) == SAVED

    def test_time_without_zone_is_none(self) -> None:
        with pytest.raises(SlipwayError, match="no time with a zone"):
            backup_drill.parse_rfc3339("2026-11-25T12:00:00")


STORE = {"endpoint": "https://10.0.0.1:9443", "bucket": "b", "region": "r", "ca": "/ca.crt", "path_style": True}
SECRETS = {"key_id": "k", "secret_key": "s", "database_passphrase": "p"}


def test_pgbackrest_reads_the_repository_and_stays_in_its_directory() -> None:
    text = backup_drill.pgbackrest_config(
        store=STORE, secrets=SECRETS, prefix="demo/db1", stanza="main", directory="/d", processes=2
    )
    found = configparser.RawConfigParser()
    found.read_string(text)
    options = dict(found["global"])
    assert options["repo1-path"] == "/demo/db1/pgbackrest"
    assert (options["repo1-s3-endpoint"], options["repo1-storage-port"]) == ("10.0.0.1", "9443")
    assert options["repo1-s3-uri-style"] == "path"
    assert options["repo1-storage-ca-file"] == "/ca.crt"
    assert all(options[name].startswith("/d/") for name in ("lock-path", "spool-path"))
    assert found["main"]["pg1-path"] == "/d/pg"


def test_endpoint_that_is_none_is_told() -> None:
    with pytest.raises(SlipwayError, match="no address"):
        backup_drill.pgbackrest_config(
            store={**STORE, "endpoint": "s3"}, secrets=SECRETS, prefix="x", stanza="main", directory="/d", processes=1
        )


def settings(lsn: str) -> dict[str, str]:
    control = backup_drill.control_data("max_connections setting:  250\nmax_locks_per_xact setting: 64\nBytes: 1\n")
    text = backup_drill.server_settings(control=control, directory="/d", port=1, restore_command="get '%f'", lsn=lsn)
    return dict(line.split(" = ", 1) for line in text.splitlines() if " = " in line)


def test_scratch_cluster_leaves_its_directory_nowhere() -> None:
    found = settings("0/1")
    assert found["listen_addresses"] == "''"
    assert found["unix_socket_directories"] == "'/d/run'"
    assert (found["archive_mode"], found["archive_command"]) == ("'off'", "'/bin/false'")
    assert found["primary_conninfo"] == "''"
    assert found["restore_command"] == "'get ''%f'''"


def test_scratch_cluster_is_no_narrower_than_the_one_before() -> None:
    assert settings("")["max_connections"] == "'500'"
    assert settings("")["max_worker_processes"] == "'32'"


def test_recovery_pauses_at_its_target_or_goes_to_the_end() -> None:
    assert settings("0/5000028")["recovery_target_lsn"] == "'0/5000028'"
    assert settings("0/5000028")["recovery_target_inclusive"] == "'off'"
    assert not any(name.startswith("recovery_target_") for name in settings("") if name != "recovery_target_timeline")


def test_nobody_is_trusted() -> None:
    databases = [{"name": "main", "owner": "odoo-main"}, {"name": "foreign", "owner": "x"}]
    rules, names = backup_drill.access_rules(databases, {"main": "odoo-main"})
    assert all(" peer map=drill" in line for line in rules.splitlines())
    assert '"foreign"' not in rules
    assert 'drill "odoo-main" "odoo-main"' in names


@pytest.mark.parametrize(
    ("seen", "fault"),
    [
        ({"a": {"rows": 1, "hash": "9"}}, ""),
        ({"a": {"rows": 2, "hash": "9"}}, "table a has 2 rows instead of 1"),
        ({"a": {"rows": 1, "hash": "8"}}, "table a has its 1 rows, but not their content: the hash differs"),
        ({}, "table a is missing, and had 1 rows"),
        (
            {"a": {"rows": 1, "hash": "9"}, "b": {"rows": 3, "hash": "0"}},
            "table b is not in the manifest, and has 3 rows",
        ),
    ],
)
def test_tables(seen: dict[str, Any], fault: str) -> None:
    assert backup_drill.compare_tables({"a": {"rows": 1, "hash": 9}}, seen) == ([fault] if fault else [])


@pytest.mark.parametrize(
    ("seen", "fault"),
    [
        ({"base": {"version": "1", "checksum": "c"}}, ""),
        ({"base": {"version": "2", "checksum": "c"}}, "module base has version 2 instead of 1"),
        (
            {"base": {"version": "1", "checksum": None}},
            "module base was installed from other files than the manifest says",
        ),
        ({}, "module base is not installed"),
        (
            {"base": {"version": "1", "checksum": "c"}, "x": {"version": "1"}},
            "module x is installed, and is not in the manifest",
        ),
    ],
)
def test_modules(seen: dict[str, Any], fault: str) -> None:
    assert backup_drill.compare_modules({"base": {"version": "1", "checksum": "c"}}, seen) == ([fault] if fault else [])


class TestWal:
    @pytest.mark.parametrize("replayed", ["0/11000000", "0/10000100", "1/0"])
    def test_end_of_the_archive_is_reached(self, replayed: str) -> None:
        assert backup_drill.wal_fault(newest="000000010000000000000010", replayed=replayed, size=SEGMENT) == ""

    def test_gap_names_what_is_missing(self) -> None:
        fault = backup_drill.wal_fault(newest="00000001000000010000000F", replayed="0/B000000", size=SEGMENT)
        assert "segment 00000001000000000000000B is missing" in fault

    def test_newest_segment_of_the_stanza(self) -> None:
        info = [{"name": "other"}, {"name": "main", "archive": [{"max": "01"}, {"max": "02"}, {"max": None}]}]
        assert backup_drill.archived_to(info, stanza="main") == "02"

    def test_empty_archive_is_told(self) -> None:
        with pytest.raises(SlipwayError, match="no WAL"):
            backup_drill.archived_to([{"name": "main", "archive": []}], stanza="main")

    def test_wrong_passphrase_is_told_without_its_garbage(self) -> None:
        status = {"code": 99, "message": "[FormatError] key outside\nof section: \x13\x89\ufffdgarbage"}
        with pytest.raises(SlipwayError, match=r"\[FormatError\] key outside of section: \.\.\. Is the passphrase"):
            backup_drill.archived_to([{"name": "main", "repo": [{"status": status}]}], stanza="main")


class TestAttachments:
    def judged(self, changed: datetime | None, fault: str = "the file is missing") -> tuple[list[str], int]:
        row = backup_drill.Attachment(id=7, name="ab/ab", checksum=None, size=1, changed=changed)
        faults, young = backup_drill.judge_attachments([row], {"ab/ab": fault}, saved=SAVED)
        return faults, len(young)

    def test_younger_than_the_snapshot_is_not_yet_saved(self) -> None:
        assert self.judged(SAVED + timedelta(seconds=1)) == ([], 1)

    def test_transaction_that_was_under_way_is_not_yet_saved(self) -> None:
        assert self.judged(SAVED - timedelta(minutes=4)) == ([], 1)

    @pytest.mark.parametrize("changed", [None, SAVED - timedelta(minutes=6)])
    def test_older_one_is_a_fault(self, changed: datetime | None) -> None:
        assert self.judged(changed) == (["attachment 7, file ab/ab: the file is missing"], 0)

    def test_damage_is_a_fault_at_any_age(self) -> None:
        assert self.judged(SAVED + timedelta(hours=1), "the file has 2 bytes instead of 1")[1] == 0

    def test_one_that_is_there_is_none(self) -> None:
        row = backup_drill.Attachment(id=7, name="ab/ab", checksum=None, size=1, changed=None)
        assert backup_drill.judge_attachments([row], {}, saved=SAVED) == ([], [])


CONFIG = """\
[options]
addons_path = /srv/addons/own,/usr/lib/odoo/addons
db_password = secret
db_sslmode = verify-full
dbfilter = ^main$
smtp_password = secret
server_wide_modules = base,rpc,web,queue_job
running_env = prod
workers = 4
log_handler = :CRITICAL
[queue_job]
channels = root:2
[slipway]
user = odoo-main
"""


def odoo_options() -> dict[str, str]:
    text = backup_drill.odoo_config(
        CONFIG,
        database="main",
        owner="odoo-main",
        socket="/d/run",
        port=5432,
        data_dir="/d/data",
        password="scratch",
        moved={"/srv/addons": "/d/addons"},
    )
    parser = configparser.RawConfigParser()
    parser.read_string(text)
    assert parser.sections() == ["options", "queue_job"]
    return dict(parser["options"])


def test_copy_of_odoo_reaches_the_scratch_cluster_and_nothing_else() -> None:
    found = odoo_options()
    assert (found["db_host"], found["db_user"], found["data_dir"]) == ("/d/run", "odoo-main", "/d/data")
    assert (found["workers"], found["max_cron_threads"], found["list_db"]) == ("0", "0", "False")
    assert found["http_interface"] == "127.0.0.1"
    assert "secret" not in found.values()
    assert not {"db_password", "db_sslmode", "smtp_password", "log_handler"} & found.keys()


def test_copy_of_odoo_is_otherwise_that_of_the_site() -> None:
    found = odoo_options()
    assert found["addons_path"] == "/d/addons/own,/usr/lib/odoo/addons"
    assert found["server_wide_modules"] == "base,rpc,web"
    assert found["running_env"] == "prod"


def test_configuration_that_is_none_is_not_quoted() -> None:
    with pytest.raises(SlipwayError, match="cannot be understood") as told:
        backup_drill.odoo_config(
            "admin_passwd = hush", database="d", owner="o", socket="s", port=1, data_dir="/", password="p", moved={}
        )
    assert "hush" not in str(told.value)


def test_errors_in_the_log() -> None:
    log = (
        "2026-11-25 12:50:11,408 9687 INFO main odoo.modules.loading: no ERROR here\n"
        "2026-11-25 12:50:11,408 9687 ERROR main odoo.modules.loading: not loaded\n"
        "Traceback: ERROR\n"
        "2026-11-25 12:50:11,409 9687 CRITICAL ? odoo: gone\n"
    )
    assert [line.rpartition(": ")[2] for line in backup_drill.log_errors(log)] == ["not loaded", "gone"]


def report(**faults: tuple[bool, str]) -> dict[str, Any]:
    """A report in which every check passed but those named; each with whether it is damning, and its fault."""
    checks = []
    for name in backup_drill.CHECKS:
        check = backup_drill.Check(name=name, expected="x", seen="y", status="passed")
        if name in faults:
            check.status, check.damning, check.faults = "failed", faults[name][0], [faults[name][1]]
        checks.append(check.document())
    failed = backup_drill.failed_checks(checks)
    found = {
        "started": "2026-11-25T12:00:00Z",
        "finished": "2026-11-25T12:05:00Z",
        "duration_s": 300.0,
        "database": {"label": "F"},
        "files": {"label": "f"},
        "rto_s": 290.0,
        "rto_without_checks_s": 200.0,
        "rpo_s": 5.0,
        "files_rpo_s": None,
        "not_yet_saved": 0,
        "notes": [],
        "checks": checks,
        "failed": failed,
        "success": not failed,
    }
    return {**found, "message": backup_drill.message(found)}


class TestReport:
    def test_success(self) -> None:
        found = report()
        assert found["message"].startswith("The restore drill succeeded: database F and files f came back in 290 s")
        assert backup_drill.verification(found, "database") == {
            "good": True,
            "by": "drill",
            "time": "2026-11-25T12:05:00Z",
            "faults": [],
        }

    def test_damage_is_told_of_that_backup_only(self) -> None:
        found = report(tables=(True, "table a has 2 rows instead of 1"))
        assert found["message"] == "The restore drill failed. tables: table a has 2 rows instead of 1"
        verification = backup_drill.verification(found, "database")
        assert verification
        assert verification["good"] is False
        assert backup_manifest.check_verification(verification) == []
        files = backup_drill.verification(found, "files")
        assert files
        assert files["good"] is True

    def test_what_is_no_fault_of_the_backup_says_nothing_about_it(self) -> None:
        assert backup_drill.verification(report(database_restored=(False, "no room")), "database") is None

    def test_odoo_that_fails_leaves_the_backups_good(self) -> None:
        found = backup_drill.verification(report(odoo_boots=(False, "ERROR")), "database")
        assert found
        assert found["good"] is True

    def test_nothing_chosen_nothing_said(self) -> None:
        assert backup_drill.verification({**report(), "database": None}, "database") is None

    def test_not_reached_is_not_passed(self) -> None:
        found = report()
        found["checks"][-2]["status"] = "not reached"
        assert backup_drill.failed_checks(found["checks"]) == ["odoo_login"]

    def test_message_counts_what_it_does_not_name(self) -> None:
        found = report(tables=(True, "one"))
        found["checks"][list(backup_drill.CHECKS).index("tables")]["faults"].append("two")
        assert backup_drill.message(found) == "The restore drill failed. tables: one (and 1 more)"

    def test_many_faults_are_counted(self) -> None:
        check = backup_drill.Check(name="a", expected="b", faults=[str(number) for number in range(100)])
        assert check.document()["faults"][-1] == "and 80 more"

    def test_metrics(self) -> None:
        text = backup_drill.metrics(report(), last_success=None)
        assert "slipway_drill_success 1\n" in text
        assert "slipway_drill_rto_seconds 290.0\n" in text
        assert "slipway_drill_checks_failed 0\n" in text
        assert "files_rpo" not in text
        assert text.count("# TYPE") == text.count("# HELP") == 7

    def test_metrics_of_a_failure_keep_the_last_success(self) -> None:
        text = backup_drill.metrics(report(tables=(True, "x")), last_success="2026-11-01T00:00:00Z")
        assert "slipway_drill_success 0\n" in text
        assert "slipway_drill_last_success_timestamp_seconds 1793491200.0\n" in text

    def test_summary_ends_with_the_message(self) -> None:
        found = report(tables=(True, "x"))
        lines = backup_drill.summary(found)
        assert lines[-1] == found["message"]
        assert any("FAILED  tables" in line for line in lines)

    def test_age_is_never_negative(self) -> None:
        assert backup_drill.seconds_between("2026-11-25T12:00:00Z", SAVED + timedelta(seconds=9)) == 0
        assert backup_drill.seconds_between("2026-11-25T12:00:00Z", None) is None


def test_damage_in_words_of_restic() -> None:
    assert backup_drill.is_damage("decrypting blob <data/c3> from 37: ciphertext verification failed")
    assert not backup_drill.is_damage("Fatal: wrong password or no key found")


@pytest.mark.parametrize(
    ("faults", "findings"),
    [({}, []), ({"tables": (True, "main.res_partner has 3 rows instead of 4")}, ["drill_failed"])],
)
def test_health_understands_the_report_of_a_drill(
    tmp_path: pathlib.Path, faults: dict[str, tuple[bool, str]], findings: list[str]
) -> None:
    made = report(**faults)
    made["message"] = backup_drill.message(made)
    host.write_json(tmp_path / "drills" / "20261125T120000Z.json", made)
    facts: dict[str, Any] = {}
    document = {"drill": {"port": 1}, "state_directory": str(tmp_path)}
    health._drill(Config(document=document, secrets={}), facts)
    at = backup_manifest.parse_time(made["finished"])
    found = backup_health.judge(facts, backup_health.Thresholds(), at)
    assert [finding.name for finding in found] == findings
    assert all("res_partner has 3 rows" in finding.text for finding in found)
    assert f"slipway_backup_last_drill_success {int(not findings)}" in backup_health.metrics(facts, found, at)
