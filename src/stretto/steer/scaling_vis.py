"""ScalingVis and AdaptVis: how strongly the end of a prompt looks at its pictures (arXiv 2503.01773)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..entry import Entry, Guarantee
from ..errors import InvalidRequest
from ..models.gazes import EVERY, Scaled
from .contract import Stage, Steer, in_range, require

if TYPE_CHECKING:
    from torch import Tensor

    from ..generation import Generation
    from ..models.edits import Edit
    from .nodes import Nodes

ENTRY = Entry(
    name="adapt-vis",
    family="steer",
    number=121,
    source="arXiv 2503.01773 (AdaptVis, ScalingVis); shiqichen17/AdaptVis",
    parts="plain+scaling_vis(1.5)",
    guarantee=Guarantee.DEFINED,
    needs=("embeddings as input", "pictures", "changes of attention"),
    summary="the prompt's last token sees pictures more strongly, or less, by how sure a first answer is",
)


@dataclass(frozen=True, slots=True)
class ScalingVis(Steer):
    """In the layers `first` to `last`, the scores of the prompt's last token for rows of pictures are multiplied.

    Of negative scores a factor above 1 takes attention away: `added` adds its logarithm in place of multiplying.
    """

    name: ClassVar[str] = "scaling_vis"
    stage: ClassVar[Stage] = Stage.CONTRAST
    sees: ClassVar[bool] = True

    by: float = 1.5  # 0.01 to 100; 1 is neutral
    first: int = 0  # layer, >= 0
    last: int = EVERY  # layer, >= first
    added: bool = False

    def __post_init__(self) -> None:
        require(in_range(self.by, 0.01, 100), f"scaling_vis by {self.by}", "0.01 to 100; 1 changes nothing")
        require(0 <= self.first <= self.last, f"scaling_vis of layers {self.first} to {self.last}", "from 0, in order")

    @property
    def idle(self) -> bool:
        return self.by == 1

    @property
    def edits(self) -> tuple[Edit, ...]:
        return (Scaled(self.first, self.last, by=self.by, added=self.added),)

    @classmethod
    def examples(cls) -> tuple[ScalingVis, ...]:
        return cls(1.0), cls(20.0), cls(60.0, added=True), cls(0.02, 1, 2, added=True)

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        return logits


@dataclass(frozen=True, slots=True)
class AdaptVis:
    """Which ScalingVis a prompt gets: smooth where a first answer is unsure, else sharp.

    That answer is one token, greedy, without the steer: `engine.generate(prompt, max_new_tokens=1,
    log_probabilities=0)`. What it reads of the prompt is read once, where prefixes are kept.
    """

    unsure: float = 0.5  # the factor where the first answer is unsure
    sure: float = 1.5  # and where it is not
    threshold: float = 0.4  # 0 to 1: the probability from which on it is sure; the authors say 0.3 or 0.4
    added: bool = False

    def __call__(self, first: Generation) -> ScalingVis:
        """Raises InvalidRequest where that answer does not tell its probability."""
        if not first.log_probabilities:
            hint = "engine.generate(prompt, max_new_tokens=1, log_probabilities=0)"
            raise InvalidRequest("the first answer tells no probability", hint=hint)
        confidence = math.exp(first.log_probabilities[0].raw)
        return ScalingVis(self.unsure if confidence < self.threshold else self.sure, added=self.added)
