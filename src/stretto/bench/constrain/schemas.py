"""Schemas with valid and invalid instances, read under masks: what is served, what is taken wrongly, what a mask costs.

Instances are written as compact JSON and read token by token. At each the mask is asked first, as in decoding. Beside
ours stands llguidance as it is, over the same tokens: what it makes of a schema by itself, and its masks as it hands
them out, bit by bit. Both read one schema after the other.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple, Protocol

import numpy as np

from ...constrain.contract import State
from ...constrain.guidance import Matching, tokenizer
from ...constrain.json_schema import Schema
from ...constrain.schema.examples import plainly
from ...constrain.tokens import Tokens
from ...errors import InvalidRequest, StrettoError
from .otherwise import in_some_order

SAMPLE = Path("bench/jsonschemabench/maskbench_sample.jsonl.gz")
SUITE = Path("bench/json_schema_test_suite")
DRAFTS = {
    "draft2020-12": "https://json-schema.org/draft/2020-12/schema",
    "draft7": "http://json-schema.org/draft-07/schema#",
}
KINDS = ("both", "judged", "alone")  # of schemas, as `Served` has their times


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

    def lets(self, state: State, token: int) -> bool:
        """Whether a token may follow, by the mask of all that may."""
        ...


class Ours:
    """The constraint that answers obey."""

    name = "stretto"

    def open(self, schema: Any, tokens: Tokens) -> State:
        return Schema(json.dumps(schema)).open(tokens)

    def lets(self, state: State, token: int) -> bool:
        return bool(state.allowed()[token])


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
        return Bare(matcher, tokens)

    def lets(self, state: State, token: int) -> bool:
        assert isinstance(state, Bare), "it reads its own states"
        return bool(state.bits()[token // 8] >> token % 8 & 1)


class Bare(Matching):
    """A matcher's state, with its masks as they come."""

    def bits(self) -> bytes:
        """The tokens that may follow, a bit for each."""
        return self._matcher.compute_bitmask()


@dataclass(slots=True)
class Spread:
    """Times, in seconds."""

    count: int = 0
    median: float = 0.0
    most: float = 0.0  # of 99 in a hundred

    @classmethod
    def of(cls, times: Sequence[float]) -> Spread:
        """The spread of these times."""
        return cls(len(times), *map(float, np.percentile(times, (50, 99)))) if times else cls()


@dataclass(slots=True)
class Times:
    """What masks took, of some schemas."""

    schemas: int = 0
    first: Spread = field(default_factory=Spread)  # from a schema to its first mask
    masks: Spread = field(default_factory=Spread)


@dataclass(slots=True)
class Served:
    """What one side made of a set of schemas."""

    side: str
    cases: str  # the set
    schemas: int = 0
    served: int = 0
    refused_by_place: int = 0  # with a JSON pointer in the message
    valid: int = 0  # instances of served schemas
    renumbered: int = 0  # of these: taken once their numbers are written plainly
    reordered: int = 0  # taken with their keys in another order
    valid_refused: int = 0  # neither
    invalid: int = 0
    invalid_taken: int = 0
    refusals: list[str] = field(default_factory=list)  # a line each
    wrong: list[str] = field(default_factory=list)  # instances that were taken or refused wrongly
    both: Times = field(default_factory=Times)  # under schemas that both sides serve, ours by masks alone
    judged: Times = field(default_factory=Times)  # under those for which ours has a judge
    alone: Times = field(default_factory=Times)  # under all others


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
    sides: Sequence[Side], name: str, cases: Sequence[Case], tokens: Tokens, progress: Callable[[], object] = int
) -> list[Served]:
    """What the sides make of the cases; one after another, and nothing of a schema is kept for the next."""
    found = [Served(side.name, name, schemas=len(cases)) for side in sides]
    times = [{kind: _Taken() for kind in KINDS} for _ in sides]
    for case in cases:
        states = [_opened(side, case, tokens, each) for side, each in zip(sides, found, strict=True)]
        judged = any(made is not None and made.state.work() is not None for made in states)
        kind = "judged" if judged else "alone" if None in states else "both"
        for side, each, made, taken in zip(sides, found, states, times, strict=True):
            if made is not None:
                taken[kind].first.append(made.seconds)
                for value, valid in case.instances:
                    taken[kind].masks += _count(each, side, made.state, tokens, Instance(case.name, value, valid))
        progress()
    for each, taken in zip(found, times, strict=True):
        for kind, these in taken.items():
            setattr(each, kind, Times(len(these.first), Spread.of(these.first), Spread.of(these.masks)))
    return found


class Instance(NamedTuple):
    """A value under a schema."""

    case: str
    value: Any
    valid: bool


class _Opened(NamedTuple):
    """A schema that is served."""

    state: State
    seconds: float  # to its first mask


@dataclass(slots=True)
class _Taken:
    """Seconds that masks took."""

    first: list[float] = field(default_factory=list)
    masks: list[float] = field(default_factory=list)


def _opened(side: Side, case: Case, tokens: Tokens, found: Served) -> _Opened | None:
    """A side's state of a schema; None where it refuses it, which is noted."""
    begun = perf_counter()
    try:
        state = side.open(case.schema, tokens)
        side.lets(state, 0)
    except StrettoError as error:
        found.refused_by_place += "#" in error.message
        found.refusals.append(f"{case.name}: {error.message}")
        return None
    found.served += 1
    return _Opened(state, perf_counter() - begun)


def _count(found: Served, side: Side, start: State, tokens: Tokens, instance: Instance) -> list[float]:
    """What becomes of an instance; the seconds that each of its masks took."""
    text, masks = json.dumps(instance.value, separators=(",", ":"), ensure_ascii=False), list[float]()
    taken = _reads(side, start.fork(), tokens, text, masks)
    found.valid += instance.valid
    found.invalid += not instance.valid
    found.invalid_taken += taken and not instance.valid
    otherwise = instance.valid and not taken
    renumbered = otherwise and _reads(side, start.fork(), tokens, plainly(instance.value), [])
    reordered = otherwise and not renumbered and in_some_order(start, tokens, instance.value)
    found.renumbered += renumbered
    found.reordered += reordered
    found.valid_refused += otherwise and not (renumbered or reordered)
    if taken != instance.valid and not (renumbered or reordered):
        found.wrong.append(f"{'refused' if instance.valid else 'taken'}, {instance.case}: {text[:120]}")
    return masks


def _reads(side: Side, state: State, tokens: Tokens, text: str, masks: list[float]) -> bool:
    """Whether a text is taken as a whole, token by token; what its masks cost is noted."""
    try:
        path = tokens.spell(text.encode())
    except UnicodeEncodeError:  # half of a pair of surrogates is no text
        return False
    for token in path:
        begun = perf_counter()
        able = side.lets(state, token)
        masks.append(perf_counter() - begun)
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
