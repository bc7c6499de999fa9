"""An interrupt may come at any line of a round: what is kept adds up, and is the beginning of the whole answer."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import stretto
from stretto import zoo
from stretto.engine import Engine
from stretto.generation import Generation
from stretto.method import Method
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.speculate.acceptors.rejection import Rejection
from stretto.speculate.drafters.sampled import Sampled
from stretto.speculate.loop import Speculate
from stretto.speculate.planners.fixed import Fixed
from wide import WIDE

HOME = str(Path(stretto.__file__).parent)
LAST = {"step", "_commit", "_record", "advance", "record", "settle", "_hand", "_hand_out", "_count", "_teach", "remove"}
TABLE: dict[str, str | Method] = {
    "plain": "plain",
    "lookup": "lookup+fixed(4)",
    "sampled": Speculate(Sampled(TableModel.random(4, seed=2)), Rejection(), Fixed(3)),
}
ZOO = {
    "causal": ["entropy(small=zoo/draft)", "superposed(alpha=0)", "draft+fixed(4)"],
    "masked": ["threshold+blocks(4)"],
}


class Interrupter:
    """Raises KeyboardInterrupt at the line with this number, counted from the first line of a round."""

    def __init__(self, at: int = -1) -> None:
        self.at = at
        self.lines = 0
        self.critical: list[int] = []  # lines at which a round is written down
        self._inside = 0  # frames of rounds

    def __enter__(self) -> Interrupter:
        sys.settrace(self._called)
        return self

    def __exit__(self, *error: object) -> None:
        sys.settrace(None)

    def _called(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(HOME):
            return None
        self._inside += frame.f_code.co_name in ("step", "run")
        return self._at_line if self._inside else None

    def _at_line(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event != "line":
            self._inside -= event == "return" and frame.f_code.co_name in ("step", "run")
            return self._at_line
        if self.lines == self.at:
            sys.settrace(None)
            self.lines += 1
            raise KeyboardInterrupt
        if frame.f_code.co_name in LAST:
            self.critical.append(self.lines)
        self.lines += 1
        return self._at_line


def check(answer: Generation, whole: Generation, fills: bool = False) -> None:
    steps = [token for step in answer.steps for token in step.committed]
    if not fills:
        assert steps == answer.tokens
        assert sum(len(step.drafted) for step in answer.steps) == answer.counters.drafted
        assert sum(len(step.accepted) for step in answer.steps) == answer.counters.accepted
    assert len(answer.tokens) == answer.counters.new_tokens
    assert answer.tokens == whole.tokens[: len(answer.tokens)]
    assert answer.finish == "interrupt" or answer.tokens == whole.tokens
    if answer.log_probabilities is not None:
        assert [entry.token for entry in answer.log_probabilities] == answer.tokens


def places(lines: int, critical: list[int], few: int) -> Iterator[int]:
    chance = random.Random(0)
    yield from sorted(
        {*chance.sample(range(lines), min(few, lines)), *chance.sample(critical, min(few, len(critical)))}
    )


@pytest.mark.parametrize("method", TABLE.values(), ids=TABLE)
def test_tokens_steps_and_counters_add_up_wherever_a_round_is_interrupted(method: str | Method) -> None:
    settings = {"max_new_tokens": 7, "temperature": 1.0, "seed": 3, "log_probabilities": 1}
    prompts = [[0, 1, 2, 0, 1, 2], [3, 3, 1]]

    def answers(interrupter: Interrupter) -> list[Generation]:
        engine = Engine(TableModel.random(4, seed=1), clock=SimulatedClock())
        with interrupter:
            return engine.generate(prompts, method, **settings)

    whole = answers(counted := Interrupter())
    assert counted.lines > 500 and len(counted.critical) > 100
    shorter = 0
    for at in places(counted.lines, counted.critical, 60 if WIDE else 20):
        found = answers(Interrupter(at))
        for answer, expected in zip(found, whole, strict=True):
            check(answer, expected)
            shorter += 0 < len(answer.tokens) < len(expected.tokens)
    assert shorter > 20


@pytest.mark.parametrize(("model", "method"), [(model, method) for model, methods in ZOO.items() for method in methods])
def test_every_family_adds_up(model: str, method: str) -> None:
    if {"causal", "draft", "masked"} - set(zoo.names()):
        pytest.skip("the zoo's models are not in this checkout")
    engine = Engine.load(f"zoo/{model}")
    prompt, settings = engine.encode("Repeat: red blue green red"), {"max_new_tokens": 8}
    whole = engine.generate(prompt, method, **settings)
    with Interrupter() as counted:
        engine.generate(prompt, method, **settings)
    for at in places(counted.lines, counted.critical, 7):
        with Interrupter(at):
            answer = engine.generate(prompt, method, **settings)
        if model == "masked" or method.startswith("superposed"):  # a search hands out the best there is by then
            assert len(answer.tokens) == answer.counters.new_tokens
            assert model == "masked" or [t for step in answer.steps for t in step.committed] == answer.tokens
        else:
            check(answer, whole)


def test_a_stream_that_is_interrupted_has_given_what_its_generation_holds() -> None:
    settings = {"max_new_tokens": 7, "temperature": 1.0, "seed": 3}

    def streamed(interrupter: Interrupter) -> tuple[list[int], Generation]:
        stream = Engine(TableModel.random(4, seed=1), clock=SimulatedClock()).stream(
            [0, 1, 2], "lookup+fixed(4)", **settings
        )
        given: list[int] = []
        with interrupter:
            for piece in stream:
                given += piece.tokens
        return given, stream.generation

    _, whole = streamed(counted := Interrupter())
    for at in places(counted.lines, counted.critical, 60 if WIDE else 20):
        given, answer = streamed(Interrupter(at))
        check(answer, whole)
        assert given == answer.tokens
