"""A range coder: symbols of given frequencies as bytes, and back, in whole numbers alone.

A symbol of `size` out of `total` takes log2(total / size) bits; a whole text at most two bytes more (and 2^-14 bits a
symbol, with totals of 2^50). As in G. N. N. Martin's "Range encoding" (1979), with a carry into what was written.

>>> writer = Writer()
>>> for start, size in ((0, 2), (2, 1), (3, 1)):
...     writer.put(start, size, 4)
>>> coded = writer.end()
>>> reader = Reader(coded)
>>> found = []
>>> for _ in range(3):
...     at = reader.peek(4)
...     start, size = (0, 2) if at < 2 else (at, 1)
...     reader.take(start, size)
...     found.append(start)
>>> len(coded), found
(1, [0, 2, 3])
"""

from __future__ import annotations

from ..errors import InvalidRequest

STATE = 96  # bits of the interval
WORD = 32  # bits that are written, or read, at a time
LEAST = 1 << (STATE - WORD)  # the interval is kept larger than this
MASK = (1 << STATE) - 1
MOST = 1 << 50  # a total


class Writer:
    """Symbols to bytes."""

    def __init__(self) -> None:
        self._low = 0
        self._width = 1 << STATE
        self._out = bytearray()

    def put(self, start: int, size: int, total: int) -> None:
        """The symbol that has the numbers from `start` to `start + size - 1`, of `total`; 1 ≤ size, total ≤ MOST."""
        step = self._width // total
        self._low += start * step
        self._width = size * step
        self._carry()
        while self._width <= LEAST:
            self._out += (self._low >> (STATE - WORD)).to_bytes(WORD // 8, "big")
            self._low = self._low << WORD & MASK
            self._width <<= WORD

    def end(self) -> bytes:
        """All that was put: the fewest bytes that, with zeros behind them, lie in the interval."""
        for left in range(STATE - 8, -1, -8):
            low = -(-self._low >> left) << left  # rounded up
            if low < self._low + self._width:
                break
        self._low = low
        self._carry()
        self._out += self._low.to_bytes(STATE // 8, "big")
        return bytes(self._out.rstrip(b"\0"))

    def _carry(self) -> None:
        """What the sum has beyond its bits goes to the bytes before."""
        if self._low <= MASK:
            return
        self._low &= MASK
        at = len(self._out) - 1
        while self._out[at] == 255:
            self._out[at] = 0
            at -= 1
        self._out[at] += 1


class Reader:
    """Bytes to the numbers that symbols have; behind the last byte there are zeros."""

    def __init__(self, coded: bytes) -> None:
        self._coded = coded
        self._at = STATE // 8
        self._code = int.from_bytes(coded[: self._at].ljust(self._at, b"\0"), "big")
        self._width = 1 << STATE
        self._step = 0

    def peek(self, total: int) -> int:
        """A number of the next symbol, of `total`. Raises InvalidRequest where no writer wrote this."""
        self._step = self._width // total
        found = self._code // self._step
        if found >= total:
            raise InvalidRequest("these bytes are damaged: nothing is coded so", hint="fetch the file again")
        return found

    def take(self, start: int, size: int) -> None:
        """Go on behind the symbol that has the numbers from `start` on, among them the one that `peek` gave."""
        self._code -= start * self._step
        self._width = size * self._step
        while self._width <= LEAST:
            word = self._coded[self._at : self._at + WORD // 8].ljust(WORD // 8, b"\0")
            self._code = self._code << WORD | int.from_bytes(word, "big")
            self._width <<= WORD
            self._at += WORD // 8
