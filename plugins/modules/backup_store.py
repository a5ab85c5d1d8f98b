#!/usr/bin/python
# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Set up a bucket for backups, and tell what its store cannot do."""

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_store
short_description: Set up a bucket for backups, and tell what its store cannot do
version_added: 0.1.0
description:
  - Creates a bucket, and sets versioning, the default retention of object lock, the expiry of old versions and default
    encryption.
  - Reads everything back, and tells in O(ignore:lacks) what the store cannot do. Stores that speak S3 differ much.
  - Talks to the store from where it runs, which is meant to be the controller. The key must be the bucket owner's.
    Hosts that write backups need no such key and should not have one.
  - Lifecycle rules of others stay as they are. Encryption that is on already stays as it is.
author: Slipway contributors (@slipway)
extends_documentation_fragment:
  - slipway.odoo.object_store
  - slipway.odoo.object_store.connection
attributes:
  check_mode:
    support: full
    description: Tells what would be set. What a store cannot do is often known only after it was tried.
  diff_mode:
    support: full
    description: Shows the settings before and after.
  idempotent:
    support: full
    description: Sets only what differs.
options:
  versioning:
    description:
      - Keep older versions of what is overwritten or deleted. V(required) fails where the store cannot, V(wanted) says
        so, V(off) leaves the setting alone. So with the other three.
    type: str
    choices: [required, wanted, 'off']
    default: required
  object_lock:
    description:
      - Let no version be deleted before O(lock_days) are over. Many stores can do this only for a bucket that was made
        with it, which this module does.
    type: str
    choices: [required, wanted, 'off']
    default: wanted
  lifecycle:
    description: Let the store delete old versions, and what uploads that were broken off left behind.
    type: str
    choices: [required, wanted, 'off']
    default: wanted
  encryption:
    description: Let the store encrypt what it keeps with a key of its own.
    type: str
    choices: [required, wanted, 'off']
    default: wanted
  lock_mode:
    description: V(governance) can be lifted by who has the right to, V(compliance) by nobody before its time is over.
    type: str
    choices: [governance, compliance]
    default: governance
  lock_days:
    description: How many days no version can be deleted.
    type: int
    default: 14
  noncurrent_days:
    description:
      - After how many days the store deletes versions that were overwritten or deleted. So long
        M(slipway.odoo.backup_undelete) can bring them back.
    type: int
    default: 30
  abort_multipart_days:
    description: After how many days the store deletes uploads that were never completed.
    type: int
    default: 7
"""

EXAMPLES = r"""
- name: Set up the bucket
  slipway.odoo.backup_store:
    endpoint: https://s3.example.com
    bucket: backups-of-example
    region: eu-central-1
    key_id: "{{ vault_backup_owner_key_id }}"
    secret_key: "{{ vault_backup_owner_secret_key }}"
    object_lock: required
    lock_mode: compliance
    lock_days: 30
  delegate_to: localhost
"""

RETURN = r"""
capabilities:
  description: Whether each of C(versioning), C(object_lock), C(lifecycle) and C(encryption) is in force.
  returned: always, in check mode as far as it is known
  type: dict
  sample: {versioning: true, object_lock: true, lifecycle: true, encryption: false}
lacks:
  description: One sentence for everything that was asked for and that the store cannot do.
  returned: always
  type: list
  elements: str
  sample: []
settings:
  description: The bucket's settings.
  returned: always
  type: dict
  sample: {exists: true, versioning: Enabled}
"""

import dataclasses
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.odoo.plugins.module_utils import backup_store, backup_store_client
from ansible_collections.slipway.odoo.plugins.module_utils.backup_store_client import (
    BotoCoreError,
    ClientError,
    code_of,
    failure,
    is_unsupported,
    said,
)
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

NEEDS = ["required", "wanted", "off"]
NOT_SET = frozenset(
    {
        "ObjectLockConfigurationNotFoundError",
        "NoSuchObjectLockConfiguration",
        "NoSuchLifecycleConfiguration",
        "ServerSideEncryptionConfigurationNotFoundError",
    }
)
# What stores say when a bucket was not made with object lock.
TOO_LATE = frozenset({"InvalidBucketState", "InvalidRequest", "ObjectLockConfigurationNotFoundError"})


class Bucket:
    """One bucket, through its owner's key."""

    def __init__(self, params: dict[str, Any]) -> None:
        self.params = params
        self.name = params["bucket"]
        self.client = backup_store_client.connect(params)
        self.unsupported: dict[str, str] = {}

    def read(self) -> backup_store.Found:
        """Read all settings."""
        try:
            self.client.head_bucket(Bucket=self.name)
        except ClientError as error:
            if code_of(error) in ("404", "NoSuchBucket", "NotFound"):
                return backup_store.Found()
            raise failure(self.params, "look at the bucket", error) from error
        except BotoCoreError as error:
            raise failure(self.params, "look at the bucket", error) from error
        versioning = self._ask(backup_store.VERSIONING, "get_bucket_versioning")
        lock = self._ask(backup_store.OBJECT_LOCK, "get_object_lock_configuration")
        lifecycle = self._ask(backup_store.LIFECYCLE, "get_bucket_lifecycle_configuration")
        encryption = self._ask(backup_store.ENCRYPTION, "get_bucket_encryption")
        return backup_store.Found(
            exists=True,
            versioning=versioning.get("Status"),
            object_lock=lock_of(lock.get("ObjectLockConfiguration", {})),
            lifecycle=tuple(lifecycle.get("Rules", [])),
            encryption=algorithm_of(encryption.get("ServerSideEncryptionConfiguration", {})),
            unsupported=dict(self.unsupported),
        )

    def _ask(self, capability: str, operation: str) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = getattr(self.client, operation)(Bucket=self.name)
        except ClientError as error:
            if is_unsupported(error):
                self.unsupported[capability] = said(error)
            elif code_of(error) not in NOT_SET:
                raise failure(self.params, f"read {capability} of", error) from error
            return {}
        except BotoCoreError as error:
            raise failure(self.params, f"read {capability} of", error) from error
        return answer

    def do(self, step: backup_store.Step) -> None:
        """Carry out one step; what the store cannot do is remembered."""
        try:
            self._put(step)
        except ClientError as error:
            late = step.what == backup_store.OBJECT_LOCK and code_of(error) in TOO_LATE
            if step.what == "bucket" or not (is_unsupported(error) or late):
                raise failure(self.params, f"set {step.what} of the bucket", error) from error
            hint = ", the bucket was made without it: make another" if late else ""
            self.unsupported[step.what] = said(error) + hint
        except BotoCoreError as error:
            raise failure(self.params, f"set {step.what} of the bucket", error) from error

    def _put(self, step: backup_store.Step) -> None:
        if step.what == "bucket":
            self._create(lock=step.value)
        elif step.what == backup_store.VERSIONING:
            self.client.put_bucket_versioning(Bucket=self.name, VersioningConfiguration={"Status": step.value})
        elif step.what == backup_store.OBJECT_LOCK:
            retention = {"Mode": step.value["mode"].upper(), "Days": step.value["days"]}
            self.client.put_object_lock_configuration(
                Bucket=self.name,
                ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": retention}},
            )
        elif step.what == backup_store.LIFECYCLE:
            self.client.put_bucket_lifecycle_configuration(
                Bucket=self.name, LifecycleConfiguration={"Rules": step.value}
            )
        else:
            rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": step.value}}
            self.client.put_bucket_encryption(Bucket=self.name, ServerSideEncryptionConfiguration={"Rules": [rule]})

    def _create(self, *, lock: bool) -> None:
        options: dict[str, Any] = {"Bucket": self.name}
        if self.params["region"] != "us-east-1":
            options["CreateBucketConfiguration"] = {"LocationConstraint": self.params["region"]}
        if not lock:
            self.client.create_bucket(**options)
            return
        try:
            self.client.create_bucket(**options, ObjectLockEnabledForBucket=True)
        except ClientError as error:
            if not is_unsupported(error):
                raise
            self.unsupported[backup_store.OBJECT_LOCK] = said(error)
            self.client.create_bucket(**options)


def lock_of(configuration: dict[str, Any]) -> dict[str, Any] | None:
    """The default retention in our words."""
    retention = configuration.get("Rule", {}).get("DefaultRetention")
    if not retention:
        return None
    days = retention.get("Days") or 365 * retention.get("Years", 0)
    return {"mode": str(retention.get("Mode", "")).lower(), "days": days}


def algorithm_of(configuration: dict[str, Any]) -> str | None:
    """The algorithm of default encryption."""
    for rule in configuration.get("Rules", []):
        algorithm = rule.get("ApplyServerSideEncryptionByDefault", {}).get("SSEAlgorithm")
        if algorithm:
            return str(algorithm)
    return None


def work(module: AnsibleModule) -> dict[str, Any]:
    """Read, plan, apply, read again, judge."""
    params = module.params
    wanted = backup_store.Wanted(
        need={capability: params[capability] for capability in backup_store.CAPABILITIES},
        lock_mode=params["lock_mode"],
        lock_days=params["lock_days"],
        noncurrent_days=params["noncurrent_days"],
        abort_multipart_days=params["abort_multipart_days"],
    )
    if faults := wanted.faults():
        raise SlipwayError("; ".join(faults))
    bucket = Bucket(params)
    before = bucket.read()
    steps = backup_store.plan(wanted, before)
    now = before
    if module.check_mode:
        now = backup_store.after(before, steps)
    elif steps:
        if steps[0].what == "bucket":
            bucket.do(steps[0])
            # Making it may have set more than one thing, and shows what the store cannot do.
            steps = backup_store.plan(wanted, bucket.read())
        for step in steps:
            if step.what not in bucket.unsupported:
                bucket.do(step)
        now = dataclasses.replace(bucket.read(), unsupported=bucket.unsupported)
    documents = {"before": backup_store.document(before), "after": backup_store.document(now)}
    judgement = backup_store.judge(wanted, now)
    result = {
        "changed": documents["before"] != documents["after"],
        "capabilities": dict(judgement.capabilities),
        "lacks": list(judgement.lacks),
        "settings": documents["after"],
        "diff": documents,
    }
    if judgement.faults:
        raise SlipwayError(f"{params['bucket']}: {' '.join(judgement.faults)}", **result)
    return result


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            **backup_store_client.store_arguments(),
            "versioning": {"type": "str", "choices": NEEDS, "default": "required"},
            "object_lock": {"type": "str", "choices": NEEDS, "default": "wanted"},
            "lifecycle": {"type": "str", "choices": NEEDS, "default": "wanted"},
            "encryption": {"type": "str", "choices": NEEDS, "default": "wanted"},
            "lock_mode": {"type": "str", "choices": ["governance", "compliance"], "default": "governance"},
            "lock_days": {"type": "int", "default": 14},
            "noncurrent_days": {"type": "int", "default": 30},
            "abort_multipart_days": {"type": "int", "default": 7},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**work(module))
    except SlipwayError as error:
        module.fail_json(msg=str(error), **error.details)


if __name__ == "__main__":
    main()
