"""A store for networks that hold one state per row instead of keys and values: state spaces, linear attention.

A state tells nothing of the tokens it was made of, so going back means having kept an earlier one. After each window
the states behind all of its slots are there, branches of a tree included; of older ones the newest few stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ..errors import Unsupported

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(slots=True)
class Kept:
    """A row: tensors are never written again, so that forks may hold the same."""

    states: Tensor  # [n, *state]; the first is that after `oldest` tokens, each further one after one token more
    oldest: int
    positions: list[int]  # of all tokens


class Recurrent:
    """The states of rows, and how to go back."""

    edits = False

    def __init__(self, start: Tensor, snapshots: int = 16) -> None:
        """`start` [*state]: the state before any token. `snapshots`: earlier states that a row keeps, ≥ 0."""
        self.rows: list[int] = []
        self._start = start[None]
        self._snapshots = snapshots
        self._kept: dict[int, Kept] = {}
        self._next_row = 0

    def open(self) -> int:
        return self._add(Kept(self._start, 0, []))

    def reserve(self, rows: int) -> None:
        """Rows take nothing before they are read."""

    def free(self, row: int) -> None:
        del self._kept[row]
        place, moved = self.rows.index(row), self.rows.pop()
        if moved != row:
            self.rows[place] = moved

    def fork(self, row: int, count: int = 1, fixed: int | None = None) -> list[int]:
        kept = self._kept[row]
        return [self._add(Kept(kept.states, kept.oldest, kept.positions.copy())) for _ in range(count)]

    def place_of(self, row: int) -> int:
        return self.rows.index(row)

    def length(self, row: int, layer: int = 0) -> int:
        return len(self._kept[row].positions)

    def position(self, row: int, slot: int) -> int:
        return self._kept[row].positions[slot]

    def following(self, row: int, slots: int | None = None) -> int:
        held = self._kept[row].positions[:slots]
        return held[-1] + 1 if held else 0

    def undoes(self, row: int) -> int:
        return len(self._kept[row].states) - 1

    def truncate(self, row: int, length: int, first: int = 0) -> None:
        if first:
            raise Unsupported("a state is of all layers of a row", hint="drop tokens of all layers")
        self.keep(row, min(length, self.length(row)), [])

    def keep(self, row: int, start: int, slots: Sequence[int]) -> None:
        kept = self._kept[row]
        if start < kept.oldest:
            raise Unsupported(
                f"a row goes back {self.undoes(row)} tokens, not {self.length(row) - start}",
                hint="draft fewer tokens at a time, or keep more snapshots",
            )
        lengths = [*range(kept.oldest, start + 1), *(slot + 1 for slot in slots)]
        if lengths != list(range(kept.oldest, self.length(row) + 1)):
            kept.states = kept.states[[length - kept.oldest for length in lengths]]
            kept.positions = [*kept.positions[:start], *(kept.positions[slot] for slot in slots)]

    def bytes(self) -> int:
        held = {id(kept.states): kept.states for kept in self._kept.values()}
        return sum(states.numel() * states.element_size() for states in held.values())

    # -- used by models -------------------------------------------------------------------------

    def state(self, row: int) -> Tensor:
        """After all tokens of a row: [*state]."""
        return self._kept[row].states[-1]

    def append(self, row: int, states: Tensor, positions: Sequence[int]) -> None:
        """The states [n, *state] behind further tokens of a row, and where these stand [n].

        In a tree the state behind a slot is that behind its own path.
        """
        kept = self._kept[row]
        gone = max(0, len(kept.states) - 1 - self._snapshots)
        kept.states = torch.cat([kept.states[gone:], states])
        kept.oldest += gone
        kept.positions.extend(positions)

    def _add(self, kept: Kept) -> int:
        row = self._next_row
        self._next_row += 1
        self._kept[row] = kept
        self.rows.append(row)
        return row
