# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Find which client actions a web client's scripts register, as ``registry.category("actions").add(TAG, …)``.

Scripts are read, not run. A tag that comes from a constant is followed, through other files too, and so
is a function that registers what it is called with, and a registry kept in a variable. A registration
whose tag stays unknown makes every text of its script a possible tag: better one menu too few in doubt
than a healthy one called broken.
"""

from __future__ import annotations

import dataclasses
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable

from ansible_collections.slipway.odoo.plugins.module_utils.javascript import (
    NAME,
    PUNCTUATION,
    STRING,
    TEMPLATE,
    Token,
    line_number,
    pair_brackets,
    tokenize,
)

#: What a script that registers or hands out the registry must hold; a constant may name the category.
_CANDIDATE = re.compile(
    rb"""\bcategory(?:\s|/\*(?:[^*]|\*(?!/))*\*/|//[^\n]*)*(?:\?\.)?\(
         (?:\s|/\*(?:[^*]|\*(?!/))*\*/|//[^\n]*)*(?:["'`]actions["'`]|[A-Za-z_$])""",
    re.VERBOSE,
)
_DOTS = (".", "?.")
#: What ends a constant's value: anything else would go on with it.
_AFTER_VALUE = (";", ",", ")", "}", "]")
_DECLARATIONS = ("const", "let", "var")
_NO_FUNCTIONS = frozenset(("if", "for", "while", "switch", "catch", "with", "return", "super"))
#: Methods of the registry that do not add anything.
_READS = frozenset(
    ("get", "contains", "getAll", "getEntries", "remove", "addValidation", "addEventListener", "removeEventListener")
)
_DEPTH = 12


@dataclasses.dataclass(frozen=True)
class Import:
    """A local name that comes from another file; ``name`` is ``*`` for all that it exports."""

    source: str
    name: str


@dataclasses.dataclass(frozen=True)
class Function:
    """A function's name (empty without one), its parameters and what its code spans."""

    name: str
    parameters: tuple[str, ...]
    start: int
    end: int


@dataclasses.dataclass(frozen=True)
class Registrations:
    """What a set of scripts registers.

    ``tags`` maps a tag to the scripts that do. ``possible`` likewise, for scripts in which a tag could not
    be told; ``unclear`` says where (``/module/static/src/x.js:12``).
    """

    tags: Mapping[str, tuple[str, ...]]
    possible: Mapping[str, tuple[str, ...]]
    unclear: tuple[str, ...] = ()


class Script:
    """One file's tokens, and the facts that can be told from them alone."""

    def __init__(self, url: str, text: str) -> None:
        self.url = url
        self.text = text
        self.tokens = tokenize(text)
        self.pairs = pair_brackets(self.tokens)
        self.imports: dict[str, Import] = {}
        self.exports: dict[str, str] = {}
        self.passed_on: list[tuple[str, Import]] = []
        self.constants: dict[str, list[tuple[int, int]]] = {}
        self.functions: list[Function] = []
        #: Indexes within the braces of imports and exports, where names are not used.
        self.listed: set[int] = set()
        self._read()

    def value(self, index: int) -> Any:
        """The text of a name or punctuation mark; None for anything else, and outside."""
        if 0 <= index < len(self.tokens) and self.tokens[index].kind in (NAME, PUNCTUATION):
            return self.tokens[index].value
        return None

    def is_name(self, index: int) -> bool:
        """Tell whether a name or keyword stands there."""
        return 0 <= index < len(self.tokens) and self.tokens[index].kind == NAME

    def string(self, index: int) -> str | None:
        """The text of a string; None for anything else."""
        if 0 <= index < len(self.tokens) and self.tokens[index].kind == STRING:
            return str(self.tokens[index].value)
        return None

    def arguments(self, opening: int) -> list[tuple[int, int]]:
        """Where each item between a bracket and its partner starts and ends."""
        end = self.pairs.get(opening)
        if end is None:
            return []
        found, start, index = [], opening + 1, opening + 1
        while index < end:
            if self.value(index) in ("(", "[", "{") and index in self.pairs:
                index = self.pairs[index]
            elif self.value(index) == ",":
                found.append((start, index))
                start = index + 1
            index += 1
        return [*found, (start, end)] if start < end else found

    def function_at(self, index: int, *, parameter: str | None = None) -> Function | None:
        """The innermost function around an index, or the innermost that has this parameter."""
        around = [f for f in self.functions if f.start <= index < f.end]
        fitting = [f for f in around if parameter is None or parameter in f.parameters]
        return max(fitting, key=lambda function: function.start, default=None)

    def texts(self) -> set[str]:
        """Every string, and every name of a property, that the script holds."""
        found = {token.value for token in self.tokens if token.kind == STRING}
        found.update(t.value for i, t in enumerate(self.tokens) if t.kind == NAME and self.value(i + 1) == ":")
        return found

    def _read(self) -> None:
        for index, token in enumerate(self.tokens):
            if token.kind == NAME and self.value(index - 1) not in _DOTS:
                if token.value == "import":
                    self._read_import(index)
                elif token.value == "export":
                    self._read_export(index)
                elif token.value in _DECLARATIONS:
                    self._read_require(index)
                elif token.value == "class" and self.is_name(index + 1):
                    self._read_class(index)
            elif token.value == "=" and token.kind == PUNCTUATION:
                self._read_assignment(index)
            elif token.value == "(" and token.kind == PUNCTUATION:
                self._read_function(index)
            elif token.value == "=>" and self.is_name(index - 1):
                self._add_function(index - 1, (self.value(index - 1),), index + 1)

    def _names(self, opening: int, *, renamed: str) -> list[tuple[str, str]]:
        """The pairs of names in ``{ a, b as c }`` or ``{ a, b: c }``."""
        found = []
        self.listed.update(range(opening, self.pairs[opening]))
        for start, end in self.arguments(opening):
            outer, inner = self.tokens[start].value, self.tokens[start].value
            if end - start >= 3 and self.value(start + 1) == renamed:
                inner = self.tokens[start + 2].value
            if isinstance(outer, str) and isinstance(inner, str):
                found.append((outer, inner))
        return found

    def _read_import(self, index: int) -> None:
        position, wanted = index + 1, []
        while self.string(position) is None:
            if self.value(position) == "{" and position in self.pairs:
                wanted += self._names(position, renamed="as")
                position = self.pairs[position]
            elif self.value(position) == "*" and self.value(position + 1) == "as" and self.is_name(position + 2):
                wanted.append(("*", self.value(position + 2)))
                position += 2
            elif self.is_name(position) and self.value(position) != "from":
                wanted.append(("default", self.value(position)))
            elif self.value(position) not in (",", "from"):
                return
            position += 1
        self.listed.update(range(index, position))
        source = str(self.string(position))
        self.imports.update({inner: Import(source, outer) for outer, inner in wanted})

    def _read_export(self, index: int) -> None:
        following = self.value(index + 1)
        if following == "{" and index + 1 in self.pairs:
            names = self._names(index + 1, renamed="as")
            after = self.pairs[index + 1] + 1
            source = self.string(after + 1) if self.value(after) == "from" else None
            if source is None:
                self.exports.update({outer: inner for inner, outer in names})
            else:
                self.passed_on += [(outer, Import(source, inner)) for inner, outer in names]
        elif following == "*":
            after = index + 2 if self.value(index + 2) == "from" else index + 4
            source = self.string(after + 1)
            if source is not None:
                outer = "*" if after == index + 2 else str(self.value(index + 3))
                self.passed_on.append((outer, Import(source, "*")))
        elif following == "default":
            self._read_default(index + 2)
        else:
            position = index + 1
            while self.value(position) in (*_DECLARATIONS, "async", "function", "class", "*"):
                position += 1
            if self.is_name(position):
                self.exports[self.value(position)] = self.value(position)

    def _read_default(self, index: int) -> None:
        while self.value(index) in ("async", "function", "class", "*"):
            index += 1
        if self.is_name(index) and self.value(index + 1) not in _DOTS:
            self.exports["default"] = self.value(index)
        else:
            self.exports["default"] = "default"
            self._add_constant("default", index)

    def _read_require(self, index: int) -> None:
        """``const { A } = require("x")``, ``const A = require("x").A`` and ``const X = require("x")``."""
        target = index + 1
        equals = self.pairs.get(target, target) + 1
        source = self.string(equals + 3)
        if self.value(equals) != "=" or self.value(equals + 1) != "require" or source is None:
            return
        if self.value(target) == "{":
            self.imports.update({b: Import(source, a) for a, b in self._names(target, renamed=":")})
        elif self.is_name(target):
            member = self.value(equals + 6) if self.value(equals + 5) == "." else None
            self.imports[self.value(target)] = Import(source, member or "*")

    def _read_class(self, index: int) -> None:
        """Static members, which stand for ``Class.member``."""
        position = index + 2
        while position < len(self.tokens) and self.value(position) != "{":
            position = self.pairs.get(position, position) + 1
        for member in range(position, self.pairs.get(position, position)):
            if self.value(member) == "static" and self.is_name(member + 1) and self.value(member + 2) == "=":
                self._add_constant(f"{self.value(index + 1)}.{self.value(member + 1)}", member + 3)

    def _read_assignment(self, index: int) -> None:
        if self.value(index - 1) == "=" or self.value(index + 1) == "=" or not self.is_name(index - 1):
            return
        self._add_constant(_name_before(self, index), index + 1)

    def _add_constant(self, name: str, start: int, depth: int = 0) -> None:
        """Note a constant's value; an object's properties become constants of their own."""
        while self.value(start) == "Object" and self.value(start + 2) == "freeze":
            start += 4
        if self.value(start) == "{" and start in self.pairs:
            for first, last in self.arguments(start) if depth < _DEPTH else ():
                key = self.string(first) if self.string(first) is not None else self.value(first)
                if key is not None and self.value(first + 1) == ":" and first + 2 < last:
                    self._add_constant(f"{name}.{key}", first + 2, depth + 1)
            return
        end = start
        while end < len(self.tokens):
            end = self._operand(end)
            if self.value(end) != "+":
                break
            end += 1
        if end >= len(self.tokens) or self.value(end) in _AFTER_VALUE or self.is_name(end):
            self.constants.setdefault(name, []).append((start, end))

    def _operand(self, index: int) -> int:
        """The index after a string, a name with its members, or a pair of brackets."""
        if self.value(index) == "(":
            return self.pairs.get(index, index) + 1
        index += 1
        while self.value(index) in _DOTS and self.is_name(index + 1):
            index += 2
        return index

    def _read_function(self, index: int) -> None:
        end = self.pairs.get(index)
        if end is None or self.value(end + 1) not in ("{", "=>") or self.value(index - 1) in _NO_FUNCTIONS:
            return
        names = []
        for first, _unused in self.arguments(index):
            start = first + (self.value(first) == "...")
            names.append(self.value(start) if self.is_name(start) else "")
        self._add_function(index, tuple(names), end + 1 + (self.value(end + 1) == "=>"))

    def _add_function(self, parameters_at: int, parameters: tuple[str, ...], body: int) -> None:
        """Note a function under the name that it is declared with, or assigned to."""
        index = parameters_at - 1
        name = ""
        if self.is_name(index) and self.value(index) not in ("function", "async"):
            name = self.value(index)
        else:
            while self.value(index) in ("function", "async", "*"):
                index -= 1
            if self.value(index) in ("=", ":") and self.is_name(index - 1):
                name = self.value(index - 1)
        end = self.pairs[body] if body in self.pairs else self._end_of_expression(body)
        self.functions.append(Function(name, parameters, parameters_at, end))

    def _end_of_expression(self, index: int) -> int:
        while index < len(self.tokens) and self.value(index) not in _AFTER_VALUE:
            index = self.pairs.get(index, index) + 1 if self.value(index) in ("(", "[", "{") else index + 1
        return index


def is_candidate(data: bytes) -> bool:
    """Tell quickly whether a script may have to do with the registry of actions."""
    return b"category" in data and _CANDIDATE.search(data) is not None


def find_registrations(
    scripts: Mapping[str, bytes], *, read: Callable[[str], bytes | None] | None = None
) -> Registrations:
    """Find every client action that scripts register.

    :param scripts: the scripts of the web client by address (``/module/static/src/x.js``).
    :param read: gives other scripts that constants may come from; those of ``scripts`` without it.
    """
    return _Linker(scripts, read or scripts.get).run()


class _Linker:
    """Follows names from script to script until nothing new is found.

    A name is known by the script that defines it. ``registries`` stand for the registry, ``getters`` are
    functions that return it, and ``registrars`` are functions that register some of their arguments.
    """

    def __init__(self, scripts: Mapping[str, bytes], read: Callable[[str], bytes | None]) -> None:
        self.scripts = scripts
        self.read = read
        self.known: dict[str, Script | None] = {}
        self.defined: dict[tuple[str, str], tuple[str, str]] = {}
        self.registries: set[tuple[str, str]] = set()
        self.getters: set[tuple[str, str]] = set()
        self.registrars: dict[tuple[str, str], set[int]] = {}
        self.tags: dict[str, set[str]] = {}
        self.unclear: dict[str, set[int]] = {}

    def run(self) -> Registrations:
        looked_at = {url for url, data in self.scripts.items() if is_candidate(data)}
        for _unused in range(_DEPTH):
            before = self._progress()
            for url in sorted(looked_at):
                self._look(url)
            if self._progress() == before:
                break
            looked_at.update(self._importers(looked_at))
        return Registrations(
            tags={tag: tuple(sorted(urls)) for tag, urls in sorted(self.tags.items())},
            possible=self._possible(),
            unclear=tuple(self._places()),
        )

    def _progress(self) -> tuple[int, ...]:
        registrars = sum(len(numbers) for numbers in self.registrars.values())
        return len(self.registries), len(self.getters), registrars, len(self.tags)

    def _possible(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, set[str]] = {}
        for url in self.unclear:
            script = self._script(url)
            for text in script.texts() if script else ():
                found.setdefault(text, set()).add(url)
        return {text: tuple(sorted(urls)) for text, urls in sorted(found.items()) if text not in self.tags}

    def _places(self) -> Iterator[str]:
        for url, positions in sorted(self.unclear.items()):
            script = self._script(url)
            for position in sorted(positions):
                yield f"{url}:{line_number(script.text, position) if script else 0}"

    def _importers(self, looked_at: set[str]) -> list[str]:
        """Scripts that mention something that was found, and that another script may import."""
        words = set()
        for url, name in (*self.registries, *self.getters, *self.registrars):
            script = self._script(url)
            for outer, inner in script.exports.items() if script else ():
                if inner == name.partition(".")[0]:
                    words.add(posixpath.splitext(posixpath.basename(url))[0] if outer == "default" else outer)
        mentioned = [word.encode() for word in sorted(words)]
        return [
            url
            for url, data in self.scripts.items()
            if url not in looked_at and any(word in data for word in mentioned)
        ]

    def _script(self, url: str) -> Script | None:
        if url not in self.known:
            data = self.scripts.get(url)
            data = self.read(url) if data is None else data
            self.known[url] = None if data is None else Script(url, data.decode(errors="replace"))
        return self.known[url]

    # Names

    def _target(self, url: str, source: str) -> str | None:
        """The address of an imported script."""
        if source.startswith("@"):
            module, _slash, path = source[1:].partition("/")
            base = posixpath.normpath(f"/{module}/static/src/{path}")
        elif source.startswith("."):
            base = posixpath.normpath(posixpath.join(posixpath.dirname(url), source))
        else:
            return None
        for candidate in (base, f"{base}.js", f"{base}/index.js"):
            if candidate.endswith(".js") and self._script(candidate):
                return candidate
        return None

    def _definition(self, url: str, name: str) -> tuple[str, str]:
        """Where a name, which may have members (``TAGS.board``), is defined."""
        if (url, name) not in self.defined:
            self.defined[url, name] = self._follow(url, name, 0)
        return self.defined[url, name]

    def _follow(self, url: str, name: str, depth: int) -> tuple[str, str]:
        script = self._script(url)
        head, _dot, rest = name.partition(".")
        imported = script.imports.get(head) if script else None
        if imported is None or depth > _DEPTH:
            return url, name
        target = self._target(url, imported.source)
        if target is None:
            return url, name
        if imported.name == "*":
            exported, _dot, rest = rest.partition(".")
        else:
            exported = imported.name
        return self._exported(target, exported, rest, depth + 1) or (url, name)

    def _exported(self, url: str, exported: str, rest: str, depth: int) -> tuple[str, str] | None:
        script = self._script(url)
        if script is None or depth > _DEPTH:
            return None
        local = script.exports.get(exported)
        if local is not None:
            return self._follow(url, f"{local}.{rest}" if rest else local, depth + 1)
        for outer, imported in script.passed_on:
            target = self._target(url, imported.source) if outer in (exported, "*") else None
            if target is None:
                continue
            if outer == exported and imported.name == "*":
                exported, _dot, rest = rest.partition(".")
                return self._exported(target, exported, rest, depth + 1)
            found = self._exported(target, exported if outer == "*" else imported.name, rest, depth + 1)
            if found:
                return found
        return None

    # Values

    def _values(self, script: Script, start: int, end: int, depth: int = 0) -> set[str] | None:
        """What an expression may be; None where that cannot be told."""
        found = {""}
        index = start
        while index < end and depth <= _DEPTH:
            token = script.tokens[index]
            if token.kind == STRING:
                part: set[str] | None = {token.value}
                index += 1
            elif token.kind == TEMPLATE:
                part = self._template_values(script, token, depth + 1)
                index += 1
            elif token.value == "(" and index in script.pairs:
                part = self._values(script, index + 1, script.pairs[index], depth + 1)
                index = script.pairs[index] + 1
            elif token.kind == NAME:
                name, index = _dotted(script.tokens, index)
                part = self._constant(script.url, name, depth + 1)
            else:
                return None
            if not part or len(found) * len(part) > 1000:
                return None
            found = {head + tail for head in found for tail in part}
            if index == end:
                return found
            if script.value(index) != "+":
                return None
            index += 1
        return None

    def _template_values(self, script: Script, token: Token, depth: int) -> set[str] | None:
        found = {""}
        for piece in token.value:
            if isinstance(piece, str):
                part: set[str] | None = {piece}
            else:
                name, end = _dotted(piece, 0)
                part = self._constant(script.url, name, depth) if name and end == len(piece) else None
            if not part or len(found) * len(part) > 1000:
                return None
            found = {head + tail for head in found for tail in part}
        return found

    def _constant(self, url: str, name: str, depth: int) -> set[str] | None:
        place, name = self._definition(url, name)
        script = self._script(place)
        found: set[str] = set()
        for start, end in script.constants.get(name, ()) if script else ():
            values = self._values(script, start, end, depth + 1) if script else None
            if values is None:
                return None
            found |= values
        return found or None

    # Registrations

    def _look(self, url: str) -> None:
        script = self._script(url)
        if script is None:
            return
        for index, token in enumerate(script.tokens):
            if token.kind != NAME or token.value == "default" or index in script.listed:
                continue
            opening = index + 1 + (script.value(index + 1) == "?.")
            called = script.value(opening) == "(" and script.pairs.get(opening)
            if called and (script.value(called + 1) == "{" or script.value(index - 1) == "function"):
                continue
            if called and token.value == "category":
                self._look_at_category(script, index, opening)
            elif script.value(index - 1) not in _DOTS:
                self._look_at_name(script, index)
            if called:
                self._look_at_call(script, index, opening)

    def _look_at_category(self, script: Script, index: int, opening: int) -> None:
        arguments = script.arguments(opening)
        if len(arguments) != 1 or "actions" not in (self._values(script, *arguments[0]) or ()):
            return
        start = index
        while script.value(start - 1) in _DOTS:
            start = script.pairs.get(start - 2, start - 2)
            if script.value(start) == "(" and script.is_name(start - 1):
                start -= 1
        self._use(script, start, script.pairs[opening] + 1)

    def _look_at_name(self, script: Script, index: int) -> None:
        """The registry under another name, with the longest name first: ``this.actions``, ``C.actions``."""
        name, end = _dotted(script.tokens, index)
        while name:
            place = self._definition(script.url, name)
            if place in self.registries and script.value(end) != "=":
                if script.value(index - 1) not in _DECLARATIONS:
                    self._use(script, index, end)
                return
            if place in self.getters and script.value(end) == "(" and end in script.pairs:
                end = script.pairs[end] + 1
                if script.value(end) in _DOTS or script.value(index - 1) in ("=", "=>", "return", "default"):
                    self._use(script, index, end)
                return
            name, end = name.rpartition(".")[0], end - 2

    def _look_at_call(self, script: Script, index: int, opening: int) -> None:
        """A call of a function that registers some of its arguments."""
        start = index
        while script.value(start - 1) in _DOTS and script.is_name(start - 2):
            start -= 2
        places = {self._definition(script.url, _dotted(script.tokens, start)[0])}
        if script.value(index - 1) in _DOTS:
            places.add((script.url, script.value(index)))
        arguments = script.arguments(opening)
        for number in sorted(set().union(*(self.registrars.get(place, ()) for place in places))):
            if number < len(arguments):
                self._register(script, *arguments[number])

    def _use(self, script: Script, start: int, end: int) -> None:
        """Follow what is done with the registry, which stands from ``start`` to ``end``."""
        added = False
        while script.value(end) in _DOTS:
            method, opening = script.value(end + 1), end + 2 + (script.value(end + 2) == "?.")
            if method in _READS:
                return
            if method != "add" or script.value(opening) != "(" or opening not in script.pairs:
                self._give_up(script, start)
                return
            arguments = script.arguments(opening)
            if arguments:
                self._register(script, *arguments[0])
            added = True
            end = script.pairs[opening] + 1
        before = script.value(start - 1)
        if before == "=" and script.is_name(start - 2):
            self.registries.add((script.url, _name_before(script, start - 1)))
        elif before == "default":
            self.registries.add((script.url, "default"))
        elif before in ("return", "=>"):
            function = script.function_at(start)
            if function and function.name:
                self.getters.add((script.url, function.name))
            elif not added:
                self._give_up(script, start)
        elif not added:
            self._give_up(script, start)

    def _register(self, script: Script, start: int, end: int) -> None:
        if end == start + 1 and script.is_name(start):
            function = script.function_at(start, parameter=script.value(start))
            if function and function.name:
                number = function.parameters.index(script.value(start))
                self.registrars.setdefault((script.url, function.name), set()).add(number)
                return
            if function:
                self._give_up(script, start)
                return
        values = self._values(script, start, end)
        if values is None:
            self._give_up(script, start)
        for tag in values or ():
            self.tags.setdefault(tag, set()).add(script.url)

    def _give_up(self, script: Script, index: int) -> None:
        self.unclear.setdefault(script.url, set()).add(script.tokens[index].position)


def _dotted(tokens: Sequence[Token], index: int) -> tuple[str, int]:
    """The name that begins at an index, with its members, and the index after it."""
    if index >= len(tokens) or tokens[index].kind != NAME:
        return "", index
    name = tokens[index].value
    index += 1
    while index + 1 < len(tokens) and tokens[index].kind == PUNCTUATION and tokens[index].value in _DOTS:
        if tokens[index + 1].kind != NAME:
            break
        name += f".{tokens[index + 1].value}"
        index += 2
    return name, index


def _name_before(script: Script, equals: int) -> str:
    """The name, with its members, that an equals sign gives a value to."""
    start = equals - 1
    while script.value(start - 1) in _DOTS and script.is_name(start - 2):
        start -= 2
    return _dotted(script.tokens, start)[0]
