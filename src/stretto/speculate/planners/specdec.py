"""SpecDec++: stop drafting once it is likely that something of the draft will be rejected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from ...row import Row
from ...tree import ROOT, Tree
from ..contract import Drafting, Outcome, Planner, Planning, Room
from ..economy.acceptance import Acceptance
from ..economy.pruning import cut_below

ENTRY = Entry(
    name="specdec-pp",
    family="speculate",
    source="arXiv 2405.19715; github.com/Kaffaljidhmah2/SpecDec_pp",
    parts="draft+specdec",
    guarantee=Guarantee.EXACT,
    number=23,
    needs=("draft model",),
    summary="drafts until the probability that a drafted token is rejected exceeds a threshold",
)

BINS = 10  # classes of score that a calibrated estimator tells apart


@runtime_checkable
class Estimator(Protocol):
    """Tells how likely drafted tokens are to be accepted, from the draft alone."""

    def rates(self, tree: Tree) -> Sequence[float]:
        """Probability in [0, 1] that each node is accepted when its parent is."""
        ...

    def learn(self, tree: Tree, committed: Sequence[int]) -> None:
        """A draft, and the tokens that were then committed."""
        ...


class Scores:
    """The drafter's own score: the draft model's probability, or what a trained acceptance head put there."""

    def rates(self, tree: Tree) -> Sequence[float]:
        return tree.scores

    def learn(self, tree: Tree, committed: Sequence[int]) -> None:
        """Has learnt all it will."""


class Calibrated(Acceptance[int]):
    """How often tokens of about this score were accepted; before any was seen, the score itself."""

    def __init__(self, fade: float = 0.99) -> None:
        super().__init__(fade)

    def kinds(self, tree: Tree, nodes: Sequence[int]) -> list[int]:
        return [min(BINS - 1, max(0, int(tree.scores[node] * BINS))) for node in nodes]

    def believed(self, kind: int) -> float:
        return (kind + 0.5) / BINS


ESTIMATORS: dict[str, type[Scores | Calibrated]] = {"scores": Scores, "calibrated": Calibrated}


@dataclass(frozen=True, slots=True)
class SpecDec(Planner):
    """Stop when 1 − Π a > h, a the estimated acceptance of each drafted token; the last one is verified too.

    In a tree the likeliest path of the deepest level counts. The rule sees the draft alone, never the target, so that
    drawn tokens stay fair draws. `h` is tuned, not a literal probability. The published estimate comes from a trained
    head that reads the draft model's hidden state; a drafter that has one gives its estimates as scores.
    """

    h: float = 0.3  # [0, 1]; larger drafts longer; 1: always `most`
    least: int = 2  # tokens before the rule is asked, ≥ 1
    most: int = 20  # tokens, ≥ least
    estimator: str | Estimator = "scores"  # scores: as they are; calibrated: against what was accepted; or an object

    name: ClassVar[str] = "specdec"

    def __post_init__(self) -> None:
        if not 0 <= self.h <= 1:
            raise InvalidRequest(f"specdec(h={self.h})", hint="0 <= h <= 1")
        if not 1 <= self.least <= self.most:
            raise InvalidRequest(f"specdec drafts {self.least} to {self.most} tokens", hint="1 <= least <= most")
        if isinstance(self.estimator, str) and self.estimator not in ESTIMATORS:
            raise InvalidRequest(f"specdec(estimator={self.estimator})", hint=f"one of {', '.join(ESTIMATORS)}")

    @property
    def repeats(self) -> bool:
        return self.estimator == "scores"  # others learn from all rows

    def begin(self, context: Context, drafting: Drafting) -> Planning:
        estimator = self.estimator
        if isinstance(estimator, str):
            kind = ESTIMATORS[estimator]
            estimator = context.remembered(kind, (self, drafting.identity), kind)
        return SpecDecPlanning(self, estimator)


class SpecDecPlanning(Planning):
    """The threshold rule at work."""

    def __init__(self, settings: SpecDec, estimator: Estimator) -> None:
        self._settings = settings
        self._estimator = estimator
        self._room = Room(settings.most, settings.most, more=self._go_on)

    def rooms(self, rows: Sequence[Row]) -> list[Room]:
        return [self._room] * len(rows)

    def trim(self, rows: Sequence[Row], trees: list[Tree]) -> list[Tree]:
        """For drafters that did not ask on the way; those that did have stopped by the same rule."""
        return [self._cut(tree) for tree in trees]

    def learn(self, row: Row, proposed: Tree, outcome: Outcome, draft_seconds: float) -> None:
        if len(proposed):
            self._estimator.learn(proposed, outcome.committed)

    def _go_on(self, tree: Tree) -> bool:
        deepest = max(tree.depths, default=0)
        if deepest < self._settings.least:
            return True
        intact = max(value for value, depth in zip(self._intact(tree), tree.depths, strict=True) if depth == deepest)
        return 1.0 - intact <= self._settings.h

    def _cut(self, tree: Tree) -> Tree:
        intact, settings = self._intact(tree), self._settings
        return cut_below(tree, lambda node: tree.depths[node] >= settings.least and 1.0 - intact[node] > settings.h)

    def _intact(self, tree: Tree) -> list[float]:
        """For each node, the probability that nothing on its path is rejected."""
        values: list[float] = []
        for parent, rate in zip(tree.parents, self._estimator.rates(tree), strict=True):
            values.append(rate if parent == ROOT else rate * values[parent])
        return values
