from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from laws.branching import table
from speculate.drafters.growing import GREEDY, SMALL, STEERED, WARM, begin, distribution, error, grown, row_of, trees
from stretto.speculate.acceptors.block import Block
from stretto.speculate.acceptors.rejection import Rejection
from stretto.speculate.chance import DRAFTING, chance_of
from stretto.speculate.contract import Room
from stretto.speculate.drafters.sampled import Sampled
from stretto.tree import NodeKind


@pytest.mark.parametrize("acceptor", [Rejection(), Block()], ids=["rejection", "block"])
@pytest.mark.parametrize("least", [0, 1])
def test_with_its_acceptors_the_output_is_exact(acceptor, least):
    p, q = table("p", 3, least), table("q", 3, least)
    assert error(lambda chance: grown(Sampled(), q, Room(2, 2), chance), acceptor, p, 3, 3) == 0


def test_every_chain_has_the_probability_that_the_model_gives_it():
    q = table("q", 3)
    for weight, tree in trees(Sampled(), q, Room(2, 5)):
        first, second = tree.tokens
        assert weight == q(())[first] * q((first,))[second]
        assert tree.is_chain and tree.drawn_from[1] is q((first,))


def test_real_coins_draw_by_the_vector():
    q = np.array([0.2, 0.5, 0.0, 0.3])
    seen = Counter()
    for seed in range(3000):
        chance = chance_of(row_of([0], WARM, seed), DRAFTING)
        seen[tuple(grown(Sampled(), lambda path: q, Room(2, 2), chance).tokens)] += 1
    for a in range(4):
        for b in range(4):
            assert seen[a, b] / 3000 == pytest.approx(q[a] * q[b], abs=0.025)
            assert seen[a, b] == 0 or q[a] * q[b] > 0


def test_at_temperature_0_the_likeliest_token_is_certain():
    drafting = begin(Sampled(SMALL))
    row = row_of([0, 1, 2], GREEDY)
    (tree,) = drafting.propose([drafting.open(row)], [Room(3, 3)])
    for node, token in enumerate(tree.tokens):
        p = distribution(SMALL, row, tree.tokens[:node])
        assert token == p.argmax() and tree.scores[node] == pytest.approx(p[token])
        assert tree.proposals[node] is NodeKind.SAMPLED
        assert tree.drawn_from[node].tolist() == [float(other == token) for other in range(4)]
        assert np.allclose(tree.beliefs[node], p)


@pytest.mark.parametrize("pipeline", [GREEDY, WARM, STEERED], ids=["greedy", "sampled", "steered"])
def test_it_tells_what_the_small_model_believes_before_any_steer(pipeline):
    drafting = begin(Sampled(SMALL))
    row = row_of([0, 1, 1, 2], pipeline, seed=4)
    (tree,) = drafting.propose([drafting.open(row)], [Room(4, 4)])
    for node in range(len(tree)):
        plain = np.exp(SMALL.rule((*row.history.tokens, *tree.tokens[:node])))
        assert np.allclose(tree.beliefs[node], plain / plain.sum())


def test_it_goes_on_as_it_would_with_other_room():
    """The coins of a place do not depend on how much is drafted, but on the seed, the stream and the position."""
    drafting = begin(Sampled(SMALL))
    session = drafting.open(row_of([0, 1], WARM, seed=9))
    long, short = session.propose(Room(6, 6)), session.propose(Room(3, 3))
    assert short.tokens == long.tokens[:3]
    other = drafting.open(row_of([0, 1], WARM, seed=10)).propose(Room(6, 6))
    assert other.tokens != long.tokens
