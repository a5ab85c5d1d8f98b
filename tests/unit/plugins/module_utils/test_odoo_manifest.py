"""Modules on disk: manifests as Odoo reads them, and where it looks for them."""

from __future__ import annotations

import itertools
import os
import pwd
import sys
import types

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils import odoo_manifest
from ansible_collections.slipway.odoo.plugins.module_utils.errors import NotReadyError, SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_config import OdooConfig
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_manifest import (
    addons_directories,
    compatible,
    full_version,
    package_directories,
    parse_manifest,
    read_disk,
    read_manifests,
    read_series,
    version_key,
)
from hypothesis import given
from hypothesis import strategies as st

ME = pwd.getpwuid(os.getuid()).pw_name


def parse(text, name="crm"):
    return parse_manifest(text, path=f"/srv/addons/{name}", series="19.0")


def test_a_whole_manifest():
    manifest = parse(
        "# Part of Odoo.\n{'name': 'CRM', 'version': '19.0.1.9', 'depends': ['mail', 'utm'], "
        "'countries': ['be', 'FR'], 'auto_install': ['mail'], 'excludes': ['other_crm']}"
    )
    assert manifest.name == "crm"
    assert manifest.depends == ("mail", "utm")
    assert manifest.auto_install == {"mail"}
    assert manifest.countries == ("BE", "FR")
    assert manifest.excludes == ("other_crm",)
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
        ("[]", "its manifest is not a dictionary"),
        ("{'depends': 'web'}", "its manifest's depends is not a list"),
        (
            "{'depends': ['web'], 'auto_install': ['web', 'sale', 'crm']}",
            "its manifest's auto_install names crm, sale, which depends does not",
        ),
    ],
)
def test_faults(text, fault):
    manifest = parse(text)
    assert (manifest.fault, manifest.readable) == (fault, True)


@pytest.mark.parametrize(
    ("text", "reason", "line"),
    [
        ("{\n'name': 'x',\n'depends': ]\n}", "", 3),
        ("{\n'name': 'x',\n'author': open('/etc/passwd').read()\n}", "it holds code, not only literal values", 3),
        ("# x\n\n{'sequence': -1, 'name': f'{1}',\n 'author': f()}", "it holds code, not only literal values", 3),
        ("{'name': 'a' + 'b'}", "it holds code, not only literal values", 1),
        ("{**{}}", "", None),
        ("{[]: 1}", "", None),
        ("", "it is empty", None),
        ("\n \n", "it is empty", None),
        ("\0", "", None),
        ("\n {'name': 'x'}", "", 2),
        ("(" * 5000, "", None),
    ],
)
def test_manifests_that_cannot_be_parsed(text, reason, line):
    manifest = parse(text)
    assert manifest.fault.startswith(f"its manifest cannot be parsed: {reason}")
    assert "object at 0x" not in manifest.fault
    assert "\n" not in manifest.fault
    assert manifest.readable is False
    if line:
        assert manifest.fault.endswith(f"(line {line})")
        assert manifest.line == line
    assert manifest.file == "/srv/addons/crm/__manifest__.py"


def test_texts_are_one_line_and_have_odoos_defaults():
    manifest = parse("{'name': ' A\\n  name', 'summary': None, 'author': ['One', 'Two'], 'category': 'Sales/CRM'}")
    assert (manifest.title, manifest.summary, manifest.author) == ("A name", "", "One, Two")
    assert (manifest.category, manifest.license) == ("Sales/CRM", "LGPL-3")
    assert parse("{'maintainer': 'Me'}").author == "Me"
    assert parse("{}").category == "Uncategorized"


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
        ("19.0.1.x", False),
        ("19.01.0", False),
        ("1.²", False),
    ],
)
def test_versions_of_another_series(version, good):
    assert compatible(version, "19.0") is good


@pytest.mark.parametrize(
    ("version", "series", "full"),
    [
        ("1.0", "19.0", "19.0.1.0"),
        ("1.0.3", "19.0", "19.0.1.0.3"),
        ("19.0.1.0", "19.0", "19.0.1.0"),
        ("18.0.1.0.0", "19.0", ""),
        ("1.2", "saas~19.1", "saas~19.1.1.2"),
        ("saas~19.1.1.2", "saas~19.1", "saas~19.1.1.2"),
        ("saas~19.2.1.2", "saas~19.1", ""),
    ],
)
def test_full_versions(version, series, full):
    assert full_version(version, series) == full


# Out of odoo/tools/parse_version.py, each newer than the one before.
ORDERS = [
    ("0", "4.2", "4.2.3.4", "5.0.0-alpha", "5.0.0-rc1", "5.0.0-rc1.1", "5.0.0_rc2", "5.0.0_rc3", "5.0.0"),
    ("5.0.0-0_rc3", "5.0.0-1dev", "5.0.0-1"),
    ("19.0.1.9", "19.0.1.10", "19.0.2.0", "19.1.1.0"),
    ("18.0.1.0", "saas~18.1.1.0", "saas~18.2.1.0", "19.0.1.0"),
]


@pytest.mark.parametrize("versions", ORDERS)
def test_versions_are_ordered_as_odoo_does(versions):
    keys = [version_key(version) for version in versions]
    assert all(older < newer for older, newer in itertools.pairwise(keys))


def test_equal_versions():
    assert version_key("19.0.1.0") == version_key("19.0.1") == version_key("19.0.1.0.0")
    assert version_key("") == version_key("0.1")


@given(st.lists(st.integers(0, 200), min_size=1, max_size=5), st.lists(st.integers(0, 200), min_size=1, max_size=5))
def test_versions_of_numbers_are_ordered_as_numbers(one, two):
    def shorn(numbers):
        while numbers and numbers[-1] == 0:
            numbers = numbers[:-1]
        return numbers

    keys = [version_key(".".join(map(str, numbers))) for numbers in (one, two)]
    assert (keys[0] < keys[1]) is (shorn(one) < shorn(two))


@given(st.text() | st.builds("{{'version': {!r}, 'depends': {!r}}}".format, st.text(), st.lists(st.text())))
def test_no_manifest_makes_it_crash(text):
    manifest = parse(text)
    assert manifest.name == "crm"
    assert manifest.fault or full_version(manifest.version, "19.0")


def make(root, name, text="{}"):
    directory = root / name
    directory.mkdir(parents=True)
    (directory / "__manifest__.py").write_text(text)


def read(tmp_path, *directories, own=()):
    return read_manifests([str(tmp_path / name) for name in directories], series="19.0", own=own)


def test_the_first_module_that_can_be_parsed_wins(tmp_path):
    make(tmp_path / "one", "a", "{'version': '1.1'}")
    make(tmp_path / "two", "a", "{'version': '1.2'}")
    make(tmp_path / "one", "b", "{'broken': ")
    make(tmp_path / "two", "b", "{'version': '2.2', 'installable': False}")
    make(tmp_path / "three", "b", "{'version': '3.3'}")
    make(tmp_path / "one", "c", "{'broken': ")
    make(tmp_path / "one", "not-a-module")
    (tmp_path / "one" / "empty").mkdir()
    (tmp_path / "one" / "README").write_text("no directory")
    found, others = read(tmp_path, "none", "one", "two", "three")
    assert {name: (manifest.version, manifest.readable) for name, manifest in found.items()} == {
        "a": ("1.1", True),
        "b": ("2.2", True),
        "c": ("1.0", False),
    }
    assert [(other.path, other.readable) for other in others] == [
        (str(tmp_path / "two" / "a"), True),
        (str(tmp_path / "one" / "b"), False),
        (str(tmp_path / "three" / "b"), True),
    ]


def test_a_link_to_the_same_module_is_no_further_copy(tmp_path):
    make(tmp_path / "one", "a")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "a").symlink_to(tmp_path / "one" / "a")
    found, others = read(tmp_path, "two", "one")
    assert (found["a"].path, others) == (str(tmp_path / "two" / "a"), ())


def test_what_odoo_itself_brings_twice_is_not_told(tmp_path):
    make(tmp_path / "core", "a")
    make(tmp_path / "ours", "a")
    make(tmp_path / "ours", "b")
    make(tmp_path / "community", "a")
    make(tmp_path / "community", "b")
    own = [str(tmp_path / "core"), str(tmp_path / "community")]
    found, others = read(tmp_path, "core", "ours", "community", own=own)
    assert found["a"].path == str(tmp_path / "core" / "a")
    assert [other.path for other in others] == [str(tmp_path / "ours" / "a"), str(tmp_path / "community" / "b")]


def test_manifests_that_cannot_be_read(tmp_path):
    make(tmp_path, "latin")
    (tmp_path / "latin" / "__manifest__.py").write_bytes(b"{'name': '\xe4'}")
    (tmp_path / "loop").mkdir()
    (tmp_path / "loop" / "__manifest__.py").symlink_to("__manifest__.py")
    found, _others = read_manifests([str(tmp_path)], series="19.0")
    assert found["latin"].fault == "its manifest cannot be parsed: it is not UTF-8 text"
    assert found["loop"].fault == "its manifest cannot be parsed: Too many levels of symbolic links"
    assert not found["latin"].readable


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
    assert package_directories(str(odoo / "odoo-bin"), ME)[0] == str(odoo / "odoo")


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
    assert package_directories(str(script), ME) == [str(odoo / "odoo")]


def test_a_pipe_for_a_manifest_is_not_waited_for(tmp_path):
    (tmp_path / "crm").mkdir()
    os.mkfifo(tmp_path / "crm" / "__manifest__.py")
    manifests, _others = read_manifests([str(tmp_path)], series="19.0")
    assert "it is not a regular file" in manifests["crm"].fault


def test_root_leaves_the_interpreter_to_odoos_user(odoo, monkeypatch):
    seen = []
    monkeypatch.setattr(odoo_manifest.os, "geteuid", lambda: 0)
    monkeypatch.setattr(odoo_manifest, "identity", lambda user: {"user": user})

    def run(_command, **options):
        seen.append(options.get("user"))
        return types.SimpleNamespace(stdout=b"")

    monkeypatch.setattr(odoo_manifest.subprocess, "run", run)
    package_directories(str(odoo / "odoo-bin"), "odoo-main")
    monkeypatch.setattr(odoo_manifest.os, "geteuid", lambda: 4711)
    package_directories(str(odoo / "odoo-bin"), "odoo-main")
    assert seen == ["odoo-main", None], "somebody else stays who they are"


def test_a_user_that_is_missing_is_not_ready(odoo, monkeypatch):
    monkeypatch.setattr(odoo_manifest.os, "geteuid", lambda: 0)
    with pytest.raises(NotReadyError, match="no Unix user 'no-such-user'"):
        package_directories(str(odoo / "odoo-bin"), "no-such-user")


@pytest.mark.parametrize("python", [sys.executable, f"{sys.executable} -u"])
def test_a_launcher_in_shell_is_followed(odoo, tmp_path, python):
    # As role odoo's source method makes it: a file called odoo beside the checkout.
    release = tmp_path / "release"
    release.mkdir()
    launcher = release / "odoo"
    launcher.write_text(f'#!/bin/sh\n# it\'s a launcher\nexec {python} {odoo}/odoo-bin "$@"\n')
    current = tmp_path / "current"
    current.symlink_to(release)
    assert package_directories(str(current / "odoo"), ME)[0] == str(odoo / "odoo")


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
        package_directories(str(script), ME)


def test_a_missing_script_is_not_ready(tmp_path):
    with pytest.raises(NotReadyError):
        package_directories(str(tmp_path / "none"), ME)


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
    disk = read_disk(OdooConfig(path="/x.conf", user=ME, odoo_bin=str(odoo / "odoo-bin")))
    assert disk.series == "19.0"
    assert sorted(disk.manifests) == ["base", "crm"]
    assert disk.others == ()


def test_a_disk_on_which_odoo_has_its_addons_twice(odoo):
    make(odoo / "odoo" / "addons", "crm")
    make(odoo / "addons", "crm")
    make(odoo / "extra", "crm")
    disk = read_disk(
        OdooConfig(path="/x.conf", user=ME, odoo_bin=str(odoo / "odoo-bin"), addons_path=(str(odoo / "extra"),))
    )
    assert disk.manifests["crm"].path == str(odoo / "odoo" / "addons" / "crm")
    assert [other.path for other in disk.others] == [str(odoo / "extra" / "crm")]
