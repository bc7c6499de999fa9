"""Trees of guesses as sets of paths: how they are planted, counted, united and pruned. Pure functions.

Here siblings differ, so that a path stands for its node. What is pruned is pruned by value, and no node is kept without
its parent.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..tree import ROOT, Proposal, Tree

if TYPE_CHECKING:
    from numpy.typing import NDArray

NO_TOKEN = -1  # fills up rows of continuations that end early


def plant(tokens: Sequence[int], parents: Sequence[int], scores: Sequence[float], sources: Sequence[str]) -> Tree:
    """A tree of point guesses from its columns, in one pass: parents before their children, siblings by rank."""
    depths: list[int] = []
    ranks: list[int] = []
    families: dict[int, int] = {}  # parent -> children so far
    for parent in parents:
        depths.append(1 if parent == ROOT else depths[parent] + 1)
        rank = families.get(parent, 0)
        families[parent] = rank + 1
        ranks.append(rank)
    return Tree(
        tokens=list(tokens),
        parents=list(parents),
        depths=depths,
        ranks=ranks,
        sources=list(sources),
        scores=list(scores),
        proposals=[Proposal.POINT] * len(depths),
    )


def bundle(chains: Iterable[Sequence[int]], nodes: int, source: str, score: float) -> Tree:
    """One tree that holds each chain as a path, at most `nodes` nodes, the first chains first."""
    tokens: list[int] = []
    parents: list[int] = []
    place: dict[tuple[int, int], int] = {}  # (parent, token) -> node
    for chain in chains:
        parent = ROOT
        for token in chain:
            node = place.get((parent, token))
            if node is None:
                if len(tokens) == nodes:
                    break
                node = place[parent, token] = len(tokens)
                tokens.append(token)
                parents.append(parent)
            parent = node
    return plant(tokens, parents, [score] * len(tokens), [source] * len(tokens))


def union(trees: Sequence[Tree]) -> Tree:
    """The paths of all trees as point guesses, those of the first tree in its order.

    As a set of paths it does not depend on the order of the trees. A path of several trees has the highest score, and
    all their sources, joined by "+". Riders are left out: they belong to the drafter that laid them.
    """
    tokens: list[int] = []
    parents: list[int] = []
    scores: list[float] = []
    sources: list[list[str]] = []
    place: dict[tuple[int, int], int] = {}
    for tree in trees:
        renamed = {ROOT: ROOT}
        for node, (token, above) in enumerate(zip(tree.tokens, tree.parents, strict=True)):
            parent = renamed.get(above)
            if parent is None or tree.proposals[node] is Proposal.RIDER:
                continue
            known = place.get((parent, token))
            if known is None:
                known = place[parent, token] = len(tokens)
                tokens.append(token)
                parents.append(parent)
                scores.append(tree.scores[node])
                sources.append([tree.sources[node]])
            else:
                scores[known] = max(scores[known], tree.scores[node])
                if tree.sources[node] not in sources[known]:
                    sources[known].append(tree.sources[node])
            renamed[node] = known
    return plant(tokens, parents, scores, ["+".join(names) for names in sources])


def keep_best(tree: Tree, values: Sequence[float], nodes: int) -> Tree:
    """At most `nodes` nodes, grown from the root by always taking the most valuable that hangs on what was taken.

    Where no child is worth more than its parent, these are the `nodes` most valuable. Of equal ones the first wins.
    """
    if nodes >= len(tree):
        return tree
    children: dict[int, list[int]] = {}
    for node, parent in enumerate(tree.parents):
        children.setdefault(parent, []).append(node)
    return tree.prune(_grow(children, values, nodes))


def _grow(children: dict[int, list[int]], values: Sequence[float], nodes: int) -> list[int]:
    """Best-first from the root: the nodes taken, each after its parent."""
    waiting = [(-values[node], node) for node in children.get(ROOT, ())]
    heapq.heapify(waiting)
    taken: list[int] = []
    while waiting and len(taken) < nodes:
        _, node = heapq.heappop(waiting)
        taken.append(node)
        for child in children.get(node, ()):
            heapq.heappush(waiting, (-values[child], child))
    return taken


def prune_branches(tree: Tree, keep: Callable[[int], bool]) -> Tree:
    """Without the branches whose first token `keep` refuses."""
    first = {node for node, parent in enumerate(tree.parents) if parent == ROOT and not keep(tree.tokens[node])}
    if not first:
        return tree
    for node, parent in enumerate(tree.parents):
        if parent in first:
            first.add(node)
    return tree.prune([node for node in range(len(tree)) if node not in first])


# -- counting ---------------------------------------------------------------------------------------


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
        taken = [node for node in _grow(self._children, values, nodes) if values[node] >= least]
        renamed = {ROOT: ROOT} | {node: at for at, node in enumerate(taken)}
        return plant(
            [self.tokens[node] for node in taken],
            [renamed[self.parents[node]] for node in taken],
            [scores[node] for node in taken],
            [source] * len(taken),
        )
