"""What the program of the role backup makes of what PostgreSQL's tools say."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest
from slipway_backup import host, jobs, pgbackrest, restic, runner
from slipway_backup.config import Config

SOUND = """stanza: main
status: ok
  archiveId: 17-1, total WAL checked: 22, total valid WAL: 22
    missing: 0, checksum invalid: 0, size invalid: 0, other: 0
  backup: 20261125-125757F, status: valid, total files checked: 2518, total valid files: 2518
    missing: 0, checksum invalid: 0, size invalid: 0, other: 0
"""
DAMAGED = """stanza: main
status: error
  archiveId: 17-1, total WAL checked: 25, total valid WAL: 24
    missing: 0, checksum invalid: 0, size invalid: 0, other: 1
  backup: 20261125-125757F, status: invalid, total files checked: 2518, total valid files: 2517
    missing: 0, checksum invalid: 1, size invalid: 0, other: 0
  backup: 20261125-125757F_20261125-125800I, status: valid, total files checked: 2518, total valid files: 2518
    missing: 0, checksum invalid: 0, size invalid: 0, other: 0
"""
LOG = """INFO: verify command begin 2.55.1: --exec-id=9824-867edd4b
INFO: invalid checksum '20261125-125757F/bundle/2'
INFO: invalid result 17-1/0000000100000000/00000001000000000000000B-040a.zst: [29] raised from local-2 protocol
INFO: verify command end: completed successfully (16082ms)
"""


def test_sound_repository_has_no_faults() -> None:
    seen = pgbackrest.parse_verified(SOUND, "INFO: verify command begin")
    assert seen.backups == {"20261125-125757F": []}
    assert seen.archive == []


def test_damage_is_counted_and_named_at_its_backup() -> None:
    seen = pgbackrest.parse_verified(DAMAGED, LOG)
    assert seen.backups["20261125-125757F"] == [
        "status invalid",
        "files: 1 checksum invalid",
        "invalid checksum '20261125-125757F/bundle/2'",
    ]
    assert seen.backups["20261125-125757F_20261125-125800I"] == []
    assert seen.archive[0] == "WAL of 17-1: 1 other"
    assert seen.archive[1].startswith("invalid result 17-1/0000000100000000/00000001000000000000000B")


def wal(*numbers: int, timeline: str = "00000001") -> list[str]:
    return [f"{timeline}{number // 256:08X}{number % 256:08X}" for number in numbers]


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ([], []),
        (wal(5, 6, 7), []),
        (wal(254, 255, 256), []),
        (wal(5, 7), [("000000010000000000000006", "000000010000000000000006")]),
        (wal(5, 9), [("000000010000000000000006", "000000010000000000000008")]),
        (wal(5, 6) + wal(7, 8, timeline="00000002"), []),
        (wal(255, 257), [("000000010000000100000000", "000000010000000100000000")]),
    ],
)
def test_gaps_of_the_wal(names: list[str], found: list[tuple[str, str]]) -> None:
    said = pgbackrest.wal_gaps(names)
    assert len(said) == len(found)
    for text, (first, last) in zip(said, found, strict=True):
        assert f"from {first} to {last}" in text


def test_what_archives_hold_is_asked_of_the_repository_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    entries = {
        ".": {"type": "path"},
        "0000000100000000": {"type": "path"},
        "0000000100000000/000000010000000000000001-aa.zst": {"type": "file", "size": 1, "time": 1795845256},
    }

    def run(words: list[str], **_options: Any) -> str:
        asked.append(words)
        return json.dumps(entries)

    monkeypatch.setattr(pgbackrest, "run", run)
    found = pgbackrest.archived("main", "17-1", "--repo=1")
    assert {name: int(moment.timestamp()) for name, moment in found.items()} == {
        "0000000100000000/000000010000000000000001-aa.zst": 1795845256
    }
    # The path is the last word.
    assert (asked[0][0], asked[0][-1]) == ("pgbackrest", "archive/main/17-1")
    assert {"--stanza=main", "repo-ls", "--repo=1", "--output=json"} < set(asked[0])


def test_instance_that_is_not_here_is_told_with_those_that_are() -> None:
    document = {
        "database": {"databases": [{"instance": "main", "name": "odoo"}]},
        "files": {"instances": [{"name": "main", "database": "odoo"}]},
    }
    known = Config(document=document, secrets={})
    assert known.database_of("main")["name"] == known.files_of("main")["database"] == "odoo"
    for ask in (known.database_of, known.files_of):
        with pytest.raises(runner.SlipwayError, match="no instance other here, only main"):
            ask("other")


def test_entries_of_a_dump_are_lines_that_are_no_comment() -> None:
    assert jobs.dump_entries(";\n; Archive created at 2026\n\n215; 1259 16385 TABLE public a odoo\n") == 1
    assert jobs.dump_entries("") == 0


@pytest.mark.parametrize(
    ("entries", "files", "size", "modules", "faulty"),
    [
        (100, {"toc.dat": "a"}, 1000, {"base": {}}, False),
        (0, {"toc.dat": "a"}, 1000, {}, True),
        (100, {}, 1000, {}, True),
        (100, {"toc.dat": "a"}, 0, {}, True),
        (1, {"toc.dat": "a"}, 1000, {"base": {}, "web": {}}, True),
    ],
)
def test_dump_that_is_no_backup(
    entries: int, files: dict[str, str], size: int, modules: dict[str, Any], faulty: bool
) -> None:
    document = {"dump": {"entries": entries, "files": files}, "size_bytes": size, "databases": [{"modules": modules}]}
    assert bool(jobs.dump_faults(document)) is faulty


@pytest.fixture
def config(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setattr(host, "LOCKS", tmp_path / "locks")
    notify = {"after": 3, "mail_to": [], "webhook_url": ""}
    document = {"site": "s", "host": "h", "state_directory": str(tmp_path), "notify": notify}
    return Config(document=document, secrets={})


def test_job_that_keeps_failing_is_told_once_and_so_is_its_recovery(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(runner.notify, "tell", lambda _config, notice: told.append(notice.kind))

    def broken(_config: Config) -> dict[str, Any]:
        raise runner.SlipwayError("no store")

    for _attempt in range(5):
        with pytest.raises(runner.SlipwayError):
            runner.run_job(config, "files", broken)
    assert told == ["failing"]
    assert runner.jobs(config)["files"]["failures"] == 5
    assert runner.run_job(config, "files", lambda _config: {"fine": True}) == {"fine": True}
    assert told == ["failing", "recovered"]
    assert runner.jobs(config)["files"]["failures"] == 0


def test_run_that_was_killed_counts_as_a_failure(config: Config, tmp_path: pathlib.Path) -> None:
    (tmp_path / "status.json").write_text(
        json.dumps(
            {"jobs": {"full": {"running": {"process": 4194304, "since": "2026-11-25T12:00:00Z", "started": "1"}}}}
        )
    )
    seen: list[int] = []
    runner.run_job(config, "full", lambda config: seen.append(runner.jobs(config)["full"]["failures"]) or {})  # type: ignore[func-returns-value]
    assert seen == [1]


def test_two_runs_at_once_exclude_each_other(config: Config) -> None:
    with (
        host.lock("database", wait=0, what="the first"),
        pytest.raises(host.BusyError, match="the first"),
        host.lock("database", wait=0, what="the second"),
    ):
        pass
    with host.lock("database", wait=0, what="the third"):
        pass


def test_file_that_is_there_and_cannot_be_read_is_a_fault_and_one_that_went_is_none(tmp_path: pathlib.Path) -> None:
    there, gone = tmp_path / "there", tmp_path / "gone"
    there.write_text("x")

    def line(path: pathlib.Path) -> str:
        error = {"message": "permission denied"}
        return json.dumps({"message_type": "error", "error": error, "during": "archival", "item": str(path)})

    assert restic.unread(line(there)) == f"{there}: permission denied"
    assert restic.unread(line(gone)) == ""
    assert restic.unread("Warning: at least one source file could not be read") == ""
