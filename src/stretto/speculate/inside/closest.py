"""The layers are left out without which the last token comes out nearest to what the whole target makes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest, Unsupported
from ...models.contract import Ability, Want
from ...row import Row
from ...tree import ROOT, slot_of
from ..contract import Outcome
from .contract import Choosing, Chosen, Layers

if TYPE_CHECKING:
    from torch import Tensor

Pass = Callable[[int, "Tensor"], "Tensor"]  # a layer, and rows [n, C] each of which passes through it by itself

ENTRY = Entry(
    name="clasp",
    family="heads",
    source="arXiv 2505.24196",
    parts="draft(closest)+fixed(4)",
    guarantee=Guarantee.EXACT,
    number=123,
    needs=("tree windows", "ranges of layers", "hidden states"),
    summary="which layers guess is chosen anew along the text, by dynamic programming over the rows of its last token",
    generation="target's parts",
    branch="speculative",
)


@dataclass(frozen=True, slots=True)
class Closest(Layers):
    """Leave so many layers out: those without which the last verified token's row ends nearest, by cosine, to its own.

    Chosen anew every few rounds, which costs about a forward of one token. Until the first choice the last layers but
    one are left out. The first layer stays.
    """

    skip: int = 1  # layers left out, ≥ 1
    every: int = 4  # rounds from one choice to the next, ≥ 1

    name: ClassVar[str] = "closest"
    needs: ClassVar[Ability] = Ability.LAYERS | Ability.HIDDEN | Ability.TREE

    def __post_init__(self) -> None:
        if self.skip < 1 or self.every < 1:
            raise InvalidRequest(f"closest({self.skip}, every={self.every})", hint="skip >= 1 and every >= 1")

    def of(self, layers: int) -> tuple[int, ...]:
        if self.skip > layers - 2:
            raise Unsupported(
                f"closest({self.skip}) leaves less than two of {layers} layers", hint="leave out fewer, or use first(1)"
            )
        return (*range(layers - 1 - self.skip), layers - 1)

    def begin(self, context: Context) -> Choosing:
        return Comparing(self, self.of(context.target.layers), context.target.layers)


class Comparing(Choosing):
    """Sees the rows of all layers."""

    def __init__(self, settings: Closest, kept: tuple[int, ...], layers: int) -> None:
        super().__init__(kept)
        self.settings = settings
        self.deepest = layers
        self.want = Want(logits=False, hidden=tuple(range(1, layers + 1)))

    def open(self, row: Row) -> Compared:
        return Compared(kept=self.kept, settings=self.settings)


@dataclass(slots=True, kw_only=True)
class Compared(Chosen):
    """One row's choice, and the rows of its last verified token once it is due for another one."""

    settings: Closest
    rounds: int = 0  # since the last choice
    rows: Sequence[Tensor] = ()  # [C] that left layers 0, 1, …

    def learn(self, row: Row, outcome: Outcome) -> None:
        kept = [ROOT, *outcome.path][: len(outcome.committed)]
        whole = len(kept) == len(outcome.committed)  # else the newest that was verified is not among them
        self.rounds += 1
        self.due = whole and bool(outcome.hidden) and (not self.rows or self.rounds >= self.settings.every)
        if self.due:
            self.rows = [outcome.hidden[layer][slot_of(kept[-1])] for layer in sorted(outcome.hidden)]

    def settle(self, through: Pass) -> None:
        self.kept = nearest(self.rows, self.settings.skip, through)
        self.rounds, self.due = 0, False

    def fork(self, row: Row) -> Compared:
        return replace(self)


def nearest(rows: Sequence[Tensor], skip: int, through: Pass) -> tuple[int, ...]:
    """The layers that are kept, all but `skip`, so that the first row comes near to the last.

    `rows` [C] have left layers 0, 1, …, L - 1. Of the ways to a layer with equally many left out the nearest goes on,
    which need not be the best in the end.
    """
    ways: list[tuple[Tensor, tuple[int, ...]]] = [(rows[0], (0,))]  # by how many are left out: row and kept layers
    for layer, whole in enumerate(rows[1:], start=1):
        passed = through(layer, torch.stack([row for row, _ in ways]))
        found: list[tuple[Tensor, tuple[int, ...]]] = []
        for out in range(min(skip, len(ways)) + 1):
            choices = [(passed[out], (*ways[out][1], layer))] if out < len(ways) else []
            choices += [ways[out - 1]] if out else []
            found.append(max(choices, key=lambda way: _near(way[0], whole)))
        ways = found
    return ways[skip][1]


def _near(row: Tensor, other: Tensor) -> float:
    return float(torch.cosine_similarity(row.float(), other.float(), 0))
