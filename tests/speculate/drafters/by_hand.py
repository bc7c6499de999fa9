"""One session, one row and a model that is a function: rounds that a test can look into."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from stretto.models.table import TableModel
from stretto.row import Limits, Row
from stretto.speculate.contract import DraftSession, Outcome, Room
from stretto.steer.choice import Rule, choose
from stretto.steer.nodes import Nodes
from stretto.steer.path import History, Path
from stretto.steer.pipeline import Pipeline
from stretto.steer.temperature import Temperature
from stretto.tree import ROOT, Tree

GREEDY = Pipeline([Temperature(0.0)])


def row_of(
    tokens: Sequence[int], pipeline: Pipeline = GREEDY, seed: int = 0, ends: frozenset[int] = frozenset(), new: int = 99
) -> Row:
    return Row(History(tokens), -1, Rule(pipeline, seed, 0), Limits(new, ends))


def logits_of(model: TableModel, row: Row, tree: Tree) -> torch.Tensor:
    """The target's logits at the root and at every node, [1 + D, V], by the definition."""
    paths = [tree.path_tokens(node) for node in range(ROOT, len(tree))]
    return torch.tensor([model.rule((*row.history.tokens, *path)) for path in paths], dtype=torch.float64)


def play(model: TableModel, row: Row, session: DraftSession, room: Room) -> Outcome:
    """One round with the exact rule; nothing of the library but the tree and the choice."""
    tree = session.propose(room)
    logits = logits_of(model, row, tree)
    committed: list[int] = []
    path: list[int] = []
    node: int | None = ROOT
    while node is not None:
        if node != ROOT:
            path.append(node)
        choices = choose(Nodes([Path(row.history, tuple(tree.path_tokens(node)))], logits[[node + 1]]), [row.rule])
        committed += choices.tokens
        node = tree.child_bearing(node, committed[-1])
    row.history.extend(committed)
    outcome = Outcome(tree, path, committed, logits)
    session.advance(outcome)
    return outcome


def cyclic(period: int, vocabulary: int) -> TableModel:
    """Counts up to the period and begins again."""
    return TableModel(vocabulary, lambda path: [float(token == (path[-1] + 1) % period) for token in range(vocabulary)])
