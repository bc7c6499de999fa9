"""GRIFFIN (arXiv 2502.11018): EAGLE whose layer leaves two rows, one to be read out and one to go on from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
import torch.nn.functional as F

from .block import Block, Shape, drawn, normed, usual
from .contract import Around
from .eagle import Continuing

if TYPE_CHECKING:
    from torch import Tensor


class Griffin(Continuing):
    """`fc` joins e(token t + 1) and row t as in EAGLE; the token guides what comes of it: to c is added
    `guide.down` · SiLU(`guide.up` · [norm(c); norm(e)]). The last matrix of the layer's MLP gives 2C numbers: of the
    first C the target's head reads the token, the others are row t + 1 as it will be.

    In training it is led on only where the token was among its three likeliest, at this step and at those before.
    Tensors: `fc.weight` [C, 2C] and `fc.bias`, `guide.norm` [C], `guide.up` [C, 2C], `guide.down` [C, C], and those of
    `layers.0`. The names are not confirmed by a published file.
    """

    form = "griffin"
    among: ClassVar[int] = 3

    def __init__(self, tensors: Mapping[str, Tensor], config: Mapping[str, Any], name: str = "") -> None:
        self.shape = Shape.of(config)
        self.channels = self.shape.channels
        super().__init__(tensors, config, name)
        self.block = Block(self.tensors, "layers.0.", self.shape)

    @classmethod
    def fresh(cls, channels: int, vocabulary: int, layers: int, generator: torch.Generator, **settings: Any) -> Self:
        """Settings as in config.json; where nothing is said heads of 64 channels, and an MLP of 2.5 C."""
        config = usual(channels, vocabulary) | settings
        tensors = drawn(_shapes(Shape.of(config)), generator)
        tensors["fc.weight"] *= 0.1
        tensors["fc.weight"][:, channels:] += torch.eye(channels)  # at first the row of before, nearly
        tensors["guide.down.weight"] *= 0.1
        return cls(tensors, config)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return _shapes(self.shape)

    def seen(self, rows: Tensor, around: Around) -> Tensor:
        return around.final_norm(rows).float()

    def enter(self, embedded: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        rows = rows[..., -self.channels :]  # the target's, or the second of its own
        joined = F.linear(torch.cat([embedded, rows], -1), self.tensors["fc.weight"], self.tensors["fc.bias"])
        gain, eps = self.tensors["guide.norm.weight"], self.shape.eps
        both = torch.cat([normed(joined, gain, eps), normed(embedded, gain, eps)], -1)
        guided = F.linear(F.silu(F.linear(both, self.tensors["guide.up.weight"])), self.tensors["guide.down.weight"])
        return joined + guided, joined + guided

    def read_out(self, rows: Tensor, around: Around) -> Tensor:
        return around.lm_head(rows[..., : self.channels])

    def meant(self, rows: Tensor) -> Tensor:
        return rows[..., self.channels :]


def _shapes(shape: Shape) -> dict[str, tuple[int, ...]]:
    size = shape.channels
    layer = {f"layers.0.{name}": each for name, each in shape.tensors(out=2).items()}
    guide = {"guide.norm.weight": (size,), "guide.up.weight": (size, 2 * size), "guide.down.weight": (size, size)}
    return {"fc.weight": (size, 2 * size), "fc.bias": (size,), **guide, **layer}
