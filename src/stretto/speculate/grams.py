"""What followed the last one, two, three … tokens of texts, counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Generic, TypeVar

FEW = 8  # followers that are remembered of a context: the latest
MIX, MASK = 0x9E3779B97F4A7C15, (1 << 61) - 1  # contexts are told apart by 61 bits; a mistaken one costs a guess

Counts = tuple[int, tuple[tuple[int, int], ...]]  # how many followed, and the latest of them: (token, how often)
Kept = TypeVar("Kept")


class Bounded(Generic[Kept]):
    """A table of two generations: when the newer one holds `capacity` keys, the older is forgotten.

    What is looked up in the older one and stands there comes over into the newer.
    """

    def __init__(self, capacity: int) -> None:
        """`capacity` is in keys, ≥ 1: so many are kept at least, and at most twice as many."""
        self._capacity = capacity
        self._newer: dict[int, Kept] = {}
        self._older: dict[int, Kept] = {}

    def __len__(self) -> int:
        return len(self._newer.keys() | self._older.keys())

    def find(self, key: int) -> Kept | None:
        """What stands at a key."""
        found = self._newer.get(key)
        if found is None and (found := self._older.get(key)) is not None:
            self.put(key, found)
        return found

    def put(self, key: int, value: Kept) -> None:
        """Let a value stand at a key."""
        if len(self._newer) >= self._capacity and key not in self._newer:
            self._newer, self._older = {}, self._newer
        self._newer[key] = value

    def copy(self) -> Bounded[Kept]:
        twin: Bounded[Kept] = Bounded(self._capacity)
        twin._newer, twin._older = self._newer.copy(), self._older  # the older one is replaced, never written
        return twin


def keys(context: Iterable[int]) -> Iterator[int]:
    """A key for each of the contexts of 1, 2, 3 … tokens; `context` begins with the latest token."""
    key = 0
    for token in context:
        key = ((key + token + 1) * MIX) & MASK
        yield key


class Grams:
    """Which tokens followed the contexts of 1 … `orders` tokens. Values are never changed, so that a copy is cheap."""

    def __init__(self, orders: int, capacity: int) -> None:
        """`capacity` is in contexts, see `Bounded`."""
        self.orders = orders
        self._table: Bounded[int | Counts] = Bounded(capacity)  # what followed once stands as it is

    def add(self, tokens: Sequence[int], at: int) -> None:
        """Count that `tokens[at]` followed those before it."""
        follower, find, put = tokens[at], self._table.find, self._table.put
        for key in keys(tokens[max(0, at - self.orders) : at][::-1]):
            seen = find(key)
            put(key, follower if seen is None else _counted(seen, follower))

    def after(self, context: Sequence[int]) -> list[Counts]:
        """What followed the contexts of 1, 2, 3 … tokens, as far as they were seen; the latest token comes first."""
        found: list[Counts] = []
        for key in keys(context[: self.orders]):
            seen = self._table.find(key)
            if seen is None:
                break
            found.append((1, ((seen, 1),)) if isinstance(seen, int) else seen)
        return found

    def copy(self) -> Grams:
        twin = Grams(self.orders, 1)
        twin._table = self._table.copy()
        return twin


def _counted(seen: int | Counts, follower: int) -> Counts:
    """The counts with one follower more, which comes first."""
    total, counts = (1, ((seen, 1),)) if isinstance(seen, int) else seen
    often = 1
    for token, count in counts:
        if token == follower:
            often += count
    return total + 1, ((follower, often), *[each for each in counts if each[0] != follower][: FEW - 1])
