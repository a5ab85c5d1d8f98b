# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a restore drill thinks: what it restores with, what it expects, and what it makes of what it sees.

Nothing here reads or writes.
"""

from __future__ import annotations

import configparser
import dataclasses
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils import backup_manifest
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

SCHEMA = 1
#: How many faults of a kind a report names; the rest is counted.
SHOWN = 20
#: An attachment carries the time at which its transaction began, and its file may be written later than that.
TRANSACTION = timedelta(minutes=5)

#: Every check of a drill, in order. One that is not reached is never taken for passed.
CHECKS = {
    "database_backup": "a good backup of the database with a fingerprint",
    "files_backup": "a good and complete backup of the files",
    "room": "room for all of it",
    "database_restored": "the backup of the database is restored",
    "fingerprint_reached": "PostgreSQL recovers to the fingerprint's place in the WAL",
    "tables": "rows and hash of every table are those of the fingerprint",
    "modules": "modules and versions are those of the manifest",
    "wal_replayed": "the WAL is replayed to the end of the archive",
    "checksums": "every page has the right checksum",
    "indexes": "every B-tree index is in order",
    "files_restored": "the backup of the files is restored",
    "files_intact": "every file has the SHA-1 that is its name",
    "attachments": "every attachment of the database is on disk",
    "odoo_neutralised": "the copy is neutralised",
    "odoo_boots": "Odoo loads the database without an error",
    "odoo_login": "a user logs in over HTTP",
    "report_stored": "the store takes the report",
}
#: Those that say something about a backup itself, by kind; the others may fail for other reasons.
EVIDENCE = {
    "database": ("database_restored", "fingerprint_reached", "tables", "modules", "checksums", "indexes"),
    "files": ("files_restored", "files_intact", "attachments"),
}
#: Time spent on these is not spent by somebody who restores after a disaster.
ONLY_CHECKS = ("tables", "modules", "checksums", "indexes", "files_intact", "attachments")

#: pgBackRest's exit codes for damage to what a restore reads: a wrong checksum, a file that is invalid, of another
#: form or missing, and what cannot be decrypted with a passphrase that opened the repository's own list just before.
DAMAGE = frozenset((26, 28, 29, 55, 95))
_DAMAGED = re.compile(r"ciphertext verification failed|invalid data returned|hash mismatch|unexpected pack|wrong hash")


def is_damage(words: str) -> bool:
    """Tell whether restic speaks of damage to what is in the repository."""
    return bool(_DAMAGED.search(words))


@dataclasses.dataclass
class Check:
    """One check of a report. ``status`` is passed, failed or "not reached"."""

    name: str
    expected: str
    seen: str = ""
    status: str = "not reached"
    faults: list[str] = dataclasses.field(default_factory=list)
    duration_s: float = 0.0
    #: Whether the failure is the backup's own, and not that of the drill's surroundings.
    damning: bool = False

    def document(self) -> dict[str, Any]:
        """Return it as it stands in the report."""
        found = dataclasses.asdict(self)
        if len(self.faults) > SHOWN:
            found["faults"] = [*self.faults[:SHOWN], f"and {len(self.faults) - SHOWN} more"]
        return found


# ---- choosing backups


def choose(
    manifests: Iterable[Mapping[str, Any]], *, kind: str, known_bad: Iterable[str] = ()
) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the newest backup of a kind that a drill can hold to its word, and what was passed over.

    :param known_bad: labels whose last verification found faults.
    """
    bad = frozenset(known_bad)
    passed_over: list[str] = []
    mine = [manifest for manifest in manifests if manifest.get("kind") == kind]
    for manifest in sorted(mine, key=lambda one: str(one.get("started", "")), reverse=True):
        label = str(manifest.get("label"))
        faults = backup_manifest.check(manifest)
        if faults:
            passed_over.append(f"{label}: its manifest cannot be relied upon: {faults[0]}")
        elif manifest["state"] != "good":
            passed_over.append(f"{label}: it is marked bad: {'; '.join(manifest['faults'][:3])}")
        elif label in bad:
            passed_over.append(f"{label}: its last verification found faults")
        elif _usable(manifest):
            return dict(manifest), passed_over
    return None, passed_over


def _usable(manifest: Mapping[str, Any]) -> bool:
    if manifest["kind"] == "files":
        return bool(manifest["files"] and manifest["files"]["complete"])
    # An incremental backup has no fingerprint, which is no fault of it.
    return bool(manifest["databases"]) and all(database["fingerprint"] for database in manifest["databases"])


def choose_snapshots(
    snapshots: Sequence[Mapping[str, Any]], *, newest: str, site: str, moment: datetime | None
) -> list[dict[str, Any]]:
    """Return the snapshots whose union holds every file that the database may name, oldest first.

    That is the newest complete one and all later ones, which may be partial; and where the database ends before it,
    the last one before that end as well: Odoo may have thrown files away between the two.

    :param newest: id of the newest complete snapshot, as in its manifest.
    :param moment: time of the last transaction in the database.
    :raises SlipwayError: the repository does not have that snapshot.
    """
    mine = [
        {**one, "moment": parse_rfc3339(one["time"])}
        for one in snapshots
        if "kind=files" in (one.get("tags") or []) and f"site={site}" in (one.get("tags") or [])
    ]
    mine.sort(key=lambda one: one["moment"])
    base = next((one for one in mine if _is_snapshot(one, newest)), None)
    if base is None:
        raise SlipwayError(
            f"The repository of files has no snapshot {newest}, which the manifest names: it was removed, or lost its "
            "tags"
        )
    chosen = [one for one in mine if one["moment"] >= base["moment"]]
    if moment and moment < base["moment"]:
        before = [one for one in mine if one["moment"] <= moment]
        chosen = before[-1:] + chosen
    return chosen


def _is_snapshot(snapshot: Mapping[str, Any], wanted: str) -> bool:
    # Rewritten by "restic tag", a snapshot has another id, and says which it had.
    return bool(wanted) and any(
        str(snapshot.get(key) or "").startswith(wanted) for key in ("id", "short_id", "original")
    )


def parse_rfc3339(text: str) -> datetime:
    """Read a time with zone and up to nine decimals, such as restic writes it."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d(?::?\d\d)?)", text)
    if not match:
        raise SlipwayError(f"{text!r} is no time with a zone")
    zone = "+00:00" if match[4] == "Z" else match[4]
    if len(zone) == 3:
        zone += ":00"
    elif ":" not in zone:
        zone = f"{zone[:3]}:{zone[3:]}"
    return datetime.fromisoformat(f"{match[1]}T{match[2]}.{(match[3] or '0')[:6]:0<6}{zone}").astimezone(timezone.utc)


# ---- PostgreSQL


def pgbackrest_config(
    *, store: Mapping[str, Any], secrets: Mapping[str, str], prefix: str, stanza: str, directory: str, processes: int
) -> str:
    """Text of a private configuration file that reads the repository of a host and keeps to a directory."""
    address = re.fullmatch(r"https?://(\[[^]]+\]|[^:/]+)(?::(\d+))?/?", store["endpoint"])
    if not address:
        raise SlipwayError(f"The store's endpoint {store['endpoint']!r} is no address such as https://s3.example.com")
    options = {
        "repo1-type": "s3",
        "repo1-path": f"/{prefix.strip('/')}/pgbackrest",
        "repo1-s3-endpoint": address[1],
        "repo1-s3-bucket": store["bucket"],
        "repo1-s3-region": store["region"],
        "repo1-s3-uri-style": "path" if store.get("path_style") else "host",
        "repo1-s3-key": secrets["key_id"],
        "repo1-s3-key-secret": secrets["secret_key"],
        "repo1-cipher-type": "aes-256-cbc",
        "repo1-cipher-pass": secrets["database_passphrase"],
        "lock-path": f"{directory}/lock",
        "spool-path": f"{directory}/spool",
        "log-level-console": "warn",
        "log-level-file": "off",
        "log-level-stderr": "off",
        "process-max": str(processes),
    }
    if address[2]:
        options["repo1-storage-port"] = address[2]
    if store.get("ca"):
        options["repo1-storage-ca-file"] = store["ca"]
    lines = [f"{name}={value}" for name, value in options.items()]
    return "\n".join(["[global]", *lines, "", f"[{stanza}]", f"pg1-path={directory}/pg", ""])


def control_data(text: str) -> dict[str, str]:
    """Read what pg_controldata prints."""
    pairs = (line.partition(":") for line in text.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, _colon, value in pairs}


# A standby refuses to be read when one of these is lower than on the server that wrote the WAL, where they may have
# grown since: hence some more than the backup says.
_AT_LEAST = {
    "max_connections": ("max_connections setting", 300),
    "max_worker_processes": ("max_worker_processes setting", 32),
    "max_wal_senders": ("max_wal_senders setting", 32),
    "max_prepared_transactions": ("max_prepared_xacts setting", 32),
    "max_locks_per_transaction": ("max_locks_per_xact setting", 256),
}


def server_settings(*, control: Mapping[str, str], directory: str, port: int, restore_command: str, lsn: str) -> str:
    """Text of the scratch cluster's configuration: a socket in its own directory, and nothing that leaves it.

    fsync is off: should this machine go down, so may the scratch cluster.

    :param lsn: where recovery pauses; empty to replay all there is, and become a server of its own.
    """
    settings: dict[str, Any] = {
        "listen_addresses": "",
        "unix_socket_directories": f"{directory}/run",
        "unix_socket_permissions": "0777",
        "port": port,
        "cluster_name": "slipway-drill",
        "ssl": "off",
        "wal_level": "replica",
        "archive_mode": "off",
        "archive_command": "/bin/false",
        "primary_conninfo": "",
        "restore_command": restore_command,
        "recovery_target_timeline": "latest",
        "hot_standby": "on",
        "shared_preload_libraries": "",
        "session_preload_libraries": "",
        "local_preload_libraries": "",
        "shared_buffers": "128MB",
        "maintenance_work_mem": "128MB",
        "max_wal_size": "2GB",
        "fsync": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
        "autovacuum": "off",
        "jit": "off",
        "logging_collector": "off",
        "log_destination": "stderr",
        "lc_messages": "C",
        "timezone": "UTC",
        "log_timezone": "UTC",
    }
    if lsn:
        settings |= {
            "recovery_target_lsn": lsn,
            "recovery_target_inclusive": "off",
            "recovery_target_action": "pause",
        }
    for name, (field, least) in _AT_LEAST.items():
        settings[name] = max(2 * int(control.get(field, "0") or 0), least)
    lines = [f"{name} = '{str(value).replace(chr(39), 2 * chr(39))}'" for name, value in settings.items()]
    return "\n".join(["# The scratch cluster of a restore drill (slipway.odoo).", *lines, ""])


def access_rules(databases: Sequence[Mapping[str, str]], users: Mapping[str, str]) -> tuple[str, str]:
    """Return pg_hba.conf and pg_ident.conf: each instance's own Unix user reaches its own database, root all of them.

    No password, and nobody is trusted: the kernel says who is at the other end of the socket.

    :param users: the Unix user of each database.
    """
    rules = ['local all "postgres" peer map=drill']
    names = ['drill "root" "postgres"', 'drill "postgres" "postgres"']
    for database in databases:
        user = users.get(database["name"])
        if user:
            # Odoo looks for the state of its server in the database postgres.
            rules.append(f'local "{database["name"]}","postgres" "{database["owner"]}" peer map=drill')
            names.append(f'drill "{user}" "{database["owner"]}"')
    return "\n".join([*rules, ""]), "\n".join([*names, ""])


def compare_tables(expected: Mapping[str, Mapping[str, Any]], seen: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Say where tables are not those of the fingerprint."""
    faults = []
    for name in sorted(expected.keys() | seen.keys()):
        one, other = expected.get(name), seen.get(name)
        if other is None:
            faults.append(f"table {name} is missing, and had {one['rows']} rows" if one else f"table {name}")
        elif one is None:
            faults.append(f"table {name} is not in the manifest, and has {other['rows']} rows")
        elif one["rows"] != other["rows"]:
            faults.append(f"table {name} has {other['rows']} rows instead of {one['rows']}")
        elif str(one["hash"]) != str(other["hash"]):
            faults.append(f"table {name} has its {one['rows']} rows, but not their content: the hash differs")
    return faults


def compare_modules(expected: Mapping[str, Mapping[str, Any]], seen: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Say where modules, their versions or checksums are not those of the manifest."""
    faults = []
    for name in sorted(expected.keys() | seen.keys()):
        one, other = expected.get(name), seen.get(name)
        if other is None:
            faults.append(f"module {name} is not installed")
        elif one is None:
            faults.append(f"module {name} is installed, and is not in the manifest")
        elif one["version"] != other["version"]:
            faults.append(f"module {name} has version {other['version']} instead of {one['version']}")
        elif one.get("checksum") and one["checksum"] != other.get("checksum"):
            faults.append(f"module {name} was installed from other files than the manifest says")
    return faults


def parse_lsn(text: str) -> int:
    """Return a place in the WAL as a number."""
    high, _slash, low = text.partition("/")
    return int(high, 16) << 32 | int(low, 16)


def archived_to(info: Any, *, stanza: str) -> str:
    """Return the newest WAL segment in the archive, from ``pgbackrest --output=json info``.

    :raises SlipwayError: the repository cannot be read, or its archive is empty.
    """
    for found in info if isinstance(info, list) else []:
        for repository in found.get("repo", []):
            status = repository["status"]
            if status["code"] not in (0, 2):
                # What was decrypted with a wrong passphrase is no text.
                said = re.split(r"[^ -~]", " ".join(status["message"].split()))[0]
                raise SlipwayError(
                    f"The repository of stanza {stanza} cannot be read: {said.strip()[:400]} ... Is the passphrase the "
                    "one that it was made with, and is the key good for it?"
                )
        if found.get("name") == stanza:
            names = [archive.get("max") or "" for archive in found.get("archive", [])]
            if any(names):
                return max(names)
    raise SlipwayError(f"The repository holds no WAL of stanza {stanza}")


def segment_start(segment: str, *, size: int) -> int:
    """Return where a segment of WAL begins."""
    return (int(segment[8:16], 16) << 32) + int(segment[16:24], 16) * size


def wal_fault(*, newest: str, replayed: str, size: int) -> str:
    """Say what is wrong when recovery ended before the archive does; empty when nothing is.

    Recovery takes the first segment that is missing for the end, and says nothing.
    """
    end = parse_lsn(replayed)
    start = segment_start(newest, size=size)
    if end > start:
        return ""
    number = end // size
    per_file = 0x100000000 // size
    missing = f"{newest[:8]}{number // per_file:08X}{number % per_file:08X}"
    return (
        f"recovery ended at {replayed}, and the archive goes on to segment {newest}: segment {missing} is missing or "
        "cannot be read, and nothing after it can be restored on top of this backup. Make a full backup"
    )


# ---- files


@dataclasses.dataclass(frozen=True)
class Attachment:
    """A row of ir_attachment whose content is a file; ``changed`` is the later one of its creation and its change."""

    id: int
    name: str
    checksum: str | None
    size: int | None
    changed: datetime | None


def judge_attachments(
    attachments: Iterable[Attachment], faults: Mapping[str, str], *, saved: datetime
) -> tuple[list[str], list[Attachment]]:
    """Tell faults from files that are too young to be in the backup.

    :param faults: what is wrong with a file, by its name.
    :param saved: when the last snapshot began.
    """
    wrong: dict[str, str] = {}
    young = []
    for one in attachments:
        fault = faults.get(one.name)
        if not fault:
            continue
        if "missing" in fault and one.changed and one.changed > saved - TRANSACTION:
            young.append(one)
        else:
            wrong.setdefault(one.name, f"attachment {one.id}, file {one.name}: {fault}")
    return list(wrong.values()), young


# ---- Odoo

#: Options that would lead elsewhere, hide errors or change what the server does.
# fmt: off
_DROPPED = frozenset(
    (
        "db_password", "db_sslmode", "db_template", "db_replica_host", "db_replica_port", "dbfilter", "pidfile",
        "syslog", "log_db", "log_db_level", "log_handler", "logrotate", "smtp_server", "smtp_port", "smtp_user",
        "smtp_password", "smtp_ssl", "smtp_ssl_certificate_filename", "smtp_ssl_private_key_filename", "email_from",
        "gevent_port", "longpolling_port", "http_socket_activation", "x_sendfile", "proxy_mode", "dev_mode", "init",
        "update", "demo", "test_enable", "test_file", "test_tags", "stop_after_init", "reinit", "save",
        "i18n_overwrite",
    )
)
# fmt: on
#: Server-wide modules that would begin to work by themselves, or change the log's form.
_LEFT_OUT = frozenset(("queue_job", "slipway_json_log"))


def odoo_config(
    text: str,
    *,
    database: str,
    owner: str,
    socket: str,
    port: int,
    data_dir: str,
    password: str,
    moved: Mapping[str, str],
) -> str:
    """Turn an instance's configuration into one for the scratch copy: no mail, cron, workers or other database.

    :param moved: directories of addons that were restored, and where to.
    :raises SlipwayError: the text is no configuration.
    """
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise SlipwayError(f"The instance's configuration cannot be understood ({type(error).__name__})") from None
    if not parser.has_section("options"):
        parser.add_section("options")
    for name in _DROPPED:
        parser.remove_option("options", name)
    parser.remove_section("slipway")
    addons = [one.strip() for one in parser.get("options", "addons_path", fallback="").split(",") if one.strip()]
    modules = [one.strip() for one in parser.get("options", "server_wide_modules", fallback="").split(",")]
    modules = [one for one in modules if one and one not in _LEFT_OUT]
    options = {
        "db_host": socket,
        "db_port": str(port),
        "db_user": owner,
        "db_name": database,
        "dbfilter": f"^{re.escape(database)}$",
        "data_dir": data_dir,
        "http_interface": "127.0.0.1",
        "http_port": "8069",
        "list_db": "False",
        "workers": "0",
        "max_cron_threads": "0",
        "limit_memory_soft": "0",
        "limit_memory_hard": "0",
        "log_level": "info",
        "admin_passwd": password,
        # Nothing is there, even if there were a network.
        "smtp_server": "127.0.0.1",
        "smtp_port": "9",
    }
    if addons:
        options["addons_path"] = ",".join(_moved(one, moved) for one in addons)
    if modules:
        options["server_wide_modules"] = ",".join(modules)
    for name, value in options.items():
        parser.set("options", name, value)
    written = io.StringIO()
    parser.write(written)
    return written.getvalue()


def _moved(path: str, moved: Mapping[str, str]) -> str:
    for old, new in moved.items():
        if path == old or path.startswith(f"{old.rstrip('/')}/"):
            return new + path[len(old.rstrip("/")) :]
    return path


_ERROR = re.compile(r"^\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d[.,]\d{3}\S* \d+ (?:ERROR|CRITICAL) .*", re.MULTILINE)


def log_errors(text: str) -> list[str]:
    """Return the ERROR and CRITICAL lines of Odoo's log."""
    return _ERROR.findall(text)


# ---- report


def seconds_between(start: str, moment: datetime | None) -> float | None:
    """Return how long before the drill something was."""
    if moment is None:
        return None
    return round(max(0.0, (backup_manifest.parse_time(start) - moment).total_seconds()), 3)


def failed_checks(checks: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names of those that failed or were not reached."""
    return [check["name"] for check in checks if check["status"] != "passed"]


def message(report: Mapping[str, Any]) -> str:
    """One sentence about a drill."""
    failed = [check for check in report["checks"] if check["status"] == "failed"]
    unreached = [check["name"] for check in report["checks"] if check["status"] == "not reached"]
    if report["success"]:
        return (
            f"The restore drill succeeded: database {report['database']['label']} and files {report['files']['label']} "
            f"came back in {report['rto_s']:.0f} s, all {len(report['checks'])} checks passed"
        )
    parts = [f"{check['name']}: {_first(check['faults'])}" for check in failed]
    text = f"The restore drill failed. {'. '.join(part.rstrip('.') for part in parts)}"
    return text + (f". Not reached: {', '.join(unreached)}" if unreached else "")


def _first(faults: Sequence[str]) -> str:
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return f"{faults[0].rstrip('.')}{more}" if faults else "no fault is named"


def verification(report: Mapping[str, Any], kind: str) -> dict[str, Any] | None:
    """Return what the drill found out about the backup of a kind; None where it does not know.

    A drill may fail for want of room, network or key, which says nothing about the backup.
    """
    label = (report.get(kind) or {}).get("label")
    mine = [check for check in report["checks"] if check["name"] in EVIDENCE[kind]]
    if not label or not mine:
        return None
    faults = [fault for check in mine if check["damning"] for fault in check["faults"]]
    if faults:
        return {"good": False, "by": "drill", "time": report["finished"], "faults": faults[: SHOWN + 1]}
    if all(check["status"] == "passed" for check in mine):
        return {"good": True, "by": "drill", "time": report["finished"], "faults": []}
    return None


_METRICS = (
    ("success", "Whether the last restore drill passed every check.", "success"),
    ("timestamp_seconds", "When the last restore drill ended.", "ended"),
    ("duration_seconds", "How long the last restore drill took.", "duration_s"),
    ("rto_seconds", "From the start of the drill to the log-in on the restored copy.", "rto_s"),
    ("rpo_seconds", "Age of the last transaction that came back, at the start of the drill.", "rpo_s"),
    ("files_rpo_seconds", "Age of the last snapshot of the files, at the start of the drill.", "files_rpo_s"),
    ("checks_failed", "Checks that failed or were not reached.", "failures"),
    ("last_success_timestamp_seconds", "When a restore drill last passed every check.", "last_success"),
)


def metrics(report: Mapping[str, Any], *, last_success: str | None) -> str:
    """Return the Prometheus text of a drill; what was not measured is left out."""
    moment = report["finished"] if report["success"] else last_success
    values = {
        **report,
        "success": int(report["success"]),
        "ended": backup_manifest.parse_time(report["finished"]).timestamp(),
        "failures": len(report["failed"]),
        "last_success": backup_manifest.parse_time(moment).timestamp() if moment else None,
    }
    lines = []
    for name, words, key in _METRICS:
        if values.get(key) is not None:
            lines += [f"# HELP slipway_drill_{name} {words}", f"# TYPE slipway_drill_{name} gauge"]
            lines.append(f"slipway_drill_{name} {values[key]}")
    return "\n".join([*lines, ""])


def summary(report: Mapping[str, Any]) -> list[str]:
    """Return a report for humans, line by line."""
    lines = []
    for check in report["checks"]:
        mark = {"passed": "ok", "failed": "FAILED"}.get(check["status"], "not reached")
        lines.append(f"{mark:>11}  {check['name']} ({check['duration_s']:.1f} s): {check['seen'] or check['expected']}")
        lines += [f"{'':>13}{fault}" for fault in check["faults"][:5]]
    shown = {
        "RTO": (report["rto_s"], "from the start to the log-in, checks included"),
        "RTO without the checks": (report["rto_without_checks_s"], "as after a disaster"),
        "RPO of the database": (
            report["rpo_s"],
            "age of its last transaction; where nothing was written since, less is lost than that",
        ),
        "RPO of the files": (
            report["files_rpo_s"],
            f"age of the last snapshot; {report['not_yet_saved']} attachments are younger",
        ),
    }
    lines += [f"{name}: {value:.1f} s ({words})" for name, (value, words) in shown.items() if value is not None]
    lines += [f"note: {note}" for note in report["notes"]]
    return [*lines, report["message"]]
