"""Several drafters at once: one tree that holds what each of them guesses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, cast

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from ...models.contract import Ability, Evaluation
from ...models.machine import stopwatch
from ...row import Row
from ...tree import NodeKind, Siblings, Tree
from ..composite import CompositeDrafting, CompositeSession
from ..contract import NO_ROOM, Drafter, Drafting, DraftSession, Outcome, Room
from ..economy.decision import Account
from ..merging import union

BESIDE = 2.0  # what judging, merging and learning from its guesses take in all, relative to what it takes itself

ENTRIES = (
    Entry(
        name="auto",
        family="speculate",
        source="stretto's own: several drafters, of which the planner keeps what earns its time here",
        parts="auto",
        guarantee=Guarantee.EXACT,
        summary="copies or pools what was seen, drafts with a small model if one lies beside; off where nothing pays",
        generation="mixed",
    ),
    Entry(
        name="fused-drafts",
        family="speculate",
        source="arXiv 2305.09781 (merged trees), arXiv 2503.03434 (a model and retrieval)",
        parts="fuse(lookup,recycle)",
        guarantee=Guarantee.EXACT,
        needs=("tree windows",),
        summary="merges the guesses of several drafters into one tree; those that do not earn their time sit out",
    ),
)


@dataclass(frozen=True, slots=True)
class Fuse(Drafter):
    """The union of the trees of `parts`; a token that several propose at one place is one node, named by all.

    Drafters that cost next to nothing come first, in their order: each may fill its share of the room that is left,
    and sits out for 2, 4, 8 … rounds when the tokens that it alone guessed were not worth its time. One that costs
    a forward is asked afterwards, for as much as the planner finds worth paying beside their tree.
    """

    parts: tuple[Drafter, ...] = ()  # two or more that guess without chance and without riders

    name: ClassVar[str] = "fuse"

    def __post_init__(self) -> None:
        if len(self.parts) < 2:
            raise InvalidRequest("fuse merges drafters", hint="name two or more: fuse(lookup,recycle)")
        _check(self.parts)

    @property
    def needs(self) -> Ability:
        needs = Ability.NONE if len(self.parts) == 1 else Ability.TREE  # one alone may draft chains
        for part in self.parts:
            needs |= part.needs
        return needs

    @property
    def siblings(self) -> Siblings:
        return Siblings.DISTINCT

    def begin(self, context: Context) -> Drafting:
        accounts = context.remembered(list, self, lambda: [Account() for _ in self.parts])
        return FuseDrafting(self, [part.begin(context) for part in self.parts], accounts, context)


@dataclass(frozen=True, slots=True)
class Auto(Fuse):
    """The fusion that an engine chooses for its model; see `stretto.method.complete`."""

    earlier: int = 16_384  # tokens of earlier answers that it may draft from, see `pool`; 0: none

    name: ClassVar[str] = "auto"

    def __post_init__(self) -> None:
        if self.earlier < 0:
            raise InvalidRequest(f"auto keeps {self.earlier} tokens of earlier answers", hint="earlier >= 0; 0: none")
        _check(self.parts)


def _check(parts: Sequence[Drafter]) -> None:
    for part in parts:
        if part.proposals != frozenset({NodeKind.POINT}):
            raise InvalidRequest(
                f"fuse cannot merge {part.name!r}, which draws its guesses or adds riders",
                hint="merge drafters that guess without chance; 'merged' merges drawn ones",
            )


class FuseDrafting(CompositeDrafting):
    """The drafters at work, the free ones first."""

    def __init__(
        self, settings: Fuse, draftings: Sequence[Drafting], accounts: Sequence[Account], context: Context
    ) -> None:
        order = sorted(range(len(draftings)), key=lambda part: not draftings[part].free)
        super().__init__(settings, self._open_session, [draftings[part] for part in order])
        self.accounts = [accounts[part] for part in order]
        self.free = all(drafting.free for drafting in draftings)
        self.mixed = not self.free and any(drafting.free or drafting.mixed for drafting in draftings)
        self.parts = len(draftings)
        self.watched = all(drafting.free or drafting.watched for drafting in draftings)
        self.owners: dict[str, Account] = {}  # by source of a node
        self.rows = 1  # in this round
        self._steady = context.steady
        self._cost = context.clock.cost
        self._now = stopwatch(context.target.device)

    def _open_session(self, row: Row) -> DraftSession:
        return FuseSession(self, [drafting.open(row) for drafting in self.draftings])

    def rests(self, rooms: Sequence[Room]) -> bool:
        self.rows = len(rooms)
        if self._steady:  # nobody sits out: who does is a matter of seconds
            return False
        worth = self.rows / self._cost(1, self.rows)
        free = [account for drafting, account in zip(self.draftings, self.accounts, strict=True) if drafting.free]
        for account in free:
            account.settle(worth, self.rows)
        if self.want or not all(account.pause.left for account in free):  # or it wants to be told
            return False
        return self.free or not any(room.paid is None or room.paid(Tree()) for room in rooms)

    def propose(self, sessions: Sequence[DraftSession], rooms: Sequence[Room]) -> list[Tree]:
        mine = [session.parts for session in cast(Sequence[FuseSession], sessions)]
        trees = [Tree() for _ in sessions]
        for index, (drafting, account) in enumerate(zip(self.draftings, self.accounts, strict=True)):
            if drafting.free and account.pause.left:
                continue
            waiting = len(self.draftings) - index
            asked = [_share(room, tree, drafting.free, waiting) for room, tree in zip(rooms, trees, strict=True)]
            if any(room.nodes for room in asked):
                begun = self._now()
                guesses = drafting.propose([parts[index] for parts in mine], asked)
                self.owners.update((source, account) for guess in guesses for source in guess.sources[:1])
                trees = [
                    union([tree, guess]) if len(tree) and len(guess) else tree if len(tree) else guess
                    for tree, guess in zip(trees, guesses, strict=True)
                ]
                account.seconds += BESIDE * (self._now() - begun)
                self.seconds_per_level = drafting.seconds_per_level
        return trees

    def learn(self, parts: Sequence[DraftSession], outcome: Outcome) -> None:
        """Let the sessions of a row learn the outcome of the whole tree, but for those that sit out."""
        tree = outcome.tree
        if len(tree):
            dearer = (self._cost(1 + len(tree), self.rows) - self._cost(1, self.rows)) / self.rows
            for source in tree.sources:
                if (owner := self.owners.get(source)) is not None:
                    owner.seconds += dearer / len(tree)
        for node in outcome.path:
            if (owner := self.owners.get(outcome.tree.sources[node])) is not None:
                owner.tokens += 1.0
        for part, drafting, account in zip(parts, self.draftings, self.accounts, strict=True):
            if not drafting.free:
                part.advance(outcome)
            elif not account.pause.left:
                begun = self._now()
                part.advance(outcome)
                account.seconds += BESIDE * (self._now() - begun)


def _share(room: Room, tree: Tree, free: bool, waiting: int) -> Room:
    """What one of the `waiting` drafters may add to the tree so far."""
    left = room.nodes - len(tree)
    nodes = -(-left // waiting)
    if not free:
        nodes = min(left, room.paid(tree)) if room.paid else nodes
    depth = min(room.depth, nodes)
    return replace(room, nodes=nodes, depth=depth, shape=None) if depth > 0 else NO_ROOM


class FuseSession(CompositeSession):
    """One row's sessions of all parts. A part that pauses is told nothing."""

    drafting: FuseDrafting

    def prime(self, evaluation: Evaluation, start: int) -> None:
        for part, drafting, account in zip(self.parts, self.drafting.draftings, self.drafting.accounts, strict=True):
            if drafting.of_prompt and not account.pause.left:
                part.prime(evaluation, start)

    def missed(self) -> Sequence[tuple[float, bool]]:
        """That of the drafter that costs a forward; of several, of the first that tells."""
        costly = (part for part, own in zip(self.parts, self.drafting.draftings, strict=True) if not own.free)
        return next(filter(None, (part.missed() for part in costly)), ())

    def advance(self, outcome: Outcome) -> None:
        self.drafting.learn(self.parts, outcome)
