"""A small network that reads a window's confidences and says where the predictions are final already.

It has one width: that of the windows it was trained on. Its input is the confidence at each open position, and `KNOWN`
at those that are filled, were given, or lie behind the end of a shorter window.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ..errors import InvalidRequest
from ..files import replacing
from .canvas import Span
from .prediction import Floats, Positions

if TYPE_CHECKING:
    from numpy.typing import NDArray

KNOWN = 1.0
NAME = "filter.npz"  # of the file beside a checkpoint's weights

Matrix: TypeAlias = "NDArray[np.float64]"


@dataclass(frozen=True, slots=True)
class Filter:
    """Two layers of the window's width B with a ReLU between them: 2 B² + 2 B numbers."""

    inner: Matrix  # [B, B]
    inner_bias: Floats  # [B]
    outer: Matrix  # [B, B]
    outer_bias: Floats  # [B]

    @property
    def width(self) -> int:
        """B."""
        return len(self.inner_bias)

    def __call__(self, features: Floats) -> Floats:
        """How likely each prediction is final [..., B], from `features` [..., B]."""
        hidden = np.maximum(features @ self.inner.T + self.inner_bias, 0.0)
        scores = np.clip(hidden @ self.outer.T + self.outer_bias, -500.0, 500.0)
        likely: Floats = 1.0 / (1.0 + np.exp(-scores))
        return likely

    def save(self, path: Path) -> None:
        """Write it as an npz file."""
        with replacing(path) as fresh, fresh.open("wb") as file:
            np.savez(file, **asdict(self))

    @classmethod
    def load(cls, path: Path) -> Filter:
        """Read it back. Raises InvalidRequest where there is none."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                found = cls(*(arrays[name].astype(np.float64) for name in cls.__slots__))
        except (OSError, ValueError, KeyError) as error:
            raise InvalidRequest(f"{path} holds no filter", hint="make one with `stretto train filter`") from error
        width = found.width
        shapes = [matrix.shape for matrix in (found.inner, found.outer, found.inner_bias, found.outer_bias)]
        if shapes != [(width, width), (width, width), (width,), (width,)]:
            raise InvalidRequest(f"the filter in {path} has the shapes {shapes}", hint="square layers of one width")
        return found


def features(window: Span, positions: Positions, confidence: Floats, width: int) -> Floats:
    """What a filter of this width reads [B]: confidences [n] at open positions [n] of a window no wider."""
    read = np.full(width, KNOWN)
    read[positions - window.start] = confidence
    return read
