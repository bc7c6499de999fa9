from __future__ import annotations

from fractions import Fraction
from functools import partial

import numpy as np
import pytest
import torch

from laws.branching import SAMPLED, Draft, chain, enumerated, outcomes, table, vector, verdict, worst_error
from stretto.errors import InvalidRequest, Unsupported
from stretto.speculate.acceptors.cascade import RULES, Cascade
from stretto.steer.pipeline import Pipeline
from stretto.steer.temperature import Temperature
from stretto.tree import Tree

P, Q = vector(5, 3, 2), vector(2, 5, 3)


def mixture(rule: str, alpha: float) -> list:
    return Cascade(rule, alpha).mixture(P, Q, P, Q).tolist()


def test_the_numbers_of_the_example():
    """max p = max q = .5, TV = .3."""
    assert mixture("opt", 0) == mixture("opt", 1) == Q.tolist()
    assert mixture("v3", 0.5) == vector(35, 59, 6).tolist()  # .3 ≥ .6 × .5 up to rounding: tokens 0 and 1
    assert mixture("v3", 1) == Q.tolist()
    assert mixture("v3", 0) == vector(60, 24, 16).tolist()
    assert mixture("diff", 1) == mixture("diff", 0) == Q.tolist()
    assert mixture("chow", 0.5) == Q.tolist() and mixture("chow", 0.4) == P.tolist()
    assert mixture("v1", 0) == (np.array([0, 1, 0]) * Q + (1 - Q[1]) * P).tolist()
    assert mixture("v2", 0.2) == mixture("v3", 0.4) == vector(35, 59, 6).tolist()
    assert all(mixture(rule, -2) == P.tolist() for rule in RULES)


def test_a_tie_of_confidences_by_rounding_is_a_tie():
    p, q = np.array([0.4, 0.3, 0.3]), np.array([0.2, 0.5, 0.3])
    assert 0.4 - 0.1 > 0.3
    assert Cascade("v2", 0.1).mixture(p, q, p, q).tolist() == q.tolist()


def test_acceptance_is_the_overlap_of_q_and_the_mixture():
    pi = vector(35, 59, 6)
    draft = Draft(partial(chain, [SAMPLED]))
    accepted = 0
    for weight, accept in outcomes(
        lambda chance: bool(
            Cascade("v3", 0.5, bonus=True).walk(draft.draw(chance, lambda path: Q), lambda node: P, chance).path
        )
    ):
        accepted += weight * accept
    assert accepted == Fraction(76, 100) == np.minimum(pi, Q).sum()


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.4])
@pytest.mark.parametrize("rule", RULES)
def test_the_output_has_the_mixtures_joint(rule, alpha):
    """Every drafted position, the last one included: no bonus token comes from elsewhere."""
    p, q, cascade = table("p", 3), table("q", 3), Cascade(rule, alpha)

    def pi(path):
        return cascade.mixture(p(path), q(path), p(path), q(path))

    draft = Draft(partial(chain, [SAMPLED, SAMPLED]))
    committed, _ = enumerated(cascade, draft, p, q)
    assert max(map(len, committed)) == 2
    assert worst_error(committed, pi, 3, 2) == 0


def test_a_bonus_token_is_the_large_models():
    p, q = table("p", 2), table("q", 2)
    committed, _ = enumerated(Cascade("diff", 1.0, bonus=True), Draft(partial(chain, [SAMPLED])), p, q)
    expected = {(a, b): q(())[a] * p((a,))[b] for a in range(2) for b in range(2)}
    assert committed == expected  # q is trusted with the drafted token, so it is always accepted


def test_confidences_are_those_before_any_steer():
    """At temperature 0 both are certain, but what they believe still decides."""
    logits = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64).log()
    greedy = Pipeline([Temperature(0.0)])
    for small, expected in ((np.array([0.1, 0.8, 0.1]), 1), (np.array([0.3, 0.4, 0.3]), 0)):
        tree = Tree()
        tree.add(1, proposal=SAMPLED, drawn_from=np.array([0.0, 1.0, 0.0]), belief=small)
        assert verdict(Cascade("diff", 0.0), tree, lambda path: logits.tolist(), greedy).extra == expected


def test_a_drafter_that_keeps_its_beliefs_to_itself_is_refused_under_steers():
    tree = Tree()
    tree.add(1, proposal=SAMPLED, drawn_from=np.array([0.0, 1.0]))
    with pytest.raises(Unsupported, match="believe"):
        verdict(Cascade(), tree, lambda path: [0.0, 1.0], Pipeline([Temperature(0.5)]))
    assert verdict(Cascade(), tree, lambda path: [0.0, 1.0]).extra in (0, 1)
    with pytest.raises(Unsupported, match="without probabilities"):
        verdict(Cascade(), Tree.chain([1]), lambda path: [0.0, 1.0])


@pytest.mark.parametrize(("rule", "alpha"), [("v4", 0.1), ("opt", 1.5), ("opt", -3)])
def test_settings_are_checked(rule, alpha):
    with pytest.raises(InvalidRequest):
        Cascade(rule, alpha)
