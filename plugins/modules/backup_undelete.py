#!/usr/bin/python
# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Bring deleted and overwritten backups back from the versions of a bucket."""

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_undelete
short_description: Bring deleted and overwritten backups back from the versions of a bucket
version_added: 0.1.0
description:
  - Makes every object below a prefix again what it was at a time. A deletion is undone by removing its delete marker
    where the key may, or else by copying the version. What was overwritten is copied from the older version.
  - Objects that did not exist at that time are left as they are, and counted.
  - Nothing is ever deleted but delete markers.
  - Talks to the store from where it runs, which is meant to be the controller. Works with the bucket owner's key, and
    with a host's own, which may delete no version.
  - Some stores, such as versitygw, give an older version the time of its replacement. It refuses to go by such times.
    Leave O(time) out there.
author: Slipway contributors (@slipway)
extends_documentation_fragment:
  - slipway.odoo.object_store
  - slipway.odoo.object_store.connection
attributes:
  check_mode:
    support: full
    description: Counts what would be brought back.
  diff_mode:
    support: none
    description: The counts say it.
  idempotent:
    support: full
    description: An object that is as it was is left alone.
options:
  prefix:
    description: Only objects whose names begin so. An empty one stands for the whole bucket.
    type: str
    required: true
  time:
    description:
      - The time to go back to, with its zone, such as V(2026-11-25T12:00:00Z).
      - Without it only deletions are undone, whenever they were. An object that was overwritten stays as it is.
    type: str
  parallel:
    description: How many objects to bring back at once.
    type: int
    default: 8
"""

EXAMPLES = r"""
- name: Bring back what was deleted since noon
  slipway.odoo.backup_undelete:
    endpoint: https://s3.example.com
    bucket: backups-of-example
    prefix: example/db1/
    time: '2026-11-25T12:00:00Z'
    key_id: "{{ vault_backup_owner_key_id }}"
    secret_key: "{{ vault_backup_owner_secret_key }}"
  delegate_to: localhost
"""

RETURN = r"""
revived:
  description: How many objects are back because their delete markers are gone, or in check mode would be.
  returned: always
  type: int
  sample: 290
copied:
  description: How many objects are back as a copy of an older version. In check mode those that were overwritten.
  returned: always
  type: int
  sample: 10
unchanged:
  description: How many objects were as they were at that time.
  returned: always
  type: int
  sample: 4
newer:
  description: How many objects did not exist at that time, exist now, and were left as they are.
  returned: always
  type: int
  sample: 1
absent:
  description: How many objects did neither exist at that time nor now.
  returned: always
  type: int
  sample: 0
bytes:
  description: Size of what was brought back.
  returned: always
  type: int
  sample: 1048576
objects_failed:
  description: How many objects could not be brought back. The message names the first of them.
  returned: on failure
  type: int
  sample: 0
"""

import concurrent.futures
import dataclasses
import datetime
from collections.abc import Iterator
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.odoo.plugins.module_utils import backup_store_client, backup_undelete
from ansible_collections.slipway.odoo.plugins.module_utils.backup_store_client import (
    BotoCoreError,
    ClientError,
    code_of,
    failure,
    is_unsupported,
)
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

try:
    from boto3.exceptions import Boto3Error
    from boto3.s3.transfer import TransferConfig
except ImportError:
    Boto3Error = TransferConfig = Exception

ORIGIN = "slipway-copied-from"
NAMED_FAULTS = 5
NO_VERSIONS = "keeps no versions, so nothing can be brought back from it"


def parse_time(text: str | None) -> datetime.datetime | None:
    """Read a time; one without a zone could mean anything."""
    if text is None:
        return None
    try:
        time = datetime.datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError:
        raise SlipwayError(f"time: {text} is no time: write it such as 2026-11-25T12:00:00Z") from None
    if time.tzinfo is None:
        raise SlipwayError(f"time: {text} has no zone: write it such as {text.strip()}Z")
    return time


@dataclasses.dataclass
class Tally:
    """What happened so far."""

    revived: int = 0
    copied: int = 0
    unchanged: int = 0
    newer: int = 0
    absent: int = 0
    bytes: int = 0
    faults: list[str] = dataclasses.field(default_factory=list)


class Undelete:
    """The work on one bucket."""

    def __init__(self, params: dict[str, Any]) -> None:
        self.params = params
        self.bucket = params["bucket"]
        self.client = backup_store_client.connect(params, connections=params["parallel"] + 2)
        self.markers_removable = True

    def require_versions(self) -> None:
        """Fail where there is nothing to bring back from."""
        try:
            status = self.client.get_bucket_versioning(Bucket=self.bucket).get("Status")
        except ClientError as error:
            if is_unsupported(error):
                raise SlipwayError(f"{self.params['endpoint'] or 'the store'} {NO_VERSIONS}") from error
            if code_of(error) != "AccessDenied":
                raise failure(self.params, "look at the bucket", error) from error
            return  # this key may not ask; the listing will tell
        except BotoCoreError as error:
            raise failure(self.params, "look at the bucket", error) from error
        if status is None:
            raise SlipwayError(f"The bucket {self.bucket} {NO_VERSIONS}")

    def histories(self) -> Iterator[list[tuple[str, list[backup_undelete.Entry]]]]:
        """The complete histories of keys, page by page."""
        open_key, open_entries = "", []
        pages = self.client.get_paginator("list_object_versions").paginate(
            Bucket=self.bucket, Prefix=self.params["prefix"]
        )
        try:
            for page in pages:
                found = backup_undelete.read_entries(page)
                if open_entries:
                    found[open_key] = open_entries + found.get(open_key, [])
                # A history may go on on the next page.
                open_key = page.get("NextKeyMarker", "") if page.get("IsTruncated") else ""
                open_entries = found.pop(open_key, [])
                yield list(found.items())
        except ClientError as error:
            if is_unsupported(error):
                raise SlipwayError(f"The bucket {self.bucket} {NO_VERSIONS}") from error
            raise failure(self.params, "list the versions in", error) from error
        except BotoCoreError as error:
            raise failure(self.params, "list the versions in", error) from error
        if open_entries:
            yield [(open_key, open_entries)]

    def do(self, action: backup_undelete.Action) -> str:
        """Bring one object back; returns what was done."""
        if action.kind == backup_undelete.REVIVE and self._remove_markers(action):
            return "revived"
        target = action.target
        source = {"Bucket": self.bucket, "Key": action.key, "VersionId": target.version}
        head = self.client.head_object(**source)
        if action.kind == backup_undelete.COPY and not action.latest.marker:
            now = self.client.head_object(Bucket=self.bucket, Key=action.key)
            if now.get("Metadata", {}).get(ORIGIN) == target.version:
                return "unchanged"
        extra = {
            "MetadataDirective": "REPLACE",
            "Metadata": {**head.get("Metadata", {}), ORIGIN: target.version},
            **{name: head[name] for name in ("ContentType", "ContentEncoding", "CacheControl") if head.get(name)},
        }
        self.client.copy(source, self.bucket, action.key, ExtraArgs=extra, Config=TransferConfig(use_threads=False))
        return "copied"

    def _remove_markers(self, action: backup_undelete.Action) -> bool:
        if not self.markers_removable:
            return False
        for version in action.markers:
            try:
                self.client.delete_object(Bucket=self.bucket, Key=action.key, VersionId=version)
            except ClientError as error:
                if code_of(error) not in ("AccessDenied", "MethodNotAllowed"):
                    raise
                self.markers_removable = False
                return False
        return True


def refuse_wrong_clock(clock: backup_undelete.Clock, params: dict[str, Any]) -> None:
    """Fail when the times that everything was decided by are none."""
    if params["time"] is not None and clock.wrong:
        raise SlipwayError(
            f"{params['endpoint'] or 'the store'} gives older versions the time of their replacement"
            f" ({clock.alike} of {clock.histories} looked at), so what was current at {params['time']} cannot be"
            " told. Nothing was changed. Leave out the time to undo all deletions below the prefix."
        )


def count(tally: Tally, done: str, action: backup_undelete.Action) -> None:
    """Add one object to what happened."""
    setattr(tally, done, getattr(tally, done) + 1)
    if done in ("revived", "copied"):
        tally.bytes += action.target.size


def carry_out(undelete: Undelete, actions: list[backup_undelete.Action], tally: Tally, *, check: bool) -> None:
    """Do what was decided, some at once."""
    names = {backup_undelete.REVIVE: "revived", backup_undelete.COPY: "copied"}
    todo = [action for action in actions if action.kind in names]
    for action in actions:
        if check or action.kind not in names:
            count(tally, names.get(action.kind, action.kind), action)
    if check:
        return
    with concurrent.futures.ThreadPoolExecutor(max_workers=undelete.params["parallel"]) as pool:
        futures = {pool.submit(undelete.do, action): action for action in todo}
        for future in concurrent.futures.as_completed(futures):
            action = futures[future]
            try:
                count(tally, future.result(), action)
            except (ClientError, BotoCoreError, Boto3Error) as error:
                tally.faults.append(f"{action.key}: {error}")


def work(module: AnsibleModule) -> dict[str, Any]:
    """Look at all histories, then bring back."""
    params = module.params
    time = parse_time(params["time"])
    if params["parallel"] < 1:
        raise SlipwayError(f"parallel is {params['parallel']}: it must be at least 1")
    undelete = Undelete(params)
    undelete.require_versions()
    clock, tally = backup_undelete.Clock(), Tally()
    actions = []
    for page in undelete.histories():
        for key, entries in page:
            clock.look(entries)
            actions.append(backup_undelete.decide(key, entries, time))
    refuse_wrong_clock(clock, params)
    carry_out(undelete, actions, tally, check=module.check_mode)
    result = {name: value for name, value in dataclasses.asdict(tally).items() if name != "faults"}
    result["changed"] = bool(tally.revived or tally.copied)
    if tally.faults:
        first = "; ".join(sorted(tally.faults)[:NAMED_FAULTS])
        raise SlipwayError(
            f"{len(tally.faults)} of {len(actions)} objects could not be brought back, run it again: {first}",
            objects_failed=len(tally.faults),
            **result,
        )
    return result


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            **backup_store_client.store_arguments(),
            "prefix": {"type": "str", "required": True},
            "time": {"type": "str"},
            "parallel": {"type": "int", "default": 8},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**work(module))
    except SlipwayError as error:
        module.fail_json(msg=str(error), **error.details)


if __name__ == "__main__":
    main()
