"""Manifests: what is sealed is found sound, and whatever is wrong with one is said."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils import backup_manifest as manifest
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from hypothesis import given
from hypothesis import strategies as st

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def database(**changes):
    """Return the sealed manifest of a good full backup, changed at dotted paths."""
    document = {
        "schema": 1,
        "site": "demo",
        "host": "db1",
        "kind": "database",
        "label": "20261125-120000F",
        "type": "full",
        "state": "good",
        "faults": [],
        "started": "2026-11-25T12:00:00Z",
        "finished": "2026-11-25T12:00:04.5Z",
        "duration_s": 4.5,
        "size_bytes": 85_000_000,
        "stored_bytes": 9_000_000,
        "database": {
            "version": "17",
            "system_id": "7441234567890",
            "stanza": "main",
            "backup": "20261125-120000F",
            "references": [],
            "lsn_start": "0/4000028",
            "lsn_stop": "0/5000028",
            "time_start": "2026-11-25T12:00:00Z",
            "time_stop": "2026-11-25T12:00:04Z",
            "wal_start": "000000010000000000000004",
            "wal_stop": "000000010000000000000005",
        },
        "databases": [
            {
                "instance": "main",
                "name": "main",
                "uuid": "5c1f4e8a-0000-0000-0000-000000000000",
                "size_bytes": 80_000_000,
                "modules": {"base": {"version": "19.0.1.3", "checksum": None}},
                "attachments": {"count": 214, "bytes": 1000},
                "fingerprint": {
                    "lsn": "0/5000028",
                    "time": "2026-11-25T12:00:04Z",
                    "tables": {"public.res_partner": {"rows": 3, "hash": "123"}},
                },
            }
        ],
        "files": None,
        "dump": None,
    }
    return manifest.seal(changed(document, changes))


def files(**changes):
    document = dict(database(), kind="files", label="20261125T120000Z", type=None, database=None, databases=[])
    document["files"] = {
        "snapshot": "4f2a",
        "complete": True,
        "instances": [{"name": "main", "database": "main", "filestore": "/var/lib/odoo/x", "count": 214, "bytes": 1}],
        "contracts": {"main": ["1.2.0"]},
    }
    return manifest.seal(changed(document, changes))


def dump(**changes):
    document = dict(files(), kind="dump", files=None)
    document["dump"] = {"database": "main", "snapshot": "4f2b", "entries": 900, "files": {"toc.dat": "0" * 64}}
    return manifest.seal(changed(document, changes))


REMOVED = object()


def changed(document, changes):
    document = copy.deepcopy(document)
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = document
        for name in parents:
            place = place[int(name) if isinstance(place, list) else name]
        if value is REMOVED:
            del place[last]
        else:
            place[last] = value
    return document


@pytest.mark.parametrize("document", [database(), files(), dump()])
def test_a_good_one_is_sound(document):
    assert manifest.check(document) == []
    assert manifest.check(manifest.load(manifest.dump(document))) == []
    assert manifest.seal(document) == document


def test_a_bad_backup_may_have_a_sound_manifest():
    document = database(
        state="bad",
        faults=["disk full"],
        finished=None,
        duration_s=None,
        size_bytes=None,
        stored_bytes=0,
        database=None,
    )
    assert manifest.check(document) == []


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (None, "no JSON object"),
        ([], "no JSON object"),
        ({}, "schema None"),
        (database(schema=2), "schema 2; this program knows 1"),
        (database(schema=True), "schema True"),
        (dict(database(), size_bytes=1), "altered or damaged"),
        (dict(database(), sha256="x"), "no SHA-256 of itself"),
        (database(site=REMOVED), "lacks site"),
        (database(site=" "), "site is"),
        (database(kind="filestore"), "kind is"),
        (database(kind=[]), "kind is"),
        (database(label="../x"), "label is"),
        (database(type="weekly"), "type is"),
        (database(started="2026-11-25 12:00"), "started is"),
        (database(started="2026-11-25T12:00:00+01:00"), "started is"),
        (database(size_bytes="85"), "size_bytes is"),
        (database(size_bytes=True), "size_bytes is"),
        (database(size_bytes=-1), "size_bytes is"),
        (database(databases=["main"]), "databases is"),
        (database(database__stanza=REMOVED), "lacks database.stanza"),
        (database(database__references=[3]), "database.references is"),
        (database(databases__0__modules={"base": "19"}), "modules['base'] says no version"),
        (database(databases__0__fingerprint__tables={"x": {"rows": "3"}}), "says no rows and hash"),
        (database(databases__0__fingerprint__lsn="5000028"), "fingerprint.lsn is"),
        (database(databases__0__attachments={}), "lacks databases[0].attachments.count"),
        (files(files__instances=[{"name": "main"}]), "lacks files.instances[0].database"),
        (dump(dump__files={"toc.dat": "abc"}), "is no SHA-256"),
        (database(state="bad"), "no fault is named"),
        (database(faults=["page checksum"]), "called good, and has faults: page checksum"),
        (database(size_bytes=0), "holds nothing"),
        (database(size_bytes=None), "holds nothing"),
        (database(finished=None), "finished is not known"),
        (database(finished="2026-11-25T11:00:00Z"), "ended before it began"),
        (database(database=None), "says nothing of its database"),
        (database(type=None), "has a type"),
        (database(type="diff"), "names none"),
        (database(database__references=["20261124-120000F"]), "needs no other"),
        (database(database__backup="20261124-120000F"), "that of pgBackRest"),
        (database(database__wal_stop=None), "end of its WAL"),
        (files(files=None), "says nothing of its files"),
        (files(files__complete=False), "not complete"),
        (dump(dump__entries=0), "no entries"),
        (dump(dump__files={}), "no files"),
    ],
)
def test_what_is_wrong_is_said(document, words):
    faults = manifest.check(document)
    assert any(words in fault for fault in faults), faults
    assert all(fault.endswith(".") for fault in faults)


@given(JSON)
def test_anything_at_all_is_judged(document):
    assert manifest.check(document) != []
    assert isinstance(manifest.check_verification(document), list)


@given(st.sampled_from(sorted(database())), JSON)
def test_no_change_goes_unnoticed(name, value):
    document = database()
    if name == "sha256" or value == document[name]:
        return
    assert manifest.check({**document, name: value}) != []
    # Sealed again, it is at least judged.
    assert isinstance(manifest.check(manifest.seal({**document, name: value})), list)


@given(st.dictionaries(st.text(), JSON))
def test_round_trip(document):
    sealed = manifest.seal(document)
    assert manifest.load(manifest.dump(sealed)) == sealed
    assert manifest.seal(sealed) == sealed


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        (b"\n", "is empty"),
        ("{", "no JSON"),
        ("[]", "no object"),
        ('{"a": NaN}', "NaN"),
        (b"\xff", "no JSON"),
    ],
)
def test_no_document(text, words):
    with pytest.raises(SlipwayError, match=f"here.*{words}"):
        manifest.load(text, where="here")


def test_names():
    document = database()
    path = "manifests/database/20261125-120000F.json"
    assert manifest.relative_path(document) == path
    assert manifest.key("demo/db1", document) == manifest.key("/demo/db1/", document) == f"demo/db1/{path}"
    assert manifest.key("", document) == path
    assert manifest.parse_key(f"demo/db1/{path}") == manifest.Name("database", "20261125-120000F")
    found = manifest.verification_path("files", "x.y", "2026-11-25T12:00:00Z")
    assert found == "verifications/files/x.y/2026-11-25T12:00:00Z.json"
    assert manifest.parse_key(f"demo/{found}") == manifest.Name("files", "x.y", "2026-11-25T12:00:00Z")
    assert manifest.drill_path("2026-11-25T12:00:00Z") == "drills/2026-11-25T12:00:00Z.json"


@pytest.mark.parametrize(
    "key",
    [
        "",
        "x.json",
        "manifests/other/x.json",
        "manifests/files/x",
        "manifests/files/.json",
        "drills/x.json",
        "a/b/c.json",
    ],
)
def test_other_keys(key):
    assert manifest.parse_key(key) is None


@pytest.mark.parametrize(
    ("kind", "label"), [("database", "../../x"), ("database", ""), ("other", "x"), ("files", "a/b")]
)
def test_a_name_never_leaves_its_place(kind, label):
    with pytest.raises(SlipwayError):
        manifest.manifest_path(kind, label)


def test_needs():
    assert manifest.needs(database()) == []
    assert manifest.needs(database(database__references=["a", "b"])) == ["a", "b"]
    assert manifest.needs(files()) == []
    assert manifest.needs({}) == []


@given(
    st.datetimes(
        timezones=st.timezones() | st.just(UTC),
        min_value=datetime(1000, 1, 2),
        max_value=datetime(9999, 12, 30),
    )
)
def test_times_go_there_and_back(moment):
    text = manifest.format_time(moment)
    assert text.endswith("Z")
    # There are local times that no clock ever showed, and those equal no moment.
    assert manifest.parse_time(text) == moment.astimezone(UTC)
    assert manifest.parse_time(text).utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-11-25",
        "2026-11-25T12:00:00",
        "2026-11-25T12:00:00+00:00",
        "2026-02-30T12:00:00Z",
        "2026-11-25T12:00:00Z\n",
        None,
        5,
    ],
)
def test_other_times_are_refused(text):
    with pytest.raises(SlipwayError, match="no time in UTC"):
        manifest.parse_time(text)


def test_a_time_without_zone_is_refused():
    with pytest.raises(ValueError, match="zone"):
        manifest.format_time(datetime(2026, 11, 25))


@pytest.mark.parametrize(
    ("document", "sound"),
    [
        ({"good": True, "by": "verify", "time": "2026-11-25T12:00:00Z", "faults": []}, True),
        ({"good": False, "by": "drill", "time": "2026-11-25T12:00:00Z", "faults": ["x"]}, True),
        ({"good": True, "by": "drill", "time": "2026-11-25T12:00:00Z", "faults": ["x"]}, False),
        ({"good": 1, "by": "drill", "time": "2026-11-25T12:00:00Z", "faults": []}, False),
        ({"good": True, "by": "me", "time": "2026-11-25T12:00:00Z", "faults": []}, False),
    ],
)
def test_verifications(document, sound):
    assert (manifest.check_verification(document) == []) is sound
