"""Documents held to JSON Schemas, with both ways that versions of the library follow references."""

from __future__ import annotations

import json
import warnings

import pytest
from ansible_collections.slipway.odoo.plugins.module_utils import api_contract_schemas as schemas
from ansible_collections.slipway.odoo.plugins.module_utils.api_contract_schemas import Schema
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError


@pytest.fixture(params=["registry", "resolver"], autouse=True)
def library(request, monkeypatch):
    """jsonschema of today, and as it was before 4.18."""
    if request.param == "resolver":
        monkeypatch.setattr(schemas, "library_version", lambda: (4, 10))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(RefResolver|RefResolutionError) is deprecated")
        yield request.param


@pytest.fixture
def directory(tmp_path):
    """Schemas that refer to each other, below a directory with something that they must not see."""
    files = {
        "secret.json": {"type": "integer"},
        "schemas/board.json": {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "type": "object",
            "required": ["id"],
            "properties": {
                "id": {"type": "string"},
                "cards": {"type": "array", "items": {"$ref": "parts/card.json#/definitions/card"}},
                "outside": {"$ref": "../secret.json"},
                "linked": {"$ref": "link.json"},
                "remote": {"$ref": "http://127.0.0.1:9/remote.json"},
                "named": {"$ref": "https://schemas.example.test/named.json"},
                "gone": {"$ref": "gone.json"},
            },
        },
        "schemas/parts/card.json": {
            "definitions": {"card": {"properties": {"n": {"type": "integer"}, "board": {"$ref": "../board.json"}}}}
        },
        "schemas/parts/named.json": {"$id": "https://schemas.example.test/named.json", "const": 1},
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    (tmp_path / "schemas/link.json").symlink_to(tmp_path / "secret.json")
    (tmp_path / "schemas/broken.json").write_text("{")
    return tmp_path / "schemas"


def places(schema, content):
    return [(error.pointer, error.message) for error in schema.breaches(content, where="/f.json").errors]


def test_a_schema_in_files_that_refer_to_each_other(directory):
    schema = Schema(str(directory / "board.json"), directory=None)
    assert places(schema, {"id": "a", "cards": [{"n": 1, "board": {"id": "b"}}], "named": 1}) == []
    assert places(schema, {"cards": [{"n": "x"}, {"board": {"id": 1}}]}) == [
        ("", "'id' is a required property"),
        ("/cards/0/n", "a text is not of type 'integer'"),
        ("/cards/1/board/id", "a number is not of type 'string'"),
    ]
    assert places(schema, {"id": "a", "named": 2}) == [("/named", "1 was expected")]


def test_an_error_says_which_schema_and_which_document(directory):
    path = str(directory / "board.json")
    (error,) = Schema(path, directory=None).breaches([], where="/f.json").errors
    assert (error.schema, error.where) == (path, "/f.json")


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("outside", "secret.json is outside of"),
        ("linked", "secret.json is outside of"),
        ("remote", "none is fetched from elsewhere"),
        ("gone", "there is no such file"),
    ],
)
def test_nothing_is_read_from_elsewhere(directory, key, message):
    with pytest.raises(SlipwayError, match=message):
        Schema(str(directory / "board.json"), directory=None).breaches({"id": "a", key: 1}, where="/f.json")


def test_the_directory_can_be_a_wider_one(directory):
    schema = Schema(str(directory / "board.json"), directory=str(directory.parent))
    assert places(schema, {"id": "a", "outside": "x"}) == [("/outside", "a text is not of type 'integer'")]


def test_an_inline_schema_refers_to_itself_and_to_the_directory(directory):
    given = {
        "properties": {"own": {"$ref": "#/$defs/one"}, "board": {"$ref": "board.json"}},
        "$defs": {"one": {"type": "integer"}},
    }
    schema = Schema(given, directory=str(directory))
    assert places(schema, {"own": "x", "board": {}}) == [
        ("/own", "a text is not of type 'integer'"),
        ("/board", "'id' is a required property"),
    ]
    alone = Schema(given, directory=None)
    assert places(alone, {"own": "x"}) == [("/own", "a text is not of type 'integer'")]
    with pytest.raises(SlipwayError, match="schema_directory"):
        alone.breaches({"board": {}}, where="/f.json")


def test_files_that_are_given_stand_for_the_disk(directory):
    files = {
        f"/schemas/x/../{path.relative_to(directory)}": json.loads(path.read_text())
        for path in directory.rglob("*.json")
        if path.name not in ("broken.json", "link.json")
    }
    schema = Schema("/schemas/board.json", directory=None, files=files)
    assert places(schema, {"id": "a", "cards": [{"n": "x"}, {"board": {"id": 1}}], "named": 2}) == [
        ("/cards/0/n", "a text is not of type 'integer'"),
        ("/cards/1/board/id", "a number is not of type 'string'"),
        ("/named", "1 was expected"),
    ]
    inline = Schema({"$ref": "board.json"}, directory="/schemas", files=files)
    assert places(inline, {"id": 1}) == [("/id", "a number is not of type 'string'")]
    for key, message in (("gone", "gone.json is not among schema_files"), ("outside", "is outside of /schemas")):
        with pytest.raises(SlipwayError, match=message):
            schema.breaches({"id": "a", key: 1}, where="/f.json")
    on_disk = str(directory / "board.json")
    with pytest.raises(SlipwayError, match=f"{on_disk}: is not among schema_files"):
        Schema(on_disk, directory=None, files=files)


def test_an_inline_schema_may_have_an_id_of_its_own():
    given = {"$id": "https://x.test/a.json", "properties": {"n": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"const": 1}}}
    assert places(Schema(given, directory=None), {"n": 2}) == [("/n", "1 was expected")]
    files = {"/schemas/a.json": given}
    assert places(Schema("/schemas/a.json", directory=None, files=files), {"n": 2}) == [("/n", "1 was expected")]


def test_the_drafts_themselves_are_known():
    schema = Schema({"$ref": "http://json-schema.org/draft-07/schema"}, directory=None)
    assert places(schema, {"type": "object"}) == []
    assert [pointer for pointer, _message in places(schema, {"type": 5})] == ["/type"]


def test_an_older_draft_is_read_as_such():
    draft4 = {"$schema": "http://json-schema.org/draft-04/schema#", "maximum": 5, "exclusiveMaximum": True}
    assert places(Schema(draft4, directory=None), 5) != []
    assert places(Schema({"maximum": 5}, directory=None), 5) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"type": "strin"}, r"schema \(inline\) is no JSON Schema: at /type: a text is not valid under any"),
        ({"properties": {"a/b": {"minimum": "x"}}}, "at /properties/a~1b/minimum: a text is not of type 'number'"),
        ([], "holds a list: a schema is an object or a boolean"),
        ({"$schema": "https://example.test/none"}, "no known draft"),
        ({"$schema": 7}, "no known draft"),
        ("/nowhere/schema.json", "schema /nowhere/schema.json: there is no such file"),
    ],
)
def test_what_is_no_schema(given, message):
    with pytest.raises(SlipwayError, match=message):
        Schema(given, directory=None)


def test_a_schema_file_that_cannot_be_parsed(directory):
    with pytest.raises(SlipwayError, match=r"broken.json: cannot be parsed as JSON"):
        Schema(str(directory / "broken.json"), directory=None)


@pytest.mark.parametrize("given", [{"$ref": "#/nope"}, {"$ref": "#"}])
def test_a_reference_that_leads_nowhere_or_round_in_circles(given):
    with pytest.raises(SlipwayError, match=r"schema \(inline\)"):
        Schema(given, directory=None).breaches(1, where="/f.json")


def test_a_pattern_that_is_none():
    with pytest.raises(SlipwayError, match="pattern"):
        Schema({"pattern": "("}, directory=None).breaches("x", where="/f.json")


def test_true_and_false_are_schemas():
    assert places(Schema(True, directory=None), {"a": 1}) == []
    assert places(Schema(False, directory=None), "hush") == [("", "False schema does not allow a text")]


PERSONAL = "ann@example.test"


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ({"type": "integer"}, PERSONAL),
        ({"enum": [1, 2]}, PERSONAL),
        ({"const": 1}, PERSONAL),
        ({"pattern": "^x"}, PERSONAL),
        ({"maxLength": 2}, PERSONAL),
        ({"not": {}}, PERSONAL),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, {"mail": PERSONAL}),
        ({"oneOf": [True, True]}, {"mail": PERSONAL}),
        ({"minItems": 2}, [PERSONAL]),
        ({"uniqueItems": True}, [PERSONAL, PERSONAL]),
        ({"contains": {"type": "integer"}}, [PERSONAL]),
        (False, [PERSONAL]),
    ],
)
def test_values_are_not_told(given, value):
    (message,) = [message for _pointer, message in places(Schema(given, directory=None), value)]
    assert PERSONAL not in message


def test_errors_are_bounded_in_number_and_length():
    schema = Schema({"items": {"type": "integer"}, "required": ["x" * 500]}, directory=None)
    breaches = schema.breaches(["a"] * 21, where="/f.json")
    assert (len(breaches.errors), breaches.more) == (20, True)
    assert schema.breaches(["a"] * 20, where="/f.json").more is False
    assert len(places(schema, {})[0][1]) == 200


def test_a_pointer_is_escaped():
    schema = Schema({"additionalProperties": {"additionalProperties": False}}, directory=None)
    assert [pointer for pointer, _message in places(schema, {"a/b~c": {"d": 1}})] == ["/a~1b~0c"]


def test_the_library_must_be_there_and_not_too_old(monkeypatch):
    monkeypatch.setattr(schemas, "library_version", lambda: (3, 2))
    with pytest.raises(SlipwayError, match=r"jsonschema must be 4\.0 or newer"):
        Schema({}, directory=None)

    def refuse(name, **_rest):
        raise SlipwayError(f"The Python library {name} is needed")

    monkeypatch.setattr(schemas, "library", refuse)
    with pytest.raises(SlipwayError, match="jsonschema is needed"):
        Schema({}, directory=None)
