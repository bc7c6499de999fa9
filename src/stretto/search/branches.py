"""Branches as rows: they fork, are drafted for, steered and evaluated together, whatever search they belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from ..context import Context
from ..models.contract import Evaluation
from ..models.store import Store
from ..row import Commit, Row
from ..speculate.contract import Acceptor, Outcome, Verdict
from ..speculate.loop import Loop
from ..speculate.target import Target
from ..speculate.work import Share, Work
from ..steer.path import History
from ..tree import ROOT, Tree
from .contract import Group, Heir, Searching
from .segmenter import Segment

if TYPE_CHECKING:
    from torch import Tensor


class Branches(Loop):
    """The loop of drafting over branches. A row without a group, or that is paused, waits."""

    def __init__(self, context: Context, cache: Store) -> None:
        super().__init__(context, cache)
        self.groups: dict[Row, tuple[Group, Searching]] = {}
        self._slots: dict[Group, list[int]] = {}  # of this round: how many each evaluated row had

    def take(self, row: Row, group: Group, searching: Searching) -> None:
        """A row that has read a prompt is a branch of this group from now on."""
        self.groups[row] = group, searching
        group.counters.branches = 1

    def sprout(self, row: Row, stream: int | None = None) -> Row:
        """Another branch that begins as a copy of this one, with another stream of noise where it shall draw."""
        copy = row.fork(row.rule if stream is None else replace(row.rule, stream=stream))
        self.fork(row, copy)
        group, _ = self.groups[copy] = self.groups[row]
        group.counters.branches += 1
        return copy

    def stand(self, row: Row) -> Row:
        """A copy that waits where this row is, which goes on; it begins no answer of its own."""
        copy = self.sprout(row)
        copy.paused = True
        self.groups[copy][0].counters.branches -= 1
        return copy

    def spread(self, first: Row, group: Group) -> list[Row]:
        """A row and copies of it, as many as the group has streams of noise, each with one of its own."""
        return [first, *(self.sprout(first, at) for at in range(1, group.streams))]

    def reread(self, row: Row, history: History) -> Row:
        """A branch with another text in the place of this one: what the cache holds of it stays, the rest is read."""
        fresh = Row(history, -1, row.rule, row.limits, row.stoppers)
        fresh.log_probabilities = row.log_probabilities
        (fresh.cache_row,) = self.cache.fork(row.cache_row)
        work, (group, searching) = self.works[row], self.groups[row]
        self.remove(row)
        self.plant(fresh, work, group, searching)
        return fresh

    def plant(self, row: Row, work: Work, group: Group, searching: Searching) -> None:
        """A row with a text of its own, which is read at once, is another branch of this group."""
        self.add(row, work)
        self.groups[row] = group, searching
        group.counters.branches += 1
        group.counters.token_forwards += len(row.history.tokens) - group.first.history.prompt_length

    def drop(self, group: Group) -> None:
        """All branches of a group leave."""
        for row in [row for row in self.rows if row in self.groups and self.groups[row][0] is group]:
            self.remove(row)

    def remove(self, row: Row) -> None:
        super().remove(row)
        self.groups.pop(row, None)

    @property
    def ready(self) -> bool:
        """Whether there is anything to do in this round."""
        return bool(self._ready())

    def _ready(self) -> list[Row]:
        return [row for row in self.rows if row in self.groups and not row.paused]

    def _evaluate(self, rows: Sequence[Row], trees: Sequence[Tree], shares: Sequence[Share]) -> Evaluation:
        self._slots = {}
        for row, tree in zip(rows, trees, strict=True):
            self._slots.setdefault(self.groups[row][0], []).append(1 + len(tree))
        return super()._evaluate(rows, trees, shares)

    def _verdicts(self, acceptor: Acceptor, target: Target, shares: Sequence[Share]) -> list[tuple[int, Row, Verdict]]:
        """Searches that choose the tokens themselves say who goes on; the others leave that to the acceptor."""
        places = {row: at for at, row in enumerate(target.rows)}
        verdicts: list[tuple[int, Row, Verdict]] = []
        chosen: set[Row] = set()
        forced: dict[Row, int] = {}
        for group, searching in dict.fromkeys(self.groups[row] for row in target.rows):
            heirs = searching.choose(group, target, places)
            if heirs is not None:
                own = [row for row in places if self.groups[row][0] is group]
                chosen.update(own)
                verdicts += self._inherit(own, heirs, places, shares)
            forced |= searching.force(group, target, places)
        if len(chosen) < len(places):
            verdicts += [each for each in super()._verdicts(acceptor, target, shares) if each[1] not in chosen]
        return [(at, row, Verdict([], forced[row]) if row in forced else verdict) for at, row, verdict in verdicts]

    def _inherit(
        self, rows: Sequence[Row], heirs: Sequence[Heir], places: Mapping[Row, int], shares: Sequence[Share]
    ) -> list[tuple[int, Row, Verdict]]:
        """The first heir of a row keeps it, the others fork; a row without an heir leaves."""
        share = next(share for share in shares if rows[0] in share.rows)
        taken: set[Row] = set()
        verdicts: list[tuple[int, Row, Verdict]] = []
        for heir in heirs:
            row = heir.row
            if row in taken:
                row = self.sprout(heir.row)
                share.fork(heir.row, row)
            taken.add(heir.row)
            heir.branch.row = row
            verdicts.append((places[heir.row], row, heir.verdict))
        for row in rows:
            if row not in taken:
                self.remove(row)
        return verdicts

    def _commit(self, target: Target, at: int, row: Row, verdict: Verdict) -> tuple[Commit, Outcome]:
        if isinstance(row.segment, Segment) and row.segment.listens:
            said = torch.stack([target.raw(at, node) for node in (ROOT, *verdict.path)])
            row.segment.hear(entropies(said))
        return super()._commit(target, at, row, verdict)

    def _record(self, done: Mapping[Row, tuple[Commit, Outcome]], seconds: float, draft_seconds: float) -> None:
        super()._record(done, seconds, draft_seconds)
        used: dict[Group, set[tuple[int, int]]] = {}  # nodes that were committed, by the tree that they stand in
        for row, (_, outcome) in done.items():
            used.setdefault(self.groups[row][0], set()).update((id(outcome.tree), node) for node in outcome.path)
        for group, slots in self._slots.items():
            group.spend(slots, seconds, draft_seconds, len(used.get(group, ())))


def entropies(weights: Tensor) -> list[float]:
    """Nats of the distributions that rows of logits or log-weights [N, V] stand for.

    >>> [round(each, 4) for each in entropies(torch.tensor([[0.0, 0.0, -torch.inf]]))]
    [0.6931]
    """
    logs = weights.double().log_softmax(-1)
    values: list[float] = (-(logs.exp() * logs.nan_to_num(neginf=0.0)).sum(-1)).tolist()
    return values
