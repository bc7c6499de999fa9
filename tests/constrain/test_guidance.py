"""Grammars that llguidance reads, against finite languages by hand, byte by byte, and on rows."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llguidance import LLMatcher
from pydantic import BaseModel
from typing_extensions import TypedDict

import stretto.constrain.tokens
from alphabets import REAL, real
from stretto import zoo
from stretto.constrain.after import After
from stretto.constrain.choices import Choices
from stretto.constrain.close import Close
from stretto.constrain.contract import Constraint, State
from stretto.constrain.forms import constrained, grammar, schema
from stretto.constrain.grammar_files import Gbnf, Lark
from stretto.constrain.guidance import opened
from stretto.constrain.json_schema import Schema
from stretto.constrain.regex import Regex
from stretto.constrain.sentence import Sentence
from stretto.constrain.tokens import Tokens
from stretto.constrain.without import Without
from stretto.engine import Engine
from stretto.errors import InvalidRequest, Unsupported
from stretto.spelling import tokens_of
from stretto.text import Codec

MORE = [b'{"', b'":', b'"a":', b"true", b'e,"b"', b"}}", b",1", b"null", b"bb\xc3", b"\xa9a", b"a<end>", b"ab"]
WHOLE = Tokens([*(bytes([byte]) for byte in range(256)), *MORE, None, None, b"<end>"], frozenset({268, 270}))

FINITE: dict[str, tuple[Constraint, set[str]]] = {
    "enum": (
        schema({"enum": ["a", "é", 1, 12, None, {"b": [True, []]}, "a<end>"]}),
        {'"a"', '"é"', "1", "12", "null", '{"b":[true,[]]}', '"a<end>"'},
    ),
    "object": (
        schema(
            {
                "type": "object",
                "properties": {"a": {"type": "integer", "minimum": 9, "maximum": 11}, "b": {"type": "boolean"}},
                "required": ["a"],
                "additionalProperties": False,
            }
        ),
        {f'{{"a":{a}{b}}}' for a in (9, 10, 11) for b in ("", ',"b":true', ',"b":false')},
    ),
    "list": (
        schema({"type": "array", "items": {"enum": [0, "bb"]}, "minItems": 1, "maxItems": 3}),
        {f"[{','.join(each)}]" for size in (1, 2, 3) for each in itertools.product(("0", '"bb"'), repeat=size)},
    ),
    "lark": (Lark('start: "a" ("b" | "bbé")? | NUMBER\nNUMBER: /[1-3]{1,2}/'), {"a", "ab", "abbé", *(
        "".join(each) for size in (1, 2) for each in itertools.product("123", repeat=size))}),
    "gbnf": (Gbnf('root ::= word ("," word)?\nword ::= "true" | [ab] "<end>"?'), {
        first + more for first in ("true", "a", "b", "a<end>", "b<end>")
        for more in ("", ",true", ",a", ",b", ",a<end>", ",b<end>")}),
}  # fmt: skip
cases = pytest.mark.parametrize("case", FINITE)


def walks(constraint: Constraint, tokens: Tokens, texts: set[bytes], count: int) -> Iterator[tuple[State, bytes]]:
    """States at the nodes of random paths, with what was written up to there."""
    chance = random.Random(1)
    for _ in range(count):
        state, text = constraint.open(tokens), b""
        while True:
            yield state, text
            (able,) = state.allowed().nonzero()
            if not len(able):
                break
            token = int(chance.choice(able.tolist()))
            assert state.advance(token)
            text += tokens.text_of(token)


@cases
def test_masks_are_what_a_finite_language_allows(case: str) -> None:
    obeys(*FINITE[case])


def obeys(constraint: Constraint, language: set[str], paths: int = 60) -> None:
    """At every node of random paths: a token may follow if some text of the language begins so."""
    texts = {text.encode() for text in language}
    reached = set()
    for state, text in walks(constraint, WHOLE, texts, paths):
        pieces = [WHOLE.text_of(token) for token in range(len(WHOLE))]
        expected = [bool(piece) and any(each.startswith(text + piece) for each in texts) for piece in pieces]
        assert state.allowed().tolist() == expected, text
        assert state.complete == (text in texts)
        ahead = b"".join(map(WHOLE.text_of, state.forced()))
        assert all(each.startswith(text + ahead) for each in texts if each.startswith(text))
        reached |= {text} & texts
    assert len(reached) > min(len(texts), 8) // 2


@cases
def test_taking_back_is_as_if_it_had_never_come_and_copies_go_their_own_ways(case: str) -> None:
    goes_back(*FINITE[case])


def goes_back(constraint: Constraint, language: set[str]) -> None:
    """Roll-backs and forks, along texts of the language."""
    chance = random.Random(2)
    for text in chance.sample(sorted(language), min(len(language), 12)):
        path = list(text.encode())
        kept = chance.randrange(len(path) + 1)
        state = walked(constraint, path)
        twin, fresh = state.fork(), walked(constraint, path[:kept])
        for _ in range(3):
            wrong = int(chance.choice((~state.allowed()).nonzero()[0].tolist()))
            assert not state.advance(wrong)
        state.rollback(0)
        assert seen(state) == seen(twin) == seen(walked(constraint, path))
        state.rollback(len(path) - kept)
        assert seen(state) == seen(fresh)
        assert all(map(state.advance, path[kept:])) and seen(state) == seen(twin)


def walked(constraint: Constraint, path: Sequence[int]) -> State:
    state = constraint.open(WHOLE)
    assert all(map(state.advance, path))
    return state


def seen(state: State) -> tuple[bool, list[int], list[int]]:
    return state.complete, state.allowed().nonzero()[0].tolist(), list(state.forced())


PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "age": {"type": "integer", "minimum": 0},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 9}, "maxItems": 3},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
TEXTS = ['{"name":"Zoë \\"Q\\" 日本","age":30,"tags":["a","𝔘x"]}', '{"name":"<|im_end|></s>","age":0}']


@pytest.mark.parametrize("name", REAL)
def test_masks_of_real_tokenizers_are_those_of_their_bytes(name: str, request: pytest.FixtureRequest) -> None:
    """At every node: a token may follow if its bytes may, one after another."""
    codec = Codec(name, real(name, request.getfixturevalue("shared_data")))
    tokens = tokens_of(codec, _Sizes(len(codec.tokenizer)), frozenset())  # type: ignore[arg-type]
    try:
        state = schema(PERSON).open(tokens)
    except Unsupported:
        pytest.skip("its tokens cannot spell every text")
    chance = random.Random(3)
    for text in TEXTS:
        state, by_bytes = schema(PERSON).open(tokens), schema(PERSON).open(WHOLE)
        for token in tokens.spell(text.encode()):
            allowed = state.allowed()
            tried = {
                *chance.choices(range(len(tokens)), k=150),
                *allowed.nonzero()[0].tolist()[:: 1 + len(tokens) // 300],
            }
            for other in tried:
                piece = tokens.text_of(other)
                taken = next((at for at, byte in enumerate(piece) if not by_bytes.advance(byte)), len(piece))
                by_bytes.rollback(taken)
                assert bool(allowed[other]) == (0 < len(piece) == taken), (text, piece)
            assert state.advance(token) and all(map(by_bytes.advance, tokens.text_of(token)))
        assert state.complete and by_bytes.complete


class _Sizes:
    """As much of an engine's context as the spelling of tokens asks for."""

    def __init__(self, vocabulary: int) -> None:
        self.vocabulary = vocabulary

    def remembered(self, *asked: Any) -> Any:
        return asked[-1]()


@pytest.fixture(scope="module")
def engine() -> Engine:
    if "causal" not in zoo.names():
        pytest.skip("the zoo's models are not in this checkout")
    return Engine.load("zoo/causal")


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_drafts_batches_and_streams_change_nothing(engine: Engine, temperature: float) -> None:
    prompts = ["Once upon a time", '{"name":"Tim","age":4}\n', "A list:"]
    settings: dict[str, Any] = {"schema": PERSON, "max_new_tokens": 60, "temperature": temperature, "seed": 5}
    plain = [engine.generate(prompt, "plain", **settings) for prompt in prompts]
    for method in ("auto", "lookup+fixed(5)", "recycle", "forced", "suffix"):
        drafted = engine.generate(prompts, method, **settings)
        assert [each.tokens for each in drafted] == [each.tokens for each in plain], method
    assert "".join(piece.text for piece in engine.stream(prompts[0], "auto", **settings)) == plain[0].text
    ended = [each for each in plain if each.finish == "end"]
    for answer in ended:
        assert {"name", "age"} <= json.loads(answer.text).keys() <= {"name", "age", "tags"}


def test_forced_tokens_are_drafted_and_shown_as_such(engine: Engine) -> None:
    answer = engine.generate("A child:", "forced", schema=PERSON, max_new_tokens=40)
    plain = engine.generate("A child:", "plain", schema=PERSON, max_new_tokens=40)
    assert answer.tokens == plain.tokens and answer.counters.rounds < plain.counters.rounds
    assert any("forced" in step.sources for step in answer.steps)
    usual = engine.generate("A child:", schema=PERSON, max_new_tokens=40)  # auto, which copies nothing there
    assert usual.tokens == plain.tokens and usual.method.startswith("auto(forced,")


# -- how it is asked for ----------------------------------------------------------------------------


class Person(BaseModel):
    name: str
    age: int = 3


@dataclass
class Place:
    name: str
    people: list[Person]


class Film(TypedDict):
    title: str
    year: int


def test_types_are_schemas_of_their_fields_and_no_others(tmp_path: Path) -> None:
    for given, texts in {
        Person: ['{"name":"a"}', '{"name":"a","age":1}'],
        Place: ['{"name":"x","people":[{"name":"","age":2}]}'],
        Film: ['{"title":"t","year":1999}'],
        list[int]: ["[]", "[1,2]"],
    }.items():
        state = schema(given).open(WHOLE)
        for text in texts:
            twin = state.fork()
            assert all(map(twin.advance, text.encode())) and twin.complete
        assert not all(map(state.advance, b'{"other":1}'))
    file = tmp_path / "person.json"
    file.write_text(json.dumps(PERSON), encoding="utf-8")
    assert seen(schema(file).open(WHOLE)) == seen(schema(str(file)).open(WHOLE)) == seen(schema(PERSON).open(WHOLE))


USUAL = {"max_new_tokens": 256}


def test_forms_are_constraints() -> None:
    def made(**settings: Any) -> Any:
        return constrained(settings, Regex, USUAL)["constraint"]

    assert made(json_object=True) == Schema('{"type": "object"}') and made(regex="a+") == Regex("a+")
    assert isinstance(grammar('root ::= "a"'), Gbnf) and isinstance(grammar('start: "a"'), Lark)
    assert isinstance(grammar("S -> a S | a\n"), Sentence)
    assert constrained({"json_object": False, "temperature": 1.0}, Regex, USUAL) == {"temperature": 1.0}
    assert made(regex="a", close=True) == Close(Regex("a"), 256)
    assert made(regex="a", close=True, max_new_tokens=9) == Close(Regex("a"), 9)
    assert made(constraint="a+", after="##").constraint == Regex("a+")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"schema": {}, "regex": "a"}, "both given"),
        ({"schema": {"type": object()}}, "no JSON"),
        ({"schema": "{nope}"}, "no JSON"),
        ({"schema": "there-is-none.json"}, "no file"),
        ({"schema": "[1]"}, "no schema"),
        ({"schema": 3.5}, "no schema"),
        ({"choices": "yes"}, "several texts"),
        ({"grammar": "root ::= ("}, "GBNF"),
        ({"after": "##"}, "none is given"),
        ({"close": True}, "none is given"),
        ({"close": "yes", "regex": "a"}, "close is"),
        ({"close": True, "regex": "a{9}", "max_new_tokens": 2}, "takes 10 tokens, and there is room for 2"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_hint(engine: Engine, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said) as refusal:
        engine.generate("a", **{"max_new_tokens": 1, **settings})
    assert refusal.value.hint and "\n" not in refusal.value.message


def test_what_cannot_be_compiled_is_refused_by_name() -> None:
    with pytest.raises(InvalidRequest, match="lark") as refusal:
        Lark("start: nothing").open(WHOLE)
    assert "\n" not in refusal.value.message
    with pytest.raises(InvalidRequest, match="schema: #/type is not one"):
        schema({"type": "text"})


@pytest.mark.parametrize(
    ("place", "given", "near"),
    [
        ("#/enum", {"enum": ["a\x01"]}, {"enum": ["a\n\t"]}),
        ("#/pattern", {"pattern": "^\\x01b$"}, {"pattern": "^[\\x00-\\x1f]b$"}),
        ("#/const", {"const": {"a": [2**53 + 1]}}, {"const": {"a": [2**53]}}),
        ("#/properties/a~1b/enum", {"properties": {"a/b": {"enum": [-(2**54)]}}}, {"enum": ["18014398509481984"]}),
    ],
)
def test_what_cannot_be_written_is_refused_by_its_place(place: str, given: Any, near: Any) -> None:
    with pytest.raises(Unsupported, match=re.escape(f"schema: {place} ")) as refusal:
        schema(given)
    assert refusal.value.hint
    schema(near).open(WHOLE)


def test_no_key_of_a_schema_passes_for_another_one() -> None:
    """However it is written: with an escape it would be read as the same key."""
    for given in ({"properties": {"a": {"type": "integer"}}}, {"patternProperties": {"^a": {"type": "integer"}}}):
        escaped = "\\" + "u0061"
        assert not all(map(schema({"type": "object", **given}).open(WHOLE).advance, f'{{"{escaped}"'.encode()))


def test_what_is_judged_or_refused_as_loose_is_loose() -> None:
    """So that this falls when llguidance mends it."""
    for given, text in (
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 0.5}, "0"),
        ({"type": "number", "minimum": -0.5, "exclusiveMaximum": 0}, "-0"),
        ({"type": "string", "pattern": '^[^"]*$'}, r'"\""'),
        ({"const": 2**53 + 1}, str(2**53)),
    ):
        state = opened(WHOLE, LLMatcher.grammar_from_json_schema(given), "schema")
        assert all(map(state.advance, text.encode())) and state.complete, given


def test_tokenizers_that_cannot_spell_every_text_are_refused() -> None:
    with pytest.raises(Unsupported, match="spell any text"):
        schema(PERSON).open(Tokens([b"a", b"{", b"}"]))


def test_white_space_is_free_where_it_is_asked_for() -> None:
    text = b'{ "name": "a",\n "age": 1 }'
    state = schema(PERSON, spaces=True).open(WHOLE)
    assert all(map(state.advance, text)) and state.complete
    assert not all(map(schema(PERSON).open(WHOLE).advance, text))
    assert np.array_equal(schema(PERSON).open(WHOLE).allowed().nonzero()[0], [ord("{"), 256])


def test_where_a_grammar_leads_nowhere_nothing_may_follow_and_its_text_still_goes_back() -> None:
    """`b` is false, and the comma promises a second key."""
    given = {"properties": {"b": False}, "patternProperties": {"^[ab]$": True}, "additionalProperties": False}
    given |= {"type": "object", "required": ["a"], "minProperties": 2}
    written = LLMatcher.grammar_from_json_schema(json.dumps(given), overrides={"whitespace_flexible": False})
    state = opened(WHOLE, written, "dead")
    assert all(map(state.advance, b'{"a":0'))
    before = state.allowed().tolist()
    assert state.advance(ord(","))
    for each in (state, state.fork(), state):
        assert not each.allowed().any() and not each.complete
    state.rollback(1)
    assert state.allowed().tolist() == before and state.advance(ord("."))


def test_what_is_kept_of_settings_is_bounded_by_how_lately_they_were_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many schemas a server is sent; what is under way goes on, and what was forgotten is made anew."""
    monkeypatch.setattr(stretto.constrain.tokens, "KEPT", 3)
    tokens, made = Tokens(WHOLE.pieces, WHOLE.ends), list[int]()
    for setting in (0, 1, 2, 0, 3, 4, 0, 2, 1):
        assert tokens.memory.of(setting, lambda setting=setting: made.append(setting) or [setting]) == [setting]
        assert len(tokens.memory) <= 3
    assert made == [0, 1, 2, 3, 4, 2, 1]
    first = schema({"enum": ["a"]}).open(tokens)
    others = [constraint for text in "bcd" for constraint in (schema({"enum": [text]}), Regex(text), Choices((text,)))]
    for each in [*others, After(Regex("a"), "b"), Without(("a",))]:
        each.open(tokens)
    assert len(tokens.memory) == 3 and all(map(first.advance, b'"a"')) and first.complete
    assert walked(schema({"enum": ["a"]}), b'"a"').complete
