"""Comparing two methods: identical, tied, different; and the scores at the first difference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from laws.test_constraints import Pairs
from stretto import method as methods
from stretto.engine import Engine
from stretto.errors import InvalidRequest
from stretto.method import parse
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.noise import gumbel, key
from stretto.request import Request
from stretto.speculate.contract import Acceptor, Target, Verdict
from stretto.speculate.drafters.lookup import Lookup
from stretto.speculate.loop import Speculate
from stretto.steer.ban import Ban
from stretto.steer.guide import Guide
from stretto.tree import ROOT, NodeKind
from stretto.verify import TIE, agreement, compare, scores_after

VOCABULARY = 7


@dataclass(frozen=True, slots=True)
class Mistaken(Acceptor):
    """Takes the choice of the given rank instead of the best, once, at one length of the row."""

    length: int
    rank: int = 1
    name: ClassVar[str] = "mistaken"
    accepts: ClassVar[frozenset[NodeKind]] = frozenset(NodeKind)

    def accept(self, target: Target) -> list[Verdict]:
        ranks = [self.rank if len(row.history.tokens) == self.length else 0 for row in target.rows]
        orders = [target.steered(at, ROOT).argsort(descending=True) for at in range(len(ranks))]
        return [Verdict([], int(order[rank])) for order, rank in zip(orders, ranks, strict=True)]


def mistaken(length: int, rank: int = 1) -> Speculate:
    return Speculate(Lookup(), Mistaken(length, rank), parse("plain").plan)


@pytest.fixture
def engine() -> Engine:
    return Engine(TableModel.random(VOCABULARY, 5), clock=SimulatedClock())


def nearly_tied(gap: float) -> Engine:
    """Tokens 2 and 4 are the two best everywhere, `gap` apart."""
    return Engine(TableModel(VOCABULARY, lambda path: [0, 0, 3.0, 0, 3.0 - gap, 0, 0]), clock=SimulatedClock())


@pytest.mark.parametrize("settings", [{}, {"temperature": 1.0, "seed": 3, "top_k": 4}])
def test_exact_methods_are_identical(engine, settings):
    found = compare(engine, [1, 2, 3], "lookup(matches=2)", "plain", max_new_tokens=30, **settings)
    assert found.identical and not found.tie and found.tokens == (None, None)
    assert found.agreed == 30 and found.gap == 0.0
    assert found.first.method == "lookup(matches=2)" and found.second.method == "plain"


@pytest.mark.parametrize("rank", [1, 2])
def test_the_first_difference_is_found_with_its_gap(engine, rank):
    found = compare(engine, [1, 2, 3], mistaken(8, rank), "plain", max_new_tokens=20)
    assert not found.identical and not found.tie
    assert found.position == found.agreed == 5
    prefix = [1, 2, 3, *found.second.tokens[:5]]
    logits = sorted(engine.model.rule(tuple(prefix)), reverse=True)
    assert found.gap == pytest.approx(logits[0] - logits[rank]) and found.gap > TIE
    assert found.tokens == (found.first.tokens[5], found.second.tokens[5])


@pytest.mark.parametrize(("gap", "rank", "tie"), [(9e-5, 1, True), (2e-4, 1, False), (9e-5, 2, False)])
def test_only_a_choice_between_the_nearly_best_is_a_tie(gap, rank, tie):
    found = compare(nearly_tied(gap), [1], mistaken(4, rank), "plain", max_new_tokens=9)
    assert found.position == 3 and found.tie is tie


def test_half_precision_knows_no_ties():
    engine = nearly_tied(9e-5)
    engine.model.dtype = torch.bfloat16
    found = compare(engine, [1], mistaken(4), "plain", max_new_tokens=9)
    assert not found.precise and not found.tie and found.gap < TIE


@dataclass(frozen=True, slots=True)
class Hasty(Mistaken):
    """Ends the row after its first token."""

    def accept(self, target: Target) -> list[Verdict]:
        for row in target.rows:
            row.finish = "length"
        return Mistaken.accept(self, target)


def test_an_answer_that_ends_early_is_no_tie():
    found = compare(
        nearly_tied(0.0), [1], Speculate(Lookup(), Hasty(0), parse("plain").plan), "plain", max_new_tokens=9
    )
    assert found.position == 1 and found.gap == float("inf") and not found.tie
    assert found.tokens == (None, 2)


def test_scores_are_steered_logits_plus_noise(engine):
    request = Request(temperature=0.5, seed=9, presence_penalty=1.0)
    scores = scores_after(engine, [1, 2], [3, 0], request)
    logits = torch.tensor(engine.model.rule((1, 2, 3, 0)), dtype=torch.float64)
    logits[[3, 0]] -= 1.0  # the prompt's tokens are not penalised
    noise = gumbel(torch.tensor(key(9, 0, 4)), torch.arange(VOCABULARY))
    assert torch.allclose(scores, logits / 0.5 + noise)
    tokens = engine.generate([1, 2], "plain", max_new_tokens=8, temperature=0.5, seed=9, presence_penalty=1.0).tokens
    again = [int(scores_after(engine, [1, 2], tokens[:at], request).argmax()) for at in range(8)]
    assert again == tokens


def test_scores_hear_companions_and_steers_of_the_method(engine):
    steers = [Guide(2.0), Ban({2})]
    for temperature in (0.0, 1.0):
        settings = {"max_new_tokens": 8, "temperature": temperature, "seed": 9}
        tokens = engine.generate([1, 2, 0, 3], "lookup", steers=steers, **settings).tokens
        again = [
            int(scores_after(engine, [1, 2, 0, 3], tokens[:at], Request(**settings), steers=steers).argmax())
            for at in range(8)
        ]
        assert again == tokens


def test_long_prefixes_are_evaluated_in_chunks(engine, monkeypatch):
    monkeypatch.setattr("stretto.models.reading.CHUNK", 3)
    path = [1, 2, 3, 4, 5, 6, 0, 2]
    scores = scores_after(engine, path[:4], path[4:], Request())
    assert scores.tolist() == list(engine.model.rule(tuple(path)))


def test_several_samples_are_refused(engine):
    with pytest.raises(InvalidRequest, match="one sample") as caught:
        compare(engine, [1], "lookup", "plain", samples=2)
    assert caught.value.hint


def test_an_interrupted_decode_proves_nothing(engine, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(engine.model, "evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compare(engine, [1], "lookup", "plain")


@pytest.mark.parametrize(
    ("first", "second", "equal"), [([1, 2], [1, 3], 1), ([], [1], 0), ([1, 2], [1, 2, 3], 2), ([4], [4], 1)]
)
def test_agreement(first, second, equal):
    assert agreement(first, second) == equal


def test_under_a_constraint_two_methods_are_compared_under_it():
    engine = Engine(TableModel.random(4, seed=1), clock=SimulatedClock())
    settings = {"constraint": Pairs(), "max_new_tokens": 8, "end_tokens": [3], "temperature": 1.0, "seed": 2}
    tokens = engine.generate([1, 2], "plain", **settings).tokens
    request = Request(**settings)
    again = [int(scores_after(engine, [1, 2], tokens[:at], request).argmax()) for at in range(len(tokens))]
    assert again == tokens
    free = settings | {"constraint": None}
    parts = methods.parse("lookup+fixed(4)"), methods.obeying(methods.parse("recycle"), Pairs())
    found = compare(engine, [1, 2], parts[1], parts[0], **free)
    assert found.first.tokens == found.second.tokens == tokens
