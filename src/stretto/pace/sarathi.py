"""Sarathi-Serve: a budget of tokens for each round, of which prompts get what the rows that run leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from ..entry import Entry, Guarantee
from ..errors import InvalidRequest
from ..models.clock import Clock
from ..row import Row
from .contract import Pace

ENTRY = Entry(
    name="sarathi-serve",
    family="pace",
    source="arXiv 2403.02310",
    parts="",
    guarantee=Guarantee.EXACT,
    number=262,
    summary="rounds of a bounded number of tokens: no answer stalls while prompts are read",
    command="stretto serve --round-tokens 512",
    system="batched serving",
)


@dataclass(frozen=True, slots=True)
class Sarathi(Pace):
    """Every row that runs takes its step; chunks of prompts fill the round up to `budget`.

    A row takes what it took on average so far: one token, and those that were drafted for it. Where the rows take the
    whole budget, prompts wait until one ends.

    >>> Sarathi(256)
    Sarathi(budget=256)
    """

    budget: int = 512  # tokens of a round, prompts' and answers' together, >= 1

    def __post_init__(self) -> None:
        if self.budget < 1:
            raise InvalidRequest(f"a round of {self.budget} tokens", hint="1 or more")

    def tokens(self, clock: Clock, rows: Sequence[Row]) -> int:
        counted = [row.counters for row in rows]
        steps = sum(each.token_forwards / each.row_forwards if each.row_forwards else 1 for each in counted)
        return max(0, self.budget - ceil(steps))
