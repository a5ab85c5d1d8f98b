"""The module backup_store against moto."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from ansible_collections.slipway.odoo.plugins.modules import backup_store
from botocore.exceptions import ClientError
from moto import mock_aws

PARAMS: dict[str, Any] = {
    "endpoint": None,
    "bucket": "backups",
    "region": "us-east-1",
    "ca_file": None,
    "path_style": False,
    "key_id": "owner",
    "secret_key": "unimportant",
    "timeout": 5,
    "versioning": "required",
    "object_lock": "wanted",
    "lifecycle": "wanted",
    "encryption": "wanted",
    "lock_mode": "governance",
    "lock_days": 14,
    "noncurrent_days": 30,
    "abort_multipart_days": 7,
}


class Module:
    """What the work needs of an AnsibleModule."""

    def __init__(self, *, check_mode: bool = False, **params: Any) -> None:
        self.params = {**PARAMS, **params}
        self.check_mode = check_mode


@pytest.fixture
def s3() -> Iterator[Any]:
    with mock_aws():
        yield boto3.client("s3", "us-east-1", aws_access_key_id="a", aws_secret_access_key="b")


def run(**options: Any) -> dict[str, Any]:
    return backup_store.work(Module(**options))  # type: ignore[arg-type]


def test_bucket_is_made_and_the_second_run_changes_nothing(s3: Any) -> None:
    assert run()["changed"]
    again = run()
    assert not again["changed"]
    assert all(again["capabilities"].values())
    lock = s3.get_object_lock_configuration(Bucket="backups")["ObjectLockConfiguration"]
    assert backup_store.lock_of(lock) == {"mode": "governance", "days": 14}
    assert not run(check_mode=True)["changed"]


def test_check_mode_makes_nothing(s3: Any) -> None:
    result = run(check_mode=True)
    assert result["changed"]
    assert result["diff"]["before"] == {"exists": False}
    assert s3.list_buckets()["Buckets"] == []


def test_change_is_shown(s3: Any) -> None:
    run()
    result = run(lock_days=30)
    assert result["diff"]["before"]["object_lock"]["days"] == 14
    assert result["diff"]["after"]["object_lock"]["days"] == 30


@pytest.fixture
def limited(s3: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A store that answers 501 to everything about lifecycle."""
    connect = backup_store.backup_store_client.connect

    def refuse(**_arguments: Any) -> None:
        answer = {"Error": {"Code": "NotImplemented"}, "ResponseMetadata": {"HTTPStatusCode": 501}}
        raise ClientError(answer, "Lifecycle")  # type: ignore[arg-type]

    def crippled(params: Any) -> Any:
        client = connect(params)
        client.get_bucket_lifecycle_configuration = client.put_bucket_lifecycle_configuration = refuse
        return client

    monkeypatch.setattr(backup_store.backup_store_client, "connect", crippled)
    return s3


def test_what_the_store_cannot_do_is_said(limited: Any) -> None:
    result = run()
    assert result["capabilities"]["lifecycle"] is False
    assert "501 NotImplemented" in result["lacks"][0]
    assert not run()["changed"]
    assert run(lifecycle="off")["lacks"] == []


def test_what_is_required_and_missing_fails(limited: Any) -> None:
    with pytest.raises(SlipwayError, match="lifecycle is required"):
        run(lifecycle="required")


def test_missing_ca_file_is_named(s3: Any) -> None:
    with pytest.raises(SlipwayError, match=r"/nowhere/ca\.crt"):
        run(ca_file="/nowhere/ca.crt")
