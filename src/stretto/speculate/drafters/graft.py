"""Draft less, retrieve more: stop a model's tree where it is unsure, and graft retrieved guesses into the free room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, cast

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from ...models.contract import Ability
from ...row import Row
from ...tree import NodeKind, Siblings, Tree
from ..composite import CompositeDrafting, CompositeSession
from ..contract import NO_ROOM, Drafter, Drafting, DraftSession, Room
from ..economy.pruning import keep_best, reaches
from ..merging import union

if TYPE_CHECKING:
    pass

ENTRY = Entry(
    name="graft",
    family="speculate",
    source="arXiv 2605.20104 (Draft less, retrieve more)",
    parts="graft(draft-tree,recycle)+fixed(60,depth=7)",
    guarantee=Guarantee.EXACT,
    number=69,
    needs=("draft model", "tree windows"),
    confirmed=False,
    summary="stops a model's tree early where it is unsure and fills the freed nodes from a table of followers",
)

LEVELS = (1, 2, 6)  # of the model's tree, after which its confidence is looked at
SHARES = (8 / 60, 24 / 60, 40 / 60)  # of the room that its nodes keep when it stops there


@dataclass(frozen=True, slots=True)
class Graft(Drafter):
    """The tree of `drafter`, pruned where it stopped, and the guesses of `filler` in the nodes that are left.

    After levels 1, 2 and 6 the model goes on only if its likeliest path so far has at least the probability `first`,
    `second`, `third`. These are plausible values; the published ones are not known, and are calibrated in any case.
    """

    drafter: Drafter  # grows by a model level by level, its scores being probabilities; points only
    filler: Drafter  # costs next to nothing: recycle, lookup(matches=4), store(…); points only
    first: float = 0.35  # 0: never stop there; above 1: always
    second: float = 0.25
    third: float = 0.15

    name: ClassVar[str] = "graft"

    def __post_init__(self) -> None:
        for part in (self.drafter, self.filler):
            if part.proposals != frozenset({NodeKind.POINT}):
                raise InvalidRequest(
                    f"graft cannot join {part.name}",
                    hint="name two drafters that guess without chance: graft(draft-tree,recycle)",
                )

    @property
    def needs(self) -> Ability:
        return Ability.TREE | self.drafter.needs | self.filler.needs

    @property
    def siblings(self) -> Siblings:
        return Siblings.DISTINCT

    def begin(self, context: Context) -> Drafting:
        return GraftDrafting(self, self.drafter.begin(context), self.filler.begin(context))


class GraftDrafting(CompositeDrafting):
    """The model first: how far it went decides how much is grafted."""

    def __init__(self, settings: Graft, model: Drafting, filler: Drafting) -> None:
        super().__init__(settings, self._open_session, [model, filler])
        self.thresholds = (settings.first, settings.second, settings.third)
        self.model = model
        self.filler = filler
        self.free = model.free and filler.free
        self.mixed = not self.free

    def _open_session(self, row: Row) -> DraftSession:
        return CompositeSession(self, [self.model.open(row), self.filler.open(row)])

    def propose(self, sessions: Sequence[DraftSession], rooms: Sequence[Room]) -> list[Tree]:
        mine = cast(Sequence[CompositeSession], sessions)
        watches = [Watch(self.thresholds, room.more) for room in rooms]
        asked = [self._asked(room, watch) for room, watch in zip(rooms, watches, strict=True)]
        grown = self.model.propose([session.parts[0] for session in mine], asked)
        plain = [replace(room, shape=None, more=None, paid=None) for room in rooms]
        found = self.filler.propose([session.parts[1] for session in mine], plain)
        return [
            _grafted(watch.pruned(tree, room.nodes), extra, room.nodes)
            for room, watch, tree, extra in zip(rooms, watches, grown, found, strict=True)
        ]

    def _asked(self, room: Room, watch: Watch) -> Room:
        nodes = room.nodes if room.paid is None else min(room.nodes, room.paid(Tree()))
        depth = min(room.depth, nodes)
        return replace(room, nodes=nodes, depth=depth, shape=None, paid=None, more=watch) if depth > 0 else NO_ROOM


@dataclass(slots=True)
class Watch:
    """`Room.more` that stops a tree where its likeliest path has become too unlikely."""

    thresholds: tuple[float, ...]
    asked: Callable[[Tree], bool] | None  # what the planner wants to be asked besides
    stage: int | None = field(default=None, init=False)  # at which of LEVELS it stopped

    def __call__(self, tree: Tree) -> bool:
        level = max(tree.depths, default=0)
        if level in LEVELS:
            stage = LEVELS.index(level)
            likely = zip(reaches(tree), tree.depths, strict=True)
            if max(reach for reach, depth in likely if depth == level) < self.thresholds[stage]:
                self.stage = stage
                return False
        return self.asked is None or self.asked(tree)

    def pruned(self, tree: Tree, nodes: int) -> Tree:
        """What is kept of a tree that stopped early in a room of `nodes`."""
        if self.stage is None:
            return tree
        return keep_best(tree, reaches(tree), max(1, round(SHARES[self.stage] * nodes)))


def _grafted(tree: Tree, extra: Tree, nodes: int) -> Tree:
    """All of `tree`, and the likeliest of `extra` in what is left of `nodes`."""
    if not len(extra) or len(tree) >= nodes:
        return tree
    both = union([tree, extra])
    return keep_best(both, [2.0] * len(tree) + reaches(both)[len(tree) :], nodes)
