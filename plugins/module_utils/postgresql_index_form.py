# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an index is, in a user's words and in PostgreSQL's. Pure.

Columns, expressions and predicates of a user become part of a statement and cannot be bound as
parameters. So they are split into tokens here, and only those pass that make one expression: no
semicolon, comment, dollar quote, escape string or second string constant right after one (which
PostgreSQL joins with the first, and reads by that one's rules), and every bracket closed. What goes to the
server is written anew from the tokens. ``standard_conforming_strings`` must be on.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

#: PostgreSQL cuts longer names off.
NAME_BYTES = 63
#: Words that mean something else in double quotes than without; reserved ones, from PostgreSQL 17.
RESERVED = frozenset(
    (
        "all", "analyse", "analyze", "and", "any", "array", "as", "asc", "asymmetric", "both", "case", "cast", "check",
        "collate", "column", "constraint", "create", "current_catalog", "current_date", "current_role", "current_time",
        "current_timestamp", "current_user", "default", "deferrable", "desc", "distinct", "do", "else", "end", "except",
        "false", "fetch", "for", "foreign", "from", "grant", "group", "having", "in", "initially", "intersect", "into",
        "lateral", "leading", "limit", "localtime", "localtimestamp", "not", "null", "offset", "on", "only", "or",
        "order", "placing", "primary", "references", "returning", "select", "session_user", "some", "symmetric",
        "system_user", "table", "then", "to", "trailing", "true", "union", "unique", "user", "using", "variadic",
        "when", "where", "window", "with",
    )
)  # fmt: skip

_LETTER = "A-Za-z_\u0080-\U0010ffff"
_TOKEN = re.compile(
    rf"""
    (?P<space>[ \t\n\r\f\v]+)
    | (?P<string>'(?:[^']|'')*')
    | (?P<quoted>"(?:[^"]|"")+")
    | (?P<name>[{_LETTER}][{_LETTER}0-9$]*)
    | (?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    | (?P<operator>[-+*/<>=~!@#%^&|`?]+)
    | (?P<mark>::|[()\[\],.:])
    """,
    re.VERBOSE,
)
_PAIRS = {"(": ")", "[": "]"}
_PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_$]*")
_FOLD = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
#: Letters that make another kind of constant of the string right after them.
_PREFIXES = frozenset("ebxn")
#: Words that go on after the first one of a type's name.
_TYPE_WORDS = frozenset(("varying", "precision", "with", "without", "time", "zone"))


class Token(NamedTuple):
    """One word, constant, operator or bracket. Names are folded, and quoted only where they must be."""

    kind: str
    text: str


@dataclasses.dataclass(frozen=True)
class IndexKey:
    """One key of an index: a column by its real name, or an expression without its outer brackets.

    ``collation`` and ``opclass`` are empty where PostgreSQL's default is meant.
    """

    column: str = ""
    expression: str = ""
    collation: str = ""
    opclass: str = ""
    descending: bool = False
    nulls_first: bool = False

    @property
    def options(self) -> str:
        """What follows the column or expression, beginning with a space; defaults are left out."""
        text = f" COLLATE {self.collation}" if self.collation else ""
        text += f" {self.opclass}" if self.opclass else ""
        text += " DESC" if self.descending else ""
        if self.nulls_first != self.descending:
            text += " NULLS FIRST" if self.nulls_first else " NULLS LAST"
        return text

    def __str__(self) -> str:
        return (quote_name(self.column) if self.column else f"({self.expression})") + self.options


@dataclasses.dataclass(frozen=True)
class IndexForm:
    """What an index does, without its name and table. ``where`` has no outer brackets."""

    keys: tuple[IndexKey, ...]
    method: str = "btree"
    unique: bool = False
    nulls_not_distinct: bool = False
    include: tuple[str, ...] = ()
    where: str = ""

    def __str__(self) -> str:
        text = f"{'UNIQUE ' if self.unique else ''}{self.method} ({', '.join(map(str, self.keys))})"
        if self.include:
            text += f" INCLUDE ({', '.join(map(quote_name, self.include))})"
        text += " NULLS NOT DISTINCT" if self.nulls_not_distinct else ""
        return text + (f" WHERE {self.where}" if self.where else "")

    def differences(self, other: IndexForm) -> list[dict[str, Any]]:
        """Say in which respects another form is not this one, which is the wanted one."""
        found: list[dict[str, Any]] = []
        for aspect, wanted, actual in (
            ("columns", [str(key) for key in self.keys], [str(key) for key in other.keys]),
            ("unique", self.unique, other.unique),
            ("method", self.method, other.method),
            ("where", self.where, other.where),
            ("include", sorted(self.include), sorted(other.include)),
            ("nulls_not_distinct", self.nulls_not_distinct, other.nulls_not_distinct),
        ):
            if wanted != actual:
                found.append({"aspect": aspect, "expected": wanted, "actual": actual})
        return found

    def same(self, other: IndexForm) -> bool:
        """Tell whether two forms are equal; the order of included columns means nothing."""
        return not self.differences(other)

    def loosely_same(self, other: IndexForm) -> bool:
        """Tell whether two forms are equal but for casts and brackets."""
        return _loose_form(self).same(_loose_form(other))

    def does_work_of(self, other: IndexForm) -> bool:
        """Tell whether this form can stand in for another completely."""
        return (
            self.method == other.method
            and self.keys == other.keys
            and self.where == other.where
            and set(other.include) <= set(self.include)
            and (not other.unique or (self.unique and self.nulls_not_distinct == other.nulls_not_distinct))
        )

    def covers(self, other: IndexForm) -> bool:
        """Tell whether searches that another form serves are served by this wider one, too."""
        columns = {key.column for key in self.keys} | set(self.include)
        return (
            self.method == other.method == "btree"
            and not other.unique
            and self.keys[: len(other.keys)] == other.keys
            and self.where in ("", other.where)
            and set(other.include) <= columns
            and not self.does_work_of(other)
        )


#: Of what need not be described.
NO_FORM = IndexForm(keys=())


@dataclasses.dataclass(frozen=True)
class Wanted:
    """An index that somebody describes. Of an absent one, only ``name`` need be known."""

    name: str
    schema: str = ""
    table: str = ""
    form: IndexForm = NO_FORM
    present: bool = True

    @property
    def where(self) -> str:
        """The table as the user wrote it."""
        return f"{self.schema}.{self.table}" if self.schema else self.table


def form_arguments(*, stateful: bool) -> dict[str, dict[str, Any]]:
    """The suboptions that describe one index.

    :param stateful: whether an entry may also say that the index is unwanted.
    """
    options: dict[str, dict[str, Any]] = {
        "name": {"type": "str", "required": True},
        "table": {"type": "str", "required": not stateful},
        "schema": {"type": "str"},
        "columns": {"type": "list", "elements": "str", "required": not stateful},
        "unique": {"type": "bool", "default": False},
        "nulls_not_distinct": {"type": "bool", "default": False},
        "method": {"type": "str", "default": "btree"},
        "where": {"type": "str"},
        "include": {"type": "list", "elements": "str", "default": []},
        "opclass": {"type": "str"},
    }
    if stateful:
        options["state"] = {"type": "str", "choices": ["present", "absent"]}
    return options


def quote_name(name: str) -> str:
    """A name as it stands in a definition, for people to read."""
    if _PLAIN_NAME.fullmatch(name) and name not in RESERVED:
        return name
    return '"' + name.replace('"', '""') + '"'


def split_table(text: str) -> tuple[str, str]:
    """Split ``schema.table`` at its first dot; the schema is empty without one."""
    schema, dot, table = text.partition(".")
    return (schema, table) if dot else ("", text)


def read_wanted(
    entries: Iterable[Mapping[str, Any]], *, schema: str | None = None, state: str = "present"
) -> tuple[Wanted, ...]:
    """Understand a module's list of indexes.

    :param schema: of those that name none.
    :param state: of those that name none.
    :raises SlipwayError: with everything that is wrong.
    """
    found: dict[tuple[str, str], Wanted] = {}
    problems: list[str] = []
    for entry in entries:
        try:
            wanted = _read_entry(entry, schema or "", state)
        except ValueError as error:
            problems.append(f"{entry['name']!r}: {error}")
            continue
        if (wanted.schema, wanted.name) in found:
            problems.append(f"{wanted.name!r}: is named twice")
        found[wanted.schema, wanted.name] = wanted
    if problems:
        raise SlipwayError(f"These indexes are not described well: {'; '.join(problems)}", problems=problems)
    return tuple(found.values())


def _read_entry(entry: Mapping[str, Any], schema: str, state: str) -> Wanted:
    present = (entry.get("state") or state) == "present"
    name = check_name(entry["name"], "name")
    table = entry.get("table") or ""
    own = entry.get("schema") or ""
    if table and not own:
        own, table = split_table(table)
    own = own or schema
    if own:
        check_name(own, "schema")
    if table or present:
        check_name(table, "table")
    if not present:
        return Wanted(name=name, schema=own, table=table, present=False)
    if not entry.get("columns"):
        raise ValueError("columns must name at least one")
    method = entry["method"].strip().lower()
    if not _PLAIN_NAME.fullmatch(method):
        raise ValueError(f"method {entry['method']!r} is not a name")
    opclass = _read_opclass(entry["opclass"]) if entry.get("opclass") else ""
    keys = tuple(_read_part(read_key, item, "columns") for item in entry["columns"])
    form = IndexForm(
        keys=tuple(dataclasses.replace(key, opclass=key.opclass or opclass) for key in keys),
        method=method,
        unique=bool(entry.get("unique")),
        nulls_not_distinct=bool(entry.get("nulls_not_distinct")),
        include=tuple(_read_part(_read_column, item, "include") for item in entry.get("include") or ()),
        where=_read_part(read_expression, entry["where"], "where") if entry.get("where") else "",
    )
    if form.nulls_not_distinct and not form.unique:
        raise ValueError("nulls_not_distinct goes with unique only")
    return Wanted(name=name, schema=own, table=table, form=form)


def _read_part(read: Any, text: str, option: str) -> Any:
    try:
        return read(text)
    except ValueError as error:
        raise ValueError(f"{option}: {text!r} {error}") from None


def check_name(name: str, option: str) -> str:
    """Return a name that PostgreSQL takes as it stands.

    :raises ValueError: it does not.
    """
    if not name or "\0" in name:
        raise ValueError(f"{option} must be given")
    if len(name.encode()) > NAME_BYTES:
        raise ValueError(f"{option} {name!r} has more than {NAME_BYTES} bytes, PostgreSQL would cut it off")
    return name


def tokenize(text: str) -> tuple[Token, ...]:
    """Split one expression, or a list of them, into tokens.

    :raises ValueError: it holds what could end the expression, or what cannot be understood.
    """
    tokens: list[Token] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if not match:
            raise ValueError(_refusal(text[position]))
        kind, found = str(match.lastgroup), match[0]
        if kind == "operator":
            found = _operator(found)
        position += len(found)
        if kind != "space":
            tokens.append(_token(kind, found, text[position : position + 2], tokens))
    _check_brackets(tokens)
    return tuple(tokens)


def _refusal(character: str) -> str:
    if character == ";":
        return "holds a semicolon"
    if character == "$":
        return "holds a dollar sign, which begins a dollar quote or a parameter"
    if character in "'\"":
        return f"has a {character} that is not closed"
    return f"holds {character!r}, which has no place in an expression"


def _operator(run: str) -> str:
    """PostgreSQL's rules for where a run of operator characters ends."""
    if "--" in run or "/*" in run:
        raise ValueError("holds a comment")
    while len(run) > 1 and run[-1] in "+-" and not set(run) & set("~!@#%^&|`?"):
        run = run[:-1]
    return run


def _token(kind: str, text: str, following: str, before: Sequence[Token]) -> Token:
    last = before[-1] if before else None
    if kind == "string" and last and last.kind == "string":
        raise ValueError("holds two string constants one after the other")
    if kind == "name":
        folded = text.translate(_FOLD)
        if (folded in _PREFIXES and following[:1] == "'") or (folded == "u" and following in ("&'", '&"')):
            raise ValueError(f"holds a constant that begins with {text}{following}: write it as a plain string")
        return Token("name", folded)
    if kind == "quoted":
        name = text[1:-1].replace('""', '"')
        if "\0" in name:
            raise ValueError("holds a zero byte")
        return Token("quoted" if quote_name(name) != name else "name", quote_name(name))
    if "\0" in text:
        raise ValueError("holds a zero byte")
    return Token(kind, text)


def _check_brackets(tokens: Iterable[Token]) -> None:
    open_ones: list[str] = []
    for token in tokens:
        if token.kind != "mark":
            continue
        if token.text in _PAIRS:
            open_ones.append(_PAIRS[token.text])
        elif token.text in _PAIRS.values() and (not open_ones or open_ones.pop() != token.text):
            raise ValueError(f"has a {token.text} too many")
    if open_ones:
        raise ValueError(f"lacks a {open_ones[-1]}")


def write(tokens: Sequence[Token]) -> str:
    """Write tokens as PostgreSQL itself would space them."""
    text = ""
    for number, token in enumerate(tokens):
        before = tokens[number - 1] if number else None
        text += f" {token.text}" if before and _apart(before, token) else token.text
    return text


def _apart(before: Token, token: Token) -> bool:
    if token.kind == "mark":
        if token.text in (")", "]", ",", ".", "::"):
            return False
        if token.text in ("(", "["):
            named = before.kind in ("name", "quoted") and (before.text not in RESERVED or token.text == "[")
            return not named and before.text not in ("(", "[", ".", "::", *((")", "]") if token.text == "[" else ()))
    return not (before.kind == "mark" and before.text in ("(", "[", ".", "::"))


def _group_end(tokens: Sequence[Token], start: int) -> int:
    """Position after the bracket that closes the one at ``start``."""
    depth = 0
    for position in range(start, len(tokens)):
        if tokens[position].kind == "mark":
            depth += tokens[position].text in _PAIRS
            depth -= tokens[position].text in _PAIRS.values()
        if depth == 0:
            return position + 1
    return len(tokens)


def _is(tokens: Sequence[Token], position: int, *texts: str) -> bool:
    return position < len(tokens) and tokens[position].kind in ("mark", "name") and tokens[position].text in texts


def _named(tokens: Sequence[Token], position: int) -> bool:
    return position < len(tokens) and tokens[position].kind in ("name", "quoted")


def _bare(tokens: Sequence[Token]) -> Sequence[Token]:
    """Take outer brackets off."""
    while _is(tokens, 0, "(") and _group_end(tokens, 0) == len(tokens):
        tokens = tokens[1:-1]
    return tokens


def _split(tokens: Sequence[Token]) -> list[Sequence[Token]]:
    """Split at the commas outside of brackets."""
    parts: list[Sequence[Token]] = []
    start = position = 0
    while position < len(tokens):
        if _is(tokens, position, "("):
            position = _group_end(tokens, position)
            continue
        if _is(tokens, position, ","):
            parts.append(tokens[start:position])
            start = position + 1
        position += 1
    return [*parts, tokens[start:]]


def read_expression(text: str) -> str:
    """Return one expression in normal form.

    :raises ValueError: it is none, or more than one.
    """
    return _expression(tokenize(text))


def _expression(tokens: Sequence[Token]) -> str:
    tokens = _bare(tokens)
    if not tokens:
        raise ValueError("is empty")
    if len(_split(tokens)) > 1:
        raise ValueError("is more than one expression")
    return write(tokens)


def read_key(text: str) -> IndexKey:
    """Understand one key: a column, a function call or an expression in brackets, and what may follow it.

    :raises ValueError: it is something else.
    """
    tokens = tokenize(text)
    if not tokens:
        raise ValueError("is empty")
    return _key(tokens)


def _key(tokens: Sequence[Token]) -> IndexKey:
    if _is(tokens, 0, "("):
        end = _group_end(tokens, 0)
        inner = _bare(tokens[:end])
        single = len(inner) == 1 and _named(inner, 0)
        key = IndexKey(column=_unquoted(inner[0])) if single else IndexKey(expression=_expression(inner))
    elif _named(tokens, 0):
        end = _qualified_end(tokens, 0)
        if _is(tokens, end, "("):
            end = _group_end(tokens, end)
            key = IndexKey(expression=_expression(tokens[:end]))
        elif end == 1:
            key = IndexKey(column=_unquoted(tokens[0]))
        else:
            raise ValueError("names a column of some table: leave the table out")
    else:
        raise ValueError("must begin with a column, a function or a bracket")
    return _key_options(key, tokens, end)


def _key_options(key: IndexKey, tokens: Sequence[Token], position: int) -> IndexKey:
    collation = opclass = ""
    if _is(tokens, position, "collate"):
        end = _qualified_end(tokens, position + 1)
        collation = write(_without_catalog(tokens[position + 1 : end]))
        position = end
        if not collation:
            raise ValueError("names no collation after COLLATE")
    if _named(tokens, position) and not _is(tokens, position, "asc", "desc", "nulls"):
        end = _qualified_end(tokens, position)
        end = _group_end(tokens, end) if _is(tokens, end, "(") else end
        opclass = write(_without_catalog(tokens[position:end]))
        position = end
    descending = _is(tokens, position, "desc")
    position += _is(tokens, position, "asc", "desc")
    nulls_first = descending
    if _is(tokens, position, "nulls") and _is(tokens, position + 1, "first", "last"):
        nulls_first = tokens[position + 1].text == "first"
        position += 2
    if position < len(tokens):
        raise ValueError(
            f"cannot be understood from {tokens[position].text} on: put an expression in brackets; after it may "
            "follow COLLATE, an operator class, ASC or DESC, NULLS FIRST or LAST"
        )
    return dataclasses.replace(
        key, collation=collation, opclass=opclass, descending=descending, nulls_first=nulls_first
    )


def _qualified_end(tokens: Sequence[Token], position: int) -> int:
    """Position after a name that may have others in front, with dots between."""
    if not _named(tokens, position):
        return position
    position += 1
    while _is(tokens, position, ".") and _named(tokens, position + 1):
        position += 2
    return position


def _without_catalog(tokens: Sequence[Token]) -> Sequence[Token]:
    return tokens[2:] if len(tokens) > 2 and tokens[0] == Token("name", "pg_catalog") else tokens


def _unquoted(token: Token) -> str:
    return token.text[1:-1].replace('""', '"') if token.kind == "quoted" else token.text


def _read_opclass(text: str) -> str:
    try:
        return _key_options(IndexKey(), tokenize(text), 0).opclass or _nothing("opclass")
    except ValueError as error:
        raise ValueError(f"opclass: {text!r} {error}") from None


def _nothing(option: str) -> str:
    raise ValueError(f"names no {option}")


def _read_column(text: str) -> str:
    tokens = tokenize(text)
    if len(tokens) != 1 or not _named(tokens, 0):
        raise ValueError("is not the name of a column")
    return _unquoted(tokens[0])


def read_definition(text: str) -> IndexForm:
    """Understand what PostgreSQL's ``pg_get_indexdef`` returns.

    :raises SlipwayError: it is something else.
    """
    head, _using, tail = text.partition(" USING ")
    unique = head.startswith("CREATE UNIQUE ")
    try:
        if '"' not in head:
            return _read_tail(tail, unique)
        # A name may hold that very word.
        tokens = tokenize(text)
        start = next((at for at in range(len(tokens)) if _is(tokens, at, "using")), len(tokens))
        return _definition(tokens[start + 1 :], unique=unique)
    except ValueError as error:
        raise SlipwayError(f"The definition {text!r} cannot be understood: it {error}") from None


#: Many indexes are equal, and those that PostgreSQL is asked about are mostly equal to the ones that are there.
@functools.lru_cache(maxsize=4096)
def _read_tail(tail: str, unique: bool) -> IndexForm:  # noqa: FBT001  a part of the key
    return _definition(tokenize(tail), unique=unique)


def _definition(tokens: Sequence[Token], *, unique: bool) -> IndexForm:
    """Understand what follows ``USING``."""
    if not _is(tokens, 1, "("):
        raise ValueError("has no list of columns")
    end = _group_end(tokens, 1)
    keys = tuple(_key(part) for part in _split(tokens[2 : end - 1]))
    include: tuple[str, ...] = ()
    if _is(tokens, end, "include"):
        start_of_list, end = end + 2, _group_end(tokens, end + 1)
        include = tuple(_unquoted(part[0]) for part in _split(tokens[start_of_list : end - 1]))
    nulls_not_distinct = _is(tokens, end, "nulls") and _is(tokens, end + 1, "not")
    while end < len(tokens) and not _is(tokens, end, "where"):
        end = _group_end(tokens, end)
    return IndexForm(
        keys=keys,
        method=tokens[0].text,
        unique=unique,
        nulls_not_distinct=nulls_not_distinct,
        include=include,
        where=_expression(tokens[end + 1 :]) if end < len(tokens) else "",
    )


def _loose_form(form: IndexForm) -> IndexForm:
    """A form without casts and brackets: for a comparison that must do without the server."""
    keys = tuple(dataclasses.replace(key, expression=_loose(key.expression)) for key in form.keys)
    return dataclasses.replace(form, keys=keys, where=_loose(form.where))


def _loose(expression: str) -> str:
    kept: list[str] = []
    tokens = tokenize(expression)
    position = 0
    while position < len(tokens):
        if _is(tokens, position, "::"):
            position = _type_end(tokens, position + 1)
            continue
        if not _is(tokens, position, "(", ")"):
            kept.append(tokens[position].text)
        position += 1
    return " ".join(kept)


def _type_end(tokens: Sequence[Token], position: int) -> int:
    position = _qualified_end(tokens, position)
    while _is(tokens, position, *_TYPE_WORDS):
        position += 1
    while _is(tokens, position, "(", "["):
        position = _group_end(tokens, position)
    while _is(tokens, position, *_TYPE_WORDS):
        position += 1
    return position
