"""Cautious prediction: against a slow reference, its numbers by hand, and what is left in the cache."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from models.test_lean import leans
from stretto.engine import Engine
from stretto.errors import InvalidRequest, Unsupported
from stretto.generation import LogProbability
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.noise import gumbel, key
from stretto.search.cntp import Cautious

MODEL = TableModel.random(6, seed=4, order=3)
PROMPT = [0, 1]
END = 4
SETTINGS: dict[str, Any] = {"max_new_tokens": 14, "end_tokens": (END,)}


def answered(search: Cautious, model: Any = MODEL, prompt: Sequence[int] = PROMPT, **settings: Any) -> Any:
    return Engine(model, clock=SimulatedClock()).generate([*prompt], search, **{**SETTINGS, **settings})


def slowly(search: Cautious, mark: int, seed: int, temperature: float, model: TableModel = MODEL) -> list[int]:
    """Whole texts, no rows: each place is looked at by itself, and each way drawn from there."""
    tokens: list[int] = []
    stream = tried = 0

    def weights(said: Sequence[int]) -> torch.Tensor:
        return torch.tensor(model.rule((*PROMPT, *said)), dtype=torch.float32) / temperature

    def drawn(said: Sequence[int], stream: int) -> int:
        coin = torch.tensor(key(seed, stream, len(PROMPT) + len(said)))
        return int((weights(said) + gumbel(coin, torch.arange(6))).argmax())

    def over(said: Sequence[int]) -> bool:
        return len(said) == SETTINGS["max_new_tokens"] or said[-1:] == [END]

    while not over(tokens):
        odds = weights(tokens).double().softmax(-1)
        count = search.ways(float(-(odds * odds.log()).sum()))
        if count == 1:
            tokens.append(drawn(tokens, stream))
            continue
        streams = [stream, *((tried + at) << 32 for at in range(1, count))]
        tried += count - 1
        ways = []
        for each in streams:
            way = [*tokens, drawn(tokens, each)]
            while not (over(way) or way[-1] == mark or len(way) == len(tokens) + search.far):
                way.append(drawn(way, each))
            scale = temperature if search.by == "raw" else 1.0
            lines = [(weights(way[:at]) * scale).double().log_softmax(-1) for at in range(len(tokens), len(way))]
            logs = [float(line[token]) for line, token in zip(lines, way[len(tokens) :], strict=True)]
            ways.append((sum(logs) / len(logs), way, each))
        _, tokens, stream = max(ways, key=lambda way: way[0])
    return tokens


@pytest.mark.parametrize("by", ["steered", "raw"])
@pytest.mark.parametrize("temperature", [0.6, 1.3])
def test_against_a_slow_reference(by: Any, temperature: float) -> None:
    search = Cautious(5, 0.2, 1.4, until="3", far=4, by=by)
    tried = ended = 0
    for seed in range(12):
        found = answered(search, temperature=temperature, seed=seed)
        assert found.tokens == slowly(search, 3, seed, temperature)
        tried += found.counters.branches > 1
        ended += found.finish == "end"
    assert tried and ended


def test_numbers_by_hand() -> None:
    assert [Cautious().ways(nats) for nats in (0.0, 0.3, 0.75, 1.5, 9.0)] == [1, 2, 5, 10, 10]

    def perplexity(*odds: float) -> float:
        said = [LogProbability(0, math.log(each), math.log(each), [], []) for each in odds]
        return math.exp(-Cautious().mean(said))

    assert perplexity(0.5, 0.5) == pytest.approx(2.0) and perplexity(0.2, 0.9, 0.9) == pytest.approx(1.834, abs=5e-4)


def test_truncations_tell_how_sure_it_is() -> None:
    """Of the two tokens that top-k leaves the entropy is at most ln 2: never enough for a second way."""
    search = Cautious(9, 0.2, 0.2 + 8 * (math.log(2) - 0.2) + 1e-3)
    drawn = {"temperature": 1.0, "seed": 3, "top_k": 2}
    assert answered(search, **drawn).counters.branches == 1
    assert answered(search, temperature=1.0, seed=3).counters.branches > 1


def test_the_cache_holds_what_was_chosen_and_nothing_else() -> None:
    settings = {"temperature": 1.0, "seed": 1, "log_probabilities": 0, "end_tokens": ()}
    found = answered(Cautious(4, until="7", far=3), leans("llama"), [5, 9, 11], **settings)
    read = Engine(leans("llama")).score([5, 9, 11], [found.tokens])[0].log_probabilities
    assert [each.raw for each in found.log_probabilities] == pytest.approx(read, abs=1e-4)
    assert found.counters.branches > 6


def test_answers_are_streamed_as_they_become_certain() -> None:
    settings = {**SETTINGS, "temperature": 1.0, "end_tokens": ()}
    parts = Engine(MODEL, clock=SimulatedClock()).stream(PROMPT, Cautious(3, until="3"), **settings)
    pieces = [part.tokens for part in parts if part.tokens]
    assert len(pieces) > 2
    assert [token for piece in pieces for token in piece] == answered(Cautious(3, until="3"), **settings).tokens


def test_what_it_cannot_serve_is_refused() -> None:
    for wrong in ({"most": 0}, {"far": 0}, {"low": 2.0}, {"until": "("}):
        with pytest.raises(InvalidRequest):
            Cautious(**wrong)
    with pytest.raises(Unsupported, match="without chance"):
        answered(Cautious())
