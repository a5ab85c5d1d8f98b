"""Files of a filestore against what the database says of them."""

from __future__ import annotations

import hashlib
import os

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_filestore import (
    StoredFile,
    filestore_directory,
    inspect,
    read_file,
)

CONTENT = b"a picture" * 300_000
SHA1 = hashlib.sha1(CONTENT).hexdigest()  # noqa: S324
NAME = f"{SHA1[:2]}/{SHA1}"
GOOD = StoredFile(NAME, SHA1, len(CONTENT))


@pytest.fixture
def store(tmp_path):
    path = tmp_path / NAME
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    return tmp_path


def faults(store, *files, hashes=True):
    return dict(inspect(str(store), files, hashes=hashes).faults)


def test_a_good_file(store):
    seen = inspect(str(store), [GOOD, GOOD], hashes=True)
    assert (dict(seen.faults), seen.files, seen.size, seen.hashed) == ({}, 1, len(CONTENT), len(CONTENT))
    seen = inspect(str(store), [GOOD], hashes=False)
    assert (dict(seen.faults), seen.size, seen.hashed) == ({}, len(CONTENT), 0)


def test_what_the_database_does_not_say_is_not_asked(store):
    assert faults(store, StoredFile(NAME)) == {}


def test_no_files_at_all(tmp_path):
    assert inspect(str(tmp_path / "nowhere"), [], hashes=True).files == 0


@pytest.mark.parametrize("hashes", [True, False])
def test_a_missing_file(store, hashes):
    (store / NAME).unlink()
    assert faults(store, GOOD, hashes=hashes) == {NAME: "the file is missing"}
    (store / NAME).parent.rmdir()
    assert faults(store, GOOD, hashes=hashes) == {NAME: "the file is missing"}


@pytest.mark.parametrize("hashes", [True, False])
def test_a_shorter_file(store, hashes):
    (store / NAME).write_bytes(b"")
    assert faults(store, GOOD, hashes=hashes) == {NAME: f"the file has 0 bytes instead of {len(CONTENT)}"}


def test_an_altered_file_of_the_same_size(store):
    (store / NAME).write_bytes(b"A" + CONTENT[1:])
    assert "the file was altered: its SHA-1 is" in faults(store, GOOD)[NAME]
    assert faults(store, GOOD, hashes=False) == {}


def test_a_checksum_that_is_not_the_file_s(store):
    other = "0" * 40
    assert faults(store, StoredFile(NAME, other, len(CONTENT))) == {
        NAME: f"its SHA-1 is {SHA1}, and the database says {other}"
    }


def test_attachments_that_disagree_on_a_shared_file(store):
    assert "do not agree" in faults(store, GOOD, StoredFile(NAME, SHA1, 1))[NAME]


@pytest.mark.parametrize(
    "name",
    [
        "../../../etc/shadow",
        "/etc/passwd",
        f"../{SHA1}",
        f"{SHA1[:2]}/../{SHA1}",
        "x",
        f"{NAME}\n",
        f"{NAME}/x",
        "ab/" + "g" * 40,
    ],
)
def test_a_name_that_leads_elsewhere_is_never_opened(store, name, monkeypatch):
    monkeypatch.setattr(os, "open", lambda *_arguments: pytest.fail("opened"))
    assert faults(store, StoredFile(name)) == {name: "its name is not that of a file in a filestore"}


def test_other_storage_is_counted(store):
    seen = inspect(str(store), [StoredFile("s3://bucket/x"), StoredFile("sftp+v2://x"), GOOD], hashes=True)
    assert (dict(seen.faults), seen.elsewhere, seen.files) == ({}, 2, 1)


def test_something_that_is_no_file_is_not_waited_for(store):
    (store / NAME).unlink()
    os.mkfifo(store / NAME)
    assert faults(store, GOOD) == {NAME: "it is not a file"}


def test_a_refusal_is_a_failure(store, monkeypatch):
    def refuse(*_arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(SlipwayError, match=r"cannot be read: Permission denied\. Run this as root"):
        faults(store, GOOD)


def test_many_files_are_all_looked_at(tmp_path):
    files = []
    for number in range(200):
        content = b"%d" % number
        sha1 = hashlib.sha1(content).hexdigest()  # noqa: S324
        (tmp_path / sha1[:2]).mkdir(exist_ok=True)
        (tmp_path / sha1[:2] / sha1).write_bytes(content if number % 10 else b"?" * len(content))
        files.append(StoredFile(f"{sha1[:2]}/{sha1}", sha1, len(content)))
    seen = inspect(str(tmp_path), files, hashes=True, threads=4)
    assert (seen.files, len(seen.faults)) == (200, 20)


def test_where_the_filestore_lies(tmp_path):
    (tmp_path / "filestore" / "main").mkdir(parents=True)
    assert filestore_directory(str(tmp_path), "main") == str(tmp_path / "filestore" / "main")
    with pytest.raises(SlipwayError, match=r"no filestore .*/other on this host"):
        filestore_directory(str(tmp_path), "other")
    with pytest.raises(SlipwayError, match="no data_dir"):
        filestore_directory("", "main")


def test_one_file_is_read_by_its_own_name_only(store):
    assert read_file(str(store), NAME) == CONTENT
    assert read_file(str(store), "ab/" + "0" * 40) is None
    assert read_file(str(store), f"../{store.name}/{NAME}") is None
