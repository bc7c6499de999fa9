"""A dynamic tree of the likeliest continuations by a smaller model's own probabilities."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from ...models.contract import Ability, Model
from ...models.heads.contract import DraftHead
from ...noise import gumbel, key
from ...tree import ROOT, NodeKind, Siblings, Tree
from ..chance import KeyedChance
from ..contract import Drafter, Drafting, Room
from ..drafted import Drafted, source_of
from ..growth import Growing, Growth, fill
from ..inside.contract import Layers

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

POOL = 64  # tokens per node whose noise is looked up

ENTRY = Entry(
    name="dynamic-tree",
    family="speculate",
    source="arXiv 2406.16858, arXiv 2503.01840 (the tree of EAGLE-2 and EAGLE-3); github.com/SafeAILab/EAGLE",
    parts="draft-tree+fixed(24,depth=6)",
    guarantee=Guarantee.EXACT,
    needs=("draft model", "tree windows"),
    summary="expands the likeliest nodes of each level, keeps the likeliest of all nodes",
)


@dataclass(frozen=True, slots=True)
class DraftTree(Drafter):
    """Grow the tree level by level by the product of the small model's probabilities down to each node.

    Of each level the best `width` nodes are expanded, `width` children each, as far as they stand among the best
    `Room.nodes` of all nodes seen; those are proposed in the end. As a child is never better than its parent they are
    a tree. A room with a shape has that shape filled with the likeliest tokens instead. The probabilities are those of
    the row's rule (at temperature 0, of the logits as they are); a token that it excludes is never guessed. Score: the
    small model's probability of the token.

    `coupled` counts the row's own noise in: what is likely given the noise that the acceptor `exact` will add. Its
    scores are softmax(log-weights + noise), and the noise is looked up for the likeliest `POOL` tokens. At temperature
    0 it changes nothing; acceptors that toss coins of their own are better off without.
    """

    width: int = 10  # nodes expanded per level, and children of each, ≥ 1
    coupled: bool = False
    model: str | Model | DraftHead | Layers = "zoo/draft"  # a name or folder, or what is loaded already

    name: ClassVar[str] = "draft-tree"

    def __post_init__(self) -> None:
        if self.width < 1:
            raise InvalidRequest(f"draft-tree(width={self.width})", hint="width >= 1")

    @property
    def needs(self) -> Ability:
        return Ability.TREE | getattr(self.model, "needs", Ability.NONE)

    @property
    def siblings(self) -> Siblings:
        return Siblings.DISTINCT

    def begin(self, context: Context) -> Drafting:
        return TreeDrafting(self, source_of(context, self.model, Ability.TREE), self.grow)

    def grow(self, draft: Drafted, room: Room, chance: KeyedChance | None) -> Growth:
        """Fill the room's shape with the likeliest tokens, or find the likeliest nodes."""
        coupled = self.coupled and chance is not None
        if room.shape is None:
            return self._grow(draft, room, coupled)
        widest = max(Counter(room.shape).values(), default=0)

        def givers(lines: Tensor, depth: int) -> list[Ranked]:
            scores, tokens = self._likeliest(lines, widest, draft, depth, coupled)
            return [Ranked(*line) for line in zip(tokens.tolist(), scores.tolist(), strict=True)]

        return fill(draft, room, room.shape, givers, self.name)

    def _grow(self, draft: Drafted, room: Room, coupled: bool) -> Growth:
        seen = Seen.nothing()
        level, places = [ROOT], [ROOT]  # nodes seen, and the draft's
        for depth in range(1, room.depth + 1):
            lines = yield places
            scores, tokens = self._likeliest(lines, self.width, draft, depth, coupled)
            first = len(seen.tokens)
            seen = seen.add(np.array(level), tokens, scores)
            best = seen.best(room.nodes)
            place_of = dict(zip(level, places, strict=True))
            open_to = [n for n in best.tolist() if n >= first and not draft.ends(seen.tokens[n])]
            level = open_to[: self.width]
            if not level or depth == room.depth:
                break
            if room.more is not None and not room.more(seen.tree(best, self.name)):
                break
            places = [draft.node(int(seen.tokens[n]), place_of[int(seen.parents[n])]) for n in level]
        return seen.tree(seen.best(room.nodes), self.name)

    def _likeliest(
        self, lines: Tensor, count: int, draft: Drafted, depth: int, coupled: bool
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Scores and tokens of the best `count` continuations of each line, best first: [n, count] each."""
        vocabulary = lines.shape[-1]
        if not coupled:
            scores, tokens = lines.topk(min(count, vocabulary))
            return scores.double().cpu().numpy(), tokens.cpu().numpy()
        scores, tokens = lines.topk(min(max(count, POOL), vocabulary))
        rule = draft.row.rule
        position = len(draft.row.history.tokens) + depth - 1
        noise = gumbel(torch.tensor(key(rule.seed, rule.stream, position), device=tokens.device), tokens)
        scores, order = (scores.double().log() + noise).softmax(-1).sort(dim=-1, descending=True, stable=True)
        return scores[:, :count].cpu().numpy(), tokens.gather(-1, order)[:, :count].cpu().numpy()


class TreeDrafting(Growing):
    """Growths are sent probabilities [N, V] as a tensor, of which they take the largest."""

    def digest(self, logits: Tensor, steered: Tensor) -> Tensor:
        return steered.softmax(-1)


class Ranked:
    """Gives the likeliest tokens in turn."""

    def __init__(self, tokens: Sequence[int], scores: Sequence[float]) -> None:
        self._waiting = deque((token, score) for token, score in zip(tokens, scores, strict=True) if score > 0)
        self.proposal = NodeKind.POINT
        self.drawn_from: NDArray[Any] | None = None
        self.belief: NDArray[Any] | None = None
        self.score = 0.0

    def take(self) -> int | None:
        if not self._waiting:
            return None
        token, self.score = self._waiting.popleft()
        return token


@dataclass(frozen=True, slots=True)
class Seen:
    """All nodes scored so far, level by level; parallel arrays."""

    parents: NDArray[Any]
    tokens: NDArray[Any]
    depths: NDArray[Any]
    scores: NDArray[Any]  # given the parent
    values: NDArray[Any]  # logarithm of the product of the scores down to the node

    @classmethod
    def nothing(cls) -> Seen:
        whole, real = np.zeros(0, dtype=np.int64), np.zeros(0)
        return cls(whole, whole, whole, real, real)

    def add(self, level: NDArray[Any], tokens: NDArray[Any], scores: NDArray[Any]) -> Seen:
        """With the children of the nodes `level` [n]: tokens and scores [n, k]; excluded tokens left out."""
        root = level[0] == ROOT
        above = np.zeros(1) if root else self.values[level]
        depth = 1 if root else self.depths[level[0]] + 1
        node, rank = (scores > 0).nonzero()
        given = scores[node, rank]
        return Seen(
            np.concatenate([self.parents, level[node]]),
            np.concatenate([self.tokens, tokens[node, rank]]),
            np.concatenate([self.depths, np.full(len(node), depth)]),
            np.concatenate([self.scores, given]),
            np.concatenate([self.values, above[node] + np.log(given)]),
        )

    def best(self, count: int) -> NDArray[Any]:
        """The most valuable nodes, best first; of equals the one seen first, so no child without its parent."""
        return np.argsort(-self.values, kind="stable")[:count]

    def tree(self, nodes: NDArray[Any], source: str) -> Tree:
        """The tree of these nodes, level by level."""
        order = np.sort(nodes)
        renamed = {ROOT: ROOT} | {int(node): at for at, node in enumerate(order)}
        parents = [renamed[int(parent)] for parent in self.parents[order]]
        ranks, born = [], Counter[int]()
        for parent in parents:
            ranks.append(born[parent])
            born[parent] += 1
        return Tree(
            tokens=self.tokens[order].tolist(),
            parents=parents,
            depths=self.depths[order].tolist(),
            ranks=ranks,
            sources=[source] * len(order),
            scores=self.scores[order].tolist(),
            proposals=[NodeKind.POINT] * len(order),
        )
