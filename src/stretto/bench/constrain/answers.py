"""A model's answers under schemas: whether they hold, what the constraint costs a step, and what drafting gives.

Three ways answer each prompt, in turn: the model plainly under the schema, closed within the budget; the same with
drafting; and plainly and freely, for as many tokens. Seconds are those behind the prompt.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp, log
from typing import Any

from ...engine import Engine
from ...errors import StrettoError
from ...generation import Generation
from .schemas import Case

LONGEST = 1200  # letters of a schema that a prompt shows
ASK = "Answer with one JSON value that is valid under this JSON Schema, and nothing else.\n"


@dataclass(slots=True)
class Answered:
    """The answers under one schema."""

    name: str
    tokens: int  # of the constrained answer
    complete: bool
    valid: bool  # by the jsonschema library
    same: bool  # with drafting as without
    free: float  # seconds per token: plainly, nothing asked for
    plain: float  # plainly, under the schema
    drafted: float
    rounds: int  # of the drafted answer
    text: str = ""


def answered(
    engine: Engine, cases: Sequence[Case], count: int, most: int, seed: int
) -> Iterator[tuple[Case, Answered | StrettoError]]:
    """Answers under the first `count` schemas that a prompt can show and that are served, in at most `most` tokens.

    What is refused, or fails, is handed out as its error.
    """
    left = count
    for case in cases:
        if left == 0 or len(text := json.dumps(case.schema)) > LONGEST:
            continue
        try:
            yield case, _answer(engine, case, text, most, seed)
        except StrettoError as error:
            yield case, error
        else:
            left -= 1


def mean(values: Sequence[float]) -> float:
    """The geometric mean."""
    return exp(sum(map(log, values)) / len(values)) if values else float("nan")


def _answer(engine: Engine, case: Case, schema: str, most: int, seed: int) -> Answered:
    settings: dict[str, Any] = {"schema": schema, "close": True, "max_new_tokens": most, "seed": seed}
    prompt = _prompt(engine, ASK + schema)
    plain = _one(engine, prompt, "plain", settings)
    drafted = _one(engine, prompt, "auto", settings)
    free = _one(engine, prompt, "plain", {"max_new_tokens": len(plain.tokens), "end_tokens": (), "seed": seed})
    return Answered(
        case.name,
        tokens=len(plain.tokens),
        complete=plain.finish == "end",
        valid=_valid(case.schema, plain.text),
        same=plain.tokens == drafted.tokens,
        free=_pace(free),
        plain=_pace(plain),
        drafted=_pace(drafted),
        rounds=drafted.counters.rounds,
        text=plain.text,
    )


def _prompt(engine: Engine, text: str) -> Any:
    return [{"role": "user", "content": text}] if engine.codec.has_template else text + "\n"


def _one(engine: Engine, prompt: Any, method: str, settings: dict[str, Any]) -> Generation:
    answer = engine.generate(prompt, method, **settings)
    assert isinstance(answer, Generation), "a single prompt has one answer"
    return answer


def _pace(answer: Generation) -> float:
    """Seconds per token."""
    return answer.counters.seconds / max(answer.counters.new_tokens, 1)


def _valid(schema: Any, text: str) -> bool:
    """By the jsonschema library, in the draft that the schema names."""
    from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
    from jsonschema.validators import validator_for  # type: ignore[import-untyped]

    try:
        return bool(validator_for(schema, Draft202012Validator)(schema).is_valid(json.loads(text)))
    except (ValueError, OverflowError):  # the second: of a number beyond all floats
        return False
