"""Cascade reward sampling: against a slow reference, its numbers by hand, and what it draws from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch

from models.test_lean import leans
from stretto.engine import Engine
from stretto.errors import InvalidRequest, Unsupported
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.noise import gumbel, key
from stretto.search.cards import PASSING, Cards
from stretto.search.scorer import Draft, Scorer, Scoring
from stretto.search.scorers.by_function import ByFunction
from stretto.speculate.chance import KeyedChance
from stretto.steer.choice import Rule
from stretto.steer.pipeline import Pipeline

MODEL = TableModel.random(6, seed=4, order=3)
PROMPT = [0, 1]
END = 4
SETTINGS: dict[str, Any] = {"max_new_tokens": 14, "end_tokens": (END,)}


def threes(text: str) -> float:
    return text.count("3") - 0.3 * text.count("2")


@dataclass(frozen=True)
class Threes(Scorer):
    """Better of whole answers."""

    name: ClassVar[str] = "threes"

    def begin(self, context: Any) -> Scoring:
        return Counting()


class Counting(Scoring):
    def full(self, drafts: Sequence[Draft]) -> list[float]:
        return [threes(draft.text) + 0.4 for draft in drafts]

    def prefix(self, drafts: Sequence[Draft]) -> list[float]:
        return [threes(draft.text) for draft in drafts]


def answered(search: Cards, model: Any = MODEL, prompt: Sequence[int] = PROMPT, **settings: Any) -> Any:
    settings = {**SETTINGS, "temperature": 1.0, **settings}
    return Engine(model, clock=SimulatedClock()).generate([*prompt], search, **settings)


Judged = set[tuple[bool, tuple[int, ...]]]


def slowly(search: Cards, seed: int, number: int) -> tuple[list[int], Judged, int, int]:
    """Whole texts, no rows: the answer, texts that were judged, tokens evaluated, segments of which no draw passed."""
    tokens: list[int] = []
    stream, draws, given_up, looked = number, 0, 0, 0
    judged: Judged = {(False, ())}

    def logits(said: Sequence[int]) -> torch.Tensor:
        return torch.tensor(MODEL.rule((*PROMPT, *said)), dtype=torch.float32)

    def drawn(said: Sequence[int]) -> int:
        coin = torch.tensor(key(seed, stream, len(PROMPT) + len(said)))
        return int((logits(said) + gumbel(coin, torch.arange(6))).argmax())

    def entropy(said: Sequence[int]) -> float:
        odds = logits(said).double().softmax(-1)
        return float(-(odds * odds.log()).sum())

    def over(said: Sequence[int]) -> bool:
        return len(said) == SETTINGS["max_new_tokens"] or said[-1:] == [END]

    while not over(tokens):
        failed: list[tuple[float, list[int], int]] = []
        while True:
            text, unsure = [*tokens, drawn(tokens)], False
            while not over(text) and len(text) < len(tokens) + search.most:
                if len(text) >= len(tokens) + search.least and entropy(text) >= search.nats:
                    unsure = True
                    break
                text.append(drawn(text))
            looked += len(text) - len(tokens) + unsure
            judged.add((over(text), tuple(text)))
            worth = threes(" ".join(map(str, text))) + 0.4 * over(text)
            bound = search.threshold(0.0, len(text), SETTINGS["max_new_tokens"])
            if KeyedChance(Rule(Pipeline([]), seed, stream), len(tokens), PASSING).accept(search.chance(worth, bound)):
                looked -= unsure  # the next segment begins with what was said there
                break
            failed.append((worth, text, stream))
            if len(failed) == search.tries:
                best = max(failed, key=lambda each: each[0])
                looked -= unsure and best is failed[-1]
                _, text, stream = best
                given_up += 1
                break
            draws += 1
            stream = number + (draws << 32)
        tokens = text
    return tokens, judged, looked, given_up


@pytest.mark.parametrize(("nats", "least", "most"), [(1.45, 1, 4), (1.3, 3, 9), (math.inf, 1, 3), (1.45, 1, 1)])
@pytest.mark.parametrize("beta", [0.0, 0.6])
def test_against_a_slow_reference(nats: float, least: int, most: int, beta: float) -> None:
    search = Cards(Threes(), 2.0, beta, 0.5, 3, nats, least, most)
    differs = given_up = 0
    for seed in range(3):
        found = answered(search, samples=3, seed=seed)
        texts, judged, looked, failed = zip(*(slowly(search, seed, at) for at in range(3)), strict=True)
        assert [each.tokens for each in found] == list(texts)
        taken = found[0].counters
        assert (taken.scorer_calls, taken.token_forwards) == (len(set().union(*judged)), sum(looked))
        plain = answered("plain", samples=3, seed=seed)  # type: ignore[arg-type]
        differs += sum(each.tokens != other.tokens for each, other in zip(found, plain, strict=True))
        given_up += sum(failed)
    assert differs > 2 and given_up


def test_numbers_by_hand() -> None:
    search = Cards(goal=8.5)
    assert [search.threshold(2.0, length, 128) for length in (0, 32, 128, 200)] == [5.25, 6.0625, 8.5, 8.5]
    assert search.chance(5.5, 6.0625) == pytest.approx(0.4477, abs=5e-5)
    assert [Cards(beta=0).chance(reward, 6.0) for reward in (5.9, 6.0, 6.1)] == [0.0, 1.0, 1.0]


def test_without_an_end_of_patience_all_passes_and_it_is_plain_sampling() -> None:
    free = Cards(ByFunction(threes), 9.0, math.inf, nats=1.2, least=2, most=3)
    found = answered(free, samples=6, seed=2)
    assert [each.tokens for each in found] == [each.tokens for each in answered("plain", samples=6, seed=2)]  # type: ignore[arg-type]
    assert sum(each.counters.token_forwards for each in found) == sum(len(each.tokens) for each in found)


def test_a_segment_is_drawn_from_the_model_times_a_power_of_e_by_the_reward() -> None:
    """Of one token, by enumeration; the goal is the best reward that there is."""
    logs = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
    search = Cards(ByFunction(lambda text: float(text or 0)), 3.0, 1.0, 1.0, 64)
    drawn = answered(
        search, TableModel(4, lambda path: logs.tolist()), [0], samples=150, max_new_tokens=1, end_tokens=()
    )
    odds = (logs + torch.arange(4)).softmax(-1)
    shares = torch.tensor([[each.tokens[0] == token for each in drawn] for token in range(4)]).float().mean(1)
    assert float((shares - odds).abs().sum()) / 2 < 0.1 < 0.4 < float((logs.exp() - odds).abs().sum()) / 2


def test_the_cache_holds_what_passed_and_nothing_else() -> None:
    settings = {"seed": 1, "log_probabilities": 0, "end_tokens": ()}
    search = Cards(ByFunction(lambda text: -len(text)), 0.0, 2.0, nats=4.0, least=1, most=5)
    found = answered(search, leans("llama"), [5, 9, 11], **settings)
    read = Engine(leans("llama")).score([5, 9, 11], [found.tokens])[0].log_probabilities
    assert [each.raw for each in found.log_probabilities] == pytest.approx(read, abs=1e-4)
    assert found.counters.branches > 6


def test_what_has_passed_is_streamed() -> None:
    search = Cards(ByFunction(threes), 2.0, most=3)
    settings = {**SETTINGS, "temperature": 1.0, "end_tokens": ()}
    parts = Engine(MODEL, clock=SimulatedClock()).stream(PROMPT, search, **settings)
    pieces = [part.tokens for part in parts if part.tokens]
    assert [len(piece) for piece in pieces] == [3, 3, 3, 3, 2]
    assert [token for piece in pieces for token in piece] == answered(search, **settings).tokens


def test_what_it_cannot_serve_is_refused() -> None:
    for wrong in ({"tries": 0}, {"least": 0}, {"most": 0}, {"share": 1.5}, {"beta": -1.0}, {"nats": math.nan}):
        with pytest.raises(InvalidRequest):
            Cards(**wrong)
    with pytest.raises(Unsupported, match="without chance"):
        answered(Cards(), temperature=0.0)
