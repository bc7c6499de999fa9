"""Classifier-free guidance: a second canvas without the prompt, and logits moved away from its own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from ..errors import InvalidRequest
from ..values import Checked
from .canvas import Canvas
from .prediction import Positions

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Guidance(metaclass=Checked):
    """Logits become u + (weight + 1)(c − u): c with the prompt, u with everything given masked (arXiv 2502.09992).

    The second canvas has keys and values of its own, and doubles what a step costs.
    """

    weight: float = 1.0  # above 0; 0 would be no guidance

    name: ClassVar[str] = "cfg"
    kind: ClassVar[str] = "guidance"

    def __post_init__(self) -> None:
        if not (self.weight > 0 and math.isfinite(self.weight)):
            raise InvalidRequest(f"guidance has weight {self.weight}", hint="above 0; leave it out for none")

    def unprompted(self, canvas: Canvas) -> Positions:
        """The second canvas [L]."""
        return np.where(canvas.frozen, canvas.masking.mask, canvas.ids)

    def guide(self, prompted: Tensor, unprompted: Tensor) -> Tensor:
        """Logits [n, V] of both canvases; what either excludes stays excluded."""
        guided = unprompted + (self.weight + 1) * (prompted - unprompted)
        return guided.masked_fill((prompted == -torch.inf) | (unprompted == -torch.inf), -torch.inf)
