"""A model's tree and retrieved continuations in one tree, after the model has had its say on what was retrieved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, cast

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from ...models.contract import Ability
from ...row import Row
from ...tree import ROOT, NodeKind, Siblings, Tree
from ..composite import CompositeDrafting, CompositeSession
from ..contract import NO_ROOM, Drafter, Drafting, DraftSession, Room
from ..economy.pruning import keep_best, prune_branches, reaches
from ..merging import union

if TYPE_CHECKING:
    pass

ENTRY = Entry(
    name="rasd",
    family="speculate",
    source="arXiv 2503.03434 (RASD)",
    parts="rasd(draft-tree,store)",
    guarantee=Guarantee.EXACT,
    number=62,
    needs=("draft model", "datastore", "tree windows"),
    confirmed=False,
    summary="adds to a model's tree those retrieved continuations whose first token the model finds likely",
)


@dataclass(frozen=True, slots=True)
class Rasd(Drafter):
    """The union of what `drafter` and `retriever` guess, without retrieved branches that the drafter finds unlikely.

    A retrieved branch stays if its first token is among the drafter's first `rank`, or has `probability` or more there.
    What the drafter makes of first tokens is read off its first level, the one it shows to `Room.more` included. What
    stays is cut to the room by its own scores. The published rule for first tokens is not known; both limits are ours.
    """

    drafter: Drafter  # guesses by a model, its scores being probabilities; points only
    retriever: Drafter  # store(…), lookup(matches=4) …; points only
    rank: int = 10  # ≥ 0
    probability: float = 0.01  # 0 … 1; 0 keeps whatever the drafter shows at all
    share: float = 0.5  # of the room that is kept for what was retrieved, 0 … 1

    name: ClassVar[str] = "rasd"

    def __post_init__(self) -> None:
        for part in (self.drafter, self.retriever):
            if part.proposals != frozenset({NodeKind.POINT}):
                raise InvalidRequest(
                    f"rasd cannot unite {part.name}",
                    hint="name two drafters that guess without chance: rasd(draft-tree,store)",
                )
        if self.rank < 0 or not 0 <= self.probability <= 1 or not 0 <= self.share <= 1:
            raise InvalidRequest(
                f"rasd(rank={self.rank},probability={self.probability},share={self.share})",
                hint="rank >= 0, 0 <= probability <= 1, 0 <= share <= 1",
            )

    @property
    def needs(self) -> Ability:
        return Ability.TREE | self.drafter.needs | self.retriever.needs

    @property
    def siblings(self) -> Siblings:
        return Siblings.DISTINCT

    def begin(self, context: Context) -> Drafting:
        return RasdDrafting(self, self.drafter.begin(context), self.retriever.begin(context))


class RasdDrafting(CompositeDrafting):
    """Retrieval first, as it costs next to nothing; the model's tree gets the room that is left."""

    def __init__(self, settings: Rasd, model: Drafting, retriever: Drafting) -> None:
        super().__init__(settings, self._open_session, [model, retriever])
        self.settings = settings
        self.model = model
        self.retriever = retriever
        self.free = model.free and retriever.free
        self.mixed = not self.free and (retriever.free or retriever.mixed or model.mixed)

    def _open_session(self, row: Row) -> DraftSession:
        return CompositeSession(self, [self.model.open(row), self.retriever.open(row)])

    def propose(self, sessions: Sequence[DraftSession], rooms: Sequence[Room]) -> list[Tree]:
        mine = cast(Sequence[CompositeSession], sessions)
        asked = [_part_of(room, room.nodes) for room in rooms]
        retrieved = self.retriever.propose([session.parts[1] for session in mine], asked)
        shown: list[dict[int, float]] = [{} for _ in mine]  # first tokens with the model's probabilities, best first
        left = [self._left(room, tree, first) for room, tree, first in zip(rooms, retrieved, shown, strict=True)]
        grown = self.model.propose([session.parts[0] for session in mine], left)
        trees = []
        for room, tree, found, first in zip(rooms, grown, retrieved, shown, strict=True):
            _show(tree, first)
            extra = self._likely(found, first) if len(tree) else found
            trees.append(union([tree, keep_best(extra, reaches(extra), room.nodes - len(tree))]))
        return trees

    def _left(self, room: Room, retrieved: Tree, first: dict[int, float]) -> Room:
        """What the model's tree may fill; it shows its first level on the way."""
        nodes = room.nodes - min(len(retrieved), int(self.settings.share * room.nodes))
        if room.paid is not None and not self.model.free:
            nodes = min(nodes, room.paid(retrieved))
        return replace(_part_of(room, nodes), more=_watched(room.more, first))

    def _likely(self, retrieved: Tree, first: dict[int, float]) -> Tree:
        """Without the branches that begin with what the model finds unlikely."""
        kept = {
            token
            for rank, (token, probability) in enumerate(first.items())
            if rank < self.settings.rank or probability >= self.settings.probability
        }
        return prune_branches(retrieved, kept.__contains__)


def _part_of(room: Room, nodes: int) -> Room:
    depth = min(room.depth, nodes)
    return replace(room, nodes=nodes, depth=depth, shape=None, paid=None) if depth > 0 else NO_ROOM


def _watched(more: Callable[[Tree], bool] | None, first: dict[int, float]) -> Callable[[Tree], bool]:
    """`Room.more` that also notes what it is shown."""

    def watch(tree: Tree) -> bool:
        _show(tree, first)
        return more is None or more(tree)

    return watch


def _show(tree: Tree, first: dict[int, float]) -> None:
    """Note the first tokens of a tree with their scores, best first, after those that are noted already."""
    level = [node for node, parent in enumerate(tree.parents) if parent == ROOT]
    for node in sorted(level, key=lambda node: tree.ranks[node]):
        first.setdefault(tree.tokens[node], tree.scores[node])
