"""A*-decoding: of all beginnings of answers the one is continued that has lost the least and promises the most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from ..context import Context
from ..entry import Entry, Guarantee
from ..errors import InvalidRequest, Unsupported
from ..models.contract import Model
from ..steer.pipeline import Pipeline
from .branches import Branches
from .contract import Branch, Group, Search, Searching
from .scorer import Judged, Scorer
from .scorers.likelihood import LIKELIHOOD
from .segmenter import Segmenter
from .segmenters import Every
from .within import UNBOUNDED, Within

ENTRY = Entry(
    name="a-star",
    number=47,
    family="search",
    source="arXiv 2505.13672 (A*-decoding)",
    parts="a-star",
    guarantee=Guarantee.APPROXIMATE,
    confirmed=False,  # what an edge costs, and that the look-ahead is 1 - reward
    summary="the most promising beginning of an answer is continued in several ways, until it is an answer itself",
)

STEP = Every(16)


@dataclass(frozen=True, slots=True)
class AStar(Search):
    """Best first: the beginning of smallest g + h is continued in `width` ways, up to the end of a segment each.

    With r, what the scorer says of a text, from 0 to 1, h is 1 - r, what may still be lost; g sums along the way what
    was lost, max(0, r before - r after) of each segment. Of equal ones the longer way comes first, then the older one.
    The first whole answer whose turn it is is the answer. After `most` continuations it is the best whole one that was
    met, else the best beginning, which goes on alone. One way is plain decoding.
    """

    width: int = 4  # ≥ 1, ways on
    most: int = 16  # ≥ 1, beginnings that are continued
    scorer: Scorer = LIKELIHOOD  # of beginnings and of answers, on one scale
    segmenter: Segmenter = STEP
    within: Within = UNBOUNDED

    name: ClassVar[str] = "a-star"

    def __post_init__(self) -> None:
        if self.width < 1 or self.most < 1:
            raise InvalidRequest(f"{self.most} beginnings in {self.width} ways each", hint="at least 1 each")

    @property
    def hears(self) -> bool:
        return self.scorer.hears

    def check(self, model: Model, pipeline: Pipeline, samples: int) -> None:
        if pipeline.greedy:
            raise Unsupported(f"{self.name} draws its ways, and without chance all are one", hint="temperature=1")

    def rows(self, samples: int) -> int:
        return 2 + (self.width - 1) * self.most  # one goes once its ways on have come

    def begin(self, context: Context, branches: Branches) -> Searching:
        return Frontier(self, context, branches)


@dataclass(slots=True, eq=False)
class Place(Branch):
    """A beginning of an answer, whose row waits; one without a row is whole."""

    steps: int = 0  # segments
    lost: float = 0.0  # g

    @property
    def cost(self) -> float:
        """g + h; `worth` is what the scorer says."""
        return self.lost + 1 - self.worth

    @property
    def rank(self) -> tuple[float, int, int]:
        """The smallest is first."""
        return self.cost, -self.steps, self.number


@dataclass(slots=True, eq=False)
class Plan:
    """What is known of one group."""

    root: Place  # that is being continued
    growing: list[Place] = field(default_factory=list)
    open: list[Place] = field(default_factory=list)
    found: list[Place] = field(default_factory=list)  # answers, best first
    continued: int = 0  # places


class Frontier(Searching):
    """A*-decoding at work."""

    def __init__(self, search: AStar, context: Context, branches: Branches) -> None:
        self.search, self.branches, self.decode = search, branches, context.decode
        self.judged = Judged(search.scorer, context)

    def grow(self, groups: Sequence[Group]) -> None:
        for group in (group for group in groups if group.plan is None):
            group.first.paused = True
            root = Place(row=group.first)
            self._judge(group, [root])
            group.plan, group.streams = Plan(root), 1
            group.alive = [Branch(worth=float("-inf"))]  # nothing is certain yet
            self._continue(group, group.plan, root)

    def _judge(self, group: Group, places: Sequence[Place]) -> None:
        for whole in (True, False):
            asked = [place for place in places if (place.row is None) == whole]
            for place, value in zip(asked, self.judged.values(group, asked, whole), strict=True):
                place.worth = value

    def _continue(self, group: Group, plan: Plan, place: Place) -> None:
        """Ways on from a place; the first goes on with its noise, the others with noise of their own."""
        assert place.row is not None, "nothing follows a whole answer"
        plan.root, plan.continued = place, plan.continued + 1
        for way in range(self.search.width):
            row = self.branches.sprout(place.row, group.streams if way else None)
            row.segment = self.search.segmenter.open(self.decode)
            plan.growing.append(Place(row=row, number=group.streams, steps=place.steps + 1))
            group.streams += 1
        self.branches.remove(place.row)

    def settle(self, group: Group) -> None:
        plan: Plan = group.plan
        for place in plan.growing:
            place.catch_up()
        if all(place.row is None or place.row.paused for place in plan.growing):
            self._arrive(group, plan)
            self._go_on(group, plan)

    def _arrive(self, group: Group, plan: Plan) -> None:
        """The ways on are gone: those that came to the same text are one."""
        self._judge(group, plan.growing)
        known = set[tuple[int, ...]]()
        for place in plan.growing:
            if tuple(place.tokens) in known:
                if place.row is not None:
                    self.branches.remove(place.row)
                continue
            known.add(tuple(place.tokens))
            place.lost = plan.root.lost + max(0.0, plan.root.worth - place.worth)
            plan.open.append(place)
        plan.growing = []

    def _go_on(self, group: Group, plan: Plan) -> None:
        """Take the first in turn, until one is to be continued, or there are as many answers as are wanted."""
        while plan.open and len(plan.found) < group.wanted:
            spent = plan.continued >= self.search.most
            able = [place for place in plan.open if place.row is None] if spent else []
            place = min(able or plan.open, key=lambda each: each.rank)
            plan.open.remove(place)
            if place.row is None:
                plan.found.append(place)
            elif spent:  # alone, to its end
                place.row.segment, place.row.paused, plan.growing = None, False, [place]
                plan.root = place
                return
            else:
                self._continue(group, plan, place)
                return
        self.rank(group)
        group.alive, group.ended = [], True

    def rank(self, group: Group) -> None:
        """Answers that were found come in their order, then others by what they cost."""
        plan: Plan = group.plan
        whole = sorted((place for place in plan.open if place.row is None), key=lambda each: each.rank)
        begun = sorted((place for place in plan.open if place.row is not None), key=lambda each: each.rank)
        best = plan.found + whole or begun[:1] or plan.growing[:1]
        group.finished = [
            Branch(p.tokens, 0.0, -at, p.reports, p.sources, finish=p.finish) for at, p in enumerate(best)
        ]
