"""The restore of files: what it leaves alone, and what it puts back."""

from __future__ import annotations

import argparse
import base64
import getpass
import hashlib
import io
import json
import sys
import zlib

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from slipway_backup import config, filestore, host


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Return the configuration of a host with one instance, whose filestore holds one file."""
    monkeypatch.setattr(host, "LOCKS", tmp_path / "locks")
    data = tmp_path / "data"
    put(data / "filestore/main", b"live")
    entry = {
        "name": "main",
        "database": "main",
        "filestore": str(data / "filestore/main"),
        "user": getpass.getuser(),
        "config_file": "/nowhere",
    }
    document = {"files": {"instances": [entry]}, "state_directory": str(tmp_path / "state")}
    return config.Config(document=document, secrets={})


def put(directory, content):
    name = hashlib.sha1(content, usedforsecurity=False).hexdigest()
    path = directory / name[:2] / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return f"{name[:2]}/{name}"


def beside(site, name, content=b"restored"):
    instance = site.files_of("main")
    put(filestore.parent_of(instance) / name, content)
    filestore.mark(site, instance, name, filestore.BESIDE)
    return filestore.parent_of(instance)


def swap(site, *, undo=False):
    options = argparse.Namespace(instance="main", name="main-new", keep_as="main-old", undo=undo)
    return filestore.swap_files(site, options)


def held(directory):
    return {path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_filestores_are_exchanged_and_put_back(site):
    parent = beside(site, "main-new")
    swap(site)
    assert (held(parent / "main"), held(parent / "main-old")) == ({b"restored"}, {b"live"})
    swap(site, undo=True)
    assert (held(parent / "main"), held(parent / "main-new")) == ({b"live"}, {b"restored"})
    assert not (parent / "main-old").exists()
    # Once more changes nothing.
    swap(site, undo=True)
    assert held(parent / "main") == {b"live"}


def test_a_swap_that_was_killed_half_way_is_put_back(site):
    parent = beside(site, "main-new")
    filestore.mark(site, site.files_of("main"), "main-old", filestore.KEPT)
    (parent / "main").rename(parent / "main-old")
    swap(site, undo=True)
    assert (held(parent / "main"), held(parent / "main-new")) == ({b"live"}, {b"restored"})


def test_a_host_without_a_filestore_gets_one_and_loses_it_again(site):
    parent = beside(site, "main-new")
    (parent / "main").rename(parent / "elsewhere")
    swap(site)
    assert held(parent / "main") == {b"restored"}
    swap(site, undo=True)
    assert not (parent / "main").exists()
    assert held(parent / "main-new") == {b"restored"}


def test_only_finished_restores_become_live(site):
    parent = filestore.parent_of(site.files_of("main"))
    put(parent / "main-new", b"of somebody")
    with pytest.raises(SlipwayError, match="not a finished restore"):
        swap(site)
    assert held(parent / "main") == {b"live"}


@pytest.mark.parametrize(
    ("name", "message"), [("main", "live"), ("other", "not one that a restore"), ("../x", "no name")]
)
def test_nothing_but_what_a_restore_made_is_dropped(site, name, message):
    parent = filestore.parent_of(site.files_of("main"))
    put(parent / "other", b"of somebody")
    with pytest.raises(SlipwayError, match=message):
        filestore.drop_kept_files(site, argparse.Namespace(instance="main", name=name))
    assert held(parent / "other") == {b"of somebody"}


def test_files_are_held_against_the_database(site, monkeypatch):
    parent = beside(site, "main-new")
    live = "/".join(next(path for path in (parent / "main").rglob("*") if path.is_file()).parts[-2:])
    damaged = put(parent / "main-new", b"whole")
    (parent / "main-new" / damaged).write_bytes(b"WHOLE")
    names = [live, damaged, "aa/" + "a" * 40, put(parent / "main-new", b"restored")]
    packed = base64.b64encode(zlib.compress("\n".join(names).encode())).decode()
    options = argparse.Namespace(instance="main", database="main-new", names_from="-", fill=False)
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps({"count": 4, "packed": packed})))
    found = filestore.check_files(site, options)
    assert (found["missing_count"], list(found["wrong"]), found["good"]) == (2, [damaged], False)

    options.fill = True
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps({"count": 4, "packed": packed})))
    found = filestore.check_files(site, options)
    assert (found["filled"], found["missing"]) == (1, ["aa/" + "a" * 40])
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps({"count": 5, "packed": packed})))
    with pytest.raises(SlipwayError, match="4 names instead of 5"):
        filestore.check_files(site, options)
