from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from stretto.speculate.counting import NO_TOKEN, Trie, count
from stretto.tree import Tree


def paths(tree: Tree) -> set[tuple[int, ...]]:
    return {tuple(tree.path_tokens(node)) for node in range(len(tree))}


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
