from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stretto.speculate.merging import bundle, plant, union
from stretto.tree import ROOT, NodeKind, Tree

CHAINS = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=5), max_size=12)


def paths(tree: Tree) -> set[tuple[int, ...]]:
    return {tuple(tree.path_tokens(node)) for node in range(len(tree))}


def beginnings(chains) -> set[tuple[int, ...]]:
    return {tuple(chain[:size]) for chain in chains for size in range(1, len(chain) + 1)}


def rebuilt(tree: Tree) -> Tree:
    """The same tree, added node by node."""
    again = Tree()
    for token, parent, source, score in zip(tree.tokens, tree.parents, tree.sources, tree.scores, strict=True):
        again.add(token, parent, source=source, score=score)
    return again


@given(CHAINS)
def test_a_bundle_holds_each_chain_once(chains):
    tree = bundle(chains, 100, "x", 0.5)
    assert paths(tree) == beginnings(chains) and len(tree) == len(paths(tree))
    assert tree == rebuilt(tree)
    tree.check()


def test_a_bundle_keeps_to_its_nodes_and_prefers_the_first_chains():
    assert paths(bundle([[1, 2, 3], [4]], 2, "x", 0.5)) == {(1,), (1, 2)}
    assert paths(bundle([[1, 2], [1, 3], [4]], 3, "x", 0.5)) == {(1,), (1, 2), (1, 3)}


@given(CHAINS, CHAINS, CHAINS)
def test_a_union_is_the_set_of_all_paths_in_any_order(one, two, three):
    trees = [
        bundle(chains, 100, name, score)
        for chains, name, score in ((one, "a", 0.2), (two, "b", 0.9), (three, "c", 0.4))
    ]
    whole = union(trees)
    whole.check()
    assert whole == rebuilt(whole)
    assert paths(whole) == beginnings(one + two + three)
    assert paths(union(trees[::-1])) == paths(whole)
    assert union([whole, trees[1]]).tokens == whole.tokens  # nothing is new, and the first keeps its order
    for node in range(len(whole)):
        path = tuple(whole.path_tokens(node))
        bearers = [tree for tree in trees if path in paths(tree)]
        assert whole.sources[node] == "+".join(tree.sources[0] for tree in bearers)
        assert whole.scores[node] == max(tree.scores[0] for tree in bearers)


def test_a_union_turns_drawn_siblings_into_points_and_leaves_riders_out():
    drawn = Tree()
    for token in (1, 1, 2):
        drawn.add(token, proposal=NodeKind.SAMPLED, drawn_from=np.full(3, 1 / 3))
    drawn.add(0, 1)
    rider = drawn.add(0, 2, proposal=NodeKind.RIDER)
    drawn.add(0, rider, proposal=NodeKind.RIDER)
    whole = union([drawn])
    whole.check()
    assert (whole.tokens, whole.parents) == ([1, 2, 0], [ROOT, ROOT, 0])
    assert set(whole.proposals) == {NodeKind.POINT} and not whole.drawn_from


def test_planting_gives_depths_and_ranks():
    tree = plant([1, 2, 1, 3], [ROOT, ROOT, 1, 1], [0.5] * 4, ["x"] * 4)
    assert (tree.depths, tree.ranks) == ([1, 1, 2, 2], [0, 1, 0, 1]) and tree == rebuilt(tree)
