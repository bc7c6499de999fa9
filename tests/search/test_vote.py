"""Votes among answers, and answers ranked by how likely they are: both against enumeration."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from stretto.engine import Engine
from stretto.errors import InvalidRequest
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.search.scorers.by_function import ByFunction
from stretto.search.scorers.likelihood import Likelihood
from stretto.search.vote import Vote, ballot

MODEL = TableModel.random(6, seed=4, order=3)
SETTINGS = {"max_new_tokens": 6, "end_tokens": (), "temperature": 1.0, "seed": 5}


def engine(model: TableModel = MODEL) -> Engine:
    return Engine(model, clock=SimulatedClock())


@pytest.mark.parametrize(("voices", "right"), [(1, 0.55), (3, 0.5748), (5, 0.5931)])
def test_a_majority_is_right_as_often_as_its_binomial_says(voices: int, right: float) -> None:
    total = 0.0
    for drawn in itertools.product(("right", "wrong"), repeat=voices):
        odds = math.prod(0.55 if each == "right" else 0.45 for each in drawn)
        total += odds * (drawn[ballot(drawn, [1.0] * voices, [0.0] * voices)[0]] == "right")
    assert total == pytest.approx(right, abs=5e-5)


def test_ties_go_to_the_likelier_result_and_answers_without_one_come_last() -> None:
    assert ballot(["7", None, "8", None, None], [1] * 5, [-2, -1, -1, -9, 0]) == [2, 0, 4, 1, 3]
    assert ballot(["7", "8", "7"], [1, 1, 1], [-3, 0, -2]) == [2, 0, 1]
    assert ballot(["7", "8", "7"], [0.2, 0.5, 0.2], [-3, 0, -2]) == [1, 2, 0]


def test_the_answers_are_drawn_as_samples_are_and_the_most_voted_result_comes_first() -> None:
    drawn = engine().generate([[0, 1]], "plain", samples=9, **SETTINGS)
    results = [[token for token in answer.tokens if token in (1, 2)][-1:] for answer in drawn]
    found = engine().generate([[0, 1]], "vote(9,[12])+lookup", samples=9, **SETTINGS)
    assert sorted(answer.tokens for answer in found) == sorted(answer.tokens for answer in drawn)
    voted = [[token for token in answer.tokens if token in (1, 2)][-1:] for answer in found]
    counts = {result: results.count([result]) for result in (1, 2)}
    assert counts[1] != counts[2] and voted[0] == [max(counts, key=counts.__getitem__)]
    assert [len(each) for each in voted] == sorted((len(each) for each in results), reverse=True)


def test_a_scorer_weighs_the_voices() -> None:
    """One answer alone has a voice: what it comes to wins."""
    drawn = engine().generate([[0, 1]], "plain", samples=6, **SETTINGS)
    for chosen in drawn:
        loud = ByFunction(lambda text, chosen=chosen: float(text == " ".join(map(str, chosen.tokens))))
        assert engine().generate([0, 1], Vote(6, "(?s).+", loud), **SETTINGS).tokens == chosen.tokens
    with pytest.raises(InvalidRequest, match="a voice weighs -1"):
        raise engine().generate([[0, 1]], Vote(2, weights=ByFunction(lambda text: -1.0)), **SETTINGS)[0].error


def test_what_is_no_vote_is_refused() -> None:
    for wrong in (lambda: Vote(0), lambda: Vote(2, "("), lambda: Likelihood(-1.0)):
        with pytest.raises(InvalidRequest):
            wrong()


def test_the_likeliest_of_many_samples_is_the_likeliest_answer() -> None:
    """By the sum, as published: 2 ends an answer, so that the mean would rank another one first."""
    model = TableModel.random(4, seed=0, order=2)
    settings = {"max_new_tokens": 3, "end_tokens": (2,), "temperature": 1.0, "seed": 1}

    def said(tokens: tuple[int, ...]) -> float:
        rows = [torch.tensor(model.rule((1, *tokens[:at]))).double().log_softmax(-1) for at in range(len(tokens))]
        return sum(float(row[token]) for row, token in zip(rows, tokens, strict=True))

    whole = {
        (*tokens[: tokens.index(2)], 2) if 2 in tokens else tokens for tokens in itertools.product(range(4), repeat=3)
    }
    best = max(whole, key=said)
    assert best != max(whole, key=lambda tokens: said(tokens) / len(tokens))
    found = engine(model).generate([1], "best-of(200,likelihood(penalty=0))", **settings)
    assert tuple(found.tokens) == best


def test_a_generic_reply_that_a_beam_always_finds_is_ranked_first_only_where_it_was_drawn() -> None:
    """Of 99 replies one is twice as likely as any other, at .02: beams of any width take it."""
    odds = [0.02, *[0.01] * 98]
    served = engine(TableModel(99, lambda path: [math.log(each) for each in odds]))
    settings = {"max_new_tokens": 1, "end_tokens": (), "temperature": 0.88}
    seen = 0
    for seed in range(25):
        drawn = served.generate([[5]], "plain", samples=20, seed=seed, **settings)
        ranked = served.generate([5], "best-of(20,likelihood(penalty=0))", seed=seed, **settings)
        assert (ranked.tokens == [0]) == any(answer.tokens == [0] for answer in drawn)
        seen += ranked.tokens == [0]
    share = 0.02 ** (1 / 0.88) / (0.02 ** (1 / 0.88) + 98 * 0.01 ** (1 / 0.88))
    expected = 1 - (1 - share) ** 20
    assert abs(seen / 25 - expected) < 3.3 * math.sqrt(expected * (1 - expected) / 25)
    assert served.generate([5], "beam(20)", max_new_tokens=1, end_tokens=()).tokens == [0] and expected < 0.4
