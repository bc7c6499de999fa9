"""Codes for DNA storage: strings without long runs of one symbol, in which one wrong symbol is found and mended.

All strings of a length whose runs are short stand in alphabetical order, and have their place in it as a number. A
codeword is one whose number is a multiple of the *modulus*. A wrong symbol moves the number by one of a few distances,
all of which have different remainders, so the remainder tells the distance. Numbers are worked out from how many
strings there are behind a beginning, and so are the remainders that can still be reached: that is the automaton.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from itertools import count
from typing import ClassVar, NamedTuple

from ..entry import Entry, Guarantee
from ..errors import InvalidRequest
from ..values import shown
from .contract import Constraint, State
from .machine import Machine, Reading
from .tokens import Tokens

LONGEST = 20  # symbols of a codeword

ENTRY = Entry(
    name="ec-d-loco",
    number=213,
    family="constraint",
    source="arXiv 2504.01262",
    parts="plain+loco(6)",
    guarantee=Guarantee.DEFINED,
    summary="DNA strings with short runs that are numbered without a gap, and mended where one symbol is wrong",
)


@dataclass(frozen=True, slots=True)
class Loco(Constraint):
    """The answer is one codeword. `encode` and `decode` are the numbers of codewords, `correct` mends one.

    >>> code = Loco(6)
    >>> code.codewords, code.encode(4), code.correct("TTGTGA"), code.decode("TTGTTA")
    (12, 'TTGTTA', 'TTGTTA', 4)
    """

    length: int = 6  # symbols, 1 to 20
    run: int = 3  # the longest run of one symbol, >= 1
    symbols: str = "ATGC"  # in their order, at least two

    name: ClassVar[str] = "loco"

    def __post_init__(self) -> None:
        if not 1 <= self.length <= LONGEST or self.run < 1:
            raise InvalidRequest(
                f"a codeword of {self.length} symbols with runs of {self.run}",
                hint=f"length is 1 to {LONGEST}, run at least 1",
            )
        if len(set(self.symbols)) != len(self.symbols) or len(self.symbols) < 2 or not self.symbols.isascii():
            raise InvalidRequest(
                f"{shown(self.symbols)} are no symbols", hint="give two ASCII letters or more, each once, such as ATGC"
            )

    @property
    def code(self) -> Code:
        """The code behind it."""
        return _code(self.length, self.run, len(self.symbols))

    @property
    def codewords(self) -> int:
        """How many there are."""
        return -(-self.code.strings // self.code.modulus)

    def encode(self, message: int) -> str:
        """The codeword of a number below `codewords`. Raises InvalidRequest for others."""
        if not 0 <= message < self.codewords:
            raise InvalidRequest(f"there is no codeword {message}", hint=f"give a number below {self.codewords}")
        return "".join(self.symbols[each] for each in self.code.string(message * self.code.modulus))

    def decode(self, text: str) -> int:
        """The number of a codeword. Raises InvalidRequest where the text is none."""
        message, over = divmod(self.code.number(self._read(text)), self.code.modulus)
        if over or self.encode(message) != text:
            raise InvalidRequest(f"{shown(text)} is no codeword", hint="`correct` mends one wrong symbol")
        return message

    def correct(self, text: str) -> str:
        """The codeword that a text with at most one wrong symbol was. Raises InvalidRequest where there is none."""
        code, number = self.code, self.code.number(self._read(text))
        moved = code.moved.get(number % code.modulus)
        message = -1 if moved is None else (number - moved) // code.modulus
        if not 0 <= message < self.codewords:
            raise InvalidRequest(f"{shown(text)} has more than one wrong symbol", hint="read the string again")
        return self.encode(message)

    def open(self, tokens: Tokens) -> State:
        tokens.require_text(self.name)

        def made() -> Machine:
            code, numbers = self.code, {ord(symbol): at for at, symbol in enumerate(self.symbols)}
            return Machine(
                tokens,
                Standing(self.length, START, 0),
                lambda standing, byte: code.step(standing, numbers[byte]),
                lambda standing: not standing.left,
                bytes(numbers),
            )

        return Reading(tokens.memory.of(self, made))

    def _read(self, text: str) -> list[int]:
        if len(text) != self.length or not set(text) <= set(self.symbols):
            raise InvalidRequest(
                f"{shown(text)} is no string of {self.length} symbols", hint=f"the symbols are {self.symbols}"
            )
        return [self.symbols.index(symbol) for symbol in text]


class Place(NamedTuple):
    """What of a beginning tells how it may go on."""

    last: int  # the newest symbol, -1 for none
    run: int  # how often it stands there, 0 for none


class Standing(NamedTuple):
    """Where the automaton stands."""

    left: int  # symbols that are to come
    place: Place
    remainder: int  # of the number, as far as it is known


START = Place(-1, 0)


class Code:
    """Strings of `length` symbols out of `size`, with runs of at most `run`, and the codewords among them."""

    def __init__(self, length: int, run: int, size: int) -> None:
        self.length, self.run, self.size = length, run, size
        self._behind = [[1] * (run + 1)]  # strings of so many symbols behind a run of so many
        for _ in range(length):
            less = self._behind[-1]
            self._behind.append(
                [0, *((size - 1) * less[1] + (less[k + 1] if k < run else 0) for k in range(1, run + 1))]
            )
        self._remainders: dict[tuple[int, Place], int] = {}
        self._distances: dict[tuple[int, Place, Place], frozenset[int]] = {}

    @property
    def strings(self) -> int:
        """How many there are, codewords or not."""
        return self.size * self._behind[self.length - 1][1]

    def number(self, string: list[int]) -> int:
        """How many strings stand before one; in what breaks the limit on runs, a run counts as the longest there is."""
        found, place = 0, START
        for at, symbol in enumerate(string):
            found += self._before(place, symbol, self.length - at - 1)
            place = self._after(place, symbol)
        return found

    def string(self, number: int) -> list[int]:
        """The string that so many stand before."""
        found: list[int] = []
        place = START
        for left in range(self.length - 1, -1, -1):
            able = [symbol for symbol in range(self.size) if self._may(place, symbol)]
            symbol = max(each for each in able if self._before(place, each, left) <= number)
            number -= self._before(place, symbol, left)
            place = self._after(place, symbol)
            found.append(symbol)
        return found

    @cached_property
    def distances(self) -> frozenset[int]:
        """By how much one wrong symbol can move a string's number."""
        found: set[int] = set()
        for at in range(self.length):
            runs = range(1, min(at, self.run) + 1)
            left = self.length - at - 1
            for place in [Place(last, run) for last in range(self.size) for run in runs] if at else [START]:
                for right in filter(lambda symbol: self._may(place, symbol), range(self.size)):
                    for wrong in set(range(self.size)) - {right}:
                        moved = self._before(place, wrong, left) - self._before(place, right, left)
                        behind = self._apart(left, self._after(place, right), self._after(place, wrong))
                        found.update(moved + more for more in behind)
        return frozenset(found)

    @cached_property
    def modulus(self) -> int:
        """The least number by which all distances have different remainders, and none but 0 has none."""
        apart = self.distances | {0}
        return next(least for least in count(len(apart)) if len({each % least for each in apart}) == len(apart))

    @cached_property
    def moved(self) -> dict[int, int]:
        """The distance that each remainder tells."""
        return {each % self.modulus: each for each in self.distances | {0}}

    def step(self, standing: Standing, symbol: int) -> Standing | None:
        """One more symbol; None where no codeword begins so."""
        left, place, remainder = standing
        if not left or not self._may(place, symbol):
            return None
        remainder = (remainder + self._before(place, symbol, left - 1)) % self.modulus
        after = self._after(place, symbol)
        able = self._reached(left - 1, after) >> (-remainder % self.modulus) & 1
        return Standing(left - 1, after, remainder) if able else None

    def _may(self, place: Place, symbol: int) -> bool:
        return symbol != place.last or place.run < self.run

    def _after(self, place: Place, symbol: int) -> Place:
        return Place(symbol, min(place.run + 1, self.run) if symbol == place.last else 1)

    def _before(self, place: Place, symbol: int, left: int) -> int:
        """Strings that go on from there with a lesser symbol and `left` more."""
        again = 0 <= place.last < symbol
        found = (symbol - again) * self._behind[left][1]
        return found + self._behind[left][place.run + 1] if again and place.run < self.run else found

    def _apart(self, left: int, right: Place, wrong: Place) -> frozenset[int]:
        """How much further apart the numbers come with `left` more symbols, the same behind both places."""
        if right == wrong or not left:
            return frozenset({0})
        key = left, right, wrong
        if key not in self._distances:
            found: set[int] = set()
            for symbol in filter(lambda symbol: self._may(right, symbol), range(self.size)):
                moved = self._before(wrong, symbol, left - 1) - self._before(right, symbol, left - 1)
                behind = self._apart(left - 1, self._after(right, symbol), self._after(wrong, symbol))
                found.update(moved + more for more in behind)
            self._distances[key] = frozenset(found)
        return self._distances[key]

    def _reached(self, left: int, place: Place) -> int:
        """The remainders that `left` more symbols can add, as the bits of a number."""
        if not left:
            return 1
        if (left, place) not in self._remainders:
            found, size = 0, self.modulus
            for symbol in filter(lambda symbol: self._may(place, symbol), range(self.size)):
                turn = self._before(place, symbol, left - 1) % size
                bits = self._reached(left - 1, self._after(place, symbol))
                found |= (bits << turn | bits >> (size - turn)) & ((1 << size) - 1)
            self._remainders[left, place] = found
        return self._remainders[left, place]


@cache
def _code(length: int, run: int, size: int) -> Code:
    return Code(length, run, size)
