"""Searches whose branches go on by the rule of choice, and are judged where a segment of each ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..context import Context
from ..errors import Unsupported
from ..models.contract import Model
from ..row import Row
from ..steer.pipeline import Pipeline
from .branches import Branches
from .contract import Branch, Group, Search, Searching
from .scorer import Judged, Scorer
from .scorers.likelihood import LIKELIHOOD
from .segmenter import Segmenter


class Segmentwise(Search):
    """Every branch draws by a stream of noise of its own, so the temperature is above 0."""

    scorer: Scorer = LIKELIHOOD  # tells how good an answer is, or the beginning of one
    segmenter: Segmenter | None = None  # where branches are judged, beside at the end of all answers

    def check(self, model: Model, pipeline: Pipeline, samples: int) -> None:
        if pipeline.greedy:
            raise Unsupported(f"{self.name} draws its answers, and without chance all are one", hint="temperature=1")

    def begin(self, context: Context, branches: Branches) -> Searching:
        return Segmenting(self, context, branches)

    @property
    def hears(self) -> bool:
        return self.scorer.hears

    def select(self, values: Sequence[float], finished: int) -> list[int]:
        """Which of the branches go on: numbers of `values`, best first, repeated for one that forks.

        Asked whenever all branches that have not ended stand at the end of a segment; `finished` have ended before.
        """
        raise NotImplementedError("answers have no segments")


class Segmenting(Searching):
    """A segmentwise search at work."""

    def __init__(self, search: Segmentwise, context: Context, branches: Branches) -> None:
        self.search = search
        self.branches = branches
        self.judged = Judged(search.scorer, context)
        self.decode = context.decode

    def grow(self, groups: Sequence[Group]) -> None:
        for group in (group for group in groups if not group.streams):
            rows = [self._draw(group, group.first) for _ in range(self.search.rows(group.wanted) - 1)]
            group.streams += 1  # the first row's own
            group.alive = [Branch(row=row, number=at) for at, row in enumerate((group.first, *rows))]
            self._begin_segments(group)

    def _draw(self, group: Group, row: Row) -> Row:
        """Another branch, with a stream of its own."""
        group.streams += 1
        return self.branches.sprout(row, group.streams)

    def _begin_segments(self, group: Group) -> None:
        segmenter = self.search.segmenter
        for row in [branch.row for branch in group.alive if branch.row is not None]:
            row.segment, row.paused = segmenter.open(self.decode) if segmenter else None, False

    def settle(self, group: Group) -> None:
        group.catch_up()
        if not group.alive:
            self.rank(group)
            group.ended = True
        elif all(branch.row is not None and branch.row.paused for branch in group.alive):
            self._renew(group)

    def parents(self, group: Group) -> list[Branch]:
        """Whom the branches from now on continue, those that have ended included. One that comes twice forks."""
        self._judge(group, group.alive, whole=False)
        chosen = self.search.select([branch.worth for branch in group.alive], len(group.finished))
        return [*group.finished, *(group.alive[at] for at in chosen)]

    def _renew(self, group: Group) -> None:
        parents = self.parents(group)
        for branch in [branch for branch in group.alive if branch not in parents]:
            if branch.row is not None:
                self.branches.remove(branch.row)
        group.alive, group.finished = [], []
        for at, parent in enumerate(parents):
            again = parent in parents[:at]
            branch = replace(parent, number=group.streams) if again or parent.row is not None else parent
            if again and parent.row is not None:
                branch.row = self._draw(group, parent.row)
            group.streams += 1
            (group.finished if branch.row is None else group.alive).append(branch)
        self._begin_segments(group)

    def rank(self, group: Group) -> None:
        self._judge(group, group.finished, whole=True)
        self._judge(group, group.alive, whole=False)

    def _judge(self, group: Group, branches: Sequence[Branch], whole: bool) -> None:
        for branch, value in zip(branches, self.judged.values(group, branches, whole), strict=True):
            branch.worth = value
