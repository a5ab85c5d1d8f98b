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
from collections.abc import Iterable, Sequence
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils.errors import NotReadyError, SlipwayError
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

    ``fault`` says why Odoo will not install it; it is empty for a good one.
    """

    name: str
    path: str
    version: str = "1.0"
    depends: tuple[str, ...] = ()
    auto_install: frozenset[str] | None = None
    countries: tuple[str, ...] = ()
    fault: str = ""


def parse_manifest(text: str, *, path: str, series: str) -> Manifest:
    """Read a manifest as Odoo does; a bad one comes back with its ``fault``.

    :param path: the module's directory.
    :param series: Odoo series such as ``19.0``: modules of another one are not installable.
    """
    name = os.path.basename(path)
    try:
        content = ast.literal_eval(text.strip() or "None")
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        return Manifest(name, path, fault=f"its manifest cannot be parsed: {error}")
    if not isinstance(content, dict):
        return Manifest(name, path, fault="its manifest is not a dictionary")
    depends = () if name == "base" else _names(content.get("depends")) or ("base",)
    wanted = content.get("auto_install", False)
    if isinstance(wanted, (list, tuple, set)):
        auto: frozenset[str] | None = frozenset(_names(wanted))
    else:
        auto = frozenset(depends) if wanted else None
    version = str(content.get("version", "1.0"))
    fault = ""
    if not content.get("installable", True):
        fault = "its manifest says installable: False"
    elif not compatible(version, series):
        fault = f"its version {version} is not one of Odoo {series}"
    return Manifest(
        name,
        path,
        version,
        depends,
        auto,
        tuple(str(c).upper() for c in content.get("countries") or ()),
        fault,
    )


def compatible(version: str, series: str) -> bool:
    """Tell whether Odoo of this series takes a module of this version (``adapt_version``)."""
    parts = version.split(".")
    if not 2 <= len(parts) <= 5:
        return False
    if version.startswith(series + "."):
        return True
    return len(parts) <= 3 and not version.startswith(series) and all(part.isdigit() for part in parts)


def _names(value: Any) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, (list, tuple, set)) else ()


def read_manifests(directories: Iterable[str], *, series: str) -> dict[str, Manifest]:
    """Read all manifests; where two directories hold a module, the first good one counts, as in Odoo."""
    found: dict[str, Manifest] = {}
    for directory in directories:
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            continue
        for name in names:
            if _NAME.fullmatch(name) and (name not in found or found[name].fault.startswith("its manifest c")):
                path = os.path.join(directory, name)
                try:
                    with open(os.path.join(path, MANIFEST), encoding="utf-8") as stream:
                        text = stream.read()
                except (OSError, UnicodeDecodeError):
                    continue
                manifest = parse_manifest(text, path=path, series=series)
                if name not in found or not manifest.fault:
                    found[name] = manifest
    return found


def package_directories(odoo_bin: str) -> list[str]:
    """Where Odoo's own package lies: every ``odoo`` directory that holds addons, the core first.

    :raises NotReadyError: there is no such program.
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
    """An instance's modules on disk: the Odoo series, the directories in Odoo's order, the manifests."""

    series: str
    directories: tuple[str, ...]
    manifests: dict[str, Manifest]


def read_disk(config: OdooConfig) -> Disk:
    """Look through every directory that Odoo would (``initialize_sys_path``).

    :raises NotReadyError: Odoo is not installed.
    """
    packages = package_directories(config.odoo_bin)
    with open(os.path.join(packages[0], "release.py"), encoding="utf-8") as stream:
        series = read_series(stream.read())
    directories = addons_directories(config, packages, series)
    return Disk(series, directories, read_manifests(directories, series=series))


def addons_directories(config: OdooConfig, packages: Sequence[str], series: str) -> tuple[str, ...]:
    """Odoo's search order: its own addons, the data directory's, the configured ones, the community's."""
    wanted = [os.path.join(package, "addons") for package in packages]
    if config.data_dir:
        wanted.append(os.path.join(config.data_dir, "addons", series))
    wanted += config.addons_path
    wanted.append(os.path.join(os.path.dirname(packages[0]), "addons"))
    real = dict.fromkeys(os.path.realpath(path) for path in wanted)
    return tuple(path for path in real if os.path.isdir(path))
