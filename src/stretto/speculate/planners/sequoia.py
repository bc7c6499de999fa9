"""Sequoia: the best static tree for the acceptance of each rank, by dynamic programming, in the size that pays here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from ...tree import ROOT
from ..contract import Drafting, Planner, Planning, Room
from ..economy.decision import Price
from ..economy.shapes import ByPlace, Known, Shape, ShapedPlanning

if TYPE_CHECKING:
    from numpy.typing import NDArray

ENTRY = Entry(
    name="sequoia",
    family="speculate",
    source="arXiv 2402.12374; github.com/Infini-AI-Lab/Sequoia",
    parts="rsd-c+recursive+sequoia",
    guarantee=Guarantee.DISTRIBUTION,
    needs=("draft model", "tree windows"),
    summary="a static tree by dynamic programming over rank-wise acceptance, sized by the machine's clock",
)


@dataclass(frozen=True, slots=True)
class Sequoia(Planner):
    """Maximise F(n, d) / (T(n) + d · T_draft) over trees of n nodes and depth d.

    F sums, over the nodes, the product of the acceptance of the ranks on their paths. Those are given as `rates`, or
    learnt from the acceptor at work, at the temperature at work. T comes from the clock; T_draft is what a level of
    drafting took of late. A drafter that costs next to nothing is not asked for a shape: its best nodes are kept.
    """

    rates: tuple[float, ...] = ()  # acceptance of ranks 0, 1 …, each in [0, 1], together at most 1; none: learnt
    most: int = 32  # drafted nodes, ≥ 1
    depth: int = 8  # levels, ≥ 1
    width: int = 8  # children of a node, ≥ 1; those that `rates` name, when given
    fade: float = 0.99  # weight of what was learnt before, at each new outcome, (0, 1]

    name: ClassVar[str] = "sequoia"

    def __post_init__(self) -> None:
        if min(self.most, self.depth, self.width) < 1:
            raise InvalidRequest(
                f"sequoia(most={self.most}, depth={self.depth}, width={self.width})", hint="each at least 1"
            )
        if any(not 0 <= rate <= 1 for rate in self.rates) or sum(self.rates) > 1 + 1e-9:
            raise InvalidRequest(f"sequoia with rates {self.rates}", hint="each in [0, 1], together at most 1")
        if not 0 < self.fade <= 1:
            raise InvalidRequest(f"sequoia(fade={self.fade})", hint="0 < fade <= 1")

    def begin(self, context: Context, drafting: Drafting) -> Planning:
        rates = Given(self.rates) if self.rates else ByPlace(self.fade, by_depth=False)
        known = context.remembered(Known, (self, drafting.identity), lambda: Known(rates, Price()))
        return SequoiaPlanning(self, context, drafting, known)


class Given(ByPlace):
    """Rates that are known beforehand: nothing is learnt."""

    def __init__(self, rates: Sequence[float]) -> None:
        super().__init__(1.0, by_depth=False)
        self._given = rates

    def believed(self, kind: tuple[int, int]) -> float:
        _, rank = kind
        return self._given[rank] if rank < len(self._given) else 0.0

    def add(self, kind: tuple[int, int], accepted: bool) -> None:
        pass


class SequoiaPlanning(ShapedPlanning):
    """The dynamic programme at work."""

    def __init__(self, settings: Sequoia, context: Context, drafting: Drafting, known: Known) -> None:
        super().__init__(context, drafting, known, Room(settings.most, settings.depth))
        self._settings = settings

    def choose(self) -> Shape:
        settings, known = self._settings, self._known
        rates = settings.rates or tuple(known.rates.of(1, rank) for rank in range(settings.width))
        trees = BestTrees(rates, settings.most + 1, settings.depth)
        verify = np.array([self.cost(nodes) for nodes in range(settings.most + 1)])  # [n - 1]
        draft = np.arange(settings.depth + 1) * (known.level.seconds or 0.0)  # [d]
        gains = trees.expected[:, 1:] / (verify[None, :] + draft[:, None])  # [d, n - 1]
        depth, size = np.unravel_index(gains.argmax(), gains.shape)  # of equals the shallowest, then the smallest
        return trees.shape(int(size) + 1, int(depth))


class BestTrees:
    """For each size n (root included) and depth d, the tree of greatest expected committed tokens.

    Children are tried in the order of their ranks, so the child of rank k stands beside all ranks before it. Rates
    need not fall with the rank.
    """

    def __init__(self, rates: Sequence[float], nodes: int, depth: int) -> None:
        """Trees of up to `nodes` nodes and `depth` levels under the root."""
        self._rates = rates
        sizes = np.arange(nodes)
        rest = sizes[:, None] - sizes[None, :]  # [m, s]: nodes left for the later siblings of a child with s nodes
        self.expected = np.full((depth + 1, nodes + 1), -np.inf)  # [d, n]; −inf: no such tree
        self.expected[:, 1] = 1.0
        # [d, k, m]: of m nodes under one parent that may go to its children of ranks k and on, the child of rank k
        # gets so many
        self._split = np.zeros((depth + 1, len(rates), nodes), dtype=np.int64)
        for level in range(1, depth + 1):
            forest = np.where(sizes == 0, 0.0, -np.inf)  # [m]: worth of m nodes in the ranks from k on
            for rank in range(len(rates) - 1, -1, -1):
                forest, self._split[level, rank] = self._put(
                    forest, rates[rank], self.expected[level - 1, :nodes], rest
                )
            self.expected[level, 1:] = 1.0 + forest

    @staticmethod
    def _put(
        later: NDArray[Any], rate: float, child: NDArray[Any], rest: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Worth [m] of m nodes shared between one child and its later siblings, and the child's share [m]."""
        with np.errstate(invalid="ignore"):  # 0 · −inf: a rank that is never accepted under a tree that cannot be
            worth = np.where(np.isneginf(child), -np.inf, rate * child)
        table = np.where(rest >= 0, worth[None, :] + later[rest.clip(0)], -np.inf)  # [m, s]
        table[0, 0] = 0.0  # no nodes, no child
        share = table.argmax(1)
        best: NDArray[Any] = table[np.arange(len(later)), share]
        return best, share

    def shape(self, nodes: int, depth: int) -> Shape:
        """The tree itself, drafted nodes only, level by level, siblings in the order of their ranks."""
        parents: list[int] = []
        values: list[float] = []
        waiting = [(ROOT, 1.0, nodes, depth)]  # (node, its value, nodes of its tree, levels under it)
        for node, value, size, level in waiting:
            left, rank = size - 1, 0
            while left > 0:
                share = int(self._split[level, rank, left])
                parents.append(node)
                values.append(value * self._rates[rank])
                waiting.append((len(parents) - 1, values[-1], share, level - 1))
                left -= share
                rank += 1
        return Shape(tuple(parents), tuple(values))
