"""Versions compared, and what is said of them."""

from __future__ import annotations

import datetime

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils import api_contract
from ansible_collections.slipway.odoo.plugins.module_utils.api_contract import Reading, SchemaError
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError
from hypothesis import given, settings
from hypothesis import strategies as st


def found(name, version):
    return Reading(name=name, status="found", where=f"/{name}", version=version)


def statuses(judgement):
    return {reading.name: reading.status for reading in judgement.readings}


@pytest.mark.parametrize(
    ("value", "version"),
    [
        ("1.0.0", "1.0.0"),
        (" 1.0.0\n", "1.0.0"),
        ("2026-11-20", "2026-11-20"),
        ("1.0.0-rc.1+build.5", "1.0.0-rc.1+build.5"),
        (2, "2"),
        (0, "0"),
    ],
)
def test_what_is_a_version(value, version):
    assert api_contract.version_of(value) == api_contract.Value("found", version)


@pytest.mark.parametrize(
    ("value", "detail"),
    [
        (None, "holds null and no version"),
        (True, "holds a boolean and no version"),
        (1.1, "holds a number and no version: write it as a text, in quotes"),
        (-1, "holds a number and no version"),
        (10**30, "holds a number and no version"),
        (["1.0.0"], "holds a list and no version"),
        ({"a": 1}, "holds an object and no version"),
        (datetime.date(2026, 11, 20), "holds a date and no version"),
        (b"1.0.0", "holds a bytes and no version"),
        ("  ", "holds an empty text"),
        ("1.0.0, 1.0.0", "holds '1.0.0, 1.0.0', which is no version"),
        ("1.0.0\x00", "holds '1.0.0\\x00', which is no version"),
        ("x" * 101, f"holds '{'x' * 60}…', which is no version"),
    ],
)
def test_what_is_none(value, detail):
    assert api_contract.version_of(value) == api_contract.invalid(detail)


@pytest.mark.parametrize(
    ("compare", "one", "other", "agree"),
    [
        ("exact", "1.0.0", "1.0.0", True),
        ("exact", "1.0.0", "1.0.1", False),
        ("exact", "1.0.0", "v1.0.0", False),
        ("exact", "1.0.0", "1.0", False),
        ("exact", "1.0.0", "1.0.0+5", False),
        ("exact", "main", "main", True),
        ("major", "1.0.0", "1.9.4", True),
        ("major", "1.0.0", "2.0.0", False),
        ("major", "1", "v1.5", True),
        ("major", "1.0.0", "10.0.0", False),
        ("major", "2.0.0-rc.1", "2.1.0+7", True),
        ("minor", "1.2.0", "1.2.9-rc.1", True),
        ("minor", "1.2.0", "1.3.0", False),
        ("minor", "1.02", "1.2", True),
        ("minor", "0.1.0", "0.2.0", False),
    ],
)
def test_comparing(compare, one, other, agree):
    for first, second in ((one, other), (other, one)):
        judgement = api_contract.judge(
            [found("a", first), found("b", second)], expected=None, reference=None, compare=compare
        )
        assert judgement.in_agreement is agree
        assert statuses(judgement) == {"a": "found", "b": "found" if agree else "mismatched"}
        assert (judgement.version, judgement.origin) == (first, "a")


@pytest.mark.parametrize(
    ("compare", "version"),
    [
        ("major", "main"),
        ("major", "1.0.0.0"),
        ("minor", "1"),
        ("minor", "x.y"),
        ("major", "1.0.0 "),
        ("minor", "1.0_1"),
    ],
)
def test_what_has_no_such_numbers_is_invalid_and_never_mismatched(compare, version):
    judgement = api_contract.judge([found("a", version)], expected="1.0.0", reference=None, compare=compare)
    assert statuses(judgement) == {"a": "invalid"}
    assert judgement.readings[0].version is None
    assert "no semantic version" in judgement.readings[0].detail


numbers = st.integers(0, 10**6)


@settings(max_examples=30)
@given(
    st.tuples(numbers, numbers, numbers), st.tuples(numbers, numbers, numbers), st.sampled_from(["", "-rc.1", "+b.2"])
)
def test_major_and_minor_look_at_these_numbers_alone(one, other, tag):
    first, second = ".".join(map(str, one)), "v" + ".".join(map(str, other)) + tag
    for compare, count in (("major", 1), ("minor", 2)):
        same = api_contract.significant(first, compare=compare) == api_contract.significant(second, compare=compare)
        assert same is (one[:count] == other[:count])


def test_the_reference_is_compared_with():
    readings = [found("a", "1.0.0"), found("b", "2.0.0"), found("c", "1.0.0")]
    judgement = api_contract.judge(readings, expected=None, reference="b", compare="exact")
    assert statuses(judgement) == {"a": "mismatched", "b": "found", "c": "mismatched"}
    assert judgement.readings[0].detail == "has 1.0.0, b has 2.0.0"


def test_the_next_stands_in_for_a_reference_without_a_version():
    away = Reading(name="a", status="unreachable", where="/a", detail="answers 502")
    judgement = api_contract.judge(
        [away, found("b", "1"), found("c", "2")], expected=None, reference=None, compare="exact"
    )
    assert statuses(judgement) == {"a": "unreachable", "b": "found", "c": "mismatched"}
    assert (judgement.version, judgement.origin, judgement.in_agreement) == ("1", "b", False)


def test_nothing_was_found():
    away = Reading(name="a", status="unreachable", where="/a", detail="answers 502")
    judgement = api_contract.judge([away], expected=None, reference=None, compare="exact")
    assert (judgement.version, judgement.drift, judgement.unreachable) == (None, [], [away])


@settings(max_examples=30)
@given(st.lists(st.sampled_from(["found 1", "found 2", "missing", "invalid", "unreachable"]), min_size=1, max_size=6))
def test_an_unreachable_source_never_drifts_and_a_drifting_one_was_reached(kinds):
    readings = [
        Reading(f"s{index}", kind.split()[0], "/", kind.split()[1] if " " in kind else None)
        for index, kind in enumerate(kinds)
    ]
    judgement = api_contract.judge(readings, expected="1", reference=None, compare="exact")
    assert len(judgement.unreachable) == kinds.count("unreachable")
    assert len(judgement.drift) == len(kinds) - kinds.count("unreachable") - kinds.count("found 1")
    assert judgement.in_agreement is (set(kinds) == {"found 1"})


@pytest.mark.parametrize(
    ("expected", "compare", "message"),
    [
        ("main", "major", "which compare: major cannot use"),
        ("1", "minor", "which compare: minor cannot use"),
        ("", "exact", "empty text"),
        ("1.0 .0", "exact", "no version"),
        (" 1.0.0", "exact", "white space around it"),
    ],
)
def test_an_expected_version_that_cannot_be_compared_is_refused(expected, compare, message):
    with pytest.raises(SlipwayError, match=message):
        api_contract.require_comparable(expected, compare=compare)


def test_expecting_nothing_or_something_sensible_is_fine():
    for expected, compare in ((None, "major"), ("main", "exact"), ("1", "major"), ("v1.2", "minor")):
        api_contract.require_comparable(expected, compare=compare)


def test_one_message_names_all_faults():
    readings = [
        found("front", "1.1.0"),
        Reading("back", "missing", "/back.py", detail="assigns no V"),
        Reading("odd", "invalid", "/odd.json", detail="holds null and no version"),
        Reading("api", "unreachable", "GET https://x/", detail="answers 429: it limits the rate"),
        found("fine", "1.0.0"),
    ]
    errors = [SchemaError(schema="/s.json", where="/f.json", pointer="/id", message="a number is not of type 'string'")]
    judgement = api_contract.judge(
        readings, expected="1.0.0", reference=None, compare="major", schema_errors=errors, more_schema_errors=True
    )
    assert api_contract.report(judgement).splitlines() == [
        "4 faults in the contract:",
        "1. back: no version: assigns no V (/back.py)",
        "2. odd: not a version: holds null and no version (/odd.json)",
        "3. api: not reached, which says nothing of its version: answers 429: it limits the rate (GET https://x/)",
        "4. /f.json: breaks the schema /s.json at /id: a number is not of type 'string'",
        "There are more breaches of schemas than are shown.",
    ]


@pytest.mark.parametrize(
    ("expected", "held", "hinted"),
    [("1.1", "1.10", True), ("1.0", "1.0.0", True), ("1.0.0", "1.0.1", False), ("1.1", "1.1", False)],
)
def test_a_number_that_should_have_been_a_text(expected, held, hinted):
    judgement = api_contract.judge([found("a", held)], expected=expected, reference=None, compare="exact")
    assert ("such as 1.1 for 1.10: quote it" in api_contract.report(judgement)) is hinted
    others = api_contract.judge([found("a", "1.1"), found("b", held)], expected=None, reference=None, compare="exact")
    assert "quote it" not in api_contract.report(others)


def test_a_document_that_is_not_there_breaks_nothing():
    error = SchemaError(schema="/s.json", where="/x*.json", pointer=None, message="no file fits")
    judgement = api_contract.judge([], expected=None, reference=None, compare="exact", schema_errors=[error])
    assert api_contract.report(judgement).endswith("\n1. /x*.json: no file fits (schema /s.json)")


def test_what_all_agree_on_is_said():
    def said(*readings):
        return api_contract.report(api_contract.judge(readings, expected=None, reference=None, compare="exact"))

    assert said(found("a", "1.0.0")) == "1 source at version 1.0.0"
    assert said(found("a", "1.0.0"), found("b", "1.0.0")) == "2 sources at version 1.0.0"
    assert said() == "All documents satisfy their schemas"
