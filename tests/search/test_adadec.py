"""AdaDec: against a slow reference that follows everything anew, and its numbers by hand."""

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
from stretto.search.adadec import AdaDec

MODEL = TableModel.random(6, seed=4, order=3)
END = 4
SETTINGS: dict[str, Any] = {"max_new_tokens": 16, "end_tokens": (END,)}


def answered(search: AdaDec, model: TableModel = MODEL, prompt: Sequence[int] = (0, 1), **settings: Any) -> Any:
    return Engine(model, clock=SimulatedClock()).generate([*prompt], search, **{**SETTINGS, **settings})


def slowly(search: AdaDec, mark: int, prompt: Sequence[int], model: TableModel = MODEL) -> list[int]:
    """At each place one token is chosen, and all that was followed is forgotten."""
    tokens: list[int] = []

    def said(text: Sequence[int]) -> torch.Tensor:
        return torch.tensor(model.rule((*prompt, *text)), dtype=torch.float32).double().log_softmax(-1)

    def over(text: Sequence[int]) -> bool:
        return len(text) == SETTINGS["max_new_tokens"] or text[-1:] == [END]

    while not over(tokens):
        logs = said(tokens)
        if float(-(logs.exp() * logs).sum()) < search.nats:
            tokens.append(int(logs.argmax()))
            continue
        ways = []
        for token in logs.argsort(descending=True)[: search.width].tolist():
            way, sums = [*tokens, token], [float(logs[token])]
            while not (over(way) or way[-1] == mark or len(sums) == 1 + search.ahead):
                after = said(way)
                way.append(int(after.argmax()))
                sums.append(float(after.max()))
            ways.append((sum(sums) / len(sums), token))
        tokens.append(max(ways)[1])
    return tokens


@pytest.mark.parametrize("nats", [0.0, 1.1, 1.5])
@pytest.mark.parametrize(("width", "ahead"), [(2, 1), (3, 4)])
def test_against_a_slow_reference(nats: float, width: int, ahead: int) -> None:
    search = AdaDec(width, nats, ahead, until="3")
    differs = 0
    for prompt in ((0,), (0, 1), (5, 2), (3, 3), (2, 2, 1), (1, 5)):
        found = answered(search, prompt=prompt)
        assert found.tokens == slowly(search, 3, prompt)
        differs += found.tokens != Engine(MODEL).generate([*prompt], **SETTINGS).tokens
    assert differs


def test_numbers_by_hand() -> None:
    """A is likelier, and what follows it is not. Where a line ends after two more tokens, three are counted."""
    a, b, line = 1, 2, 3

    def planted(path: Sequence[int]) -> list[float]:
        if len(path) == 1:
            return [math.log(each) for each in (0.05, 0.40, 0.35, 0.2)]
        odds = math.exp(-0.8 if path[1] == a else -0.2)
        likely = line if len(path) == 3 else 0
        return [math.log(odds if token == likely else (1 - odds) / 3) for token in range(4)]

    def mean(*logs: float) -> float:
        return AdaDec().mean([LogProbability(0, each, each, [], []) for each in logs])

    assert mean(math.log(0.40), *[-0.8] * 5) == pytest.approx(-0.8194, abs=5e-5)
    assert mean(math.log(0.35), *[-0.2] * 5) == pytest.approx(-0.3416, abs=5e-5)
    for until, followed in (("9", 5), ("3", 2)):
        found = answered(AdaDec(2, until=until), TableModel(4, planted), (0,), max_new_tokens=8, end_tokens=())
        assert found.tokens[0] == b
        assert found.counters.row_forwards == 8 + followed, "what was followed for the other token, and nothing twice"


def test_the_cache_holds_what_was_chosen_and_nothing_else() -> None:
    found = Engine(leans("llama")).generate([5, 9, 11], AdaDec(3, 0.0, 2), max_new_tokens=14, log_probabilities=0)
    read = Engine(leans("llama")).score([5, 9, 11], [found.tokens])[0].log_probabilities
    assert [each.raw for each in found.log_probabilities] == pytest.approx(read, abs=1e-4)


def test_what_it_cannot_serve_is_refused() -> None:
    for wrong in ({"width": 0}, {"ahead": -1}, {"nats": -1.0}, {"nats": math.nan}, {"until": "("}):
        with pytest.raises(InvalidRequest):
            AdaDec(**wrong)
    with pytest.raises(Unsupported, match="no chance"):
        answered(AdaDec(), temperature=1.0)
