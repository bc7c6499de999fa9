"""Whether any valid whole begins with a JSON text, under masks and a judge.

It is looked for byte by byte: every tokenizer here can spell every byte, so what bytes reach tokens reach, and the
other way round. What closes comes first. That there is no way on is proven, or not said: where more would have to be
looked at than `MOST` places, there may be one. What was found out serves whoever asks next, and costs it as many places
as it took, so that no answer depends on what was asked before.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from threading import Lock

import numpy as np

from ..guidance import BYTES, Matching
from .judge import Judge
from .reader import Point, read

MOST = 64  # places that are looked at for one mask
KEPT = 10_000  # texts of which it is known what is behind them
FIRST = b'"]}0123456789abcdefghijklmnopqrstuvwxyz[{,:'  # what is tried first
ORDER = np.array(sorted(range(256), key=lambda byte: (FIRST.find(byte) % 999, byte)))
SPACED = re.compile(rb'("(?:[^"\\]|\\.)*"?)|[ \t\r\n]+', re.DOTALL)  # texts, or white space between them


class Ahead:
    """The search under one schema; what it finds out serves all rows."""

    def __init__(self, start: Matching, judge: Judge, spaces: bool) -> None:
        self._matching = start  # byte by byte, without white space
        self._judge = judge
        self._spaces = spaces  # whether there may be some in the texts that are asked about
        self._text = b""  # where the matching stands
        self._points = [Point()]  # behind each byte; that of the start first
        self._known: dict[tuple[bytes, bool], tuple[bool | None, int]] = {}  # what was found, and the places it took
        self._left = 0  # places that may still be looked at
        self._lock = Lock()  # some drafters work in a thread of their own

    def lead_on(self, begun: bytes, pieces: Sequence[bytes]) -> list[bool]:
        """Of each piece behind a text, whether a valid whole may begin so; False is proven."""
        with self._lock:
            self._left = MOST
            return [self._leads_on(begun + piece) for piece in pieces]

    def _leads_on(self, text: bytes) -> bool:
        text = SPACED.sub(rb"\1", text) if self._spaces else text
        return not self._stand(text) or self._search(closed=True) is not False

    def _stand(self, text: bytes) -> bool:
        """Go to where a text ends; False where the masks do not let it through."""
        same = len(self._text)
        while not text.startswith(self._text[:same]):
            same -= 1
        self._back(len(self._text) - same)
        return self._take(text[same:])

    def _take(self, piece: bytes) -> bool:
        """Go on behind a piece; False, and it stands as before, where it may not follow."""
        for at, byte in enumerate(piece):
            if not self._matching.advance(byte):
                self._back(at)
                return False
            self._text += piece[at : at + 1]
            self._points.append(read(self._points[-1], piece[at : at + 1]))
        return True

    def _back(self, count: int) -> None:
        if count:
            self._matching.rollback(count)
            self._text = self._text[:-count]
            del self._points[-count:]

    def _search(self, closed: bool) -> bool | None:
        """Whether there is a way on from here; None: it would take more places than are left.

        `closed`: something has, since it was judged.
        """
        asked = (self._text, closed)
        known, cost = self._known.get(asked, (None, 0))
        if known is not None or cost >= self._left:
            within = known is not None and cost <= self._left
            self._left -= cost if within else self._left
            return known if within else None
        before = self._left
        found = self._look(closed)
        if len(self._known) >= KEPT:
            self._known.clear()
        self._known[asked] = (found, before - self._left)
        return found

    def _look(self, closed: bool) -> bool | None:
        """The same, looked for."""
        self._left -= 1
        point = self._points[-1]
        known = self._judge.verdict(point) if closed else None
        if known is not None and (known.verdict is False or point.twice):
            return False
        if (known is not None and not known.hangs) or (self._matching.complete and self._judge.ends_well(point)):
            return True
        for piece in self._next():
            if self._take(piece):
                found = self._search(self._points[-1].closings > point.closings)
                self._back(len(piece))
                if found is not False:
                    return found
        return False

    def _next(self) -> list[bytes]:
        """What may follow: all that must, or each byte that may."""
        if forced := self._matching.must():
            return [forced]
        allowed = self._matching.allowed()
        return [BYTES.text_of(byte) for byte in ORDER[allowed[ORDER]].tolist()]
