"""Prompts that were read before: what a cache held of them is kept, and found again by their first tokens.

Tokens are kept in blocks of a fixed number. A block is known by its tokens and the block before it, so that what is
found are equal tokens from the first one on, and never only an equal hash. What is kept is bounded in bytes: of blocks
that were not asked for longest, the last of a text goes first.
"""

from __future__ import annotations

import weakref
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import cast

import torch

from ..errors import InvalidRequest
from .blocks import Three, size_of
from .cache import Cache
from .contract import Model, masking_of
from .known_states import KnownStates
from .numbers import numbers_of
from .store import Store

Key = tuple[int, tuple[int, ...]]  # the number of the block before it, and its tokens


@dataclass(slots=True, eq=False)
class Block:
    """What a cache held of some tokens after those of the blocks before it."""

    number: int  # never used twice
    slots: Three  # of one row
    holder: tuple[weakref.ref[Cache], int] | None = None  # a cache, and a row of it that held the same of late


LIMIT = 256 << 20  # bytes that an engine keeps where nobody says how many


def prefixes_of(model: Model, limit: int | None) -> Prefixes:
    """An empty memory for what a model reads, of so many bytes at most.

    None: 256 MiB, but nothing where numbers round so coarsely that a prompt read in two pieces may get another answer.
    Nothing is kept of a model that fills masks: there what is held of a token depends on those that come later; nor of
    one that forgets. Raises InvalidRequest where the limit is below 0.
    """
    if limit is not None and limit < 0:
        raise InvalidRequest(f"prefixes are kept in {limit} bytes", hint="0 or more; 0 keeps none")
    if masking_of(model) is not None or getattr(model, "forgets", False):
        return Prefixes(0)
    return Prefixes(limit if limit is not None else 0 if numbers_of(model).rounded else LIMIT)


class Prefixes:
    """What one model made of the beginnings of texts; for models whose tokens see none that come later."""

    def __init__(self, limit: int, size: int = 64) -> None:
        """`limit`: bytes that are kept at most, ≥ 0; 0: nothing is. `size`: tokens of a block, ≥ 1."""
        self.limit = limit
        self.size = size
        self.bytes = 0
        self._states = KnownStates(limit, size)
        self._blocks: dict[Key, Block] = {}  # those first that were not asked for longest
        self._roots: dict[object, int] = {}  # by kind of cache and edits: the number that stands before a first block
        self._made = 0

    def open(self, cache: Store, tokens: Sequence[int], under: Hashable = ()) -> int:
        """A new row that holds as many of the first tokens as are known; `cache.length` says how many.

        Where a row of the same cache holds many of them they are shared with it, else they are copied. Only what was
        remembered `under` the same is known: the edits of a text.
        """
        if not isinstance(cache, Cache):
            return self._states.open(cache, tokens)
        found = self._find(cache, tokens, under)
        if not found:
            return cache.open()
        slots = _joined(list(found.values()))
        row = self._share(cache, list(found.values()), slots)
        if row is None:
            row = cache.open()
            cache.restore(row, slots)
        self._touch(found, cache, row)
        return row

    def remember(self, cache: Store, row: int, tokens: Sequence[int], under: Hashable = ()) -> None:
        """Keep what a row holds of its first tokens, where these stand at their positions from 0 on."""
        if not isinstance(cache, Cache):
            return self._states.remember(cache, row, tokens)
        count = min(len(tokens), cache.length(row)) // self.size
        end = count * self.size
        if not self.limit or cache.following(row, end) != end:
            return
        found = self._find(cache, tokens[:end], under)
        before = next(reversed(found.values())).number if found else self._root(cache, under)
        for at in range(len(found) * self.size, end, self.size):
            key = before, tuple(tokens[at : at + self.size])
            self._made += 1
            block = Block(self._made, cache.save(row, at, at + self.size))
            self.bytes += size_of(block.slots)  # first: where an interrupt comes between, too much is counted
            found[key] = self._blocks[key] = block
            before = self._made
        self._touch(found, cache, row)
        while self.bytes > self.limit and self._blocks:
            self.bytes -= size_of(self._blocks.pop(next(iter(self._blocks))).slots)

    def _find(self, cache: Cache, tokens: Sequence[int], under: Hashable) -> dict[Key, Block]:
        """The blocks that are known of a text, from its first on."""
        found: dict[Key, Block] = {}
        before = self._root(cache, under)
        for at in range(0, len(tokens) - self.size + 1, self.size):
            key = before, tuple(tokens[at : at + self.size])
            if key not in self._blocks:
                break
            found[key] = self._blocks[key]
            before = found[key].number
        return found

    def _root(self, cache: Cache, under: Hashable) -> int:
        return self._roots.setdefault((cache.shape, cache.key_form, under), -1 - len(self._roots))

    def _touch(self, found: dict[Key, Block], cache: Cache, row: int) -> None:
        """Note that these were asked for, and who holds them; a block is never older than those behind it."""
        for key, block in reversed(found.items()):
            block.holder = weakref.ref(cache), row
            self._blocks[key] = self._blocks.pop(key)

    def _share(self, cache: Cache, found: Sequence[Block], slots: Three) -> int | None:
        """A fork of a row that holds these slots bit for bit, where that is worth it."""
        length, sharing = len(found) * self.size, cache.sharing
        holder = found[-1].holder
        if holder is None or holder[0]() is not cache or holder[1] not in cache.rows:
            return None
        row = holder[1]
        if 2 * length < sharing.worth or length < sharing.least or min(cache.lengths(row)) < length:
            return None
        if not all(torch.equal(*each) for each in zip(cache.save(row, 0, length), slots, strict=True)):
            return None
        (copy,) = cache.fork(row, fixed=length)
        cache.truncate(copy, length)
        return copy


def _joined(blocks: Sequence[Block]) -> Three:
    """The slots of blocks, one behind another."""
    return cast(Three, tuple(torch.cat(parts, 3) for parts in zip(*(block.slots for block in blocks), strict=True)))
