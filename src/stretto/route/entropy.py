"""Entropy adaptive decoding: a small model writes until it is at a loss, then the large one, and back."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from ..annotations import Unbounded
from ..context import Context
from ..entry import Entry, Guarantee
from ..errors import InvalidRequest
from ..generation import Step
from ..models.contract import Model
from ..models.store import Store
from .contract import Route, Routing
from .reader import second_model
from .switch import Pen, Switching

ENTRY = Entry(
    name="entropy-adaptive",
    family="route",
    source="arXiv 2502.06833 (entropy adaptive decoding)",
    parts="entropy",
    guarantee=Guarantee.NONE,
    number=198,
    needs=("small model",),
    confirmed=False,
    summary="the rolling entropy of whoever writes decides which of two models writes on",
    generation="none",
    refinement="none",
    branch="none",
)

SMALL = "small"  # what the trace calls the second model


@dataclass(frozen=True, slots=True)
class Entropy(Route):
    """The engine's own model is the large one. Nothing is verified: the text is a mixture of both models'.

    The rule is the published one, the mean entropy of the last `window` steps against `tau`; the paper leaves open
    the values, and how flapping is kept down: here by a second, lower threshold, by a least turn, or not at all.
    `tau=inf` is the small model alone, `tau=-1` the large one. Entropies of two models are not on one scale.
    """

    small: str | Model = "zoo/draft"  # a name or folder, or a model that is loaded already
    tau: Unbounded = 1.0  # nats; the large model writes after a mean entropy above this
    down: Unbounded | None = None  # nats, ≤ tau; the small one again at or below this; None: tau
    window: int = 8  # steps, ≥ 1
    dwell: int = 1  # tokens that a model writes at least, ≥ 1

    name: ClassVar[str] = "entropy"
    obeys: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if math.isnan(self.tau) or (self.down is not None and not self.down <= self.tau):
            raise InvalidRequest(f"entropy switches up above {self.tau}, down at {self.down}", hint="down <= tau")
        if self.window < 1 or self.dwell < 1:
            raise InvalidRequest(
                f"entropy looks at {self.window} steps and writes {self.dwell} tokens a turn",
                hint="window >= 1 and dwell >= 1",
            )

    def begin(self, context: Context, cache: Store) -> Routing:
        return Switching(context, cache, second_model(context, self.small), SMALL, lambda: EntropyPen(self))


class EntropyPen(Pen):
    """The rolling mean of one row, and who has the turn."""

    def __init__(self, settings: Entropy) -> None:
        self.settings = settings
        self.large = settings.tau < 0  # no entropy was seen yet: 0
        self.turn = 0  # tokens since the turn began
        self.recent: deque[float] = deque(maxlen=settings.window)

    def second(self, written: int) -> bool:
        return not self.large

    def learn(self, entropy: float) -> None:
        settings = self.settings
        self.recent.append(entropy)
        self.turn += 1
        if self.turn < settings.dwell:
            return
        threshold = settings.down if self.large and settings.down is not None else settings.tau
        large = sum(self.recent) / len(self.recent) > threshold
        if large != self.large:
            self.large, self.turn = large, 0

    def fork(self) -> EntropyPen:
        twin = EntropyPen(self.settings)
        twin.large, twin.turn, twin.recent = self.large, self.turn, self.recent.copy()
        return twin


@dataclass(frozen=True, slots=True)
class Account:
    """What an answer cost, in tokens."""

    large: int  # written by the large model
    small: int  # written by the small one
    large_read: int  # read by the large model at the beginning of its turns, beside what it wrote
    small_read: int

    @property
    def fraction(self) -> float:
        """Share of the tokens that the large model wrote."""
        return self.large / max(1, self.large + self.small)

    def cost(self, ratio: float, *, reading: bool = False) -> float:
        """Cost relative to the large model alone, where a token of the small one costs `ratio` of the large one's.

        As published, without the tokens read at switches; `reading` counts those like written ones.
        """
        large, small = self.large, self.small
        if reading:
            large, small = large + self.large_read, small + self.small_read
        return (large + ratio * small) / max(1, self.large + self.small)


def account(steps: Iterable[Step]) -> Account:
    """The account of a trace: `Generation.steps`."""
    written, read, unread = {True: 0, False: 0}, {True: 0, False: 0}, {True: 0, False: 0}
    for step in steps:
        for source in step.sources:
            small = source == SMALL
            read[small] += unread[small]
            unread[small] = 0
            written[small] += 1
            unread[not small] += 1
    return Account(written[False], written[True], read[False], read[True])
