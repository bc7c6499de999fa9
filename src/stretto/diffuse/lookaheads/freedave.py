"""FreeDave: the canvases that static decoding reaches if the model keeps to what it said, checked in one evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from ...speculate.contract import Context
from ..contract import NONE, Canvas, Delta, Future, Lookahead, Looking, Span
from ..proposal import Positions

ENTRY = Entry(
    name="freedave",
    family="diffusion",
    source="arXiv 2510.00294; code github.com/cychomatica/FreeDave",
    parts="low-confidence+blocks(32)+freedave(4)",
    guarantee=Guarantee.APPROXIMATE,  # as its order is; exact relative to that
    number=26,
    needs=("masked-diffusion model",),
    summary="evaluates the canvases of the next steps beside the present one; the output of the same order without it",
    generation="fill",
    refinement="chain",
    branch="non-autoregressive",
)


@dataclass(frozen=True, slots=True)
class FreeDave(Lookahead):
    """Each round evaluates the present canvas and those of the next steps, and goes as far as they prove right.

    A guessed step is the order's own on the last proposal. With one token a step and a model that keeps to what it
    says, L masks take 1 + ⌈(L − 1) / depth⌉ rounds. The published *subset rule* is left out: it may fill positions in
    other groups than the order does.
    """

    depth: int = 4  # canvases evaluated in a round at most, the present one among them, ≥ 1; 1: nothing is guessed
    eager: bool = True  # goes on into the next block; else a round ends with the block
    together: bool = True  # one evaluation for all; else one after the other, each as without a lookahead

    name: ClassVar[str] = "freedave"

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise InvalidRequest(f"rounds of {self.depth} canvases", hint="1 or more; 1 guesses nothing")

    def open(self, canvas: Canvas, context: Context) -> Looking:
        return FreeDaveLooking(self)


class FreeDaveLooking(Looking):
    """Remembers the window of the round."""

    def __init__(self, settings: FreeDave) -> None:
        self.settings = settings
        self.window: Span | None = None

    def looks(self, canvas: Canvas, window: Span) -> Positions:
        """Where the block may end within a round, as many positions of what follows."""
        depth = self.settings.depth
        if not (self.settings.eager and self.settings.together) or len(canvas.masks(window)) > depth:
            return NONE
        return canvas.masks(Span(window.end, min(window.end + max(depth, window.end - window.start), len(canvas))))

    def next(self, future: Future) -> Delta | None:
        settings = self.settings
        if not future.steps:
            self.window = future.window
        if future.steps + 1 >= settings.depth or not (settings.eager or future.window == self.window):
            return None
        return future.choose()
