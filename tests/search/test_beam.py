"""Beam search against published arithmetic, and what it is not given."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from models.families import FAMILIES
from stretto.engine import Engine
from stretto.errors import InvalidRequest, Unsupported
from stretto.models.clock import SimulatedClock
from stretto.models.fast import lean_or_none
from stretto.models.table import TableModel
from stretto.search.beam import Beam
from stretto.search.loop import Searched
from stretto.search.ranking import best_continuations


def engine(probabilities):
    """A model that says these probabilities, by what the answer is so far."""

    def rule(path):
        return [math.log(max(each, 1e-9)) for each in probabilities(path[1:])]

    return Engine(TableModel(len(probabilities(())), rule), clock=SimulatedClock())


TWO = {(): (0.6, 0.4), (0,): (0.5, 0.5), (1,): (0.9, 0.1)}


def test_a_beam_finds_what_greedy_misses():
    served = engine(lambda path: TWO[path])
    settings = {"max_new_tokens": 2, "end_tokens": (), "log_probabilities": 0}
    greedy, beam = served.generate([0], "beam(1)", **settings), served.generate([0], "beam(2)", **settings)
    assert greedy.tokens == [0, 0] and beam.tokens == [1, 0]
    assert math.exp(sum(each.steered for each in beam.log_probabilities)) == pytest.approx(0.36, rel=1e-5)


def test_the_length_penalty():
    """(−2.0 of 4 tokens) against (−2.3 of 6)."""
    assert Beam(penalty=1.0).worth(-2.0, 4) == -0.5 < Beam(penalty=1.0).worth(-2.3, 6)
    gnmt = Beam(norm="gnmt", penalty=0.6)
    assert gnmt.worth(-2.0, 4) == pytest.approx(-1.568, abs=5e-4)
    assert gnmt.worth(-2.3, 6) == pytest.approx(-1.599, abs=5e-4)
    assert Beam(penalty=0).worth(-2.3, 6) == -2.3


@pytest.mark.parametrize(("diversity", "second"), [(0.5, 0), (0.51, 0), (0.512, 1), (0.6, 1)])
def test_a_later_group_avoids_what_an_earlier_one_took(diversity, second):
    """The flip point is ln(0.5 / 0.3) = 0.5108."""
    served = engine(lambda path: (0.5, 0.3, 0.2))
    method = Searched(Beam(2, groups=2, diversity=diversity))
    found = served.generate([[0]], method, samples=2, max_new_tokens=1, end_tokens=(), log_probabilities=0)
    assert [answer.tokens for answer in found] == [[0], [second]]
    # what the token lost is not held against the answer
    assert found[1].log_probabilities[0].steered == pytest.approx(math.log((0.5, 0.3)[second]), rel=1e-4)


def test_groups_of_one_branch_without_diversity_are_greedy_each():
    served = engine(lambda path: TWO[path[:1]])
    settings = {"samples": 3, "max_new_tokens": 4, "end_tokens": ()}
    found = served.generate([[0]], Searched(Beam(3, groups=3, diversity=0)), **settings)
    assert [answer.tokens for answer in found] == [
        served.generate([0], "plain", **settings | {"samples": 1}).tokens
    ] * 3


def test_an_end_token_counts_only_among_the_best():
    scores = np.array([[0.0, -1.0, -2.0], [-0.5, -1.5, -9.0]])
    tokens = np.array([[1, 7, 2], [3, 7, 4]])
    found = best_continuations(scores, tokens, 2, {7})
    assert [(each.branch, each.token) for each in found] == [(0, 1), (1, 3)]
    found = best_continuations(scores, tokens, 3, {7})
    assert [(each.branch, each.token) for each in found] == [(0, 1), (1, 3), (0, 7), (0, 2)]


def test_what_it_cannot_serve_is_refused():
    served = engine(lambda path: (0.5, 0.3, 0.2))
    with pytest.raises(Unsupported, match="leave the temperature at 0"):
        served.generate([0], "beam(2)", temperature=1.0)
    with pytest.raises(InvalidRequest, match="groups of equal size"):
        Beam(3, groups=2)
    with pytest.raises(InvalidRequest, match="numbers from 0"):
        Beam(penalty=-1)
    with pytest.raises(InvalidRequest, match="two of a kind"):
        served.generate([0], "beam+best-of")
    with pytest.raises(InvalidRequest, match="norm"):
        served.generate([0], "beam(norm=words)")


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("end", [None, 7])
def test_the_answers_of_transformers_beams(penalty, end):
    """Those of `early_stopping="never"`, the only setting that ends when nothing can get better any more."""
    theirs, own = FAMILIES["llama"](), lean_or_none(FAMILIES["llama"](), print)
    assert own is not None
    served = Engine(own, clock=SimulatedClock())
    for prompt in ([5, 17, 3], [1, 2, 3, 4, 1, 2], [60]):
        found = theirs.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
            num_beams=4,
            num_return_sequences=4,
            length_penalty=penalty,
            early_stopping="never",
            max_new_tokens=10,
            do_sample=False,
            eos_token_id=end,
            pad_token_id=0,
        )
        lines = [line[len(prompt) :] for line in found.tolist()]
        lines = [line[: line.index(end) + 1] if end in line else line for line in lines]
        answers = served.generate(
            [prompt],
            f"beam(4,penalty={penalty})+lookup",
            samples=4,
            max_new_tokens=10,
            end_tokens=() if end is None else (end,),
        )
        assert [answer.tokens for answer in answers] == lines
