"""What guesses token by token beside the target, and the tokens guessed in one round: a trie for each row.

Drafters that grow chains and trees ask a `DraftSource` what may follow which node. A small model is one
(small_model.py), layers of the target are another (inside/), and so is a head on its rows (head_model.py).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import torch

from ..context import Context
from ..models.contract import NOTHING, Ability, Evaluation, Model, Want
from ..models.heads.contract import DraftHead, LayerHead, RowHead
from ..row import Row
from ..steer.nodes import Nodes
from ..steer.path import Path
from ..steer.pipeline import Pipeline
from ..tree import ROOT, Tree
from .contract import Drafting, DraftSession, Outcome, Room
from .inside.contract import Layers

if TYPE_CHECKING:
    from torch import Tensor


class Drafted(ABC):
    """One row, and the tokens drafted for it in this round; equal tokens under one parent are one node."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self.tokens: list[int] = []  # of the nodes
        self.parents: list[int] = []
        self._nodes: dict[tuple[int, int], int] = {}  # (parent, token) -> node

    @abstractmethod
    def begin(self) -> int:
        """Forget what was drafted; how deep a node may lie: all above it must be evaluated."""

    def node(self, token: int, parent: int = ROOT) -> int:
        """The node that bears `token` under `parent`."""
        node = self._nodes.setdefault((parent, token), len(self.tokens))
        if node == len(self.tokens):
            self.tokens.append(token)
            self.parents.append(parent)
        return node

    def path(self, node: int) -> Path:
        """The committed tokens and those down to `node`."""
        drafted: list[int] = []
        while node != ROOT:
            drafted.append(self.tokens[node])
            node = self.parents[node]
        return Path(self.row.history, tuple(drafted[::-1]))

    def ends(self, token: int) -> bool:
        """Whether the row ends with this token, so that nothing is to be drafted below it."""
        return token in self.row.limits.ends

    @property
    def unread(self) -> int:
        """How many committed tokens were not read yet; 1 where only the newest was not."""
        return 1

    def prime(self, evaluation: Evaluation, start: int) -> None:
        """See `DraftSession.prime`."""

    def knows(self, tokens: Sequence[int]) -> bool:
        """See `DraftSession.knows`."""
        return True

    def hear(self, outcome: Outcome) -> None:
        """What the target made of the round; the row's history holds the committed tokens already."""
        self.advance(outcome.committed)

    @abstractmethod
    def advance(self, committed: Sequence[int]) -> None:
        """The row has committed these tokens."""

    @abstractmethod
    def fork(self, row: Row) -> Drafted:
        """A place for `row`, whose history is a copy of this one's; what is drafted stays behind."""

    def close(self) -> None:
        """Give back what it holds."""

    def _forget(self) -> None:
        self.tokens, self.parents, self._nodes = [], [], {}


class DraftSource(ABC):
    """Says what may follow drafted nodes, of all rows of one decode."""

    device: torch.device
    want: Want = NOTHING  # see `Drafting`
    of_prompt: Want = NOTHING

    @abstractmethod
    def open(self, row: Row) -> Drafted:
        """A place for `row`; nothing is evaluated before it is asked."""

    @abstractmethod
    def read(self, drafts: Sequence[Any], wanted: Sequence[Sequence[int]]) -> Tensor:
        """Logits [N, V] over the target's vocabulary after the wanted nodes of each draft, drafts in order."""

    def steer(self, logits: Tensor, drafts: Sequence[Drafted], wanted: Sequence[Sequence[int]]) -> Tensor:
        """What `read` gave as the rows' rules reshape it: the log-weights [N, V] that a choice is made from."""
        pipelines = [draft.row.rule.pipeline.guessing for draft in drafts]
        if all(pipeline.plain for pipeline in pipelines):
            return logits
        placed = [(draft, node) for draft, nodes in zip(drafts, wanted, strict=True) for node in nodes]
        paths, rules = [draft.path(node) for draft, node in placed], [draft.row.rule.guessing for draft, _ in placed]
        nodes = Nodes(paths, logits, rules=rules)
        if all(pipeline is pipelines[0] for pipeline in pipelines):
            return pipelines[0](nodes)
        lines: dict[Pipeline, list[int]] = {}
        for line, rule in enumerate(rules):
            lines.setdefault(rule.pipeline, []).append(line)
        steered = torch.empty_like(logits, dtype=torch.promote_types(logits.dtype, torch.float32))
        for pipeline, mine in lines.items():
            steered[mine] = pipeline(nodes[mine]).to(steered.dtype)
        return steered


def source_of(context: Context, model: str | Model | DraftHead | Layers, needs: Ability) -> DraftSource:
    """A small model, layers of the target, a head on its rows. Raises Unsupported where it does not fit the target."""
    if isinstance(model, Layers):
        from .inside.source import Inside

        return Inside(context, model, needs)
    head = context.head(model) if isinstance(model, str) else model
    if isinstance(head, RowHead):
        from .head_model import HeadModel

        return HeadModel(context, head)
    small = head.beside(context.target) if isinstance(head, LayerHead) else cast("str | Model", model)
    from .small_model import SmallModel

    return SmallModel(context, small, needs)


class DraftedSession(DraftSession):
    """A drafter's memory of one row where that is what a source holds of it, and nothing else."""

    def __init__(self, drafting: Drafting, draft: Drafted) -> None:
        self.drafting = drafting
        self.draft = draft

    def prime(self, evaluation: Evaluation, start: int) -> None:
        self.draft.prime(evaluation, start)

    def knows(self, tokens: Sequence[int]) -> bool:
        return self.draft.knows(tokens)

    def propose(self, room: Room) -> Tree:
        return self.drafting.propose([self], [room])[0]

    def advance(self, outcome: Outcome) -> None:
        self.draft.hear(outcome)

    def fork(self, row: Row) -> DraftSession:
        return type(self)(self.drafting, self.draft.fork(row))

    def close(self) -> None:
        self.draft.close()
