from __future__ import annotations

from fractions import Fraction
from functools import partial

from laws.branching import SAMPLED, Branching, Draft, chain, enumerated, vector
from stretto.speculate.acceptors.block import Block
from stretto.speculate.acceptors.rejection import Rejection
from stretto.tree import Tree


def test_it_accepts_more_than_token_by_token():
    """Two tokens of a model without context: 11/9 against 10/9."""
    p, q = vector(1, 2), vector(2, 1)
    draft = Draft(partial(chain, [SAMPLED, SAMPLED]))
    assert enumerated(Rejection(), draft, lambda path: p, lambda path: q)[1] == Fraction(10, 9)
    assert enumerated(Block(), draft, lambda path: p, lambda path: q)[1] == Fraction(11, 9)


def test_nothing_is_evaluated_beyond_a_token_that_p_excludes():
    asked = []

    def target(node):
        asked.append(node)
        return vector(1, 0)

    tree = Tree.chain([0, 1, 0, 0])
    verdict = Block().walk(tree, target, Branching([]))
    assert (verdict.path, verdict.extra, asked) == ([0], 0, [-1, 0])


def test_an_empty_draft_is_plain_decoding():
    verdict = Block().walk(Tree(), lambda node: vector(0, 0, 1), Branching([]))
    assert (verdict.path, verdict.extra) == ([], 2)
