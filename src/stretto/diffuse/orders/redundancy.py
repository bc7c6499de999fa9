"""R²-dLLM's rules: what neighbours, equal guesses and earlier steps say beside a threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest, closest
from ..canvas import Canvas, Delta, Span
from ..chance import Use, uniform
from ..prediction import Floats, Positions, Prediction
from ..stretches import stretches
from .contract import Order, OrderState

if TYPE_CHECKING:
    from numpy.typing import NDArray

ENTRY = Entry(
    name="r2-dllm",
    family="diffusion",
    source="arXiv 2604.18995; code github.com/GATECH-EIC/R2-dLLM",
    parts="redundancy+blocks(32)+dual-cache",
    guarantee=Guarantee.APPROXIMATE,
    number=64,
    needs=("masked-diffusion model",),
    summary="a threshold, and below it clusters of sure positions, one of equal neighbours, and what stays the same",
    generation="fill",
    refinement="iterative",
    branch="non-autoregressive",
)

WIDTH = 3  # positions of a cluster
PICKS = ("confidence", "middle", "random")
STATISTICS = ("last", "mean", "max")


@dataclass(frozen=True, slots=True)
class Redundancy(Order):
    """After the threshold, each rule on the masks that those before it left, and the surest where all find nothing.

    Cluster: of three neighbours at most one of which is filled, all masks, where their mean confidence reaches
    `cluster`. Echo: one of neighbouring masks for which the same token is predicted, where the surest is above `echo`.
    Steady: what is predicted `steps` times in a row, where its confidence reaches `steady`. A rule is off above 1; with
    all off it is `threshold`.
    """

    least: float = 0.9  # confidence of the threshold; ≥ 0
    cluster: float = 0.8  # mean confidence of a cluster; ≥ 0
    echo: float = 0.8  # confidence of the surest of equals; ≥ 0
    steady: float = 0.8  # confidence of what stays the same; ≥ 0
    steps: int = 3  # for which it does, this one included; ≥ 1
    pick: str = "confidence"  # which of the equals: confidence, middle, random
    statistic: str = "last"  # which confidence of those steps: last, mean, max

    name: ClassVar[str] = "redundancy"

    def __post_init__(self) -> None:
        for least in (self.least, self.cluster, self.echo, self.steady):
            if not least >= 0:
                raise InvalidRequest(f"a rule fills from confidence {least}", hint="0 or more; above 1: never")
        if self.steps < 1:
            raise InvalidRequest(f"a token stays the same for {self.steps} steps", hint="1 or more")
        if self.pick not in PICKS:
            raise InvalidRequest(f"none of equals is picked by {self.pick!r}", hint=closest(self.pick, PICKS))
        if self.statistic not in STATISTICS:
            raise InvalidRequest(
                f"{self.statistic!r} is no confidence of several steps", hint=closest(self.statistic, STATISTICS)
            )

    def open(self, canvas: Canvas, context: Context) -> OrderState:
        return RedundancyState(self)


class RedundancyState(OrderState):
    """Remembers what was predicted in the window: the last token of each position, since when, and how sure."""

    def __init__(self, settings: Redundancy) -> None:
        self.settings = settings
        self._forget(0)

    def begin_window(self, canvas: Canvas, window: Span) -> None:
        self._forget(window.end - window.start)

    def _forget(self, size: int) -> None:
        self.token = np.full(size, -1)  # predicted last; -1: nothing
        self.count = np.zeros(size, np.int64)  # steps in a row
        self.total = np.zeros(size)  # confidence summed over these
        self.highest = np.zeros(size)

    def choose(self, canvas: Canvas, prediction: Prediction, window: Span) -> Delta:
        settings, confidence = self.settings, prediction.confidence("raw")
        at = prediction.positions - window.start
        self._observe(at, prediction.tokens, confidence)
        taken = confidence >= settings.least
        taken |= self._clusters(at, confidence, ~taken)
        taken |= self._echoes(canvas, prediction, confidence, ~taken)
        taken |= (self.count[at] >= settings.steps) & (self._statistic(at, confidence) >= settings.steady)
        if not taken.any():
            taken[confidence.argmax()] = True
        return Delta.of(prediction, np.flatnonzero(taken))

    def _observe(self, at: Positions, tokens: Positions, confidence: Floats) -> None:
        """Count how long each open position has had its token; what is not predicted for begins anew."""
        again = np.zeros(len(self.token), np.bool_)
        again[at] = self.token[at] == tokens
        self.count = np.where(again, self.count, 0)
        self.total = np.where(again, self.total, 0.0)
        self.highest = np.where(again, self.highest, 0.0)
        self.token = np.full(len(self.token), -1)
        self.token[at] = tokens
        self.count[at] += 1
        self.total[at] += confidence
        self.highest[at] = np.maximum(self.highest[at], confidence)

    def _statistic(self, at: Positions, confidence: Floats) -> Floats:
        if self.settings.statistic == "mean":
            return np.asarray(self.total[at] / self.count[at])
        return np.asarray(self.highest[at]) if self.settings.statistic == "max" else confidence

    def _clusters(self, at: Positions, confidence: Floats, left: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which places of the window lie in a sure cluster [n]; `left` [n] says which are masks still."""
        size = len(self.token)
        if size < WIDTH:
            return np.zeros(len(at), np.bool_)
        masks, sums = np.zeros(size, np.int64), np.zeros(size)
        masks[at[left]] = 1
        sums[at[left]] = confidence[left]
        windows = np.lib.stride_tricks.sliding_window_view
        members = windows(masks, WIDTH).sum(-1)  # [size - 2]
        sure = (members >= WIDTH - 1) & (windows(sums, WIDTH).sum(-1) >= self.settings.cluster * np.maximum(members, 1))
        inside = np.zeros(size, np.bool_)
        for offset in range(WIDTH):
            inside[offset : offset + len(sure)] |= sure
        return np.asarray(inside[at] & left)

    def _echoes(
        self, canvas: Canvas, prediction: Prediction, confidence: Floats, left: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """One of each stretch of equal predictions [n]."""
        taken = np.zeros(len(left), np.bool_)
        masks = np.flatnonzero(left)
        for stretch in stretches(prediction.positions[masks]):
            indices = masks[stretch]
            tokens = prediction.tokens[indices]
            for run in np.split(indices, np.flatnonzero(np.diff(tokens)) + 1):
                if len(run) > 1 and confidence[run].max() > self.settings.echo:
                    taken[self._pick(canvas, prediction.positions, confidence, run)] = True
        return taken

    def _pick(self, canvas: Canvas, positions: Positions, confidence: Floats, run: Positions) -> int:
        if self.settings.pick == "middle":
            return int(run[(len(run) - 1) // 2])
        if self.settings.pick == "random":
            confidence = uniform(canvas.rule, positions, canvas.step, Use.RANK)
        return int(run[confidence[run].argmax()])
