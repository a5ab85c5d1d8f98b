# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The checksum of an addon's content, and the ones that were stored when it was installed.

Rule and parameters are those of ``click-odoo-update`` (click-odoo-contrib 1.24, ``_addon_hash.py`` and
``update.py``), so that either tool knows what the other one has installed.
"""

from __future__ import annotations

import dataclasses
import errno
import fnmatch
import functools
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_db import rows

CHECKSUMS = "module_auto_update.installed_checksums"
PATTERNS = "module_auto_update.exclude_patterns"
DEFAULT_PATTERNS = "*.pyc,*.pyo,i18n/*.pot,i18n_extra/*.pot,static/*,tests/*"
#: For a query that has other questions, too: the two parameters, and the codes of the active languages.
SETTINGS_COLUMNS = """(SELECT value FROM ir_config_parameter WHERE key = %(checksums)s),
       (SELECT value FROM ir_config_parameter WHERE key = %(patterns)s),
       ARRAY(SELECT code::text FROM res_lang WHERE active ORDER BY code)"""
SETTINGS_VALUES = {"checksums": CHECKSUMS, "patterns": PATTERNS}
_TRANSLATIONS = frozenset(("i18n", "i18n_extra"))


@dataclasses.dataclass(frozen=True)
class ChecksumSettings:
    """What a database says about checksums.

    ``exclude`` holds patterns of files that do not count, ``languages`` the codes whose translations do,
    and ``stored`` the checksum of each module as it was when installed.
    """

    exclude: tuple[str, ...]
    languages: tuple[str, ...]
    stored: Mapping[str, str]


def read_settings(connection: Any) -> ChecksumSettings:
    """Ask a database for its settings.

    :raises SlipwayError: the stored checksums cannot be understood.
    """
    return parse_settings(*rows(connection, "SELECT " + SETTINGS_COLUMNS, SETTINGS_VALUES)[0])


def parse_settings(stored: str | None, patterns: str | None, languages: Iterable[str]) -> ChecksumSettings:
    """Make settings of the values of ``SETTINGS_COLUMNS``.

    :raises SlipwayError: the stored checksums cannot be understood.
    """
    try:
        content = json.loads(stored) if stored else {}
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise SlipwayError(
            f"System parameter {CHECKSUMS} does not hold a JSON object: correct it, or remove it to let all "
            "modules count as changed"
        )
    if patterns is None:
        patterns = DEFAULT_PATTERNS
    return ChecksumSettings(
        exclude=tuple(pattern.strip() for pattern in patterns.split(",")),
        languages=tuple(languages),
        # false stands for a module that was not on disk.
        stored={str(name): value for name, value in content.items() if isinstance(value, str)},
    )


def checksum(directory: str, *, exclude: Sequence[str], languages: Iterable[str]) -> str:
    """Return the SHA-1, in hexadecimal, of the names and the content of an addon's files.

    :param directory: the addon.
    :param exclude: shell patterns; a star in them stands for slashes, too.
    :param languages: codes whose translations count; all of them if there is none.
    :raises SlipwayError: something in it cannot be read.
    """
    found = hashlib.sha1(usedforsecurity=False)
    for path in _files(directory, exclude=exclude, languages={code.split("_")[0] for code in languages}):
        try:
            found.update(path.encode())
            with open(os.path.join(directory, path), "rb", opener=open_file) as stream:
                found.update(stream.read())
        except (OSError, UnicodeEncodeError) as error:
            _unreadable(directory, error)
    return found.hexdigest()


def open_file(path: str, flags: int) -> int:
    """Open what is a file: a pipe in its place must not keep us waiting."""
    handle = os.open(path, flags | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "it is not a regular file", path)
    return handle


def _files(top: str, *, exclude: Sequence[str], languages: set[str]) -> Iterator[str]:
    """Yield the paths that count, relative to ``top``, in the order that the checksum needs."""
    excluded = _pattern(tuple(exclude))
    # What such a pattern makes of a directory it makes of all below: the many files of static/ are not listed.
    closed = _pattern(tuple(pattern for pattern in exclude if pattern.endswith("*")))
    for directory, subdirectories, names in os.walk(top, onerror=lambda error: _unreadable(top, error)):
        below = os.path.relpath(directory, top)
        below = "" if below == "." else below
        subdirectories[:] = sorted(name for name in subdirectories if not closed.match(os.path.join(below, name, "")))
        translations = languages and below in _TRANSLATIONS
        for name in sorted(names):
            path = os.path.join(below, name)
            if excluded.match(path):
                continue
            if translations:
                stem, ending = os.path.splitext(name)
                if ending == ".po" and stem.split("_")[0] not in languages:
                    continue
            yield path


@functools.lru_cache(maxsize=8)
def _pattern(exclude: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(fnmatch.translate(pattern) for pattern in exclude) or r"(?!)")


def _unreadable(directory: str, error: Exception) -> NoReturn:
    path = getattr(error, "filename", None)
    reason = getattr(error, "strerror", None) or error
    raise SlipwayError(
        f"The checksum of {directory} cannot be made: {path + ': ' if path else ''}{reason}. Mend that, or keep "
        f"such files out of checksums with system parameter {PATTERNS}"
    ) from error
