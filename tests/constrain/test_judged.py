"""Schemas that masks hold together with a judge: against all values of finite sets, and where nothing may follow."""

from __future__ import annotations

import itertools
import json
import random
import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from constrain.test_guidance import WHOLE, goes_back, obeys, walked
from laws.test_constraints import slowly, under
from laws.worlds import decode
from stretto import catalogue, zoo
from stretto.cli.generate import statistics
from stretto.constrain.after import After
from stretto.constrain.close import Close
from stretto.constrain.contract import Constraint
from stretto.constrain.forms import schema
from stretto.constrain.framed import Framed
from stretto.constrain.schema import ahead
from stretto.constrain.schema.judged import Judged
from stretto.constrain.tokens import Tokens
from stretto.engine import Engine
from stretto.errors import InvalidRequest, NothingAllowed
from stretto.models.table import TableModel
from stretto.speculate.contract import Drafter
from stretto.speculate.drafters.forced import Forced

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
    obeys(judged, language(case), paths=20)


@cases
def test_taking_back_is_as_if_it_had_never_come_and_copies_go_their_own_ways(case: str) -> None:
    goes_back(schema(CASES[case][0]), language(case))


@pytest.mark.parametrize("places", [2, 5, 11])
@pytest.mark.parametrize("case", ["unique of just enough", "one of two that overlap", "if so many keys"])
def test_masks_do_not_depend_on_what_was_asked_before(case: str, places: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However little is looked at: what others have found out is no shorter way."""
    monkeypatch.setattr(ahead, "MOST", places)
    chance, judged = random.Random(places), schema(CASES[case][0])
    begun = sorted({text[:size] for text in language(case) for size in range(len(text))})
    for _ in range(2):
        together = Tokens(WHOLE.pieces, WHOLE.ends)
        for text in chance.sample(begun, min(8, len(begun))):
            states = [judged.open(tokens) for tokens in (together, Tokens(WHOLE.pieces, WHOLE.ends))]
            assert all(state.advance(byte) for state in states for byte in text.encode())
            assert states[0].allowed().tolist() == states[1].allowed().tolist(), text


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
    ({"pattern": "^[\\S]$"}, ['"\ufeff"', '"\u2028"'], ['"\x85"', '"a"']),  # spaces as ECMA 262 has them
    ({"pattern": "^(\\s|[\\sx]y)$"}, ['"\x85"', '"\x85y"'], ['"\ufeff"', '"\ufeffy"']),
    ({"patternProperties": {"^\\S$": False}}, ['{"\x85":1}'], ['{"\ufeff":1}']),
    ({"not": {"pattern": "^[\\S]$"}}, ['"\x85"'], ['"\ufeff"']),
    ({"not": {"multipleOf": 6.5}}, ["1e999", "13"], ["1.5", "12"]),
    ({"pattern": "^.$"}, ['"\u2028"', '"\\n"', '"\\r"'], ['"\x85"', '"a"']),  # and dots
    ({"not": {"pattern": "^a.$"}}, ['"ab"'], ['"a\u2029"', '"a\\r"']),
    ({"not": {"pattern": "^[\\D]$"}}, ['"a"', '"٣"'], ['"3"']),
    (
        {"$schema": "http://json-schema.org/draft-07/schema#", "contentEncoding": "base64"},
        ['"e30"', '"%"'],
        ['"e30="', '""', "3"],
    ),
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


def test_two_schemas_of_the_same_masks_are_judged_each_by_its_own() -> None:
    for given, right in (({"not": {"type": "number"}}, b"true"), ({"not": {"multipleOf": 7}}, b"1.5")) * 2:
        assert walked(schema(given), right).complete
    for given, right in (({"not": {"pattern": "^[a]$"}}, b'"b"'), ({"not": {"multipleOf": 7.5}}, b"1.5")):
        assert walked(schema(given), right).complete


# -- on rows ----------------------------------------------------------------------------------------

MODEL = TableModel.random(len(WHOLE), seed=1)
STARTS = [[0, 1, 2], [91, 49, 44, 49], [123, 34]]
DRAFTERS: list[Drafter] = [Forced(), *(catalogue.part(name)() for name in ("lookup", "recycle", "suffix", "jacobi"))]


def brute(case: str) -> Any:
    """The slow reference of a mask: bool [V], end tokens too."""
    texts = {text.encode() for text in language(case)}

    def allowed(path: tuple[int, ...]) -> list[bool]:
        begun = b"".join(map(WHOLE.text_of, path))
        able = [
            bool(piece := WHOLE.text_of(token)) and any(text.startswith(begun + piece) for text in texts)
            for token in range(len(WHOLE))
        ]
        for end in WHOLE.ends:
            able[end] = begun in texts
        return able

    return allowed


@pytest.mark.parametrize("case", ["unique of just enough", "one of two that overlap", "if so many keys"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_drafting_never_changes_what_is_said(case: str, temperature: float) -> None:
    """Greedy and with a seed, in a batch, the tokens of the slow reference."""
    allowed = brute(case)
    expected = [slowly(MODEL, start, WHOLE, allowed, temperature, 7, 40) for start in STARTS]
    assert all(b"".join(map(WHOLE.text_of, path)).decode() in language(case) for path in expected)
    pipeline = under(schema(CASES[case][0]), WHOLE, temperature)
    for drafter in DRAFTERS:
        rows = decode(MODEL, STARTS, drafter=drafter, pipeline=pipeline, seed=7, new_tokens=40, ends=WHOLE.ends)
        assert [row.new_tokens for row in rows] == expected, drafter


@pytest.mark.parametrize("case", ["unique of just enough", "unique texts", "contains two", "one of two that overlap"])
def test_answers_end_in_time(case: str) -> None:
    """Whatever is drawn is valid within the tokens that there are, down to what the shortest one takes."""
    chance, texts, wanted = random.Random(4), language(case), schema(CASES[case][0])
    for most in (least(wanted), least(wanted) + 3, 60):
        start = Close(wanted, most).open(WHOLE)
        for _ in range(6):
            state, path = start.fork(), list[int]()
            while (able := state.allowed().nonzero()[0].tolist()) and not (state.complete and chance.random() < 0.5):
                path.append(chance.choice(able))
                assert state.advance(path[-1])
            assert len(path) < most and b"".join(map(WHOLE.text_of, path)).decode() in texts


def least(wanted: Constraint) -> int:
    """The tokens that an answer takes at least, as the door says."""
    with pytest.raises(InvalidRequest) as refusal:
        Close(wanted, 1).open(WHOLE)
    found = re.search(r"takes (\d+) tokens", refusal.value.message)
    assert found
    return int(found[1])


LATE = {"type": "string", "minLength": 3, "maxLength": 3, "pattern": "^(?!ab)"}  # too many ways to look ahead


def test_an_answer_behind_which_nothing_may_follow_fails_alone_with_the_place() -> None:
    within = {"type": "object", "properties": {"k": LATE}, "required": ["k"]}
    state = walked(schema(within), b'{"k":"abc')
    assert not state.complete and not state.allowed().any()
    assert state.stuck() == "schema: whatever follows at #/k breaks #/properties/k/pattern"
    with pytest.raises(NothingAllowed, match="whatever follows at # breaks #/pattern"):
        decode(lean(b'"abc'), [[0]], pipeline=under(schema(LATE), WHOLE, 0.0), ends=WHOLE.ends)


TWO = listed({"enum": ["x", "y"]}, 2, 2, uniqueItems=True)


def test_what_the_judge_does_is_counted_once_for_all_copies() -> None:
    start = schema(TWO).open(WHOLE)
    assert all(map(start.advance, b'["x","'))
    work, twin = start.work(), start.fork()
    assert work is not None and work is twin.work() and work.asked >= 6
    shut, asked = work.shut, work.asked
    assert twin.allowed().nonzero()[0].tolist() == [ord("y")] and (work.shut, work.asked) == (shut + 1, asked + 3)
    assert schema({"items": {"enum": ["x"]}}).open(WHOLE).work() is None


def test_constraints_around_one_hand_on_what_its_judge_says() -> None:
    for around, before in ((Framed(schema(LATE), "<c>", "</c>"), b"<c>"), (After(schema(LATE), "##"), b"ab##")):
        state = walked(around, before + b'"ab')
        assert state.work() is not None and not state.stuck()
        assert state.advance(ord("c")) and state.stuck() == "schema: whatever follows at # breaks #/pattern"
        assert not walked(around, before + b'"bab"').stuck()
    closing = walked(Close(schema(LATE), 40), b'"ba').work()
    assert closing is not None and closing.asked


@pytest.mark.parametrize("method", ["auto", "beam(2)"])
def test_answers_say_how_often_a_judge_was_asked(engine: Engine, method: str) -> None:
    answer = engine.generate("A list: ", method, schema=TWO, max_new_tokens=12)
    assert sorted(json.loads(answer.text)) == ["x", "y"]
    assert answer.counters.judged > answer.counters.shut_out > 0
    assert f"a judge asked {answer.counters.judged} times" in statistics(answer.counters)
    free = engine.generate("A list: ", method, schema={"enum": [["x", "y"]]}, max_new_tokens=12)
    assert free.counters.judged == 0 and "judge" not in statistics(free.counters)


@pytest.fixture(scope="module")
def engine() -> Engine:
    if "causal" not in zoo.names():
        pytest.skip("the zoo's models are not in this checkout")
    return Engine.load("zoo/causal")


def test_drafts_that_lead_nowhere_are_not_verified() -> None:
    """The prompt holds what is drafted; the model would say something else."""
    pipeline = under(schema(LATE), WHOLE, 0.0)
    for drafter in (None, catalogue.part("lookup")()):
        row = decode(lean(b'"zyx'), [[*b'"abc""abc"']], drafter=drafter, pipeline=pipeline, ends=WHOLE.ends)[0]
        assert b"".join(map(WHOLE.text_of, row.new_tokens)) == b'"zyx"'
    assert row.counters.drafted and not any(ord("c") in step.drafted for step in row.steps)


def lean(text: bytes) -> TableModel:
    """Goes on with the next letter of a text, behind anything else with its first."""
    after = dict(itertools.pairwise(text))

    def rule(path: tuple[int, ...]) -> list[float]:
        logits = [0.0] * len(WHOLE)
        logits[after.get(path[-1], text[0])] = 9.0
        return logits

    return TableModel(len(WHOLE), rule)
