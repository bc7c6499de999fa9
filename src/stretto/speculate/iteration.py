"""Jacobi iteration: what the target said, under a chain of guesses, about the positions after the accepted ones."""

from __future__ import annotations

from collections.abc import Sequence

from ..row import Row
from ..steer.nodes import Nodes
from ..steer.path import Path
from ..tree import ROOT, Tree, slot_of
from .contract import Outcome


def follow(tree: Tree, tokens: Sequence[int]) -> list[int]:
    """The nodes of a tree that bear these tokens one below the other, as far as there are any."""
    at = {place: node for node, place in enumerate(zip(tree.parents, tree.tokens, strict=True))}
    nodes: list[int] = []
    parent = ROOT
    for token in tokens:
        if (parent, token) not in at:
            break
        parent = at[parent, token]
        nodes.append(parent)
    return nodes


def beyond(row: Row, outcome: Outcome, guesses: Sequence[int]) -> Nodes | None:
    """The n nodes after the guesses from the first rejected one on, which speak of the tokens after the new root.

    Their paths are seen as if the committed tokens had stood there from the start: penalties count those, and the
    noise of a position is the one it will have. None where nothing was evaluated so far.
    """
    start = len(outcome.committed)
    nodes = follow(outcome.tree, guesses)
    if outcome.logits is None or len(nodes) < start:
        return None
    slots = [slot_of(node) for node in nodes[start - 1 :]]
    paths = [Path(row.history, tuple(guesses[start : start + more])) for more in range(len(slots))]
    return Nodes(paths, outcome.logits[slots], rules=[row.rule.guessing] * len(slots))
