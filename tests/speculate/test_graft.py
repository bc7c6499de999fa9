from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stretto.speculate.estimate import reaches
from stretto.speculate.graft import NO_TOKEN, Trie, bundle, count, keep_best, plant, prune_branches, union
from stretto.tree import ROOT, Proposal, Tree

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
        drawn.add(token, proposal=Proposal.SAMPLED, drawn_from=np.full(3, 1 / 3))
    drawn.add(0, 1)
    rider = drawn.add(0, 2, proposal=Proposal.RIDER)
    drawn.add(0, rider, proposal=Proposal.RIDER)
    whole = union([drawn])
    whole.check()
    assert (whole.tokens, whole.parents) == ([1, 2, 0], [ROOT, ROOT, 0])
    assert set(whole.proposals) == {Proposal.POINT} and not whole.drawn_from


@given(CHAINS, st.integers(0, 12), st.randoms(use_true_random=False))
def test_the_best_nodes_hang_together_and_are_the_best_where_values_fall(chains, nodes, chance):
    tree = bundle(chains, 100, "x", 0.5)
    tree.scores = [chance.random() for _ in tree.scores]
    values = reaches(tree)
    best = keep_best(tree, values, nodes)
    best.check()
    assert len(best) == min(nodes, len(tree)) and paths(best) <= paths(tree)
    assert all(path[:-1] in paths(best) | {()} for path in paths(best))
    assert sum(reaches(best)) == pytest.approx(sum(sorted(values, reverse=True)[:nodes]))


def test_branches_go_with_their_first_token():
    tree = bundle([[1, 2], [3, 1, 2], [2]], 10, "x", 0.5)
    assert paths(prune_branches(tree, {1, 2}.__contains__)) == {(1,), (1, 2), (2,)}
    assert prune_branches(tree, lambda token: True) is tree


@pytest.mark.parametrize("seed", range(30))
def test_counting_equals_a_counter(seed):
    """Against a dictionary of all beginnings: the same weights, the best of them, each after its parent."""
    chance = random.Random(seed)
    depth, nodes = chance.randrange(1, 6), chance.choice([1, 3, 8, 100])
    rows = sorted(
        (chain + [NO_TOKEN] * (depth - len(chain)))
        for chain in (
            chance.choices(range(3), k=chance.randrange(0, depth + 1)) for _ in range(chance.randrange(1, 20))
        )
    )
    weights = None if seed % 2 else [chance.choice([0.3, 1.0, 2.0]) for _ in rows]
    expected: Counter[tuple[int, ...]] = Counter()
    for row, weight in zip(rows, weights or [1.0] * len(rows), strict=True):
        for size in range(1, depth + 1 - row.count(NO_TOKEN)):
            expected[tuple(row[:size])] += weight
    counted = count(np.array(rows), nodes, None if weights is None else np.array(weights))
    tree = counted.tree(["x"] * len(counted.tokens), doubt=0.5)
    tree.check()
    found = [tuple(tree.path_tokens(node)) for node in range(len(tree))]
    assert counted.total == pytest.approx(sum(weights or [1.0] * len(rows)))
    assert counted.weights == pytest.approx([expected[path] for path in found])
    assert len(found) == min(nodes, len(expected)) == len(set(found))
    assert sum(counted.weights) == pytest.approx(sum(weight for _, weight in expected.most_common(nodes)))
    for node, path in enumerate(found):
        assert path[:-1] in [(), *found[:node]]
        assert [tuple(row[: len(path)]) for row in rows[counted.first[node] : counted.end[node]]].count(path) == (
            counted.end[node] - counted.first[node]
        )
        above = expected[path[:-1]] if len(path) > 1 else counted.total
        assert tree.scores[node] == pytest.approx(expected[path] / (above + 0.5))


def test_ties_go_to_the_shorter_then_to_the_lower_token():
    rows = np.array([[1, 5], [2, 4], [3, 9]])
    assert count(rows, 4).tokens == [1, 2, 3, 5]
    assert len(count(rows, 0).tokens) == len(count(rows[:0], 4).tokens) == len(count(rows[:, :0], 4).tokens) == 0


def test_a_trie_follows_the_shares():
    """Weights 0.6 and 0.2 under the root: shares 3/4 and 1/4; the likelier branch splits 1:1 below."""
    trie = Trie()
    trie.add([1, 2], [0.4, 0.5])
    trie.add([1, 3], [0.2, 0.5])
    trie.add([4], [0.2])
    whole = trie.tree(10, "x")
    assert paths(whole) == {(1,), (1, 2), (1, 3), (4,)}
    assert dict(zip(whole.tokens, whole.scores, strict=True)) == pytest.approx({1: 0.75, 2: 0.5, 3: 0.5, 4: 0.25})
    assert paths(trie.tree(10, "x", least=0.3)) == {(1,), (1, 2), (1, 3)}  # 0.375 each
    assert paths(trie.tree(10, "x", least=0.5)) == {(1,)}
    assert paths(trie.tree(2, "x")) == {(1,), (1, 2)}
    assert trie.tree(1, "x", doubt=0.2).scores == pytest.approx([0.6])


def test_planting_gives_depths_and_ranks():
    tree = plant([1, 2, 1, 3], [ROOT, ROOT, 1, 1], [0.5] * 4, ["x"] * 4)
    assert (tree.depths, tree.ranks) == ([1, 1, 2, 2], [0, 1, 0, 1]) and tree == rebuilt(tree)
