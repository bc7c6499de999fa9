"""EAD: a temperature that is high at first and falls along the answer (arXiv 2510.05251)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ..entry import Entry, Guarantee
from .contract import Stage, Steer, in_range, require

if TYPE_CHECKING:
    from torch import Tensor

    from .nodes import Nodes

ENTRY = Entry(
    name="ead",
    family="steer",
    number=257,
    source="arXiv 2510.05251 (exploratory annealed decoding); yangalan123/EAD-RLVR",
    parts="plain+ead",
    guarantee=Guarantee.DEFINED,
    summary="a temperature that falls along the answer: explore first, then finish what was begun",
)

STRETCH = 20  # the authors' sampler decays over so many times the decay that its settings name
GROWTH = 5  # tokens that the decay grows by with each step of training
SLOWEST = 40_000  # tokens; the decay grows no more


@dataclass(frozen=True, slots=True)
class Ead(Steer):
    """Divide the logits by 1 for the first `warm` tokens, then by max(1 + highest - e^(t / (20 d)), lowest).

    t counts the tokens of the answer before this one; d is `decay`, and 5 more for each step of training before. So the
    temperature jumps to about `highest` where the first tokens end, and falls from there. With a fixed temperature
    beside it, both divide. A greedy choice leaves it out. Its log-probabilities are those it draws from, in training
    as well.
    """

    name: ClassVar[str] = "ead"
    stage: ClassVar[Stage] = Stage.TEMPERATURE

    highest: float = 1.2  # 0.001 to 100
    lowest: float = 0.1  # 0.001 to 100; 1, with a highest of at most 1, is neutral
    decay: float = 25.0  # tokens, above 0 to 40000
    warm: int = 10  # tokens at temperature 1, 0 or more
    training: int = 0  # steps of it before, 0 or more

    def __post_init__(self) -> None:
        for what, value in (("highest", self.highest), ("lowest", self.lowest)):
            require(in_range(value, 1e-3, 100), f"ead with the {what} temperature {value}", "0.001 to 100")
        require(self.decay > 0 and in_range(self.decay, 0, SLOWEST), f"ead with decay {self.decay}", "above 0 to 40000")
        require(
            self.warm >= 0 and self.training >= 0, f"ead with warm {self.warm}, training {self.training}", "0 or more"
        )

    @property
    def idle(self) -> bool:
        return self.lowest == 1 and self.highest <= 1

    @classmethod
    def examples(cls) -> tuple[Ead, ...]:
        return cls(1.0, 1.0), cls(warm=1, decay=0.2), cls(2.0, 0.5, 0.1, 0), cls(3.0, warm=2, training=1)

    def temperature(self, length: int) -> float:
        """What the logits are divided by after `length` tokens of the answer."""
        if length < self.warm:
            return 1.0
        decay = STRETCH * min(self.decay + GROWTH * self.training, SLOWEST)
        return max(1 + self.highest - math.exp(min(length / decay, 700)), self.lowest)

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        if self.idle:
            return logits
        by = [self.temperature(path.output_length) for path in nodes.paths]
        return logits / torch.tensor(by, dtype=logits.dtype, device=logits.device)[:, None]
