"""Prompts that were read before, for rows that hold a state: it is kept whole, and found where a text begins alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .recurrent import Recurrent, bytes_of
from .store import Store


class KnownStates:
    """States after texts, the one first that was not asked for longest."""

    def __init__(self, limit: int, least: int) -> None:
        """`limit`: bytes that are kept at most, ≥ 0; 0: nothing is. `least`: tokens of a text that is worth it, ≥ 1."""
        self.limit = limit
        self.least = least
        self._kept: dict[tuple[int, ...], tuple[Any, int]] = {}  # by text: the state, and its bytes

    @property
    def bytes(self) -> int:
        """What is kept."""
        return sum(size for _, size in self._kept.values())

    def open(self, cache: Store, tokens: Sequence[int]) -> int:
        """A new row that holds the longest known text that these tokens begin with."""
        text = max((text for text in self._kept if text == tuple(tokens[: len(text)])), key=len, default=())
        if not text or not isinstance(cache, Recurrent):
            return cache.open()
        self._kept[text] = self._kept.pop(text)
        return cache.begin(text, self._kept[text][0])

    def remember(self, cache: Store, row: int, tokens: Sequence[int]) -> None:
        """Keep the state of a row after a text that stands at its positions from 0 on."""
        if not self.limit or len(tokens) < self.least or not isinstance(cache, Recurrent):
            return
        text, (state, unread) = tuple(tokens), cache.state(row)
        if state is None or unread or not cache.length(row) == cache.following(row) == len(text):
            return
        self._kept.pop(text, None)
        self._kept[text] = state, bytes_of([state])
        while self.bytes > self.limit:
            del self._kept[next(iter(self._kept))]
