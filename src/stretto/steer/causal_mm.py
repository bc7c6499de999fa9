"""CausalMM: what attention causes, told from readings with another attention (arXiv 2410.04780)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..entry import Entry, Guarantee
from ..models.gazes import Otherwise
from ..models.views import Counterfactual, Form
from .contract import Companion, Stage, Steer, in_range, require
from .logits import combined

if TYPE_CHECKING:
    from torch import Tensor

    from .nodes import Nodes

ENTRY = Entry(
    name="causal-mm",
    family="steer",
    number=152,
    source="arXiv 2410.04780 (attention causality); The-Martyr/CausalMM",
    parts="plain+causal_mm",
    guarantee=Guarantee.DEFINED,
    needs=("embeddings as input", "pictures", "an encoder whose attention can be changed", "changes of attention"),
    summary="away from readings whose attention, in the encoder or the language model, is counterfactual",
)


@dataclass(frozen=True, slots=True)
class CausalMm(Steer):
    """The logits, and `gamma` times what they differ by from each of two counterfactual readings.

    `vision`: the encoder's attention is of another form in its layers `seen`; `language`: so is the model's own in its
    layers `read`, at the prompt and at every step. The authors' code does it in a band of layers that it does not name;
    it has gamma 0.5 and a share of 0.1 as defaults, and is called with 1.0 and 0.6.
    """

    name: ClassVar[str] = "causal_mm"
    stage: ClassVar[Stage] = Stage.CONTRAST
    sees: ClassVar[bool] = True

    gamma: float = 0.5  # 0 to 100
    share: float = 0.1  # of the highest probability, 0 to 1: below it a token is removed; 0 removes none
    form: Form = "reversed"
    vision: bool = True
    language: bool = True
    seen: tuple[int, ...] = (0, 1)  # first and last layer of the encoder that is changed, from 0
    read: tuple[int, ...] = (1, 2)  # first and last layer of the language model that is changed, from 0
    seed: int = 0  # of what is random or shuffled, 0 or more

    def __post_init__(self) -> None:
        require(in_range(self.gamma, 0, 100), f"causal_mm with gamma {self.gamma}", "0 to 100; 0 moves nothing")
        require(in_range(self.share, 0, 1), f"causal_mm with share {self.share}", "0 to 1")
        require(self.seed >= 0, f"causal_mm with seed {self.seed}", "0 or more")
        for band in (self.seen, self.read):
            require(len(band) == 2 and 0 <= band[0] <= band[1], f"causal_mm of layers {band}", "the first and the last")

    @property
    def idle(self) -> bool:
        return self.gamma == 0 and self.share == 0

    @property
    def companions(self) -> tuple[Companion, ...]:
        if not self.gamma:
            return ()
        found = (
            [Companion(view=Counterfactual(self.form, self.seen[0], self.seen[1], self.seed))] if self.vision else []
        )
        if self.language:
            found.append(Companion(edits=(Otherwise(self.read[0], self.read[1], form=self.form, seed=self.seed),)))
        return tuple(found)

    @classmethod
    def examples(cls) -> tuple[CausalMm, ...]:
        return (
            cls(0.0, 0.0),
            cls(4.0, 0.0),
            cls(8.0, 0.0, "uniform", language=False),
            cls(8.0, 0.01, "shuffled", vision=False),
            cls(4.0, 0.0, "random", seed=3),
        )

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        if self.idle:
            return logits
        others = dict.fromkeys(self.companions, -self.gamma)
        return combined(logits, nodes, self.gamma * len(others), others, self.share)
