"""DAMRO: away from what is said of the few patches that an encoder's summary dwells on (arXiv 2410.04514)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..entry import Entry, Guarantee
from ..models.views import Outlying
from .contract import Companion, Stage, Steer, in_range, require
from .logits import combined

if TYPE_CHECKING:
    from torch import Tensor

    from .nodes import Nodes

ENTRY = Entry(
    name="damro",
    family="steer",
    number=126,
    source="arXiv 2410.04514 (DAMRO); coder-gx/DAMRO",
    parts="plain+damro",
    guarantee=Guarantee.DEFINED,
    needs=("embeddings as input", "pictures", "an encoder that tells its attention"),
    summary="away from what is said of the patches alone that the encoder's summary token attends to most",
)


@dataclass(frozen=True, slots=True)
class Damro(Steer):
    """(1 + alpha) times the logits less alpha times those of a prompt with the outlying rows of the picture alone.

    Outlying are the `most` that the encoder's summary token (CLS) attends to most in its last layer, its heads taken as
    one, as the authors' code does. That prompt is shorter by the other rows. The authors take alpha 0.5 for questions
    and 1.5 for captions, and 4 or 10 rows.
    """

    name: ClassVar[str] = "damro"
    stage: ClassVar[Stage] = Stage.CONTRAST
    sees: ClassVar[bool] = True

    alpha: float = 0.5  # 0 to 100
    share: float = 0.1  # of the highest probability, 0 to 1: below it a token is removed; 0 removes none
    most: int = 4  # rows that the other reading sees, >= 1

    def __post_init__(self) -> None:
        require(in_range(self.alpha, 0, 100), f"damro with alpha {self.alpha}", "0 to 100; 0 moves nothing")
        require(in_range(self.share, 0, 1), f"damro with share {self.share}", "0 to 1")
        require(self.most >= 1, f"damro of {self.most} rows", "1 or more")

    @property
    def idle(self) -> bool:
        return self.alpha == 0 and self.share == 0

    @property
    def companions(self) -> tuple[Companion, ...]:
        return (Companion(view=Outlying(self.most)),) if self.alpha else ()

    @classmethod
    def examples(cls) -> tuple[Damro, ...]:
        return cls(0.0, 0.0), cls(8.0, 0.0, 1), cls(20.0, 0.01, 2)

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        if self.idle:
            return logits
        return combined(logits, nodes, self.alpha, dict.fromkeys(self.companions, -self.alpha), self.share)
