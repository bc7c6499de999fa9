"""Continuations that were seen, counted: the tree of those that are likeliest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..tree import ROOT, Tree
from .merging import plant

if TYPE_CHECKING:
    from numpy.typing import NDArray

NO_TOKEN = -1  # fills up rows of continuations that end early


@dataclass(slots=True)
class Counted:
    """The heaviest beginnings of many continuations: a tree, heavier siblings first, parents before children."""

    tokens: list[int]
    parents: list[int]
    weights: list[float]  # of all continuations that begin so
    first: list[int]  # the continuations that begin so are rows first … end - 1
    end: list[int]
    total: float  # weight of all continuations

    def tree(self, sources: Sequence[str], doubt: float) -> Tree:
        """As guesses: the score is the node's share of its parent's weight, beside a `doubt` ≥ 0 of nothing seen."""
        scores = [
            weight / (doubt + (self.total if parent == ROOT else self.weights[parent]))
            for weight, parent in zip(self.weights, self.parents, strict=True)
        ]
        return plant(self.tokens, self.parents, scores, sources)


def count(continuations: NDArray[Any], nodes: int, weights: NDArray[Any] | None = None) -> Counted:
    """The `nodes` beginnings of greatest weight. Of equal ones the shorter, then the lower tokens.

    `continuations` [N, depth] are sorted as tuples, `NO_TOKEN` from where they end. `weights` [N] ≥ 0; None: 1 each.
    """
    size, depth = continuations.shape
    if not size or not depth or nodes < 1:
        return Counted([], [], [], [], [], float(size))
    fresh = np.ones((depth, size), dtype=bool)  # whether a row begins otherwise than the one before, by length
    np.logical_or.accumulate((continuations[1:] != continuations[:-1]).T, axis=0, out=fresh[:, 1:])
    places = np.flatnonzero(fresh)  # a beginning each: (length - 1) * size + its first row; each length has row 0
    levels, first = np.divmod(places, size)
    end = np.append(places[1:], depth * size) - levels * size
    tokens = continuations[first, levels]
    if weights is None:
        total, mass = float(size), (end - first).astype(np.float64)
    else:
        sums = np.concatenate([[0.0], np.cumsum(weights)])
        total, mass = float(sums[-1]), sums[end] - sums[first]
    mass[tokens == NO_TOKEN] = -1.0
    best = np.argsort(-mass, kind="stable")[:nodes]  # a parent weighs no less than its children and stands before
    best = best[mass[best] > 0]
    above = np.searchsorted(places, places[best] - size, side="right") - 1  # the last beginning up to the same row
    renamed = {place: node for node, place in enumerate(best.tolist())}
    parents = [
        renamed[place] if level else ROOT for place, level in zip(above.tolist(), levels[best].tolist(), strict=True)
    ]
    return Counted(tokens[best].tolist(), parents, mass[best].tolist(), first[best].tolist(), end[best].tolist(), total)


class Trie:
    """Continuations with a weight on each edge; the same path is kept once."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.parents: list[int] = []
        self.weights: list[float] = []
        self._place: dict[tuple[int, int], int] = {}  # (parent, token) -> node
        self._children: dict[int, list[int]] = {}

    def add(self, tokens: Sequence[int], weights: Iterable[float]) -> None:
        """Enter a continuation; edge weights are summed over all that share the edge."""
        parent = ROOT
        for token, weight in zip(tokens, weights, strict=False):
            node = self._place.get((parent, token))
            if node is None:
                node = self._place[parent, token] = len(self.tokens)
                self.tokens.append(token)
                self.parents.append(parent)
                self.weights.append(0.0)
                self._children.setdefault(parent, []).append(node)
            self.weights[node] += weight
            parent = node

    def tree(self, nodes: int, source: str, least: float = 0.0, doubt: float = 0.0) -> Tree:
        """The likeliest paths: a node's share among its siblings, times its parent's, at least `least`.

        The score is the share beside a `doubt` ≥ 0, a weight of nothing seen.
        """
        scores: list[float] = [0.0] * len(self.tokens)
        values: list[float] = [0.0] * len(self.tokens)
        for parent, children in self._children.items():  # in the order of their first child: parents come first
            together = sum(self.weights[child] for child in children)
            for child in children:
                share = self.weights[child] / together if together > 0 else 0.0
                values[child] = share * (1.0 if parent == ROOT else values[parent])
                scores[child] = share * together / (together + doubt) if together > 0 else 0.0
        order = sorted(range(len(values)), key=lambda node: (-values[node], node))  # parents before their children
        taken = [node for node in order[:nodes] if values[node] >= least]
        renamed = {ROOT: ROOT} | {node: at for at, node in enumerate(taken)}
        return plant(
            [self.tokens[node] for node in taken],
            [renamed[self.parents[node]] for node in taken],
            [scores[node] for node in taken],
            [source] * len(taken),
        )
