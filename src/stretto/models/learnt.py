"""What a window costs here, learnt from the rounds themselves."""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from . import machine
from .clock import Clock, by_bytes
from .contract import Model
from .numbers import numbers_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

SLOTS = (*range(1, 10), 12, 13, 16, 17, 20, 24, 32, 48, 64, 96, 128, 256, 1024)  # in all rows: where the curve bends
ROWS = (1, 2, 4, 8, 16, 32, 256)
LEVEL, PACE = 5.0, 0.03  # how unsure the level is at first, and how far it goes from round to round: in logarithms
BEND, BATCH, FILLED = 0.25, 0.15, 0.3  # how unsure the rest is: of each doubling of slots, of rows; of padding
NOISE = 0.08  # of one round
REST, FADE = 16, 0.996  # rounds, and what is still known after these of what they do not tell of
SELDOM = 8  # of many rounds without drafts each so many-th is learnt from
HOPE = 0.5  # what is told is so many standard deviations below what is expected
ABOVE, BELOW = 2.0, 4.0  # how far off a round is believed, in standard deviations: hiccups only add
OFTEN = 512  # rounds after which what was learnt is written down again; at first after REST, twice as many …


class LearntClock(Clock):
    """Learns from every round what windows cost, and remembers it on disk.

    The logarithm of a window's seconds is taken to be a sum: the machine's pace of the moment, which wanders; a curve
    over the slots, 0 at one, which bends where it likes; what it costs that the slots are those of several rows; and of
    padding. Each round is one reading of that sum (a Kalman filter over the parts): what is known well is corrected
    little, and what is not known takes the rest. It begins with what bytes and multiplications would take. Told is
    a little less than expected where that is unsure: so what was never tried, or not for long, is tried.
    """

    _batch: ClassVar[int] = len(SLOTS)  # where these begin in the sum, behind the pace and the curve
    _padding: ClassVar[int] = len(SLOTS) + len(ROWS) - 1

    def __init__(self, model: Model, folder: Path | None = None, *, fresh: bool = False) -> None:
        """`folder` holds what is remembered (None: the user's cache folder); `fresh` begins anew."""
        self._model, self._folder = model, folder
        self._prior = np.log(by_bytes(model, SLOTS))
        unsure = np.zeros((self._padding + 1, self._padding + 1))
        unsure[1 : self._batch, 1 : self._batch] = BEND**2 * _wandering(SLOTS)
        unsure[self._batch : -1, self._batch : -1] = BATCH**2 * _wandering(ROWS)
        unsure[0, 0], unsure[-1, -1] = LEVEL**2, FILLED**2
        self._fade = np.full(len(unsure), FADE)
        self._fade[[0, -1]] = 1.0
        self._drift = (1 - np.outer(self._fade, self._fade)) * unsure
        self._unsure = unsure  # of the parts, and how they hang together
        self._parts = np.zeros(len(unsure))
        self._parts[-1] = FILLED
        self._at_first = np.sqrt(np.diag(unsure))
        self._warm: set[int] = set()  # slots of windows of which there was one
        self._rounds, self._plain = 0, 0  # that were learnt from; without drafts, of late
        self._sums: dict[tuple[int, int, float], tuple[float, NDArray[Any]]] = {}  # see `_sum`
        self._told: list[float] = []  # seconds at SLOTS; empty: to be made anew
        self._more: dict[tuple[int, float], float] = {}  # times as much, for so many rows and so much padding
        self._pending = not fresh  # what is remembered is not looked at yet

    def cost(self, tokens: float, rows: int = 1, padding: int = 0) -> float:
        """Seconds for one window, see `Clock.cost`."""
        if not self._told:
            self._recall()
            parts, unsure = self._parts[: self._batch].copy(), np.sqrt(self._unsure.diagonal()[: self._batch])
            pace, parts[0], unsure[0] = parts[0], 0.0, 0.0
            self._told = np.maximum.accumulate(np.exp(self._prior + (pace + parts - HOPE * unsure))).tolist()
        slots = tokens * rows
        left, share = _between(SLOTS, slots)
        seconds = self._told[left] + (self._told[left + 1] - self._told[left]) * share
        if rows == 1 and not padding:
            return seconds
        filled = padding / slots
        if (rows, filled) not in self._more:
            self._more[rows, filled] = math.exp(float(self._of_rows(rows, filled) @ self._parts[self._batch :]))
        return seconds * self._more[rows, filled]

    def learn(self, lengths: Sequence[int], seconds: float) -> None:
        """See `Clock.learn`. The first window of a size warms up, and tells nothing."""
        slots, rows = sum(lengths), len(lengths)
        if slots not in self._warm or slots > SLOTS[-1]:
            self._warm.add(slots)
            return
        self._plain = self._plain + 1 if slots == rows else 0
        if self._plain > REST and self._plain % SELDOM:
            return
        self._recall()
        self._rounds += 1
        if self._rounds % REST == 0:
            self._parts *= self._fade
            self._unsure = self._unsure * np.outer(self._fade, self._fade) + self._drift
        self._unsure[0, 0] += PACE**2
        before, at = self._sum(rows, slots, max(lengths) * rows / slots - 1)
        self._read(at, math.log(max(seconds, 1e-9)) - before, NOISE)
        if self._rounds % OFTEN == 0 or (self._rounds >= REST and self._rounds & (self._rounds - 1) == 0):
            self.keep()

    def knows(self, rows: int = 1) -> bool:
        """Whether anything was learnt of windows of so many rows."""
        self._recall()
        left, _ = _between(ROWS, rows)
        part = self._batch + left - 1 if left else 2  # three slots of one row
        return bool(self._unsure[part, part] < (self._at_first[part] / 2) ** 2)

    def _sum(self, rows: int, slots: int, filled: float) -> tuple[float, NDArray[Any]]:
        """What a window would take before anything is known, and how much of each part it takes."""
        key = rows, slots, filled
        if key not in self._sums:
            left, share = _between(SLOTS, slots)
            at = np.concatenate([np.zeros(self._batch), self._of_rows(rows, filled)])
            at[left : left + 2] = 1 - share, share
            at[0] = 1.0  # the curve is 0 at its first place, where the pace stands
            self._sums[key] = self._prior[left] * (1 - share) + self._prior[left + 1] * share, at
        return self._sums[key]

    def _read(self, at: NDArray[Any], value: float, noise: float) -> None:
        """A reading: `at @ parts` is `value`, within `noise`."""
        along = self._unsure @ at
        spread = float(at @ along) + noise**2
        limit, off = math.sqrt(spread), value - float(at @ self._parts)
        self._parts += along * (min(max(off, -BELOW * limit), ABOVE * limit) / spread)
        self._unsure -= along[:, None] * (along / spread)
        self._told = []
        self._more.clear()

    def _of_rows(self, rows: int, filled: float) -> NDArray[Any]:
        """How much of each part that tells of batches is in a window's sum; `filled`: padding to a slot."""
        at = np.zeros(len(ROWS))
        left, share = _between(ROWS, rows)
        at[left] = min(share, 1.0)
        if left:
            at[left - 1] = 1 - at[left]
        at[-1] = math.log1p(filled)
        return at

    def keep(self) -> None:
        """Write down what was learnt."""
        unsure = np.sqrt(np.diag(self._unsure))
        known = np.flatnonzero(unsure < self._at_first / 2).tolist()
        learnt = [[part, float(self._parts[part]), float(unsure[part])] for part in known]
        key = describe(self._model)
        machine.remember(machine.place("clock", key, self._folder), {**json.loads(key), "learnt": learnt})

    def _recall(self) -> None:
        if not self._pending:
            return
        self._pending = False
        content = machine.recall(machine.place("clock", describe(self._model), self._folder))
        try:
            learnt = [(int(part), float(value), float(unsure)) for part, value, unsure in content["learnt"]]
        except (ValueError, KeyError, TypeError, OverflowError):  # absent, or not ours
            return
        parts, first = len(self._parts), self._at_first
        if all(0 <= part < parts and abs(value) < 20 and 0 < unsure <= first[part] for part, value, unsure in learnt):
            for part, value, unsure in learnt:
                self._read(np.eye(parts)[part], value, max(unsure, NOISE / 2))
            self._unsure[0] = self._unsure[:, 0] = 0.0  # the pace is that of another day
            self._unsure[0, 0] = BEND**2


def _between(knots: Sequence[int], at: float) -> tuple[int, float]:
    """The knot at or before `at`, or the last but one, and how far it is from there to the next: beyond 1 past it."""
    left = bisect_right(knots, at, 1, len(knots) - 1) - 1
    return left, (at - knots[left]) / (knots[left + 1] - knots[left])


def _wandering(knots: Sequence[int]) -> NDArray[Any]:
    """How the values at the knots but the first hang together, if they wander with each doubling."""
    places = np.log2(knots[1:])
    return np.minimum.outer(places, places)


def describe(model: Model) -> str:
    """What the costs depend on: the model's shape and kind, the machine, the threads, the version of torch."""
    facts = {
        "model": [type(model).__name__, model.name, model.layers, model.channels, model.vocabulary],
        "numbers": [str(model.dtype), str(model.device), numbers_of(model).blocks],
        **machine.facts(model.device),
    }
    return json.dumps(facts)
