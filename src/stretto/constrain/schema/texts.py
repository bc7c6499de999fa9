"""Short texts, one for each way in which patterns can match or not: found by stepping all of them at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from ...errors import InvalidRequest
from ..pattern import LAST, Pattern, Places

MOST = 6_000_000  # places that automata step from
LARGEST = 600  # places of an automaton
LONGEST = 1024  # characters of a text
ANY = "(.|\\n)*"


def texts(patterns: Iterable[str], lengths: Iterable[float]) -> Iterator[str]:
    """Texts, shorter ones first: each matches other patterns than those before it, or is longer than other lengths.

    The patterns are those of ECMA 262 that look for a match anywhere. One that no small automaton reads is passed over.
    """
    known = [each for each in map(_whole, dict.fromkeys(patterns)) if each is not None]
    edges = sorted({int(each) for each in lengths if 0 <= each <= LONGEST})
    letters = _letters(known)
    layer: dict[tuple[Places, ...], str] = {tuple(each.start for each in known): ""}
    passed: set[object] = set()  # where the search was, beyond all of the lengths
    signs: set[object] = set()
    left = MOST
    for size in range(LONGEST + 1):
        over = sum(edge < size for edge in edges)
        fresh = {at: text for at, text in layer.items() if at not in passed}
        passed.update(fresh if over == len(edges) else ())
        layer = {}
        for places, text in fresh.items():
            sign = (over, *(each.done(at) for each, at in zip(known, places, strict=True)))
            if sign not in signs:
                signs.add(sign)
                yield text
            for letter in letters:
                left -= 1 + sum(map(len, places))
                if left < 0:
                    return
                step = tuple(each.step(at, letter) for each, at in zip(known, places, strict=True))
                layer.setdefault(step, text + letter)


def _whole(pattern: str) -> Pattern | None:
    """An automaton of the texts in which a pattern is found; None where there is none."""
    ways = []
    for way in _branches(pattern):
        begun, ended = way.startswith("^"), _ends(way)
        ways.append(f"{ANY * (not begun)}({way[begun : len(way) - ended]}){ANY * (not ended)}")
    try:
        found = Pattern("|".join(ways), empty=True)
    except InvalidRequest:
        return None
    return found if len(found.steps) <= LARGEST else None


def _ends(way: str) -> bool:
    """Whether a pattern ends with an anchor."""
    bare = way[:-1].rstrip("\\")
    return way.endswith("$") and (len(way) - 1 - len(bare)) % 2 == 0


def _branches(pattern: str) -> list[str]:
    """What stands between the bars outside of all groups, but for groups that hold the whole of a branch."""
    found, depth, inside, at = [""], 0, False, 0
    while at < len(pattern):
        piece = pattern[at : at + 1 + (pattern[at] == "\\")]
        inside = piece == "[" or (inside and piece != "]")
        if not inside:
            depth += (piece == "(") - (piece == ")")
        if piece == "|" and not inside and depth == 0:
            found.append("")
        else:
            found[-1] += piece
        at += len(piece)
    groups = [re.fullmatch(r"\((?:\?:)?(\^[^()\\]*\$)\)", each) for each in found]
    return [group[1] if group else each for group, each in zip(groups, found, strict=True)]


def _letters(patterns: Sequence[Pattern]) -> list[str]:
    """A character for each set that no pattern tells apart, a plain one where there is one."""
    ranges = [pair for each in patterns for step in each.steps if step for pair in step[0].ranges]
    edges = {0, ord("a"), ord("0"), ord(" "), 0x7F}
    edges |= {ord(low) for low, _ in ranges} | {ord(high) + 1 for _, high in ranges if high < LAST}
    starts = sorted(edges)
    reads: dict[tuple[bool, ...], str] = {}
    for at in (ord("a"), ord("0"), *starts):
        letter = chr(at)
        if at >= ord(" ") and letter not in '"\\\x7f' and not 0xD800 <= at < 0xE000:
            sign = tuple(step[0].has(letter) for each in patterns for step in each.steps if step)
            reads.setdefault(sign, letter)
    return [*reads.values()]
