from __future__ import annotations

import itertools
import random

import pytest

from laws.worlds import random_tree, ridden
from stretto.speculate.contract import Room
from stretto.speculate.economy.pruning import (
    best_sum,
    cut_below,
    keep_best,
    keep_paying,
    prune_branches,
    reaches,
    sizes_that_pay,
)
from stretto.speculate.economy.shapes import ByPlace
from stretto.speculate.merging import bundle
from stretto.tree import ROOT, NodeKind, Tree


def scored(seed: int, size: int = 12) -> Tree:
    tree = random_tree([seed], Room(size, 5), 4, seed=seed)
    chance = random.Random(seed)
    tree.scores = [chance.random() for _ in tree.scores]
    return tree


def subsets(tree: Tree, size: int):
    """Every set of nodes that is a tree, the slow way."""
    for nodes in itertools.combinations(range(len(tree)), size):
        if all(tree.parents[node] in (ROOT, *nodes) for node in nodes):
            yield nodes


@pytest.mark.parametrize("seed", range(6))
def test_the_best_nodes_are_the_best_tree_of_that_size(seed):
    tree = scored(seed)
    values = reaches(tree)
    for size in range(len(tree) + 1):
        kept = keep_best(tree, values, size)
        best = max(sum(values[node] for node in nodes) for nodes in subsets(tree, size))
        assert len(kept) == size
        assert sum(reaches(kept)) == pytest.approx(best) == pytest.approx(best_sum(values, size))


def test_reaches_are_products_along_the_path():
    tree = scored(3)
    for node in range(len(tree)):
        product = 1.0
        for above in tree.path(node):
            product *= tree.scores[above]
        assert reaches(tree)[node] == pytest.approx(product)


def test_riders_are_worth_nothing():
    tree = Tree()
    tree.add(0, proposal=NodeKind.RIDER)
    tree.add(1, 0, proposal=NodeKind.RIDER)
    tree.add(2, score=0.7)
    assert reaches(tree) == [0.0, 0.0, 0.7]
    assert ByPlace(0.9).reaches(tree) == [0.0, 0.0, 0.6]  # the first candidate there


def test_drawn_nodes_are_not_chosen_among():
    """Which of two drawn siblings is verified must not depend on what they turned out to be."""
    tree = Tree()
    tree.add(0, score=0.1, proposal=NodeKind.SAMPLED)
    tree.add(1, score=0.8, proposal=NodeKind.SAMPLED)
    assert keep_best(tree, reaches(tree), 1) is tree
    assert keep_paying([tree], [reaches(tree)], lambda nodes, padding: 1.0 + 100 * nodes) == [tree]


def test_riders_stay_with_their_host_and_are_not_counted():
    tree = ridden(4, Room(3, 3))
    values = [0.9, 0.0, 0.0, 0.5, 0.0, 0.0, 0.2, 0.0, 0.0]
    kept = keep_best(tree, values, 2)
    assert kept.tokens == [0, 0, 1, 1, 0, 1]
    assert [proposal is NodeKind.RIDER for proposal in kept.proposals] == [False, True, True] * 2
    assert keep_best(tree, values, 3) is tree
    assert cut_below(tree, lambda node: True).proposals.count(NodeKind.RIDER) == 6


@pytest.mark.parametrize("seed", range(6))
def test_a_cut_keeps_the_nodes_that_stop_and_drops_what_hangs_below(seed):
    tree = scored(seed)
    stops = {node for node in range(len(tree)) if tree.scores[node] < 0.5}
    expected = [node for node in range(len(tree)) if not stops & set(tree.path(node)[:-1])]
    assert cut_below(tree, stops.__contains__).tokens == tree.prune(expected).tokens
    assert cut_below(tree, lambda node: False) is tree


@pytest.mark.parametrize("price", [None, 0.1, 0.7, 3.0])
def test_a_batch_keeps_as_many_nodes_as_pay(price):
    """The sizes by enumeration of all, for costs that grow in steps as well, where padding is free."""
    chance = random.Random(5)
    for _ in range(20):
        values = [reaches(scored(chance.randrange(99), size=chance.randrange(6))) for _ in range(3)]
        costs = [1.0 + 0.3 * (nodes // 3) + 0.05 * nodes for nodes in range(16)]

        def gain(sizes, values=values, costs=costs):
            expected = len(values) + sum(best_sum(each, size) for each, size in zip(values, sizes, strict=True))
            seconds = costs[sum(sizes)]
            return expected / seconds if price is None else expected - price * seconds

        best = max(map(gain, itertools.product(*(range(len(each) + 1) for each in values))))
        assert gain(sizes_that_pay(values, lambda nodes, _, costs=costs: costs[nodes], price)) == pytest.approx(best)


def test_slots_of_rows_that_are_shorter_are_told_as_padding():
    asked = []

    def cost(nodes: int, padding: int) -> float:
        asked.append((nodes, padding))
        return 1.0 + 0.01 * (nodes + padding)

    assert sizes_that_pay([[0.9, 0.8], [0.1], []], cost) == [2, 1, 0]
    assert asked == [(0, 0), (1, 2), (2, 4), (3, 3)]


def test_trees_are_trimmed_to_what_pays():
    trees = [Tree.chain([1, 2, 3], score=0.5), Tree.chain([4], score=0.9), Tree()]
    kept = keep_paying(trees, [reaches(tree) for tree in trees], lambda nodes, padding: 1.0 + nodes, 0.4)
    assert [tree.tokens for tree in kept] == [[1], [4], []]


def test_branches_go_with_their_first_token():
    tree = bundle([[1, 2], [3, 1, 2], [2]], 10, "x", 0.5)
    assert prune_branches(tree, {1, 2}.__contains__).tokens == [1, 2, 2]
    assert prune_branches(tree, lambda token: True) is tree
