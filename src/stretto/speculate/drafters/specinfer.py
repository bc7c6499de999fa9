"""SpecInfer's token trees: independent draws from one small model, and the merged trees of several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, cast

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest, Unsupported
from ...models.contract import Ability, Model
from ...models.heads.contract import DraftHead
from ...row import Row
from ...tree import ROOT, NodeKind, Siblings, Tree
from ..chance import KeyedChance
from ..composite import CompositeDrafting, CompositeSession
from ..contract import NO_ROOM, Drafter, Drafting, DraftSession, Room
from ..drafted import Drafted, source_of
from ..growth import Drawing, Growing, Growth, fill, shape_of, urns_of
from ..inside.contract import Layers

if TYPE_CHECKING:
    pass

MOST = 64  # drafters in one tree

SOURCE = "arXiv 2305.09781; github.com/flexflow/flexflow-serve"
ENTRIES = (
    Entry(
        name="specinfer",
        family="speculate",
        source=SOURCE,
        parts="merged(sampled,iid)+specinfer",
        guarantee=Guarantee.DISTRIBUTION,
        number=85,
        needs=("draft models", "tree windows"),
        summary="the drafts of several small models merged into one tree, judged by multi-step speculative sampling",
    ),
    Entry(
        name="specinfer-expansion",
        family="speculate",
        source=SOURCE,
        parts="iid+specinfer",
        guarantee=Guarantee.DISTRIBUTION,
        number=85,
        needs=("draft model", "tree windows"),
        summary="a tree of given branching drawn from one small model, judged by multi-step speculative sampling",
    ),
)


@dataclass(frozen=True, slots=True)
class Independent(Drafter):
    """At depth d every node gets `branches[d]` children, drawn independently: siblings may repeat.

    `iid(8,1,1,1)` draws eight independent sequences of four tokens. Equal siblings stay apart, because an acceptor
    must count them, but what is drafted below any of them hangs below the first: the small model evaluates a sequence
    once, and below a token stand as many draws as sequences went there. At temperature 0, where draws would all
    repeat, the children are the likeliest tokens, without chance. A room with a shape has that shape filled instead.
    Score: the small model's probability of the token.
    """

    branches: tuple[int, ...] = (1, 1, 3, 1, 1, 1, 1, 1)  # children of each node at depth 0, 1 …, each ≥ 1
    model: str | Model | DraftHead | Layers = "zoo/draft"  # a name or folder, or what is loaded already

    name: ClassVar[str] = "iid"
    proposals: ClassVar[frozenset[NodeKind]] = frozenset({NodeKind.SAMPLED, NodeKind.POINT})

    def __post_init__(self) -> None:
        if not self.branches or min(self.branches) < 1:
            raise InvalidRequest(f"iid with branches {self.branches}", hint="each at least 1: iid(1,1,3,1,1)")

    @property
    def needs(self) -> Ability:
        return Ability.TREE | getattr(self.model, "needs", Ability.NONE)

    @property
    def siblings(self) -> Siblings:
        return Siblings.REPEATED

    def begin(self, context: Context) -> Drafting:
        return Growing(self, source_of(context, self.model, Ability.TREE), self.grow)

    def grow(self, draft: Drafted, room: Room, chance: KeyedChance | None) -> Growth:
        """Fill the room's shape, or that of the branches."""
        shape = shape_of(self.branches, room) if room.shape is None else room.shape
        return fill(draft, room, shape, lambda lines, depth: urns_of(lines, depth, chance, replaced=True), self.name)


@dataclass(frozen=True, slots=True)
class Merged(Drafter):
    """The trees of several drafters in one: a token that two of them drew at one place stands there twice.

    Each drawn node keeps the distribution of the drafter that drew it, so an acceptor sees every (token, drafter) pair.
    As in `iid`, what any drafter has below a token hangs below the first node that bears it. Guesses without chance
    are merged where they agree. Each drafter gets an equal share of the nodes.
    """

    drafters: tuple[Drafter, ...] = ()  # two or more, whose siblings, if any, are independent draws

    name: ClassVar[str] = "merged"

    def __post_init__(self) -> None:
        if not 2 <= len(self.drafters) < MOST:
            raise InvalidRequest("merged takes drafters", hint=f"name 2 to {MOST - 1}: merged(sampled,iid)")
        for part in self.drafters:
            if part.siblings is Siblings.DISTINCT and NodeKind.SAMPLED in part.proposals:
                raise InvalidRequest(
                    f"merged cannot take {part.name!r}, whose siblings are drawn without replacement",
                    hint="merge drafters such as 'sampled' and 'iid'",
                )
            if NodeKind.RIDER in part.proposals:
                raise InvalidRequest(f"merged cannot take {part.name!r}, which adds riders", hint="leave it out")

    @property
    def proposals(self) -> frozenset[NodeKind]:  # type: ignore[override]
        return frozenset[NodeKind]().union(*(part.proposals for part in self.drafters))

    @property
    def needs(self) -> Ability:
        needs = Ability.TREE
        for part in self.drafters:
            needs |= part.needs
        return needs

    @property
    def siblings(self) -> Siblings:
        return Siblings.REPEATED

    def begin(self, context: Context) -> Drafting:
        return MergedDrafting(self, [part.begin(context) for part in self.drafters])


class MergedDrafting(CompositeDrafting, Drawing):
    """The drafters at work; each sees every row and tosses coins of its own."""

    def __init__(self, settings: Merged, draftings: Sequence[Drafting]) -> None:
        super().__init__(settings, self._open_session, draftings)
        for part, drafting in zip(settings.drafters, draftings, strict=True):
            if NodeKind.SAMPLED in part.proposals and not isinstance(drafting, Drawing):
                raise Unsupported(
                    f"the draws of {part.name!r} cannot be told apart from those of drafters beside it",
                    hint="merge drafters such as 'sampled' and 'iid'",
                )
        self.free = all(drafting.free for drafting in draftings)

    def _open_session(self, row: Row) -> DraftSession:
        return CompositeSession(self, [drafting.open(row) for drafting in self.draftings])

    def propose(self, sessions: Sequence[DraftSession], rooms: Sequence[Room]) -> list[Tree]:
        mine = [session.parts for session in cast(Sequence[CompositeSession], sessions)]
        for place, drafting in enumerate(self.draftings, start=1):
            if isinstance(drafting, Drawing):
                drafting.coins = MOST * self.coins + place  # digits, so that no two drafters share a number
        proposed = [
            drafting.propose(
                [parts[index] for parts in mine], [share(room, index, len(self.draftings)) for room in rooms]
            )
            for index, drafting in enumerate(self.draftings)
        ]
        return [merge(trees) for trees in zip(*proposed, strict=True)]


def share(room: Room, index: int, drafters: int) -> Room:
    """What one of the drafters may propose: a shape or a question about the growing tree is not for a part of it."""
    nodes = (room.nodes + drafters - 1 - index) // drafters
    return Room(nodes, room.depth) if nodes > 0 else NO_ROOM


def merge(trees: Sequence[Tree]) -> Tree:
    """One tree of all nodes, but for guesses without chance that stand there already.

    The sources tell drafters of one name apart by their place, counted from 1.
    """
    names = Counter(name for tree in trees for name in set(tree.sources))
    merged = Tree()
    first: dict[tuple[int, int], int] = {}  # (node, token) -> the first node under it that bears the token
    for place, tree in enumerate(trees, start=1):
        stands = {ROOT: ROOT}  # a node of the tree -> the one that stands for its path
        for node, (token, parent) in enumerate(zip(tree.tokens, tree.parents, strict=True)):
            at = (stands[parent], token)
            if at not in first or tree.proposals[node] is NodeKind.SAMPLED:
                source = tree.sources[node]
                added = merged.add(
                    token,
                    at[0],
                    source=f"{source}#{place}" if names[source] > 1 else source,
                    score=tree.scores[node],
                    proposal=tree.proposals[node],
                    drawn_from=tree.drawn_from.get(node),
                    belief=tree.beliefs.get(node),
                )
                first.setdefault(at, added)
            stands[node] = first[at]
    return merged
