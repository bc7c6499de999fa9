"""Classifier-free guidance for text: towards the prompt, or away from another one (arXiv 2306.17806)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..entry import Entry, Guarantee
from .contract import Companion, Stage, Steer, in_range, require
from .logits import contrasted

if TYPE_CHECKING:
    from torch import Tensor

    from .nodes import Nodes

ENTRY = Entry(
    name="text-guidance",
    family="steer",
    source="arXiv 2306.17806 (stay on topic with classifier-free guidance)",
    parts="plain+guide(1.5)",
    guarantee=Guarantee.DEFINED,
    summary="towards the prompt, or away from another one",
)


@dataclass(frozen=True, slots=True)
class Guide(Steer):
    """Log-probabilities without the prompt, plus `scale` times the difference that the prompt makes.

    Without the prompt means after its last token only, or after `negative` in its place: then the answer is led away
    from what would follow that.
    """

    name: ClassVar[str] = "guide"
    stage: ClassVar[Stage] = Stage.CONTRAST

    scale: float  # 0 (as without the prompt) to 100; 1 is neutral, usual values lie between 1 and 3
    negative: str | tuple[int, ...] = ()  # text or token ids to lead away from; none: the prompt's last token

    def __post_init__(self) -> None:
        require(in_range(self.scale, 0, 100), f"guide with scale {self.scale}", "0 to 100; 1 changes nothing")

    @property
    def idle(self) -> bool:
        return self.scale == 1

    @property
    def companions(self) -> tuple[Companion, ...]:
        return (Companion.instead(self.negative),)

    @classmethod
    def examples(cls) -> tuple[Guide, ...]:
        return cls(1.0), cls(3.0), cls(2.0, (3, 1)), cls(0.0)

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        if self.idle:
            return logits
        own = nodes.log_probabilities
        without = nodes.companions[self.companions[0]].log_softmax(-1, dtype=own.dtype)
        return contrasted(logits, own, without, self.scale - 1)
