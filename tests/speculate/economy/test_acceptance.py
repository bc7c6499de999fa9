from __future__ import annotations

import pytest

from stretto.speculate.economy.acceptance import (
    ANY,
    BELIEF,
    FADE,
    PRIOR,
    RARER,
    TRUST,
    ByLook,
    Rate,
    depth_class,
    trials,
)
from stretto.tree import NodeKind, Tree


def test_trials_end_at_the_first_miss():
    tree = Tree()
    a, b = tree.add(0), tree.add(1)
    tree.add(9, a, proposal=NodeKind.RIDER)
    c = tree.add(2, a)
    tree.add(3, c)
    assert list(trials(tree, [0, 2, 7])) == [([a, b], a), ([c], c), ([4], None)]
    assert list(trials(tree, [1, 2])) == [([a, b], b)]
    assert list(trials(tree, [5, 0])) == [([a, b], None)]
    assert list(trials(tree, [0])) == [([a, b], a)]  # the row ended there: nothing is known of what lies below
    assert list(trials(Tree(), [1])) == []


def test_a_rate_fades():
    rate = Rate(1.0, 2.0)
    rate.add(True, 0.5)
    assert (rate.accepted, rate.tried, rate.value) == (1.5, 2.0, 0.75)


def test_what_is_tried_is_added_to_what_is_believed():
    rates, belief = ByLook(), BELIEF
    tree = Tree.chain([1, 2], source="s", score=0.8)
    first = 0.8 * TRUST.value
    assert rates.rates(tree) == [first, first] and rates.reaches(tree) == pytest.approx([first, first**2])
    rates.learn(tree, [1, 3])
    hit = (FADE * belief * first + 1) / (FADE * belief + 1)
    assert rates.rates(tree)[0] == pytest.approx(hit)
    assert rates.rates(tree)[1] == pytest.approx(FADE * belief * hit / (FADE * belief + 1))  # believed as the first
    assert rates.of_source("s") == pytest.approx((FADE * (FADE * belief * hit + 1)) / (FADE * (FADE * belief + 1) + 1))
    assert rates.rates(Tree.chain([1], source="t")) == [PRIOR]
    assert rates.rate(("t", ANY, 1, ANY)) == pytest.approx(PRIOR * RARER)


def test_scores_are_believed_as_far_as_those_of_the_same_drafter_were_worth_it():
    """One whose every score of .4 turns out to be right is believed at .6 what was never seen; another one is not."""
    rates = ByLook()
    before = rates.rates(Tree.chain([1], source="modest", score=0.6))
    for _ in range(60):
        rates.learn(Tree.chain([1], source="modest", score=0.4), [1])
        rates.learn(Tree.chain([1], source="boastful", score=0.9), [0])
    assert rates.rates(Tree.chain([1], source="modest", score=0.6)) == [0.8] > before
    assert rates.rates(Tree.chain([1], source="boastful", score=0.6)) < before
    assert rates.rates(Tree.chain([1], source="unseen", score=0.6)) == before


def test_depth_classes_grow():
    classes = [depth_class(depth) for depth in range(1, 40)]
    assert classes == sorted(classes) and classes[:3] == [1, 2, 3]
