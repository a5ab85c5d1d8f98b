"""JavaScript into tokens: what is code, and what only looks like it."""

from __future__ import annotations

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils.javascript import (
    NAME,
    NUMBER,
    PUNCTUATION,
    REGEX,
    STRING,
    TEMPLATE,
    line_number,
    pair_brackets,
    tokenize,
    unescape,
)
from hypothesis import given, settings
from hypothesis import strategies as st


def values(text):
    return [token.value for token in tokenize(text)]


def kinds(text):
    return [token.kind for token in tokenize(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("#!/usr/bin/env node\na", ["a"]),
        ("\ufeffa", ["a"]),
        ("a // b\nc", ["a", "c"]),
        ("a /* b\n * c */ d", ["a", "d"]),
        ("a /* never closed", ["a"]),
        ("/**/a/***/b", ["a", "b"]),
        ("'a // b'", ["a // b"]),
        ('"/* a"; b', ["/* a", ";", "b"]),
        (r'"a\"b"', ['a"b']),
        (r"'a\'b'", ["a'b"]),
        ('"open\nnext', ["open", "next"]),
        (r"'\x41\u0042\u{43}\n\q'", ["ABC\nq"]),
        ("'a\\\nb'", ["ab"]),
        ("`a`", ["a"]),
        ("`a\n// b`", ["a\n// b"]),
        (r"`\``", ["`"]),
        ("`$5 $`", ["$5 $"]),
        ("a?.b", ["a", "?.", "b"]),
        ("a?.5:b", ["a", "?", ".5", ":", "b"]),
        ("x=>{}", ["x", "=>", "{", "}"]),
        ("f(...a)", ["f", "(", "...", "a", ")"]),
        ("#private $dollar _under ünïcode", ["#private", "$dollar", "_under", "ünïcode"]),
    ],
)
def test_tokens(text, expected):
    assert values(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a / b / c", [NAME, PUNCTUATION, NAME, PUNCTUATION, NAME]),
        ("4 / 2 / 1", [NUMBER, PUNCTUATION, NUMBER, PUNCTUATION, NUMBER]),
        ("x = /a'b/g;", [NAME, PUNCTUATION, REGEX, PUNCTUATION]),
        ("(/[/'\"]/)", [PUNCTUATION, REGEX, PUNCTUATION]),
        (r"x = /\//", [NAME, PUNCTUATION, REGEX]),
        ("return /a/", [NAME, REGEX]),
        ("a.return / b / c", [NAME, PUNCTUATION, NAME, PUNCTUATION, NAME, PUNCTUATION, NAME]),
        ("(a) / b / c", [PUNCTUATION, NAME, PUNCTUATION, PUNCTUATION, NAME, PUNCTUATION, NAME]),
        ("if (a) /b/.test(c)", [NAME, PUNCTUATION, NAME, PUNCTUATION, REGEX, *[PUNCTUATION, NAME] * 2, PUNCTUATION]),
        ("a[0] / b / c", [NAME, PUNCTUATION, NUMBER, *[PUNCTUATION] * 2, NAME, PUNCTUATION, NAME]),
        ("{} /a/", [PUNCTUATION, PUNCTUATION, REGEX]),
        ("x = {} / a / b", [NAME, *[PUNCTUATION] * 4, NAME, PUNCTUATION, NAME]),
        ("class A {} /a/", [NAME, NAME, PUNCTUATION, PUNCTUATION, REGEX]),
        ("a++ / b / c", [NAME, PUNCTUATION, PUNCTUATION, NAME, PUNCTUATION, NAME]),
        ("'a' / b / c", [STRING, PUNCTUATION, NAME, PUNCTUATION, NAME]),
        ("/a\nb/", [PUNCTUATION, NAME, NAME, PUNCTUATION]),
    ],
)
def test_a_slash_is_a_division_or_begins_a_regular_expression(text, expected):
    assert kinds(text) == expected


def test_a_regular_expression_hides_what_would_open_a_string_or_a_comment():
    assert values("a = b.replace(/['\"`]/g, '') // gone\n + c") == [
        *("a", "=", "b", ".", "replace", "(", "/['\"`]/g", ",", "", ")", "+", "c"),
    ]
    assert values("x = /[/*]/; y") == ["x", "=", "/[/*]/", ";", "y"]


def test_a_template_with_substitutions_keeps_its_parts():
    [token] = tokenize("`a${b + `c${d}`}e${ {f: 1}.f }`")
    assert token.kind == TEMPLATE
    first, code, middle, last_code, end = token.value
    assert (first, middle, end) == ("a", "e", "")
    assert [part.value for part in code[:2]] == ["b", "+"]
    assert code[2].kind == TEMPLATE
    assert code[2].value[0] == "c"
    assert [part.value for part in code[2].value[1]] == ["d"]
    assert [part.value for part in last_code] == ["{", "f", ":", "1", "}", ".", "f"]


def test_what_follows_a_template_is_code_again():
    assert values("`a${b}` / c // d\n`e`") == [tokenize("`a${b}`")[0].value, "/", "c", "e"]


@pytest.mark.parametrize(
    "text", ["`a${", "`a${b", "`a${`b${", "`a${(", "}`${", "'", '"\\', "`\\", "/", "/[", "${", "\\"]
)
def test_what_never_ends_fails_nothing(text):
    tokenize(text)


def test_deep_nesting_fails_nothing():
    tokenize("`${" * 5000)
    tokenize("(" * 5000)
    pair_brackets(tokenize("([{" * 2000 + "}])" * 2000))


def test_brackets_find_their_partners():
    tokens = tokenize("a(b[c], {d: ')'})")
    pairs = pair_brackets(tokens)
    assert {tokens[a].value + tokens[b].value for a, b in pairs.items() if a < b} == {"()", "[]", "{}"}
    assert pair_brackets(tokenize("(]")) == {}
    assert pair_brackets(tokenize(")(")) == {}


def test_lines_are_counted_from_one():
    text = "a\nb\n\nc"
    assert [line_number(text, token.position) for token in tokenize(text)] == [1, 2, 4]


@pytest.mark.parametrize(
    ("text", "expected"),
    [(r"\u{110000}", "\ufffd"), (r"\ud800", "\ufffd"), (r"\u12", "u12"), (r"\x4", "x4"), ("\\", "\\")],
)
def test_strange_escapes(text, expected):
    assert unescape(text) == expected


PIECES = st.sampled_from(
    [
        *(
            "a",
            "registry",
            ".",
            "(",
            ")",
            "{",
            "}",
            "[",
            "]",
            "`",
            "${",
            "'",
            '"',
            "/",
            "*",
            "\\",
            "\n",
            "//",
            "/*",
            "*/",
        ),
        *("=", "+", "++", "=>", "return", "if", "1", ";", ",", "x.y", "'s'", "/r/", "`t`", "\u2028", "\r\n", "é", "\0"),
    ]
)


@given(st.lists(PIECES, max_size=40).map("".join))
@settings(max_examples=150, deadline=None)
def test_any_text_has_tokens(text):
    tokens = tokenize(text)
    assert [token.position for token in tokens] == sorted(token.position for token in tokens)
    pairs = pair_brackets(tokens)
    assert all(pairs[pairs[index]] == index for index in pairs)


SOUND = st.lists(
    st.sampled_from(
        ["a", "b.c", "'text'", '"//"', "f(1)", "[1, 2]", "{x: 1}", "`t ${u} v`", "x = /[/'\"]+/g", "q / 2", "()=>1"]
    ),
    min_size=1,
    max_size=8,
)
FILLERS = st.lists(
    st.sampled_from([" ", "\n", "\t", "/* c */", "/* 'x' \" ` */", "// it's\n", "/**/", "\u00a0"]),
    min_size=1,
    max_size=3,
)


@given(SOUND, st.data())
@settings(max_examples=100, deadline=None)
def test_comments_and_white_space_mean_nothing(statements, data):
    plain = ";".join(statements)
    words = [plain[token.position : following] for token, following in _spans(plain)]
    spread = "".join(word + "".join(data.draw(FILLERS)) for word in words)
    assert [(t.kind, _bare(t.value)) for t in tokenize(spread)] == [(t.kind, _bare(t.value)) for t in tokenize(plain)]


def _spans(text):
    tokens = tokenize(text)
    ends = [token.position for token in tokens[1:]] + [len(text)]
    return zip(tokens, ends, strict=True)


def _bare(value):
    """A value without the positions inside it."""
    if isinstance(value, tuple):
        return tuple(part if isinstance(part, str) else tuple(token.value for token in part) for part in value)
    return value
