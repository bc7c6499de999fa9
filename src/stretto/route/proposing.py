"""Two models of which one proposes several tokens, and the other reads them all at once and judges them.

A part that judges gives `write`; both models keep a cache of every row, and forget what was not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..context import Context
from ..models.contract import Model
from ..models.store import Store
from ..row import Row
from ..steer.choice import choose
from ..steer.nodes import Nodes
from ..steer.path import Path
from .contract import Routing
from .reader import Read, Reader, Reading

if TYPE_CHECKING:
    from torch import Tensor

OWN, SECOND = 0, 1  # the engine's own model, the other one


@dataclass(slots=True)
class Proposal:
    """What one model proposes for one row, with where each token came from."""

    tokens: list[int]
    raw: list[Tensor]  # [V] each
    steered: list[Tensor]  # [V] each
    forwards: list[int]  # slots of the evaluations


class Proposing(Routing):
    """Both models at work."""

    def __init__(self, context: Context, cache: Store, model: Model) -> None:
        vocabulary = context.target.vocabulary
        self.readers = Reader(context.target, cache, vocabulary), Reader(model, model.new_cache(), vocabulary)
        self.readings: dict[Row, tuple[Reading, Reading]] = {}

    def open(self, row: Row) -> int:
        own, second = self.readers
        readings = self.readings[row] = own.open(row, row.cache_row), second.open(row)
        return min(own.room(readings[OWN]), second.room(readings[SECOND]))

    def fork(self, row: Row, copy: Row) -> None:
        own, second = self.readings[row]
        forks = self.readers[OWN].fork(own, copy, copy.cache_row), self.readers[SECOND].fork(second, copy)
        self.readings[copy] = forks

    def texts(self, row: Row) -> Sequence[tuple[Reader, Reading]]:
        return list(zip(self.readers, self.readings[row], strict=True))

    def close(self, row: Row) -> None:
        if row in self.readings:
            self.readers[SECOND].close(self.readings.pop(row)[SECOND])

    def settle(self, row: Row) -> None:
        for reader, reading in self.texts(row):
            reader.rewind(reading)

    def propose(self, rows: Sequence[Row], which: int, goes_on: Callable[[Row, Sequence[int]], bool]) -> list[Proposal]:
        """A model's next tokens by the rows' own rules, one at a time, all rows together, at least one each.

        `goes_on` tells of a row and what was proposed for it whether there is to be more.
        """
        proposals = {row: Proposal([], [], [], []) for row in rows}
        active = list(rows)
        while active:
            drafts = [proposals[row].tokens for row in active]
            read = self.readers[which].read([self.readings[row][which] for row in active], drafts)
            logits = read.logits[:, 0]  # [B, V]
            paths = [Path(row.history, tuple(draft)) for row, draft in zip(active, drafts, strict=True)]
            choices = choose(Nodes(paths, logits), [row.rule for row in active])
            for at, row in enumerate(active):
                proposal = proposals[row]
                proposal.tokens.append(choices.tokens[at])
                proposal.raw.append(logits[at])
                proposal.steered.append(choices.steered[at])
                proposal.forwards.append(read.slots[at])
            active = [row for row in active if goes_on(row, proposals[row].tokens)]
        return [proposals[row] for row in rows]

    def judged(self, rows: Sequence[Row], which: int, proposals: Sequence[Proposal]) -> Read:
        """What a model says in the place of each proposed token: logits [B, n, V], padded at the end."""
        return self.readers[which].read(
            [self.readings[row][which] for row in rows],
            [proposal.tokens[:-1] for proposal in proposals],
            [len(proposal.tokens) for proposal in proposals],
        )
