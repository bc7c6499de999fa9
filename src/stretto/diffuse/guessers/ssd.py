"""SSD: a masked-diffusion model drafts for itself, and verifies a tree of partly filled blocks in one evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from ..canvas import Canvas, Delta, Span
from .contract import GuessedRow, Guesser, GuesserState

ENTRY = Entry(
    name="ssd",
    family="diffusion",
    source="arXiv 2510.04147; no code released",
    parts="low-confidence+blocks(32)+dual-cache+ssd(4)",
    guarantee=Guarantee.APPROXIMATE,  # as its order is; exact relative to that
    number=94,
    needs=("masked-diffusion model",),
    confirmed=False,  # which of the two conventions the paper times, and what its wider trees hold
    summary="drafts the surest tokens of the block and verifies them as a chain; the output of stepwise decoding",
    generation="fill",
    refinement="chain",
    branch="non-autoregressive",
)


@dataclass(frozen=True, slots=True)
class SSD(Guesser):
    """Drafts within the block, in the order in which stepwise decoding would fill it.

    The node without drafts repeats the evaluation that drafted, and is left out. With `reuse` the last accepted
    node's distributions draft the next chain, whose first element is the stepwise decision there: up to `drafts`
    steps a round. Without, each chain is drafted by an evaluation of its own: `drafts` + 1 steps in two rounds. Which
    of them the paper times is unconfirmed.

    A wider tree has other orderings beside each node of the chain: what the order fills where the positions of the
    guesses before are left out. Nothing hangs below them: each costs an evaluated row, and saves one step at most.
    """

    drafts: int = 4  # nodes of the chain, ≥ 0; 0 and 1 are stepwise decoding
    reuse: bool = True  # the evaluation that verifies also drafts
    width: int = 1  # guesses of each step, ≥ 1; 1 is the chain
    together: bool = True  # one evaluation for all nodes; else one after the other, each as without a guesser

    name: ClassVar[str] = "ssd"

    def __post_init__(self) -> None:
        if self.drafts < 0:
            raise InvalidRequest(f"chains of {self.drafts} drafts", hint="0 or more; 0 is stepwise decoding")
        if self.width < 1:
            raise InvalidRequest(f"trees of width {self.width}", hint="1 or more; 1 is the chain")

    def open(self, canvas: Canvas, context: Context) -> GuesserState:
        return SSDState(self)


class SSDState(GuesserState):
    """Remembers the block of the round, and whether the last one verified."""

    def __init__(self, settings: SSD) -> None:
        self.settings = settings
        self.window: Span | None = None
        self.verified = False

    def next(self, guessed: GuessedRow) -> Delta | None:
        if not guessed.steps:
            self.window = guessed.window
        if guessed.steps + 1 >= self.settings.drafts or guessed.window != self.window:
            return None
        if self.verified and not self.settings.reuse:
            return None
        return guessed.choose()

    def learn(self, guessed: int, used: int) -> None:
        self.verified = guessed > 0
