"""What the module makes of a bucket, with moto in the place of the store."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args
from ansible_collections.slipway.odoo.plugins.module_utils import backup_manifest as manifest
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from ansible_collections.slipway.odoo.plugins.modules import backup_info

boto3 = pytest.importorskip("boto3")
moto = pytest.importorskip("moto")

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
PARAMS = {
    "endpoint": "https://s3.amazonaws.com",
    "bucket": "slipway",
    "region": "us-east-1",
    "prefixes": ["demo/db1"],
    "ca_path": None,
    "key_id": "AK",
    "secret_key": "hunter2-secret",
    "path_style": True,
    "newest": 200,
    "kinds": [],
    "max_age": {},
    "minimum_count": 1,
    "require_verified_days": None,
    "size_min_factor": 0.5,
    "size_max_factor": 3.0,
    "fail_on_fault": True,
}


def made(label, hours, *, kind="database", type_="full", size=100, needs=(), **changes):
    time = manifest.format_time(NOW - timedelta(hours=hours))
    document = {
        "schema": 1,
        "site": "demo",
        "host": "db1",
        "kind": kind,
        "label": label,
        "type": type_ if kind == "database" else None,
        "state": "good",
        "faults": [],
        "started": time,
        "finished": time,
        "duration_s": 0,
        "size_bytes": size,
        "stored_bytes": 1,
        "database": None,
        "databases": [],
        "files": {"snapshot": "x", "complete": True, "instances": [], "contracts": {}} if kind == "files" else None,
        "dump": None,
    }
    if kind == "database":
        document["database"] = dict.fromkeys(("time_start", "time_stop"), time) | {
            "version": "17",
            "system_id": "1",
            "stanza": "main",
            "backup": label,
            "references": list(needs),
            "lsn_start": "0/1",
            "lsn_stop": "0/2",
            "wal_start": "1",
            "wal_stop": "2",
        }
    return manifest.seal({**document, **changes})


@pytest.fixture
def store(monkeypatch):
    """Return a client of an empty bucket."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with moto.mock_aws():
        client = boto3.client("s3", region_name="us-east-1", aws_access_key_id="AK", aws_secret_access_key="x")
        client.create_bucket(Bucket="slipway")
        yield client


def put(store, *documents, prefix="demo/db1"):
    for document in documents:
        store.put_object(Bucket="slipway", Key=manifest.key(prefix, document), Body=manifest.dump(document))


def look(store, label, hours, *, good=True, by="verify", kind="database", prefix="demo/db1"):
    time = manifest.format_time(NOW - timedelta(hours=hours))
    record = {"good": good, "by": by, "time": time, "faults": [] if good else ["bad page"]}
    key = manifest.under(prefix, manifest.verification_path(kind, label, time))
    store.put_object(Bucket="slipway", Key=key, Body=json.dumps(record))


def found(**params):
    return backup_info.work({**PARAMS, **params}, client=backup_info.connect, now=NOW)


def test_what_there_is(store):
    put(store, made("f", 30), made("d", 2, type_="diff", needs=["f"]), made("x", 1, size=0))
    put(store, made("s", 1, kind="files"), prefix="demo/app1")
    look(store, "f", 20)
    result = found(prefixes=["demo/db1/", "demo/app1", "demo/none"])
    assert result["faults"] == []
    assert result["prefixes"]["demo/none"] == {}
    database = result["prefixes"]["demo/db1"]["database"]
    assert (database["last_good"]["label"], database["last_good"]["age_s"], database["count"]) == ("d", 7200, 2)
    assert (database["last_verified"]["label"], database["last_verified"]["verified"]) == ("f", True)
    assert [bad["label"] for bad in database["bad"]] == ["x"]
    assert result["prefixes"]["demo/app1"]["files"]["last_good"]["label"] == "s"


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({}, None),
        ({"kinds": ["database"], "max_age": {"database": 3}, "minimum_count": 2, "require_verified_days": 2}, None),
        ({"max_age": {"database": "1"}}, "demo/db1: The last good backup of kind database was 2 hours ago"),
        ({"max_age": {"database/full": 3}}, "The last good full backup"),
        ({"kinds": ["files"]}, "no good backup of kind files below demo/db1"),
        ({"minimum_count": 3}, "There are 2 good backups of kind database, fewer than 3"),
        ({"require_verified_days": 0.5}, "more than 0.5 days ago"),
    ],
)
def test_thresholds(store, params, words):
    put(store, made("f", 30), made("d", 2, type_="diff", needs=["f"]))
    look(store, "f", 20)
    faults = found(**params)["faults"]
    assert [words in fault for fault in faults] == ([True] if words else [])


def test_no_verification(store):
    put(store, made("f", 30))
    assert found(require_verified_days=1)["faults"] == ["demo/db1: No good backup of kind database was ever verified."]


def test_size(store):
    put(store, *(made(f"f{n}", 30 - n) for n in range(4)), made("g", 1, size=10))
    assert "0.10 times the median of the 4 before" in found()["faults"][0]


def test_a_refuted_one_is_named_and_the_older_used(store):
    put(store, made("a", 30), made("b", 2))
    look(store, "b", 1, good=False)
    result = found()
    assert result["prefixes"]["demo/db1"]["database"]["last_good"]["label"] == "a"
    assert "found damaged after they were made: b" in result["faults"][0]


def test_what_is_damaged_is_said(store):
    put(store, made("a", 30))
    for name, body in (("b", b""), ("c", manifest.dump(made("a", 1))), ("d", b"\xff\xfe")):
        store.put_object(Bucket="slipway", Key=f"demo/db1/manifests/database/{name}.json", Body=body)
    store.put_object(Bucket="slipway", Key="demo/db1/manifests/database/other.txt", Body=b"")
    store.put_object(Bucket="slipway", Key="demo/db1/verifications/database/a/2026-11-25T12:00:00Z.json", Body=b"{}")
    result = found()
    assert len([line for line in result["unreadable"] if "/manifests/" in line]) == 3
    assert any("verifications" in line for line in result["unreadable"])
    assert result["unreadable"] == result["faults"]
    assert result["prefixes"]["demo/db1"]["database"]["last_good"]["label"] == "a"


def test_only_the_newest_are_read_and_what_they_need(store):
    put(store, made("f", 90), made("old", 80))
    put(store, made("d", 70, type_="diff", needs=["f"]), made("i", 60, type_="incr", needs=["d", "f"]))
    client = backup_info.connect(PARAMS)
    keys = [f"demo/db1/manifests/database/{label}.json" for label in ("i", "d", "old", "f")]
    reader = backup_info.Reader(client, endpoint="x", bucket="slipway")
    reader.keys = lambda prefix: keys if "manifests" in prefix else []
    assert sorted(label for _kind, label in backup_info.see(reader, "demo/db1", 1).manifests) == ["d", "f", "i"]


def test_pages_are_followed(store, monkeypatch):
    put(store, *(made(f"f{n}", 30 - n) for n in range(5)))
    client = backup_info.connect(PARAMS)
    listing = client.list_objects_v2
    monkeypatch.setattr(client, "list_objects_v2", lambda **arguments: listing(MaxKeys=2, **arguments))
    result = backup_info.work(dict(PARAMS), client=lambda _params: client, now=NOW)
    assert result["prefixes"]["demo/db1"]["database"]["count"] == 5


def test_one_that_is_gone_meanwhile_is_passed_over(store):
    reader = backup_info.Reader(backup_info.connect(PARAMS), endpoint="x", bucket="slipway")
    assert reader.read_all(["demo/none.json"]) == {}


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"bucket": "none"}, "there is no such bucket"),
        ({"prefixes": []}, "prefixes is empty"),
        ({"newest": 0}, "newest must be"),
        ({"max_age": {"base": 1}}, "'base' is no kind"),
        ({"max_age": {"database/weekly": 1}}, "no kind"),
        ({"max_age": {"files": "soon"}}, "no number of hours"),
        ({"endpoint": "s3"}, "endpoint s3"),
    ],
)
def test_what_cannot_be_done_is_said(store, params, words):
    with pytest.raises(SlipwayError, match=words) as caught:
        found(**params)
    assert "hunter2" not in str(caught.value)


def test_a_store_that_is_away(monkeypatch):
    with pytest.raises(SlipwayError, match="Backups cannot be read: list_objects_v2 of demo/db1/manifests/"):
        found(endpoint="http://127.0.0.1:1")


class LeftError(Exception):
    """The module has ended."""


@pytest.mark.parametrize(("fail_on_fault", "failed"), [(True, True), (False, False)])
def test_the_module(store, monkeypatch, fail_on_fault, failed):
    def leave(how):
        def left(_module, **result):
            raise LeftError(how, result)

        return left

    monkeypatch.setattr(basic.AnsibleModule, "exit_json", leave("exit"))
    monkeypatch.setattr(basic.AnsibleModule, "fail_json", leave("fail"))
    required = ("endpoint", "bucket", "prefixes", "key_id", "secret_key")
    arguments = {**{name: PARAMS[name] for name in required}, "kinds": ["files"], "fail_on_fault": fail_on_fault}
    with patch_module_args(arguments), pytest.raises(LeftError) as caught:
        backup_info.main()
    how, result = caught.value.args
    assert how == ("fail" if failed else "exit")
    assert result["faults"] == ["There is no good backup of kind files below demo/db1."]
    assert not failed or result["msg"].startswith("Backups are not as they should be. There is no good backup")
