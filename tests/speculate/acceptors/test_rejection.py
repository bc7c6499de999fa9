from __future__ import annotations

from fractions import Fraction
from functools import partial

import numpy as np
import pytest

from laws.branching import SAMPLED, Branching, Draft, chain, outcomes, sample, vector
from stretto.errors import Unsupported
from stretto.speculate.acceptors.rejection import Rejection
from stretto.speculate.chance import KeyedChance
from stretto.steer.choice import Rule
from stretto.steer.pipeline import Pipeline
from stretto.tree import ROOT, Tree

P, Q = vector(5, 3, 2), vector(2, 5, 3)


def test_after_a_rejection_the_token_comes_from_the_excess():
    """p - q is positive at token 0 alone."""
    draft = Draft(partial(chain, [SAMPLED]))

    def experiment(chance):
        verdict = Rejection().walk(draft.draw(chance, lambda path: Q), lambda node: P, chance)
        return bool(verdict.path), verdict.extra

    found: dict = {}
    for weight, outcome in outcomes(experiment):
        found[outcome] = found.get(outcome, 0) + weight
    assert {extra for accepted, extra in found if not accepted} == {0}
    assert found[False, 0] == Fraction(3, 10) == sum(abs(P - Q)) / 2


def test_what_p_excludes_is_never_accepted_and_a_certain_token_always():
    sure = vector(0, 1, 0)
    for token, accepted in ((0, False), (1, True)):
        tree = Tree()
        sample(tree, ROOT, Q, Branching([token]))
        for _, verdict in outcomes(lambda chance, tree=tree: Rejection().walk(tree, lambda node: sure, chance)):
            assert (bool(verdict.path), verdict.extra) == (accepted, 1)


def test_rounding_leaves_p_where_nothing_is_left():
    """A coin may reject where p falls short of q by the last bit only."""

    class Unlucky:
        def at(self, depth, *labels):
            return self

        def accept(self, probability):
            return False

        def draw(self, weights):
            return int(np.argmax(weights))

    p = np.array([0.25, 0.75])
    tree = Tree()
    tree.add(1, proposal=SAMPLED, drawn_from=p)
    assert Rejection().walk(tree, lambda node: p, Unlucky()).extra == 1
    certain = Tree.chain([1])
    assert Rejection().walk(certain, lambda node: np.array([0.0, 1.0]), Unlucky()).extra == 1


def test_a_token_that_its_distribution_excludes_is_a_drafters_mistake():
    tree = Tree()
    tree.add(0, proposal=SAMPLED, drawn_from=np.array([0.0, 1.0]))
    coins = KeyedChance(Rule(Pipeline()), 5, 1)
    with pytest.raises(AssertionError, match="excludes"):
        Rejection().walk(tree, lambda node: np.array([0.5, 0.5]), coins)


def test_a_tree_is_refused():
    tree = Tree.chain([0, 1])
    tree.add(1, 0)
    tree.add(2, 0)
    with pytest.raises(Unsupported, match="no chain"):
        Rejection().walk(tree, lambda node: P, Branching([]))
