"""FreeDave: the canvases that static decoding reaches if the model keeps to what it said, checked in one evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest, Unsupported
from ..canvas import Canvas, Delta, Span, none
from ..contract import World
from ..prediction import Positions
from .contract import GuessedRow, Guesser, GuesserState

ENTRIES = (
    Entry(
        name="freedave",
        family="diffusion",
        source="arXiv 2510.00294; code github.com/cychomatica/FreeDave",
        parts="low-confidence+blocks(32)+freedave(4)",
        guarantee=Guarantee.APPROXIMATE,  # as its order is; exact relative to that
        number=26,
        needs=("masked-diffusion model",),
        summary="evaluates the canvases of the next steps beside the present one; the order's own output",
        generation="fill",
        refinement="chain",
        branch="non-autoregressive",
    ),
    Entry(
        name="freedave-plus",
        family="diffusion",
        source="arXiv 2510.00294 (FreeDave++); code github.com/cychomatica/FreeDave",
        parts="threshold(0.95)+blocks(32)+freedave(4,subset=true)",
        guarantee=Guarantee.APPROXIMATE,  # also relative to its order: what is filled together may differ
        number=26,
        needs=("masked-diffusion model",),
        summary="as freedave, and goes to an evaluated canvas also where it holds only a part of what a step fills",
        generation="fill",
        refinement="chain",
        branch="non-autoregressive",
    ),
)


@dataclass(frozen=True, slots=True)
class FreeDave(Guesser):
    """Each round evaluates the present canvas and those of the next steps, and goes as far as they prove right.

    A guessed step is the order's own on the last prediction. With one token a step and a model that keeps to what it
    says, L masks take 1 + ⌈(L − 1) / depth⌉ rounds.

    The subset rule ("++") also takes an evaluated canvas that holds only a part of what a step fills, the fullest such,
    and leaves the rest to the next step, which knows more. So positions may be filled in other groups than the order
    fills them in: with one position a step the output is still the order's, otherwise it approximates that.
    """

    depth: int = 4  # canvases evaluated in a round at most, the present one among them, ≥ 1; 1: nothing is guessed
    eager: bool = True  # goes on into the next block; else a round ends with the block
    together: bool = True  # one evaluation for all; else one after the other, each as without a guesser
    subset: bool = False  # the subset rule

    name: ClassVar[str] = "freedave"

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise InvalidRequest(f"rounds of {self.depth} canvases", hint="1 or more; 1 guesses nothing")

    def check(self, world: World) -> None:
        if self.subset and (not world.order.stepwise or world.order.revises):
            raise Unsupported(
                f"{world.order.name!r} plans its steps, and the subset rule leaves a part of a step for later",
                hint="use 'threshold' or 'factor', or leave out subset=true",
            )

    def open(self, canvas: Canvas, context: Context) -> GuesserState:
        return FreeDaveState(self)


class FreeDaveState(GuesserState):
    """Remembers the window of the round."""

    def __init__(self, settings: FreeDave) -> None:
        self.settings = settings
        self.window: Span | None = None

    def looks(self, canvas: Canvas, window: Span) -> Positions:
        """Where the block may end within a round, as many positions of what follows."""
        depth = self.settings.depth
        if not (self.settings.eager and self.settings.together) or len(canvas.masks(window)) > depth:
            return none()
        return canvas.masks(Span(window.end, min(window.end + max(depth, window.end - window.start), len(canvas))))

    def next(self, guessed: GuessedRow) -> Delta | None:
        settings = self.settings
        if not guessed.steps:
            self.window = guessed.window
        if guessed.steps + 1 >= settings.depth or not (settings.eager or guessed.window == self.window):
            return None
        return guessed.choose()

    def take(self, canvas: Canvas, delta: Delta, ahead: Sequence[Positions]) -> Delta:
        if not self.settings.subset or len(delta.commit) == canvas.open.sum():
            return delta  # a full canvas needs no evaluation
        kept: list[int] = []
        for ids in ahead:
            if len(ids) == len(canvas):
                filled = np.flatnonzero(ids != canvas.ids).tolist()
                if len(filled) > len(kept) and all(delta.commit.get(at) == ids[at] for at in filled):
                    kept = filled
        return Delta({at: token for at, token in delta.commit.items() if at in kept}) if kept else delta
