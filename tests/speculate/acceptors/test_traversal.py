from __future__ import annotations

from functools import partial

import pytest

from laws.branching import Branching, Draft, enumerated, grown, guessed, table, vector, worst_error
from stretto.speculate.acceptors import traversal
from stretto.speculate.acceptors.recursive import Recursive
from stretto.speculate.acceptors.traversal import Traversal
from stretto.tree import Siblings, Tree

TREE = Draft(partial(grown, [2, 1], distinct=True), Siblings.DISTINCT)


def test_dividing_by_the_mass_that_q_has_left_would_be_biased(monkeypatch):
    """The known mistake, to see that enumeration shows it."""
    tables = [(table(("p", seed), 3, 2, 4), table(("q", seed), 3, 2, 4)) for seed in range(3)]

    def errors():
        return [worst_error(enumerated(Traversal(), TREE, p, q)[0], p, 3, 3) for p, q in tables]

    assert max(errors()) == 0

    class Mistaken(traversal._Place):
        def lose_child(self):
            mass = 1 - sum(self.tree.drawn_from[self.waiting[0]][[*self.taken, self.tree.tokens[self.waiting[0]]]])
            before = self.weight
            super().lose_child()
            if 0 < before < 1 and self.weight > 0 and mass > 0:
                total = self.weight * (1 - before) / (1 - self.weight)  # S again
                self.weight = min(1, total / mass)

    monkeypatch.setattr(traversal, "_Place", Mistaken)
    assert max(errors()) > 0


def test_over_many_models_it_commits_more_than_from_the_root_down():
    gains = []
    for seed in range(5):
        p, q = table(("t", seed), 3), table(("d", seed), 3)
        gains.append(enumerated(Traversal(), TREE, p, q)[1] - enumerated(Recursive(), TREE, p, q)[1])
    assert min(gains) >= 0 and max(gains) > 0


def test_points_gain_nothing_but_lose_nothing():
    p = table("p", 3)
    draft = Draft(partial(guessed, [2, 2]), Siblings.DISTINCT)
    committed, accepted = enumerated(Traversal(), draft, p, p)
    assert worst_error(committed, p, 3, 3) == 0
    assert accepted == enumerated(Recursive(), draft, p, p)[1]


def test_below_an_impossible_token_nothing_is_asked():
    asked = []

    def target(node):
        asked.append(node)
        return vector(0, 1)

    tree = Tree.chain([0, 1, 1])
    tree.add(1)
    verdict = Traversal().walk(tree, target, Branching([]))
    assert (verdict.path, verdict.extra, sorted(asked)) == ([3], 1, [-1, 3])


@pytest.mark.parametrize("seed", range(3))
def test_the_first_leaf_accepted_is_the_first_drawn(seed):
    """With p = q every coin accepts, so the path is the one that leads to the first leaf."""
    p = table(("p", seed), 3)
    _, accepted = enumerated(Traversal(), TREE, p, p)
    assert accepted == 2
