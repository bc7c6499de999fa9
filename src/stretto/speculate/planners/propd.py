"""ProPD: the size of the tree from measured acceptance and a line fitted to the time of recent rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from ...row import Row
from ...tree import Tree
from ..contract import Drafting, Outcome, Planner, Planning, Room
from ..economy.decision import Price
from ..economy.shapes import ByPlace, Known, Shape, ShapedPlanning

ENTRY = Entry(
    name="propd",
    family="speculate",
    source="arXiv 2402.13485 (dynamic generation; pruning by an early head is not part of this)",
    parts="draft-tree+propd",
    guarantee=Guarantee.EXACT,
    number=114,
    needs=("draft model", "tree windows"),
    summary="tree size by expected length over a regression on recent rounds' time",
)


@dataclass(frozen=True, slots=True)
class ProPD(Planner):
    """n* = argmax L(n) / T(n): L from a moving average per depth and rank, T = a + b · n from recent rounds.

    T is fitted by least squares in which recent rounds weigh more, anew for each number of rows; what drafting a level
    took of late is added. While all rounds were of one size the slope cannot be seen: then the clock's curve is taken,
    scaled to them.
    """

    most: int = 64  # nodes, ≥ 1
    depth: int = 5  # levels, ≥ 1
    width: int = 10  # children of a node, ≥ 1
    fade: float = 0.98  # weight of what was learnt before, at each new outcome, (0, 1]
    recent: float = 0.95  # weight of the past at each new round in the regression, (0, 1]

    name: ClassVar[str] = "propd"

    def __post_init__(self) -> None:
        if min(self.most, self.depth, self.width) < 1:
            raise InvalidRequest(f"propd({self.most}, depth={self.depth}, width={self.width})", hint="each at least 1")
        if not (0 < self.fade <= 1 and 0 < self.recent <= 1):
            raise InvalidRequest(f"propd(fade={self.fade}, recent={self.recent})", hint="both in (0, 1]")

    def begin(self, context: Context, drafting: Drafting) -> Planning:
        known = context.remembered(Known, (self, drafting.identity), lambda: Known(ByPlace(self.fade), Price()))
        return ProPDPlanning(self, context, drafting, known)


class Line:
    """T(n) = a + b · n by weighted least squares over the rounds seen, each weighing `recent` times the next."""

    def __init__(self, recent: float) -> None:
        self._recent = recent
        self._weight = self._n = self._t = self._nn = self._nt = 0.0  # weighted sums

    def add(self, nodes: float, seconds: float) -> None:
        """One more round."""
        self._weight = self._recent * self._weight + 1.0
        self._n = self._recent * self._n + nodes
        self._t = self._recent * self._t + seconds
        self._nn = self._recent * self._nn + nodes * nodes
        self._nt = self._recent * self._nt + nodes * seconds

    @property
    def mean(self) -> tuple[float, float] | None:
        """Mean nodes and seconds; None before the first round."""
        return (self._n / self._weight, self._t / self._weight) if self._weight else None

    def fit(self) -> tuple[float, float] | None:
        """(a, b), the slope never falling; None while all rounds were of one size."""
        if not self._weight:
            return None
        n, t = self._n / self._weight, self._t / self._weight
        spread = self._nn / self._weight - n * n
        if spread < 0.01:  # square nodes: one round of another size, long ago
            return None
        slope = max(0.0, (self._nt / self._weight - n * t) / spread)
        return t - slope * n, slope


class ProPDPlanning(ShapedPlanning):
    """Plans by what rounds took."""

    def __init__(self, settings: ProPD, context: Context, drafting: Drafting, known: Known) -> None:
        super().__init__(context, drafting, known, Room(settings.most, settings.depth))
        self._settings = settings
        self._lines: dict[int, Line] = {}  # number of rows -> the regression
        self._nodes = 0  # of the round's largest tree
        self._taken = 0.0  # seconds of the round, as far as its rows have learnt

    def choose(self) -> Shape:
        return self.best_shape(self._settings.width)

    def cost(self, nodes: int) -> float:
        line = self._lines.get(self._rows)
        fitted = line.fit() if line else None
        if fitted is not None and fitted[0] > 0:  # else it says of plain rounds that they take no time
            return fitted[0] + fitted[1] * nodes
        by_clock = super().cost(nodes)
        if line is None or line.mean is None:
            return by_clock
        mean_nodes, mean_seconds = line.mean
        return by_clock * mean_seconds / super().cost(round(mean_nodes))

    def settle(self, usual: bool) -> None:
        super().settle(usual)
        if self._taken and usual:
            line = self._lines.setdefault(self._rows, Line(self._settings.recent))
            line.add(self._nodes, self._taken)
        self._taken = 0.0

    def trim(self, rows: Sequence[Row], trees: list[Tree]) -> list[Tree]:
        kept = super().trim(rows, trees)
        self._nodes = max(map(len, kept), default=0)
        return kept

    def learn(self, row: Row, proposed: Tree, outcome: Outcome, draft_seconds: float) -> None:
        self._taken += outcome.seconds
        super().learn(row, proposed, outcome, draft_seconds)
