"""On real checkpoints in four bits: drafted, batched and forked answers have the bits of plain ones."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from stretto import Engine, Generation
from stretto.models.clock import SimulatedClock
from stretto.steer.dagcd import Dagcd
from stretto.steer.dola import Dola
from stretto.steer.features import Mitigate
from stretto.steer.vector import Vector
from wide import WIDE

PROMPTS = [
    "Once upon a time there was a lighthouse keeper who",
    "def fibonacci(n):\n    if n <",
    "Repeat after me: the cat sat on the mat, the cat sat on the mat, the cat",
    "The capital of France is",
    "1, 2, 4, 8, 16,",
    "Dear Mr. Smith,\n\nI am writing to",
    "Ingredients:\n- 2 eggs\n- 1 cup of flour\n-",
    "Q: What is photosynthesis?\nA:",
] * (25 if WIDE else 1)
METHODS = ("lookup+fixed(6)", "auto", "recycle")
SETTINGS: tuple[dict[str, Any], ...] = ({}, {"temperature": 0.8, "top_p": 0.95, "seed": 11})


@cache
def engine(path: Path) -> Engine:
    found = Engine.load(path)
    found.clock = SimulatedClock()
    return found


def prompts() -> list[str]:
    """All unlike, however many there are."""
    return [prompt if at < 8 else f"No. {at}: {prompt}" for at, prompt in enumerate(PROMPTS)]


def same(first: Generation, second: Generation) -> None:
    assert first.tokens == second.tokens
    assert first.log_probabilities == second.log_probabilities and first.log_probabilities  # bit for bit


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("checkpoint", ["smollm2", "gemma3"])
def test_answers_have_the_bits_of_plain_ones(
    checkpoint: str, settings: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    model = engine(request.getfixturevalue(checkpoint))
    given: dict[str, Any] = {"max_new_tokens": 16, "log_probabilities": 2, "end_tokens": ()} | settings
    plain = [model.generate(prompt, "plain", **given) for prompt in prompts()]
    assert all(answer.guarantee.startswith("exact bits") for answer in plain)
    accepted = 0
    for number, method in enumerate(METHODS):
        for together, alone in zip(model.generate(prompts(), method, **given), plain, strict=True):
            same(together, alone)
        for prompt, alone in [*zip(prompts(), plain, strict=True)][number :: len(METHODS)]:
            drafted = model.generate(prompt, method, **given)
            same(drafted, alone)
            accepted += drafted.counters.accepted
    assert accepted


INSIDE = (
    Vector("random:1", 4.0, first=3, last=9),
    Dola((0, 10, 20)),
    Dagcd(((12, 0), (20, 5)), (1.0, 0.5), alpha=20.0),
    Mitigate("random:1", 15, (0, 1, 2), -6.0),
)


def test_answers_under_steers_that_look_inside_have_the_bits_of_plain_ones(smollm2: Path) -> None:
    """And under edits; rows of all of them stand beside each other."""
    model = engine(smollm2)
    given: dict[str, Any] = {"max_new_tokens": 10, "log_probabilities": 2, "end_tokens": ()}
    prompt = PROMPTS[2]
    plain = [model.generate(prompt, "plain", steers=[steer], **given) for steer in INSIDE]
    found = [answer.log_probabilities[0].steered for answer in (*plain, model.generate(prompt, "plain", **given))]
    assert len(set(found)) == 1 + len(INSIDE)
    for method in METHODS[::2]:
        handles = [model.submit(prompt, method, steers=[steer], **given) for steer in INSIDE]
        for handle, alone in zip(handles, plain, strict=True):
            same(handle.result(), alone)
