"""RBD: the text's weight and the picture's, balanced anew (arXiv 2409.06485, in parts reconstructed)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..entry import Entry, Guarantee
from ..models.gazes import Dwelling
from ..models.views import STEPS, Noised
from .contract import Companion, Stage, Steer, in_range, require
from .logits import combined

if TYPE_CHECKING:
    from torch import Tensor

    from .nodes import Nodes

ENTRY = Entry(
    name="rbd",
    family="steer",
    number=139,
    source="arXiv 2409.06485 (re-balancing contrastive decoding)",
    parts="plain+rbd",
    guarantee=Guarantee.DEFINED,
    needs=("embeddings as input", "pictures", "an encoder that tells its attention", "changes of attention"),
    confirmed=False,  # which rows of a picture count, and how the three readings are combined
    summary="away from a picture in noise, and towards a reading that dwells on its salient rows",
)


@dataclass(frozen=True, slots=True)
class Rbd(Steer):
    """The logits, `alpha` times what they differ by from those of noise, `gamma` times what those that dwell add.

    The reading that dwells sees the `rows` of the picture that its encoder attends to most `by` times as strongly, or
    these `only`. All weights add up to 1.
    """

    name: ClassVar[str] = "rbd"
    stage: ClassVar[Stage] = Stage.CONTRAST
    sees: ClassVar[bool] = True

    alpha: float = 1.0  # 0 to 100
    gamma: float = 0.5  # 0 to 100
    share: float = 0.1  # of the highest probability, 0 to 1: below it a token is removed; 0 removes none
    noise: int = 500  # of the noise, 0 to 999: see `vcd`
    rows: float = 0.3  # share of the picture's rows, 0 to 1; the paper speaks of 0.2 to 0.5
    by: float = 2.0  # 0.01 to 100
    only: bool = False

    def __post_init__(self) -> None:
        for what, value in (("alpha", self.alpha), ("gamma", self.gamma)):
            require(in_range(value, 0, 100), f"rbd with {what} {value}", "0 to 100; 0 moves nothing")
        for what, value in (("share", self.share), ("rows", self.rows)):
            require(in_range(value, 0, 1), f"rbd with {what} {value}", "0 to 1")
        require(0 <= self.noise < STEPS, f"rbd with noise {self.noise}", f"0 to {STEPS - 1}")
        require(in_range(self.by, 0.01, 100), f"rbd by {self.by}", "0.01 to 100")

    @property
    def idle(self) -> bool:
        return self.alpha == self.gamma == self.share == 0

    @property
    def noised(self) -> Companion:
        """The reading of the picture in noise."""
        return Companion(view=Noised(self.noise))

    @property
    def dwelling(self) -> Companion:
        """The reading that dwells on salient rows."""
        return Companion(edits=(Dwelling(share=self.rows, by=self.by, only=self.only),))

    @property
    def companions(self) -> tuple[Companion, ...]:
        return (*[self.noised] * (self.alpha > 0), *[self.dwelling] * (self.gamma > 0))

    @classmethod
    def examples(cls) -> tuple[Rbd, ...]:
        return cls(0.0, 0.0, 0.0), cls(8.0, 4.0, 0.0, 999, by=9.0), cls(0.0, 20.0, 0.01, only=True, rows=0.2)

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        if self.idle:
            return logits
        weights = {self.noised: -self.alpha, self.dwelling: self.gamma}
        others = {each: weight for each, weight in weights.items() if weight}
        return combined(logits, nodes, self.alpha - self.gamma, others, self.share)
