"""Regular expressions of terminals, stepped character by character: what may follow is known at each point.

Characters, `.`, classes such as [a-z] and [^"\\\\], \\d \\s \\w \\n \\t and escaped characters, groups, |, *, + and ?.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import InvalidRequest

Places = frozenset[int]
CLASSES = {"d": [("0", "9")], "s": [(" ", " "), ("\t", "\r")], "w": [("a", "z"), ("A", "Z"), ("0", "9"), ("_", "_")]}
CONTROLS = {"n": "\n", "t": "\t", "r": "\r"}


@dataclass(frozen=True, slots=True)
class Chars:
    """A set of characters as ranges; `out` means all others."""

    ranges: tuple[tuple[str, str], ...]
    out: bool = False

    def has(self, char: str) -> bool:
        return any(low <= char <= high for low, high in self.ranges) != self.out


@dataclass(slots=True, eq=False)
class Pattern:
    """A Thompson automaton; a set of its places is where a match stands. It is empty once none is possible."""

    source: str
    silent: list[list[int]] = field(default_factory=list)  # place -> places
    steps: list[tuple[Chars, int] | None] = field(default_factory=list)  # place -> what it reads, and where that leads
    start: Places = frozenset()
    end: int = -1
    _at: int = 0
    _known: dict[tuple[Places, str], Places] = field(default_factory=dict)

    def __post_init__(self) -> None:
        first, self.end = self._either()
        if self._at < len(self.source):
            raise self._wrong()
        self.start = self._near({first})
        if self.end in self.start:
            raise InvalidRequest(f"the pattern {self.source!r} matches nothing at all", hint="use + instead of *")

    def step(self, places: Places, char: str) -> Places:
        """Where a match stands after one more character."""
        if (places, char) not in self._known:
            reads = (self.steps[place] for place in places)
            self._known[places, char] = self._near({step[1] for step in reads if step and step[0].has(char)})
        return self._known[places, char]

    def done(self, places: Places) -> bool:
        """Whether what was read is a match."""
        return self.end in places

    def _near(self, places: set[int]) -> Places:
        found, left = set(places), list(places)
        while left:
            for other in self.silent[left.pop()]:
                if other not in found:
                    found.add(other)
                    left.append(other)
        return frozenset(found)

    # -- reading the expression: each method gives the first and the last place of its part -----------

    def _wrong(self) -> InvalidRequest:
        return InvalidRequest(f"the pattern {self.source!r} cannot be read at {self._at}", hint=r"escape with \ ")

    def _place(self) -> int:
        self.silent.append([])
        self.steps.append(None)
        return len(self.silent) - 1

    def _next(self) -> str:
        return self.source[self._at] if self._at < len(self.source) else ""

    def _take(self) -> str:
        if not (char := self._next()):
            raise self._wrong()
        self._at += 1
        return char

    def _either(self) -> tuple[int, int]:
        first, last = self._place(), self._place()
        while True:
            begin, end = self._row()
            self.silent[first].append(begin)
            self.silent[end].append(last)
            if self._next() != "|":
                return first, last
            self._take()

    def _row(self) -> tuple[int, int]:
        first = last = self._place()
        while self._next() not in ("", "|", ")"):
            begin, end = self._repeated()
            self.silent[last].append(begin)
            last = end
        return first, last

    def _repeated(self) -> tuple[int, int]:
        begin, end = self._one()
        while self._next() in ("*", "+", "?") and self._next():
            mark = self._take()
            first, last = self._place(), self._place()
            self.silent[first].append(begin)
            self.silent[end].append(last)
            if mark in "*?":
                self.silent[first].append(last)
            if mark in "*+":
                self.silent[end].append(begin)
            begin, end = first, last
        return begin, end

    def _one(self) -> tuple[int, int]:
        char = self._take()
        if char == "(":
            inner = self._either()
            if self._take() != ")":
                raise self._wrong()
            return inner
        if char in "*+?)":
            raise self._wrong()
        if char == "[":
            chars = self._class()
        elif char == ".":
            chars = Chars((("\n", "\n"),), out=True)
        else:
            chars = Chars(tuple(self._escaped(char)))
        first, last = self._place(), self._place()
        self.steps[first] = (chars, last)
        return first, last

    def _escaped(self, char: str) -> list[tuple[str, str]]:
        if char != "\\":
            return [(char, char)]
        char = self._take()
        literal = CONTROLS.get(char, char)
        return CLASSES.get(char, [(literal, literal)])

    def _class(self) -> Chars:
        out = self._next() == "^"
        if out:
            self._take()
        ranges: list[tuple[str, str]] = []
        while (char := self._take()) != "]":
            found = self._escaped(char)
            if self._next() == "-" and self.source[self._at + 1 : self._at + 2] not in ("", "]"):
                self._take()
                found = [(found[0][0], self._escaped(self._take())[0][1])]
            ranges += found
        return Chars(tuple(ranges), out)
