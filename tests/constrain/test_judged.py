"""Schemas that masks hold together with a judge: against all values of finite sets, and where nothing may follow."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from constrain.test_guidance import WHOLE, goes_back, obeys, walked
from stretto.constrain.forms import schema
from stretto.constrain.judged import Judged

ONE = {"required": ["a"], "properties": {"a": {"const": 1}}}
OTHER = {"required": ["b"], "properties": {"b": {"const": 1}}}


def lists(*values: Any, most: int = 3) -> list[Any]:
    return [[*each] for size in range(most + 1) for each in itertools.product(values, repeat=size)]


def objects(keys: str, *values: Any) -> list[Any]:
    chosen = (each for size in range(len(keys) + 1) for each in itertools.combinations(keys, size))
    return [
        dict(zip(names, each, strict=True)) for names in chosen for each in itertools.product(values, repeat=len(names))
    ]


def listed(schema: dict[str, Any], least: int, most: int, **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": schema, "minItems": least, "maxItems": most, **more}


def closed(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


CASES: dict[str, tuple[dict[str, Any], list[Any]]] = {  # with all values that its masks let through, or more
    "unique of just enough": (
        listed({"enum": ["a", "b", "ab"]}, 3, 3, uniqueItems=True),
        lists("a", "b", "ab"),
    ),
    "unique booleans": (listed({"type": "boolean"}, 2, 2, uniqueItems=True), lists(True, False)),
    "unique numbers": (listed({"enum": [1, 12, 2]}, 2, 3, uniqueItems=True), lists(1, 12, 2)),
    "unique texts": (
        listed({"type": "string", "pattern": "^[ab]?$"}, 3, 3, uniqueItems=True),
        lists("", "a", "b"),
    ),
    "unique objects": (
        listed({**closed(k={"enum": ["x", "y"]}), "required": ["k"]}, 2, 2, uniqueItems=True),
        lists({"k": "x"}, {"k": "y"}),
    ),
    "contains one": (
        listed({"enum": [0, "bb"]}, 1, 3, contains={"const": "bb"}, maxContains=1),
        lists(0, "bb"),
    ),
    "contains two": (listed({"type": "boolean"}, 0, 3, contains={"const": True}, minContains=2), lists(True, False)),
    "not that list": (listed({"enum": [1, 12]}, 2, 2, **{"not": {"enum": [[1, 12], [12, 1]]}}), lists(1, 12)),
    "one of two that overlap": (
        {**closed(a={"enum": [1, 2]}, b={"enum": [1, 2]}), "oneOf": [ONE, OTHER]},
        objects("ab", 1, 2),
    ),
    "not both": (
        {**closed(a={"enum": [1, 2]}, b={"enum": [1, 2]}), "not": {"allOf": [ONE, OTHER]}, "required": ["a", "b"]},
        objects("ab", 1, 2),
    ),
    "if so many keys": (
        {**closed(a={"type": "null"}, b={"type": "null"}, c={"type": "null"}), "minProperties": 2},
        objects("abc", None),
    ),
    "an item that is not like the first": (
        {
            "type": "array",
            "prefixItems": [{"enum": [1, 2]}, {"enum": [1, 2]}],
            "items": False,
            "minItems": 2,
            "if": {"prefixItems": [{"const": 1}]},
            "then": {"not": {"prefixItems": [True, {"const": 1}]}},
            "else": {"not": {"prefixItems": [True, {"const": 2}]}},
            "uniqueItems": True,
        },
        lists(1, 2, most=2),
    ),
}
cases = pytest.mark.parametrize("case", CASES)


def language(case: str) -> set[str]:
    given, values = CASES[case]
    valid = Draft202012Validator(given).is_valid
    return {json.dumps(value, separators=(",", ":")) for value in values if valid(value)}


@cases
def test_masks_are_what_all_values_allow(case: str) -> None:
    """Nothing valid is shut out, and no token leads to where nothing valid can be reached."""
    judged = schema(CASES[case][0])
    assert isinstance(judged.open(WHOLE), Judged)
    obeys(judged, language(case))


@cases
def test_taking_back_is_as_if_it_had_never_come_and_copies_go_their_own_ways(case: str) -> None:
    goes_back(schema(CASES[case][0]), language(case))


BROKEN_AND_RIGHT = [
    ({"exclusiveMinimum": 0, "maximum": 0.5}, ["0"], ["0.5", "0.01"]),
    ({"minimum": -0.5, "exclusiveMaximum": 0}, ["0"], ["-0.5", "-0.01"]),
    ({"exclusiveMinimum": 7, "exclusiveMaximum": 7.5}, ["7"], ["7.4"]),
    ({"minProperties": 2}, ["{}", '{"a":1}'], ['{"a":1,"b":2}', "[]"]),
    ({"items": {"pattern": '^[^"]*$'}}, [r'["\""]', r'["a","\""]'], ['["a","b"]', "[]"]),
    ({"pattern": "^a[^\\\\]+$"}, [r'"a\\"', '"a"'], ['"ab"', r'"a\""']),
    ({"patternProperties": {"^[^ -~]+$": {"type": "null"}}}, ['{"é":1}'], ['{"é":null}', '{"a":1}']),
    ({"not": {"pattern": "b"}}, ['"abc"', '"b"', "1"], ['"ac"', '""']),
    ({"pattern": "^(?!a)"}, ['"ab"'], ['"ba"', '""']),
    ({"not": {"required": ["a"], "properties": {"a": {"const": 1}}}}, ['{"a":1}', '{"a":2,"a":1}'], ['{"a":2}']),
    ({"items": {"type": "boolean"}, "not": {"contains": {"const": True}}}, ["[true]", "[false,true]"], ["[false]"]),
]


@pytest.mark.parametrize(("given", "broken", "right"), BROKEN_AND_RIGHT)
def test_what_masks_hold_too_loosely_is_judged(given: dict[str, Any], broken: list[str], right: list[str]) -> None:
    for spaces in (False, True):
        constraint = type(schema(given))(json.dumps(given), spaces=spaces)
        for text in right:
            assert walked(constraint, text.encode()).complete
        for text in broken:
            state = constraint.open(WHOLE)
            assert not (all(map(state.advance, text.encode())) and state.complete), text
