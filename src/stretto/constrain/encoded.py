"""Patterns over bytes: the same texts as a pattern over characters, as UTF-8 spells them.

A byte stands as the character of that number, so that whatever steps patterns steps these as well.
"""

from __future__ import annotations

from collections.abc import Iterator

from .lexicon import Language
from .pattern import Chars, Pattern

LENGTHS = ((0, 0x7F), (0x80, 0x7FF), (0x800, 0xD7FF), (0xE000, 0xFFFF), (0x10000, 0x10FFFF))  # 1, 2, 3, 3, 4 bytes
LOW, HIGH = 0x80, 0xBF  # of a byte that goes on with a character


def in_bytes(pattern: Pattern) -> Pattern:
    """The pattern over bytes. Places that lead to no match are cut off; nothing is left of one that matches nothing."""
    found: Pattern = object.__new__(Pattern)
    found.source, found.empty, found.end, found._known = pattern.source, pattern.empty, pattern.end, {}
    found.silent = [list(others) for others in pattern.silent]
    found.steps = [None] * len(pattern.steps)
    live = _live(pattern)
    for place, step in enumerate(pattern.steps):
        if step is not None and step[1] in live:
            for sequence in _sequences(step[0]):
                _lay(found, place, sequence, step[1])
    found.start = found._near(set(pattern.start)) if pattern.start & live else frozenset()
    return found


def language_in_bytes(language: Language) -> Language:
    """The language over bytes."""
    patterns = {name: in_bytes(pattern) for name, pattern in language.patterns.items()}
    return Language(language.grammar, patterns, language.skipped)


def as_characters(piece: bytes) -> str:
    """Bytes as what stands for them here."""
    return piece.decode("latin-1")


def _lay(pattern: Pattern, place: int, sequence: list[tuple[int, int]], target: int) -> None:
    """A way of its own from a place to another, under one byte after the other."""
    for at, (low, high) in enumerate(sequence):
        pattern.silent.append([])
        pattern.steps.append(None)
        fresh = len(pattern.steps) - 1
        if at == 0:
            pattern.silent[place].append(fresh)
        last = at == len(sequence) - 1
        pattern.steps[fresh] = (Chars(((chr(low), chr(high)),)), target if last else fresh + 1)


def _live(pattern: Pattern) -> set[int]:
    """The places from which a match can be reached."""
    before: dict[int, set[int]] = {}
    for place, others in enumerate(pattern.silent):
        for other in others:
            before.setdefault(other, set()).add(place)
    for place, step in enumerate(pattern.steps):
        if step is not None and _codes(step[0]):
            before.setdefault(step[1], set()).add(place)
    found, left = {pattern.end}, [pattern.end]
    while left:
        fresh = before.get(left.pop(), set()) - found
        found |= fresh
        left += fresh
    return found


def _codes(chars: Chars) -> list[tuple[int, int]]:
    """The characters' numbers, as ascending ranges."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted((ord(low), ord(high)) for low, high in chars.ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(merged[-1][1], high)
        elif low <= high:
            merged.append((low, high))
    if not chars.out:
        return merged
    edges = [-1, *(edge for each in merged for edge in each), 0x110000]
    gaps = zip(edges[::2], edges[1::2], strict=True)
    return [(low + 1, high - 1) for low, high in gaps if low + 1 <= high - 1]


def _sequences(chars: Chars) -> Iterator[list[tuple[int, int]]]:
    """Ranges of bytes, one behind the other, that spell the characters."""
    for low, high in _codes(chars):
        for first, last in LENGTHS:
            if max(low, first) <= min(high, last):
                yield from _between(chr(max(low, first)).encode(), chr(min(high, last)).encode())


def _between(low: bytes, high: bytes) -> Iterator[list[tuple[int, int]]]:
    """The same from one spelling to another of the same length."""
    rest = len(low) - 1
    if not rest:
        yield [(low[0], high[0])]
    elif low[0] == high[0]:
        yield from ([(low[0], low[0]), *each] for each in _between(low[1:], high[1:]))
    else:
        least, most = bytes([LOW] * rest), bytes([HIGH] * rest)
        first, last = low[0], high[0]
        if low[1:] != least:
            yield from ([(first, first), *each] for each in _between(low[1:], most))
            first += 1
        if high[1:] != most:
            yield from ([(last, last), *each] for each in _between(least, high[1:]))
            last -= 1
        if first <= last:
            yield [(first, last), *[(LOW, HIGH)] * rest]
