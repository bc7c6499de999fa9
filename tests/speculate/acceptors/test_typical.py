from __future__ import annotations

import math

import numpy as np
import pytest

from laws.branching import verdict
from stretto.errors import InvalidRequest
from stretto.speculate.acceptors.typical import Typical
from stretto.tree import NodeKind, Tree

P = [0.7, 0.2, 0.1]


def logits(path: tuple[int, ...]) -> list[float]:
    return [math.log(p) for p in P]


def test_thresholds_of_the_examples():
    p = np.array(P)
    assert -(p * np.log(p)).sum() == pytest.approx(0.802, abs=1e-3)
    assert Typical(1.0, 0.3).threshold(p) == pytest.approx(0.135, abs=1e-3)
    assert Typical().threshold(p) == 0.09
    assert Typical().threshold(np.full(100, 0.01)) == pytest.approx(0.003, abs=1e-4)  # so all of them pass


def test_a_token_above_the_threshold_is_accepted_whatever_the_noise_says():
    for seed in range(20):
        assert verdict(Typical(), Tree.chain([2]), logits, seed=seed).path == [0]
    kept = [verdict(Typical(0.15, 1.0), Tree.chain([2]), logits, seed=seed).path for seed in range(40)]
    assert [] in kept and [0] in kept  # below it, as often as the model chooses it
    assert kept.count([0]) < 12


def test_the_longest_path_wins_and_the_likeliest_among_equals():
    tree = Tree()
    tree.add(0)
    long = tree.add(1)
    tree.add(2, long)
    better = tree.add(0, long)
    rider = tree.add(0, better, proposal=NodeKind.RIDER)
    tree.add(0, rider, proposal=NodeKind.RIDER)
    assert verdict(Typical(), tree, logits).path == [long, better]


@pytest.mark.parametrize(("epsilon", "delta"), [(-0.1, 0.3), (1.1, 0.3), (0.1, -1.0)])
def test_settings_are_checked(epsilon, delta):
    with pytest.raises(InvalidRequest, match="exact"):
        Typical(epsilon, delta)
    with pytest.raises(InvalidRequest, match="delta is a number"):
        Typical(0.1, math.nan)
