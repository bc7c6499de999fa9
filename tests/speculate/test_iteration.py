from __future__ import annotations

import torch

from speculate.drafters.by_hand import logits_of, row_of
from stretto.models.table import TableModel
from stretto.noise import gumbel_one, key
from stretto.speculate.contract import Outcome
from stretto.speculate.iteration import beyond, follow
from stretto.steer.choice import choose
from stretto.steer.frequency import Frequency
from stretto.steer.nodes import Nodes
from stretto.steer.path import Path, Scope
from stretto.steer.pipeline import Pipeline
from stretto.steer.temperature import Temperature
from stretto.tree import Tree


def test_paths_of_guesses_hold_the_committed_tokens():
    """Slow reference of `beyond`: which logits, and at which position with which text they are chosen from."""
    model = TableModel.random(5, seed=8)
    row = row_of([4, 4, 2], Pipeline([Frequency(2.0, 0.0), Temperature(1.0)]), seed=6)
    tree = Tree.chain([1, 3, 0, 2])
    logits = logits_of(model, row, tree)
    row.history.extend([1, 4])  # the first was right, then 4 instead of 3
    told = beyond(row, Outcome(tree, [0], [1, 4], logits), [1, 3, 0, 2])
    assert torch.equal(told.raw, logits[2:])  # after 3, 0 and 2
    for (path, raw), text in zip(zip(told.paths, told.raw, strict=True), ([], [0], [0, 2]), strict=True):
        assert path == Path(row.history, tuple(text))
        assert path.count(4, Scope.OUTPUT) == 1
        penalised = raw.clone()
        for token in (1, 4, *text):
            penalised[token] -= 2.0
        noise = torch.tensor([gumbel_one(key(6, 0, 5 + len(text)), token) for token in range(5)])
        assert choose(Nodes([path], raw[None]), [row.rule]).tokens == [int((penalised + noise).argmax())]
    assert beyond(row, Outcome(tree.prune([0]), [0], [1, 4], logits[:2]), [1, 3, 0, 2]) is None
    assert beyond(row, Outcome(tree, [0], [1, 4]), [1, 3, 0, 2]) is None


def test_follow_goes_down_as_far_as_there_are_nodes():
    tree = Tree.chain([7, 8])
    other = tree.add(9)
    deep = tree.add(8, other)
    assert follow(tree, [9, 8, 1]) == [other, deep]
    assert follow(tree, [7, 8]) == [0, 1]
    assert follow(tree, [8]) == follow(tree, []) == []
