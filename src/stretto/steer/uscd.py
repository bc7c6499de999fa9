"""USCD: contrast with a lame prompt, where the prediction is uncertain and nowhere else (arXiv 2409.05923)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from ..entry import Entry, Guarantee
from .contract import Companion, Stage, Steer, in_range, require
from .logits import contrasted, implausible

if TYPE_CHECKING:
    from torch import Tensor

    from .nodes import Nodes

ENTRY = Entry(
    name="uscd",
    family="steer",
    number=87,
    source="arXiv 2409.05923 (uncertainty-aware selective contrastive decoding)",
    parts="plain+uscd",
    guarantee=Guarantee.DEFINED,
    confirmed=False,  # over which tokens the deviation is taken, and the settings
    summary="where the prediction is uncertain, away from what follows a prompt without examples",
)


@dataclass(frozen=True, slots=True)
class Uscd(Steer):
    """Where a prediction is uncertain, move the logits by `by` away from those after the lame prompt.

    There only tokens of at least `share` times the highest probability stay; elsewhere the logits do. By `deviation` a
    prediction is uncertain where the standard deviation of the `among` highest probabilities is at most `limit`; by
    `entropy` where that is at least `limit` nats; by `doubt` where 1 less the highest probability is.
    """

    name: ClassVar[str] = "uscd"
    stage: ClassVar[Stage] = Stage.CONTRAST

    lame: str | tuple[int, ...] = ()  # text or token ids: the prompt without its examples; none: its last token
    by: float = 0.5  # 0 to 100
    limit: float = 0.09  # 0 to 100; of `measure`
    share: float = 0.1  # of the highest probability, 0 to 1; 0 removes none
    measure: Literal["deviation", "entropy", "doubt"] = "deviation"
    among: int = 100  # tokens, 2 or more

    def __post_init__(self) -> None:
        require(in_range(self.by, 0, 100), f"uscd by {self.by}", "0 to 100")
        require(in_range(self.limit, 0, 100), f"uscd with limit {self.limit}", "0 to 100")
        require(in_range(self.share, 0, 1), f"uscd with share {self.share}", "0 to 1")
        require(self.among >= 2, f"uscd among {self.among} tokens", "2 or more")

    @property
    def idle(self) -> bool:
        return self.by == 0 and self.share == 0

    @property
    def companions(self) -> tuple[Companion, ...]:
        return (Companion.instead(self.lame),)

    @classmethod
    def examples(cls) -> tuple[Uscd, ...]:
        always = cls((2, 0), 1.0, 1.0)
        return cls(by=0.0, share=0.0), always, cls(limit=0.8, measure="entropy"), cls(limit=0.4, measure="doubt")

    def uncertain(self, nodes: Nodes) -> Tensor:
        """At which nodes there is contrast: bool [N]."""
        if self.measure == "entropy":
            return nodes.entropy >= self.limit
        p = nodes.log_probabilities.topk(min(self.among, nodes.raw.shape[-1])).values.exp()  # [N, K]
        if self.measure == "doubt":
            return 1 - p[:, 0] >= self.limit
        deviation: Tensor = (p - p.mean(-1, keepdim=True)).square().mean(-1).sqrt()
        return deviation <= self.limit

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        if self.idle:
            return logits
        own = nodes.log_probabilities
        lame = nodes.companions[self.companions[0]].log_softmax(-1, dtype=own.dtype)
        moved = contrasted(logits, own, lame, self.by) if self.by else logits
        moved = moved.masked_fill(implausible(own, self.share), -torch.inf)
        return torch.where(self.uncertain(nodes)[:, None], moved, logits)
