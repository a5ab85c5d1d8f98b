# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Take a contract's version out of files: constants, documents, manifests. No code is executed."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
from collections.abc import Iterator
from typing import Any, Callable

from ansible_collections.slipway.odoo.plugins.module_utils import javascript
from ansible_collections.slipway.odoo.plugins.module_utils.api_contract import (
    UNREACHABLE,
    Value,
    invalid,
    missing,
    quote,
    version_of,
)
from ansible_collections.slipway.odoo.plugins.module_utils.errors import NotReadyError, SlipwayError
from ansible_collections.slipway.odoo.plugins.module_utils.odoo_manifest import MANIFEST

SCRIPTS = (".ts", ".tsx", ".mts", ".cts", ".js", ".jsx", ".mjs", ".cjs")
PYTHON = (".py",)
JSON, YAML, TOML = (".json",), (".yaml", ".yml"), (".toml",)
WHOLE = "."
SIZE_LIMIT = 16 * 1024 * 1024
_SERIES = re.compile(r"\A(?:saas~)?\d+\.\d+\.(?=\d+\.\d+(?:\.\d+)?\Z)")
#: What may follow a value on its own line without being part of its expression.
_AFTER_VALUE = frozenset(("as", "satisfies", ";", "}", ","))
_DECLARING = ("const", "let", "var")
_ASSIGNING = re.compile(r"=(?![=>])|(?:[-+/%^]|\*\*?|&&?|\|\|?|\?\?|<<|>>>?)=(?!=)|\+\+|--")
#: Bodies with names of their own, not the module's.
_OWN_SCOPE = (
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda),
    *(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp),
)


class UnreadableError(Exception):
    """A document cannot be had; ``value`` is what its source then holds."""

    def __init__(self, value: Value) -> None:
        super().__init__(value.detail)
        self.value = value


def library(name: str, *, package: str, purpose: str) -> Any:
    """Import what is needed only for some sources.

    :raises NotReadyError: it is not installed
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise NotReadyError(
            f"The Python library {name} is needed {purpose}: install {package} on the host this task runs on "
            f"(for the Python that Ansible uses there)"
        ) from error


def read_file(path: str) -> bytes:
    """Return a file's content.

    :raises UnreadableError: it is not there, is no regular file, may not be read, or is too large
    """
    try:
        if not os.path.isfile(path):
            raise UnreadableError(missing("there is no such file"))
        with open(path, "rb") as stream:
            content = stream.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise UnreadableError(Value(UNREACHABLE, detail=f"cannot be read: {error.strerror}")) from error
    if len(content) > SIZE_LIMIT:
        raise UnreadableError(invalid(f"is larger than {SIZE_LIMIT // 1024 // 1024} MiB"))
    return content


def decode(content: bytes) -> str:
    """Return the text of a file.

    :raises UnreadableError: it is not UTF-8
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableError(invalid("is not UTF-8")) from error


def constant(content: bytes, *, path: str, name: str) -> tuple[Value, int]:
    """Return what a constant in a TypeScript, JavaScript or Python file holds, and its line (0: none)."""
    if path.endswith(PYTHON):
        return python_constant(content, name=name)
    return script_constant(decode(content), name=name)


def script_constant(text: str, *, name: str) -> tuple[Value, int]:
    """Return what ``const NAME = '…'`` at the top of a TypeScript or JavaScript module holds, and its line."""
    tokens = javascript.tokenize(text)
    depth, declaring = 0, ""
    declared: list[int] = []
    assigned: list[int] = []
    for index, token in enumerate(tokens):
        if token.kind == javascript.PUNCTUATION:
            depth += {"{": 1, "(": 1, "[": 1, "}": -1, ")": -1, "]": -1}.get(token.value, 0)
            declaring = "" if depth == 0 and token.value == ";" else declaring
        elif depth == 0 and token.kind == javascript.NAME and token.value in _DECLARING:
            declaring = token.value
        elif depth == 0 and token[:2] == (javascript.NAME, name) and index:
            if tokens[index - 1].value in (*_DECLARING, ",") and declaring:
                declared.append(index)
            elif tokens[index - 1].value not in (".", "?.") and _assigns(tokens, index):
                assigned.append(index)
    if not declared:
        return missing(f"has no constant {name} at the top of the module"), 0
    index, *others = [*declared, *assigned]
    line = javascript.line_number(text, tokens[(others or [index])[0]].position)
    if others:
        return invalid(f"defines {name} more than once"), line
    return _script_value(text, tokens[index + 1 :], name=name), line


def _assigns(tokens: list[javascript.Token], index: int) -> bool:
    """Whether a name is given another value: what stands around it says so."""
    operator, end = "", tokens[index].position + len(tokens[index].value)
    for token in tokens[index + 1 : index + 5]:
        if token.kind != javascript.PUNCTUATION or (operator and token.position != end):
            break
        operator, end = operator + token.value, token.position + len(token.value)
    return tokens[index - 1].value in ("++", "--") or bool(_ASSIGNING.match(operator))


def _script_value(text: str, tokens: list[javascript.Token], *, name: str) -> Value:
    """Judge what follows the name in a declaration: perhaps a type, then the value."""
    depth, start = 0, None
    for index, token in enumerate(tokens):
        if token.kind != javascript.PUNCTUATION:
            continue
        depth += {"{": 1, "(": 1, "[": 1, "}": -1, ")": -1, "]": -1}.get(token.value, 0)
        if depth < 0 or (depth == 0 and token.value == ";"):
            break
        if depth == 0 and token.value == "=":
            start = index + 1
            break
    if start is None or start >= len(tokens):
        return missing(f"declares {name} without a value")
    value, following = tokens[start], tokens[start + 1 : start + 2]
    whole = not following or following[0].value in _AFTER_VALUE or _begins_anew(text, value, following[0])
    if value.kind == javascript.STRING and whole:
        return version_of(value.value)
    if value.kind == javascript.NUMBER and value.value.isdigit() and whole:
        return version_of(int(value.value))
    return invalid(f"{name} is no plain text")


def _begins_anew(text: str, value: javascript.Token, following: javascript.Token) -> bool:
    """Whether a statement ends between two tokens because the second begins a line of its own."""
    return following.kind == javascript.NAME and "\n" in text[value.position : following.position]


def python_constant(content: bytes, *, name: str) -> tuple[Value, int]:
    """Return what a module-level assignment in a Python file holds, and its line."""
    try:
        body = ast.parse(content).body
    except SyntaxError as error:
        return invalid(f"cannot be parsed as Python: {error.msg}"), error.lineno or 0
    except (ValueError, RecursionError, MemoryError) as error:
        return invalid(f"cannot be parsed as Python: {error}"), 0
    bindings = list(_bindings(body, name))
    if not bindings:
        return missing(f"assigns no {name} at the level of the module"), 0
    if len(bindings) > 1:
        return invalid(f"assigns {name} more than once, or takes it away again"), bindings[1].lineno
    node = bindings[0]
    if node not in body:
        return invalid(f"assigns {name} only under a condition"), node.lineno
    if isinstance(node, ast.AnnAssign) and node.value is None:
        return missing(f"declares {name} without a value"), node.lineno
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    assigns = isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Constant)
    if not assigns or not any(isinstance(target, ast.Name) and target.id == name for target in targets):
        return invalid(f"{name} is no plain text"), node.lineno
    return version_of(node.value.value), node.lineno


def _bindings(body: list[ast.stmt], name: str) -> Iterator[Any]:
    """The statement of every place that gives a name a meaning, or takes it away, in the module's own scope."""
    # No recursion: an expression may be deeper than Python's own stack.
    waiting: list[tuple[Any, ast.stmt]] = [(statement, statement) for statement in reversed(body)]
    while waiting:
        node, statement = waiting.pop()
        if _binds(node, name):
            yield statement
        if not isinstance(node, _OWN_SCOPE):
            children = [*ast.iter_child_nodes(node)]
            waiting += [(child, child if isinstance(child, ast.stmt) else statement) for child in reversed(children)]


def _binds(node: Any, name: str) -> bool:
    if isinstance(node, ast.Name):
        return node.id == name and not isinstance(node.ctx, ast.Load)
    if isinstance(node, ast.alias):
        return (node.asname or node.name.partition(".")[0]) == name
    # Functions, classes, exceptions that are caught, and patterns (`rest`: that of a mapping).
    return name in (getattr(node, "name", None), getattr(node, "rest", None))


def is_document(path: str) -> bool:
    """Whether a file's name says that it is JSON, YAML or TOML."""
    return path.endswith(JSON + YAML + TOML)


def document(content: bytes, *, path: str) -> Any:
    """Parse a JSON, YAML or TOML file, told apart by its name.

    :raises UnreadableError: it cannot be parsed
    :raises NotReadyError: the library for it is not installed
    """
    if path.endswith(YAML):
        return _parse_yaml(content)
    if path.endswith(TOML):
        return _parse_toml(decode(content))
    return parse_json(decode(content))


def parse_json(text: str) -> Any:
    """Parse JSON.

    :raises UnreadableError: it is none
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(invalid(f"cannot be parsed as JSON: {error}")) from error


def _parse_yaml(content: bytes) -> Any:
    yaml = library("yaml", package="python3-yaml", purpose="to read YAML")
    try:
        return yaml.load(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        # Its text quotes the file.
        line = f" (line {error.problem_mark.line + 1})" if error.problem_mark else ""
        raise UnreadableError(invalid(f"cannot be parsed as YAML: {error.problem}{line}")) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UnreadableError(invalid(f"cannot be parsed as YAML: {type(error).__name__}")) from error


def _parse_toml(text: str) -> Any:
    loads, fault = _toml_parser()
    try:
        return loads(text)
    except fault as error:
        raise UnreadableError(invalid(f"cannot be parsed as TOML: {error}")) from error
    except RecursionError as error:
        raise UnreadableError(invalid("cannot be parsed as TOML: it is nested too deeply")) from error


def _toml_parser() -> tuple[Callable[[str], Any], type[Exception]]:
    """Python 3.11 has a parser of its own, and older ones the library that it was made of."""
    try:
        parser = importlib.import_module("tomllib")
    except ImportError:
        parser = library("tomli", package="python3-tomli", purpose="to read TOML with a Python before 3.11")
    return parser.loads, parser.TOMLDecodeError


def keys_of(path: str) -> tuple[str, ...]:
    r"""Split a path into keys: ``info.version`` at dots; ``\.`` is a dot in a key, ``\\`` a backslash.

    :raises SlipwayError: it is empty, or ends in a lone backslash
    """
    if path == WHOLE:
        return ()
    keys, key, characters = [], "", iter(path)
    for character in characters:
        if character == "\\":
            escaped = next(characters, "")
            if escaped not in (".", "\\"):
                raise SlipwayError(f"path {quote(path)} has a backslash before neither a dot nor a backslash")
            key += escaped
        elif character == ".":
            keys.append(key)
            key = ""
        else:
            key += character
    if not path:
        raise SlipwayError("path is empty: name the keys that lead to the version, or '.' for the whole document")
    return (*keys, key)


def value_at(content: Any, *, path: str) -> Value:
    """Follow a path to a version: a key of an object, or a number (from 0) in a list, at each step."""
    way = ""
    for key in keys_of(path):
        way = f"{way} → {key}" if way else key
        if isinstance(content, dict):
            if key not in content and not (key.isdecimal() and int(key) in content):
                return missing(f"has no {way}")
            content = content[key] if key in content else content[int(key)]
        elif isinstance(content, list):
            if not key.isdecimal():
                return missing(f"has no {way}: there is a list, of which an entry is named by its number")
            if int(key) >= len(content):
                return missing(f"has no {way}: the list has {len(content)} entries")
            content = content[int(key)]
        else:
            return missing(f"has no {way}")
    return version_of(content)


def manifest_file(path: str) -> str:
    """Return the manifest of a path that is one, or that is a module's directory."""
    return path if os.path.basename(path) == MANIFEST else os.path.join(path, MANIFEST)


def manifest_version(content: bytes, *, without_series: bool) -> Value:
    """Return the version of an Odoo manifest, perhaps without Odoo's own (``19.0.`` of ``19.0.1.2.0``)."""
    try:
        manifest = ast.literal_eval(decode(content).strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else "it is more than plain values"
        return invalid(f"cannot be parsed as a manifest: {reason}")
    if not isinstance(manifest, dict):
        return invalid("is no manifest: it holds no dictionary")
    if "version" not in manifest:
        return missing("has no version")
    value = version_of(manifest["version"])
    if without_series and value.version:
        return version_of(_SERIES.sub("", value.version, count=1))
    return value
