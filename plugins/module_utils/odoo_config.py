# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read an instance's configuration file the way Odoo does."""

from __future__ import annotations

import configparser
import dataclasses
import os
import pwd
from collections.abc import Mapping

from ansible_collections.slipway.odoo.plugins.module_utils.errors import NotReadyError, SlipwayError

DEFAULT_BIN = "/usr/bin/odoo"
#: `False` was the default of many text options once; Odoo 19 skips it with a warning.
_UNSET = frozenset(("", "False", "false", "None"))


@dataclasses.dataclass(frozen=True)
class OdooConfig:
    """One instance, as its file describes it.

    An empty text means «not set»; ``db_port`` 0 likewise. ``db_names`` holds the databases of
    ``db_name``. ``user`` is the Unix user that Odoo runs as and ``odoo_bin`` the program.
    """

    path: str
    db_host: str = ""
    db_port: int = 0
    db_user: str = ""
    db_password: str = dataclasses.field(default="", repr=False)
    db_sslmode: str = ""
    db_sslrootcert: str = ""
    db_names: tuple[str, ...] = ()
    addons_path: tuple[str, ...] = ()
    data_dir: str = ""
    server_wide_modules: tuple[str, ...] = ("base", "web")
    logfile: str = ""
    skip_auto_install: bool = False
    odoo_bin: str = DEFAULT_BIN
    user: str = ""
    version: str = ""

    @property
    def name(self) -> str:
        """The instance's name: the file's name without its ending."""
        return os.path.splitext(os.path.basename(self.path))[0]

    def database(self, wanted: str | None = None) -> str:
        """The database to work on: the wanted one, or the only one that the file names.

        :raises SlipwayError: the file names none, or several.
        """
        if wanted:
            return wanted
        if len(self.db_names) == 1:
            return self.db_names[0]
        held = f"names {len(self.db_names)} databases" if self.db_names else "names no database"
        raise SlipwayError(f"{self.path} {held} in db_name: say which one is meant")


def parse_config(text: str, *, path: str) -> OdooConfig:
    """Turn a file's text into an :class:`OdooConfig`.

    :raises SlipwayError: the text is not a configuration file, or a port is not a number.
    """
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(text, source=path)
    except configparser.Error as error:
        raise SlipwayError(f"{path} is not a configuration file of Odoo: {_fault(error)}") from None
    options: dict[str, str] = dict(parser.items("options")) if parser.has_section("options") else {}
    own: dict[str, str] = dict(parser.items("slipway")) if parser.has_section("slipway") else {}
    return OdooConfig(
        path=path,
        db_host=_text(options, "db_host"),
        db_port=_port(options, path),
        db_user=_text(options, "db_user"),
        db_password=_text(options, "db_password"),
        db_sslmode=_text(options, "db_sslmode"),
        db_sslrootcert=_text(own, "db_sslrootcert"),
        db_names=_list(options, "db_name"),
        addons_path=_list(options, "addons_path"),
        data_dir=_text(options, "data_dir"),
        server_wide_modules=_list(options, "server_wide_modules") or ("base", "web"),
        logfile=_text(options, "logfile"),
        skip_auto_install=_text(options, "skip_auto_install").lower() in ("1", "yes", "true", "on"),
        odoo_bin=_text(own, "odoo_bin") or DEFAULT_BIN,
        user=_text(own, "user"),
        version=_text(own, "version"),
    )


def load_config(path: str, *, odoo_bin: str | None = None, user: str | None = None) -> OdooConfig:
    """Read the file at ``path``; arguments win over its ``[slipway]`` section.

    Without a user anywhere, the owner of the file is taken, as Debian's package leaves it.

    :raises NotReadyError: there is no such file yet.
    :raises SlipwayError: it cannot be read or understood.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            text = stream.read()
            owner = os.fstat(stream.fileno()).st_uid
    except FileNotFoundError as error:
        raise NotReadyError(f"There is no configuration file {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SlipwayError(f"{path} cannot be read: {error}") from error
    config = parse_config(text, path=path)
    return dataclasses.replace(
        config, odoo_bin=odoo_bin or config.odoo_bin, user=user or config.user or _owner(path, owner)
    )


def _owner(path: str, uid: int) -> str:
    if uid != 0:
        try:
            return pwd.getpwuid(uid).pw_name
        except KeyError:
            pass
    raise SlipwayError(
        f"Nothing says which Unix user Odoo runs as: set `user` in section [slipway] of {path}, or odoo_user"
    )


def _fault(error: configparser.Error) -> str:
    """Say where a file is wrong without quoting it: the line may hold a password."""
    if isinstance(error, configparser.DuplicateOptionError):
        return f"line {error.lineno} sets {error.option} once more"
    if isinstance(error, configparser.MissingSectionHeaderError):
        return f"line {error.lineno} stands before any [section]"
    if isinstance(error, configparser.ParsingError):
        return f"line {error.errors[0][0]} cannot be understood"
    return " ".join(str(error).split())


def _text(section: Mapping[str, str], key: str) -> str:
    value = section.get(key, "").strip()
    return "" if value in _UNSET else value


def _list(section: Mapping[str, str], key: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in _text(section, key).split(",") if item.strip())


def _port(options: Mapping[str, str], path: str) -> int:
    text = _text(options, "db_port") or "0"
    try:
        return int(text)
    except ValueError as error:
        raise SlipwayError(f"{path}: db_port must be a number, not {text!r}") from error
