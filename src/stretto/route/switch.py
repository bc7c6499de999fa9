"""Two models take turns: each next token is written by one of them, whoever the row's pen says.

A part that switches gives a `Pen` and nothing else: when the second model writes, and what it learns from each
token. The model that has the turn first reads what the other wrote, by one forward on its own cache.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Self

from ..context import Context
from ..models.contract import Model
from ..models.store import Store
from ..row import Row
from ..steer.choice import choose
from ..steer.nodes import Nodes
from ..steer.path import Path
from .contract import Routing, Writing
from .reader import Reader, Reading

if TYPE_CHECKING:
    from torch import Tensor

OWN, SECOND = 0, 1


class Pen(ABC):
    """Who writes one row's next token."""

    @abstractmethod
    def second(self, written: int) -> bool:
        """Whether the second model writes the next token, after `written` tokens of the answer."""

    def learn(self, entropy: float) -> None:
        """The entropy in nats, before temperature and steers, of the model that wrote the newest token."""

    @abstractmethod
    def fork(self) -> Self:
        """An independent copy."""


class Switching(Routing):
    """Both models keep a cache of every row; only the one that writes is evaluated."""

    def __init__(self, context: Context, cache: Store, model: Model, name: str, pen: Callable[[], Pen]) -> None:
        """`name` is what the trace calls the second model; `pen` makes the pen of a new row."""
        vocabulary = context.target.vocabulary
        self.readers = (
            Reader(context.target, cache, vocabulary),
            Reader(model, model.new_cache(), vocabulary),
        )
        self.readings: dict[Row, tuple[Reading, Reading]] = {}
        self._names = ("", name)
        self._new_pen = pen
        self._pens: dict[Row, Pen] = {}

    def open(self, row: Row) -> int:
        own, second = self.readers
        readings = (own.open(row, row.cache_row), second.open(row))
        self.readings[row] = readings
        self._pens[row] = self._new_pen()
        return min(own.room(readings[OWN]), second.room(readings[SECOND]))

    def fork(self, row: Row, copy: Row) -> None:
        own, second = self.readings[row]
        forks = self.readers[OWN].fork(own, copy, copy.cache_row), self.readers[SECOND].fork(second, copy)
        self.readings[copy] = forks
        self._pens[copy] = self._pens[row].fork()

    def texts(self, row: Row) -> Sequence[tuple[Reader, Reading]]:
        return list(zip(self.readers, self.readings[row], strict=True))

    def close(self, row: Row) -> None:
        if row in self.readings:
            self.readers[SECOND].close(self.readings.pop(row)[SECOND])
            self._pens.pop(row, None)

    def write(self, rows: Sequence[Row]) -> list[Writing]:
        written = {row: len(row.history.tokens) - row.history.prompt_length for row in rows}
        turns = {row: SECOND if self._pens[row].second(written[row]) else OWN for row in rows}
        writings: dict[Row, Writing] = {}
        for turn in (OWN, SECOND):
            mine = [row for row in rows if turns[row] == turn]
            if mine:
                writings.update(zip(mine, self._write(mine, turn), strict=True))
        return [writings[row] for row in rows]

    def settle(self, row: Row) -> None:
        """One token a round is always kept, and it is in no cache yet."""

    def _write(self, rows: Sequence[Row], turn: int) -> list[Writing]:
        """One token for each row, all by one model."""
        read = self.readers[turn].read([self.readings[row][turn] for row in rows])
        logits = read.logits[:, 0]  # [B, V]
        choices = choose(Nodes([Path(row.history) for row in rows], logits), [row.rule for row in rows])
        for row, entropy in zip(rows, entropies(logits), strict=True):
            self._pens[row].learn(entropy)
        return [
            Writing(
                [choices.tokens[at]],
                [self._names[turn]],
                [logits[at]],
                [choices.steered[at]],
                forwards=[read.slots[at]] if turn == OWN else [],
                calls=int(turn == SECOND),
            )
            for at in range(len(rows))
        ]


def entropies(logits: Tensor) -> list[float]:
    """Shannon entropy in nats of each row of logits [N, V]."""
    logarithms = logits.log_softmax(-1)
    probabilities = logarithms.exp()
    terms = probabilities * logarithms.where(probabilities > 0, 0.0)  # 0 ln 0 = 0
    values: list[float] = terms.sum(-1).neg().tolist()
    return values
