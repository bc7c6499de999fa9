"""RITUAL: what is said of a transformed picture counts as well (arXiv 2405.17821)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from ..entry import Entry, Guarantee
from ..models.views import Turned
from .contract import Companion, Stage, Steer, in_range, require
from .logits import combined

if TYPE_CHECKING:
    from torch import Tensor

    from .nodes import Nodes

ENTRY = Entry(
    name="ritual",
    family="steer",
    number=169,
    source="arXiv 2405.17821 (random image transformations); sangminwoo/RITUAL",
    parts="plain+ritual",
    guarantee=Guarantee.DEFINED,
    needs=("embeddings as input", "pictures", "an encoder of pixels"),
    summary="the logits of a picture, and several times those of the same picture transformed at random",
)


@dataclass(frozen=True, slots=True)
class Ritual(Steer):
    """To the logits add `kappa` times those of the picture transformed.

    By what is chosen once for a picture, by `seed`: turned over, mirrored, rotated, in other colours, blurred, a part
    of it; or named (a model may be asked before which of them leaves the question what it is: RITUAL+). A sum sharpens:
    of equal pictures the distribution is that at a temperature of 1 / (1 + kappa).
    """

    name: ClassVar[str] = "ritual"
    stage: ClassVar[Stage] = Stage.CONTRAST
    sees: ClassVar[bool] = True

    kappa: float = 3.0  # 0 to 100
    share: float = 0.1  # of the highest probability, 0 to 1: below it a token is removed; 0 removes none
    by: Literal["any", "flip", "mirror", "rotate", "colour", "blur", "crop"] = "any"
    seed: int = 0  # of what is left to chance

    def __post_init__(self) -> None:
        require(in_range(self.kappa, 0, 100), f"ritual with kappa {self.kappa}", "0 to 100; 0 adds nothing")
        require(in_range(self.share, 0, 1), f"ritual with share {self.share}", "0 to 1")

    @property
    def idle(self) -> bool:
        return self.kappa == 0 and self.share == 0

    @property
    def companions(self) -> tuple[Companion, ...]:
        return (Companion(view=Turned(self.by, self.seed)),) if self.kappa else ()

    @classmethod
    def examples(cls) -> tuple[Ritual, ...]:
        return cls(0.0, 0.0), cls(8.0, 0.0, "mirror"), cls(20.0, 0.01, "colour", 2)

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        if self.idle:
            return logits
        return combined(logits, nodes, 0.0, dict.fromkeys(self.companions, self.kappa), self.share)
