from __future__ import annotations

from fractions import Fraction
from functools import partial

import numpy as np
import pytest

from laws.branching import SAMPLED, Draft, enumerated, grown, outcomes, sample, vector, worst_error
from stretto.speculate.acceptors.recursive import Recursive
from stretto.speculate.chance import KeyedChance, drawn_after
from stretto.steer.choice import Rule
from stretto.steer.pipeline import Pipeline
from stretto.tree import ROOT, Siblings, Tree

P, Q = vector(5, 3, 2), vector(2, 5, 3)


def test_all_tokens_drawn_is_all_accepted():
    draft = Draft(partial(grown, [3], distinct=True), Siblings.DISTINCT)
    assert enumerated(Recursive(), draft, lambda path: P, lambda path: Q)[1] == 1


def test_a_sibling_is_judged_by_what_was_left_of_q():
    tree = Tree()
    for token in (1, 0):
        tree.add(token, proposal=SAMPLED, drawn_from=Q)
    assert drawn_after(tree, 0, []).tolist() == Q.tolist()
    assert drawn_after(tree, 1, [1]).tolist() == [Fraction(2, 5), 0, Fraction(3, 5)]
    assert tree.drawn_from[1].tolist() == Q.tolist()  # the drafter's vector is left as it is


def test_an_exhausted_q_counts_as_uniform():
    """A sure drafter that goes on drawing: the others are equally likely."""
    sure = vector(0, 1, 0)
    tree = Tree()
    for token in (1, 0, 2):
        tree.add(token, proposal=SAMPLED, drawn_from=sure)
    assert drawn_after(tree, 1, [1]).tolist() == [0.5, 0, 0.5]
    assert drawn_after(tree, 2, [1, 0]).tolist() == [0, 0, 1]
    committed, _ = enumerated(Recursive(), Draft(partial(grown, [2], distinct=True)), lambda path: P, lambda path: sure)
    assert worst_error(committed, lambda path: P, 3, 2) == 0


def test_another_order_than_that_of_drawing_would_be_biased():
    def sorted_draft(chance, q):
        drawn, taken = Tree(), []
        for _ in range(2):
            taken.append(drawn.tokens[sample(drawn, ROOT, q(()), chance, taken)])
        tree = Tree()
        for token in sorted(taken):
            tree.add(token, proposal=SAMPLED, drawn_from=q(()))
        return tree

    committed, _ = enumerated(Recursive(), Draft(sorted_draft), lambda path: P, lambda path: Q)
    assert worst_error(committed, lambda path: P, 3, 2) > 0


def test_a_sibling_that_repeats_is_a_drafters_mistake():
    tree = Tree()
    for _ in range(2):
        tree.add(0, proposal=SAMPLED, drawn_from=np.array([0.9, 0.1]))
    with pytest.raises(AssertionError, match="took"):
        Recursive().walk(tree, lambda node: np.array([0.0, 1.0]), KeyedChance(Rule(Pipeline()), 5, 1))


def test_order_of_outcomes_adds_up():
    """The draws themselves: P(1, then 0) = q1 q0 / (1 - q1)."""
    draft = Draft(partial(grown, [2], distinct=True))
    weights: dict = {}
    for weight, tokens in outcomes(lambda chance: tuple(draft.draw(chance, lambda path: Q).tokens)):
        weights[tokens] = weights.get(tokens, 0) + weight
    assert weights[1, 0] == Q[1] * Q[0] / (1 - Q[1]) and sum(weights.values()) == 1
