"""Hierarchical drafting: what one drafter guesses is verified by a model in the middle before the target sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, cast

import torch

from ...context import Context, Memory
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest, Unsupported
from ...models.contract import Evaluation, Model
from ...row import Row
from ...tree import ROOT, NodeKind, Tree
from ..acceptors.exact import Exact
from ..contract import NO_ROOM, Drafter, Drafting, DraftSession, Outcome, Room, Target
from ..small_model import DraftRow, SmallModel

if TYPE_CHECKING:
    from torch import Tensor

ENTRY = Entry(
    name="hierspec",
    family="speculate",
    source="arXiv 2505.22179; github.com/AI9Stars/SpecMQuant",
    parts="hierarchy(lookup,model=zoo/draft)",
    guarantee=Guarantee.EXACT,
    number=33,
    needs=("model in the middle",),
    summary="a model in the middle turns a cheap drafter's trees into a chain; the target verifies only the chain",
)


@dataclass(frozen=True, slots=True)
class Hierarchy(Drafter):
    """Let `drafter` draft for the model in the middle until that has accepted `least` tokens; propose those.

    The middle model verifies by the exact rule, with the row's steers and noise, so the chain is what it would decode
    by itself, as `draft` would propose it, in fewer of its forwards. A round in which it verifies more than once forks
    the inner drafter, which costs what that copies.
    """

    drafter: Drafter  # any that adds no riders and reads no hidden states
    model: str | Model = "zoo/draft"  # in the middle: a name or folder, or a model that is loaded already
    least: int = 6  # tokens of a chain, ≥ 1; the last of its inner rounds may add up to depth + 1
    nodes: int = 30  # of each inner tree, ≥ 1
    depth: int = 3  # of each inner tree, ≥ 1

    name: ClassVar[str] = "hierarchy"

    def __post_init__(self) -> None:
        if min(self.least, self.nodes, self.depth) < 1:
            raise InvalidRequest(
                f"hierarchy(least={self.least}, nodes={self.nodes}, depth={self.depth})", hint="each at least 1"
            )

    def begin(self, context: Context) -> Drafting:
        small = SmallModel(context, self.model, self.drafter.needs)
        memory = context.remembered(Memory, self, Memory)
        of_middle = replace(context, target=small.model, cache=None, memory=memory, ids=context.vocabulary)
        inner = self.drafter.begin(of_middle)
        if inner.want.inside or inner.of_prompt.inside or NodeKind.RIDER in self.drafter.proposals:
            raise Unsupported(
                f"the model in the middle cannot serve {self.drafter.name!r}, which needs hidden states or riders",
                hint="let 'lookup', 'draft-tree' or another drafter of plain tokens draft for it",
            )
        return HierarchyDrafting(self, small, inner)


class HierarchyDrafting(Drafting):
    """The inner loop, for all rows together."""

    free = False

    def __init__(self, settings: Hierarchy, small: SmallModel, inner: Drafting) -> None:
        super().__init__(settings, self._open_session)
        self.settings = settings
        self.small = small
        self.inner = inner

    def _open_session(self, row: Row) -> DraftSession:
        draft, session = self.small.open(row), self.inner.open(row)
        if self.inner.of_prompt:
            for logits, start in self.small.recite(draft):
                session.prime(Evaluation(logits=logits), start)
        return HierarchySession(self, draft, session)

    def propose(self, sessions: Sequence[DraftSession], rooms: Sequence[Room]) -> list[Tree]:
        mine = cast(Sequence[HierarchySession], sessions)
        chains = [Chain(session, room) for session, room in zip(mine, rooms, strict=True)]
        growing = [chain for chain in chains if chain.limit > 0]
        while growing:
            self._grow(growing)
            growing = [chain for chain in growing if not chain.done]
        for chain in chains:
            chain.close()
        return [Tree.chain(chain.tokens, source=self.settings.name) for chain in chains]

    def _grow(self, chains: Sequence[Chain]) -> None:
        """One inner round: propose, evaluate, accept."""
        rooms = [chain.room(self.settings) for chain in chains]
        trees = self.inner.propose([chain.drafter for chain in chains], rooms)
        drafts = [chain.draft for chain in chains]
        wanted = [chain.places(tree) for chain, tree in zip(chains, trees, strict=True)]
        logits = self.small.read(drafts, wanted)
        lines = torch.split(logits, [len(nodes) for nodes in wanted])  # [1 + D, V] each
        padded = torch.nn.utils.rnn.pad_sequence(list(lines), batch_first=True)  # [B, 1 + D, V]
        target = Target([chain.row for chain in chains], trees, Evaluation(logits=padded))
        for chain, tree, line, verdict in zip(chains, trees, lines, Exact().accept(target), strict=True):
            tokens = [*(tree.tokens[node] for node in verdict.path), verdict.extra]
            chain.accept(tree, verdict.path, tokens, line if self.inner.want else None)


class Chain:
    """What the model in the middle has accepted for one row in this round."""

    def __init__(self, session: HierarchySession, room: Room) -> None:
        self.session = session
        self.draft = session.draft
        self.limit = min(room.depth, room.nodes, session.draft.begin())
        self.least = min(session.drafting.settings.least, self.limit)
        self.row = session.draft.row  # from the second inner round on a shadow that holds the chain as well
        self.drafter = session.inner  # then a fork for that shadow
        self.tokens: list[int] = []
        self._last = ROOT  # the newest token's node of the draft
        session.first = None

    @property
    def done(self) -> bool:
        """Whether it is long enough, or at an end."""
        return len(self.tokens) >= self.least or self.draft.ends(self.tokens[-1])

    def room(self, settings: Hierarchy) -> Room:
        """For the inner drafter: after its deepest node the middle model adds a token of its own."""
        depth = min(settings.depth, self.limit - len(self.tokens) - 1)
        return Room(settings.nodes, depth) if depth > 0 else NO_ROOM

    def places(self, tree: Tree) -> list[int]:
        """The draft's nodes of the chain's end and of the tree below it: [1 + D]."""
        places = [self._last]
        for token, parent in zip(tree.tokens, tree.parents, strict=True):
            places.append(self.draft.node(token, places[parent + 1]))
        return places

    def accept(self, tree: Tree, path: list[int], tokens: list[int], logits: Tensor | None) -> None:
        """Append what the middle model accepted, up to an end token; go on from there unless done."""
        tokens = tokens[: next((at for at, token in enumerate(tokens, start=1) if self.draft.ends(token)), None)]
        self.session.first = self.session.first or (tree, logits)
        self.tokens += tokens
        if self.done:
            return
        if self.row is self.draft.row:
            self.row = Row(self.row.history.fork(), -1, self.row.rule, self.row.limits)
            self.drafter = self.session.inner.fork(self.row)
        for token in tokens:
            self._last = self.draft.node(token, self._last)
        self.row.history.extend(tokens)
        self.drafter.advance(Outcome(tree, path[: len(tokens)], tokens, logits))

    def close(self) -> None:
        """Drop the fork."""
        if self.drafter is not self.session.inner:
            self.drafter.close()


class HierarchySession(DraftSession):
    """One row: its draft in the middle model, and the inner drafter's session, both at the committed tokens."""

    def __init__(self, drafting: HierarchyDrafting, draft: DraftRow, inner: DraftSession) -> None:
        self.drafting = drafting
        self.draft = draft
        self.inner = inner
        self.first: tuple[Tree, Tensor | None] | None = None  # of this round's inner rounds: tree, logits [1 + D, V]

    def propose(self, room: Room) -> Tree:
        return self.drafting.propose([self], [room])[0]

    def advance(self, outcome: Outcome) -> None:
        self.draft.advance(outcome.committed)
        tree, logits = self.first or (Tree(), None)
        path: list[int] = []
        for token in outcome.committed:
            child = tree.child_bearing(path[-1] if path else ROOT, token)
            if child is None:
                break
            path.append(child)
        self.inner.advance(Outcome(tree, path, outcome.committed, logits))
        self.first = None

    def fork(self, row: Row) -> DraftSession:
        return HierarchySession(self.drafting, self.draft.fork(row), self.inner.fork(row))

    def close(self) -> None:
        self.draft.close()
        self.inner.close()
