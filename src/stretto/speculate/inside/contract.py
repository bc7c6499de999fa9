"""Which layers of the target guess: as settings (`Layers`), in one decode (`Choosing`), for one row (`Chosen`).

They stand where a drafter takes a small model: `draft(first(4))`, `draft-tree(model=skip(2,3))`.

>>> @dataclass(frozen=True)
... class Odd(Layers):
...     name: ClassVar[str] = "odd"
...     def of(self, layers):
...         return (0, *range(1, layers, 2))
>>> Odd().of(6)  # beside the first one, which reads the tokens
(0, 1, 3, 5)
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ...context import Context
from ...errors import Unsupported
from ...models.contract import NOTHING, Ability, Want
from ...row import Row
from ...values import Checked
from ..contract import Outcome

if TYPE_CHECKING:
    from torch import Tensor

ENDLESS = 1 << 20


@dataclass(slots=True)
class Chosen:
    """Which layers guess for one row in the coming round, and how deep."""

    kept: tuple[int, ...]  # counted from 0, ascending; 0 is among them
    depth: int = ENDLESS
    due: bool = False  # whether it is to be settled anew before the next draft

    def settle(self, through: Callable[[int, Tensor], Tensor]) -> None:
        """Choose anew. `through` lets rows [n, C] pass through a layer, not the first: each by itself, as if it were
        the newest token's that the target has read."""

    def learn(self, row: Row, outcome: Outcome) -> None:
        """What the target made of the round; the row's history holds the committed tokens already."""

    def fork(self, row: Row) -> Chosen:
        """The same for `row`, whose history is a copy; here, where nothing is learnt, this one."""
        return self


class Choosing:
    """A choice of layers at work in one decode; the base chooses the same for all rows and rounds."""

    want: Want = NOTHING  # of every node of a round, in `Outcome`

    def __init__(self, kept: tuple[int, ...]) -> None:
        self.kept = kept
        self.deepest = kept[-1] + 1  # layers up to the last one that ever guesses

    def open(self, row: Row) -> Chosen:
        """The choice for a row."""
        return Chosen(self.kept)


class Layers(metaclass=Checked):
    """Says which layers of the target guess; the others are left out, and the last one is read by the target's head."""

    name: ClassVar[str]
    kind: ClassVar[str] = "layers"
    needs: ClassVar[Ability] = Ability.LAYERS | Ability.HIDDEN

    @abstractmethod
    def of(self, layers: int) -> tuple[int, ...]:
        """Those of a target of L layers that guess, or guess at first. Raises Unsupported where it has too few."""

    def begin(self, context: Context) -> Choosing:
        """Start work in one decode. Raises Unsupported where they cannot serve this target."""
        return Choosing(self.of(context.target.layers))


def too_few(part: str, layers: int) -> Unsupported:
    """The error for a target that lacks layers that a part names."""
    return Unsupported(f"{part} names more layers than the target has: {layers}", hint=f"layers 0 to {layers - 1}")
