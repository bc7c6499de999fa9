"""Momentum decoding: where the text would walk an old way again, it meets resistance (arXiv 2212.02175)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ..entry import Entry, Guarantee
from .contract import Stage, Steer, in_range, require
from .path import Path, Scope

if TYPE_CHECKING:
    from torch import Tensor

    from .nodes import Nodes

ENTRY = Entry(
    name="momentum-decoding",
    family="steer",
    number=115,
    source="arXiv 2212.02175; gmftbyGMFTBY/MomentumDecoding",
    parts="plain+momentum",
    guarantee=Guarantee.DEFINED,
    summary="the best of a few tokens, less a resistance that grows with the length of the run it would repeat",
)


@dataclass(frozen=True, slots=True)
class Momentum(Steer):
    """Keep the `among` best tokens, and their equals: each scores its probability less `by` times its run's resistance.

    The run of a token is the longest that ends in it and that the text, prompt and all, already holds: no token for one
    that is new, one for one that occurred after others. `resistance` names that of each length; longer runs count as
    the longest named. The method's choice is greedy; a sampled one is of the softmax of the scores.
    """

    name: ClassVar[str] = "momentum"
    stage: ClassVar[Stage] = Stage.PENALTY

    by: float = 0.2  # 0 to 100; with 0 the best token stays the best
    among: int = 5  # tokens, 1 or more; 0 is neutral: nothing is done
    resistance: tuple[float, ...] = (0, 1, 2, 3, 4, 5)  # of runs of 0, 1, … tokens, 0 to 1000; as for a GPT-2 XL

    def __post_init__(self) -> None:
        require(in_range(self.by, 0, 100), f"momentum by {self.by}", "0 to 100, usually 0.2")
        require(self.among >= 0, f"momentum among {self.among} tokens", "1 or more, usually 5; 0 does nothing")
        require(
            len(self.resistance) > 1 and all(in_range(each, 0, 1000) for each in self.resistance),
            f"momentum with resistance {self.resistance}",
            "two or more values of 0 to 1000: of runs of 0, 1, … tokens",
        )

    @property
    def idle(self) -> bool:
        return self.among == 0

    @classmethod
    def examples(cls) -> tuple[Momentum, ...]:
        return cls(among=0), cls(), cls(0.5, 3, (0, 0, 1, 4)), cls(1.0, 6, (0, 1))

    def runs(self, path: Path, tokens: Iterable[int]) -> dict[int, int]:
        """How many tokens the run of each has, at most the longest that has a resistance."""
        found = {token: min(1, path.count(token, Scope.PATH)) for token in tokens}
        for size in range(2, len(self.resistance)):
            found |= dict.fromkeys(found.keys() & path.followers(size), size)
        return found

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        if self.idle:
            return logits
        least = logits.topk(min(self.among, logits.shape[-1])).values[:, -1:]
        able = (logits >= least) & (logits > -torch.inf)
        against: list[float] = []
        for path, row in zip(nodes.paths, able, strict=True):
            against += [self.resistance[run] for run in self.runs(path, row.nonzero()[:, 0].tolist()).values()]
        lost = self.by * torch.tensor(against, dtype=logits.dtype, device=logits.device)
        scores = torch.where(able, logits.softmax(-1), -torch.inf)
        return scores.masked_scatter(able, scores[able] - lost)
