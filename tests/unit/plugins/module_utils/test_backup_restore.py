# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils import backup_restore as br
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)
OWN = ["--target-timeline=current", "--target-action=promote"]
LABELS = ["20261125-060000F", "20261125-060000F_20261125-070000D"]


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-25T{text}+00:00")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("latest", br.Point(br.LATEST)),
        (" Latest ", br.Point(br.LATEST)),
        (LABELS[1], br.Point(br.LABEL, label=LABELS[1])),
        ("2026-11-25T10:03:21Z", br.Point(br.TIME, time=at("10:03:21"))),
        ("2026-11-25 11:03:21.5+01:00", br.Point(br.TIME, time=at("10:03:21.500000"))),
        ("2026-11-25T11:03+0100", br.Point(br.TIME, time=at("10:03:00"))),
        ("2026-11-25T05:33:00-04:30", br.Point(br.TIME, time=at("10:03:00"))),
        (at("10:00:00"), br.Point(br.TIME, time=at("10:00:00"))),
    ],
)
def test_a_point_is_read(text, expected):
    assert br.parse_point(text, now=NOW, labels=LABELS) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Nothing says what to restore to"),
        ("2026-11-25T10:03:21", "has no time zone"),
        ("2026-11-25", "is no time"),
        ("2026-02-30T10:00:00Z", "is no time"),
        ("2026-11-25T10:00:00+99:00", "there is no zone"),
        ("2026-11-25T12:00:06Z", "is in the future"),
        ("20261125-060000", "Did you mean 20261125-060000F"),
        ("yesterday", "There is no backup 'yesterday'. The newest ones are"),
    ],
)
def test_a_point_is_refused(text, message):
    with pytest.raises(SlipwayError, match=message.replace("(", r"\(")):
        br.parse_point(text, now=NOW, labels=LABELS)


@given(st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2026, 1, 1)), st.integers(-14 * 60, 14 * 60))
def test_a_time_means_the_same_moment_in_every_zone(moment, minutes):
    zoned = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    assert br.parse_time(zoned.isoformat()) == zoned


def info(*backups):
    return {
        "db": [{"id": 1, "version": "17"}],
        "backup": [
            {
                "label": label,
                "timestamp": {"start": stop.timestamp() - 10, "stop": stop.timestamp()},
                "archive": {"start": start, "stop": end},
                "database": {"id": 1},
                "reference": references,
                "error": False,
            }
            for label, stop, start, end, references in backups
        ],
    }


FULL = ("F1", at("06:00:00"), "000000010000000000000004", "000000010000000000000005", None)
DIFF = ("F1_D1", at("08:00:00"), "000000010000000000000008", "000000010000000000000008", ["F1"])
MANIFEST = {
    "kind": "database",
    "label": "F1",
    "state": "good",
    "faults": [],
    "databases": [
        {"instance": "main", "name": "main", "fingerprint": {"lsn": "0/5000028", "time": "2026-11-25T05:59:59Z"}},
        {"instance": "two", "name": "second", "fingerprint": None},
    ],
}


def test_backups_are_read_with_their_fingerprints():
    first, second = br.read_backups(info(DIFF, FULL), [MANIFEST], database="main")
    assert (first.label, first.archive, first.lsn, first.lsn_time) == ("F1", "17-1", "0/5000028", at("05:59:59"))
    assert (second.label, second.lsn, second.good) == ("F1_D1", "", True)
    assert br.read_backups(info(FULL), [MANIFEST], database="second")[0].lsn == ""
    assert br.name_then(MANIFEST, "two", default="two") == "second"
    assert br.name_then(None, "two", default="two") == "two"


def test_what_needs_a_bad_backup_is_bad():
    backups = br.read_backups(info(FULL, DIFF), [], refuted={"F1": ["wrong checksum"]})
    assert [backup.good for backup in backups] == [False, False]
    assert "needs F1" in backups[1].faults[0]
    with pytest.raises(SlipwayError, match="is bad"):
        br.choose_backup(backups, br.Point(br.LABEL, label="F1"))
    with pytest.raises(SlipwayError, match="Every backup"):
        br.choose_backup(backups, br.Point(br.LATEST))


@pytest.mark.parametrize(
    ("point", "label", "arguments"),
    [
        (br.Point(br.LATEST), "F1_D1", ["--type=default"]),
        (
            br.Point(br.TIME, time=at("07:59:59.250000")),
            "F1",
            ["--type=time", "--target=2026-11-25 07:59:59.250000+00", "--target-action=promote"],
        ),
        (
            br.Point(br.LABEL, label="F1"),
            "F1",
            ["--type=lsn", "--target=0/5000028", "--target-exclusive", *OWN],
        ),
        (br.Point(br.LABEL, label="F1_D1"), "F1_D1", ["--type=immediate", *OWN]),
    ],
)
def test_arguments_lead_to_the_point(point, label, arguments):
    backup = br.choose_backup(br.read_backups(info(FULL, DIFF), [MANIFEST], database="main"), point)
    assert backup.label == label
    assert br.pgbackrest_arguments(point, backup) == [f"--set={label}", *arguments]


def test_files_are_of_the_time_of_the_database():
    first, second = br.read_backups(info(FULL, DIFF), [MANIFEST], database="main")
    assert br.files_time(br.Point(br.LATEST), second) is None
    assert br.files_time(br.Point(br.LABEL, label="F1"), first) == at("05:59:59")
    assert br.files_time(br.Point(br.LABEL, label="F1_D1"), second) == at("08:00:00")


def test_a_time_before_the_first_backup_cannot_be_reached():
    backups = br.read_backups(info(FULL))
    with pytest.raises(SlipwayError, match="cannot be reached"):
        br.choose_backup(backups, br.Point(br.TIME, time=at("06:00:00")))
    with pytest.raises(SlipwayError, match="no backup of the database"):
        br.choose_backup([], br.Point(br.LATEST))


def segments(*numbers, timeline=1):
    """Segment 4 is stored at 06:04, and so on."""
    return {f"{br.segment_name(timeline, n)}-{'a' * 40}.zst": at(f"06:{n:02}:00") for n in numbers}


BACKUP = br.read_backups(info(FULL))[0]


@pytest.mark.parametrize(
    ("numbers", "point", "fault", "doubt"),
    [
        ((4, 5, 6, 7), br.Point(br.LATEST), "", ""),
        ((4, 6, 7), br.Point(br.LATEST), "000000010000000000000005, which it needs", ""),
        ((4, 6, 7), br.Point(br.LABEL, label="F1"), "000000010000000000000005, which it needs", ""),
        ((4, 5, 6, 8), br.Point(br.LATEST), "000000010000000000000007 is missing", ""),
        ((4, 5, 6, 8), br.Point(br.LABEL, label="F1"), "", ""),
        ((4, 5, 6, 8), br.Point(br.TIME, time=at("06:06:30")), "and 2026-11-25T06:06:30Z is later", ""),
        ((4, 5, 6, 8), br.Point(br.TIME, time=at("06:05:30")), "", "is missing"),
        ((4, 5, 6), br.Point(br.TIME, time=at("06:05:30")), "", ""),
        ((4, 5, 6), br.Point(br.TIME, time=at("06:07:00")), "", "before the wanted time"),
    ],
)
def test_a_gap_in_the_wal_is_found(numbers, point, fault, doubt):
    found = br.judge_reach(segments(*numbers), BACKUP, point)
    assert (fault in found.fault, bool(found.fault)) == (True, bool(fault))
    assert (doubt in found.doubt, bool(found.doubt)) == (True, bool(doubt))


def test_a_new_time_line_goes_on_where_its_parent_ended():
    stored = {**segments(4, 5), **segments(6, 7, timeline=2), "00000002.history": at("06:06:00")}
    assert br.judge_reach(stored, BACKUP, br.Point(br.LATEST)) == br.Reach()


def test_a_time_is_looked_for_on_the_time_line_of_then():
    stored = {**segments(4, 5), "00000002.history": at("06:06:00"), "00000003.history": at("06:08:00")}
    found = [br.timeline_at(stored, at(f"06:{minute:02}:00")) for minute in (5, 7, 9)]
    assert found == [1, 2, None]
    assert br.timeline_at(segments(4), at("06:05:00")) is None


def test_after_a_restore_that_was_undone_the_old_time_line_is_followed():
    second = {"00000002.history": at("06:06:00"), "000000020000000000000006-aa.zst": at("06:07:00")}
    # Restored: the newest is followed, whether a segment of it is there yet or not.
    assert br.timeline_at({**segments(4, 5), "00000002.history": at("06:06:00")}, None) is None
    assert br.timeline_at({**segments(4, 5), **second}, None) is None
    partial = {"000000010000000000000006.partial-aa.zst": at("06:06:30")}
    assert br.timeline_at({**segments(4, 5), "00000002.history": at("06:06:00"), **partial}, None) is None
    # And undone: the first goes on.
    undone = {**segments(4, 5), **second, "000000010000000000000006-bb.zst": at("06:10:00")}
    assert br.timeline_at(undone, None) == 1
    assert br.timeline_at(undone, at("06:09:00")) == 1
    assert br.timeline_at(undone, at("06:06:30")) is None
    assert br.timeline_at(undone, at("06:03:00")) == 1
    # Restored once more, to a third: times before that are still those of the first.
    third = {**undone, "00000003.history": at("06:12:00")}
    assert br.timeline_at(third, None) is None
    assert br.timeline_at(third, at("06:09:30")) == 1
    assert br.timeline_at({}, None) is None


def test_names_of_segments():
    assert br.position("0000000200000001000000FF-abc.zst") == (2, 0x1FF)
    assert br.segment_name(2, 0x200) == "000000020000000200000000"
    assert br.position("000000010000000000000004.00000028.backup") is None
    assert br.position("00000002.history") is None


def shot(id_, time, *, complete=True):
    return br.Snapshot(id_, at(time), complete)


SHOTS = [
    shot("a", "01:00:00"),
    shot("b", "02:00:00"),
    shot("p", "02:10:00", complete=False),
    shot("c", "03:00:00"),
    shot("d", "04:00:00"),
]


@pytest.mark.parametrize(
    ("shots", "moment", "expected"),
    [
        (SHOTS, at("02:30:00"), ["b", "c", "p"]),
        (SHOTS, at("02:00:00"), ["b", "c", "p"]),
        (SHOTS, None, ["d"]),
        (SHOTS, at("09:00:00"), ["d"]),
        (SHOTS, at("00:30:00"), ["a"]),
        (SHOTS[:3], None, ["b", "p"]),
        (SHOTS[2:3], None, ["p"]),
        (SHOTS[2:], at("02:30:00"), ["c", "p"]),
    ],
)
def test_snapshots_are_chosen(shots, moment, expected):
    chosen = br.choose_snapshots(reversed(shots), moment)
    assert [one.id for one in chosen] == expected
    assert {one.id for one in br.fallbacks(shots, chosen, moment)} == {one.id for one in shots} - set(expected)


def test_no_snapshot_is_an_error():
    with pytest.raises(SlipwayError, match="no snapshot"):
        br.choose_snapshots([], None)


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), min_size=1, max_size=8), st.integers(0, 60))
def test_every_file_of_a_moment_is_in_the_union(shots, minute):
    """A file that is there from before the moment until after the next complete snapshot is never left out."""
    listed = [br.Snapshot(str(n), NOW + timedelta(minutes=t), complete) for n, (t, complete) in enumerate(shots)]
    moment = NOW + timedelta(minutes=minute)
    chosen = br.choose_snapshots(listed, moment)
    after = [one for one in listed if one.complete and one.time > moment]
    before = [one for one in listed if one.complete and one.time <= moment]
    assert not after or min(one.time for one in after) in {one.time for one in chosen}
    assert not before or max(one.time for one in before) in {one.time for one in chosen}
