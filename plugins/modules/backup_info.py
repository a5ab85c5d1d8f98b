#!/usr/bin/python
# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read back what backups there are in the store, and judge them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_info
short_description: Say which backups there are in the store, and whether they are good, fresh and verified
version_added: 0.1.0
description:
  - Reads the manifests that every backup of role P(slipway.odoo.backup#role) writes, and the records of later
    verifications and drills, from a store that speaks S3.
  - A backup is good when its manifest is sound (its SHA-256 is that of its content) and calls it good, no later look
    refuted it, and all backups that it needs are there and good too.
  - Fails with one message that names all faults, unless O(fail_on_fault=false).
  - Runs on the controller (C(delegate_to=localhost)) or on a host. It only reads, with a key that may list and read
    below O(prefixes).
options:
  endpoint:
    description: Address of the store, such as V(https://s3.example.com).
    type: str
    required: true
  prefixes:
    description:
      - Prefixes of the hosts in the bucket, such as V(demo/db1).
      - V("") stands for the top of the bucket.
    type: list
    elements: str
    required: true
  ca_path:
    description: File with the certificates of the authorities that the store is checked with. Those of the system
      without it.
    type: path
  path_style:
    description: Whether the bucket's name is part of the path (V(true)) or of the host name.
    type: bool
    default: true
  newest:
    description:
      - How many manifests of each kind and prefix to read, newest first. Those that these need are read as well.
      - This many count at most for O(minimum_count).
    type: int
    default: 200
  kinds:
    description: Kinds of which there must be a good backup below at least one of O(prefixes).
    type: list
    elements: str
    choices: [database, files, dump]
    default: []
  max_age:
    description:
      - How old the last good backup may be, in hours, by kind.
      - A type may be named after the kind, such as V(database/full).
      - Kinds that are not named may be of any age.
    type: dict
    default: {}
  minimum_count:
    description: How many good backups there must be of each kind that there is.
    type: int
    default: 1
  require_verified_days:
    description: Days within which a verification or a drill must have found a backup good, for each kind that there
      is. Without it, none is needed.
    type: float
  size_min_factor:
    description: Least size of the last good backup, as a factor of the median of up to 10 earlier ones of its type.
    type: float
    default: 0.5
  size_max_factor:
    description: Greatest size, likewise. Sizes are compared when there are 3 earlier ones.
    type: float
    default: 3.0
  fail_on_fault:
    description: Whether to fail when there are faults, instead of only returning them.
    type: bool
    default: true
attributes:
  check_mode:
    description: Can run in check mode and returns what it does without it.
    support: full
  diff_mode:
    description: Returns details on what has changed in diff mode.
    support: N/A
    details: It changes nothing.
  idempotent:
    description: Changes nothing when it runs again.
    support: full
extends_documentation_fragment:
  - slipway.odoo.object_store
notes:
  - A bad backup is no fault by itself, as long as there is a good one that is fresh enough. One that a later look
    refuted is a fault.
author:
  - Slipway contributors (@slipway)
"""

EXAMPLES = r"""
- name: Refuse to go on without fresh backups
  slipway.odoo.backup_info:
    endpoint: https://s3.example.com
    bucket: slipway-demo
    prefixes: [demo/db1, demo/app1]
    key_id: "{{ vault_backup_reader_key_id }}"
    secret_key: "{{ vault_backup_reader_secret_key }}"
    kinds: [database, files]
    max_age:
      database: 26
      database/full: 192
      files: 1
    require_verified_days: 35
  delegate_to: localhost
  run_once: true

- name: Look only
  slipway.odoo.backup_info:
    endpoint: https://store1.lab.example
    bucket: slipway-demo
    ca_path: /etc/slipway/backup-store-ca.crt
    prefixes: [demo/db1]
    key_id: "{{ backup_key_id }}"
    secret_key: "{{ backup_secret_key }}"
    fail_on_fault: false
  register: backups

- name: Show the last good backup of the database
  ansible.builtin.debug:
    msg: "{{ backups.prefixes['demo/db1'].database.last_good }}"
"""

RETURN = r"""
prefixes:
  description: What there is, by prefix and kind. A kind without any manifest is left out.
  returned: always, unless the store cannot be read
  type: dict
  contains:
    last_good:
      description: The newest good backup, null without one. The members of RV(prefixes.bad) are the same.
      type: dict
      contains:
        label:
          description: Names it, for C(restore_to).
          type: str
        type:
          description: One of V(full), V(diff) and V(incr); empty where there are no types.
          type: str
        time:
          description: When it ended (UTC).
          type: str
        age_s:
          description: Seconds since then.
          type: int
        size_bytes:
          description: Size of what it holds.
          type: int
        stored_bytes:
          description: What it added to the store.
          type: int
        good:
          description: Whether it can be relied upon.
          type: bool
        faults:
          description: What is wrong with it.
          type: list
          elements: str
        verified:
          description: What the last looks at it found; null where nobody looked.
          type: bool
        verified_time:
          description: When somebody looked last; null where nobody did.
          type: str
    last_good_by_type:
      description: The same for each type.
      type: dict
    count:
      description: How many are good.
      type: int
    bad:
      description: Those that are not, oldest first, with their faults.
      type: list
      elements: dict
    size_trend:
      description: Size of the last good one (C(last)), how many earlier ones of its type there are (C(count)), their
        C(median), and the C(ratio) to it. Null without a good one.
      type: dict
    last_verified:
      description: The newest good one that was found good later; null without one.
      type: dict
  sample:
    demo/db1:
      database:
        last_good:
          label: 20261125-120000F
          type: full
          time: "2026-11-25T12:00:04Z"
          age_s: 3600
          size_bytes: 85000000
          stored_bytes: 9000000
          good: true
          faults: []
          verified: true
          verified_time: "2026-11-25T12:10:00Z"
        count: 7
        bad: []
faults:
  description: What is not as the options want it; empty when all is well.
  returned: always, unless the store cannot be read
  type: list
  elements: str
  sample:
    - "demo/db1: The last good backup of kind database was 2 days ago, at 2026-11-23T12:00:04Z; 26 hours is the limit."
unreadable:
  description: Manifests and records that could not be understood, and so name no backup. They are faults too.
  returned: always, unless the store cannot be read
  type: list
  elements: str
  sample: []
"""

import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.slipway.odoo.plugins.module_utils import backup_catalogue, backup_health
from ansible_collections.slipway.odoo.plugins.module_utils import backup_manifest as manifests
from ansible_collections.slipway.odoo.plugins.module_utils.backup_store_client import bucket_arguments
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

try:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:
    HAS_BOTO3 = False
    BOTO3_ERROR = traceback.format_exc()
else:
    HAS_BOTO3 = True
    BOTO3_ERROR = ""

PARALLEL = 8
# Looks at one backup that are read: enough to have the last of each sort.
LOOKS = 6
GONE = ("NoSuchKey", "404")
HINTS = {
    "NoSuchBucket": "there is no such bucket. Is its name right?",
    "InvalidAccessKeyId": "the store does not know the key. Was it revoked?",
    "SignatureDoesNotMatch": "the secret key is not that of the key, or the region is wrong.",
    "AccessDenied": "the key may not do that. It needs s3:ListBucket and s3:GetObject below the prefixes.",
    "RequestTimeTooSkewed": "the clocks here and there differ too much.",
}


class Reader:
    """Lists and reads documents."""

    def __init__(self, client: Any, *, endpoint: str, bucket: str) -> None:
        self.client = client
        self.endpoint = endpoint
        self.bucket = bucket

    def keys(self, prefix: str) -> list[str]:
        """Keys below a prefix, newest first."""
        found: list[tuple[datetime, str]] = []
        token: dict[str, str] = {}
        while True:
            page = self.ask("list_objects_v2", Prefix=prefix, **token)
            found += [(entry["LastModified"], entry["Key"]) for entry in page.get("Contents", ())]
            if not page.get("IsTruncated"):
                return [key for _time, key in sorted(found, reverse=True)]
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def read(self, key: str) -> bytes | None:
        """One document; None when it is gone meanwhile."""
        try:
            answer = self.client.get_object(Bucket=self.bucket, Key=key)
            return bytes(answer["Body"].read())
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in GONE:
                return None
            raise self.explained("get_object", key, error) from None
        except BotoCoreError as error:
            raise self.explained("get_object", key, error) from None

    def read_all(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Several at once."""
        keys = list(keys)
        with ThreadPoolExecutor(max_workers=PARALLEL) as pool:
            return {key: text for key, text in zip(keys, pool.map(self.read, keys)) if text is not None}

    def ask(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """One call."""
        try:
            return dict(getattr(self.client, operation)(Bucket=self.bucket, **arguments))
        except (BotoCoreError, ClientError) as error:
            raise self.explained(operation, arguments.get("Prefix", ""), error) from None

    def explained(self, operation: str, what: str, error: Exception) -> SlipwayError:
        """The same error, such that somebody can do something about it."""
        code = error.response.get("Error", {}).get("Code", "") if isinstance(error, ClientError) else ""
        return SlipwayError(
            f"Backups cannot be read: {operation} of {what or 'the top'} in bucket {self.bucket} at {self.endpoint}: "
            f"{HINTS.get(code, '')}{' ' if code in HINTS else ''}({error})"
        )


@dataclass
class Seen:
    """What was read below one prefix."""

    manifests: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    looks: list[dict[str, Any]] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


def see(reader: Reader, prefix: str, newest: int) -> Seen:
    """Read the newest manifests below a prefix, those that they need, and what is known of them."""
    seen = Seen()
    listed: dict[tuple[str, str], str] = {}
    for key in reader.keys(manifests.under(prefix, "manifests/")):
        name = manifests.parse_key(key)
        if name and not name.time:
            listed[name.kind, name.label] = key
    wanted = [name for kind in manifests.KINDS for name in [name for name in listed if name[0] == kind][:newest]]
    tried: set[tuple[str, str]] = set()
    while wanted:
        tried |= set(wanted)
        names = {listed[name]: name for name in wanted}
        for key, text in reader.read_all(names).items():
            take(seen, key, text, names[key])
        needed = {(kind, label) for (kind, _l), found in seen.manifests.items() for label in manifests.needs(found)}
        wanted = sorted((needed & listed.keys()) - tried)
    see_looks(reader, prefix, seen)
    return seen


def take(seen: Seen, key: str, text: bytes, name: tuple[str, str]) -> None:
    """Take a manifest into account, or say why not."""
    try:
        document = manifests.load(text, where=key)
    except SlipwayError as error:
        seen.unreadable.append(f"{error}.")
        return
    if (document.get("kind"), document.get("label")) == name:
        seen.manifests[name] = document
    else:
        seen.unreadable.append(f"{key} is the manifest of another backup, {document.get('label')!r}, or damaged.")


def see_looks(reader: Reader, prefix: str, seen: Seen) -> None:
    """Read the last verifications of each backup whose manifest was read."""
    by_backup: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for key in reader.keys(manifests.under(prefix, "verifications/")):
        name = manifests.parse_key(key)
        if name and name.time and (name.kind, name.label) in seen.manifests:
            by_backup.setdefault((name.kind, name.label), []).append((name.time, key))
    names = {key: name for name, found in by_backup.items() for _time, key in sorted(found)[-LOOKS:]}
    for key, text in reader.read_all(names).items():
        try:
            record = manifests.load(text, where=key)
        except SlipwayError as error:
            seen.unreadable.append(f"{error}.")
            continue
        wrong = manifests.check_verification(record)
        seen.unreadable += [f"{key}: {fault}" for fault in wrong]
        if not wrong:
            seen.looks.append({**record, "kind": names[key][0], "label": names[key][1]})


def faults_of(summaries: dict[str, dict[str, Any]], params: dict[str, Any], now: datetime) -> list[str]:
    """What is not as the options want it."""
    limits = backup_health.Thresholds(
        max_age_s={kind: hours * 3600 for kind, hours in params["max_age"].items()},
        size_min_factor=params["size_min_factor"],
        size_max_factor=params["size_max_factor"],
    )
    faults = [
        f"There is no good backup of kind {kind} below {', '.join(summaries)}."
        for kind in params["kinds"]
        if not any(summary.get(kind, {}).get("last_good") for summary in summaries.values())
    ]
    for prefix, summary in summaries.items():
        found = backup_health.judge({"kinds": summary}, limits, now)
        faults += [f"{prefix}: {item.text}" for item in found if not item.name.startswith("bad:")]
        for kind, known in summary.items():
            if known["count"] < params["minimum_count"]:
                faults.append(
                    f"{prefix}: There are {known['count']} good backups of kind {kind}, fewer than "
                    f"{params['minimum_count']}."
                )
            if params["require_verified_days"] is not None:
                faults += unverified(prefix, kind, known, days=params["require_verified_days"], now=now)
    return faults


def unverified(prefix: str, kind: str, known: dict[str, Any], *, days: float, now: datetime) -> list[str]:
    """Whether it is too long ago that a backup was found good."""
    last = known["last_verified"]
    if last is None:
        return [f"{prefix}: No good backup of kind {kind} was ever verified."]
    if now - manifests.parse_time(last["verified_time"]) > timedelta(days=days):
        text = f"{prefix}: The last verified backup of kind {kind}, {last['label']}, was looked at on"
        return [f"{text} {last['verified_time']}, more than {days:g} days ago."]
    return []


def check_params(params: dict[str, Any]) -> None:
    """Refuse options that nothing could come of.

    :raises SlipwayError: what is wrong with them.
    """
    if not params["prefixes"]:
        raise SlipwayError("prefixes is empty, so that nothing would be looked at")
    if params["newest"] < 1:
        raise SlipwayError("newest must be 1 at least")
    for name, hours in params["max_age"].items():
        kind, slash, type_ = name.partition("/")
        if kind not in manifests.KINDS or (slash and type_ not in manifests.TYPES):
            raise SlipwayError(f"max_age: {name!r} is no kind of backup. There are {', '.join(manifests.KINDS)}")
        try:
            params["max_age"][name] = float(hours)
        except (TypeError, ValueError):
            raise SlipwayError(f"max_age: {hours!r} for {name} is no number of hours") from None


def connect(params: dict[str, Any]) -> Any:
    """Make a client."""
    try:
        return boto3.client(
            "s3",
            endpoint_url=params["endpoint"],
            region_name=params["region"],
            aws_access_key_id=params["key_id"],
            aws_secret_access_key=params["secret_key"],
            verify=params["ca_path"] or True,
            config=Config(
                s3={"addressing_style": "path" if params["path_style"] else "virtual"},
                max_pool_connections=PARALLEL,
                connect_timeout=10,
                read_timeout=60,
                retries={"max_attempts": 3, "mode": "standard"},
            ),
        )
    except (BotoCoreError, ValueError) as error:
        raise SlipwayError(f"endpoint {params['endpoint']}: {error}") from None


def work(params: dict[str, Any], *, client: Callable[[dict[str, Any]], Any], now: datetime) -> dict[str, Any]:
    """Read, and judge.

    :raises SlipwayError: the options are wrong, or the store cannot be read.
    """
    check_params(params)
    reader = Reader(client(params), endpoint=params["endpoint"], bucket=params["bucket"])
    summaries, unreadable = {}, []
    for prefix in dict.fromkeys(item.strip("/") for item in params["prefixes"]):
        seen = see(reader, prefix, params["newest"])
        catalogue = backup_catalogue.build(seen.manifests.values(), seen.looks)
        unreadable += [*seen.unreadable, *(f"{prefix}: {fault}" for fault in catalogue.unreadable)]
        summaries[prefix] = backup_catalogue.summary(catalogue, now)
    faults = [*unreadable, *faults_of(summaries, params, now)]
    return {"changed": False, "prefixes": summaries, "faults": faults, "unreadable": unreadable}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            **bucket_arguments(),
            "endpoint": {"type": "str", "required": True},
            "prefixes": {"type": "list", "elements": "str", "required": True},
            "ca_path": {"type": "path"},
            "path_style": {"type": "bool", "default": True},
            "newest": {"type": "int", "default": 200},
            "kinds": {"type": "list", "elements": "str", "choices": list(manifests.KINDS), "default": []},
            "max_age": {"type": "dict", "default": {}},
            "minimum_count": {"type": "int", "default": 1},
            "require_verified_days": {"type": "float"},
            "size_min_factor": {"type": "float", "default": 0.5},
            "size_max_factor": {"type": "float", "default": 3.0},
            "fail_on_fault": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    if not HAS_BOTO3:
        module.fail_json(msg=missing_required_lib("boto3"), exception=BOTO3_ERROR)
    try:
        result = work(module.params, client=connect, now=datetime.now(timezone.utc))
        if result["faults"] and module.params["fail_on_fault"]:
            raise SlipwayError(f"Backups are not as they should be. {' '.join(result['faults'])}", **result)
    except SlipwayError as error:
        module.fail_json(msg=str(error), **error.details)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
