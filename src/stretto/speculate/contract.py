"""What drafters, acceptors and planners must do.

Settings are frozen dataclasses (`Drafter`, `Acceptor`, `Planner`); what a decode remembers lives in the
objects they begin (`Drafting`, `Planning`) and, per row, in sessions.

>>> from stretto.engine import Engine
>>> from stretto.models.table import TableModel
>>> class Again(DraftSession):
...     def __init__(self, row):
...         self.row = row
...     def propose(self, room):
...         return Tree.chain(self.row.history.tokens[-1:] * min(room.nodes, room.depth))
...     def fork(self, row):
...         return Again(row)
>>> @dataclass(frozen=True)
... class Repeat(Drafter):
...     name: ClassVar[str] = "repeat"
...     def begin(self, context):
...         return Drafting(self, Again)
>>> engine = Engine(TableModel(3, lambda path: [0.0, 5.0, 1.0]))  # which says 1 after everything
>>> answers = [engine.generate([1], method, max_new_tokens=20) for method in ("plain", Repeat())]
>>> answers[0].tokens == answers[1].tokens, answers[0].counters.rounds > answers[1].counters.rounds
(True, True)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from ..context import Context
from ..entry import Guarantee
from ..models.contract import NOTHING, Ability, Evaluation, Want
from ..row import Row
from ..tree import ROOT, NodeKind, Siblings, Tree
from ..values import Checked
from .target import Target

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Room:
    """How much a drafter may propose for one row; 0 nodes: nothing.

    The others are for drafters that evaluate a model, or several drafters at once. They may not depend on the target's
    answer to this round, or a sampled draft would no longer be one.
    """

    nodes: int
    depth: int
    shape: tuple[int, ...] | None = None  # parents of the tree to fill, `ROOT` = -1, each before its children
    more: Callable[[Tree], bool] | None = None  # asked after each level: is another one worth drafting?
    paid: Callable[[Tree], int] | None = None  # levels worth a forward each, beside what free drafters proposed
    least: float = 0.0  # a node that is less likely, with all tokens up to it, cannot pay: it need not be drafted


NO_ROOM = Room(0, 0)


@dataclass(slots=True)
class Outcome:
    """What became of a proposal. Nothing is final before it."""

    tree: Tree  # what was verified
    path: list[int]  # node indices that were accepted, from the root down; inside another drafter it may end early
    committed: list[int]  # tokens: the accepted ones and the extra one, cut where the row ended
    logits: Tensor | None = None  # [1 + D, V] the target's, root first; for drafters that observe
    hidden: dict[int, Tensor] = field(default_factory=dict)  # layer -> [1 + D, C], for drafters that ask
    missed: Sequence[tuple[float, bool]] = ()  # see `DraftSession.missed`
    seconds: float = 0.0  # of evaluating and judging the round's window: the row's share


class DraftSession(ABC):
    """A drafter's memory of one row. It reads the row's history and never writes it."""

    def prime(self, evaluation: Evaluation, start: int) -> None:
        """What `Drafting.of_prompt` wants of the row's prompt tokens start … start + n - 1: logits [n, V], hidden rows
        [n, C]."""

    def knows(self, tokens: Sequence[int]) -> bool:
        """Whether it can do without `prime` for these tokens of the prompt, which were read before; else they are read
        again."""
        return False

    @abstractmethod
    def propose(self, room: Room) -> Tree:
        """At most `room` of guesses at what follows the row's committed tokens."""

    def advance(self, outcome: Outcome) -> None:
        """Learn what was committed; the row's history holds it already."""

    def missed(self) -> Sequence[tuple[float, bool]]:
        """Of each token committed while the session was not asked: its score, and whether it would have been guessed.

        A session that has to read those tokens anyway knows this once it is asked again; it is told once, oldest first.
        """
        return ()

    @abstractmethod
    def fork(self, row: Row) -> DraftSession:
        """A copy for `row`, whose history is a copy of this one's."""

    def close(self) -> None:
        """Give back what the session holds."""


class Drafting:
    """A drafter at work in one decode. The base serves drafters that treat each row by itself."""

    free = True  # proposing costs next to nothing beside the target's forward
    mixed = False  # not free, but only for `Room.paid` levels
    watched = False  # not free, and asks `Room.more` after each level
    parts = 1  # drafters that share a room
    seconds_per_level: float | None = None  # not free: of a level for all rows, not the first, which reads what is new
    want: Want = NOTHING  # of every node of a round, rejected ones too, in `Outcome`: logits, hidden rows of layers
    of_prompt: Want = NOTHING  # the same of every token of the prompt, by `DraftSession.prime`

    def __init__(self, identity: object, open_session: Callable[[Row], DraftSession]) -> None:
        """`identity` tells what was learnt about this drafter from what was learnt about others: its settings."""
        self.identity = identity
        self._open = open_session

    def open(self, row: Row) -> DraftSession:
        """A session for a row whose prompt is known and whose cache row is filled."""
        return self._open(row)

    def time_levels(self, ends: Sequence[float]) -> None:
        """Take down what a level took: `ends` are when drafting began, and when each level ended."""
        if len(ends) > 2:
            self.seconds_per_level = (ends[-1] - ends[1]) / (len(ends) - 2)

    def rests(self, rooms: Sequence[Room]) -> bool:
        """Whether it sits this round out, of all rows: it is then neither asked nor told. To be called once a round."""
        return False

    def propose(self, sessions: Sequence[DraftSession], rooms: Sequence[Room]) -> list[Tree]:
        """One tree per session; together, where drafting several rows at once is cheaper."""
        return [
            session.propose(room) if room.nodes > 0 else Tree() for session, room in zip(sessions, rooms, strict=True)
        ]


LONGEST_GRAM = 256  # tokens: drafters that keep the n-grams of a text as keys take none longer


class Drafter(metaclass=Checked):
    """Proposes trees. Never verifies, never touches the model's cache."""

    name: ClassVar[str]
    kind: ClassVar[str] = "drafter"
    proposals: ClassVar[frozenset[NodeKind]] = frozenset({NodeKind.POINT})

    @property
    def needs(self) -> Ability:
        """What the target must be able to do; trees that are no chains need `Ability.TREE`."""
        return Ability.NONE

    @property
    def siblings(self) -> Siblings:
        """How its committable siblings relate; the default is a chain, riders left out."""
        return Siblings.NONE

    @abstractmethod
    def begin(self, context: Context) -> Drafting:
        """Start work in one decode. Raises Unsupported where it cannot serve this target."""


@dataclass(slots=True)
class Verdict:
    """What an acceptor commits: a path of the tree, then one token more."""

    path: list[int]  # node indices from the root down
    extra: int


class Acceptor(metaclass=Checked):
    """Decides which path of each tree is committed."""

    name: ClassVar[str]
    kind: ClassVar[str] = "acceptor"
    accepts: ClassVar[frozenset[NodeKind]]  # proposal kinds for which it keeps its guarantee
    siblings: ClassVar[frozenset[Siblings]] = frozenset(Siblings)  # and how sampled siblings may relate
    guarantee: ClassVar[Guarantee] = Guarantee.EXACT

    @classmethod
    def judges_siblings(cls, drafter: Drafter) -> bool:
        """Whether it may judge siblings such as this drafter's; distinct points suit all that judge trees."""
        if drafter.siblings is Siblings.DISTINCT and NodeKind.SAMPLED not in drafter.proposals:
            return bool(cls.siblings - {Siblings.NONE})
        return drafter.siblings in cls.siblings

    @abstractmethod
    def accept(self, target: Target) -> list[Verdict]:
        """One verdict per row."""


class Planning(ABC):
    """A planner at work in one decode."""

    @abstractmethod
    def rooms(self, rows: Sequence[Row]) -> list[Room]:
        """How much may be proposed for each row of the coming round."""

    def trim(self, rows: Sequence[Row], trees: list[Tree]) -> list[Tree]:
        """What of the proposals is worth verifying. A drawn node is never left out for the token it bears."""
        return trees

    def estimate(self, row: Row, tree: Tree) -> list[float] | None:
        """Its own estimate that each node is accepted, of which it keeps the likeliest; None: it goes by none."""
        return None

    def learn(self, row: Row, proposed: Tree, outcome: Outcome, draft_seconds: float) -> None:
        """What was proposed for a row, what was verified and committed, what drafting took (its share)."""


class Planner(metaclass=Checked):
    """Decides how much to draft, in which shape, and learns from the outcome."""

    name: ClassVar[str]
    kind: ClassVar[str] = "planner"

    @property
    def repeats(self) -> bool:
        """Whether what it plans for a row depends on that row, its seed and these settings alone: on no measurement."""
        return False

    @abstractmethod
    def begin(self, context: Context, drafting: Drafting) -> Planning:
        """Start work in one decode."""


__all__ = [
    "NO_ROOM",
    "ROOT",
    "Acceptor",
    "DraftSession",
    "Drafter",
    "Drafting",
    "NodeKind",
    "Outcome",
    "Planner",
    "Planning",
    "Room",
    "Siblings",
    "Target",
    "Tree",
    "Verdict",
]
