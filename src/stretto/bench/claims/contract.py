"""What a claim is: a published system's headline, the contest that tries it here, and what must come of it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, Protocol

from ...errors import InvalidRequest
from ..results import Spread

if TYPE_CHECKING:
    from .lab import Lab

Figure = float | Spread  # seconds come with a spread, counts and enumerations do not
Figures = dict[str, Figure]


class Absent(InvalidRequest):
    """A contest cannot be held here: a file is missing, or the target solves none of its questions."""


class Contest(Protocol):
    """Whatever gives figures by name."""

    @property
    def text(self) -> str:
        """Who meets whom on what, in one line."""

    def __call__(self, lab: Lab) -> Figures:
        """Hold it. Raises Absent where that is not possible."""


@dataclass(frozen=True, slots=True)
class Relation:
    """`left sign factor × right`; without `right`, the bare number."""

    left: str
    sign: Literal["≥", "≤", "="]
    factor: float
    right: str = ""
    tolerance: float = 1e-9  # of "=": the greatest difference

    def holds(self, figures: Figures) -> bool:
        """Of medians, where there is a spread."""
        found = value(figures[self.left])
        bound = self.factor * (value(figures[self.right]) if self.right else 1.0)
        if self.sign == "=":
            return abs(found - bound) <= self.tolerance
        return found >= bound if self.sign == "≥" else found <= bound

    def __str__(self) -> str:
        if not self.right:
            return f"{self.left} {self.sign} {self.factor:g}"
        factor = "" if self.factor == 1 else f"{self.factor:g} × "
        return f"{self.left} {self.sign} {factor}{self.right}"


def value(figure: Figure) -> float:
    """The number itself, or the median."""
    return figure.median if isinstance(figure, Spread) else figure


def at_least(left: str, factor: float, right: str = "") -> Relation:
    """left ≥ factor × right."""
    return Relation(left, "≥", factor, right)


def at_most(left: str, factor: float, right: str = "") -> Relation:
    """left ≤ factor × right."""
    return Relation(left, "≤", factor, right)


def equal(left: str, number: float, tolerance: float = 1e-6) -> Relation:
    """left = number, to within a tolerance."""
    return Relation(left, "=", number, tolerance=tolerance)


def falling(*names: str) -> tuple[Relation, ...]:
    """Each at least the next."""
    return tuple(at_least(more, 1.0, less) for more, less in pairwise(names))


@dataclass(frozen=True, slots=True)
class Claim:
    """One row of the table."""

    name: str  # names it on the command line; unique
    entry: str  # the system, as the catalogue calls it
    says: str  # its headline, in our words
    measure: str  # what the figures are
    contest: Contest
    must: tuple[Relation, ...]
    number: int | None = None  # the system's, in the catalogue
    where_not: str = ""  # why it does not hold here; not shown where it does

    @property
    def command(self) -> str:
        """What tries it again."""
        return f"stretto bench claims {self.name}"
