"""Modules on disk: manifests as Odoo reads them, and where it looks for them."""

from __future__ import annotations

import os
import sys

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils import odoo_manifest
from ansible_collections.slipway.odoo.plugins.module_utils.errors import NotReadyError, SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_config import OdooConfig
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_manifest import (
    addons_directories,
    compatible,
    package_directories,
    parse_manifest,
    read_disk,
    read_manifests,
    read_series,
)
from hypothesis import given
from hypothesis import strategies as st


def parse(text, name="crm"):
    return parse_manifest(text, path=f"/srv/addons/{name}", series="19.0")


def test_a_whole_manifest():
    manifest = parse(
        "# Part of Odoo.\n{'name': 'CRM', 'version': '19.0.1.9', 'depends': ['mail', 'utm'], "
        "'countries': ['be', 'FR'], 'auto_install': ['mail']}"
    )
    assert manifest.name == "crm"
    assert manifest.depends == ("mail", "utm")
    assert manifest.auto_install == {"mail"}
    assert manifest.countries == ("BE", "FR")
    assert manifest.fault == ""


@pytest.mark.parametrize(
    ("text", "depends", "auto"),
    [
        ("{}", ("base",), None),
        ("{'depends': []}", ("base",), None),
        ("{'depends': ['web'], 'auto_install': True}", ("web",), {"web"}),
        ("{'depends': ['web', 'mail'], 'auto_install': ['mail']}", ("web", "mail"), {"mail"}),
        ("{'depends': ['web'], 'auto_install': []}", ("web",), set()),
        ("{'depends': ['web'], 'auto_install': False}", ("web",), None),
    ],
)
def test_dependencies_and_automatic_installation(text, depends, auto):
    manifest = parse(text)
    assert (manifest.depends, manifest.auto_install) == (depends, auto)


def test_base_depends_on_nothing():
    assert parse("{'auto_install': True}", name="base").depends == ()
    assert parse("{'auto_install': True}", name="base").auto_install == frozenset()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{'installable': False}", "its manifest says installable: False"),
        ("{'version': '18.0.1.0.0'}", "its version 18.0.1.0.0 is not one of Odoo 19.0"),
        ("{'name': }", "its manifest cannot be parsed"),
        ("{'name': open('/etc/passwd').read()}", "its manifest cannot be parsed"),
        ("", "its manifest is not a dictionary"),
        ("[]", "its manifest is not a dictionary"),
        ("\0", "its manifest cannot be parsed"),
    ],
)
def test_faults(text, fault):
    assert parse(text).fault.startswith(fault)


@pytest.mark.parametrize(
    ("version", "good"),
    [
        ("1.0", True),
        ("1.0.3", True),
        ("19.0.1.0.0", True),
        ("19.0.1.0", True),
        ("18.0.1.0.0", False),
        ("1", False),
        ("1.0.0.0", False),
        ("1.x", False),
        ("19.0", False),
        ("19.0.1.0.0.0", False),
    ],
)
def test_versions_of_another_series(version, good):
    assert compatible(version, "19.0") is good


@given(st.text())
def test_no_manifest_makes_it_crash(text):
    assert parse(text).name == "crm"


def make(root, name, text="{}"):
    directory = root / name
    directory.mkdir(parents=True)
    (directory / "__manifest__.py").write_text(text)


def test_the_first_good_module_wins(tmp_path):
    make(tmp_path / "one", "a", "{'version': '1.1'}")
    make(tmp_path / "two", "a", "{'version': '1.2'}")
    make(tmp_path / "one", "b", "{'broken': ")
    make(tmp_path / "two", "b", "{'version': '2.2'}")
    make(tmp_path / "one", "c", "{'broken': ")
    make(tmp_path / "one", "not-a-module")
    (tmp_path / "one" / "empty").mkdir()
    found = read_manifests([str(tmp_path / "none"), str(tmp_path / "one"), str(tmp_path / "two")], series="19.0")
    assert {name: manifest.version for name, manifest in found.items()} == {
        "a": "1.1",
        "b": "2.2",
        "c": "1.0",
    }
    assert found["c"].fault


@pytest.mark.parametrize(
    ("text", "series"),
    [
        ("version_info = (19, 0, 0, FINAL, 0, '')\n", "19.0"),
        ("# x\nversion_info = (18,0,0,'final',0,'')\n", "18.0"),
        ("version_info = ('saas~19', 1, 0, FINAL, 0, '')\n", "saas~19.1"),
    ],
)
def test_series(text, series):
    assert read_series(text) == series


def test_a_release_file_without_a_version():
    with pytest.raises(SlipwayError):
        read_series("version = 1")


@pytest.fixture
def odoo(tmp_path):
    """A source checkout with a start script beside the package."""
    (tmp_path / "odoo" / "addons").mkdir(parents=True)
    (tmp_path / "addons").mkdir()
    (tmp_path / "odoo" / "release.py").write_text("version_info = (19, 0, 0, FINAL, 0, '')\n")
    script = tmp_path / "odoo-bin"
    script.write_text(f"#!{sys.executable}\n")
    script.chmod(0o755)
    return tmp_path


def test_the_package_beside_the_script_is_found(odoo):
    assert package_directories(str(odoo / "odoo-bin"))[0] == str(odoo / "odoo")


def test_the_package_of_the_scripts_interpreter_is_found(odoo, tmp_path, monkeypatch):
    script = tmp_path / "bin" / "odoo"
    script.parent.mkdir()
    script.write_text(f"#! /usr/bin/env {sys.executable}\n")
    real = odoo_manifest.subprocess.run

    def run(command, **options):
        # Where a virtual environment would have Odoo on its path.
        options["env"] = {**options["env"], "PYTHONPATH": str(odoo)}
        return real(command, **options)  # pylint: disable=subprocess-run-check

    monkeypatch.setattr(odoo_manifest.subprocess, "run", run)
    assert package_directories(str(script)) == [str(odoo / "odoo")]


@pytest.mark.parametrize("python", [sys.executable, f"{sys.executable} -u"])
def test_a_launcher_in_shell_is_followed(odoo, tmp_path, python):
    # As role odoo's source method makes it: a file called odoo beside the checkout.
    release = tmp_path / "release"
    release.mkdir()
    launcher = release / "odoo"
    launcher.write_text(f'#!/bin/sh\n# it\'s a launcher\nexec {python} {odoo}/odoo-bin "$@"\n')
    current = tmp_path / "current"
    current.symlink_to(release)
    assert package_directories(str(current / "odoo"))[0] == str(odoo / "odoo")


@pytest.mark.parametrize(
    "first",
    [
        "#!/bin/sh\n",
        "\x7fELF",
        "",
        "#!\n",
        "#!/usr/bin/env\n",
        "#!/bin/sh\nexec python3\n",
        "#!/bin/sh\nexec python3 'x\n",
    ],
)
def test_a_script_that_does_not_lead_to_odoo(tmp_path, first):
    script = tmp_path / "start"
    script.write_text(first)
    with pytest.raises(SlipwayError, match="does not lead to a package of Odoo"):
        package_directories(str(script))


def test_a_missing_script_is_not_ready(tmp_path):
    with pytest.raises(NotReadyError):
        package_directories(str(tmp_path / "none"))


def test_search_order(odoo):
    data, extra = odoo / "data" / "addons" / "19.0", odoo / "extra"
    data.mkdir(parents=True)
    extra.mkdir()
    config = OdooConfig(path="/x.conf", data_dir=str(odoo / "data"), addons_path=(str(extra), str(odoo / "none")))
    assert addons_directories(config, [str(odoo / "odoo")], "19.0") == tuple(
        os.path.realpath(path) for path in (odoo / "odoo" / "addons", data, extra, odoo / "addons")
    )


def test_a_whole_disk(odoo):
    make(odoo / "odoo" / "addons", "base")
    make(odoo / "addons", "crm", "{'depends': ['base']}")
    disk = read_disk(OdooConfig(path="/x.conf", odoo_bin=str(odoo / "odoo-bin")))
    assert disk.series == "19.0"
    assert sorted(disk.manifests) == ["base", "crm"]
