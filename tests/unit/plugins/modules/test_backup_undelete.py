"""The module backup_undelete against moto."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from ansible_collections.slipway.odoo.plugins.modules import backup_undelete
from botocore.exceptions import ClientError
from moto import mock_aws

BUCKET = "backups"
PARAMS: dict[str, Any] = {
    "endpoint": None,
    "bucket": BUCKET,
    "region": "us-east-1",
    "ca_file": None,
    "path_style": False,
    "key_id": "owner",
    "secret_key": "unimportant",
    "timeout": 5,
    "prefix": "site/",
    "time": None,
    "parallel": 2,
}
COUNTS = ("revived", "copied", "unchanged", "newer", "absent")


class Module:
    """What the work needs of an AnsibleModule."""

    def __init__(self, *, check_mode: bool = False, **params: Any) -> None:
        self.params = {**PARAMS, **params}
        self.check_mode = check_mode


def run(**options: Any) -> dict[str, Any]:
    return backup_undelete.work(Module(**options))  # type: ignore[arg-type]


def counts(result: dict[str, Any]) -> dict[str, int]:
    return {name: result[name] for name in COUNTS if result[name]}


@pytest.fixture
def s3() -> Iterator[Any]:
    with mock_aws():
        client = boto3.client("s3", "us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
        client.create_bucket(Bucket=BUCKET)
        client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        yield client


def put(s3: Any, key: str, body: bytes) -> None:
    s3.put_object(Bucket=BUCKET, Key=key, Body=body, Metadata={"of": key}, ContentType="application/x-test")


def body(s3: Any, key: str) -> bytes:
    content: bytes = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    return content


def test_deleted_objects_come_back(s3: Any) -> None:
    for number in range(7):
        put(s3, f"site/{number}", b"content %d" % number)
        s3.delete_object(Bucket=BUCKET, Key=f"site/{number}")
    put(s3, "other/x", b"x")
    s3.delete_object(Bucket=BUCKET, Key="other/x")
    assert counts(run(check_mode=True)) == {"revived": 7}
    result = run()
    assert counts(result) == {"revived": 7}
    assert result["bytes"] == 7 * 9
    assert [body(s3, f"site/{number}") for number in range(7)] == [b"content %d" % number for number in range(7)]
    again = run()
    assert (counts(again), again["changed"]) == ({"unchanged": 7}, False)


def test_key_that_may_not_remove_markers_copies(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    put(s3, "site/a", b"1")
    s3.delete_object(Bucket=BUCKET, Key="site/a")
    connect = backup_undelete.backup_store_client.connect

    def denied(**_arguments: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied"}}, "DeleteObject")

    def restricted(params: Any, **options: Any) -> Any:
        client = connect(params, **options)
        client.delete_object = denied
        return client

    monkeypatch.setattr(backup_undelete.backup_store_client, "connect", restricted)
    assert counts(run()) == {"copied": 1}
    found = s3.get_object(Bucket=BUCKET, Key="site/a")
    assert (found["Body"].read(), found["Metadata"]["of"], found["ContentType"]) == (
        b"1",
        "site/a",
        "application/x-test",
    )


def test_time_decides(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = datetime.datetime(2026, 11, 25, 11, tzinfo=datetime.UTC)
    monkeypatch.setattr("moto.s3.models.utcnow", lambda: clock.replace(tzinfo=None))
    put(s3, "site/deleted", b"1")
    put(s3, "site/overwritten", b"good")
    clock = clock.replace(hour=13)
    s3.delete_object(Bucket=BUCKET, Key="site/deleted")
    put(s3, "site/overwritten", b"bad")
    put(s3, "site/new", b"new")
    clock = clock.replace(hour=14)
    result = run(time="2026-11-25T12:00:00Z")
    assert counts(result) == {"revived": 1, "copied": 1, "newer": 1}
    assert body(s3, "site/overwritten") == b"good"
    assert body(s3, "site/new") == b"new"
    assert counts(run(time="2026-11-25T12:00:00Z")) == {"unchanged": 2, "newer": 1}


def test_untrustworthy_times_change_nothing(s3: Any) -> None:
    for number in range(3):
        put(s3, f"site/{number}", b"1")
        s3.delete_object(Bucket=BUCKET, Key=f"site/{number}")
    with pytest.raises(SlipwayError, match="time of their replacement"):
        run(time="2099-01-01T00:00:00Z")
    assert "Contents" not in s3.list_objects_v2(Bucket=BUCKET)


def test_bucket_without_versions_is_refused(s3: Any) -> None:
    s3.create_bucket(Bucket="plain")
    with pytest.raises(SlipwayError, match="keeps no versions"):
        run(bucket="plain")


@pytest.mark.parametrize("text", ["yesterday", "2026-11-25T12:00:00"])
def test_time_without_zone_or_sense_is_refused(text: str) -> None:
    with pytest.raises(SlipwayError, match="write it such as"):
        backup_undelete.parse_time(text)
