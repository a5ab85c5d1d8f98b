# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which scripts the asset bundles of a database hold, by the rules of ``ir_asset.py``.

Only scripts count, so bundles come out without styles and templates. The order within a bundle is left out.
"""

from __future__ import annotations

import ast
import dataclasses
import fnmatch
import functools
import os
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Callable

from ansible_collections.slipway.odoo.plugins.module_utils.odoo_manifest import MANIFEST

#: Records with a lower sequence come before the manifests, all others after them.
DEFAULT_SEQUENCE = 16
_WITH_TARGET = ("after", "before", "replace")
#: Bundles that the web client never loads: tests, printed documents, and the pages of a website.
_ELSEWHERE = re.compile(r"web\.(?:report_assets|assets_frontend)|.*\.(?:.*_)?(?:qunit|tests?)(?:_|$)")
_WILDCARD = re.compile(r"[*?\[\]]")


@dataclasses.dataclass(frozen=True)
class Asset:
    """One directive of a bundle, from a manifest or from a record of ``ir.asset``."""

    bundle: str
    directive: str
    path: str
    target: str = ""
    sequence: int = DEFAULT_SEQUENCE


def reaches_web_client(bundle: str) -> bool:
    """Tell whether the web client may load a bundle, at once or when it needs it."""
    return not _ELSEWHERE.match(bundle)


def parse_assets(declared: Any) -> tuple[Asset, ...]:
    """The directives of a manifest's ``assets``; what Odoo would not understand either is left out."""
    found = []
    for bundle, commands in declared.items() if isinstance(declared, dict) else ():
        for command in commands if isinstance(commands, (list, tuple)) else ():
            words = (command,) if isinstance(command, str) else command
            if not isinstance(words, (list, tuple)) or not all(isinstance(word, str) for word in words):
                continue
            if len(words) == 1:
                found.append(Asset(bundle, "append", words[0]))
            elif len(words) == 2 and words[0] not in _WITH_TARGET:
                found.append(Asset(bundle, words[0], words[1]))
            elif len(words) == 3 and words[0] in _WITH_TARGET:
                found.append(Asset(bundle, words[0], words[2], target=words[1]))
    return tuple(found)


def read_assets(directory: str) -> tuple[Asset, ...]:
    """The directives of the module in a directory; none where its manifest cannot be read."""
    try:
        with open(os.path.join(directory, MANIFEST), encoding="utf-8") as stream:
            content = ast.literal_eval(stream.read().strip() or "None")
    except (OSError, ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return ()
    return parse_assets(content.get("assets")) if isinstance(content, dict) else ()


def bundle_scripts(
    manifests: Sequence[Asset], records: Iterable[Asset], find: Callable[[str], Iterable[str]]
) -> dict[str, tuple[str, ...]]:
    """Map each bundle to the addresses of its scripts.

    :param manifests: the directives of the installed modules in the order of dependency.
    :param records: active records of ``ir.asset`` in their order.
    :param find: the addresses of the scripts that a path or pattern leads to.
    """
    directives: dict[str, list[Asset]] = {}
    late = sorted(records, key=lambda asset: asset.sequence)
    early = [asset for asset in late if asset.sequence < DEFAULT_SEQUENCE]
    for asset in (*early, *manifests, *late[len(early) :]):
        directives.setdefault(asset.bundle, []).append(asset)

    def fill(bundle: str, scripts: dict[str, None], above: tuple[str, ...]) -> None:
        if bundle in above:
            return
        for asset in directives.get(bundle, ()):
            if asset.directive == "include":
                fill(asset.path, scripts, (*above, bundle))
            elif asset.directive == "remove":
                for url in find(asset.path):
                    scripts.pop(url, None)
            else:
                scripts.update(dict.fromkeys(find(asset.path)))
                for url in find(asset.target) if asset.directive == "replace" else ():
                    scripts.pop(url, None)

    bundles = {}
    for bundle in directives:
        held: dict[str, None] = {}
        fill(bundle, held, ())
        bundles[bundle] = tuple(held)
    return bundles


class StaticScripts:
    """The scripts below ``static`` of modules, found by the patterns of asset directives.

    :param modules: module to directory.
    :param uploaded: addresses of scripts that are attachments and not files.
    """

    def __init__(self, modules: Mapping[str, str], *, uploaded: Iterable[str] = ()) -> None:
        self.modules = modules
        self.uploaded = frozenset(uploaded)
        self._listed: dict[str, tuple[str, ...]] = {}
        self._found: dict[str, tuple[str, ...]] = {}

    def of_module(self, name: str) -> tuple[str, ...]:
        """The addresses of all scripts of a module."""
        if name not in self._listed:
            directory = self.modules.get(name)
            files = list_scripts(os.path.join(directory, "static")) if directory else ()
            self._listed[name] = tuple(f"/{name}/static/{path}" for path in files)
        return self._listed[name]

    def find(self, pattern: str) -> tuple[str, ...]:
        """The addresses that a path or pattern leads to; none outside ``static`` of these modules."""
        if pattern not in self._found:
            self._found[pattern] = self._find("/" + posixpath.normpath(pattern).lstrip("/"))
        return self._found[pattern]

    def _find(self, pattern: str) -> tuple[str, ...]:
        name = pattern.split("/")[1]
        if not pattern.startswith(f"/{name}/static/"):
            return (pattern,) if pattern in self.uploaded else ()
        if _WILDCARD.search(pattern):
            matches = glob_pattern(pattern).fullmatch
            found = tuple(url for url in self.of_module(name) if matches(url))
        else:
            found = (pattern,) if pattern in self.of_module(name) else ()
        return found or ((pattern,) if pattern in self.uploaded else ())

    def read(self, url: str) -> bytes | None:
        """A script's content; None where there is no such file."""
        name = url.split("/")[1] if url.startswith("/") else ""
        if url not in self.of_module(name):
            return None
        try:
            with open(os.path.join(os.path.dirname(self.modules[name]), *url.split("/")), "rb") as stream:
                return stream.read()
        except FileNotFoundError:
            return None


def list_scripts(directory: str) -> tuple[str, ...]:
    """The scripts below a directory, as paths relative to it; hidden ones are left out, as glob does."""
    found: list[str] = []
    seen: set[str] = set()

    def walk(path: str, below: str) -> None:
        real = os.path.realpath(path)
        if real in seen:
            return
        seen.add(real)
        try:
            entries = sorted(os.scandir(path), key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            return
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                walk(entry.path, f"{below}{entry.name}/")
            elif entry.name.endswith(".js"):
                found.append(below + entry.name)

    walk(directory, "")
    return tuple(found)


@functools.lru_cache(maxsize=4096)
def glob_pattern(pattern: str) -> re.Pattern[str]:
    """A shell pattern as Python's recursive glob reads it: ``**`` alone spans directories, ``*`` does not."""
    parts = pattern.split("/")
    text = ""
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        if part == "**":
            text += ".*" if last else "(?:[^/]+/)*"
        else:
            text += _translate(part) + ("" if last else "/")
    return re.compile(text, re.DOTALL)


def _translate(part: str) -> str:
    text, index = "", 0
    while index < len(part):
        character = part[index]
        index += 1
        closing = part.find("]", index + 1) if character == "[" else -1
        if character == "*":
            text += "[^/]*"
        elif character == "?":
            text += "[^/]"
        elif closing > 0:
            # `(?s:…)\Z`: the shell's rules for ranges are not those of regular expressions.
            text += f"(?!/){fnmatch.translate(part[index - 1 : closing + 1])[4:-3]}"
            index = closing + 1
        else:
            text += re.escape(character)
    return text
