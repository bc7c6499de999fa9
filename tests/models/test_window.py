"""Windows of trees: each node stands at its depth and sees the root, its ancestors and itself."""

from __future__ import annotations

import random

import torch

from stretto.models.window import Window
from stretto.tree import ROOT, Tree, slot_of


def grown(seed: int, size: int) -> Tree:
    chance, tree = random.Random(seed), Tree()
    for _ in range(size):
        tree.add(chance.randrange(50), chance.randrange(ROOT, len(tree)))
    return tree


def test_each_node_sees_its_path_and_nothing_else() -> None:
    trees = [grown(0, 9), Tree(), grown(1, 5)]
    window = Window.forest([4, 2, 7], [11, 12, 13], trees, [30, 0, 5], torch.device("cpu"))
    assert window.rows == [4, 2, 7] and window.lengths == [10, 1, 6] and window.tokens.shape == (3, 10)
    assert window.visible is not None
    for r, (root, start, tree) in enumerate(zip([11, 12, 13], [30, 0, 5], trees, strict=True)):
        assert window.tokens[r, : 1 + len(tree)].tolist() == [root, *tree.tokens]
        assert window.positions[r, : 1 + len(tree)].tolist() == [start, *(start + depth for depth in tree.depths)]
        for node in range(ROOT, len(tree)):
            seen = window.visible[r, slot_of(node)].nonzero().flatten().tolist()
            assert seen == sorted({0, *map(slot_of, tree.path(node))})
        for padding in range(1 + len(tree), 10):
            assert window.visible[r, padding].nonzero().flatten().tolist() == [0, padding]


def test_chains_need_no_mask() -> None:
    window = Window.forest([0], [7], [Tree.chain([8, 9])], [3], torch.device("cpu"))
    assert window.visible is None
    assert window.tokens.tolist() == [[7, 8, 9]] and window.positions.tolist() == [[3, 4, 5]]
