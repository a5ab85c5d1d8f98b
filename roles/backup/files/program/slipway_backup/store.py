# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store: JSON documents below a prefix of a bucket that speaks S3."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

from .config import Config

CONNECT_SECONDS, READ_SECONDS = 10, 60

_KEY = "Give slipway_backup.keys the one that holds now, and run playbooks/deploy.yml"
HINTS = {
    "NoSuchBucket": "Make it with playbooks/backup_store.yml, or name the right one in slipway_backup.store",
    "AccessDenied": "The key of this host may not do this, or there is no such bucket",
    "InvalidAccessKeyId": f"The key was revoked, or is not of this store. {_KEY}",
    "SignatureDoesNotMatch": f"The secret of the key is another. {_KEY}",
    "RequestTimeTooSkewed": "The clock of this host and that of the store differ by more than 15 minutes: set it right",
}
"""What to do, by the code of what the store answers (Amazon's «Error responses», which others follow)."""


class StoreError(SlipwayError):
    """The store did not do what it was asked."""


class Store:
    """One prefix of the bucket."""

    def __init__(self, config: Config, *, prefix: str | None = None, reader: bool = False) -> None:
        """
        :param prefix: That of another host; the own one by default.
        :param reader: Take the key that may read the whole site and write nothing, where there is one.
        """
        import boto3  # noqa: PLC0415  only what talks to the store needs it
        import botocore.config  # noqa: PLC0415

        store, secrets = config["store"], config.secrets
        drill = reader and bool(secrets.get("drill_key_id"))
        self.bucket, self.prefix = store["bucket"], prefix if prefix is not None else config["prefix"]
        self.endpoint = store["endpoint"]
        self._client = boto3.client(
            "s3",
            endpoint_url=store["endpoint"],
            region_name=store["region"],
            verify=store.get("ca") or True,
            aws_access_key_id=secrets["drill_key_id" if drill else "key_id"],
            aws_secret_access_key=secrets["drill_secret_key" if drill else "secret_key"],
            config=botocore.config.Config(
                s3={"addressing_style": "path" if store.get("path_style", True) else "virtual"},
                connect_timeout=CONNECT_SECONDS,
                read_timeout=READ_SECONDS,
                retries={"max_attempts": 3, "mode": "standard"},
            ),
        )

    def require(self) -> None:
        """Fail at once, and say why, where the store is away, the bucket missing or the key refused.

        pgBackRest and restic find that out as well, after many minutes of trying.
        """
        self._ask("list_objects_v2", Prefix=f"{self.prefix}/", MaxKeys=1)

    def put_json(self, key: str, document: Mapping[str, Any]) -> None:
        """Write a document below the prefix."""
        body = json.dumps(document, indent=1, sort_keys=True).encode()
        self._ask("put_object", Key=f"{self.prefix}/{key}", Body=body, ContentType="application/json")

    def get_json(self, key: str) -> dict[str, Any]:
        """Read a document below the prefix."""
        answer = self._ask("get_object", Key=f"{self.prefix}/{key}")
        try:
            return dict(json.loads(answer["Body"].read()))
        except ValueError as error:
            raise StoreError(f"{self.prefix}/{key} in bucket {self.bucket} is no JSON: {error}") from None

    def list(self, below: str) -> Iterator[str]:
        """Keys below the prefix, without it."""
        token: dict[str, str] = {}
        while True:
            page = self._ask("list_objects_v2", Prefix=f"{self.prefix}/{below}", **token)
            for entry in page.get("Contents", ()):
                yield entry["Key"][len(self.prefix) + 1 :]
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def delete(self, key: str) -> None:
        """Delete a document below the prefix."""
        self._ask("delete_object", Key=f"{self.prefix}/{key}")

    def _ask(self, operation: str, **arguments: Any) -> dict[str, Any]:
        import botocore.exceptions  # noqa: PLC0415

        try:
            return dict(getattr(self._client, operation)(Bucket=self.bucket, **arguments))
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
            code = getattr(error, "response", {}).get("Error", {}).get("Code", "")
            hint = f". {HINTS[code]}" if code in HINTS else ""
            raise StoreError(f"the store {self.endpoint}, bucket {self.bucket}: {operation}: {error}{hint}") from None
