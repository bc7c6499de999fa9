"""What must be true of whatever holds the tokens that a model has read.

A store has rows, one for each text, and a row has slots, one for each token. Slots are numbered from 0 in each row; the
position of a token is another number, which its slot carries: where tokens were dropped the two differ. Who evaluates a
window appends its tokens; whoever drafted keeps those that were accepted. After any sequence of these operations a row
holds what a fresh reading of the same tokens at the same positions would have given (`tests/laws/test_cache.py`).

There are two kinds. `Cache` holds keys and values of every token, drops any of them, and shares those that rows have in
common. `Recurrent` holds what a network with a state per row makes of all tokens together, and a few earlier states,
from which tokens are read once more where a row went back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable


@runtime_checkable
class Store(Protocol):
    """Rows of evaluated tokens. What a model writes and reads of them is between the store and its models."""

    edits: bool  # whether `keep` may drop tokens that those behind them have seen; else only other branches of a tree
    again: Mapping[int, int]  # row -> how many tokens of it were read once more with its last window; else none
    span: int  # how far behind its first token others of a window may stand
    rows: list[int]  # those that are open, in the order in which a batch is read without copying

    def open(self) -> int:
        """A new, empty row: a number that is never given again."""
        ...

    def reserve(self, rows: int) -> None:
        """So many rows are about to be open."""
        ...

    def free(self, row: int) -> None:
        """Drop a row. What only it held is given back; the last of `rows` comes in its place."""
        ...

    def fork(self, row: int, count: int = 1, fixed: int | None = None) -> list[int]:
        """`count` new rows that begin as copies; they share what they can for as long as they do not differ.

        `fixed`: so many of the first slots are never dropped again; None: all.
        """
        ...

    def place_of(self, row: int) -> int:
        """Where a row stands in `rows`."""
        ...

    def length(self, row: int, layer: int = 0) -> int:
        """How many tokens a layer holds of a row: a row's layers may hold unlike numbers, and rows do."""
        ...

    def position(self, row: int, slot: int) -> int:
        """The position of the token in a slot."""
        ...

    def following(self, row: int, slots: int | None = None) -> int:
        """The position that follows the first so many slots; None: all."""
        ...

    def undoes(self, row: int) -> int:
        """How many of its last tokens a row can drop. After each evaluation these are those of the window at least."""
        ...

    def truncate(self, row: int, length: int, first: int = 0) -> None:
        """Drop what layers from `first` on hold beyond a length. Raises Unsupported where a store cannot."""
        ...

    def rewind(self, row: int, position: int) -> None:
        """Drop the last tokens of a row, as many as stand at `position` or behind it. Raises as `truncate` does."""
        ...

    def keep(self, row: int, start: int, slots: Sequence[int]) -> None:
        """Of the slots from `start` on keep only these, ascending, and number them anew. Raises as `truncate` does."""
        ...

    def needs(self, slots: int) -> int:
        """Bytes that a row of so many tokens takes, about."""
        ...

    def bytes(self) -> int:
        """Memory that is really taken; what rows share counts once."""
        ...
