"""XTC, exclude top choices: now and then all of the likely tokens but the last one of them go."""

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
    name="xtc",
    family="steer",
    source="github.com/oobabooga/text-generation-webui/pull/6335; as in llama.cpp",
    parts="plain+xtc",
    guarantee=Guarantee.DEFINED,
    summary="by chance, all but the least likely of the tokens above a threshold are left out",
)


@dataclass(frozen=True, slots=True)
class Xtc(Steer):
    """With the given probability, remove the tokens of at least `threshold` but for the least likely of them.

    So where several tokens would do, an unusual one is written; where one alone would, it stays. A greedy choice leaves
    it out.
    """

    name: ClassVar[str] = "xtc"
    stage: ClassVar[Stage] = Stage.LAST

    probability: float = 0.5  # 0 to 1, that anything is removed at a position; 0 is neutral
    threshold: float = 0.1  # probability of a token, 0 to 1; above 0.5 nothing is ever removed: neutral

    def __post_init__(self) -> None:
        require(in_range(self.probability, 0, 1), f"xtc probability {self.probability} is out of range", "0 to 1")
        require(
            in_range(self.threshold, 0, 1),
            f"xtc threshold {self.threshold} is out of range",
            "0 to 1, usually 0.1; above 0.5 nothing is removed",
        )

    @property
    def idle(self) -> bool:
        return self.probability == 0 or self.threshold > 0.5

    @classmethod
    def examples(cls) -> tuple[Xtc, ...]:
        return cls(0.0), cls(1.0, 0.05), cls(0.5, 0.02)

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        if self.idle:
            return logits
        struck = [coin < self.probability for coin in nodes.coins(self)]  # [N]
        if not any(struck):
            return logits
        most = int(1 / self.threshold) + 1 if self.threshold else logits.shape[-1]  # no more tokens have as much each
        values, ids = logits.topk(min(most, logits.shape[-1]), sorted=False)  # [N, K]
        floor = logits.logsumexp(-1, keepdim=True) + (math.log(self.threshold) if self.threshold else -torch.inf)
        likely = (values >= floor) & (values > -torch.inf) & torch.tensor(struck, device=logits.device)[:, None]
        least = values.masked_fill(~likely, torch.inf)
        last = torch.where(least == least.amin(-1, keepdim=True), ids, -1).amax(-1, keepdim=True)  # of equals, one
        return logits.scatter(1, ids, values.masked_fill(likely & (ids != last), -torch.inf))
