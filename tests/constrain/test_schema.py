"""Schemas of any draft in one form, rewritten for masks: nothing valid is lost, what is wrong is refused by path."""

import itertools

import pytest

from stretto.constrain.schema.document import read
from stretto.constrain.schema.facts import disjoint, impossible
from stretto.constrain.schema.rewrite import Rewriter
from stretto.constrain.schema.validate import Validator
from stretto.errors import InvalidRequest, Unsupported

KEYS = {"a": 1, "b": "x", "c": None}
VALUES = [
    *(None, True, 0, 1, 2, 1.5, "", "a", "ab", "2024-02-29", [], [1], [1, 1], [1, "a"], ["a", 1]),
    *({key: KEYS[key] for key in keys} for size in range(4) for keys in itertools.combinations(KEYS, size)),
]
OLD_AND_NEW = [
    ({"minimum": 1, "exclusiveMinimum": True}, {"exclusiveMinimum": 1}),
    (
        {"items": [{"type": "integer"}], "additionalItems": False},
        {"prefixItems": [{"type": "integer"}], "items": False},
    ),
    ({"dependencies": {"a": ["b"]}}, {"dependentRequired": {"a": ["b"]}}),
    ({"dependencies": {"a": {"required": ["b"]}}}, {"dependentSchemas": {"a": {"required": ["b"]}}}),
    ({"definitions": {"x": {"type": "null"}}, "$ref": "#/definitions/x"}, {"type": "null"}),
    ({"$defs": {"x": {"$anchor": "n", "type": "null"}}, "$ref": "#n"}, {"type": "null"}),
]
EXACT = [
    {"oneOf": [{"type": "string"}, {"type": "integer"}]},
    {"oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
    {"not": {"anyOf": [{"required": ["a"]}, {"minimum": 1}]}},
    {"not": {"type": ["string", "null"]}},
    {"if": {"required": ["a"]}, "then": {"required": ["b"]}, "else": {"maxItems": 1}},
    {"dependentRequired": {"a": ["b"]}, "dependentSchemas": {"c": {"required": ["a"]}}},
    {"propertyNames": {"enum": ["a", "b"]}},
    {"propertyNames": {"pattern": "^[ab]$"}},
    {"enum": [1, "a", "ab", None], "minLength": 2},
    {"allOf": [{"properties": {"a": True}}], "unevaluatedProperties": False},
    {"prefixItems": [True], "unevaluatedItems": False},
]
LOOSE = [
    ({"uniqueItems": True}, "#/uniqueItems"),
    ({"contains": {"type": "integer"}}, "#/contains"),
    ({"not": {"pattern": "a"}}, "#/not"),
    ({"format": "date"}, "#/format"),
    ({"oneOf": [{"pattern": "a"}, {"pattern": "b"}]}, "#/oneOf"),
    ({"pattern": "^(?!a)"}, "#/pattern"),
]
WRONG = [
    ({"properties": {"a": {"minLenght": 1}}}, InvalidRequest, "#/properties/a/minLenght"),
    ({"items": {"minimum": "1"}}, InvalidRequest, "#/items/minimum"),
    ({"nullable": True}, Unsupported, "#/nullable"),
    ({"$ref": "#/$defs/none"}, InvalidRequest, "#/$ref"),
    ({"$ref": "https://elsewhere.invalid/x"}, Unsupported, "#/$ref"),
    ({"$schema": "http://json-schema.org/draft-03/schema#"}, Unsupported, "#/$schema"),
]
IMPOSSIBLE = [
    (False, "#"),
    ({"enum": []}, "#/enum"),
    ({"enum": [1], "type": "string"}, "#/enum"),
    ({"type": "string", "minLength": 2, "maxLength": 1}, "#/minLength"),
    ({"type": "object", "required": ["a"], "properties": {"a": {"enum": []}}}, "#/properties/a/enum"),
]


def judged(schema):
    document = read(schema)
    judge = Validator(document)
    return [judge.valid(document.root, value) for value in VALUES]


def written(schema):
    document = read(schema)
    return Rewriter(document, Validator(document)).write()


@pytest.mark.parametrize(("old", "new"), OLD_AND_NEW)
def test_older_spellings_are_read_as_today_s(old, new):
    assert judged(old) == judged(new)
    assert len({*judged(new)}) == 2


@pytest.mark.parametrize("schema", EXACT, ids=str)
def test_what_has_an_equal_form_is_written_so(schema):
    found = written(schema)
    assert not found.loose
    assert judged(found.schema) == judged(schema)


@pytest.mark.parametrize(("schema", "pointer"), LOOSE, ids=str)
def test_what_has_none_is_left_to_the_judge_and_nothing_valid_is_lost(schema, pointer):
    found = written(schema)
    assert [*found.loose.values()] == [pointer]
    assert all(wide or not valid for wide, valid in zip(judged(found.schema), judged(schema), strict=True))


@pytest.mark.parametrize(("schema", "error", "pointer"), WRONG, ids=str)
def test_what_is_wrong_is_refused_by_path(schema, error, pointer):
    with pytest.raises(error) as refusal:
        read(schema)
    assert refusal.value.message.startswith(pointer)
    assert refusal.value.hint


@pytest.mark.parametrize("word", ["x-minimum", "title", "vendor", "$comment", "_format"])
def test_notes_pass(word):
    assert read({word: 1}).root == {}


@pytest.mark.parametrize(("schema", "pointer"), IMPOSSIBLE, ids=str)
def test_what_nothing_satisfies_is_known_by_path(schema, pointer):
    document = read(schema)
    assert impossible(document, Validator(document), document.root) == pointer


def test_proofs_are_right():
    """Whatever is told to share no value shares none of these."""
    schemas = [*EXACT, *(schema for schema, _ in LOOSE), *(new for _, new in OLD_AND_NEW)]
    document = read({"$defs": {str(at): schema for at, schema in enumerate(schemas)}, "anyOf": [*schemas]})
    judge, branches = Validator(document), document.root["anyOf"]
    proven = 0
    for left, right in itertools.combinations(branches, 2):
        if disjoint(document, judge, left, right):
            proven += 1
            assert not any(judge.valid(left, value) and judge.valid(right, value) for value in VALUES)
    assert proven
