"""EAGLE-3 (arXiv 2503.01840): rows of three layers, and no wish to be like any of them."""

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


class Eagle3(Continuing):
    """Of the rows that enter layers 2, L/2 and L - 3, `fc` [C, 3C] makes row t; attention reads the norms of
    e(token t + 1) and of it side by side, and row t is the residual. What leaves the layer is the next row, and is read
    out behind a norm of its own.

    Tensors are named as published: `fc`, `midlayer`, `norm`. With a vocabulary of its own there are `lm_head` [D, C]
    and `d2t` [D]: token i of it is token i + d2t[i] of the target, and others are never drafted. Without, the target's
    head reads out. Settings: `eagle_aux_hidden_state_layer_ids`, other layers than those; `norm_before_residual`,
    whether the residual is the norm of row t.
    """

    form = "eagle3"

    def __init__(self, tensors: Mapping[str, Tensor], config: Mapping[str, Any], name: str = "") -> None:
        self.shape = Shape.of(config)
        self.channels = self.shape.channels
        self._own = len(tensors["lm_head.weight"]) if "lm_head.weight" in tensors else 0
        self._all = int(config.get("vocab_size") or 0)
        super().__init__(tensors, config, name)
        self.block = Block(self.tensors, "midlayer.", self.shape)
        if self._own:
            offsets = self.tensors.pop("d2t") if "d2t" in self.tensors else torch.zeros(self._own)
            self._tokens = offsets.long() + torch.arange(self._own)

    @classmethod
    def fresh(cls, channels: int, vocabulary: int, layers: int, generator: torch.Generator, **settings: Any) -> Self:
        """Settings as in config.json; where nothing is said heads of 64 channels, and an MLP of 2.5 C."""
        config = usual(channels, vocabulary) | settings
        tensors = drawn(_shapes(Shape.of(config), 0, mapped=False), generator)
        tensors["fc.weight"][:, -channels:] += torch.eye(channels)
        return cls(tensors, config)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return _shapes(self.shape, self._own, mapped=0 < self._own < self._all)

    def taps(self, layers: int) -> tuple[int, ...]:
        said = self.config.get("eagle_aux_hidden_state_layer_ids")
        return tuple(map(int, said)) if said else (min(2, layers), layers // 2, max(layers - 3, 1))

    def seen(self, rows: Tensor, around: Around) -> Tensor:
        return F.linear(rows.float(), self.tensors["fc.weight"])

    def enter(self, embedded: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        eps, gains = self.shape.eps, ("midlayer.input_layernorm.weight", "midlayer.hidden_norm.weight")
        parts = [normed(part, self.tensors[gain], eps) for part, gain in zip((embedded, rows), gains, strict=True)]
        return parts[1] if self.config.get("norm_before_residual") else rows, torch.cat(parts, -1)

    def read_out(self, rows: Tensor, around: Around) -> Tensor:
        inner = normed(rows, self.tensors["norm.weight"], self.shape.eps)
        if not self._own:
            return around.lm_head(inner)
        said = F.linear(inner, self.tensors["lm_head.weight"])
        if self._own == self._all:
            return said
        logits = said.new_full((*said.shape[:-1], self._all), -torch.inf)
        return logits.index_copy(-1, self._tokens.to(said.device), said)


def _shapes(shape: Shape, own: int, *, mapped: bool) -> dict[str, tuple[int, ...]]:
    size = shape.channels
    layer = {f"midlayer.{name}": each for name, each in shape.tensors(wide=2).items()}
    norms = {f"midlayer.{name}.weight": (size,) for name in ("input_layernorm", "hidden_norm")}
    head: dict[str, tuple[int, ...]] = {"lm_head.weight": (own, size)} if own else {}
    if mapped:
        head["d2t"] = (own,)
    return {"fc.weight": (size, 3 * size), "norm.weight": (size,), **layer, **norms, **head}
