"""A tree of beginnings of answers, and what simulations have found out of each."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from .contract import Branch


@dataclass(slots=True, eq=False)
class Node:
    """A beginning of an answer. Its branch's row stands at its end and waits; one without a row has ended."""

    branch: Branch
    parent: Node | None = None
    prior: float = 1.0  # what the model makes of the step that leads here
    value: float = 0.0  # what was said of this node itself, or of what was found from it first
    visits: int = 0  # values that came back to it, its own among them
    total: float = 0.0  # of them
    best: float = -math.inf  # of them
    edges: list[Edge] | None = None  # what may follow; None: not known yet

    @property
    def mean(self) -> float:
        """Of the values that came back to it."""
        return self.total / self.visits

    @property
    def ended(self) -> bool:
        """Whether nothing can follow."""
        return self.branch.row is None

    def learn(self, value: float) -> None:
        """A value comes back to this node and those above it."""
        node: Node | None = self
        while node is not None:
            node.visits += 1
            node.total += value
            node.best = max(node.best, value)
            node = node.parent

    def below(self) -> Iterator[Node]:
        """All nodes under this one."""
        for edge in self.edges or ():
            if edge.child is not None:
                yield edge.child
                yield from edge.child.below()


@dataclass(slots=True, eq=False)
class Edge:
    """One way on from a node: a token, or a drawn segment, which is known once it has led somewhere."""

    prior: float = 1.0  # of the model, among the ways that are kept
    token: int | None = None
    child: Node | None = field(default=None, repr=False)

    @property
    def visits(self) -> int:
        """How often it was gone."""
        return 0 if self.child is None else self.child.visits
