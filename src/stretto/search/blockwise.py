"""Controlled decoding, block by block: of several continuations the one that a scorer finds best goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..context import Context
from ..entry import Entry, Guarantee
from ..errors import InvalidRequest
from .branches import Branches
from .contract import Branch, Group, Searching
from .scorer import Scorer
from .scorers.likelihood import LIKELIHOOD
from .segmenter import Segmenter
from .segmenters import Every
from .segmentwise import Segmenting, Segmentwise
from .within import UNBOUNDED, Within

ENTRY = Entry(
    name="controlled-blocks",
    family="search",
    source="arXiv 2310.17022 (controlled decoding), block-wise best of K",
    parts="blockwise",
    guarantee=Guarantee.APPROXIMATE,
    number=97,
    summary="of K blocks drawn after the text so far the one goes on that a scorer of beginnings finds best",
)

BLOCK = Every(32)


@dataclass(frozen=True, slots=True)
class Blockwise(Segmentwise):
    """Draw `k` blocks that follow the text so far, keep the best, and again until the best has ended.

    A block that ends the answer is judged beside those that go on, as a whole answer. Blocks as long as an answer make
    it best of k; k of 1 is plain decoding.
    """

    k: int = 6  # ≥ 1, blocks drawn at a time
    scorer: Scorer = LIKELIHOOD
    segmenter: Segmenter = BLOCK
    within: Within = UNBOUNDED

    name: ClassVar[str] = "blockwise"

    def __post_init__(self) -> None:
        if self.k < 1:
            raise InvalidRequest(f"the best of {self.k} blocks", hint="k is at least 1")

    def rows(self, samples: int) -> int:
        return max(self.k, samples)

    def begin(self, context: Context, branches: Branches) -> Searching:
        return Blocks(self, context, branches)


class Blocks(Segmenting):
    """Blocks at work. Only the branches of the last choice are ranked; those passed over are gone."""

    def settle(self, group: Group) -> None:
        for branch in group.alive:
            branch.catch_up()
        standing = [*group.finished, *group.alive]
        going = [branch for branch in standing if branch.row is not None]
        if any(branch.row is not None and not branch.row.paused for branch in going):
            return
        group.finished = [branch for branch in standing if branch.row is None]
        group.alive = going
        self.rank(group)
        best = _best(standing)
        if best.row is None:
            for row in [branch.row for branch in going if branch.row is not None]:
                self.branches.remove(row)
            group.alive, group.ended = [], True
            return
        self._renew(group)

    def parents(self, group: Group) -> list[Branch]:
        group.finished = []
        return [_best(group.alive)] * self.search.rows(group.wanted)


def _best(branches: Sequence[Branch]) -> Branch:
    """Of equal ones that which was begun first."""
    return max(branches, key=lambda branch: (branch.worth, -branch.number))
