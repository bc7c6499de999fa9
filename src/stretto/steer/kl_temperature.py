"""KL-guided temperature: cool where the source matters, warm elsewhere (arXiv 2306.01286)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ..entry import Entry, Guarantee
from .contract import Companion, Stage, Steer, in_range, require

if TYPE_CHECKING:
    from torch import Tensor

    from .nodes import Nodes

ENTRY = Entry(
    name="kl-temperature",
    family="steer",
    number=183,
    source="arXiv 2306.01286 (KL-divergence guided temperature sampling); google-research/kl_guided_sampling",
    parts="plain+kl_temperature",
    guarantee=Guarantee.DEFINED,
    summary="a temperature that falls where the prediction with the source differs from that without it",
)

LEAST = math.log(1e-7)  # of a probability, as in the authors' code


@dataclass(frozen=True, slots=True)
class KlTemperature(Steer):
    """Divide the logits by max(start * 2 ^ (-D / half), lowest), D = KL(with the source ‖ without it) in nats.

    Without the source means after the prompt's last token only, or after `without` in its place: the prompt as it reads
    without what the answer is to be true to. With a fixed temperature beside it, both divide. A greedy choice leaves it
    out.
    """

    name: ClassVar[str] = "kl_temperature"
    stage: ClassVar[Stage] = Stage.TEMPERATURE

    half: float = 1.0  # nats, 0 to 1000: by how much D each halves the temperature; 0 leaves it
    without: str | tuple[int, ...] = ()  # text or token ids: the prompt without its source; none: its last token
    start: float = 1.0  # 0.001 to 100: the temperature where the source changes nothing
    lowest: float = 0.001  # 0.001 to 100

    def __post_init__(self) -> None:
        require(in_range(self.half, 0, 1000), f"kl_temperature halved by {self.half}", "0 to 1000 nats")
        require(in_range(self.start, 1e-3, 100), f"kl_temperature from {self.start}", "0.001 to 100, usually 1")
        require(in_range(self.lowest, 1e-3, 100), f"kl_temperature down to {self.lowest}", "0.001 to 100")

    @property
    def idle(self) -> bool:
        return self.half == 0 and max(self.start, self.lowest) == 1

    @property
    def companions(self) -> tuple[Companion, ...]:
        return (Companion.instead(self.without),) if self.half else ()

    @classmethod
    def examples(cls) -> tuple[KlTemperature, ...]:
        return cls(0.0), cls(), cls(0.2, (3, 1), 1.5, 0.3)

    def apart(self, nodes: Nodes) -> Tensor:
        """D at each node, in nats: [N], 0 or more. No probability counts as less than 1e-7."""
        own = nodes.log_probabilities
        without = nodes.companions[self.companions[0]].log_softmax(-1, dtype=own.dtype).clamp(min=LEAST)
        own = own.clamp(min=LEAST)
        return (own.exp() * (own - without)).sum(-1).clamp(min=0)

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        if self.idle:
            return logits
        temperature = torch.full((len(logits),), self.start, dtype=torch.float64, device=logits.device)
        if self.half:
            temperature = temperature * torch.exp2(-self.apart(nodes).double() / self.half)
        return logits / temperature.clamp(min=self.lowest)[:, None].to(logits.dtype)
