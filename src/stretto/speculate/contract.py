"""What drafters, acceptors and planners must do.

Settings are frozen dataclasses (`Drafter`, `Acceptor`, `Planner`); what a decode remembers lives in the
objects they begin (`Drafting`, `Planning`) and, per row, in sessions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from ..context import Context
from ..entry import Guarantee
from ..models.contract import NOTHING, Ability, Evaluation, Want
from ..noise import gumbel, key
from ..row import Row
from ..steer.choice import choose
from ..steer.contract import Companion
from ..steer.nodes import Nodes
from ..steer.path import Path
from ..tree import ROOT, Proposal, Siblings, Tree, slot_of
from ..values import Checked
from .taps import taps_at

if TYPE_CHECKING:
    from numpy.typing import NDArray
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


NO_ROOM = Room(0, 0)
AT_ONCE = 1 << 20  # logits of a window up to which a distribution costs less than asking for it by itself


@dataclass(slots=True)
class Outcome:
    """What became of a proposal. Nothing is final before it."""

    tree: Tree  # what was verified
    path: list[int]  # node indices that were accepted, from the root down; inside another drafter it may end early
    committed: list[int]  # tokens: the accepted ones and the extra one, cut where the row ended
    logits: Tensor | None = None  # [1 + D, V] the target's, root first; for drafters that observe
    hidden: dict[int, Tensor] = field(default_factory=dict)  # layer -> [1 + D, C], for drafters that ask
    missed: Sequence[tuple[float, bool]] = ()  # see `Session.missed`
    seconds: float = 0.0  # of evaluating and judging the round's window: the row's share


class Session(ABC):
    """A drafter's memory of one row. It reads the row's history and never writes it."""

    def prime(self, evaluation: Evaluation, start: int) -> None:
        """What `Drafting.of_prompt` wants of the row's prompt tokens start … start + n - 1: logits [n, V], hidden rows
        [n, C]."""

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
    def fork(self, row: Row) -> Session:
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
    of_prompt: Want = NOTHING  # the same of every token of the prompt, by `Session.prime`

    def __init__(self, identity: object, open_session: Callable[[Row], Session]) -> None:
        """`identity` tells what was learnt about this drafter from what was learnt about others: its settings."""
        self.identity = identity
        self._open = open_session

    def open(self, row: Row) -> Session:
        """A session for a row whose prompt is known and whose cache row is filled."""
        return self._open(row)

    def time_levels(self, ends: Sequence[float]) -> None:
        """Take down what a level took: `ends` are when drafting began, and when each level ended."""
        if len(ends) > 2:
            self.seconds_per_level = (ends[-1] - ends[1]) / (len(ends) - 2)

    def rests(self, rooms: Sequence[Room]) -> bool:
        """Whether it sits this round out, of all rows: it is then neither asked nor told. To be called once a round."""
        return False

    def propose(self, sessions: Sequence[Session], rooms: Sequence[Room]) -> list[Tree]:
        """One tree per session; together, where drafting several rows at once is cheaper."""
        return [
            session.propose(room) if room.nodes > 0 else Tree() for session, room in zip(sessions, rooms, strict=True)
        ]


LONGEST_GRAM = 256  # tokens: drafters that keep the n-grams of a text as keys take none longer


class Drafter(metaclass=Checked):
    """Proposes trees. Never verifies, never touches the model's cache."""

    name: ClassVar[str]
    kind: ClassVar[str] = "drafter"
    proposals: ClassVar[frozenset[Proposal]] = frozenset({Proposal.POINT})

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


class Target:
    """The target's answer to one window of trees, as acceptors see it."""

    def __init__(
        self,
        rows: Sequence[Row],
        trees: Sequence[Tree],
        evaluation: Evaluation,
        companions: Mapping[Companion, Tensor] | None = None,
    ) -> None:
        """`companions` is what these said, [B, 1 + D, V] each; None where a draft model answers: what it says is judged
        as guesses are."""
        assert evaluation.logits is not None
        self.rows = rows
        self._evaluation, self._companions = evaluation, companions or {}
        self._rules = [row.rule.guessing if companions is None else row.rule for row in rows]
        self.trees = trees
        self.logits = evaluation.logits  # [B, 1 + D, V]
        self._steered: dict[tuple[int, int], Tensor] = {}
        self._drawn_from: dict[tuple[int, int], NDArray[Any]] = {}
        self._best: list[list[int]] | None = None
        if all(rule.pipeline.plain for rule in self._rules):
            self._best = self.logits.argmax(-1).tolist()

    def choose(self, nodes: Sequence[tuple[int, int]]) -> list[int]:
        """The one rule at (row, node) pairs: argmax of steered logits plus the row's noise."""
        if self._best is not None:
            return [self._best[r][slot_of(node)] for r, node in nodes]
        choices = choose(self._nodes(nodes), [self._rules[r] for r, _ in nodes])
        for at, steered in zip(nodes, choices.steered, strict=True):
            self._steered[at] = steered
        return choices.tokens

    def probabilities(self, row: int, node: int) -> NDArray[Any]:
        """The distribution [V] that the row's rule draws from after a node, float64; at temperature 0 one token's."""
        if self._rules[row].pipeline.greedy:
            certain = np.zeros(self.logits.shape[-1])
            certain[self.choose([(row, node)])[0]] = 1.0
            return certain
        if (row, node) not in self._drawn_from:
            self._drawn_from[row, node] = self.steered(row, node).cpu().double().softmax(-1).numpy()
        return self._drawn_from[row, node]

    def look_ahead(self) -> None:
        """Find the distributions of all rows together that will be asked for: after the roots, and few others."""
        pipelines = {rule.pipeline for rule in self._rules}
        if len(self.rows) == 1 or len(pipelines) > 1 or self._rules[0].pipeline.greedy:
            return
        (pipeline,) = pipelines
        wide = self.logits.numel() > AT_ONCE
        places = [(at, node) for at, tree in enumerate(self.trees) for node in range(ROOT, 0 if wide else len(tree))]
        nodes = self._nodes(places)
        steered = nodes.raw if self._best is not None else pipeline(nodes)
        found = steered.cpu().double().softmax(-1).numpy()
        for place, line, probabilities in zip(places, steered, found, strict=True):
            self._steered[place] = line
            self._drawn_from[place] = probabilities

    def scores(self, row: int, node: int) -> NDArray[Any]:
        """What the rule compares after a node, [V]: steered log-weights, plus the row's noise where it samples."""
        steered, rule = self.steered(row, node), self._rules[row]
        if not rule.pipeline.greedy:
            place = torch.tensor(key(rule.seed, rule.stream, len(self._path(row, node))), device=steered.device)
            steered = steered + gumbel(place, torch.arange(len(steered), device=steered.device))
        return np.asarray(steered.cpu().double().numpy())

    def raw(self, row: int, node: int) -> Tensor:
        """The model's own logits after a node, [V]."""
        return self.logits[row, slot_of(node)]

    def steered(self, row: int, node: int) -> Tensor:
        """The steered log-weights after a node, [V]; −inf where a token is excluded."""
        if self._best is not None:
            return self.raw(row, node)
        if (row, node) not in self._steered:  # without the noise that a choice would draw
            pipeline = self._rules[row].pipeline
            self._steered[row, node] = pipeline(self._nodes([(row, node)]))[0]
        return self._steered[row, node]

    def _nodes(self, places: Sequence[tuple[int, int]]) -> Nodes:
        """What steers see of these (row, node) pairs."""
        paths = [self._path(row, node) for row, node in places]
        raw = self.logits[[row for row, _ in places], [slot_of(node) for _, node in places]]  # [N, V]
        if not any(self._rules[row].pipeline.aided for row, _ in places):
            return Nodes(paths, raw)
        starts = [len(row.history.tokens) - 1 for row in self.rows]
        return Nodes(paths, raw, taps_at(places, self.trees, starts, self._evaluation, self._companions))

    def _path(self, row: int, node: int) -> Path:
        return Path(self.rows[row].history, tuple(self.trees[row].path_tokens(node)))


@dataclass(slots=True)
class Verdict:
    """What an acceptor commits: a path of the tree, then one token more."""

    path: list[int]  # node indices from the root down
    extra: int


class Acceptor(metaclass=Checked):
    """Decides which path of each tree is committed."""

    name: ClassVar[str]
    kind: ClassVar[str] = "acceptor"
    accepts: ClassVar[frozenset[Proposal]]  # proposal kinds for which it keeps its guarantee
    siblings: ClassVar[frozenset[Siblings]] = frozenset(Siblings)  # and how sampled siblings may relate
    guarantee: ClassVar[Guarantee] = Guarantee.EXACT

    @classmethod
    def judges_siblings(cls, drafter: Drafter) -> bool:
        """Whether it may judge siblings such as this drafter's; distinct points suit all that judge trees."""
        if drafter.siblings is Siblings.DISTINCT and Proposal.SAMPLED not in drafter.proposals:
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
    "Drafter",
    "Drafting",
    "Outcome",
    "Planner",
    "Planning",
    "Proposal",
    "Room",
    "Session",
    "Siblings",
    "Target",
    "Tree",
    "Verdict",
]
