"""Contrastive decoding: what a model knows better than a lesser reading (arXiv 2210.15097, for sampling 2309.09117)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ..entry import Entry, Guarantee
from ..models.contract import Model
from .contract import Companion, Stage, Steer, in_range, require
from .logits import contrasted, implausible

if TYPE_CHECKING:
    from torch import Tensor

    from .nodes import Nodes

ENTRY = Entry(
    name="contrastive-decoding",
    family="steer",
    source="arXiv 2210.15097, for sampling 2309.09117",
    parts="plain+contrast(zoo/draft)",
    guarantee=Guarantee.DEFINED,
    needs=("draft model",),
    summary="what a model knows better than a lesser one, among the tokens that it finds plausible",
)


@dataclass(frozen=True, slots=True)
class Contrast(Steer):
    """Move the logits by `beta` away from a lesser reading, among the tokens that the model itself finds plausible.

    The lesser one is a smaller model, or the model with less of the prompt. Plausible are tokens of at least `share`
    times the highest probability, of the model as it is: before temperature, penalties and all else.
    """

    name: ClassVar[str] = "contrast"
    stage: ClassVar[Stage] = Stage.CONTRAST

    model: str | Model = ""  # the lesser model, of the same tokenizer; empty: the target itself
    beta: float = 0.5  # 0 to 100: how far the logits move; 0 moves none
    share: float = 0.1  # of the highest probability, 0 to 1: below it a token is removed; 0 removes none
    newest: int | None = None  # tokens of the prompt that the lesser reading sees, the newest, >= 1; None: all

    def __post_init__(self) -> None:
        require(in_range(self.beta, 0, 100), f"contrast with beta {self.beta}", "0 to 100")
        require(in_range(self.share, 0, 1), f"contrast with share {self.share}", "0 to 1")
        require(self.newest is None or self.newest >= 1, f"contrast with newest {self.newest}", "1 or more, or None")

    @property
    def idle(self) -> bool:
        return self.beta == 0 and self.share == 0

    @property
    def companions(self) -> tuple[Companion, ...]:
        return (Companion(self.model, newest=self.newest),)

    @classmethod
    def examples(cls) -> tuple[Contrast, ...]:
        return cls(beta=0.0, share=0.0), cls(newest=1, beta=4.0), cls(beta=0.0, share=0.8), cls(newest=2, beta=1.0)

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        if self.idle:
            return logits
        own = nodes.log_probabilities
        if self.beta:
            lesser = nodes.companions[self.companions[0]].log_softmax(-1, dtype=own.dtype)
            logits = contrasted(logits, own, lesser, self.beta)
        if not self.share:
            return logits
        return logits.masked_fill(implausible(own, self.share), -torch.inf)
