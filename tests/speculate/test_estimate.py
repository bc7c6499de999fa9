from __future__ import annotations

import itertools
import random

import pytest

from laws.worlds import random_tree, ridden
from stretto.speculate.contract import Outcome, Room
from stretto.speculate.estimate import (
    Calibrated,
    RankRates,
    Rate,
    Scores,
    Shape,
    best_sum,
    cut_below,
    keep_best,
    keep_paying,
    likeliest,
    reaches,
    trials,
)
from stretto.tree import ROOT, Proposal, Tree

RANKS = (0.6, 0.3, 0.1)


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
    tree.add(0, proposal=Proposal.RIDER)
    tree.add(1, 0, proposal=Proposal.RIDER)
    tree.add(2, score=0.7)
    assert reaches(tree) == [0.0, 0.0, 0.7]
    assert RankRates(by_depth=True, fade=0.9).values(tree) == [0.0, 0.0, 0.6]  # the first candidate there


def test_drawn_nodes_are_not_chosen_among():
    """Which of two drawn siblings is verified must not depend on what they turned out to be."""
    tree = Tree()
    tree.add(0, score=0.1, proposal=Proposal.SAMPLED)
    tree.add(1, score=0.8, proposal=Proposal.SAMPLED)
    assert keep_best(tree, reaches(tree), 1) is tree
    assert keep_paying([tree], [reaches(tree)], lambda nodes: 1.0 + 100 * nodes) == [tree]


def test_riders_stay_with_their_host_and_are_not_counted():
    tree = ridden(4, Room(3, 3))
    values = [0.9, 0.0, 0.0, 0.5, 0.0, 0.0, 0.2, 0.0, 0.0]
    kept = keep_best(tree, values, 2)
    assert kept.tokens == [0, 0, 1, 1, 0, 1]
    assert [proposal is Proposal.RIDER for proposal in kept.proposals] == [False, True, True] * 2
    assert keep_best(tree, values, 3) is tree
    assert cut_below(tree, lambda node: True).proposals.count(Proposal.RIDER) == 6


@pytest.mark.parametrize("seed", range(6))
def test_a_cut_keeps_the_nodes_that_stop_and_drops_what_hangs_below(seed):
    tree = scored(seed)
    stops = {node for node in range(len(tree)) if tree.scores[node] < 0.5}
    expected = [node for node in range(len(tree)) if not stops & set(tree.path(node)[:-1])]
    assert cut_below(tree, stops.__contains__).tokens == tree.prune(expected).tokens
    assert cut_below(tree, lambda node: False) is tree


def test_a_batch_keeps_as_many_nodes_as_pay():
    """The size by enumeration, for costs that grow in steps as well."""
    chance = random.Random(5)
    for _ in range(40):
        trees = [scored(chance.randrange(99), size=chance.randrange(9)) for _ in range(3)]
        values = [reaches(tree) for tree in trees]
        prices = [1.0 + 0.3 * (nodes // 3) + 0.05 * nodes for nodes in range(10)]
        yields = [
            (len(trees) + sum(best_sum(each, size) for each in values)) / prices[size]
            for size in range(max(map(len, trees)) + 1)
        ]
        size = yields.index(max(yields))
        kept = keep_paying(trees, values, prices.__getitem__)
        assert [len(tree) for tree in kept] == [min(size, len(tree)) for tree in trees]


def test_trials_end_at_the_first_miss():
    tree = Tree()
    a, b = tree.add(0), tree.add(1)
    tree.add(9, a, proposal=Proposal.RIDER)
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


def test_rank_rates_find_the_planted_ones():
    rates = RankRates(by_depth=False, fade=1.0)
    chance = random.Random(0)
    tree = Tree()
    for token in range(3):
        tree.add(token)
    for _ in range(4000):
        token = chance.choices(range(4), [0.5, 0.25, 0.05, 0.2])[0]
        rates.learn(tree, [token])
    for rank, planted in enumerate((0.5, 0.25, 0.05)):
        assert rates.rate(1, rank) == pytest.approx(planted, abs=0.03)
        assert rates.rate(7, rank) == rates.rate(1, rank)


def test_rank_rates_by_depth_and_what_is_unseen():
    rates = RankRates(by_depth=True, fade=0.9)
    assert rates.rate(3, 0) == 0.6 and rates.rate(3, 1) == 0.2
    chain = Tree.chain([1, 2])
    for _ in range(50):
        rates.learn(chain, [1, 0])
    assert rates.rate(1, 0) > 0.9 and rates.rate(2, 0) < 0.2
    assert rates.rate(5, 0) == rates.rate(2, 0)  # like the depth above
    assert rates.values(chain) == [rates.rate(1, 0), rates.rate(1, 0) * rates.rate(2, 0)]


def test_given_rates_stay():
    rates = RankRates(by_depth=False, fade=0.9, given=RANKS)
    rates.learn(Tree.chain([1]), [0])
    assert [rates.rate(4, rank) for rank in range(4)] == [*RANKS, 0.0]


def test_what_was_asked_for_and_not_delivered_earned_nothing():
    rates = RankRates(by_depth=False, fade=0.9)
    shape = Shape((ROOT, ROOT, 0, 0), (0.0,) * 4)
    for _ in range(60):
        rates.learn(Tree.chain([1, 2]), [1, 2, 0], shape.children())
    assert rates.rate(1, 0) > 0.9 and rates.rate(1, 1) < 0.05 and rates.rate(1, 2) == 0.1


def test_what_has_not_been_tried_for_long_is_believed_as_at_first():
    """Else one unlucky trial would keep a depth out of every tree for ever."""
    rates = RankRates(by_depth=True, fade=0.9)
    for _ in range(20):
        rates.learn(Tree.chain([1, 2]), [1, 0])
    low = rates.rate(2, 0)
    for _ in range(60):
        rates.learn(Tree.chain([1]), [1, 0])
    assert low < 0.2 and rates.rate(2, 0) > 0.8 * rates.rate(1, 0)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_the_likeliest_places_are_the_best_tree_of_each_size(depth):
    """By enumeration over all trees of ranks that hold a rank only with the ranks before it."""
    chance = random.Random(depth)
    for _ in range(5):
        table = [sorted((chance.random() for _ in range(3)), reverse=True) for _ in range(depth)]
        shape = likeliest(lambda level, rank: table[level - 1][rank], 6, depth, 3)
        for nodes in range(len(shape.parents) + 1):
            assert sum(shape.values[:nodes]) == pytest.approx(best_by_enumeration(table, nodes, 1.0))


def best_by_enumeration(table, nodes, value):
    """The greatest sum of values of `nodes` nodes under one parent, over all ways to share them."""
    if nodes == 0:
        return 0.0
    if not table:
        return float("-inf")
    best = float("-inf")
    for shares in itertools.product(range(nodes + 1), repeat=len(table[0])):
        used = list(itertools.takewhile(bool, shares))
        if sum(shares) == nodes == sum(used):
            worth = sum(
                value * rate + best_by_enumeration(table[1:], share - 1, value * rate)
                for rate, share in zip(table[0], used, strict=False)
            )
            best = max(best, worth)
    return best


def test_a_rank_is_no_better_than_the_one_before_it():
    shape = likeliest(lambda depth, rank: (0.1, 0.9)[rank], 3, 2, 2)
    assert shape.values[:2] == (0.1, 0.1) and shape.parents[:2] == (ROOT, ROOT)
    assert likeliest(lambda depth, rank: 0.5, 0, 3, 3) == Shape()


def test_a_shape_knows_its_depth_and_children():
    shape = Shape((ROOT, 0, ROOT, 1), (0.6, 0.36, 0.2, 0.2))
    assert shape.depth == 3 and shape.first(1).depth == 1 and Shape().depth == 0
    assert shape.children() == {ROOT: [0, 2], 0: [1], 1: [3]}


def test_scores_are_taken_as_they_are():
    tree = scored(1)
    assert [Scores().rate(tree, node) for node in range(len(tree))] == tree.scores


def test_the_calibrated_estimator_learns_what_a_score_is_worth():
    """Binned error below .05 on drafts that are accepted half as often as they say."""
    estimator, chance = Calibrated(fade=1.0), random.Random(0)
    tree = Tree.chain([1])
    for _ in range(6000):
        tree.scores = [chance.random()]
        committed = [1, 0] if chance.random() < tree.scores[0] / 2 else [0]
        estimator.learn(tree, Outcome(tree, [], committed))
    for place in range(10):
        tree.scores = [(place + 0.5) / 10]
        assert estimator.rate(tree, 0) == pytest.approx(tree.scores[0] / 2, abs=0.05)
    tree.scores = [1.0]
    assert 0.4 < estimator.rate(tree, 0) < 0.55
