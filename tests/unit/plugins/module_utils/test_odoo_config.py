"""Reading an instance's configuration file."""

from __future__ import annotations

import os

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils import odoo_config
from ansible_collections.slipway.odoo.plugins.module_utils.errors import NotReadyError, SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_config import load_config, parse_config

FULL = """
# Managed by Ansible (slipway.odoo): changes are overwritten.
[options]
addons_path = /usr/lib/odoo/addons, /srv/addons,
data_dir = /var/lib/odoo/main
db_host = db1
db_name = main
db_password = p%ss # word
db_port = 5433
db_sslmode = verify-full
db_user = odoo-main
logfile = /var/log/odoo/main/odoo.log
server_wide_modules = base,rpc,web
skip_auto_install = True

[slipway]
db_sslrootcert = /etc/odoo/ca.crt
odoo_bin = /opt/odoo/current/odoo
user = odoo-main
version = 19.0
"""

# As Debian's package leaves it.
DEBIAN = """
[options]
; This is the password that allows database operations:
; admin_passwd = admin
db_host = False
db_port = False
db_user = odoo
db_password = False
;addons_path = /usr/lib/python3/dist-packages/odoo/addons
default_productivity_apps = True
"""


def test_everything_is_read():
    config = parse_config(FULL, path="/etc/odoo/main.conf")
    assert config == odoo_config.OdooConfig(
        path="/etc/odoo/main.conf",
        db_host="db1",
        db_port=5433,
        db_user="odoo-main",
        db_password="p%ss # word",
        db_sslmode="verify-full",
        db_sslrootcert="/etc/odoo/ca.crt",
        db_names=("main",),
        addons_path=("/usr/lib/odoo/addons", "/srv/addons"),
        data_dir="/var/lib/odoo/main",
        server_wide_modules=("base", "rpc", "web"),
        logfile="/var/log/odoo/main/odoo.log",
        skip_auto_install=True,
        odoo_bin="/opt/odoo/current/odoo",
        user="odoo-main",
        version="19.0",
    )
    assert config.name == "main"
    assert config.database() == "main"


def test_false_means_not_set():
    config = parse_config(DEBIAN, path="/etc/odoo/odoo.conf")
    assert (config.db_host, config.db_port, config.db_user, config.db_password) == ("", 0, "odoo", "")
    assert config.odoo_bin == "/usr/bin/odoo"
    assert config.server_wide_modules == ("base", "web")


def test_the_password_is_not_in_the_representation():
    assert "p%ss" not in repr(parse_config(FULL, path="/x"))


@pytest.mark.parametrize(("db_name", "words"), [("", "names no database"), ("a,b", "names 2 databases")])
def test_the_database_must_be_clear(db_name, words):
    config = parse_config(f"[options]\ndb_name = {db_name}\n", path="/etc/odoo/x.conf")
    with pytest.raises(SlipwayError, match=words):
        config.database()
    assert config.database("other") == "other"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("db_host = x\n", "not a configuration file of Odoo: line 1 stands before any"),
        ("[options]\nworkers = 1\nworkers = 2\n", "line 3 sets workers once more"),
        ("[options]\n[options]\n", "section 'options' already exists"),
        ("[options]\nnonsense\n", "line 2 cannot be understood"),
        ("[options]\ndb_port = 54e2\n", "db_port must be a number, not '54e2'"),
    ],
)
def test_bad_files_are_refused(text, words):
    with pytest.raises(SlipwayError, match=words):
        parse_config(text, path="/etc/odoo/x.conf")


@pytest.mark.parametrize("text", ["db_password = hunter2\n", "[options]\ndb_password hunter2\n"])
def test_a_bad_file_is_not_quoted(text):
    with pytest.raises(SlipwayError) as caught:
        parse_config(text, path="/etc/odoo/x.conf")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_empty_file_is_a_configuration():
    assert parse_config("", path="/x").db_names == ()


def test_arguments_win_over_the_section(tmp_path):
    path = tmp_path / "main.conf"
    path.write_text(FULL)
    config = load_config(str(path), odoo_bin="/other", user="somebody")
    assert (config.odoo_bin, config.user) == ("/other", "somebody")
    assert load_config(str(path)).user == "odoo-main"


def test_without_a_user_the_owner_is_taken_but_never_root(tmp_path, monkeypatch):
    path = tmp_path / "main.conf"
    path.write_text("[options]\n")

    def owned_by(uid):
        # os.fstat gives a named tuple of many fields; only the owner matters here.
        monkeypatch.setattr(odoo_config.os, "fstat", lambda _fd: os.stat_result((0, 0, 0, 0, uid, 0, 0, 0, 0, 0)))

    owned_by(0)
    with pytest.raises(SlipwayError, match="which Unix user Odoo runs as"):
        load_config(str(path))
    owned_by(4_000_000_000)
    with pytest.raises(SlipwayError, match="which Unix user Odoo runs as"):
        load_config(str(path))
    somebody = odoo_config.pwd.getpwnam("nobody")
    owned_by(somebody.pw_uid)
    assert load_config(str(path)).user == "nobody"


def test_a_missing_file_is_not_ready_and_a_directory_is_wrong(tmp_path):
    with pytest.raises(NotReadyError, match="There is no configuration file"):
        load_config(str(tmp_path / "none.conf"))
    with pytest.raises(SlipwayError, match="cannot be read") as caught:
        load_config(str(tmp_path))
    assert not isinstance(caught.value, NotReadyError)
