# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The restore drill: restores the newest backups to a scratch place, looks at everything, and measures.

Nothing of it reaches the real database, its files, the network or mail. Whatever happens, a report is written: a drill
that cannot run has failed.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import signal
import time
import traceback
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils import backup_drill, backup_manifest, odoo_filestore
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

from . import drill_scratch, restic
from .config import Config
from .drill_boot import Boot, addons_of
from .drill_cluster import Cluster
from .drill_scratch import CommandError, DamageError, InterruptedDrill, beating
from .host import lock, now, read_json, say, tree_size, write, write_json
from .records import Records
from .store import Store, StoreError

#: Room that WAL, Odoo's own files and the like may need beside the backups.
MARGIN = 1 << 30
#: Reports that stay on this host.
KEPT = 24


class BrokenChainError(Exception):
    """What comes next in a chain of steps needs what just failed."""


def run_drill(config: Config) -> dict[str, Any]:
    """Restore, look, measure and report; returns the report's main figures.

    :raises SlipwayError: a check failed, with what failed in one message.
    """
    with lock("drill", wait=0, what="the restore drill"):
        drill = Drill(config)
        signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        before = {one: signal.signal(one, _interrupt) for one in signals}
        try:
            drill.run()
        except InterruptedDrill as error:
            drill.note_fault(str(error))
        except Exception as error:  # noqa: BLE001  whatever it is, the report must say that the drill failed
            say(traceback.format_exc())
            drill.note_fault(f"{type(error).__name__}: {error}")
        finally:
            for one in signals:
                # The second signal must not break the clearing up off; systemd has the last word.
                signal.signal(one, signal.SIG_IGN)
            report = drill.finish()
            for one, handler in before.items():
                signal.signal(one, handler)
    if not report["success"]:
        raise SlipwayError(report["message"])
    return {key: report[key] for key in ("finished", "duration_s", "rto_s", "rpo_s", "files_rpo_s", "message")}


def _interrupt(number: int, _frame: Any) -> None:
    raise InterruptedDrill(f"it was told to stop ({signal.Signals(number).name})")


class Drill:
    """One drill. Its chains go as far as they can, so that one report names every fault."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.started = backup_manifest.format_time(now())
        self._clock = time.monotonic()
        self.checks = {
            name: backup_drill.Check(name=name, expected=words) for name, words in backup_drill.CHECKS.items()
        }
        self.report: dict[str, Any] = {
            "schema": backup_drill.SCHEMA,
            "site": config["site"],
            "host": config["host"],
            "started": self.started,
            "database": None,
            "files": None,
            "rto_s": None,
            "rto_without_checks_s": None,
            "rpo_s": None,
            "files_rpo_s": None,
            "not_yet_saved": 0,
            "sizes": {},
            "notes": [],
        }
        self._faults: list[str] = []
        self._parent: pathlib.Path | None = None
        self._directory = pathlib.Path()
        self._manifests: dict[str, dict[str, Any]] = {}
        self._cluster: Cluster | None = None
        self._last: datetime | None = None
        self._up = False
        self._restored: dict[str, pathlib.Path] = {}
        self._roots: list[str] = []

    # ---- the frame

    def note_fault(self, fault: str) -> None:
        """Remember what ended the drill."""
        self._faults.append(fault)

    @contextlib.contextmanager
    def step(self, name: str, *, needed: bool = False) -> Iterator[backup_drill.Check]:
        """Do one check; what goes wrong inside is its fault.

        :param needed: what comes next in its chain needs it to run to its end, even if with faults.
        """
        check = self.checks[name]
        clock = time.monotonic()
        check.status = "failed"
        ended = False
        try:
            with beating(check.expected):
                yield check
        except DamageError as error:
            check.damning = True
            check.faults.append(str(error))
        except SlipwayError as error:
            check.damning = False
            check.faults.append(str(error))
        except (OSError, ValueError, LookupError) as error:
            check.damning = False
            check.faults.append(f"{type(error).__name__}: {error}")
        except BaseException:
            check.damning = False
            check.faults.append("it was broken off")
            raise
        else:
            ended = True
            if not check.faults:
                check.status = "passed"
        finally:
            check.duration_s = round(time.monotonic() - clock, 3)
            answer = check.seen if check.status == "passed" else "; ".join(check.faults[:3])
            verdict = "yes" if check.status == "passed" else "NO"
            # playbooks/drill.yml shows these lines as they come.
            say(f"drill: {check.expected}: {verdict} ({check.duration_s:.1f} s), {answer}")
        if needed and not ended:
            raise BrokenChainError

    def run(self) -> None:
        """Do all of it."""
        self._parent = pathlib.Path(self.config.part("drill")["directory"])
        try:
            self._find()
            name = f"run-{now():%Y%m%dT%H%M%SZ}"
            self._directory = drill_scratch.make(self._parent, name)
            self._room()
        except BrokenChainError:
            return
        good = True
        for chain in (self._database, self._files):
            try:
                chain()
            except BrokenChainError:
                good = False
        if good:
            with contextlib.suppress(BrokenChainError):
                self._odoo()

    def finish(self) -> dict[str, Any]:
        """Clear up and report, even if that is all that can be done."""
        try:
            if self._parent and self._parent.is_dir():
                say("drill: clearing up")
                drill_scratch.clear(self._parent)
        except (OSError, SlipwayError) as error:
            self.note_fault(f"clearing up {self._parent}: {error}")
        state = self.config.state
        path = backup_manifest.drill_path(self.started)
        unsent = self._keep(path)
        report = self._close()
        if unsent:
            check = self.checks["report_stored"]
            check.status, check.faults = "failed", [unsent]
            report = self._close()
            for place in (state, state / "unsent"):
                write_json(place / path, report)
        self._verifications(report)
        successes = [one for one in (read_json(old) for old in (state / "drills").glob("*.json")) if one.get("success")]
        last = max((str(one["finished"]) for one in successes), default=None)
        metrics = pathlib.Path(self.config["metrics_directory"]) / "slipway_drill.prom"
        try:
            write(metrics, backup_drill.metrics(report, last_success=last), mode=0o644)
        except OSError as error:
            say(f"drill: {metrics} cannot be written: {error}")
        for old in sorted((state / "drills").glob("*.json"))[:-KEPT]:
            old.unlink()
        for line in backup_drill.summary(report):
            say(f"drill: {line}")
        say(f"drill: report {state / path}")
        return report

    def _close(self) -> dict[str, Any]:
        checks = [check.document() for check in self.checks.values()]
        if self._faults:
            broken = backup_drill.Check(
                name="drill", expected="the drill runs to its end", status="failed", faults=self._faults
            )
            checks.insert(0, broken.document())
        finished = max(backup_manifest.format_time(now()), self.started)
        failed = backup_drill.failed_checks(checks)
        report = {
            **self.report,
            "finished": finished,
            "duration_s": round(time.monotonic() - self._clock, 3),
            "checks": checks,
            "failed": failed,
            "success": not failed,
        }
        return {**report, "message": backup_drill.message(report)}

    def _keep(self, path: str) -> str:
        """Keep the report here and in the store; returns what is wrong with the latter."""
        check = self.checks["report_stored"]
        check.status, check.seen = "passed", f"{self.config['prefix']}/{path}"
        try:
            Records(self.config).keep(path, self._close())
        except (OSError, SlipwayError) as error:
            return f"the report could not be kept: {error}"
        if (self.config.state / "unsent" / path).exists():
            return "the store does not take the report. It is kept on this host, and sent as soon as the store is back"
        return ""

    def _verifications(self, report: Mapping[str, Any]) -> None:
        for kind in backup_drill.EVIDENCE:
            found = backup_drill.verification(report, kind)
            if found:
                with contextlib.suppress(OSError):
                    Records(self.config).verification(
                        kind, report[kind]["label"], good=found["good"], by="drill", faults=found["faults"]
                    )

    # ---- what to restore

    def _find(self) -> None:
        drill = self.config.part("drill")
        broken = False
        for kind, name in (("database", "database_backup"), ("files", "files_backup")):
            try:
                with self.step(name, needed=True) as check:
                    found, passed_over = self._newest(kind, drill[f"{kind}_prefix"])
                    self.report["notes"] += passed_over[:5]
                    if found is None:
                        more = f" Passed over: {'; '.join(passed_over[:5])}" if passed_over else ""
                        raise SlipwayError(
                            f"the store does not have {check.expected} below "
                            f"{drill[f'{kind}_prefix']}/manifests/{kind}: make one with playbooks/backup.yml.{more}"
                        )
                    check.seen = f"{found['label']} of {found['started']}"
                    self._manifests[kind] = found
                    shown = ("label", "host", "type", "started", "size_bytes", "stored_bytes")
                    self.report[kind] = {key: found[key] for key in shown}
            except BrokenChainError:
                broken = True
        if broken:
            raise BrokenChainError

    def _newest(self, kind: str, prefix: str) -> tuple[dict[str, Any] | None, list[str]]:
        store = Store(self.config, prefix=prefix, reader=True)
        manifests, unreadable = [], []
        for key in store.list(f"manifests/{kind}/"):
            try:
                manifests.append(store.get_json(key))
            except StoreError as error:
                unreadable.append(f"{key}: {error}")
        # Newest last: the times in the keys sort as text.
        verdicts: dict[str, bool] = {}
        looks: dict[str, tuple[Store, str, str]] = {}
        for where in {prefix, self.config["prefix"]}:
            other = Store(self.config, prefix=where, reader=True)
            for key in other.list(f"verifications/{kind}/"):
                named = backup_manifest.parse_key(key)
                if named and named.time >= looks.get(named.label, (other, "", ""))[2]:
                    looks[named.label] = (other, key, named.time)
        for label, (where_from, key, _time) in looks.items():
            with contextlib.suppress(StoreError):
                verdicts[label] = bool(where_from.get_json(key).get("good"))
        bad = [label for label, good in verdicts.items() if not good]
        found, passed_over = backup_drill.choose(manifests, kind=kind, known_bad=bad)
        return found, [*unreadable, *passed_over]

    def _room(self) -> None:
        with self.step("room", needed=True) as check:
            need = sum(manifest["size_bytes"] or 0 for manifest in self._manifests.values())
            need += need // 10 + MARGIN
            free = shutil.disk_usage(self._directory).free
            check.seen = f"{free >> 20} MiB are free, {need >> 20} MiB are wanted"
            if free < need:
                raise SlipwayError(
                    f"{check.seen} in {self._directory.parent}: make room there, or give the drill another directory"
                )

    # ---- the database

    def _database(self) -> None:
        drill, manifest = self.config.part("drill"), self._manifests["database"]
        users = {instance["database"]: instance["user"] for instance in drill["files"]["instances"]}
        prints = [database["fingerprint"] for database in manifest["databases"]]
        lsn = prints[0]["lsn"]
        self.report["database"] |= {"lsn": lsn, "fingerprint_time": prints[0]["time"]}
        with self.step("database_restored", needed=True) as check:
            if any(one["lsn"] != lsn for one in prints):
                raise SlipwayError(f"the manifest of {manifest['label']} has fingerprints of several places in the WAL")
            self._cluster = cluster = Cluster(self.config, self._directory, users)
            archived = cluster.archived_to()
            try:
                cluster.restore(manifest["label"], lsn)
            except CommandError as error:
                if error.code in backup_drill.DAMAGE:
                    raise DamageError(str(error)) from None
                raise
            files, size = tree_size(cluster.data)
            self.report["sizes"]["database_bytes"] = size
            check.seen = f"{files} files, {size >> 20} MiB"
        with self.step("fingerprint_reached", needed=True) as check:
            cluster.start()
            check.seen = f"paused at {cluster.wait_paused()}, target {lsn}"
            self._last = cluster.last_transaction()
        self._compare(manifest)
        if self.checks["tables"].status == "passed":
            # What the fingerprint saw is here: no transaction from before it is lost, even if none came after.
            seen = backup_manifest.parse_time(prints[0]["time"])
            self._last = max(self._last or seen, seen)
        self._replay(archived)
        self._checksums(manifest)

    def _compare(self, manifest: Mapping[str, Any]) -> None:
        cluster = self._cluster
        assert cluster  # noqa: S101
        wanted = {database["name"]: database for database in manifest["databases"]}
        named = {database["name"] for database in self.config.part("drill")["database"]["databases"]}
        with self.step("tables") as check:
            check.damning = True
            count = rows = 0
            for name in sorted(named - wanted.keys()):
                check.faults.append(f"database {name} of the site is not in the backup's manifest")
            for name in sorted(wanted.keys() - cluster.names()):
                check.faults.append(f"database {name} is not in the backup")
            for name in sorted(wanted.keys() & cluster.names()):
                seen = cluster.tables(name)
                count += len(seen)
                rows += sum(table["rows"] for table in seen.values())
                found = backup_drill.compare_tables(wanted[name]["fingerprint"]["tables"], seen)
                check.faults += [f"database {name}: {fault}" for fault in found]
            check.seen = f"{count} tables with {rows} rows"
        with self.step("modules") as check:
            check.damning = True
            count = 0
            for name, database in wanted.items():
                seen = cluster.describe(name)
                count += len(seen["modules"])
                faults = backup_drill.compare_modules(database["modules"], seen["modules"])
                if database["uuid"] != seen["uuid"]:
                    faults.append(f"its database.uuid is {seen['uuid']} instead of {database['uuid']}")
                check.faults += [f"database {name}: {fault}" for fault in faults]
            check.seen = f"{count} modules"

    def _replay(self, archived: str) -> None:
        cluster = self._cluster
        assert cluster  # noqa: S101
        with self.step("wal_replayed", needed=True) as check:
            cluster.stop()
            cluster.recover_to("")
            cluster.start()
            end = cluster.wait_promoted()
            replayed = cluster.last_transaction()
            self._last = max((one for one in (replayed, self._last) if one), default=None)
            self.report["rpo_s"] = backup_drill.seconds_between(self.started, self._last)
            known = backup_manifest.format_time(self._last) if self._last else None
            self.report["database"] |= {"wal_end": end, "archived_to": archived, "last_transaction": known}
            check.seen = f"to {end}, archive ends with {archived}, last transaction {known or 'unknown'}"
            fault = backup_drill.wal_fault(newest=archived, replayed=end, size=cluster.segment_size)
            if fault:
                check.faults.append(fault)
        if self._last is None:
            self.report["notes"].append("no transaction was replayed, so the RPO of the database is not known")
        elif replayed is None:
            self.report["notes"].append("nothing was written after the backup: the RPO counts from its fingerprint")

    def _checksums(self, manifest: Mapping[str, Any]) -> None:
        cluster = self._cluster
        assert cluster  # noqa: S101
        with self.step("checksums") as check:
            cluster.stop()
            try:
                said = cluster.verify_checksums()
            except CommandError as error:
                if "not enabled" in str(error):
                    raise SlipwayError(
                        "the cluster has no data checksums, so a damaged page is not found out: stop PostgreSQL on the "
                        "database host in a quiet hour and run pg_checksums --enable"
                    ) from None
                if "verification failed" in str(error):
                    raise DamageError(str(error)) from None
                raise
            figures = dict(line.split(":", 1) for line in said.splitlines() if ":" in line)
            scanned, bad = (figures.get(name, "?").strip() for name in ("Blocks scanned", "Bad checksums"))
            check.seen = f"{scanned} blocks, {bad} bad"
        with self.step("indexes", needed=True) as check:
            cluster.start()
            self._up = True
            try:
                cluster.verify_indexes([database["name"] for database in manifest["databases"]])
                check.seen = "none is damaged"
            except CommandError as error:
                # pg_amcheck ends with 1 where it could not look.
                check.damning = error.code == 2
                check.faults.append(str(error))

    # ---- the files

    def _files(self) -> None:
        drill, manifest = self.config.part("drill"), self._manifests["files"]
        target = self._directory / "files"
        target.mkdir(mode=0o700)
        saved = now()
        with self.step("files_restored", needed=True) as check:
            restic.prepare_cache()
            repository = restic.Repository(self.config, prefix=drill["files_prefix"], reader=True)
            snapshots = backup_drill.choose_snapshots(
                repository.snapshots(),
                newest=manifest["files"]["snapshot"],
                site=self.config["site"],
                moment=self._last,
            )
            for snapshot in snapshots:
                say(f"drill: snapshot {snapshot['short_id']} of {snapshot['time']}")
                try:
                    repository("restore", snapshot["id"], "--target", str(target))
                except SlipwayError as error:
                    if backup_drill.is_damage(str(error)):
                        raise DamageError(str(error)) from None
                    raise
            saved = snapshots[-1]["moment"]
            self._roots = sorted({path for snapshot in snapshots for path in snapshot["paths"]})
            files, size = tree_size(target)
            self.report["files"]["snapshots"] = [snapshot["short_id"] for snapshot in snapshots]
            self.report["files"]["saved"] = backup_manifest.format_time(saved)
            self.report["sizes"]["files_bytes"] = size
            self.report["files_rpo_s"] = backup_drill.seconds_between(self.started, saved)
            check.seen = f"{len(snapshots)} snapshots, {files} files, {size >> 20} MiB"
        for instance in drill["files"]["instances"]:
            self._restored[instance["name"]] = target / instance["filestore"].lstrip("/")
        with self.step("files_intact") as check:
            check.damning = True
            count = size = 0
            for instance in drill["files"]["instances"]:
                store = self._restored[instance["name"]]
                names = [odoo_filestore.StoredFile(name) for name in _names(store)]
                found = odoo_filestore.inspect(str(store), names, hashes=True)
                count, size = count + found.files, size + found.size
                where = f"instance {instance['name']}: file"
                check.faults += [f"{where} {name}: {fault}" for name, fault in found.faults.items()]
            check.seen = f"{count} files, {size >> 20} MiB"
        self._attachments(saved)

    def _attachments(self, saved: datetime) -> None:
        cluster = self._cluster
        if not cluster or not self._up:
            return
        with self.step("attachments") as check:
            check.damning = True
            count = young = 0
            for instance in self.config.part("drill")["files"]["instances"]:
                rows = cluster.attachments(instance["database"])
                files = {odoo_filestore.StoredFile(row.name, row.checksum, row.size) for row in rows}
                found = odoo_filestore.inspect(str(self._restored[instance["name"]]), files, hashes=False)
                faults, new = backup_drill.judge_attachments(rows, found.faults, saved=saved)
                count, young = count + len(rows), young + len(new)
                check.faults += [f"instance {instance['name']}: {fault}" for fault in faults]
            self.report["not_yet_saved"] = young
            check.seen = f"{count} attachments, {young} not yet saved"

    # ---- Odoo

    def _odoo(self) -> None:
        drill, cluster = self.config.part("drill"), self._cluster
        assert cluster  # noqa: S101
        owners = {database["name"]: database["owner"] for database in drill["database"]["databases"]}
        boots = []
        with self.step("odoo_neutralised", needed=True) as check:
            for instance in drill["files"]["instances"]:
                text, where = self._configuration(instance)
                boot = Boot(
                    instance=instance,
                    odoo=drill["files"]["odoo_bin"],
                    owner=owners[instance["database"]],
                    directory=self._directory,
                    cluster=cluster,
                    config=text,
                    moved=self._moved(instance, text),
                )
                boot.take_files(self._restored[instance["name"]])
                boot.neutralise()
                boots.append(boot)
                check.seen += f"{', ' if check.seen else ''}{instance['name']} with its configuration from {where}"
        with self.step("odoo_boots", needed=True) as check:
            for boot in boots:
                boot.load()
            check.seen = f"{len(boots)} instances, no ERROR in the log"
        with self.step("odoo_login") as check:
            seen = [boot.log_in() for boot in boots]
            check.seen = "; ".join(
                f"user {one['uid']} of Odoo {one['version']} after {one['logged_in_s']} s" for one in seen
            )
            self.report["rto_s"] = round(time.monotonic() - self._clock, 3)
        if self.checks["odoo_login"].status == "passed":
            spent = sum(self.checks[name].duration_s for name in backup_drill.ONLY_CHECKS)
            self.report["rto_without_checks_s"] = round(self.report["rto_s"] - spent, 3)

    def _configuration(self, instance: Mapping[str, Any]) -> tuple[str, str]:
        """Text of an instance's configuration: that of the backup, else this host's."""
        path = pathlib.Path(instance["config_file"])
        restored = self._directory / "files" / str(path).lstrip("/")
        if restored.is_file():
            return restored.read_text(), "the backup"
        if path.is_file():
            self.report["notes"].append(f"{path} is not in the backup of the files: this host's own was taken")
            return path.read_text(), "this host"
        raise SlipwayError(f"{path} is neither in the backup of the files nor on this host")

    def _moved(self, instance: Mapping[str, Any], text: str) -> dict[str, str]:
        """Directories of addons that came back with the files, and where they are now."""
        moved = {}
        for path in sorted({*instance["addons"], *addons_of(text)}):
            restored = self._directory / "files" / path.lstrip("/")
            if restored.is_dir() and any(path == root or path.startswith(f"{root}/") for root in self._roots):
                place = drill_scratch.passage(self._directory / "addons") / path.strip("/").replace("/", "-")
                if not place.exists():
                    shutil.copytree(restored, place, symlinks=True)
                moved[path] = str(place)
        return moved


def _names(store: pathlib.Path) -> list[str]:
    """Files of a filestore by their names; Odoo's list of files to look at when it cleans up is none of them."""
    found = []
    for root, directories, files in os.walk(store):
        if pathlib.Path(root) == store:
            directories[:] = [name for name in directories if name != "checklist"]
        found += [os.path.relpath(os.path.join(root, name), store) for name in files]
    return found
