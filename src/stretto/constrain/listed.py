"""Answers that are a list of names, best first: each is one of those there are, and none comes twice."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from ..entry import Entry, Guarantee
from ..errors import InvalidRequest
from ..values import shown
from .contract import Constraint, State
from .machine import Machine, Reading
from .tokens import Tokens

ENTRY = Entry(
    name="corpuslm-ids",
    number=170,
    family="constraint",
    source="arXiv 2402.01176 (CorpusLM)",
    parts="plain+listed(apples,pears,plums)",
    guarantee=Guarantee.DEFINED,
    summary="a ranked list of documents' names that exist, each at most once; what is named leaves the tree of names",
)


@dataclass(frozen=True, slots=True)
class Listed(Constraint):
    """Some of the texts, one behind the other, none twice. One that begins another ends by what follows it."""

    texts: tuple[str, ...]  # at least one; equal ones count once
    most: int = 5  # texts of a list, >= 1; it has at least one
    between: str = "\n"  # two texts; its first byte stands in none of them

    name: ClassVar[str] = "listed"

    def __post_init__(self) -> None:
        if not self.texts or not all(self.texts):
            raise InvalidRequest("listed has nothing to list", hint="give at least one text, and none that is empty")
        if self.most < 1:
            raise InvalidRequest(f"a list of at most {self.most} texts", hint="most is at least 1")
        if not self.between or any(self.between.encode()[:1] in text.encode() for text in self.texts):
            raise InvalidRequest(
                f"{shown(self.between)} cannot tell where a text ends",
                hint="give between= a text whose first byte stands in none of them",
            )

    def open(self, tokens: Tokens) -> State:
        tokens.require_text(self.name)

        def made() -> Machine:
            names = sorted({text.encode() for text in self.texts})
            tree = Tree(names, min(self.most, len(names)), self.between.encode())
            letters = bytes(sorted({*b"".join(names), *tree.between}))
            return Machine(tokens, Place(0, len(names)), tree.step, tree.complete, letters)

        return Reading(tokens.memory.of(self, made))


class Place(NamedTuple):
    """Where a list stands: which names may be being read, in their order, and which are behind it."""

    low: int
    high: int  # the first one that may not
    read: int = 0  # bytes of the name; beyond its end, of what stands between two
    used: tuple[int, ...] = ()  # names, in their order


class Tree:
    """The names in their order. Those that begin alike stand together, so that a node of their tree is a range.

    What one list has used is in its own place, so that lists share the rest.
    """

    def __init__(self, names: list[bytes], most: int, between: bytes) -> None:
        self.names, self.most, self.between = names, most, between

    def complete(self, place: Place) -> bool:
        """Whether a name is read that was not used."""
        return len(self.names[place.low]) == place.read and place.low not in place.used

    def step(self, place: Place, byte: int) -> Place | None:
        """The place behind one more byte; None where no list goes on so."""
        low, high, read, used = place
        behind = read - len(self.names[low])  # of what stands between, where a name has ended
        if behind > 0 or (self.complete(place) and self.between[0] == byte and len(used) + 1 < self.most):
            if self.between[behind] != byte:
                return None
            if behind + 1 < len(self.between):
                return Place(low, low + 1, read + 1, used)
            return Place(0, len(self.names), 0, tuple(sorted((*used, low))))
        known = self.names[low][:read]
        low = bisect_left(self.names, known + bytes([byte]), low, high)
        high = bisect_left(self.names, known + bytes([byte + 1]), low, high) if byte < 255 else high
        left = high - low - sum(low <= name < high for name in used)
        return Place(low, high, read + 1, used) if left else None
