"""What the program of the role backup makes of what PostgreSQL's tools say."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from slipway_backup import fingerprint, host, jobs, pgbackrest, restic, runner
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


def made(label: str, first: int, last: int, *, cluster: int = 1, timeline: str = "00000001") -> dict[str, Any]:
    """A backup as ``pgbackrest info`` tells of it."""
    start, stop = wal(first, last, timeline=timeline)
    types = {"F": "full", "D": "diff", "I": "incr"}
    return {
        "label": label,
        "type": types[label[-1]],
        "archive": {"start": start, "stop": stop},
        "database": {"id": cluster, "repo-key": 1},
    }


F1, D2, I3, D4, F5 = "20261101-010000F", "20261102-010000D", "20261102-030000I", "20261103-010000D", "20261104-010000F"
D2, I3, D4 = (f"{F1}_{label}" for label in (D2, I3, D4))
#: Each with WAL of two files of its own.
BACKUPS = [made(F1, 10, 11), made(D2, 20, 21), made(I3, 25, 26), made(D4, 30, 31), made(F5, 40, 41)]


@pytest.mark.parametrize(
    ("days", "limit"),
    [(1, 40), (2, 30), (3, 20), (4, 10), (5, None)],
    ids=["newest", "the incremental is not counted", "third", "all of them", "fewer than that"],
)
def test_wal_expires_before_the_oldest_backup_that_is_counted(days: int, limit: int | None) -> None:
    wanted = {"1": wal(limit)[0]} if limit else {}
    assert pgbackrest.wal_expired(BACKUPS, days=days) == wanted
    assert pgbackrest.wal_expired(list(reversed(BACKUPS)), days=days) == wanted
    assert pgbackrest.wal_expired([], days=days) == {}


def test_cluster_without_a_backup_that_is_counted_keeps_the_wal_since_its_newest() -> None:
    anew = [made("20261105-010000F", 3, 4, cluster=2), made("20261106-010000F", 7, 8, cluster=2)]
    assert pgbackrest.wal_expired([*BACKUPS, *anew], days=2) == {"1": wal(40)[0], "2": wal(3)[0]}
    assert pgbackrest.wal_expired([*BACKUPS, *anew], days=3) == {"1": wal(40)[0], "2": wal(3)[0]}
    assert pgbackrest.wal_expired([*BACKUPS, *anew], days=4) == {"1": wal(30)[0], "2": wal(3)[0]}


def test_offline_backup_expires_nothing() -> None:
    offline = {**made(F5, 40, 41), "archive": {"start": None, "stop": None}}
    assert pgbackrest.wal_expired([offline], days=1) == {}
    assert pgbackrest.wal_kept([offline], expired={}) == {}


def numbered(gaps: list[str]) -> list[tuple[int, int]]:
    """The numbers of the files that sentences say are missing."""
    found = [re.findall(r"\b[0-9A-F]{24}\b", text) for text in gaps]
    return [tuple(int(name[8:16], 16) * 256 + int(name[16:], 16) for name in names) for names in found]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("days", "missing", "gaps"),
    [
        (3, [*range(12, 20)], []),
        (3, [*range(12, 20), 22, 23, 24], [(22, 24)]),
        (2, [*range(12, 20), 22, 23, 24, *range(27, 30)], []),
        (2, [*range(32, 40)], [(32, 39)]),
        (2, [*range(42, 45)], [(42, 44)]),
        (2, [21], [(21, 21)]),
        (2, [*range(21, 30)], [(21, 21), (25, 26)]),
        (2, [*range(12, 20), *range(22, 33)], [(25, 26), (30, 32)]),
        (2, [15, 17], []),
        (5, [12, 13], [(12, 13)]),
        (5, [3, 4], []),
        (5, [*range(5, 12)], [(10, 11)]),
        (2, [30], [(30, 30)]),
        (2, [20], [(20, 20)]),
        (2, [*range(50)], [(10, 11), (20, 21), (25, 26), (30, 30)]),
    ],
    ids=[
        "after a backup before the limit",
        "after the backup at the limit",
        "after an incremental one before it",
        "after a backup that is not the newest",
        "after the newest",
        "within a backup before the limit",
        "from within it up to the limit",
        "across the limit",
        "before the limit",
        "nothing expires yet",
        "before the first backup",
        "from before it into it",
        "the first at the limit",
        "the first of a backup before the limit",
        "all",
    ],
)
def test_gap_counts_where_the_wal_should_have_been_kept(
    days: int, missing: list[int], gaps: list[tuple[int, int]]
) -> None:
    kept = pgbackrest.wal_kept(BACKUPS, expired=pgbackrest.wal_expired(BACKUPS, days=days))["1"]
    names = wal(*(number for number in range(50) if number not in missing))
    assert numbered(pgbackrest.wal_gaps(names, kept=kept)) == gaps


def test_gap_before_the_first_backup_that_is_left_of_an_older_timeline_is_none() -> None:
    later = made(F5, 40, 41, timeline="00000002")
    backups = [made(D4, 30, 31), later]
    names = [*wal(5, 6, 30, 31, 34, 35), *wal(35, 36, 40, 41, 42, timeline="00000002")]
    for days, gaps in ((1, []), (2, [(32, 33), (37, 39)])):
        kept = pgbackrest.wal_kept(backups, expired=pgbackrest.wal_expired(backups, days=days))["1"]
        assert numbered(pgbackrest.wal_gaps(names, kept=kept)) == gaps


def test_wal_of_each_cluster_is_looked_at_by_itself_and_what_expired_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    anew = made("20261105-010000F", 3, 4, cluster=2)
    there = {"17-1": wal(10, 11, 12, 40, 41, 42), "17-2": wal(3, 4, 5, 8)}
    listing = [f"{cluster}/{name[:16]}/{name}-{'0' * 40}.zst" for cluster, names in there.items() for name in names]
    backups = [made(F1, 10, 11), made(F5, 40, 41), anew]
    monkeypatch.setattr(pgbackrest, "run", lambda *_arguments, **_options: "\n".join(listing))
    monkeypatch.setattr(pgbackrest, "info", lambda _stanza: {"backup": backups})
    found, expired = pgbackrest.gaps("main", days=2, expired={})
    assert (numbered(found), expired) == ([(6, 7)], {"1": wal(40)[0], "2": wal(3)[0]})
    # Now the first is among the newest three; what had expired before it counted does not come back.
    found, again = pgbackrest.gaps("main", days=3, expired=expired)
    assert (numbered(found), again) == ([(6, 7)], expired)
    assert numbered(pgbackrest.gaps("main", days=3, expired={})[0]) == [(13, 39), (6, 7)]


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


def killed(hour: int = 12) -> dict[str, Any]:
    """A run whose process is no more."""
    return {"process": 4194304, "since": f"2026-11-25T{hour}:00:00Z", "started": str(hour)}


def put_running(config: Config, running: Any) -> None:
    (config.state / "status.json").write_text(json.dumps({"jobs": {"full": {"running": running}}}))


@pytest.mark.parametrize("running", [killed(), [killed()]], ids=["as an earlier version wrote it", "list"])
def test_run_that_was_killed_counts_as_a_failure(config: Config, running: Any) -> None:
    put_running(config, running)
    seen: list[int] = []
    runner.run_job(config, "full", lambda config: seen.append(runner.jobs(config)["full"]["failures"]) or {})  # type: ignore[func-returns-value]
    assert seen == [1]
    assert "running" not in runner.jobs(config)["full"]


def test_each_run_that_was_killed_counts(config: Config) -> None:
    put_running(config, [killed(12), killed(13)])
    runner.count_killed(config)
    entry = runner.jobs(config)["full"]
    assert (entry["failures"], entry["message"][:38]) == (2, "the run that began 2026-11-25T13:00:00")
    assert "running" not in entry
    runner.count_killed(config)
    assert runner.jobs(config)["full"]["failures"] == 2


@pytest.fixture
def other_run() -> Iterator[dict[str, Any]]:
    """A run of another process, which is at work."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield {"process": process.pid, "since": "2026-11-25T12:00:00Z", "started": runner._started(process.pid)}
        process.kill()


def test_run_leaves_the_entry_of_another_one_alone(config: Config, other_run: dict[str, Any]) -> None:
    put_running(config, [other_run])
    seen: list[Any] = []

    def look(config: Config) -> dict[str, Any]:
        seen.extend(runner.jobs(config)["full"]["running"])
        return {}

    runner.run_job(config, "full", look)
    assert [entry["process"] for entry in seen] == [other_run["process"], os.getpid()]
    assert runner.jobs(config)["full"]["running"] == [other_run]
    assert runner.jobs(config)["full"]["failures"] == 0


def test_run_that_is_killed_while_another_one_ends_well_is_noticed(config: Config, other_run: dict[str, Any]) -> None:
    put_running(config, [other_run])
    runner.run_job(config, "full", lambda _config: {})
    os.kill(other_run["process"], signal.SIGKILL)
    os.waitpid(other_run["process"], 0)
    runner.count_killed(config)
    assert runner.jobs(config)["full"]["failures"] == 1


def test_run_that_gives_way_to_another_one_leaves_no_trace(config: Config, other_run: dict[str, Any]) -> None:
    def busy(_config: Config) -> dict[str, Any]:
        raise host.BusyError("the other one is at work")

    put_running(config, [other_run])
    with pytest.raises(host.BusyError):
        runner.run_job(config, "full", busy)
    assert runner.jobs(config)["full"] == {"running": [other_run]}


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


@pytest.mark.parametrize(
    ("pages", "size", "parts"),
    [
        (0, 10, [None]),
        (10, 10, [None]),
        (11, 10, [(0, 10), (10, fingerprint.LAST_PAGE)]),
        (35, 10, [(0, 10), (10, 20), (20, 30), (30, fingerprint.LAST_PAGE)]),
        (35, None, [None]),
    ],
)
def test_large_tables_are_cut_without_a_gap(pages: int, size: int | None, parts: list[tuple[int, int] | None]) -> None:
    assert [piece.pages for piece in fingerprint.cut("public", "res_partner", pages, size)] == parts


def test_pieces_of_a_table_sum_up_to_it() -> None:
    looks = [("public.a", 2, 7), ("public.b", 1, -3), ("public.a", 3, -9)]
    assert fingerprint._summed(looks) == {
        "public.a": {"rows": 5, "hash": "-2"},
        "public.b": {"rows": 1, "hash": "-3"},
    }


@pytest.mark.parametrize(
    ("words", "damage"),
    [
        ("ciphertext verification failed", True),
        ("Load(<data/ab>, 0, 0) failed: The specified key does not exist.", True),
        ("blob ab not found in index", True),
        ("Access Denied.", False),
        ("dial tcp 10.0.0.1:443: connect: connection refused", False),
        ("it was told to stop (SIGTERM)", False),
    ],
)
def test_only_damage_refutes_a_snapshot(words: str, damage: bool) -> None:
    assert restic.is_damage(words) is damage


def test_run_that_is_told_to_stop_is_no_fault_of_what_it_looks_at(config: Config) -> None:
    def job(_config: Config) -> dict[str, Any]:
        with contextlib.suppress(runner.SlipwayError):
            os.kill(os.getpid(), signal.SIGTERM)
            signal.sigtimedwait([], 1)
        return {}

    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(runner.SlipwayError, match="told to stop"):
            runner.run_job(config, "verify", job)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert runner.jobs(config)["verify"]["message"] == "it was told to stop (SIGTERM)"
