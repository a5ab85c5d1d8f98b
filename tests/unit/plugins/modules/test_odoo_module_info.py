"""The module from option to result: real addons on disk, a stand-in for the database."""

from __future__ import annotations

import contextlib
import hashlib
import json

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.slipway.odoo.plugins.module_utils.errors import NotReadyError, SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_checksum import ChecksumSettings
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_config import OdooConfig
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_inventory import Record
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_manifest import Disk, read_manifests
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_session import Session
from ansible_collections.slipway.odoo.plugins.modules import odoo_module_info

BASE, CRM, SALE = (f"{{'name': '{name.upper()}', 'version': '1.1'}}" for name in ("base", "crm", "sale"))


def sha1(text):
    return hashlib.sha1(b"__manifest__.py" + text.encode(), usedforsecurity=False).hexdigest()


class Host:
    """What the module sees of a host."""

    def __init__(self, root):
        self.config = OdooConfig(
            path="/etc/odoo/main.conf", db_names=("main",), addons_path=(str(root), "/nowhere"), user="odoo-main"
        )
        self.root = root
        self.fault = None
        self.open = False
        self.records = {
            "base": Record("base", "installed", "19.0.1.1"),
            "crm": Record("crm", "installed", "19.0.1.0"),
            "sale": Record("sale", "uninstalled"),
        }
        self.settings = ChecksumSettings(("static/*",), ("en_US",), {"base": sha1(BASE), "crm": sha1("another")})
        for name, text in (("base", BASE), ("crm", CRM), ("sale", SALE)):
            (root / name).mkdir()
            (root / name / "__manifest__.py").write_text(text)

    @contextlib.contextmanager
    def open_session(self, params, *, database):
        if self.fault:
            raise self.fault
        self.open = True
        yield Session(self.config, params[database] or "main", self)
        self.open = False

    def read_records(self, connection, _database):
        assert connection is self
        assert self.open
        return self.records, self.settings

    def read_disk(self, config):
        # The database is not kept waiting for it.
        assert (config, self.open) == (self.config, False)
        return Disk("19.0", (str(self.root),), *read_manifests([str(self.root)], series="19.0"))


@pytest.fixture
def host(tmp_path, monkeypatch):
    host = Host(tmp_path)
    for name in ("open_session", "read_records", "read_disk"):
        monkeypatch.setattr(odoo_module_info, name, getattr(host, name))
    return host


@pytest.fixture
def call(capsys, host):
    def run(check=False, **options):
        arguments = {"config": "/etc/odoo/main.conf", "_ansible_check_mode": check, **options}
        with patch_module_args(arguments), pytest.raises(SystemExit) as left:
            odoo_module_info.main()
        result = json.loads(capsys.readouterr().out)
        result.pop("invocation", None)
        return result, left.value.code

    return run


@pytest.mark.parametrize("check", [False, True])
def test_everything(host, call, check):
    result, code = call(check)
    assert (code, result["changed"], result["database"], result["series"]) == (0, False, "main", "19.0")
    assert (result["directories"], result["missing_directories"]) == ([str(host.root)], ["/nowhere"])
    assert [module["name"] for module in result["modules"]] == ["base", "crm", "sale"]
    assert result["modules"][1] == {
        "name": "crm",
        "display_name": "CRM",
        "summary": "",
        "category": "Uncategorized",
        "author": "",
        "license": "LGPL-3",
        "state": "installed",
        "installed_version": "19.0.1.0",
        "disk_version": "19.0.1.1",
        "path": str(host.root / "crm"),
        "depends": ["base"],
        "checksum": sha1(CRM),
        "changed": True,
        "found_in": "both",
    }
    assert (result["outdated"], result["changed_since_installed"], result["unknown_changes"]) == (["crm"], ["crm"], [])
    assert (result["pending"], result["broken"], result["unmatched"]) == ([], [], [])


@pytest.mark.parametrize(
    ("checksums", "made", "changed"),
    [("installed", ["base", "crm"], ["crm"]), ("all", ["base", "crm", "sale"], ["crm"]), ("none", [], [])],
)
def test_checksums(call, checksums, made, changed):
    result, _code = call(checksums=checksums)
    assert [module["name"] for module in result["modules"] if module["checksum"]] == made
    assert result["changed_since_installed"] == changed


def test_names_cut_modules_and_lists(call):
    result, _code = call(name=["s*", "none_*"], database="other")
    assert result["database"] == "other"
    assert [module["name"] for module in result["modules"]] == ["sale"]
    assert (result["outdated"], result["unmatched"]) == ([], ["none_*"])


def test_only_what_is_asked_for_is_read(host, call):
    (host.root / "crm" / "broken").symlink_to("nothing")
    assert call(names=["base"])[1] == 0
    result, code = call(names=["crm"])
    assert code == 1
    assert f"The checksum of {host.root}/crm cannot be made" in result["msg"]
    assert call(names=["crm"], checksums="none")[1] == 0


def test_too_early_to_look(host, call):
    host.fault = NotReadyError("There is no configuration file /etc/odoo/main.conf")
    result, code = call(check=True)
    assert (code, result["changed"], result["assumed"]) == (0, False, True)
    assert result["msg"] == f"Would list modules. It is too early to look closer: {host.fault}"
    result, code = call()
    assert (code, result["msg"]) == (1, str(host.fault))


@pytest.mark.parametrize("check", [False, True])
def test_a_fault_is_one_in_check_mode_too(host, call, check):
    host.fault = SlipwayError("Database 'main' is not a database of Odoo")
    assert call(check) == ({"failed": True, "msg": str(host.fault)}, 1)
