"""Drafted tokens with parents.

The root is not part of the tree: it is the last committed token, already chosen and not yet in the
cache. Node `i` of a tree is evaluated at slot `i + 1` of the row's window, the root at slot 0, so a
parent of `ROOT` (-1) is slot 0 and the arithmetic is the same for all. A chain is a thin tree.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

ROOT = -1


def slot_of(node: int) -> int:
    """The window slot at which a node is evaluated; the root's is 0."""
    return node - ROOT


class NodeKind(Enum):
    """How a drafted token came about; acceptors are exact only for the kinds they declare."""

    POINT = "point"  # chosen without chance (a copy, an argmax, a top-k): siblings are distinct
    SAMPLED = "sampled"  # drawn from a distribution that the node carries
    RIDER = "rider"  # an auxiliary row: evaluated, seen by its own chain only, never committed


class Siblings(Enum):
    """How committable siblings relate; it decides which acceptors may judge sampled ones."""

    NONE = "no siblings"  # a chain
    DISTINCT = "distinct siblings"  # sampled ones were drawn in order, each without the ones before; points differ
    REPEATED = "repeated siblings"  # sampled ones were drawn independently, so that tokens may repeat


@dataclass(slots=True)
class Tree:
    """Parallel lists, one entry per node; parents come before their children.

    `tokens[i]` is -1 for a rider that enters as a raw embedding row, found in `embeds[i]`  [C].
    `scores[i]` is the drafter's own estimate in [0, 1] that the node is accepted when its parent is.
    `drawn_from[i]` is the vector [V] of probabilities, float64, that a sampled node was drawn from: after all steers,
    and, where siblings do not repeat, before the earlier sampled ones were taken out (once they hold all of its
    mass, further ones are drawn uniformly from the tokens not yet taken).
    `beliefs[i]` is the drafter's own vector [V] there before any steer, for acceptors that compare confidences.
    """

    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)  # children of the root have depth 1
    ranks: list[int] = field(default_factory=list)  # order among siblings, from 0
    sources: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    proposals: list[NodeKind] = field(default_factory=list)
    drawn_from: dict[int, NDArray[Any]] = field(default_factory=dict)
    beliefs: dict[int, NDArray[Any]] = field(default_factory=dict)
    embeds: dict[int, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.tokens)

    def add(
        self,
        token: int,
        parent: int = ROOT,
        *,
        source: str = "",
        score: float = 0.5,
        proposal: NodeKind = NodeKind.POINT,
        drawn_from: NDArray[Any] | None = None,
        belief: NDArray[Any] | None = None,
        embed: Tensor | None = None,
    ) -> int:
        """Append a node and return its index. The parent must exist already."""
        index = len(self.tokens)
        assert ROOT <= parent < index, f"parent {parent} must precede node {index}"
        self.tokens.append(token)
        self.parents.append(parent)
        self.depths.append(1 if parent == ROOT else self.depths[parent] + 1)
        if parent == index - 1:  # the first child of the newest node: the chain's case, without a scan
            self.ranks.append(0)
        else:
            self.ranks.append(sum(1 for other in self.parents[:index] if other == parent))
        self.sources.append(source)
        self.scores.append(score)
        self.proposals.append(proposal)
        if drawn_from is not None:
            self.drawn_from[index] = drawn_from
        if belief is not None:
            self.beliefs[index] = belief
        if embed is not None:
            self.embeds[index] = embed
        return index

    @classmethod
    def chain(
        cls, tokens: Iterable[int], *, source: str = "", score: float = 0.5, proposal: NodeKind = NodeKind.POINT
    ) -> Tree:
        """A tree in which every node has one child."""
        tokens = list(tokens)
        size = len(tokens)
        return cls(
            tokens=tokens,
            parents=list(range(ROOT, size - 1)),
            depths=list(range(1, size + 1)),
            ranks=[0] * size,
            sources=[source] * size,
            scores=[score] * size,
            proposals=[proposal] * size,
        )

    @property
    def is_chain(self) -> bool:
        """Whether each node hangs on the one before it."""
        return self.parents == list(range(ROOT, len(self.parents) - 1))

    def children(self, parent: int) -> list[int]:
        """Indices of the nodes under `parent`, in rank order."""
        return [index for index, above in enumerate(self.parents) if above == parent]

    def child_bearing(self, parent: int, token: int) -> int | None:
        """The committable child of `parent` that bears `token`, or None."""
        for index in range(parent + 1, len(self.tokens)):
            if (
                self.parents[index] == parent
                and self.tokens[index] == token
                and self.proposals[index] is not NodeKind.RIDER
            ):
                return index
        return None

    def path(self, node: int) -> list[int]:
        """Node indices from the root's child down to `node`, both included; empty for `ROOT`."""
        reverse: list[int] = []
        while node != ROOT:
            reverse.append(node)
            node = self.parents[node]
        return reverse[::-1]

    def path_tokens(self, node: int) -> list[int]:
        """Tokens from the root's child down to `node`, both included."""
        return [self.tokens[index] for index in self.path(node)]

    def prune(self, keep: Sequence[int]) -> Tree:
        """The tree of the nodes in `keep` only; a node whose parent goes, goes as well."""
        kept = Tree()
        renamed = {ROOT: ROOT}
        for index in sorted(set(keep)):
            if self.parents[index] not in renamed:
                continue
            renamed[index] = kept.add(
                self.tokens[index],
                renamed[self.parents[index]],
                source=self.sources[index],
                score=self.scores[index],
                proposal=self.proposals[index],
                drawn_from=self.drawn_from.get(index),
                belief=self.beliefs.get(index),
                embed=self.embeds.get(index),
            )
        return kept

    def check(self) -> None:
        """Raise ValueError where two committable siblings that were not drawn bear one token.

        Point siblings must be distinct: a duplicate biases acceptance and wastes a node.
        """
        seen: set[tuple[int, int]] = set()
        for index, proposal in enumerate(self.proposals):
            if proposal is not NodeKind.POINT:
                continue
            key = (self.parents[index], self.tokens[index])
            if key in seen:
                raise ValueError(f"siblings under node {key[0]} both bear token {key[1]}; merge them")
            seen.add(key)
