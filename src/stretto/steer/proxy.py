"""Proxy tuning: what tuning made of a small model is added to a large one (arXiv 2401.08565)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..entry import Entry, Guarantee
from ..models.contract import Model
from .contract import Companion, Stage, Steer, in_range, require
from .logits import contrasted

if TYPE_CHECKING:
    from torch import Tensor

    from .nodes import Nodes

ENTRY = Entry(
    name="proxy-tuning",
    family="steer",
    source="arXiv 2401.08565 (tuning language models by proxy)",
    parts="plain+proxy(zoo/draft)",
    guarantee=Guarantee.DEFINED,
    needs=("draft model",),
    summary="the logits of a large model, moved as tuning moved those of a small one",
)


@dataclass(frozen=True, slots=True)
class Proxy(Steer):
    """Add `by` times the difference that tuning made to a small model, in log-probabilities.

    Both small models have the target's tokenizer. An empty name is the target itself.
    """

    name: ClassVar[str] = "proxy"
    stage: ClassVar[Stage] = Stage.CONTRAST

    tuned: str | Model = ""  # the small model as it was tuned; empty: the target
    untuned: str | Model = ""  # and before; empty: the target
    by: float = 1.0  # 0 to 100; 1 is the authors', 0 is neutral

    def __post_init__(self) -> None:
        require(in_range(self.by, 0, 100), f"proxy by {self.by}", "0 to 100, usually 1")
        require(self.idle or self.tuned != self.untuned, "proxy with a model against itself", "name two models")

    @property
    def idle(self) -> bool:
        return self.by == 0

    @property
    def companions(self) -> tuple[Companion, ...]:
        return Companion(self.tuned), Companion(self.untuned)

    @classmethod
    def examples(cls) -> tuple[Proxy, ...]:
        return cls(by=0.0), cls("other"), cls("other", by=2.5)

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        if self.idle:
            return logits
        kind = nodes.log_probabilities.dtype
        tuned, untuned = (nodes.companions[each].log_softmax(-1, dtype=kind) for each in self.companions)
        return contrasted(logits, tuned, untuned, self.by)
