"""A store for networks that hold a state of a whole row: state spaces, linear attention, whatever a module hands back.

A state tells nothing of the tokens it was made of, so a row has its tokens beside a few of its states. Going back is
free: a row returns to the newest state that is not too new, and the tokens behind that one are read once more, together
with the next window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import torch

from ..errors import Unsupported

if TYPE_CHECKING:
    from torch import Tensor

APART = 16  # tokens between earlier states that a row keeps: going back reads about as many once more
EARLIER = 2  # so many of these it keeps, beside the one that the last window began with


@dataclass(slots=True)
class Kept:
    """A row: states are never written again, so that forks may hold the same."""

    tokens: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    states: list[tuple[int, Any]] = field(default_factory=list)  # after so many tokens, ascending; none before any

    def copy(self) -> Kept:
        return Kept(self.tokens.copy(), self.positions.copy(), self.states.copy())


class Recurrent:
    """The states of rows, and how to go back."""

    edits, span = False, 1 << 30

    def __init__(self, needs: Callable[[int], int] = lambda slots: 0) -> None:
        """`needs`: the bytes that a row of so many tokens takes."""
        self.rows: list[int] = []
        self._again: dict[int, int] = {}
        self.again: Mapping[int, int] = self._again
        self._needs = needs
        self._kept: dict[int, Kept] = {}
        self._next_row = 0

    def open(self) -> int:
        return self._add(Kept())

    def reserve(self, rows: int) -> None:
        """Rows take nothing before they are read."""

    def free(self, row: int) -> None:
        del self._kept[row]
        self._again.pop(row, None)
        place, moved = self.rows.index(row), self.rows.pop()
        if moved != row:
            self.rows[place] = moved

    def fork(self, row: int, count: int = 1, fixed: int | None = None) -> list[int]:
        return [self._add(self._kept[row].copy()) for _ in range(count)]

    def place_of(self, row: int) -> int:
        return self.rows.index(row)

    def length(self, row: int, layer: int = 0) -> int:
        return len(self._kept[row].tokens)

    def position(self, row: int, slot: int) -> int:
        return self._kept[row].positions[slot]

    def following(self, row: int, slots: int | None = None) -> int:
        held = self._kept[row].positions[:slots]
        return held[-1] + 1 if held else 0

    def undoes(self, row: int) -> int:
        return self.length(row)

    def truncate(self, row: int, length: int, first: int = 0) -> None:
        if first:
            raise Unsupported("a state is of all layers of a row", hint="drop tokens of all layers")
        self.keep(row, min(length, self.length(row)), [])

    def rewind(self, row: int, position: int) -> None:
        self.truncate(row, self.length(row) - max(0, self.following(row) - position))

    def keep(self, row: int, start: int, slots: Sequence[int]) -> None:
        kept = self._kept[row]
        alike = start + sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], enumerate(slots, start)))
        kept.states = [state for state in kept.states if state[0] <= alike]
        for held in (kept.tokens, kept.positions):
            held[start:] = [held[slot] for slot in slots]

    def needs(self, slots: int) -> int:
        return self._needs(slots)

    def bytes(self) -> int:
        held = {id(state): state for kept in self._kept.values() for _, state in kept.states}
        return bytes_of(held.values())

    def begin(self, tokens: Sequence[int], state: Any) -> int:
        """A new row of these tokens at their positions from 0 on, with the state after them."""
        return self._add(Kept(list(tokens), [*range(len(tokens))], [(len(tokens), state)]))

    # -- used by models -------------------------------------------------------------------------

    def state(self, row: int) -> tuple[Any, list[int]]:
        """The newest state of a row (None: that before any token), and the tokens that it has not read."""
        kept = self._kept[row]
        length, state = kept.states[-1] if kept.states else (0, None)
        return state, kept.tokens[length:]

    def read(self, row: int, state: Any) -> None:
        """The state after all tokens of a row."""
        kept = self._kept[row]
        kept.states.append((len(kept.tokens), state))

    def append(
        self, row: int, tokens: Sequence[int], positions: Sequence[int], states: Sequence[Any], again: int = 0
    ) -> None:
        """Further tokens [n] of a row, where they stand [n], and the states behind the last m ≤ n of them.

        Of older states a few stay, and the newest of them in any case. `again`: so many were read once more.
        """
        kept = self._kept[row]
        self._again[row] = again
        kept.states = _thin(kept.states)
        kept.tokens.extend(tokens)
        kept.positions.extend(positions)
        first = len(kept.tokens) - len(states) + 1
        kept.states.extend(enumerate(states, first))

    def _add(self, kept: Kept) -> int:
        row = self._next_row
        self._next_row += 1
        self._kept[row] = kept
        self.rows.append(row)
        return row


def _thin(states: Sequence[tuple[int, Any]]) -> list[tuple[int, Any]]:
    """The newest, and before it the last few that lie far enough apart."""
    apart: list[tuple[int, Any]] = []
    for state in states[:-1]:
        if not apart or state[0] - apart[-1][0] >= APART:
            apart.append(state)
    return [*apart[-EARLIER:], *states[-1:]]


def tensors_in(held: Any) -> Iterator[Tensor]:
    """All tensors in a state: within lists, tuples, dictionaries and objects; one that is there twice comes twice."""
    if isinstance(held, torch.Tensor):
        yield held
    elif isinstance(held, dict):
        for each in held.values():
            yield from tensors_in(each)
    elif isinstance(held, list | tuple):
        for each in held:
            yield from tensors_in(each)
    elif hasattr(held, "__dict__") and not isinstance(held, type):
        yield from tensors_in(vars(held))


def bytes_of(states: Iterable[Any]) -> int:
    """Memory that states take; what they share counts once."""
    storages: dict[int, torch.UntypedStorage] = {}
    for state in states:
        storages |= {each.untyped_storage().data_ptr(): each.untyped_storage() for each in tensors_in(state)}
    return sum(storage.nbytes() for storage in storages.values())
