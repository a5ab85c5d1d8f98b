"""The catalogue: what counts as good, and what is said of the rest."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils import backup_catalogue as catalogue
from ansible_collections.slipway.odoo.plugins.module_utils import backup_manifest as manifest
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


def made(label, hours, *, kind="database", type_="full", size=100, needs=(), state="good"):
    """Return the manifest of a backup that ended that many hours before NOW."""
    time = manifest.format_time(NOW - timedelta(hours=hours))
    document = {
        "schema": 1,
        "site": "demo",
        "host": "db1",
        "kind": kind,
        "label": label,
        "type": type_ if kind == "database" else None,
        "state": state,
        "faults": ["disk full"] if state == "bad" else [],
        "started": time,
        "finished": time,
        "duration_s": 0,
        "size_bytes": size,
        "stored_bytes": 1,
        "database": None,
        "databases": [],
        "files": None,
        "dump": None,
    }
    if kind == "database":
        document["database"] = {
            "version": "17",
            "system_id": "1",
            "stanza": "main",
            "backup": label,
            "references": list(needs),
            "lsn_start": "0/1",
            "lsn_stop": "0/2",
            "time_start": time,
            "time_stop": time,
            "wal_start": "1",
            "wal_stop": "2",
        }
    else:
        document["files"] = {"snapshot": "x", "complete": True, "instances": [], "contracts": {}}
    return manifest.seal(document)


def look(label, hours, *, good, by="verify", kind="database"):
    time = manifest.format_time(NOW - timedelta(hours=hours))
    return {"kind": kind, "label": label, "good": good, "by": by, "time": time, "faults": [] if good else ["bad page"]}


@pytest.mark.parametrize(
    ("documents", "looks", "last", "bad"),
    [
        ([], [], None, {}),
        ([made("a", 2), made("b", 1)], [], "b", {}),
        ([made("b", 1), made("a", 2)], [], "b", {}),
        ([made("a", 2), made("b", 1, state="bad")], [], "a", {"b": "disk full"}),
        ([made("a", 2), {**made("b", 1), "size_bytes": 5}], [], "a", {"b": "altered or damaged"}),
        ([made("a", 2), made("b", 1, size=0)], [], "a", {"b": "holds nothing"}),
        ([made("a", 2), made("b", 1)], [look("b", 0, good=False)], "a", {"b": "Refuted by verify"}),
        ([made("a", 2), made("b", 1)], [look("b", 0, good=False), look("b", 0.5, good=True)], "a", {"b": "bad page"}),
        ([made("a", 2), made("b", 1)], [look("b", 0.5, good=False), look("b", 0, good=True)], "b", {}),
        # A checksum does not heal what a drill found.
        (
            [made("a", 2), made("b", 1)],
            [look("b", 0.5, good=False, by="drill"), look("b", 0, good=True)],
            "a",
            {"b": "Refuted by drill"},
        ),
        # A chain is as good as its links.
        (
            [
                made("g", 9),
                made("f", 5),
                made("d", 3, type_="diff", needs=["f"]),
                made("i", 1, type_="incr", needs=["d", "f"]),
            ],
            [look("f", 0, good=False)],
            "g",
            {"f": "Refuted", "d": "needs f, which is not good", "i": "needs d, which is not good"},
        ),
        ([made("g", 9), made("d", 1, type_="diff", needs=["x"])], [], "g", {"d": "needs x, which is not there"}),
    ],
)
def test_last_good_and_bad(documents, looks, last, bad):
    found = catalogue.build(documents, looks)
    good = found.last_good("database")
    assert (good and good.label) == last
    entries = {entry.label: " ".join(entry.faults) for entry in found.of("database", good=False)}
    assert entries.keys() == bad.keys()
    for label, words in bad.items():
        assert words in entries[label]
    assert not [entry for entry in found.of("database", good=True) if entry.faults]


@pytest.mark.parametrize(
    ("sizes", "count", "median", "ratio"),
    [
        ([100], 0, None, None),
        ([100, 50], 1, 100, 0.5),
        ([100, 300, 200, 400], 3, 200, 2.0),
        ([1] * 5 + [100] * 10 + [300], 10, 100, 3.0),
    ],
)
def test_size_trend(sizes, count, median, ratio):
    documents = [made(f"b{n}", 100 - n, size=size) for n, size in enumerate(sizes)]
    # Of another type, and bad: neither counts.
    documents += [made("d", 99.5, type_="diff", needs=["b0"], size=7), made("x", 99.4, size=9, state="bad")]
    trend = catalogue.build(documents).trend("database")
    if len(sizes) > 1:
        assert (trend.last, trend.count, trend.median, trend.ratio) == (sizes[-1], count, median, ratio)
    else:
        assert (trend.last, trend.count) == (7, 0)


def test_summary():
    documents = [
        made("f", 9),
        made("d", 2, type_="diff", needs=["f"]),
        made("x", 1, state="bad"),
        made("s", 3, kind="files"),
    ]
    found = catalogue.build(documents, [look("f", 1, good=True), look("s", 1, good=True, kind="database")])
    shown = catalogue.summary(found, NOW, ["dump"])
    assert json.loads(json.dumps(shown)) == shown
    assert list(shown) == ["dump", "database", "files"]
    assert shown["dump"]["last_good"] is None
    assert shown["dump"]["size_trend"] is None
    database = shown["database"]
    assert (database["last_good"]["label"], database["last_good"]["age_s"], database["count"]) == ("d", 7200, 2)
    assert database["last_good_by_type"]["full"]["label"] == "f"
    assert database["last_verified"]["label"] == "f"
    assert [entry["label"] for entry in database["bad"]] == ["x"]
    assert shown["files"]["last_good"]["verified"] is None


def test_what_names_no_backup():
    found = catalogue.build([{}, {"kind": "files", "label": "x"}, {"kind": [], "label": {}, "started": 3}])
    assert found.entries == ()
    assert len(found.unreadable) == 3


def test_retention_sees_what_was_claimed():
    found = catalogue.build([made("a", 2), made("b", 1)], [look("b", 0, good=False)])
    assert [(b.label, b.good, b.verified) for b in catalogue.backups(found, "database")] == [
        ("a", True, None),
        ("b", True, False),
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.lists(st.tuples(st.sampled_from(sorted(made("a", 1))), JSON), max_size=3), st.booleans())
def test_no_damaged_manifest_stops_it(changes, sealed):
    document = {**made("b", 1), **dict(changes)}
    found = catalogue.build([made("a", 2), manifest.seal(document) if sealed else document])
    assert any(entry.label == "a" for entry in found.entries)
    assert json.dumps(catalogue.summary(found, NOW))
