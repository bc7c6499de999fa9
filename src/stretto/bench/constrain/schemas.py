"""Schemas with valid and invalid instances, read under masks: what is served, what is taken wrongly, what a mask costs.

Instances are written as compact JSON and read token by token. At each the mask is asked first, as in decoding. Beside
ours stands llguidance as it is, over the same tokens: what it makes of a schema by itself.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

from ...constrain.contract import State
from ...constrain.guidance import Matching, tokenizer
from ...constrain.json_schema import Schema
from ...constrain.tokens import Tokens
from ...errors import InvalidRequest, StrettoError

SAMPLE = Path("bench/jsonschemabench/maskbench_sample.jsonl.gz")
SUITE = Path("bench/json_schema_test_suite")
DRAFTS = {
    "draft2020-12": "https://json-schema.org/draft/2020-12/schema",
    "draft7": "http://json-schema.org/draft-07/schema#",
}


@dataclass(frozen=True, slots=True)
class Case:
    """A schema and its instances."""

    name: str
    schema: Any
    instances: list[tuple[Any, bool]]  # with whether each is valid


class Side(Protocol):
    """What makes a state of a schema."""

    name: str

    def open(self, schema: Any, tokens: Tokens) -> State: ...


class Ours:
    """The constraint that answers obey."""

    name = "stretto"

    def open(self, schema: Any, tokens: Tokens) -> State:
        return Schema(json.dumps(schema)).open(tokens)


class Alone:
    """llguidance with its own reading of schemas, and without white space, as ours."""

    name = "llguidance"

    def open(self, schema: Any, tokens: Tokens) -> State:
        from llguidance import LLMatcher

        try:
            grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides={"whitespace_flexible": False})
        except ValueError as error:  # for true and false
            raise InvalidRequest(str(error), hint="give an object") from error
        matcher = LLMatcher(tokenizer(tokens), grammar, log_level=0)
        if matcher.is_error():
            raise InvalidRequest(matcher.get_error(), hint="see its documentation")
        return Matching(matcher, tokens)


@dataclass(slots=True)
class Served:
    """What one side made of a set of schemas."""

    side: str
    cases: str  # the set
    schemas: int = 0
    served: int = 0
    refused_by_place: int = 0  # with a JSON pointer in the message
    valid: int = 0  # instances of served schemas
    valid_refused: int = 0
    invalid: int = 0
    invalid_taken: int = 0
    refusals: list[str] = field(default_factory=list)  # a line each
    wrong: list[str] = field(default_factory=list)  # instances that were taken or refused wrongly
    first: list[float] = field(default_factory=list)  # seconds from a schema to its first mask
    masks: list[float] = field(default_factory=list)  # seconds of a mask


def sample(data: Path, count: int | None) -> list[Case]:
    """The schemas of MaskBench's sample, or the first of them. Raises InvalidRequest where they are not at hand."""
    return [
        Case(each["name"], each["schema"], [(test["data"], test["valid"]) for test in each["tests"]])
        for each in _lines(data / SAMPLE)
    ][:count]


def suite(data: Path, draft: str) -> list[Case]:
    """The groups of the JSON Schema Test Suite for a draft. Raises InvalidRequest where they are not at hand."""
    found = []
    for each in _lines(data / SUITE / f"{draft}.jsonl.gz"):
        for group in each["groups"]:
            schema = group["schema"]
            if isinstance(schema, dict):  # the suite says by the folder which draft it means
                schema = {"$schema": DRAFTS[draft], **schema}
            tests = [(test["data"], test["valid"]) for test in group["tests"]]
            found.append(Case(f"{each['file']}: {group['description']}", schema, tests))
    return found


def measured(
    side: Side, name: str, cases: Sequence[Case], tokens: Tokens, progress: Callable[[], object] = lambda: None
) -> Served:
    """What a side makes of the cases; one after another, and nothing of a schema is kept for the next."""
    found = Served(side.name, name)
    for case in cases:
        found.schemas += 1
        begun = perf_counter()
        try:
            state = side.open(case.schema, tokens)
            state.allowed()
            found.first.append(perf_counter() - begun)
        except StrettoError as error:
            found.refused_by_place += "#" in error.message
            found.refusals.append(f"{case.name}: {error.message}")
        else:
            found.served += 1
            for value, valid in case.instances:
                text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
                taken = _reads(found, state.fork(), tokens, text)
                _count(found, valid, taken, f"{case.name}: {text[:120]}")
        for key in [key for key in tokens.memory if isinstance(key, tuple)]:
            del tokens.memory[key]  # its compiled grammar
        progress()
    return found


def _count(found: Served, valid: bool, taken: bool, shown: str) -> None:
    """What became of an instance."""
    found.valid += valid
    found.invalid += not valid
    found.valid_refused += valid and not taken
    found.invalid_taken += taken and not valid
    if taken != valid:
        found.wrong.append(f"{'refused' if valid else 'taken'}, {shown}")


def _reads(found: Served, state: State, tokens: Tokens, text: str) -> bool:
    """Whether a text is taken as a whole, token by token; what its masks cost is noted."""
    try:
        path = tokens.spell(text.encode())
    except UnicodeEncodeError:  # half of a pair of surrogates is no text
        return False
    for token in path:
        begun = perf_counter()
        able = bool(state.allowed()[token])
        found.masks.append(perf_counter() - begun)
        if not (able and state.advance(token)):
            return False
    return state.complete


def _lines(path: Path) -> Iterator[Any]:
    """The records of a file of JSON lines."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            yield from (json.loads(line) for line in lines if line.strip())
    except OSError as error:
        raise InvalidRequest(f"{path} is not there", hint="--data FOLDER, or $STRETTO_DATA") from error
