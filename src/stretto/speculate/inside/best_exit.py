"""The first layers guess: how many of them, and how far ahead, is chosen by what each would have got right of late."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from ...models.contract import Model, Want
from ...row import Row
from ...tree import ROOT, slot_of
from ..contract import Outcome
from .contract import Choosing, Chosen, Layers

ENTRY = Entry(
    name="del",
    family="heads",
    source="arXiv 2504.05598 (its choice of exit and length; stops within a draft are a planner's, such as confidence)",
    parts="draft(best-exit)+fixed(8)",
    guarantee=Guarantee.EXACT,
    number=45,
    needs=("ranges of layers", "hidden states"),
    confirmed=False,
    summary="exit layer and length of each draft by the measured acceptance of all exits",
    generation="target's parts",
    training="target",
    branch="speculative",
)


@dataclass(frozen=True, slots=True)
class BestExit(Layers):
    """Each round: the exit l and the length d with the most expected tokens for each layer that runs, d · l + L.

    After each round the rows of all layers are read out where the text was right: whether an exit would have said what
    was committed is how often it is believed to be accepted. Length 0, no draft, is among the choices.
    """

    most: int = 8  # tokens ahead, ≥ 1; no more than the planner gives
    fade: float = 0.95  # weight of the past after each round, (0, 1]

    name: ClassVar[str] = "best-exit"

    def __post_init__(self) -> None:
        if self.most < 1 or not 0 < self.fade <= 1:
            raise InvalidRequest(f"best-exit({self.most}, fade={self.fade})", hint="most >= 1 and 0 < fade <= 1")

    def of(self, layers: int) -> tuple[int, ...]:
        return tuple(range(max(1, layers // 2)))

    def begin(self, context: Context) -> Choosing:
        return Measuring(self, context.target)


class Measuring(Choosing):
    """Sees the rows of all exits."""

    def __init__(self, settings: BestExit, target: Model) -> None:
        super().__init__(settings.of(target.layers))
        self.settings, self.target = settings, target
        self.deepest = max(1, target.layers - 1)
        self.exits = tuple(range(1, self.deepest + 1))
        self.want = Want(logits=False, hidden=self.exits)

    def open(self, row: Row) -> Measured:
        return Measured(kept=self.kept, depth=self.settings.most, at=self, hits=[0.0] * len(self.exits))


@dataclass(slots=True, kw_only=True)
class Measured(Chosen):
    """One row's choice, and of how many tokens each exit would have said how many."""

    at: Measuring
    hits: Sequence[float]  # of each exit
    tried: float = 0.0

    def learn(self, row: Row, outcome: Outcome) -> None:
        kept = [ROOT, *outcome.path][: len(outcome.committed)]
        if not outcome.hidden:
            return
        exits, target, settings = self.at.exits, self.at.target, self.at.settings
        slots = [slot_of(node) for node in kept]
        said = target.read_out(torch.stack([outcome.hidden[layers][slots] for layers in exits])).argmax(-1)  # [E, n]
        right = (said == torch.tensor(outcome.committed[: len(kept)], device=said.device)).sum(-1).tolist()
        self.hits = [settings.fade * old + new for old, new in zip(self.hits, right, strict=True)]
        self.tried = settings.fade * self.tried + len(kept)
        rates = {layers: hits / self.tried for layers, hits in zip(exits, self.hits, strict=True)}
        layers, self.depth = best(rates, target.layers, settings.most)
        self.kept = tuple(range(layers))

    def fork(self, row: Row) -> Measured:
        return replace(self)


def best(rates: dict[int, float], layers: int, most: int) -> tuple[int, int]:
    """The exit and the length, 0 to `most`, with the most expected tokens for each layer; of equals the cheapest.

    >>> best({1: 0.4, 2: 0.6, 4: 0.8, 6: 0.9}, 8, 6)
    (2, 2)
    """
    choices = [(first, ahead) for first in rates for ahead in range(most + 1)]

    def worth(choice: tuple[int, int]) -> tuple[float, int, int]:
        first, ahead = choice
        return tokens(rates[first], ahead) / (ahead * first + layers), -ahead * first, -first

    return max(choices, key=worth)


def tokens(rate: float, ahead: int) -> float:
    """How many tokens a round commits, as expected, where each of so many guesses is accepted at a rate."""
    return sum(rate**each for each in range(ahead + 1))
