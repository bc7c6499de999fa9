"""Actions of an arm as tokens: the next steps of a path, cut into bins, and how far off they are.

A goal names a path, on which each joint follows a sum of two sinusoids; asked with the goal and where the joints are
now, the arm is to go on. Sizes as in Discrete Diffusion VLA (arXiv 2508.20072), with fewer bins: 8 steps of 7 joints
are 56 tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InvalidRequest

STEPS, JOINTS, BINS, GOALS = 8, 7, 32, 4
CHUNK = STEPS * JOINTS  # tokens
SPAN = (0.01, 0.99)  # quantiles of the values that bins lie between
STRIDE = 0.3  # radians from step to step
WAVES = np.array([1, 2])[:, None, None]  # turns of the two sinusoids on one way round a path

Values = NDArray[np.float64]
Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Bins:
    """Equal bins of each dimension between two of its values; what lies outside falls into the outermost."""

    low: Values  # [D]
    high: Values  # [D]
    count: int = BINS

    @classmethod
    def fitted(cls, values: Values, count: int = BINS) -> Self:
        """Bins for values like these [N, D], between their quantiles of 1 and 99 %."""
        low, high = np.quantile(values, SPAN, axis=0)
        if count < 1 or not (low < high).all():
            raise InvalidRequest(f"{count} bins for values of no width", hint="1 bin or more, and values that differ")
        return cls(low, high, count)

    def tokens(self, values: Values) -> Ids:
        """The bin of each value [..., D], 0 … count − 1."""
        share = (values - self.low) / (self.high - self.low)
        return np.clip(np.floor(share * self.count), 0, self.count - 1).astype(np.int64)

    def values(self, tokens: ArrayLike) -> Values:
        """The middle of each bin [..., D]."""
        middle: Values = self.low + (np.asarray(tokens) + 0.5) / self.count * (self.high - self.low)
        return middle


class Paths:
    """The closed paths to all goals, a function of the seed, and bins that fit them."""

    def __init__(self, goals: int = GOALS, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self._reach = rng.uniform(0.5, 1.0, (goals, 2, 1, JOINTS)) / WAVES
        self._turn = rng.uniform(0, 2 * np.pi, (goals, 2, 1, JOINTS))
        whole = np.linspace(0, 2 * np.pi, 360, endpoint=False)
        self.bins = Bins.fitted(np.concatenate([self.at(np.full(360, goal), whole) for goal in range(goals)])[:, 0])

    def at(self, goals: Ids, places: Values, steps: int = 1) -> Values:
        """The joints from these places [N] (radians) of the paths to these goals [N] on: [N, steps, joints]."""
        angles = (places[:, None] + STRIDE * np.arange(steps))[:, None, :, None]  # [N, 1, steps, 1]
        return np.asarray((self._reach[goals] * np.sin(WAVES * angles + self._turn[goals])).sum(1))

    def drawn(self, rng: np.random.Generator, count: int) -> tuple[Ids, Ids]:
        """Goals and where the joints are [N, 1 + joints], and the way on [N, steps · joints]; joints in bins."""
        goals = rng.integers(len(self._turn), size=count)
        joints = self.bins.tokens(self.at(goals, rng.uniform(0, 2 * np.pi, count), 1 + STEPS))
        return np.concatenate([goals[:, None], joints[:, 0]], 1), joints[:, 1:].reshape(count, CHUNK)

    def error(self, tokens: Ids, wanted: Ids) -> Values:
        """Mean squared distance [N] of chunks [N, steps · joints] from those that are wanted."""
        mine, theirs = (self.bins.values(each.reshape(-1, STEPS, JOINTS)) for each in (tokens, wanted))
        return np.asarray(((mine - theirs) ** 2).mean((1, 2)))
