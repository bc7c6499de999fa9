from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import pytest

from laws.branching import SAMPLED, Draft, chains, enumerated, outcomes, table, vector
from stretto.errors import Unsupported
from stretto.speculate.acceptors.k_seq import KSeq, ratio_bound
from stretto.speculate.chance import KeyedChance
from stretto.steer.choice import Rule
from stretto.steer.pipeline import Pipeline
from stretto.tree import Tree

P, Q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.5, 0.3])


def slow_bound(p: np.ndarray, q: np.ndarray, n: int) -> float:
    """The slow reference: halve the whole interval, with all tokens at each step."""
    low, high = 1.0, float(n)
    for _ in range(200):
        middle = (low + high) / 2
        beta = np.minimum(q, p / middle).sum()
        low, high = (middle, high) if 1 - (1 - beta) ** n > middle * beta else (low, middle)
    return high


def optimum(p: np.ndarray, q: np.ndarray, n: int) -> float:
    """What the best rule could accept: the least cut between tokens and draws, over all sets of tokens cut off."""
    size = len(p)
    subsets = itertools.chain.from_iterable(itertools.combinations(range(size), r) for r in range(size + 1))
    return min(float(p[list(cut)].sum() + 1 - q[list(cut)].sum() ** n) for cut in subsets)


def test_the_numbers_of_the_example():
    rho = ratio_bound(P, Q, 2)
    beta = np.minimum(Q, P / rho).sum()
    assert rho == pytest.approx(1.456776, abs=1e-6) and beta == pytest.approx(0.543224, abs=1e-6)
    assert 1 - (1 - beta) ** 2 == pytest.approx(0.791355, abs=1e-6)
    left = P - np.minimum(Q, P / rho) * (1 - (1 - beta) ** 2) / beta
    assert left == pytest.approx([0.20864, 0, 0], abs=1e-5)


def test_one_draft_needs_no_search():
    assert ratio_bound(P, Q, 1) == 1


def test_the_bound_equals_the_slow_reference():
    chance = np.random.default_rng(3)
    for size, n in itertools.product((2, 3, 30, 400), (2, 3, 8, 20)):
        for sharpness in (0.3, 1.0, 4.0):
            p, q = (np.exp(sharpness * chance.standard_normal(size)) for _ in range(2))
            p[chance.random(size) < 0.2] = 0
            q[chance.random(size) < 0.2] = 0
            if p.any() and q.any():
                p, q = p / p.sum(), q / q.sum()
                assert ratio_bound(p, q, n) == pytest.approx(slow_bound(p, q, n), abs=1e-9)


@pytest.mark.parametrize(
    ("p", "q", "expected"),
    [
        (P, P, 1.0),  # the same: every draft is accepted
        (np.array([1.0, 0.0]), np.array([0.5, 0.5]), 1.5),  # temperature 0: ρ q = 1 - (1 - q)^2, accepted for sure
        (np.array([1.0, 0.0]), np.array([0.0, 1.0]), 1.0),  # nothing in common: β = 0, any ρ will do
    ],
)
def test_edges(p, q, expected):
    assert ratio_bound(p, q, 2) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_it_is_nearly_as_good_as_optimal_transport(seed):
    p, q = table(("p", seed), 4)(()), table(("q", seed), 4)(())
    for n in (1, 2, 3):
        accepted = float(enumerated(KSeq(), Draft(partial(chains, n, 1)), lambda path: p, lambda path: q)[1])
        best = optimum(p.astype(float), q.astype(float), n)
        assert (1 - np.exp(-1)) * best <= accepted + 1e-12
        assert accepted <= best + 1e-9


def test_drafts_that_share_the_accepted_beginning_are_tried_together():
    """Two equal beginnings: below them both continuations count, so more is accepted than of one alone."""
    p, q = vector(1, 1), vector(3, 1)
    first = Tree()
    for _ in range(2):
        parent = first.add(0, proposal=SAMPLED, drawn_from=q)
    for parent, token in ((0, 0), (1, 1)):
        first.add(token, parent, proposal=SAMPLED, drawn_from=q)
    verdicts = [verdict for _, verdict in outcomes(lambda chance: KSeq().walk(first, lambda node: p, chance))]
    assert {2, 3} <= {verdict.path[-1] for verdict in verdicts if verdict.path}


def test_drafts_from_different_distributions_are_refused():
    tree = Tree()
    for q in (P, Q):
        tree.add(0, source="same", proposal=SAMPLED, drawn_from=q)
    with pytest.raises(Unsupported, match="different distributions"):
        KSeq().walk(tree, lambda node: P, KeyedChance(Rule(Pipeline()), 3, 1))
