"""VCD: away from what is said of a picture that is hidden in noise (arXiv 2311.16922)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..entry import Entry, Guarantee
from ..models.views import STEPS, Noised
from .contract import Companion, Stage, Steer, in_range, require
from .logits import combined

if TYPE_CHECKING:
    from torch import Tensor

    from .nodes import Nodes

ENTRY = Entry(
    name="vcd",
    family="steer",
    source="arXiv 2311.16922 (visual contrastive decoding); DAMO-NLP-SG/VCD",
    parts="plain+vcd",
    guarantee=Guarantee.DEFINED,
    needs=("embeddings as input", "pictures", "an encoder of pixels"),
    summary="away from what is said of the same picture in noise, among the tokens that are plausible",
)


@dataclass(frozen=True, slots=True)
class Vcd(Steer):
    """(1 + alpha) times the logits less alpha times those of the picture as diffusion noises it.

    The noise is drawn once for a picture. Plausible are tokens of at least `share` times the highest probability: the
    authors' library says 0.1, their evaluation of LLaVA 0.2.
    """

    name: ClassVar[str] = "vcd"
    stage: ClassVar[Stage] = Stage.CONTRAST
    sees: ClassVar[bool] = True

    alpha: float = 1.0  # 0 to 100
    share: float = 0.1  # of the highest probability, 0 to 1: below it a token is removed; 0 removes none
    noise: int = 500  # of a thousand, 0 to 999: the more, the more noise
    seed: int = 0  # of the noise, 0 or more

    def __post_init__(self) -> None:
        require(in_range(self.alpha, 0, 100), f"vcd with alpha {self.alpha}", "0 to 100; 0 moves nothing")
        require(in_range(self.share, 0, 1), f"vcd with share {self.share}", "0 to 1")
        require(0 <= self.noise < STEPS, f"vcd with noise {self.noise}", f"0 to {STEPS - 1}")
        require(self.seed >= 0, f"vcd with seed {self.seed}", "0 or more")

    @property
    def idle(self) -> bool:
        return self.alpha == 0 and self.share == 0

    @property
    def companions(self) -> tuple[Companion, ...]:
        return (Companion(view=Noised(self.noise, self.seed)),) if self.alpha else ()

    @classmethod
    def examples(cls) -> tuple[Vcd, ...]:
        return cls(0.0, 0.0), cls(4.0, 0.0, 900), cls(20.0, 0.01, 999, 3)

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        if self.idle:
            return logits
        return combined(logits, nodes, self.alpha, dict.fromkeys(self.companions, -self.alpha), self.share)
