# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Split JavaScript into tokens, so that comments, strings and regular expressions are not taken for code.

No parser: what is asked of a script can be told from its tokens and its pairs of brackets. Any text is
taken; where it is no JavaScript, the tokens mean nothing, but nothing fails.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

NAME, STRING, TEMPLATE, NUMBER, REGEX, PUNCTUATION = "name", "string", "template", "number", "regex", "punctuation"
_CLOSING = {")": "(", "]": "[", "}": "{"}
_CODE = re.compile(
    r"""
    (?P<space>[\s\ufeff]+ | //[^\n\r\u2028\u2029]* | /\*(?:[^*]|\*(?!/))*(?:\*/|\Z))
  | (?P<name>[#@]?(?:[^\W\d]|\$)[\w$]*)
  | (?P<number>\d[\w.]* | \.\d\w*)
  | (?P<string>"(?:[^"\\\n]|\\.)*"? | '(?:[^'\\\n]|\\.)*'?)
  | (?P<punctuation>\?\.(?!\d) | => | \.\.\. | \+\+ | -- | .)
    """,
    re.VERBOSE | re.DOTALL,
)
_REGEX = re.compile(r"/(?![*/])(?:[^\\/\[\n]|\\[^\n]|\[(?:[^\]\\\n]|\\[^\n])*\])+/\w*")
_TEMPLATE = re.compile(r"(?P<text>(?:[^`\\$]|\\.|\\\Z|\$(?!\{))*)(?P<end>`|\$\{|\Z)", re.DOTALL)
_ESCAPE = re.compile(r"\\(u\{[0-9A-Fa-f]{1,6}\}|u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2}|\r\n|.)", re.DOTALL)
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "0": "\0", "\n": "", "\r": "", "\r\n": ""}
#: After these a slash begins a regular expression, and a brace an object.
_OPERATORS = frozenset(
    (
        "await", "case", "default", "delete", "do", "else", "extends", "in", "instanceof", "new", "of", "return",
        "throw", "typeof", "void", "yield",
    )
)  # fmt: skip
_BEFORE_BLOCK = frozenset(("if", "while", "for", "with"))


class Token(NamedTuple):
    """A piece of code. ``value`` of a string is what it means, without quotes and escapes.

    A template with substitutions holds a tuple of texts and of tuples of tokens; one without is a string.
    """

    kind: str
    value: Any
    position: int


class _Template:
    """A template whose end has not been reached: the code around it, and its parts so far."""

    def __init__(self, outer: list[Token], position: int, depth: int) -> None:
        self.outer = outer
        self.position = position
        self.depth = depth
        self.parts: list[Any] = []


class _Scanner:
    """One pass over one script."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[Token] = []
        self.templates: list[_Template] = []
        #: One entry for each open bracket: whether a slash after its end begins a regular expression.
        self.open: list[bool] = []
        self.regex_next = True

    def run(self) -> list[Token]:
        position, end = 0, len(self.text)
        while position < end:
            position = self._step(position)
        while self.templates:
            self._close_template()
        return self.tokens

    def _step(self, position: int) -> int:
        if self.text[position] == "/" and self.regex_next:
            regex = _REGEX.match(self.text, position)
            if regex:
                self._add(REGEX, regex[0], position, regex_next=False)
                return regex.end()
        match = _CODE.match(self.text, position)
        if match is None:  # cannot be: the last alternative takes anything
            return position + 1
        kind, value = str(match.lastgroup), match[0]
        if kind == "space":
            return match.end()
        if kind == PUNCTUATION:
            return self._punctuation(value, position)
        if kind == NAME:
            after_dot = bool(self.tokens) and self.tokens[-1].value in (".", "?.")
            self._add(NAME, value, position, regex_next=value in _OPERATORS and not after_dot)
        elif kind == STRING:
            closed = len(value) > 1 and value[-1] == value[0]
            self._add(STRING, unescape(value[1:-1] if closed else value[1:]), position, regex_next=False)
        else:
            self._add(kind, value, position, regex_next=False)
        return match.end()

    def _punctuation(self, value: str, position: int) -> int:
        if value == "`":
            self.templates.append(_Template(self.tokens, position, len(self.open)))
            self.tokens = []
            return self._template(position + 1)
        if value == "}" and self.templates and self.templates[-1].depth == len(self.open):
            self.templates[-1].parts.append(tuple(self.tokens))
            self.tokens = []
            return self._template(position + 1)
        regex_next = True
        if value == "(":
            self.open.append(bool(self.tokens) and self.tokens[-1].value in _BEFORE_BLOCK)
        elif value == "[":
            self.open.append(False)
        elif value == "{":
            self.open.append(self._begins_block())
        elif value in _CLOSING:
            floor = self.templates[-1].depth if self.templates else 0
            regex_next = self.open.pop() if len(self.open) > floor else value == "}"
        elif value in ("++", "--"):
            regex_next = self.regex_next
        self._add(PUNCTUATION, value, position, regex_next=regex_next)
        return position + len(value)

    def _begins_block(self) -> bool:
        if not self.tokens:
            return True
        last = self.tokens[-1]
        if last.kind == PUNCTUATION:
            return last.value in (")", "=>", ";", "{", "}")
        return last.kind != NAME or last.value in ("do", "else") or not self.regex_next

    def _template(self, position: int) -> int:
        """Go on inside the innermost template: to its end, or to the code of its next substitution."""
        match = _TEMPLATE.match(self.text, position)
        if match is None:  # cannot be: every part may be empty
            return len(self.text)
        self.templates[-1].parts.append(unescape(match["text"]))
        if match["end"] == "${":
            self.regex_next = True
        else:
            self._close_template()
        return match.end()

    def _close_template(self) -> None:
        template = self.templates.pop()
        parts = tuple(template.parts) + ((tuple(self.tokens),) if self.tokens else ())
        del self.open[template.depth :]
        self.tokens = template.outer
        if len(parts) == 1 and isinstance(parts[0], str):
            self._add(STRING, parts[0], template.position, regex_next=False)
        else:
            self._add(TEMPLATE, parts, template.position, regex_next=False)

    def _add(self, kind: str, value: Any, position: int, *, regex_next: bool) -> None:
        self.tokens.append(Token(kind, value, position))
        self.regex_next = regex_next


def tokenize(text: str) -> list[Token]:
    """Return a script's tokens, without comments and white space."""
    return _Scanner("//" + text if text.startswith("#!") else text).run()


def unescape(text: str) -> str:
    """What the inside of a string means."""
    return _ESCAPE.sub(_character, text) if "\\" in text else text


def _character(match: re.Match[str]) -> str:
    code = match[1]
    if code[0] in "ux" and len(code) > 1:
        number = int(code[1:].strip("{}"), 16)
        return chr(number) if number < 0x110000 and not 0xD800 <= number < 0xE000 else "\ufffd"
    return _LETTERS.get(code, code)


def pair_brackets(tokens: Sequence[Token]) -> dict[int, int]:
    """Map each bracket's index to that of its partner; brackets without one are left out."""
    pairs: dict[int, int] = {}
    waiting: list[int] = []
    for index, token in enumerate(tokens):
        if token.kind != PUNCTUATION:
            continue
        if token.value in ("(", "[", "{"):
            waiting.append(index)
        elif token.value in _CLOSING and waiting and tokens[waiting[-1]].value == _CLOSING[token.value]:
            start = waiting.pop()
            pairs[start], pairs[index] = index, start
    return pairs


def line_number(text: str, position: int) -> int:
    """The line, from 1, that a position is in."""
    ends = [match.start() for match in re.finditer("\n", text)]
    return bisect.bisect_left(ends, position) + 1
