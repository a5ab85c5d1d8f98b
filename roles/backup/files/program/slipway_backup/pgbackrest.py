# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pgBackRest: what it has in its repository, and how it is asked."""

from __future__ import annotations

import dataclasses
import datetime
import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

from .host import run, run_raw

USER = "postgres"
CONF = "/etc/pgbackrest.conf"
OTHER_CLUSTER = 28
"""What pgBackRest returns where the repository and the cluster do not belong together."""
Span = tuple[str, str]
"""The first and the last of a row of WAL files. As text they sort by timeline, then place, as for pgBackRest."""
LAST_WAL = "F" * 24
ALL_WAL: Span = ("0" * 24, LAST_WAL)
WAL_FILTER = "--filter=^.*/[0-9A-F]{24}-[0-9a-f]{40}.*$"


def pgbackrest(stanza: str, command: str, *options: str, config: str | None = None) -> str:
    """Run a command of pgBackRest as PostgreSQL's administrator and return what it wrote.

    :param config: A configuration file other than that of the host.
    """
    return run(_words(stanza, command, *options, config=config), user=USER, what=f"pgbackrest {command}")


def _words(stanza: str, command: str, *options: str, log: str = "warn", config: str | None = None) -> list[str]:
    where = [f"--config={config}"] if config else []
    levels = ["--log-level-console=off", f"--log-level-stderr={log}", "--log-level-file=off"]
    return ["pgbackrest", *where, f"--stanza={stanza}", *levels, command, *options]


def info(stanza: str, *options: str) -> dict[str, Any]:
    """What is in the repository: ``backup`` (list, oldest first), ``archive``, ``status``.

    :param options: Such as choose the repository as it was at a time.
    :raises SlipwayError: where the repository cannot be read, or is not of this stanza.
    """
    # With a wrong passphrase it quotes bytes that strict JSON does not allow.
    found = json.loads(pgbackrest(stanza, "info", "--output=json", *options), strict=False)
    if not found:
        raise SlipwayError(f"pgbackrest knows no stanza {stanza} in this repository")
    for repository in found[0].get("repo", ()):
        status = repository["status"]
        # 1: no stanza yet, 2: no good backup yet.
        if "FormatError" in status["message"] or "CryptoError" in status["message"]:
            raise SlipwayError(
                "pgbackrest cannot read its repository: it was encrypted with another passphrase than that of "
                f"{CONF} (repo1-cipher-pass), or it is damaged"
            )
        if status["code"] not in (0, 1, 2):
            raise SlipwayError(
                f"pgbackrest info: repository {repository['key']}: {' '.join(status['message'].split())}"
            )
    return dict(found[0])


def check(stanza: str) -> bool:
    """See that archiving works, up to a file of the WAL that arrives; False where the repository is of another cluster.

    :raises SlipwayError: where archiving does not work.
    """
    done = run_raw(_words(stanza, "check"), user=USER)
    if done.returncode == OTHER_CLUSTER:
        return False
    if done.returncode != 0:
        said = " / ".join(line.strip() for line in done.stderr.strip().splitlines()[-5:])
        raise SlipwayError(f"archiving does not work, pgbackrest check failed with {done.returncode}: {said}")
    return True


@dataclasses.dataclass(frozen=True)
class Verified:
    """What ``pgbackrest verify`` has found: faults by the label of each backup, and those of the WAL."""

    backups: Mapping[str, list[str]]
    archive: list[str]

    @property
    def faulty(self) -> bool:
        """Whether anything is wrong."""
        return bool(self.archive) or any(self.backups.values())


def verify(stanza: str) -> Verified:
    """Read everything in the repository back. Its return code is 0 even where something is damaged."""
    done = run_raw(_words(stanza, "verify", "--output=text", "--verbose", log="info"), user=USER)
    if done.returncode != 0 or "status: " not in done.stdout:
        said = " / ".join(done.stderr.splitlines()[-4:])
        raise SlipwayError(f"pgbackrest verify failed with {done.returncode}: {said}")
    return parse_verified(done.stdout, done.stderr)


def parse_verified(report: str, log: str) -> Verified:
    """Read the report of ``verify --output=text --verbose`` and the names that it logged."""
    backups: dict[str, list[str]] = {}
    archive: list[str] = []
    current: list[str] = archive
    what = ""
    for line in (line.strip() for line in report.splitlines()):
        if line.startswith("archiveId: "):
            current, what = archive, "WAL of " + line.split(",")[0].split(": ")[1]
        elif line.startswith("backup: "):
            label = line.split(",")[0].split(": ")[1]
            current, what = backups.setdefault(label, []), "files"
            status = re.search(r"status: ([^,]+)", line)
            if status and status[1] not in ("valid", "in-progress"):
                current.append(f"status {status[1]}")
        else:
            counted = [f"{count} {name}" for name, count in re.findall(r"([a-z ]+): (\d+)", line) if int(count) > 0]
            if counted and line.startswith(("missing:", "checksum invalid:", "size invalid:", "other:")):
                current.append(f"{what}: {', '.join(text.replace('  ', ' ') for text in counted)}")
    for line in log.splitlines():
        named = re.search(r"INFO: ((?:invalid|missing|unable|could not)\b.*)", line)
        if named:
            owner = next((label for label in backups if f"{label}/" in line), None)
            (archive if owner is None else backups[owner]).append(named[1])
    return Verified(backups=backups, archive=archive)


def moment(seconds: int) -> datetime.datetime:
    """A time of pgBackRest's as a time of ours."""
    return datetime.datetime.fromtimestamp(seconds, tz=datetime.timezone.utc)


def archived(stanza: str, archive: str, *options: str) -> dict[str, datetime.datetime]:
    """The files of the WAL that the archive of a cluster holds, such as ``17-1``, and when each was stored.

    :param options: As those of :func:`info`.
    """
    said = pgbackrest(stanza, "repo-ls", *options, "--recurse", "--output=json", f"archive/{stanza}/{archive}")
    return {
        name: moment(entry["time"])
        for name, entry in json.loads(said).items()
        if entry.get("type") == "file" and "time" in entry
    }


def gaps(stanza: str, *, days: int, expired: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Files of the WAL that the repository lacks and should have, and what is the new ``expired``.

    :param days: ``repo1-retention-archive``.
    :param expired: as this returned it last: what has expired does not come back when a backup goes or ``days`` grows.
    """
    said = pgbackrest(stanza, "repo-ls", "--recurse", WAL_FILTER, f"archive/{stanza}")
    # The WAL of each cluster has the same names, in a directory such as 17-1: version, and number of the cluster.
    names: dict[str, list[str]] = {}
    for line in said.splitlines():
        names.setdefault(line.partition("/")[0].rpartition("-")[2], []).append(line.rpartition("/")[2][:24])
    backups = info(stanza)["backup"]
    limits = dict(expired)
    for cluster, first in wal_expired(backups, days=days).items():
        limits[cluster] = max(first, limits.get(cluster, ""))
    kept = wal_kept(backups, expired=limits)
    found = [
        text
        for cluster in sorted({*names, *kept})
        for text in wal_gaps(names.get(cluster, ()), kept=kept.get(cluster, ()))
    ]
    return found, limits


def wal_expired(backups: Iterable[Mapping[str, Any]], *, days: int) -> dict[str, str]:
    """The file of the WAL, by cluster, from which on ``pgbackrest expire`` keeps all; empty while it expires nothing.

    It counts the newest ``days`` full and differential backups of all clusters (``repo1-retention-archive-type=diff``),
    and expires nothing while there are fewer. Of a cluster that has none among them it keeps the WAL since its newest.
    """
    counted = sorted((b for b in backups if b["type"] in ("full", "diff")), key=lambda backup: str(backup["label"]))
    if len(counted) < days:
        return {}
    oldest: dict[str, Mapping[str, Any]] = {_cluster(backup): backup for backup in counted}
    oldest.update({_cluster(backup): backup for backup in reversed(counted[-days:])})
    starts = {cluster: backup["archive"]["start"] for cluster, backup in oldest.items()}
    return {cluster: str(start) for cluster, start in starts.items() if start}


def wal_kept(backups: Iterable[Mapping[str, Any]], *, expired: Mapping[str, str]) -> dict[str, list[Span]]:
    """What there should be of the WAL, by cluster: all from ``expired`` on, before it what each backup itself needs.

    Nothing before the first backup: no restore begins there.
    """
    own: dict[str, list[Span]] = {}
    for backup in backups:
        if backup["archive"]["start"]:
            own.setdefault(_cluster(backup), []).append((backup["archive"]["start"], backup["archive"]["stop"]))
    kept = {}
    for cluster, spans in own.items():
        limit = max(min(spans)[0], expired.get(cluster, ""))
        kept[cluster] = [*(span for span in sorted(spans) if span[0] < limit), (limit, LAST_WAL)]
    return kept


def _cluster(backup: Mapping[str, Any]) -> str:
    return str(backup["database"]["id"])


def wal_gaps(names: Iterable[str], *, kept: Collection[Span] = (ALL_WAL,), per_log: int = 256) -> list[str]:
    """Where the numbers of WAL files jump over what should be there, as sentences.

    :param names: 24 hexadecimal digits each: timeline, log and segment.
    :param kept: What should be there; what else is missing has expired.
    :param per_log: Segments in each log: 256 with the usual 16 MB.
    """

    def number(name: str) -> int:
        return int(name[8:16], 16) * per_log + int(name[16:24], 16)

    timelines: dict[str, set[int]] = {}
    for name in names:
        timelines.setdefault(name[:8], set()).add(number(name))
    for start, stop in kept:
        for edge in (start, stop):
            if edge not in (ALL_WAL[0], LAST_WAL):
                timelines.setdefault(edge[:8], set())
    found = []
    for timeline, there in sorted(timelines.items()):
        wanted: set[int] = set()
        for start, stop in kept:
            if not start[:8] <= timeline <= stop[:8]:
                continue
            # Where a timeline begins that a span only passes through is not known here; nor where the newest one ends.
            first = number(start) if start[:8] == timeline else min(there, default=None)
            last = number(stop) if stop[:8] == timeline else max(there, default=first)
            if first is not None and last is not None:
                wanted.update(range(first, max(first, last) + 1))
        for first, last in _rows(wanted - there):
            ends = (f"{timeline}{n // per_log:08X}{n % per_log:08X}" for n in (first, last))
            found.append("the WAL from {} to {} is missing: no restore can go across it".format(*ends))
    return found


def _rows(numbers: Collection[int]) -> list[tuple[int, int]]:
    """The first and the last of each row of consecutive numbers."""
    rows: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if rows and rows[-1][1] == number - 1:
            rows[-1] = (rows[-1][0], number)
        else:
            rows.append((number, number))
    return rows
