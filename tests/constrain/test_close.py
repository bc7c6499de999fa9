"""Answers that are complete within the tokens that they may take, whatever obeys what."""

from __future__ import annotations

import itertools
import json
import random
from functools import cache
from typing import Any

import pytest

from constrain.test_guidance import MORE, PERSON, WHOLE
from laws.test_constraints import CASES, FEW, PROMPTS, TARGET, Valid, prefixes, text_of, texts, under, walked, world
from laws.test_speculation import drafters
from laws.worlds import decode
from stretto import zoo
from stretto.constrain.close import Close, Counting
from stretto.constrain.contract import Constraint
from stretto.constrain.forms import schema
from stretto.constrain.regex import Regex
from stretto.constrain.tokens import Tokens
from stretto.engine import Engine
from stretto.errors import InvalidRequest
from stretto.speculate.contract import Drafter
from stretto.speculate.drafters.forced import Forced

LONGEST = 4  # tokens of text that are enumerated


@cache
def complete(tokens: Tokens, valid: Valid) -> frozenset[tuple[int, ...]]:
    return frozenset(path for path in texts(tokens, LONGEST) if valid(tokens, path))


@pytest.mark.parametrize(("constraint", "valid"), CASES.values(), ids=CASES)
def test_what_may_follow_is_what_can_be_completed_in_what_is_left(constraint: Constraint, valid: Valid) -> None:
    """Against all texts of so many tokens: nothing that cannot, never nothing, and all of it where there is room."""
    tokens = world(constraint)
    whole = complete(tokens, valid)
    shortest = min(map(len, whole))
    for most in range(shortest + 1, LONGEST + 2):  # with the end token
        begun = {path[:size] for path in whole if len(path) < most for size in range(len(path) + 1)}
        start = Close(constraint, most).open(tokens)
        left = [()]
        while left:
            path: tuple[int, ...] = left.pop()
            state = walked(start, path)
            able = {(*path, token) for token in state.allowed().nonzero()[0].tolist()}
            assert state.complete == (path in whole) and able <= begun
            assert able or state.complete
            if isinstance(state, Counting):
                assert able == {each for each in begun if each[:-1] == path and len(each) == len(path) + 1}
            assert {(*path, token) for token in range(len(tokens) - 1) if state.fork().advance(token)} == able
            left += able
    loose = Close(constraint, 64).open(tokens)
    for path in prefixes(tokens, valid, 3):
        assert walked(loose, path).allowed().tolist() == walked(constraint.open(tokens), path).allowed().tolist()


@pytest.mark.parametrize(("constraint", "valid"), CASES.values(), ids=CASES)
def test_too_few_tokens_are_refused_with_how_many_it_takes(constraint: Constraint, valid: Valid) -> None:
    tokens = world(constraint)
    shortest = min(map(len, complete(tokens, valid)))
    if shortest:
        with pytest.raises(InvalidRequest, match=f"takes {shortest + 1} tokens, and there is room for {shortest}"):
            Close(constraint, shortest).open(tokens)
    assert Close(constraint, shortest + 1).open_within(tokens, 99).allowed().any() == bool(shortest)
    with pytest.raises(InvalidRequest, match="room for 0"):
        Close(constraint, 64).open_within(tokens, 0)


ENDLESS = {"regex": Regex("(ab|b)+"), "spelt": Regex("(ab)*(ba)+"), "pairs": CASES["pairs"][0]}


@pytest.mark.parametrize("drafter", {**drafters(), "forced by it": Forced()}.values())
def test_answers_end_whatever_drafts_and_drafting_changes_no_token(drafter: Drafter) -> None:
    for constraint in ENDLESS.values():
        for temperature in (0.0, 1.0):
            for most in (3, 6):
                pipeline = under(Close(constraint, most), FEW, temperature)
                settings: dict[str, Any] = {"pipeline": pipeline, "seed": 7, "new_tokens": most, "ends": FEW.ends}
                plain = decode(TARGET, PROMPTS, **settings)
                rows = decode(TARGET, PROMPTS, drafter=drafter, **settings)
                assert [row.new_tokens for row in rows] == [row.new_tokens for row in plain]
                assert all(row.finish == "end" and len(row.new_tokens) <= most for row in rows)
                for row in rows:
                    assert walked(constraint.open(FEW), text_of(FEW, row)).complete


NESTED = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "more": {"$ref": "#"},
        "numbers": {"type": "array", "items": {"type": "integer"}},
    },
    "required": ["name", "numbers"],
}


@pytest.mark.parametrize("given", [PERSON, NESTED, {"type": "object"}, {"type": "string", "minLength": 6}])
def test_schemas_end_on_every_path_and_nothing_changes_while_there_is_room(given: Any) -> None:
    chance = random.Random(5)
    inner = schema(given)
    for most in (26, 200):
        start = Close(inner, most).open(WHOLE)
        for _ in range(2):
            state, free, written = start.fork(), inner.open(WHOLE), b""
            for size in range(most):
                able = state.allowed()
                if size < most - 150:
                    assert able.tolist() == free.allowed().tolist()
                if state.complete and (not able.any() or chance.random() < 0.02):
                    break
                token = chance.choice(able.nonzero()[0].tolist())
                assert state.advance(token) and free.advance(token)
                written += WHOLE.text_of(token)
            assert state.complete and free.complete and size < most
            json.loads(written)


def test_strings_are_closed_though_the_tokens_have_many_brackets() -> None:
    """Within a string a bracket closes nothing: as many of them as large vocabularies have must not be tried first."""
    brackets = ["".join(each) for size in (1, 2, 3) for each in itertools.product("]})>", repeat=size)]
    tokens = Tokens([*WHOLE.pieces, *(each.encode() for each in brackets), *(f'"{each}'.encode() for each in brackets)])
    text = b'{"name":"a","age":3}'
    state = Close(schema(PERSON), len(text)).open(tokens)
    assert all(map(state.advance, text)) and state.complete and not state.allowed().any()
    with pytest.raises(InvalidRequest, match=r"takes 1\d tokens"):
        Close(schema(PERSON), 9).open(tokens)


def test_a_token_that_does_not_as_its_kind_may_follow_where_it_can_be_ended() -> None:
    """A key that other keys may stand beside, but not once more: `ame` would make it, and needs a letter behind."""
    words = [f"{first}m{last}".encode() for first in "abc" for last in "bcdefghi"]
    tokens = Tokens([*WHOLE.pieces, *words])
    given = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    text = b'{"name":"a","n'
    for most in (len(text) + 6, len(text) + 7, len(text) + 14):
        state = walked(Close(schema(given), most).open(tokens), tuple(text))
        able = state.allowed().nonzero()[0].tolist()
        assert len(able) > 64 or most < len(text) + 14
        for token in able:
            twin = state.fork()
            assert twin.advance(token), (most, tokens.text_of(token))
            while not twin.complete:
                assert twin.advance(twin.way()[0])


def test_a_choice_that_takes_too_much_is_not_made_in_time() -> None:
    """A branch whose shortest value is too long is shut at its first token, also where there seems to be room."""
    names = [f"a rather long name {each}" for each in range(9)]
    long = {"type": "object", "properties": {name: {"type": "integer"} for name in names}, "required": names}
    state = Close(schema({"anyOf": [{"type": "null"}, long]}), 100).open(WHOLE)
    assert set(state.allowed().nonzero()[0].tolist()) == {ord("n"), 256 + MORE.index(b"null")}
    roomy = Close(schema({"anyOf": [{"type": "null"}, long]}), 400).open(WHOLE)
    assert roomy.allowed()[ord("{")]


def test_a_judge_s_dead_ends_are_shut_among_many_tokens_as_well() -> None:
    """Only what is no object is valid: masks let objects begin, by one of 70 tokens."""
    tokens = Tokens([*WHOLE.pieces, *(f'{{"{first}{last}'.encode() for first in "abcdefg" for last in "hijklmnop")])
    odd = {"not": {"type": "object", "patternProperties": {"x": True}}}
    state = Close(schema(odd), 200).open(tokens)
    able = state.allowed().nonzero()[0].tolist()
    assert ord("[") in able and not any(tokens.text_of(token).startswith(b"{") for token in able)
    assert all(state.fork().advance(token) for token in able)


def test_an_answer_to_whose_end_no_way_is_found_any_more_fails_with_the_reason() -> None:
    """In a long text under a judge not every token is looked at."""
    given = {"type": "string", "minLength": 3, "maxLength": 9, "pattern": "^(?!ab)"}
    tokens = Tokens([*WHOLE.pieces, *(f"{first}{last}".encode() for first in "cdefghijk" for last in "hijklmnopqrstu")])
    state = walked(Close(schema(given), 200).open(tokens), tuple(b'"ab'))
    assert not state.complete and state.stuck() == "no end is found within 197 tokens"
    state.rollback(1)
    assert not state.stuck() and state.advance(ord("a")) and state.way()


@pytest.fixture(scope="module")
def engine() -> Engine:
    if "causal" not in zoo.names():
        pytest.skip("the zoo's models are not in this checkout")
    return Engine.load("zoo/causal")


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_models_end_in_time(engine: Engine, temperature: float) -> None:
    prompts = ["Once upon a time", "A list:"]
    for given in ({"json_object": True}, {"regex": "([a-z]+ )+"}, {"schema": PERSON, "after": "\n"}):
        settings: dict[str, Any] = {**given, "close": True, "max_new_tokens": 24, "temperature": temperature, "seed": 3}
        plain = engine.generate(prompts, "plain", **settings)
        assert [each.tokens for each in engine.generate(prompts, "auto", **settings)] == [p.tokens for p in plain]
        for answer in plain:
            assert answer.finish == "end" and len(answer.tokens) <= 24
            if "regex" not in given:
                json.loads(answer.text.split("\n")[-1])
    beam = engine.generate("A list:", "beam(2)", schema=NESTED, close=True, max_new_tokens=30)
    assert beam.finish == "end" and json.loads(beam.text)


def test_a_prompt_that_leaves_too_few_positions_is_refused(engine: Engine) -> None:
    room = engine.model.max_positions
    with pytest.raises(InvalidRequest, match="there is room for 5"):
        engine.generate([5] * (room - 5), regex="a{40}", close=True, max_new_tokens=50)
