"""What drafters that are made of other drafters have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

from ..models.contract import Evaluation, Want
from ..row import Row
from ..tree import Tree
from .contract import Drafting, DraftSession, Outcome, Room


class CompositeDrafting(Drafting):
    """A drafter that is made of others, the `draftings`: it wants what they want."""

    def __init__(
        self, identity: object, open_session: Callable[[Row], DraftSession], draftings: Sequence[Drafting]
    ) -> None:
        super().__init__(identity, open_session)
        self.draftings = draftings
        self.want = reduce(Want.__or__, (drafting.want for drafting in draftings))
        self.of_prompt = reduce(Want.__or__, (drafting.of_prompt for drafting in draftings))


class CompositeSession(DraftSession):
    """One row's sessions of several drafters. Each learns the outcome of the whole tree."""

    def __init__(self, drafting: CompositeDrafting, parts: list[DraftSession]) -> None:
        self.drafting = drafting
        self.parts = parts

    def prime(self, evaluation: Evaluation, start: int) -> None:
        for part, drafting in zip(self.parts, self.drafting.draftings, strict=True):
            if drafting.of_prompt:  # else it was computed for another
                part.prime(evaluation, start)

    def knows(self, tokens: Sequence[int]) -> bool:
        told = zip(self.parts, self.drafting.draftings, strict=True)
        return all(part.knows(tokens) for part, drafting in told if drafting.of_prompt)

    def propose(self, room: Room) -> Tree:
        return self.drafting.propose([self], [room])[0]

    def advance(self, outcome: Outcome) -> None:
        for part in self.parts:
            part.advance(outcome)

    def fork(self, row: Row) -> DraftSession:
        return type(self)(self.drafting, [part.fork(row) for part in self.parts])

    def close(self) -> None:
        for part in self.parts:
            part.close()
