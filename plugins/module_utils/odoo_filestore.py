# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Hold the files of a filestore against what the database says of them.

A file is named after the SHA-1 of its content, ``<data_dir>/filestore/<database>/<2 hex>/<sha1>``, so that
each can be verified by itself.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import os
import re
import stat
import time
from collections.abc import Iterable, Mapping

from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

_NAME = re.compile(r"[0-9a-f]{2,3}/[0-9a-f]{40}")
#: Storage of its own, such as OCA's fs_storage: `s3://…`.
_ELSEWHERE = re.compile(r"[\w.+-]+://")
_BLOCK = 1 << 20


@dataclasses.dataclass(frozen=True)
class StoredFile:
    """A file as the database knows it; ``checksum`` and ``size`` are None where it does not say."""

    name: str
    checksum: str | None = None
    size: int | None = None


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What was seen of a filestore.

    ``faults`` maps the name of a file to what is wrong with it. ``files`` were looked at, ``size`` is what
    they hold and ``hashed`` what of it was read, in bytes. ``elsewhere`` counts files that other storage
    holds, which nobody looked at.
    """

    faults: Mapping[str, str]
    files: int = 0
    size: int = 0
    hashed: int = 0
    elsewhere: int = 0
    seconds: float = 0.0


def filestore_directory(data_dir: str, database: str) -> str:
    """Where a database's files lie.

    :raises SlipwayError: the configuration names no data directory, or this host has no such filestore.
    """
    if not data_dir:
        raise SlipwayError("The configuration names no data_dir, so nothing says where the filestore lies")
    path = os.path.join(data_dir, "filestore", database)
    if not os.path.isdir(path):
        raise SlipwayError(
            f"There is no filestore {path} on this host, or this user cannot see it. Look as root, on a host that "
            "has the instance's data directory, or leave the attachments out of the checks"
        )
    return path


def inspect(directory: str, files: Iterable[StoredFile], *, hashes: bool, threads: int | None = None) -> Inspection:
    """Look for every file, and read each one if wanted.

    :param hashes: compare the content's SHA-1 too, and not only the size.
    :raises SlipwayError: a file may not be read, so nothing can be said of it.
    """
    started = time.monotonic()
    faults: dict[str, str] = {}
    wanted: dict[str, StoredFile] = {}
    elsewhere = 0
    for file in files:
        if _ELSEWHERE.match(file.name):
            elsewhere += 1
        elif not _NAME.fullmatch(file.name):
            # Never opened: it could lead anywhere.
            faults[file.name] = "its name is not that of a file in a filestore"
        else:
            known = wanted.get(file.name)
            if known and known != file:
                faults[file.name] = _contradiction(known, file)
            wanted.setdefault(file.name, file)
    # Reading and hashing let other threads run.
    workers = threads or min(8, 2 * (os.cpu_count() or 1))
    size = hashed = 0
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        seen = pool.map(lambda file: _look(directory, file, hashes=hashes), wanted.values())
        for file, (fault, length, read) in zip(wanted.values(), seen):
            size += length
            hashed += read
            if fault:
                faults[file.name] = fault
    return Inspection(
        faults=faults,
        files=len(wanted),
        size=size,
        hashed=hashed,
        elsewhere=elsewhere,
        seconds=round(time.monotonic() - started, 3),
    )


def _contradiction(one: StoredFile, other: StoredFile) -> str:
    return (
        f"attachments that share it do not agree on it: SHA-1 {one.checksum} with {one.size} bytes, "
        f"and SHA-1 {other.checksum} with {other.size} bytes"
    )


def _look(directory: str, file: StoredFile, *, hashes: bool) -> tuple[str, int, int]:
    """What is wrong with one file, its size, and how much of it was read."""
    path = os.path.join(directory, file.name)
    try:
        # A pipe in its place must not keep us waiting.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return "the file is missing", 0, 0
    except OSError as error:
        raise SlipwayError(f"{path} cannot be read: {error.strerror}. Run this as root or as Odoo's user") from error
    with open(handle, "rb", buffering=0) as stream:
        status = os.fstat(handle)
        length = status.st_size
        if not stat.S_ISREG(status.st_mode):
            return "it is not a file", 0, 0
        if file.size is not None and file.size != length:
            return f"the file has {length} bytes instead of {file.size}", length, 0
        if not hashes:
            return "", length, 0
        digest = hashlib.sha1(usedforsecurity=False)
        try:
            while True:
                block = stream.read(_BLOCK)
                if not block:
                    break
                digest.update(block)
        except OSError as error:
            return f"the file cannot be read: {error.strerror}", length, 0
    found = digest.hexdigest()
    if found != file.name.rpartition("/")[2]:
        return f"the file was altered: its SHA-1 is {found}", length, length
    if file.checksum and file.checksum != found:
        return f"its SHA-1 is {found}, and the database says {file.checksum}", length, length
    return "", length, length


def read_file(directory: str, name: str) -> bytes | None:
    """The content of one file; None when it is missing or its name leads elsewhere."""
    if not _NAME.fullmatch(name):
        return None
    try:
        with open(os.path.join(directory, name), "rb") as stream:
            return stream.read()
    except FileNotFoundError:
        return None
