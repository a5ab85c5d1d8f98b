# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which modules an instance has on disk, and what their manifests say."""

from __future__ import annotations

import ast
import dataclasses
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils.errors import NotReadyError, SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_checksum import open_file
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_cli import identity
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_config import OdooConfig

MANIFEST = "__manifest__.py"
_NAME = re.compile(r"\w{1,256}")
_VERSION_INFO = re.compile(r"^version_info\s*=\s*\(\s*['\"]?([\w~]+)['\"]?\s*,\s*(\d+)", re.MULTILINE)
#: Wheels of addons unpack below `odoo/addons` of any directory on Python's path.
_WHERE = """\
import importlib.util, os, sys
sys.path = [entry for entry in sys.path if entry]
spec = importlib.util.find_spec("odoo")
found = list(spec.submodule_search_locations or ()) if spec else []
found += [os.path.join(entry, "odoo") for entry in sys.path]
print("\\n".join(path for path in dict.fromkeys(found) if os.path.isdir(os.path.join(path, "addons"))))
"""


@dataclasses.dataclass(frozen=True)
class Manifest:
    """One module on disk. ``auto_install`` is None, or the modules whose presence pulls it in.

    ``fault`` says why Odoo will not install it; it is empty for a good one. ``readable`` is false for a
    manifest that Odoo passes over because it cannot be parsed; ``line`` then says where, if anything does.
    """

    name: str
    path: str
    version: str = "1.0"
    depends: tuple[str, ...] = ()
    auto_install: frozenset[str] | None = None
    countries: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    fault: str = ""
    title: str = ""
    summary: str = ""
    category: str = "Uncategorized"
    author: str = ""
    license: str = "LGPL-3"
    readable: bool = True
    line: int | None = None

    @property
    def file(self) -> str:
        """Where it is written."""
        return os.path.join(self.path, MANIFEST)


def parse_manifest(text: str, *, path: str, series: str) -> Manifest:
    """Read a manifest as Odoo does; a bad one comes back with its ``fault``.

    :param path: the module's directory.
    :param series: Odoo series such as ``19.0``: modules of another one are not installable.
    """
    name = os.path.basename(path)
    if not text.strip():
        return _unreadable(path, "it is empty")
    try:
        # Python 3.9 does not strip what later ones do.
        text = text.lstrip(" \t")
        content = ast.literal_eval(text)
    except SyntaxError as error:
        return _unreadable(path, error.msg, line=error.lineno)
    except (ValueError, TypeError) as error:
        line = _line_of_code(text)
        return _unreadable(path, "it holds code, not only literal values" if line else str(error), line=line)
    except (MemoryError, RecursionError):
        return _unreadable(path, "it is nested too deeply")
    if not isinstance(content, dict):
        return Manifest(name, path, fault="its manifest is not a dictionary")
    depends = () if name == "base" else _names(content.get("depends")) or ("base",)
    wanted = content.get("auto_install", False)
    if isinstance(wanted, (list, tuple, set)):
        auto: frozenset[str] | None = frozenset(_names(wanted))
    else:
        auto = frozenset(depends) if wanted else None
    version = str(content.get("version", "1.0"))
    return Manifest(
        name=name,
        path=path,
        version=version,
        depends=depends,
        auto_install=auto,
        countries=tuple(str(c).upper() for c in content.get("countries") or ()),
        excludes=_names(content.get("excludes")),
        fault=_fault(content, version=version, depends=depends, auto_install=auto, series=series),
        title=_line(content.get("name")),
        summary=_line(content.get("summary")),
        category=_line(content.get("category")) or "Uncategorized",
        author=_line(content.get("author") or content.get("contributors") or content.get("maintainer")),
        license=_line(content.get("license")) or "LGPL-3",
    )


def _fault(
    content: dict[str, Any],
    *,
    version: str,
    depends: Sequence[str],
    auto_install: frozenset[str] | None,
    series: str,
) -> str:
    if not content.get("installable", True):
        return "its manifest says installable: False"
    if not compatible(version, series):
        return f"its version {version} is not one of Odoo {series}"
    if not isinstance(content.get("depends") or (), (list, tuple, set)):
        return "its manifest's depends is not a list"
    strangers = (auto_install or frozenset()).difference(depends)
    if strangers:
        return f"its manifest's auto_install names {', '.join(sorted(strangers))}, which depends does not"
    return ""


def _unreadable(path: str, reason: str, *, line: int | None = None) -> Manifest:
    where = f" (line {line})" if line else ""
    fault = f"its manifest cannot be parsed: {reason}{where}"
    return Manifest(os.path.basename(path), path, fault=fault, readable=False, line=line)


def _line_of_code(text: str) -> int | None:
    """Find the first line that is no literal; the error's own text names it since Python 3.10 only."""
    try:
        nodes = [node for node in ast.walk(ast.parse(text, mode="eval").body) if isinstance(node, ast.expr)]
    except ValueError:
        return None
    plain = (ast.Constant, ast.Dict, ast.List, ast.Tuple, ast.Set, ast.UnaryOp)
    return min((node.lineno for node in nodes if not isinstance(node, plain)), default=None)


def compatible(version: str, series: str) -> bool:
    """Tell whether Odoo of this series takes a module of this version."""
    return bool(full_version(version, series))


def full_version(version: str, series: str) -> str:
    """Put the series in front of a version where it is missing (``adapt_version``).

    :return: empty for a version of another series, or that is none.
    """
    parts = version.split(".")
    # A series such as saas~19.1 does not begin with a number.
    numbers = parts[1:] if version.startswith(series) and not parts[0].isdecimal() else parts
    if not 2 <= len(parts) <= 5 or not all(part.isdecimal() for part in numbers):
        return ""
    full = version if len(parts) > 3 or version.startswith(series) else f"{series}.{version}"
    return full if full.startswith(f"{series}.") else ""


_VERSION_PARTS = re.compile(r"(\d+|[a-z]+|\.|-)")
_VERSION_WORDS = {
    "pre": "c",
    "preview": "c",
    "rc": "c",
    "dev": "@",
    "-": "final-",
    "_": "final-",
    "saas": "",
    "~": "",
    ".": "",
}


def version_key(version: str) -> tuple[str, ...]:
    """Return what Odoo compares versions by (``odoo.tools.parse_version``)."""
    key: list[str] = []
    for part in (*_VERSION_PARTS.split((version or "0.1").lower()), "final"):
        word = _VERSION_WORDS.get(part, part)
        if word[:1] in set("0123456789"):
            key.append(word.zfill(8))
        elif word:
            # What comes before the final version lets a dash before it not count.
            while word < "final" and key[-1:] == ["*final-"]:
                key.pop()
            while key[-1:] == ["00000000"]:
                key.pop()
            key.append(f"*{word}")
    return tuple(key)


def _names(value: Any) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, (list, tuple, set)) else ()


def _line(value: Any) -> str:
    """A value as one line of text: authors are lists at times, and summaries go over several lines."""
    return " ".join((", ".join(_names(value)) or str(value or "")).split())


def read_manifests(
    directories: Iterable[str], *, series: str, own: Collection[str] = ()
) -> tuple[dict[str, Manifest], tuple[Manifest, ...]]:
    """Read all manifests.

    :param own: Odoo's own directories. That one of them repeats another is not worth telling: Debian's package
        brings nearly all addons twice.
    :return: the modules as Odoo finds them: where two directories hold one, the first that can be parsed
        counts. And the other copies.
    """
    found: dict[str, Manifest] = {}
    others: list[Manifest] = []
    for directory in directories:
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            continue
        for name in names:
            first = found.get(name)
            if first and first.readable and directory in own and os.path.dirname(first.path) in own:
                continue
            manifest = _read_manifest(os.path.join(directory, name), series=series)
            if manifest is None:
                continue
            if first is None:
                found[name] = manifest
                continue
            if manifest.readable and not first.readable:
                found[name], manifest = manifest, first
            if os.path.realpath(manifest.path) != os.path.realpath(found[name].path):
                others.append(manifest)
    return found, tuple(others)


def _read_manifest(path: str, *, series: str) -> Manifest | None:
    """Read the manifest of a directory, if it is a module."""
    if not _NAME.fullmatch(os.path.basename(path)):
        return None
    try:
        with open(os.path.join(path, MANIFEST), encoding="utf-8", opener=open_file) as stream:
            text = stream.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return _unreadable(path, error.strerror or str(error))
    except UnicodeDecodeError:
        return _unreadable(path, "it is not UTF-8 text")
    return parse_manifest(text, path=path, series=series)


def package_directories(odoo_bin: str, user: str) -> list[str]:
    """Where Odoo's own package lies: every ``odoo`` directory that holds addons, the core first.

    :param user: Odoo's Unix user, whose interpreter root must not run as root.
    :raises NotReadyError: there is no such program or user.
    :raises SlipwayError: it does not lead to Odoo.
    """
    script, interpreter = _start(odoo_bin)
    beside = os.path.join(os.path.dirname(os.path.realpath(script)), "odoo")
    found = [beside] if os.path.isfile(os.path.join(beside, "release.py")) else []
    if interpreter:
        answer = subprocess.run(
            [interpreter, "-c", _WHERE],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=False,
            cwd="/",
            env={"PATH": os.defpath, "LANG": "C.UTF-8"},
            **(identity(user) if os.geteuid() == 0 else {}),
        )
        found += [line for line in answer.stdout.decode().splitlines() if line and line not in found]
    core = [path for path in found if os.path.isfile(os.path.join(path, "release.py"))]
    if not core:
        raise SlipwayError(f"{odoo_bin} does not lead to a package of Odoo: set odoo_bin to its start script")
    return [core[0], *(path for path in found if path not in core)]


def _start(odoo_bin: str) -> tuple[str, str | None]:
    """The Python script that a program comes down to, and the interpreter it runs in.

    Follows a launcher in shell, whose last word is ``exec PYTHON SCRIPT "$@"``.

    :raises NotReadyError: there is no such program.
    """
    try:
        with open(odoo_bin, "rb") as stream:
            first, *rest = stream.read(65536).decode(errors="replace").splitlines() or [""]
    except OSError as error:
        raise NotReadyError(f"There is no program {odoo_bin}: install Odoo, or set odoo_bin") from error
    if not first.startswith("#!"):
        return odoo_bin, None
    if "python" in first:
        return odoo_bin, _interpreter(first[2:].split())
    for line in rest:
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            continue
        if words[:1] == ["exec"] and len(words) > 2 and "python" in os.path.basename(words[1]):
            script = next((word for word in words[2:] if not word.startswith("-")), odoo_bin)
            return script, _interpreter(words[1:2])
    return odoo_bin, None


def _interpreter(words: Sequence[str]) -> str | None:
    if words and os.path.basename(words[0]) == "env":
        words = [word for word in words[1:] if not word.startswith("-")]
    return shutil.which(words[0]) if words else None


def read_series(release_text: str) -> str:
    """Take the series (``19.0``) from the text of ``odoo/release.py``.

    :raises SlipwayError: it says nothing of the kind.
    """
    match = _VERSION_INFO.search(release_text)
    if not match:
        raise SlipwayError("odoo/release.py names no version")
    return f"{match[1]}.{match[2]}"


@dataclasses.dataclass(frozen=True)
class Disk:
    """An instance's modules on disk: the Odoo series, the directories in Odoo's order, the manifests.

    ``others`` are further copies of the same modules, which Odoo does not use.
    """

    series: str
    directories: tuple[str, ...]
    manifests: dict[str, Manifest]
    others: tuple[Manifest, ...] = ()


def read_disk(config: OdooConfig) -> Disk:
    """Look through every directory that Odoo would (``initialize_sys_path``).

    :raises NotReadyError: Odoo is not installed.
    """
    packages = package_directories(config.odoo_bin, config.user)
    with open(os.path.join(packages[0], "release.py"), encoding="utf-8") as stream:
        series = read_series(stream.read())
    directories = addons_directories(config, packages, series)
    own = {os.path.realpath(path) for path in (os.path.join(packages[0], "addons"), _community(packages))}
    return Disk(series, directories, *read_manifests(directories, series=series, own=own))


def addons_directories(config: OdooConfig, packages: Sequence[str], series: str) -> tuple[str, ...]:
    """Odoo's search order: its own addons, the data directory's, the configured ones, the community's."""
    wanted = [os.path.join(package, "addons") for package in packages]
    if config.data_dir:
        wanted.append(os.path.join(config.data_dir, "addons", series))
    wanted += config.addons_path
    wanted.append(_community(packages))
    real = dict.fromkeys(os.path.realpath(path) for path in wanted)
    return tuple(path for path in real if os.path.isdir(path))


def _community(packages: Sequence[str]) -> str:
    """Where a checkout of Odoo has most of its addons."""
    return os.path.join(os.path.dirname(packages[0]), "addons")
