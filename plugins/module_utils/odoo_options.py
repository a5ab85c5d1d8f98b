# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What may stand in Odoo's configuration file, version by version. Pure: no I/O, no Ansible.

Sources: ``odoo/tools/config.py`` of 19.0 (Debian's odoo-19 19.0.0+dfsg, every ``add_option``) and of
18.0 (public copies of the branch). Not seen in the 18.0 source that was read, but documented or
shipped for it: ``limit_time_worker_cron`` (documentation of 18.0, added during its life),
``bin_path``, ``import_image_*``, ``default_productivity_apps`` and ``proxy_access_token`` (read with
``config.get`` by other parts). They are accepted for 18.0.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MANAGED = "Managed by Ansible (slipway.odoo): changes are overwritten."

#: Keys of our own section. Odoo 19 reads only ``[options]``; 18 stores other sections unread.
SLIPWAY_KEYS = ("odoo_bin", "user", "db_sslrootcert", "version")

LOG_LEVELS = (
    "info", "debug_rpc", "warn", "test", "critical", "runbot", "debug_sql", "error", "debug",
    "debug_rpc_answer", "notset",
)  # fmt: skip
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")

_COMMON: dict[str, str] = {
    **dict.fromkeys(
        (
            "http_enable", "list_db", "overwrite_existing_translations", "proxy_mode", "reportgz",
            "smtp_ssl", "syslog", "unaccent", "x_sendfile", "default_productivity_apps",
        ),
        "bool",
    ),
    **dict.fromkeys(
        (
            "db_maxconn", "db_maxconn_gevent", "db_port", "db_replica_port", "gevent_port",
            "http_port", "limit_memory_hard", "limit_memory_hard_gevent", "limit_memory_soft",
            "limit_memory_soft_gevent", "limit_request", "limit_time_cpu", "limit_time_real",
            "limit_time_real_cron", "limit_time_worker_cron", "max_cron_threads",
            "osv_memory_count_limit", "smtp_port", "websocket_keep_alive_timeout",
            "websocket_rate_limit_burst", "workers",
        ),
        "int",
    ),
    **dict.fromkeys(("transient_age_limit", "websocket_rate_limit_delay"), "float"),
    **dict.fromkeys(
        (
            "bin_path", "data_dir", "geoip_city_db", "geoip_country_db", "logfile", "pg_path",
            "pidfile", "screencasts", "screenshots", "smtp_ssl_certificate_filename",
            "smtp_ssl_private_key_filename",
        ),
        "path",
    ),
    **dict.fromkeys(("addons_path", "upgrade_path"), "paths"),
    **dict.fromkeys(("db_name", "dev_mode", "log_handler", "server_wide_modules"), "list"),
    **dict.fromkeys(
        (
            "admin_passwd", "csv_internal_sep", "db_host", "db_password", "db_replica_host",
            "db_template", "db_user", "dbfilter", "email_from", "from_filter", "http_interface",
            "load_language", "log_db", "log_db_level", "proxy_access_token",
            "publisher_warranty_url", "smtp_password", "smtp_server", "smtp_user",
        ),
        "str",
    ),
    "db_sslmode": "sslmode",
    "log_level": "loglevel",
}  # fmt: skip

#: version -> key -> kind, one of bool, int, float, str, path, paths, list, sslmode, loglevel.
KNOWN: dict[str, dict[str, str]] = {
    "18.0": {
        **_COMMON,
        "without_demo": "str",
        "import_image_maxbytes": "int",
        "import_image_timeout": "int",
        "import_image_regex": "str",
    },
    "19.0": {
        **_COMMON,
        "db_app_name": "str",
        "import_file_maxbytes": "int",
        "import_file_timeout": "int",
        "import_url_regex": "str",
        "pre_upgrade_scripts": "paths",
        "skip_auto_install": "bool",
        "with_demo": "bool",
    },
}

#: Understood on the command line only.
COMMAND_LINE_ONLY = frozenset(
    (
        "config", "save", "init", "update", "reinit", "import_partial", "test_file", "test_enable",
        "test_tags", "stop_after_init", "shell_interface", "language", "translate_out",
        "translate_in", "translate_modules",
    )
)  # fmt: skip

#: Gone or renamed: key -> what to use now (None: nothing). A version that knows the key wins.
REPLACED: dict[str, str | None] = {
    "longpolling_port": "gevent_port",
    "xmlrpc": "http_enable",
    "xmlrpc_interface": "http_interface",
    "xmlrpc_port": "http_port",
    "geoip_database": "geoip_city_db",
    "osv_memory_age_limit": "transient_age_limit",
    "import_image_maxbytes": "import_file_maxbytes",
    "import_image_timeout": "import_file_timeout",
    "import_image_regex": "import_url_regex",
    "without_demo": "with_demo",
    "with_demo": "without_demo",
    "logrotate": None,
    "demo": None,
    "root_path": None,
    "test_commit": None,
    "test_report_directory": None,
    "auto_reload": None,
    "debug_mode": None,
}

_SECRETS = frozenset(("admin_passwd", "db_password", "smtp_password", "proxy_access_token"))
_PORTS = frozenset(("http_port", "gevent_port", "db_port", "db_replica_port", "smtp_port"))
_MAY_BE_NEGATIVE = frozenset(("limit_time_real_cron",))
#: Odoo 18 makes booleans of the first four wherever they stand, 19 skips or nulls the last three.
_NOT_TEXT = frozenset(("True", "true", "False", "false", "None"))
_INLINE_COMMENT = re.compile(r"\s[#;]")
_CHOICES: dict[str, Sequence[str]] = {"sslmode": SSL_MODES, "loglevel": LOG_LEVELS}
_WORDS: dict[str, Sequence[str]] = {
    # 18 turns only these two words into booleans: `no` would be a text, which counts as true.
    "18.0": ("true", "false"),
    "19.0": ("1", "yes", "true", "on", "0", "no", "false", "off"),
}


def config_problems(
    options: Mapping[str, Any],
    version: str,
    *,
    reserved: Iterable[str] = (),
    allowed: Iterable[str] = (),
) -> list[str]:
    """Say what is wrong with options before they are written.

    :param options: key -> value as it stands in the inventory; None means «leave it out».
    :param version: Odoo series, ``18.0`` or ``19.0``.
    :param reserved: keys that the caller sets itself, so nobody else may.
    :param allowed: keys that other addons read from the file (such as ``running_env``).
    :returns: one sentence for each fault, sorted by key; empty when all is well.
    """
    if version not in KNOWN:
        return [f"Odoo {version} is not supported: use one of {', '.join(sorted(KNOWN))}"]
    reserved, allowed = frozenset(reserved), frozenset(allowed)
    problems: list[tuple[str, str]] = []
    for key in sorted(options, key=str):
        fault = _key_problem(key, version, reserved, allowed)
        if not fault and options[key] is not None:
            fault = _value_problem(key, options[key], KNOWN[version].get(key, "str"), version)
        if fault:
            problems.append((str(key), fault))
    problems.extend(_cross_problems(options))
    return [f"{key}: {fault}" for key, fault in problems]


def _key_problem(key: Any, version: str, reserved: frozenset, allowed: frozenset) -> str:
    if not isinstance(key, str) or not re.fullmatch(r"[a-z][a-z0-9_.]*", key):
        return "not a configuration key (lower-case letters, digits and underscores)"
    if key in reserved:
        return "is set by the role itself: use the role's own input for it"
    if key in KNOWN[version] or key in allowed:
        return ""
    if key in COMMAND_LINE_ONLY:
        return "works on the command line only, Odoo ignores it in the file"
    if "." in key:
        return "is a system parameter in the database, not a configuration key: use odoo_parameter"
    if key in REPLACED:
        other = REPLACED[key]
        if other is None:
            return f"does not exist in Odoo {version} any more: remove it"
        return f"does not exist in Odoo {version}: use {other}"
    near = difflib.get_close_matches(key, KNOWN[version], n=1, cutoff=0.6)
    return f"unknown to Odoo {version}" + (f": did you mean {near[0]}?" if near else "")


def _value_problem(key: str, value: Any, kind: str, version: str) -> str:
    if isinstance(value, str):
        fault = _text_problem(key, value)
        if fault:
            return fault
    if kind == "bool":
        return _bool_problem(value, version)
    if kind in ("int", "float"):
        return _number_problem(key, value, kind)
    if kind in ("list", "paths"):
        return _list_problem(key, value, kind)
    if isinstance(value, bool) or (isinstance(value, str) and value in _NOT_TEXT):
        return "is a text, not a boolean: leave it out instead"
    if not isinstance(value, (str, int, float)):
        return "must be a text"
    if kind == "path" and str(value) and not str(value).startswith("/"):
        return "must be an absolute path"
    if kind in _CHOICES and value not in _CHOICES[kind]:
        return f"must be one of {', '.join(_CHOICES[kind])}"
    if key == "dbfilter":
        try:
            re.compile(str(value).replace("%h", "h").replace("%d", "d"))
        except re.error as error:
            return f"is not a regular expression ({error})"
    return ""


def _text_problem(key: str, value: str) -> str:
    if any(ord(char) < 32 or char in "\x7f\x85\u2028\u2029" for char in value):
        return "must be a single line without control characters"
    if value != value.strip():
        return "begins or ends with a space, which Odoo would strip"
    if key not in _SECRETS and _INLINE_COMMENT.search(value):
        return "holds an inline comment, which would become part of the value"
    return ""


def _bool_problem(value: Any, version: str) -> str:
    if isinstance(value, bool):
        return ""
    if isinstance(value, str) and value.lower() in _WORDS[version]:
        return ""
    return "must be true or false"


def _number_problem(key: str, value: Any, kind: str) -> str:
    number: Any = None
    if not isinstance(value, bool) and isinstance(value, (int, float, str)):
        try:
            number = int(str(value)) if kind == "int" else float(str(value))
        except ValueError:
            number = None
    if number is None or (kind == "float" and not -1e18 < number < 1e18):
        return "must be a whole number" if kind == "int" else "must be a number"
    if number < 0 and key not in _MAY_BE_NEGATIVE:
        return "must not be negative"
    if key in _PORTS and not 1 <= number <= 65535:
        return "must be a port number from 1 to 65535"
    return ""


def _list_problem(key: str, value: Any, kind: str) -> str:
    if isinstance(value, str):
        if value in _NOT_TEXT:
            return "is a list, not a boolean: leave it out instead"
        items: Sequence[Any] = [item.strip() for item in value.split(",") if item.strip()]
    elif isinstance(value, (list, tuple)):
        items = value
    else:
        return "must be a list"
    for item in items:
        if not isinstance(item, str) or not item.strip():
            return f"holds {item!r}, which is not a text"
        if "," in item:
            return f"holds {item!r}: a comma separates items"
        fault = _text_problem(key, item)
        if fault:
            return f"holds {item!r}, which {fault}"
        if kind == "paths" and not item.startswith("/"):
            return f"holds {item!r}, which is not an absolute path"
        if key == "log_handler" and not re.fullmatch(r"[\w.]*:[A-Z]+", item):
            return f"holds {item!r}, which is not MODULE:LEVEL"
    return ""


def _cross_problems(options: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = []
    if _truth(options.get("syslog")) and options.get("logfile"):
        found.append(("syslog", "excludes logfile: Odoo would not start with both"))
    if options.get("http_port") is not None and _same(options, "http_port", "gevent_port"):
        found.append(("gevent_port", "must differ from http_port"))
    for suffix in ("", "_gevent"):
        soft = _integer(options.get("limit_memory_soft" + suffix))
        hard = _integer(options.get("limit_memory_hard" + suffix))
        if soft and hard and soft > hard:
            found.append(("limit_memory_soft" + suffix, "must not exceed limit_memory_hard" + suffix))
    return found


def _same(options: Mapping[str, Any], one: str, other: str) -> bool:
    return str(options.get(one)) == str(options.get(other))


def _integer(value: Any) -> int | None:
    try:
        return None if isinstance(value, bool) else int(str(value))
    except ValueError:
        return None


def _truth(value: Any) -> bool:
    if isinstance(value, str):
        return value.lower() in ("1", "yes", "true", "on")
    return bool(value)


def option_text(key: str, value: Any) -> str:
    """Write one value the way Odoo reads it back.

    :raises ValueError: the value cannot be one line.
    """
    kind = next((known[key] for known in KNOWN.values() if key in known), "str")
    if isinstance(value, bool) or (kind == "bool" and isinstance(value, str)):
        text = str(_truth(value))
    elif isinstance(value, (list, tuple)):
        text = ",".join(str(item).strip() for item in value)
    else:
        text = str(value)
    if any(char in text for char in "\n\r"):
        raise ValueError(f"{key} must be a single line")
    return text


def render_config(options: Mapping[str, Any], slipway: Mapping[str, Any] | None = None) -> str:
    """Render a whole configuration file; the same input always gives the same text.

    :param options: section ``[options]``; keys whose value is None are left out.
    :param slipway: section ``[slipway]`` for our own modules, keys as in :data:`SLIPWAY_KEYS`.
    :raises ValueError: a value with a line break, or an unknown key of ours.
    """
    unknown = sorted(set(slipway or ()) - set(SLIPWAY_KEYS))
    if unknown:
        raise ValueError(f"[slipway] knows only {', '.join(SLIPWAY_KEYS)}, not {', '.join(unknown)}")
    lines = [f"# {MANAGED}", "[options]"]
    lines += _section(options)
    if slipway:
        lines += ["", "# For the modules of slipway.odoo. Odoo reads no section but [options].", "[slipway]"]
        lines += _section(slipway)
    return "\n".join(lines) + "\n"


def _section(values: Mapping[str, Any]) -> list[str]:
    return [f"{key} = {option_text(key, values[key])}".rstrip() for key in sorted(values) if values[key] is not None]
