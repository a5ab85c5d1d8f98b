# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a bucket for backups is to be like, compared with what it is like."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

VERSIONING, OBJECT_LOCK, LIFECYCLE, ENCRYPTION = "versioning", "object_lock", "lifecycle", "encryption"
CAPABILITIES = (VERSIONING, OBJECT_LOCK, LIFECYCLE, ENCRYPTION)
REQUIRED, WANTED, OFF = "required", "wanted", "off"
RULE_NAME = "slipway-backup"

_WITHOUT = {
    VERSIONING: "what is deleted or overwritten there, by mistake or by whoever holds a key, is gone",
    OBJECT_LOCK: "whoever holds the owner's key can delete backups for good",
    LIFECYCLE: "old versions stay, and are paid for, until somebody deletes them",
    ENCRYPTION: "the store keeps what it gets as it is; backups are encrypted before they get there",
}
_TITLES = {
    VERSIONING: "versions",
    OBJECT_LOCK: "object lock",
    LIFECYCLE: "lifecycle rules",
    ENCRYPTION: "encryption at rest",
}


@dataclasses.dataclass(frozen=True)
class Wanted:
    """The settings a bucket is to have, and how much each of them matters."""

    need: Mapping[str, str]
    lock_mode: str = "governance"
    lock_days: int = 14
    noncurrent_days: int = 30
    abort_multipart_days: int = 7

    def faults(self) -> list[str]:
        """What contradicts itself in the options."""
        found = []
        if self.asks(OBJECT_LOCK) and not self.asks(VERSIONING):
            found.append("object_lock needs versioning: set versioning to required or wanted, or object_lock to off")
        days = {"lock_days": self.lock_days, "noncurrent_days": self.noncurrent_days}
        days["abort_multipart_days"] = self.abort_multipart_days
        found += [f"{name} is {value}: it must be at least 1" for name, value in days.items() if value < 1]
        return found

    def asks(self, capability: str) -> bool:
        """Whether the capability is to be set at all."""
        return self.need[capability] != OFF


@dataclasses.dataclass(frozen=True)
class Found:
    """The settings a bucket has. None means that it has none; ``unsupported`` holds what the store said."""

    exists: bool = False
    versioning: str | None = None
    object_lock: Mapping[str, Any] | None = None
    lifecycle: Sequence[Mapping[str, Any]] = ()
    encryption: str | None = None
    unsupported: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def has(self, capability: str) -> bool:
        """Whether the capability is in force."""
        if capability == VERSIONING:
            return self.versioning == "Enabled"
        if capability == OBJECT_LOCK:
            return bool(self.object_lock and self.object_lock.get("days"))
        if capability == LIFECYCLE:
            return any(str(rule.get("ID", "")).startswith(RULE_NAME) for rule in self.lifecycle)
        return self.encryption is not None


@dataclasses.dataclass(frozen=True)
class Step:
    """One change of a bucket."""

    what: str
    value: Any = None


def lifecycle_rule(wanted: Wanted) -> dict[str, Any]:
    """The one rule that is ours. Its name holds its figures: stores leave out parts that they do not know."""
    figures = f"noncurrent={wanted.noncurrent_days},uploads={wanted.abort_multipart_days}"
    return {
        "ID": f"{RULE_NAME}:{figures}",
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "NoncurrentVersionExpiration": {"NoncurrentDays": wanted.noncurrent_days},
        "Expiration": {"ExpiredObjectDeleteMarker": True},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": wanted.abort_multipart_days},
    }


def lifecycle_rules(wanted: Wanted, found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]] | None:
    """All rules the bucket is to have, those of others as they are; None when nothing is to be done."""
    rule = lifecycle_rule(wanted)
    ours = [entry for entry in found if str(entry.get("ID", "")).startswith(RULE_NAME)]
    if len(ours) == 1 and ours[0]["ID"] == rule["ID"] and _kept(ours[0], rule):
        return None
    others = [dict(entry) for entry in found if not str(entry.get("ID", "")).startswith(RULE_NAME)]
    return [*others, rule]


def _kept(found: Mapping[str, Any], rule: Mapping[str, Any]) -> bool:
    """Whether a rule of ours is as it was written, but for parts that the store left out."""
    parts = ("NoncurrentVersionExpiration", "Expiration", "AbortIncompleteMultipartUpload")
    expiry = found.get("NoncurrentVersionExpiration", {}).get("NoncurrentDays")
    return (
        found.get("Status") == "Enabled"
        and expiry == rule["NoncurrentVersionExpiration"]["NoncurrentDays"]
        and all(part not in found or _covers(found[part], rule[part]) for part in parts)
    )


def _covers(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(found.get(key) == value for key, value in wanted.items())


def dropped_parts(wanted: Wanted, found: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the store left out of the lifecycle rule it was given."""
    rule = lifecycle_rule(wanted)
    titles = {
        "AbortIncompleteMultipartUpload": "remove the parts of uploads that were broken off",
        "Expiration": "remove delete markers that have no versions left",
    }
    ours = next((entry for entry in found if entry.get("ID") == rule["ID"]), None)
    return [title for part, title in titles.items() if ours is not None and part not in ours]


def plan(wanted: Wanted, found: Found) -> list[Step]:
    """What is to be done, in this order."""
    steps = []
    if not found.exists:
        steps.append(Step("bucket", wanted.asks(OBJECT_LOCK)))
    for capability in CAPABILITIES:
        if wanted.asks(capability) and capability not in found.unsupported:
            steps += _steps_for(capability, wanted, found)
    return steps


def _steps_for(capability: str, wanted: Wanted, found: Found) -> list[Step]:
    if capability == VERSIONING:
        return [] if found.versioning == "Enabled" else [Step(VERSIONING, "Enabled")]
    if capability == OBJECT_LOCK:
        value = {"mode": wanted.lock_mode, "days": wanted.lock_days}
        return [] if found.object_lock == value else [Step(OBJECT_LOCK, value)]
    if capability == LIFECYCLE:
        rules = lifecycle_rules(wanted, found.lifecycle)
        return [] if rules is None else [Step(LIFECYCLE, rules)]
    return [] if found.encryption is not None else [Step(ENCRYPTION, "AES256")]


def after(found: Found, steps: Sequence[Step]) -> Found:
    """The bucket as it would be with all steps done."""
    values: dict[str, Any] = {step.what: step.value for step in steps if step.what in CAPABILITIES}
    return dataclasses.replace(found, exists=True, **values)


def document(found: Found) -> dict[str, Any]:
    """A bucket's settings for a diff."""
    if not found.exists:
        return {"exists": False}
    return {
        "exists": True,
        VERSIONING: found.versioning,
        OBJECT_LOCK: dict(found.object_lock) if found.object_lock else None,
        LIFECYCLE: [dict(rule) for rule in found.lifecycle],
        ENCRYPTION: found.encryption,
    }


@dataclasses.dataclass(frozen=True)
class Judgement:
    """What a store can do, what it lacks, and whether that is too little."""

    capabilities: Mapping[str, bool]
    lacks: Sequence[str]
    faults: Sequence[str]


def judge(wanted: Wanted, found: Found) -> Judgement:
    """Judge a bucket after the plan was carried out."""
    lacks, faults = [], []
    for capability in CAPABILITIES:
        if not wanted.asks(capability) or found.has(capability):
            continue
        said = found.unsupported.get(capability, "it took the setting but does not show it")
        sentence = f"The store has no {_TITLES[capability]} ({said}): {_WITHOUT[capability]}."
        lacks.append(sentence)
        if wanted.need[capability] == REQUIRED:
            faults.append(f"{capability} is required. {sentence}")
    if wanted.asks(LIFECYCLE):
        lacks += [f"The store's lifecycle rules do not {part}." for part in dropped_parts(wanted, found.lifecycle)]
    return Judgement(
        capabilities={capability: found.has(capability) for capability in CAPABILITIES}, lacks=lacks, faults=faults
    )
