from __future__ import annotations

from functools import partial

import numpy as np

from laws.branching import DRAFTS, SAMPLED, Draft, Sampler, chains, enumerated, grown, vector, worst_error
from stretto.speculate.acceptors.multi import Multi
from stretto.speculate.acceptors.recursive import Recursive
from stretto.speculate.acceptors.rejection import Rejection
from stretto.tree import Siblings, Tree

P, Q = vector(5, 3, 2), vector(2, 5, 3)


def test_it_would_be_biased_on_draws_without_replacement_and_says_so():
    """The rule for repeated siblings on distinct ones, and the other way round: a bias that enumeration shows."""
    distinct = Draft(partial(grown, [2], distinct=True), Siblings.DISTINCT)
    repeated = Draft(partial(grown, [2], distinct=False), Siblings.REPEATED)
    p, q = vector(4, 4, 2), vector(2, 3, 5)
    for acceptor, draft in ((Multi(), distinct), (Recursive(), repeated)):
        try:
            committed, _ = enumerated(acceptor, draft, lambda path: p, lambda path: q)
        except AssertionError as error:
            assert "took" in str(error)
        else:
            assert worst_error(committed, lambda path: p, 3, 2) > 0
    assert not Multi.judges_siblings(Sampler(distinct)) and Multi.judges_siblings(Sampler(repeated))
    assert not Recursive.judges_siblings(Sampler(repeated)) and Recursive.judges_siblings(Sampler(distinct))


def test_distinct_points_are_judged_by_all_that_judge_trees():
    assert Multi.judges_siblings(Sampler(DRAFTS["point tree"]))
    assert not Rejection.judges_siblings(Sampler(DRAFTS["point tree"]))


def test_twins_are_one_place():
    """Below an accepted token the children of every node that bears it are tried, whichever of them was accepted."""
    tree = Tree()
    first = tree.add(0, proposal=SAMPLED, drawn_from=np.array([1.0, 0.0]))
    second = tree.add(0, proposal=SAMPLED, drawn_from=np.array([1.0, 0.0]))
    tree.add(0, first)
    deep = tree.add(1, second)
    ps = {(): np.array([1.0, 0.0]), (0,): np.array([0.0, 1.0]), (0, 1): np.array([0.0, 1.0])}

    class Sure:
        def at(self, depth, *labels):
            return self

        def accept(self, probability):
            assert probability in (0, 1)
            return probability == 1

        def draw(self, weights):
            return int(np.argmax(weights))

    verdict = Multi().walk(tree, lambda node: ps[tuple(tree.path_tokens(node))], Sure())
    assert verdict.path == [second, deep] and verdict.extra == 1


def test_each_further_draft_helps_less():
    rates = []
    for count in (1, 2, 3):
        draft = Draft(partial(chains, count, 1))
        rates.append(enumerated(Multi(), draft, lambda path: P, lambda path: Q)[1])
    assert rates[0] < rates[1] < rates[2] < 1
    assert rates[2] - rates[1] < rates[1] - rates[0]
