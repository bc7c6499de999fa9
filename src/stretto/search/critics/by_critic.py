"""A critic that is any function of the answers' texts: what a compiler, a test, or another model makes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ...context import Context
from ...entry import Entry, Guarantee
from ..critic import STOP, Advice, Attempt, Critic, Critique

ENTRIES = (
    Entry(
        name="iterative-refinement",
        number=18,
        family="search",
        source="arXiv 2601.15286 (iterative refinement for compositional image generation)",
        parts="refine(rounds=8,paths=2)",
        guarantee=Guarantee.NONE,
        needs=("a critic by value, which says go on, back, afresh or stop", "a scorer that verifies"),
        summary="a critic sends answers on, back to the one before, or to a fresh start; the best verified counts",
    ),
    Entry(
        name="chart-ir",
        number=25,
        family="search",
        source="arXiv 2506.14837",
        parts="refine(show=last)",
        guarantee=Guarantee.NONE,
        needs=("a critic by value, which tells differences from what is wanted", "a scorer that runs the answer"),
        summary="code is run, told where it differs from what is wanted, and written anew until it does not",
    ),
)


@dataclass(frozen=True, slots=True)
class ByCritic(Critic):
    """What a function says of the newest answer's text; for methods by value.

    A text goes on with it, an empty one and None stop; an `Advice` says more. It is asked about whole answers alone.
    """

    function: Callable[[str], str | Advice | None]

    name: ClassVar[str] = "by-critic"

    def begin(self, context: Context) -> Critique:
        return _ByCritic(self.function)


@dataclass(frozen=True, slots=True)
class _ByCritic(Critique):
    function: Callable[[str], str | Advice | None]

    def advise(self, attempts: Sequence[Attempt]) -> Advice:
        found = self.function(attempts[-1].draft.text)
        return found if isinstance(found, Advice) else Advice("on", found) if found else STOP
