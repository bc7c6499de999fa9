"""Whether any valid whole begins with a JSON text, under masks and a judge.

It is looked for byte by byte: every tokenizer here can spell every byte, so what bytes reach tokens reach, and the
other way round. What closes comes first. That there is no way on is proven, or not said: where more would have to be
looked at than `MOST` places, there may be one.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from threading import Lock

import numpy as np

from ..guidance import BYTES, Matching
from .judge import Judge
from .reader import Point, read

MOST = 64  # places that are looked at for one mask
KEPT = 10_000  # texts that lead nowhere
WAYS = 32  # texts that lead somewhere
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
        self._dead: set[bytes] = set()  # behind these no way leads on, proven
        self._found: deque[bytes] = deque(maxlen=WAYS)  # valid wholes, or texts by which none that is open hangs
        self._left = 0
        self._lock = Lock()  # some drafters work in a thread of their own

    def lead_on(self, begun: bytes, pieces: Iterable[bytes]) -> list[bool]:
        """Of each piece behind a text, whether a valid whole may begin so; False is proven."""
        with self._lock:
            self._left = MOST
            return [
                self._leads_on(SPACED.sub(rb"\1", begun + piece) if self._spaces else begun + piece) for piece in pieces
            ]

    def _leads_on(self, text: bytes) -> bool:
        if any(way.startswith(text) for way in self._found):
            return True
        if text in self._dead:
            return False
        if len(self._dead) > KEPT:
            self._dead.clear()
        return self._left <= 0 or not self._stand(text) or self._search(closed=True) is not False

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
        """Whether there is a way on from here; None: it is not known. `closed`: something has, since it was judged."""
        if self._text in self._dead:
            return False
        self._left -= 1
        if self._left < 0:
            return None
        point = self._points[-1]
        known = self._judge.verdict(point) if closed else None
        if known is not None and (known.verdict is False or point.twice):
            self._dead.add(self._text)
            return False
        if (known is not None and not known.hangs) or (self._matching.complete and self._judge.ends_well(point)):
            self._found.append(self._text)
            return True
        sure = True
        for piece in self._next():
            if self._take(piece):
                found = self._search(self._points[-1].closings > point.closings)
                self._back(len(piece))
                if found:
                    return True
                sure = sure and found is False
            if self._left < 0:
                return None
        if not sure:
            return None
        self._dead.add(self._text)
        return False

    def _next(self) -> list[bytes]:
        """What may follow: all that must, or each byte that may."""
        if forced := self._matching.must():
            return [forced]
        allowed = self._matching.allowed()
        return [BYTES.text_of(byte) for byte in ORDER[allowed[ORDER]].tolist()]
