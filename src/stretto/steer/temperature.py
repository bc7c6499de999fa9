"""Temperature: flatter or sharper, and greedy at zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..entry import Entry, Guarantee
from .contract import Stage, Steer, in_range, require

if TYPE_CHECKING:
    from torch import Tensor

    from .nodes import Nodes

ENTRY = Entry(
    name="temperature-sampling",
    family="steer",
    source="the reference: logits divided by a temperature before the draw",
    parts="plain+temperature(0.7)",
    guarantee=Guarantee.DEFINED,
    summary="flatter or sharper samples, greedy at zero",
)


@dataclass(frozen=True, slots=True)
class Temperature(Steer):
    """Divide the logits by the temperature. Zero is greedy by definition, not a limit: nothing is divided."""

    name: ClassVar[str] = "temperature"
    stage: ClassVar[Stage] = Stage.TEMPERATURE
    pointwise: ClassVar[bool] = True

    value: float  # 0 (greedy), or 0.001 to 100; 1 is neutral

    def __post_init__(self) -> None:
        require(
            self.value == 0 or in_range(self.value, 1e-3, 100.0),
            f"temperature {self.value} is out of range",
            "0 is greedy; otherwise 0.001 to 100, where 1 leaves the model as it is",
        )

    @property
    def idle(self) -> bool:
        return self.value == 1

    @property
    def greedy(self) -> bool:
        """Whether the choice is the best token, without chance."""
        return self.value == 0

    @classmethod
    def examples(cls) -> tuple[Temperature, ...]:
        return cls(1.0), cls(0.5), cls(1.7), cls(0.0)

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        return logits if self.idle or self.greedy else logits / self.value
