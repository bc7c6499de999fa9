from __future__ import annotations

from dataclasses import dataclass

from laws.branching import SAMPLED, Draft, enumerated, outcomes, sample, table, vector, worst_error
from stretto.speculate.acceptors.specinfer import SpecInfer
from stretto.speculate.chance import one_by_one
from stretto.tree import ROOT, Tree

P, Q, OTHER = vector(5, 3, 2), vector(2, 5, 3), vector(1, 1, 8)


def two(chance, q):
    """One of each of two drafters, and one more of the first."""
    tree = Tree()
    for vectors, source in ((Q, "q"), (OTHER, "other"), (Q, "q")):
        sample(tree, ROOT, vectors, chance, source=source)
    return tree


def test_a_token_of_two_drafters_counts_for_each():
    committed, accepted = enumerated(SpecInfer(), Draft(two), lambda path: P, lambda path: Q)
    assert worst_error(committed, lambda path: P, 3, 2) == 0
    assert accepted > 0.76  # what two drafts of the first alone would earn


def test_every_candidate_may_come_first():
    """With one candidate accepted for sure, it is each of them as often."""
    tree = Tree()
    for _ in range(3):
        tree.add(0, proposal=SAMPLED, drawn_from=vector(1, 0, 0))
    first: dict = {}
    for weight, verdict in outcomes(lambda chance: SpecInfer().walk(tree, lambda node: vector(1, 0, 0), chance)):
        first[verdict.path[0]] = first.get(verdict.path[0], 0) + weight
    assert len(first) == 3 and len(set(first.values())) == 1


def test_an_order_that_looks_at_the_tokens_would_be_biased():
    @dataclass(frozen=True)
    class BestFirst(SpecInfer):
        def pick(self, tree, children, p, chance):
            return one_by_one(tree, sorted(children, key=lambda child: -p[tree.tokens[child]]), p, chance)

    p = table("p", 3)
    committed, _ = enumerated(BestFirst(), Draft(two), p, lambda path: Q)
    assert worst_error(committed, p, 3, 2) > 0
