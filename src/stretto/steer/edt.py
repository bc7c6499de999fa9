"""A temperature that follows the entropy (EDT, arXiv 2403.14541)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..entry import Entry, Guarantee
from .contract import Stage, Steer, in_range, require

if TYPE_CHECKING:
    from torch import Tensor

    from .nodes import Nodes

LEAST = 1e-3  # as cold as a fixed temperature may be

ENTRY = Entry(
    name="edt",
    family="steer",
    source="arXiv 2403.14541 (entropy-based dynamic temperature)",
    parts="plain+edt",
    guarantee=Guarantee.DEFINED,
    summary="a temperature that follows the entropy",
)


@dataclass(frozen=True, slots=True)
class EntropyTemperature(Steer):
    """Divide the logits by base ^ (theta / H), H the entropy of the model's own distribution.

    Where the model is sure it becomes surer; where it is not, it stays as it is. With a fixed temperature beside it,
    both divide. A greedy choice leaves it out.
    """

    name: ClassVar[str] = "edt"
    stage: ClassVar[Stage] = Stage.TEMPERATURE
    pointwise: ClassVar[bool] = True

    theta: float = 0.1  # nats, 0 to 100: how soon the temperature falls; 0 is neutral
    base: float = 0.8  # above 0, up to 1: the temperature where the entropy is `theta`; 1 is neutral

    def __post_init__(self) -> None:
        require(in_range(self.theta, 0, 100), f"edt theta {self.theta} is out of range", "0 to 100 nats")
        require(
            self.base > 0 and in_range(self.base, 0, 1), f"edt base {self.base} is out of range", "above 0, up to 1"
        )

    @property
    def idle(self) -> bool:
        return self.theta == 0 or self.base == 1

    @classmethod
    def examples(cls) -> tuple[EntropyTemperature, ...]:
        return cls(0.0), cls(1.0, 0.4), cls(0.5)

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        if self.idle:
            return logits
        temperature = self.base ** (self.theta / nodes.entropy)  # [N]; 0 where the entropy is 0
        return logits / temperature.clamp(min=LEAST)[:, None].to(logits.dtype)
