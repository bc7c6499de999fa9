"""Multi-token prediction, the sequential form (arXiv 2412.19437): one module that is led on by its own rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import torch
import torch.nn.functional as F

from .block import Block, Shape, drawn, normed, usual
from .contract import Around
from .eagle import Continuing

if TYPE_CHECKING:
    from torch import Tensor


class Mtp(Continuing):
    """Of e(token t + 1) and row t, each behind a norm of its own, `eh_proj` [C, 2C] makes what a decoder layer goes on
    from; what leaves it is the next row, and the target's head reads it out behind `shared_head.norm`.

    As published the module is trained with the trunk; here the trunk is as it is. Row t is the last layer's, before the
    final norm. Tensors: `enorm`, `hnorm`, `shared_head.norm` [C], `eh_proj`, and those of `mtp_block`, a layer.
    """

    form = "mtp"

    def __init__(self, tensors: Mapping[str, Tensor], config: Mapping[str, Any], name: str = "") -> None:
        self.shape = Shape.of(config)
        self.channels = self.shape.channels
        super().__init__(tensors, config, name)
        self.block = Block(self.tensors, "mtp_block.", self.shape)

    @classmethod
    def fresh(cls, channels: int, vocabulary: int, layers: int, generator: torch.Generator, **settings: Any) -> Self:
        """Settings as in config.json; where nothing is said heads of 64 channels, and an MLP of 2.5 C."""
        config = usual(channels, vocabulary) | settings
        tensors = drawn(_shapes(Shape.of(config)), generator)
        tensors["eh_proj.weight"] *= 0.1
        tensors["eh_proj.weight"][:, channels:] += torch.eye(channels)
        return cls(tensors, config)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return _shapes(self.shape)

    def seen(self, rows: Tensor, around: Around) -> Tensor:
        return rows.float()

    def enter(self, embedded: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        parts = self._normed("enorm", embedded), self._normed("hnorm", rows)
        joined = F.linear(torch.cat(parts, -1), self.tensors["eh_proj.weight"])
        return joined, self._normed("mtp_block.input_layernorm", joined)

    def read_out(self, rows: Tensor, around: Around) -> Tensor:
        return around.lm_head(self._normed("shared_head.norm", rows))

    def _normed(self, name: str, rows: Tensor) -> Tensor:
        return normed(rows, self.tensors[f"{name}.weight"], self.shape.eps)


def _shapes(shape: Shape) -> dict[str, tuple[int, ...]]:
    size = shape.channels
    norms = {f"{name}.weight": (size,) for name in ("enorm", "hnorm", "mtp_block.input_layernorm", "shared_head.norm")}
    layer = {f"mtp_block.{name}": each for name, each in shape.tensors().items()}
    return {"eh_proj.weight": (size, 2 * size), **norms, **layer}
