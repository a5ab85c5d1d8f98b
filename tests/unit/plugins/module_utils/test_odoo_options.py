"""Options for Odoo's configuration file: what is refused, and that what is written is read back."""

from __future__ import annotations

import configparser

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils import odoo_options
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_config import parse_config
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_options import config_problems, render_config
from hypothesis import given
from hypothesis import strategies as st

GOOD = {
    "addons_path": ["/usr/lib/python3/dist-packages/odoo/addons", "/srv/addons"],
    "admin_passwd": "$pbkdf2-sha512$600000$abc$def",
    "data_dir": "/var/lib/odoo/main",
    "db_host": "db1.example.com",
    "db_name": "main",
    "db_password": "a #b ;c % = [x]",
    "db_port": 5432,
    "db_sslmode": "verify-full",
    "dbfilter": "^main$",
    "gevent_port": 8072,
    "http_interface": "127.0.0.1",
    "http_port": 8069,
    "limit_memory_hard": 2684354560,
    "limit_memory_soft": 2013265920,
    "limit_time_real_cron": -1,
    "list_db": False,
    "log_handler": [":INFO", "odoo.sql_db:WARNING"],
    "logfile": "/var/log/odoo/main/odoo.log",
    "proxy_mode": True,
    "server_wide_modules": ["base", "web"],
    "transient_age_limit": 1.5,
    "unaccent": True,
    "workers": 4,
}


@pytest.mark.parametrize("version", ["18.0", "19.0"])
def test_a_sound_configuration_has_no_faults(version):
    assert config_problems(GOOD, version) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        # OC-02/E1: Odoo does not interpolate; an integer option then stops the start.
        ({"workers": "%(env:WORKERS)s"}, "workers: must be a whole number"),
        # E2: comments behind values.
        ({"workers": "9  # (4 * 2) + 1"}, "workers: holds an inline comment"),
        ({"list_db": "False   # close the manager"}, "list_db: holds an inline comment"),
        ({"dbfilter": "^odoo_prod$  ; only this"}, "dbfilter: holds an inline comment"),
        # E5, E6.
        ({"web.base.url": "https://x"}, "web.base.url: is a system parameter"),
        ({"smtp_ssl": "starttls"}, "smtp_ssl: must be true or false"),
        ({"db_name": "false"}, "db_name: is a list, not a boolean"),
        ({"db_host": False}, "db_host: is a text, not a boolean: leave it out"),
        ({"db_host": "False"}, "db_host: is a text, not a boolean"),
        ({"db_password": "None"}, "db_password: is a text, not a boolean"),
        ({"longpolling_port": 8072}, "longpolling_port: does not exist in Odoo 19.0: use gevent_port"),
        ({"logrotate": True}, "logrotate: does not exist in Odoo 19.0 any more: remove it"),
        ({"worker": 4}, "worker: unknown to Odoo 19.0: did you mean workers?"),
        ({"zzzzzz": 4}, "zzzzzz: unknown to Odoo 19.0"),
        ({"init": "base"}, "init: works on the command line only"),
        ({"Workers": 1}, "Workers: not a configuration key"),
        ({"a b": 1}, "a b: not a configuration key"),
        ({7: 1}, "7: not a configuration key"),
        ({"workers": True}, "workers: must be a whole number"),
        ({"workers": 1.5}, "workers: must be a whole number"),
        ({"workers": -1}, "workers: must not be negative"),
        ({"workers": []}, "workers: must be a whole number"),
        ({"http_port": 0}, "http_port: must be a port number"),
        ({"http_port": 65536}, "http_port: must be a port number"),
        ({"transient_age_limit": "nan"}, "transient_age_limit: must be a number"),
        ({"transient_age_limit": "1,5"}, "transient_age_limit: must be a number"),
        ({"list_db": "no way"}, "list_db: must be true or false"),
        ({"list_db": 0}, "list_db: must be true or false"),
        ({"db_sslmode": "verify"}, "db_sslmode: must be one of disable"),
        ({"log_level": "verbose"}, "log_level: must be one of info"),
        ({"log_handler": "odoo=INFO"}, "log_handler: holds 'odoo=INFO', which is not MODULE:LEVEL"),
        ({"dbfilter": "^(main$"}, "dbfilter: is not a regular expression"),
        ({"logfile": "odoo.log"}, "logfile: must be an absolute path"),
        ({"addons_path": ["/a", "b"]}, "addons_path: holds 'b', which is not an absolute path"),
        ({"addons_path": ["/a,/b"]}, "a comma separates items"),
        ({"addons_path": ["/a", ""]}, "which is not a text"),
        ({"addons_path": {"/a": 1}}, "addons_path: must be a list"),
        ({"addons_path": ["/a\n/b"]}, "must be a single line"),
        ({"db_user": ["odoo"]}, "db_user: must be a text"),
        ({"db_password": "two\nlines"}, "db_password: must be a single line"),
        ({"db_password": "tab\there"}, "db_password: must be a single line"),
        ({"db_password": " x"}, "begins or ends with a space"),
        ({"syslog": True, "logfile": "/x.log"}, "syslog: excludes logfile"),
        ({"http_port": 8069, "gevent_port": "8069"}, "gevent_port: must differ from http_port"),
        ({"limit_memory_soft": 2, "limit_memory_hard": 1}, "limit_memory_soft: must not exceed"),
    ],
)
def test_faults(options, words):
    problems = config_problems(options, "19.0")
    assert any(words in problem for problem in problems), problems


def test_null_means_left_out_but_the_key_is_checked():
    assert config_problems({"workers": None}, "19.0") == []
    assert len(config_problems({"worker": None}, "19.0")) == 1


@pytest.mark.parametrize(
    ("key", "value", "known_to"),
    [
        ("with_demo", True, "19.0"),
        ("without_demo", "all", "18.0"),
        ("import_image_timeout", 5, "18.0"),
        ("import_file_timeout", 5, "19.0"),
        ("skip_auto_install", True, "19.0"),
        ("db_app_name", "odoo", "19.0"),
    ],
)
def test_each_version_has_its_own_keys(key, value, known_to):
    other = "18.0" if known_to == "19.0" else "19.0"
    assert config_problems({key: value}, known_to) == []
    assert config_problems({key: value}, other) != []


def test_18_takes_only_two_words_for_booleans():
    # Any other word stays a text there, and «no» would count as true.
    assert config_problems({"list_db": "no"}, "18.0") == ["list_db: must be true or false"]
    assert config_problems({"list_db": "no"}, "19.0") == []


def test_reserved_and_allowed_keys():
    assert config_problems({"db_host": "x"}, "19.0", reserved=["db_host"]) == [
        "db_host: is set by the role itself: use the role's own input for it"
    ]
    assert config_problems({"running_env": "prod"}, "19.0", allowed=["running_env"]) == []


def test_an_unsupported_version_is_said_once():
    assert config_problems({"x": 1, "y": 2}, "17.0") == ["Odoo 17.0 is not supported: use one of 18.0, 19.0"]


def test_problems_come_sorted_by_key():
    problems = config_problems({"zz": 1, "aa": 1, "workers": "x"}, "19.0")
    assert [problem.partition(":")[0] for problem in problems] == ["aa", "workers", "zz"]


def test_every_replacement_is_known_to_some_version():
    known = {key for options in odoo_options.KNOWN.values() for key in options}
    assert {new for new in odoo_options.REPLACED.values() if new} <= known


def test_rendering_is_sorted_complete_and_says_who_manages_it():
    text = render_config(
        {
            "workers": 4,
            "db_host": None,
            "addons_path": ["/a", "/b"],
            "list_db": False,
            "proxy_mode": "yes",
            "pidfile": "",
        },
        {"user": "odoo-main", "version": "19.0", "db_sslrootcert": None},
    )
    assert text == (
        "# Managed by Ansible (slipway.odoo): changes are overwritten.\n"
        "[options]\n"
        "addons_path = /a,/b\n"
        "list_db = False\n"
        "pidfile =\n"
        "proxy_mode = True\n"
        "workers = 4\n"
        "\n"
        "# For the modules of slipway.odoo. Odoo reads no section but [options].\n"
        "[slipway]\n"
        "user = odoo-main\n"
        "version = 19.0\n"
    )
    assert render_config({"workers": 1}).endswith("[options]\nworkers = 1\n")


def test_rendering_refuses_what_would_add_lines_or_keys():
    with pytest.raises(ValueError, match="db_password must be a single line"):
        render_config({"db_password": "x\nlist_db = True"})
    with pytest.raises(ValueError, match="not nonsense"):
        render_config({}, {"nonsense": "x"})


TEXTS = st.text(st.characters(blacklist_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1).map(str.strip).filter(bool)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "db_password": TEXTS,
        "admin_passwd": TEXTS,
        "db_host": TEXTS,
        "workers": st.integers(0, 500),
        "db_port": st.integers(1, 65535),
        "list_db": st.booleans(),
        "transient_age_limit": st.floats(0, 1000),
        "addons_path": st.lists(st.from_regex(r"/[a-z/]{1,20}", fullmatch=True), max_size=4),
    },
)


@given(OPTIONS)
def test_whatever_passes_is_read_back_as_it_was(options):
    if config_problems(options, "19.0"):
        return
    parser = configparser.RawConfigParser()
    parser.read_string(render_config(options, {"user": "odoo"}))
    read = dict(parser.items("options"))
    assert read == {key: odoo_options.option_text(key, value) for key, value in options.items()}
    assert parser.get("slipway", "user") == "odoo"
    config = parse_config(render_config(options), path="/etc/odoo/main.conf")
    assert config.db_password == options.get("db_password", "")
    assert config.db_port == options.get("db_port", 0)


@given(st.dictionaries(st.text(), st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.lists(st.text()))))
def test_nothing_makes_it_crash(options):
    for version in ("18.0", "19.0"):
        assert all(isinstance(problem, str) for problem in config_problems(options, version))
