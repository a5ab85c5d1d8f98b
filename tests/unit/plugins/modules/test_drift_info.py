from __future__ import annotations

import grp
import os
import pathlib
import pwd
import stat

import pytest
from ansible_collections.slipway.odoo.plugins.modules import drift_info

ME = pwd.getpwuid(os.getuid()).pw_name
OWN_GROUP = ME in {group.gr_name for group in grp.getgrall()} and grp.getgrnam(ME).gr_gid == os.getgid()


def test_only_completely_installed_packages_count() -> None:
    status = "nginx installed\nodoo-19 half-configured\nold config-files\n"
    assert drift_info.installed_packages(status) == {"nginx"}


def test_a_user_must_exist_and_be_in_its_groups() -> None:
    assert drift_info.user_is_right({"name": ME, "groups": []})
    assert not drift_info.user_is_right({"name": ME, "groups": ["no-such-group"]})
    assert not drift_info.user_is_right({"name": "no-such-user", "groups": []})


@pytest.mark.skipif(not OWN_GROUP, reason="needs a user with a group of the same name")
def test_attributes_are_compared(tmp_path: pathlib.Path) -> None:
    directory = tmp_path / "d"
    directory.mkdir(mode=0o750)
    directory.chmod(0o750)
    path = str(directory)
    assert drift_info.has_attributes(path, owner=ME, mode="0750", kind=stat.S_IFDIR)
    assert not drift_info.has_attributes(path, owner=ME, mode="0755", kind=stat.S_IFDIR)
    assert not drift_info.has_attributes(path, owner=ME, mode="0750", kind=stat.S_IFREG)
    assert not drift_info.has_attributes(path, owner="no-such-user", mode="0750", kind=stat.S_IFDIR)
    assert not drift_info.has_attributes(path + "x", owner=ME, mode="0750", kind=stat.S_IFDIR)


@pytest.mark.skipif(os.getuid() != 0, reason="the files must be root's")
def test_a_file_is_compared_by_content_where_one_is_given(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "f"
    file.write_text("one\n")
    file.chmod(0o644)
    assert drift_info.file_is_right({"path": str(file), "content": "one\n"})
    assert not drift_info.file_is_right({"path": str(file), "content": "two\n"})
    assert drift_info.file_is_right({"path": str(file), "content": None})
    file.chmod(0o600)
    assert not drift_info.file_is_right({"path": str(file), "content": None})
    assert not drift_info.file_is_right({"path": str(tmp_path / "none"), "content": None})


def test_a_link_must_lead_where_it_should(tmp_path: pathlib.Path) -> None:
    link = tmp_path / "l"
    link.symlink_to("/dev/null")
    assert drift_info.link_is_right({"path": str(link), "target": "/dev/null"})
    assert not drift_info.link_is_right({"path": str(link), "target": "/dev/zero"})
    assert not drift_info.link_is_right({"path": str(tmp_path / "none"), "target": "/dev/null"})
