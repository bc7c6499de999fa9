from __future__ import annotations

import numpy as np
import pytest

from stretto.row import Limits, Row
from stretto.speculate.chance import ACCEPTING, DRAFTING, KeyedChance, candidates, chance_of
from stretto.steer.choice import Rule
from stretto.steer.path import History
from stretto.steer.pipeline import Pipeline
from stretto.tree import ROOT, NodeKind, Tree

WEIGHTS = np.array([0.0, 2.0, 0.0, 1.0, 5.0, 0.0])


def coins(seed: int = 0, stream: int = 0, position: int = 7, purpose: int = DRAFTING) -> KeyedChance:
    return KeyedChance(Rule(Pipeline(), seed, stream), position, purpose)


def test_draws_follow_their_weights():
    chance = coins()
    drawn = np.bincount([chance.draw(WEIGHTS) for _ in range(8000)], minlength=6)
    expected = 8000 * WEIGHTS / WEIGHTS.sum()
    assert not drawn[WEIGHTS == 0].any()
    held = WEIGHTS > 0
    assert ((drawn[held] - expected[held]) ** 2 / expected[held]).sum() < 13.8  # 1 in 1000 for 2 degrees of freedom


def test_coins_of_other_rounds_rows_and_purposes_are_others():
    places = [coins(), coins(seed=1), coins(stream=1), coins(position=8), coins(purpose=ACCEPTING)]
    streams = np.array([[chance.uniform() for _ in range(2000)] for chance in places])
    assert abs(streams.mean(1) - 0.5).max() < 0.03
    correlations = np.corrcoef(streams) - np.eye(len(places))
    assert abs(correlations).max() < 0.08
    assert [coins().uniform() for _ in range(2)] == [coins().uniform() for _ in range(2)]


def test_a_coin_is_certain_at_its_ends():
    chance = coins()
    assert all(chance.accept(1.0) and chance.accept(2.0) and not chance.accept(0.0) for _ in range(200))


def test_nothing_is_drawn_from_nothing():
    with pytest.raises(AssertionError, match="nothing to draw"):
        coins().draw(np.zeros(3))


def test_a_row_tosses_by_the_position_of_its_coming_round():
    row = Row(History([1, 2, 3]), 0, Rule(Pipeline(), 4, 2), Limits(9))
    expected = [coins(4, 2, 3, ACCEPTING).uniform(), coins(4, 2, 5, ACCEPTING).uniform()]
    found = [chance_of(row, ACCEPTING).uniform()]
    row.history.extend([0, 0])
    assert [*found, chance_of(row, ACCEPTING).uniform()] == expected


def test_sampled_candidates_come_first_and_riders_never():
    tree = Tree()
    tree.add(0)
    tree.add(1, proposal=NodeKind.RIDER)
    tree.add(2, proposal=NodeKind.SAMPLED, drawn_from=np.ones(3) / 3)
    tree.add(1, 0, proposal=NodeKind.SAMPLED, drawn_from=np.ones(3) / 3)
    assert candidates(tree, [ROOT]) == [2, 0]
    assert candidates(tree, [ROOT, 0]) == [2, 3, 0]
