"""The adaptive temperature against leaks: sampling ends once the answer has been sure of itself (ICLR 2025)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch

from ..entry import Entry, Guarantee
from .contract import Stage, Steer, in_range, require

if TYPE_CHECKING:
    from torch import Tensor

    from .nodes import Nodes

ENTRY = Entry(
    name="unlearning-temperature",
    family="steer",
    number=55,
    source="ICLR 2025 (a probabilistic perspective on unlearning and alignment); yascho/probabilistic-unlearning",
    parts="plain+settling(0.9)",
    guarantee=Guarantee.DEFINED,
    confirmed=False,  # the threshold, and whether the step at hand counts
    summary="temperature 0 for the rest of an answer whose mean confidence has gone beyond a threshold",
)


class Confidence(NamedTuple):
    """Of an answer so far."""

    total: float = 0.0  # the highest probabilities of its steps, added up
    steps: int = 0
    settled: bool = False  # it has been sure of itself


@dataclass(frozen=True, slots=True)
class Settling(Steer):
    """Leave the best token alone from where the mean of the model's highest probabilities exceeds `confidence`.

    The mean is over the answer's steps so far, the one at hand among them, of the model as it is. So what was learnt by
    heart is told as greedy decoding tells it, and the rest is sampled. A greedy choice leaves it out.
    """

    name: ClassVar[str] = "settling"
    stage: ClassVar[Stage] = Stage.TEMPERATURE
    hears: ClassVar[bool] = True

    confidence: float = 0.9  # 0 to 1; 1 is neutral

    def __post_init__(self) -> None:
        require(in_range(self.confidence, 0, 1), f"settling with confidence {self.confidence}", "0 to 1; 1 never does")

    @property
    def idle(self) -> bool:
        return self.confidence == 1

    @classmethod
    def examples(cls) -> tuple[Settling, ...]:
        return cls(1.0), cls(0.7), cls(0.5)

    def begin(self, prompt: Sequence[int]) -> tuple[Confidence, Confidence]:
        """Before a step, and after it: the same until its logits are seen."""
        return Confidence(), Confidence()

    def step(self, state: tuple[Confidence, Confidence], token: int) -> tuple[Confidence, Confidence]:
        return state[1], state[1]

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        if self.idle:
            return logits
        states = []
        for (before, _), sure in zip(nodes.states(self), nodes.log_probabilities.amax(-1).exp().tolist(), strict=True):
            total, steps = before.total + sure, before.steps + 1
            states.append((before, Confidence(total, steps, before.settled or total > self.confidence * steps)))
        nodes.tell(self, range(len(nodes)), states)
        if not any(after.settled for _, after in states):
            return logits
        settled = torch.tensor([after.settled for _, after in states], device=logits.device)[:, None]  # [N, 1]
        best = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, logits.argmax(-1, keepdim=True), True)
        return logits.masked_fill(settled & ~best, -torch.inf)
