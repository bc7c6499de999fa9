"""Small values of schemas, found by trying: valid, and found where walks get nowhere."""

from __future__ import annotations

import itertools
import json
import random
import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from constrain.test_guidance import WHOLE
from stretto.constrain.close import Close
from stretto.constrain.forms import schema
from stretto.constrain.json_schema import Schema
from stretto.constrain.schema.formats import SHORT
from stretto.constrain.schema.texts import texts
from stretto.errors import InvalidRequest


def unnamed(key: str) -> dict[str, Any]:
    """Some key has this letter."""
    return {"not": {"propertyNames": {"not": {"pattern": key}}}}


ELEVEN = {"type": "number", "multipleOf": 11, "minimum": 100}
SOME = {"type": "array", "items": {"type": "array", "contains": ELEVEN}}
ALL = {"type": "array", "contains": {"type": "array", "items": ELEVEN}}
HARD: dict[str, dict[str, Any]] = {  # blind walks meet no end under these
    "a key that one pattern matches, and no other": {
        "type": "object",
        "oneOf": [{"patternProperties": {key: {"multipleOf": 10}}} for key in ("a|b", "a")],
    },
    "a number that one bound lets through": {
        "type": "object",
        "oneOf": [{"patternProperties": {"a": {"multipleOf": each}}} for each in (10, 5, 10)],
    },
    "two keys with four letters": {
        "type": "object",
        "allOf": [*map(unnamed, "abcd"), {"propertyNames": {"pattern": "^..$"}}, {"patternProperties": {"bc": False}}],
        "required": ["da"],
        "maxProperties": 2,
    },
    "a text of many patterns": {
        "type": "string",
        "allOf": [{"pattern": "^[ab]"}, {"anyOf": [{"not": {"pattern": "^[abc]"}}, {"pattern": "2{8}"}]}],
        "not": {"pattern": "[^xz]$"},
        "maxLength": 12,
    },
    "a number of two steps, and not of a third": {
        "type": "object",
        "allOf": [{"patternProperties": {"a": {"type": "array", "items": {"multipleOf": each}}}} for each in (2.5, 7)],
        "not": {"patternProperties": {"b": {"items": {"multipleOf": 4}}}},
        "additionalProperties": {"type": "array", "minItems": 2},
        "required": ["ab"],
    },
    "two keys that two patterns match": {
        "type": "object",
        "allOf": [{"patternProperties": {key: True}, "additionalProperties": False} for key in "ab"],
        "minProperties": 2,
    },
    "a key with five letters": {"type": "object", "allOf": [*map(unnamed, "abcdf")], "maxProperties": 1},
    "a key with an anchor within a group": {
        **unnamed("5"),
        "type": "object",
        "propertyNames": {"pattern": "(^[^5]*$)|7"},
        "maxProperties": 1,
    },
    "two keys whose values are of a pattern": {
        "type": "object",
        "allOf": [{"not": {"patternProperties": {key: {"not": {"type": "string", "pattern": key}}}}} for key in "cd"],
        "propertyNames": {"pattern": "^...$"},
    },
    "a number of two steps of five": {
        "type": "number",
        "allOf": [
            {"oneOf": [{"multipleOf": 33}, {"multipleOf": 12}, {"multipleOf": 77}]},
            {"anyOf": [{"not": {"multipleOf": 11}}, {"multipleOf": 13}]},
            {"not": {"multipleOf": 8}},
            {"not": {"multipleOf": 6}},
        ],
    },
    "lists of lists of which one contains": {
        "type": "array",
        "oneOf": [{"items": SOME, "contains": ALL}, {"items": ALL, "contains": SOME}],
    },
}


@pytest.mark.parametrize("given", HARD.values(), ids=HARD)
def test_an_end_is_found_where_walks_meet_none_and_answers_get_to_one(given: dict[str, Any]) -> None:
    chance, written = random.Random(2), b""
    state = Close(schema(given), 14).open(WHOLE)
    while not state.complete:
        token = chance.choice(state.allowed().nonzero()[0].tolist())
        assert state.advance(token)
        written += WHOLE.text_of(token)
    assert Draft202012Validator(given).is_valid(json.loads(written))
    with pytest.raises(InvalidRequest, match=r"takes 1?\d tokens"):
        Close(schema(given), 3).open(WHOLE)


COMMON: list[dict[str, Any]] = [
    {},
    {"type": "object", "properties": {"b": {"type": "integer", "minimum": 7}, "a": {}}, "required": ["a", "b"]},
    {"type": "array", "items": {"enum": ["x", "y"]}, "minItems": 2, "uniqueItems": True},
    {"type": "array", "prefixItems": [{"const": 3}, {"type": "null"}], "items": False, "minItems": 2},
    *({"type": "string", "format": each} for each in SHORT),
    {"type": "string", "minLength": 5, "pattern": "b$"},
    {"$ref": "#/$defs/list", "$defs": {"list": {"properties": {"next": {"$ref": "#/$defs/list"}}, "type": "object"}}},
    {"type": "object", "minProperties": 2},
    {"type": "number", "exclusiveMinimum": 0.25, "maximum": 0.5},
    {"if": {"required": ["a"]}, "then": {"required": ["b"]}, "required": ["a"], "type": "object"},
]


@pytest.mark.parametrize("given", [*COMMON, *HARD.values()])
def test_what_is_found_is_valid(given: dict[str, Any]) -> None:
    found = Schema(json.dumps(given)).examples()
    assert found and all(Draft202012Validator(given).is_valid(json.loads(each)) for each in found)
    assert any(schema(given).open(WHOLE).completes(tuple(each.encode())) for each in found)


def test_nothing_is_found_where_there_is_nothing() -> None:
    assert Schema('{"type": "string", "minLength": 3, "allOf": [{"pattern": "^a$"}]}').examples() == []


def test_texts_are_of_each_kind_that_patterns_and_lengths_tell_apart() -> None:
    patterns = ("^ab", "b$", "a|cc", r"^(a|\$)*$", "[^a]")
    edges = (0, 2)
    every = ["".join(each) for size in range(6) for each in itertools.product("abc$", repeat=size)]

    def sign(text: str) -> tuple[int, ...]:
        matches = (re.search(pattern, text) is not None for pattern in patterns)
        return (*matches, sum(edge < len(text) for edge in edges))

    found = [*texts(patterns, edges)]
    assert [len(each) for each in found] == sorted(map(len, found))
    signs = [sign(each) for each in found]
    assert len({*signs}) == len(signs) and {*signs} == {*map(sign, every)}
