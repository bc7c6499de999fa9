from __future__ import annotations

import numpy as np
import pytest

from laws.branching import verdict
from stretto.errors import InvalidRequest
from stretto.speculate.acceptors.relaxed import Relaxed
from stretto.steer.pipeline import Pipeline
from stretto.steer.temperature import Temperature
from stretto.tree import Tree

GREEDY = Pipeline([Temperature(0.0)])
SCORES = [3.0, 2.5, 1.9, 2.5]


@pytest.mark.parametrize(
    ("beta", "tau", "admitted"),
    [
        (1, 9.0, {0}),
        (2, 1.0, {0, 1}),  # of 1 and 3, which are equal, the lower id is the second best
        (3, 1.0, {0, 1, 3}),
        (3, 0.4, {0}),
        (4, 2.0, {0, 1, 2, 3}),
        (4, 0.5, {0, 1, 3}),
    ],
)
def test_rank_and_gap_both_decide(beta, tau, admitted):
    rule = Relaxed(beta, tau)
    assert {token for token in range(4) if rule.admits(np.array(SCORES), token)} == admitted
    for token in range(4):
        path = verdict(rule, Tree.chain([token]), lambda path: SCORES, GREEDY).path
        assert bool(path) == (token in admitted)


def test_at_the_first_failure_the_models_choice_is_emitted():
    """GAD++ on a chain: 1 is near enough, 2 is not."""
    found = verdict(Relaxed(3, 1.0), Tree.chain([1, 2, 0]), lambda path: SCORES, GREEDY)
    assert (found.path, found.extra) == ([0], 0)


def test_of_several_admissible_children_the_best_is_followed():
    tree = Tree()
    for token in (2, 3, 1):
        tree.add(token)
    tree.add(0, 0)
    assert verdict(Relaxed(4, 2.0), tree, lambda path: SCORES, GREEDY).path == [1]


@pytest.mark.parametrize(("beta", "tau"), [(0, 1.0), (2, -1.0)])
def test_settings_are_checked(beta, tau):
    with pytest.raises(InvalidRequest, match="beta = 1 is exact"):
        Relaxed(beta, tau)
