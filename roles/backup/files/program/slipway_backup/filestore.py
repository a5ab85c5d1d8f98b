# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restore on an application host: a filestore beside the live one, every file held against its name.

A file is named after the SHA-1 of its content and never changes. So the union of the snapshots around a moment holds
all that a database of that moment needs, a damaged file is known for one, and any other snapshot, and the live
filestore, may give what one snapshot lacks.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import json
import os
import pathlib
import pwd
import re
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils import backup_restore as thinking
from ansible_collections.slipway.odoo.plugins.module_utils import odoo_config, odoo_db, odoo_filestore
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

from . import host, restic
from .config import Config
from .store import Store, StoreError

FILE = re.compile(r"[0-9a-f]{2}/[0-9a-f]{40}", re.ASCII)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", re.ASCII)
LOCK = "restore-files"
SUFFIX = ".slipway-restoring"
"""Of a directory that is not finished. No database can have such a name beside: it is only ever ours."""

BESIDE, KEPT, LIVE = "beside", "kept", "live"
SHOWN = 20
_BLOCK = 1 << 20


# ---- where things are


def parent_of(instance: Mapping[str, Any]) -> pathlib.Path:
    """The directory that holds the filestores of an instance, one for each database."""
    return pathlib.Path(instance["filestore"]).parent


def require_free_name(config: Config, name: str) -> None:
    """Refuse a name that is that of something live."""
    if not NAME.fullmatch(name):
        raise SlipwayError(
            f"{name!r} is no name of a database: letters, digits, dots, dashes and underscores, at most 63"
        )
    live = [entry["database"] for entry in config.part("files")["instances"]]
    if name in live:
        raise SlipwayError(f"{name} is the filestore of a live database: choose another name")


def _mark_path(config: Config, instance: Mapping[str, Any], name: str) -> pathlib.Path:
    return config.state / "filestores" / instance["name"] / f"{name}.json"


def mark(config: Config, instance: Mapping[str, Any], name: str, state: str) -> None:
    """Remember what a filestore is, so that a later run knows what it may remove."""
    host.write_json(_mark_path(config, instance, name), {"state": state, "since": _iso(host.now())})


def state_of(config: Config, instance: Mapping[str, Any], name: str) -> str:
    """What a filestore is; empty where nobody wrote it down."""
    return str(host.read_json(_mark_path(config, instance, name)).get("state") or "")


def forget(config: Config, instance: Mapping[str, Any], name: str) -> None:
    """Forget what a filestore was."""
    _mark_path(config, instance, name).unlink(missing_ok=True)


def require_replaceable(config: Config, instance: Mapping[str, Any], name: str, *, replace: bool) -> None:
    """Refuse a directory that is there already, unless it is what an earlier restore left and that is meant."""
    path = parent_of(instance) / name
    if not path.exists() or not any(path.iterdir()):
        return
    if replace and state_of(config, instance, name) == BESIDE:
        return
    raise SlipwayError(f"there is a filestore {path} already. Choose another name, or take it away first")


# ---- what the repository has


def find_snapshots(
    config: Config, repository: restic.Repository
) -> tuple[list[thinking.Snapshot], dict[str, Mapping[str, Any]]]:
    """The snapshots of files in the repository, and manifests by label."""
    manifests = read_manifests(config)
    found = []
    for entry in repository.snapshots(kind="files"):
        label = restic.tag(entry, "label") or ""
        document = manifests.get(label)
        complete = restic.tag(entry, "complete") != "no"
        if document is not None:
            complete = (
                complete
                and document.get("state") != "bad"
                and bool((document.get("files") or {}).get("complete", True))
            )
        found.append(thinking.Snapshot(id=entry["id"], time=_time(entry["time"]), complete=complete, label=label))
    return found, manifests


def read_manifests(config: Config) -> dict[str, Mapping[str, Any]]:
    """Manifests of this host's snapshots of files, by label; without any a restore works as well."""
    try:
        store = Store(config)
        documents = [store.get_json(key) for key in store.list("manifests/files/")]
    except StoreError as error:
        host.say(f"note: no manifests from the store: {error}")
        documents = [host.read_json(path) for path in sorted((config.state / "manifests/files").glob("*.json"))]
    return {str(document["label"]): document for document in documents if document.get("label")}


def _time(text: str) -> datetime:
    """A time of restic's, which has nine digits after the second."""
    return thinking.parse_time(text)


def path_then(document: Mapping[str, Any] | None, instance: Mapping[str, Any]) -> str:
    """Where an instance's filestore was when a snapshot was made."""
    for entry in ((document or {}).get("files") or {}).get("instances") or ():
        if entry.get("name") == instance["name"]:
            return str(entry["filestore"])
    return str(instance["filestore"])


def choose(
    config: Config, repository: restic.Repository, moment: datetime | None
) -> tuple[list[thinking.Snapshot], list[thinking.Snapshot], dict[str, Mapping[str, Any]]]:
    """The snapshots to take, those to fall back to, and the manifests."""
    snapshots, manifests = find_snapshots(config, repository)
    chosen = thinking.choose_snapshots(snapshots, moment)
    return chosen, thinking.fallbacks(snapshots, chosen, moment), manifests


def parse_moment(text: str) -> datetime | None:
    """``--to-time``: None for the newest."""
    return None if text.strip().lower() == thinking.LATEST else thinking.parse_time(text)


# ---- verb: restore-files-plan


def restore_files_plan(config: Config, options: argparse.Namespace) -> dict[str, Any]:
    """Say which snapshots a restore of files would take, and change nothing."""
    instance = config.files_of(options.instance)
    if options.name:
        require_free_name(config, options.name)
        require_replaceable(config, instance, options.name, replace=options.replace)
    restic.prepare_cache()
    chosen, _others, _manifests = choose(config, restic.Repository(config, reader=True), parse_moment(options.to_time))
    return {"instance": instance["name"], "snapshots": [_shown(one) for one in chosen]}


def _shown(one: thinking.Snapshot) -> dict[str, Any]:
    return {"id": one.id[:8], "time": _iso(one.time), "label": one.label, "complete": one.complete}


# ---- verb: restore-files


def restore_files(config: Config, options: argparse.Namespace) -> dict[str, Any]:
    """Restore the filestore of an instance beside the live one, for a database of another name."""
    with host.lock(LOCK, wait=0, what="slipway-backup restore-files"):
        return _restore_files(config, options)


def _restore_files(config: Config, options: argparse.Namespace) -> dict[str, Any]:
    began = time.monotonic()
    instance = config.files_of(options.instance)
    require_free_name(config, options.name)
    require_replaceable(config, instance, options.name, replace=options.replace)
    moment = parse_moment(options.to_time)
    restic.prepare_cache()
    # It only reads: a lock that a killed run left in the repository does not concern it.
    repository = restic.Repository(config, reader=True)
    chosen, others, manifests = choose(config, repository, moment)

    parent = parent_of(instance)
    work, final = parent / f"{options.name}{SUFFIX}", parent / options.name
    _make_parent(parent, instance["user"])
    if work.exists():
        host.say(f"removing what a run that was killed left: {work}")
        shutil.rmtree(work)
    require_space(parent, manifests, chosen, instance)
    work.mkdir(mode=0o750)
    expected: dict[str, str] = {}
    notes: list[str] = []
    for snapshot in chosen:
        path = path_then(manifests.get(snapshot.label), instance)
        names = list_files(repository, snapshot.id, path)
        if names is None:
            notes.append(f"snapshot {snapshot.id[:8]} of {_iso(snapshot.time)} has no {path}")
            host.say(f"note: {notes[-1]}")
            continue
        new = [name for name in names if name not in expected]
        if new:
            host.say(f"snapshot {snapshot.id[:8]} of {_iso(snapshot.time)}: {len(new)} files")
            fetch(repository, snapshot.id, path, work, everything=len(new) == len(names), names=new)
        expected.update(dict.fromkeys(new, snapshot.id))
    bad = verify(work, expected)
    mended = mend(repository, [*chosen, *others], manifests, instance, work, bad)
    lost = {name: fault for name, fault in bad.items() if name not in mended}
    for name in lost:
        (work / name).unlink(missing_ok=True)
    remove_strange(work)
    count, size = host.tree_size(work)
    give(work, instance["user"])
    _put_in_place(work, final)
    mark(config, instance, options.name, BESIDE)
    if lost:
        host.say(f"{len(lost)} files are damaged in every snapshot: {'; '.join(sorted(lost)[:SHOWN])}")
    return {
        "name": options.name,
        "instance": instance["name"],
        "directory": str(final),
        "files": count,
        "bytes": size,
        "snapshots": [_shown(one) for one in chosen],
        "mended": sorted(mended)[:SHOWN],
        "damaged_count": len(lost),
        "damaged": dict(sorted(lost.items())[:SHOWN]),
        "notes": notes,
        "seconds": round(time.monotonic() - began, 2),
    }


def _make_parent(parent: pathlib.Path, user: str) -> None:
    if not parent.is_dir():
        parent.mkdir(mode=0o750, parents=False)
        shutil.chown(parent, user, user)


def require_space(
    parent: pathlib.Path,
    manifests: Mapping[str, Mapping[str, Any]],
    chosen: Sequence[thinking.Snapshot],
    instance: Mapping[str, Any],
) -> None:
    """Refuse to begin what would fill the disk."""
    wanted = max(
        (
            int(entry.get("bytes") or 0)
            for one in chosen
            for entry in (manifests.get(one.label, {}).get("files") or {}).get("instances") or ()
            if entry.get("name") == instance["name"]
        ),
        default=0,
    )
    free = shutil.disk_usage(parent).free
    if wanted and free < wanted * 1.1 + (1 << 26):
        raise SlipwayError(
            f"{parent} has {free >> 20} MiB free, and the filestore takes {wanted >> 20} MiB. Make room first"
        )


def list_files(repository: restic.Repository, snapshot: str, path: str) -> list[str] | None:
    """Names of the filestore's files in a snapshot; None where it does not hold that directory."""
    said = repository("ls", "--json", "--recursive", snapshot, path)
    names, there = [], False
    for line in said.splitlines():
        node = json.loads(line)
        if node.get("struct_type") != "node" and node.get("message_type") != "node":
            continue
        if node["path"] == path or node["path"].startswith(f"{path}/"):
            there = True
        name = node["path"][len(path) + 1 :]
        if node.get("type") == "file" and FILE.fullmatch(name):
            names.append(name)
    return names if there else None


def fetch(
    repository: restic.Repository,
    snapshot: str,
    path: str,
    work: pathlib.Path,
    *,
    everything: bool,
    names: Sequence[str],
) -> None:
    """Fetch files of a snapshot into the directory.

    What cannot be read of the repository is left out here, and found when all is held against the names.
    """
    if _version(repository) >= (0, 17):
        if everything:
            _tolerant(repository, "restore", f"{snapshot}:{path}", "--target", str(work), "--overwrite", "never")
        else:
            # A path on each line, as in the snapshot below its directory.
            listed = work.with_name(f"{work.name}.names")
            host.write(listed, "".join(f"/{name}\n" for name in names))
            try:
                _tolerant(
                    repository, "restore", f"{snapshot}:{path}", "--target", str(work), "--overwrite", "never",
                    f"--include-file={listed}",
                )  # fmt: skip
            finally:
                listed.unlink()
        return
    # An older restic restores below the whole path, and over what is there.
    stage = work.with_name(f"{work.name}.stage")
    shutil.rmtree(stage, ignore_errors=True)
    _tolerant(repository, "restore", snapshot, "--target", str(stage), "--include", path)
    for name in names:
        source, target = stage / path.lstrip("/") / name, work / name
        if source.exists() and not target.exists():
            target.parent.mkdir(exist_ok=True)
            os.rename(source, target)
    shutil.rmtree(stage, ignore_errors=True)


def _version(repository: restic.Repository) -> tuple[int, int]:
    found = re.match(r"restic (\d+)\.(\d+)", repository("version"))
    return (int(found.group(1)), int(found.group(2))) if found else (0, 0)


def _tolerant(repository: restic.Repository, *words: str) -> None:
    try:
        repository(*words)
    except SlipwayError as error:
        host.say(f"note: {error}")


def verify(directory: pathlib.Path, names: Iterable[str]) -> dict[str, str]:
    """Hold every file against its name; returns what is wrong by name."""
    host.say("holding every file against its name")
    wanted = list(names)
    found = odoo_filestore.inspect(str(directory), (odoo_filestore.StoredFile(name) for name in wanted), hashes=True)
    return dict(found.faults)


def mend(
    repository: restic.Repository,
    snapshots: Sequence[thinking.Snapshot],
    manifests: Mapping[str, Mapping[str, Any]],
    instance: Mapping[str, Any],
    work: pathlib.Path,
    bad: Mapping[str, str],
) -> set[str]:
    """Take each damaged file from the live filestore or from another snapshot; returns the names that are whole now."""
    mended = set(copy_from(pathlib.Path(instance["filestore"]), work, bad, instance["user"]))
    for snapshot in snapshots:
        if len(mended) == len(bad):
            break
        path = path_then(manifests.get(snapshot.label), instance)
        for name in sorted(set(bad) - mended):
            content = dump_file(repository, snapshot.id, f"{path}/{name}")
            if content is not None and hashlib.sha1(content, usedforsecurity=False).hexdigest() == name[3:]:
                _write(work / name, content)
                mended.add(name)
    return mended


def dump_file(repository: restic.Repository, snapshot: str, path: str) -> bytes | None:
    """The content of one file of a snapshot, if it can be read."""
    done = subprocess.run(
        ["restic", *repository._options, "dump", snapshot, path],
        env={**os.environ, **repository.environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    return done.stdout if done.returncode == 0 else None


def _write(path: pathlib.Path, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f"{path.name}.part")
    temporary.write_bytes(content)
    os.chmod(temporary, 0o640)
    os.replace(temporary, path)


def copy_from(source: pathlib.Path, target: pathlib.Path, names: Iterable[str], user: str) -> list[str]:
    """Copy files that are whole from one filestore to another; returns their names."""
    copied = []
    owner = pwd.getpwnam(user)
    for name in names:
        if not FILE.fullmatch(name):
            continue
        try:
            content = (source / name).read_bytes()
        except OSError:
            continue
        if hashlib.sha1(content, usedforsecurity=False).hexdigest() == name[3:]:
            _write(target / name, content)
            os.chown((target / name).parent, owner.pw_uid, owner.pw_gid)
            os.chown(target / name, owner.pw_uid, owner.pw_gid)
            copied.append(name)
    return copied


def remove_strange(work: pathlib.Path) -> None:
    """Remove what is no file of a filestore, such as Odoo's checklist of files to collect, which is of another time."""
    for root, directories, names in os.walk(work):
        if "checklist" in directories and pathlib.Path(root) == work:
            directories.remove("checklist")
            shutil.rmtree(work / "checklist")
        for name in names:
            path = pathlib.Path(root) / name
            if not FILE.fullmatch(path.relative_to(work).as_posix()):
                path.unlink()


def give(work: pathlib.Path, user: str) -> None:
    """Give all of it to the instance's user, whatever number that had when the snapshot was made."""
    owner = pwd.getpwnam(user)
    for root, _directories, names in os.walk(work):
        os.chown(root, owner.pw_uid, owner.pw_gid)
        os.chmod(root, 0o750)  # noqa: S103  as Odoo makes them: the web server's group reads
        for name in names:
            path = os.path.join(root, name)
            os.chown(path, owner.pw_uid, owner.pw_gid, follow_symlinks=False)


def _put_in_place(work: pathlib.Path, final: pathlib.Path) -> None:
    if final.exists():
        # require_replaceable has looked: empty, or what an earlier restore left.
        shutil.rmtree(final)
    os.rename(work, final)


# ---- verb: check-files


def check_files(config: Config, options: argparse.Namespace) -> dict[str, Any]:
    """Hold the files that a database names against the disk."""
    instance = config.files_of(options.instance)
    directory = parent_of(instance) / options.database
    names = read_names(options, instance)
    host.say(f"{options.database}: {len(names)} files in {directory}")
    faults = look(directory, names)
    filled: list[str] = []
    if options.fill and faults and str(directory) != instance["filestore"]:
        directory.mkdir(mode=0o750, exist_ok=True)
        shutil.chown(directory, instance["user"], instance["user"])
        filled = copy_from(pathlib.Path(instance["filestore"]), directory, sorted(faults), instance["user"])
        host.say(f"{len(filled)} files were only in the live filestore, and are copied from there")
        faults = {name: fault for name, fault in faults.items() if name not in set(filled)}
    missing = sorted(name for name, fault in faults.items() if fault == "the file is missing")
    wrong = {name: fault for name, fault in sorted(faults.items()) if fault != "the file is missing"}
    return {
        "database": options.database,
        "directory": str(directory),
        "files": len(names),
        "filled": len(filled),
        "missing_count": len(missing),
        "missing": missing[:SHOWN],
        "wrong_count": len(wrong),
        "wrong": dict(list(wrong.items())[:SHOWN]),
        "good": not faults,
    }


def look(directory: pathlib.Path, names: Collection[str]) -> dict[str, str]:
    """What is wrong with the files that a database names; storage elsewhere is not looked at."""
    if not names:
        return {}
    if not directory.is_dir():
        return dict.fromkeys(names, "the file is missing")
    return dict(
        odoo_filestore.inspect(str(directory), (odoo_filestore.StoredFile(name) for name in names), hashes=True).faults
    )


def read_names(options: argparse.Namespace, instance: Mapping[str, Any]) -> list[str]:
    """Names of the files of a database: given as attachment-names writes them, or asked as Odoo would ask."""
    if options.names_from == "-":
        try:
            document = json.load(sys.stdin)
            text = zlib.decompress(base64.b64decode(document["packed"])).decode()
            names = [name for name in text.split("\n") if name]
        except (ValueError, KeyError, TypeError, zlib.error) as error:
            raise SlipwayError(
                f"standard input is not what `slipway-backup attachment-names` writes: {error}"
            ) from None
        if len(names) != document.get("count"):
            raise SlipwayError(f"standard input holds {len(names)} names instead of {document.get('count')}")
        return names
    config = odoo_config.load_config(instance["config_file"], user=instance["user"])
    with contextlib.closing(odoo_db.connect(config, options.database)) as connection:
        query = "SELECT DISTINCT store_fname FROM ir_attachment WHERE store_fname IS NOT NULL AND store_fname <> ''"
        return [name for (name,) in odoo_db.rows(connection, query)]


# ---- verbs: swap-files, drop-kept-files


def swap_files(config: Config, options: argparse.Namespace) -> dict[str, Any]:
    """Exchange names: the restored filestore becomes the live one, the live one is kept."""
    with host.lock(LOCK, wait=30, what="slipway-backup swap-files"):
        instance = config.files_of(options.instance)
        require_free_name(config, options.name)
        require_free_name(config, options.keep_as)
        live, parent = pathlib.Path(instance["filestore"]), parent_of(instance)
        new, old = parent / options.name, parent / options.keep_as
        if options.undo:
            return _undo_swap(config, instance, live, new, old)
        if not new.is_dir():
            raise SlipwayError(f"there is no filestore {new} to become {live}. Nothing was changed")
        if state_of(config, instance, new.name) != BESIDE:
            raise SlipwayError(f"{new} is not a finished restore. Nothing was changed")
        if old.exists():
            raise SlipwayError(f"there is {old} already: keep {live} under another name. Nothing was changed")
        if live.exists():
            mark(config, instance, old.name, KEPT)
            os.rename(live, old)
        os.rename(new, live)
        forget(config, instance, new.name)
        return {"live": str(live), "kept": str(old) if old.exists() else None}


def _undo_swap(
    config: Config, instance: Mapping[str, Any], live: pathlib.Path, new: pathlib.Path, old: pathlib.Path
) -> dict[str, Any]:
    """Put the names back as they were before a swap, however far it came."""
    swapped = not new.exists() and live.exists()
    if old.exists() and state_of(config, instance, old.name) == KEPT:
        if swapped:
            mark(config, instance, new.name, BESIDE)
            os.rename(live, new)
        if not live.exists():
            os.rename(old, live)
        forget(config, instance, old.name)
    elif swapped and not state_of(config, instance, new.name):
        # There was no live filestore before.
        mark(config, instance, new.name, BESIDE)
        os.rename(live, new)
    return {"live": str(live) if live.exists() else None, "kept": str(new) if new.exists() else None}


def drop_kept_files(config: Config, options: argparse.Namespace) -> dict[str, Any]:
    """Remove a filestore that a restore made or kept."""
    with host.lock(LOCK, wait=30, what="slipway-backup drop-kept-files"):
        instance = config.files_of(options.instance)
        require_free_name(config, options.name)
        path = parent_of(instance) / options.name
        if not path.exists():
            forget(config, instance, options.name)
            return {"dropped": None}
        if state_of(config, instance, options.name) not in (KEPT, BESIDE):
            raise SlipwayError(f"{path} is not one that a restore kept or made. It was left as it is")
        shutil.rmtree(path)
        forget(config, instance, options.name)
        return {"dropped": str(path)}


# ---- small things


def _iso(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def add_verbs(verbs: Any) -> None:
    """Add the verbs of this module to the program's; each sets ``action``, which takes configuration and options."""

    def verb(name: str, action: Callable[[Config, argparse.Namespace], dict[str, Any]]) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = verbs.add_parser(name, help=(action.__doc__ or "").splitlines()[0])
        parser.add_argument("--instance", required=True)
        parser.set_defaults(action=action)
        return parser

    for name, action in (("restore-files-plan", restore_files_plan), ("restore-files", restore_files)):
        parser = verb(name, action)
        parser.add_argument(
            "--to-time", required=True, metavar="latest|TIME", help="the time of the database; with its zone"
        )
        parser.add_argument(
            "--as", dest="name", required=action is restore_files, default="", help="name of the restored database"
        )
        parser.add_argument(
            "--replace", action="store_true", help="replace what an earlier restore left under that name"
        )

    check = verb("check-files", check_files)
    check.add_argument("--database", required=True)
    check.add_argument(
        "--names-from", default="", metavar="-", help="- reads what attachment-names wrote from standard input"
    )
    check.add_argument("--fill", action="store_true", help="take what is missing from the live filestore")

    swap = verb("swap-files", swap_files)
    swap.add_argument("--new", dest="name", required=True, help="the restored filestore")
    swap.add_argument("--keep-as", required=True, help="name to keep the present one under")
    swap.add_argument("--undo", action="store_true", help="put the names back")

    drop = verb("drop-kept-files", drop_kept_files)
    drop.add_argument("--name", required=True)
