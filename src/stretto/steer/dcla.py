"""DCLA: layers that stray from what came before are drawn back to it (arXiv 2505.12343, reconstructed)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from ..entry import Entry, Guarantee
from ..models.edits import Edit
from .contract import Stage, Steer, in_range, require

if TYPE_CHECKING:
    from torch import Tensor

    from .nodes import Nodes

NEVER = 2.0  # no deviation is larger

ENTRY = Entry(
    name="dcla",
    family="steer",
    number=79,
    source="arXiv 2505.12343 (decoding with inter-layer consistency)",
    parts="plain+dcla(0.1,first=2,last=3)",
    guarantee=Guarantee.DEFINED,
    needs=("edits of the residual stream",),
    confirmed=False,  # the weights of the layers, and when a row is corrected
    summary="a row of a late layer that strays from the layers before it is mixed with them",
)


@dataclass(frozen=True, slots=True)
class Aggregated(Edit):
    """Rows of the layers `first` to `last` mixed with those of all layers before them."""

    by: float
    first: int
    last: int
    strays: float
    weights: Literal["recency", "cosine"]
    recalls: ClassVar[bool] = True

    @property
    def layers(self) -> tuple[int, ...]:
        return tuple(range(self.last + 1))

    def __call__(self, layer: int, rows: Tensor, earlier: Mapping[int, Tensor]) -> Tensor:
        if layer < self.first:
            return rows
        wide = rows.double()
        before = torch.stack([earlier[index].double() for index in range(layer)])  # [J, N, C]
        if self.weights == "recency":
            scores = torch.arange(-layer, 0, dtype=torch.float64, device=rows.device)[:, None]  # [J, 1]
        else:
            scores = _cosine(before, wide)  # [J, N]
        mean = (scores.softmax(0)[:, :, None] * before).sum(0)  # [N, C]
        lengths = _length(wide) / _length(mean).clamp(min=torch.finfo(torch.float64).tiny)
        mixed = (1 - self.by) * wide + self.by * mean * lengths[:, None]
        strayed = 1 - _cosine(mean, wide) > self.strays  # [N]
        return torch.where(strayed[:, None], mixed.to(rows.dtype), rows)


@dataclass(frozen=True, slots=True)
class Dcla(Steer):
    """In the layers `first` to `last`, a row is mixed with a mean of the rows of all layers before it, brought to its
    length, where the cosine of both is further from 1 than `strays`.

    The mean goes by `recency`, each layer e times as much as the one before it, or by a softmax of the `cosine` to the
    row. At every token, of the prompt as well; keys and values of later layers are made of what was mixed.
    """

    name: ClassVar[str] = "dcla"
    stage: ClassVar[Stage] = Stage.CONTRAST

    by: float = 0.1  # 0 to 1: how much of the mean; 0 is neutral
    first: int = 2  # layer, >= 1
    last: int = 3  # layer, >= first
    strays: float = 0.1  # 0 to 2: a deviation, 1 - cosine; 2 is neutral
    weights: Literal["recency", "cosine"] = "recency"

    def __post_init__(self) -> None:
        require(in_range(self.by, 0, 1), f"dcla by {self.by}", "0 to 1")
        require(in_range(self.strays, 0, NEVER), f"dcla where a row strays by {self.strays}", "0 to 2")
        require(1 <= self.first <= self.last, f"dcla of layers {self.first} to {self.last}", "from 1 on, in order")

    @property
    def idle(self) -> bool:
        return self.by == 0 or self.strays == NEVER

    @property
    def edits(self) -> tuple[Edit, ...]:
        return (Aggregated(self.by, self.first, self.last, self.strays, self.weights),)

    @classmethod
    def examples(cls) -> tuple[Dcla, ...]:
        return cls(0.0), cls(0.8, 1, 3, 0.0), cls(0.5, weights="cosine"), cls(strays=2.0)

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        return logits


def _length(rows: Tensor) -> Tensor:
    return (rows * rows).sum(-1).sqrt()


def _cosine(one: Tensor, two: Tensor) -> Tensor:
    """Of rows [..., N, C]: [..., N]; 0 where one has no length."""
    return (one * two).sum(-1) / (_length(one) * _length(two)).clamp(min=torch.finfo(torch.float64).tiny)
