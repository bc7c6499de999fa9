"""Jakiro (arXiv 2502.06282): EAGLE with two experts, which also tell the token after the next, by contrast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import torch
import torch.nn.functional as F

from .block import Block, Served, drawn
from .contract import Around, Asked, Memory, Unrolled, path_of
from .eagle import ContinuingMemory, Eagle

if TYPE_CHECKING:
    from torch import Tensor

    from ..contract import Model


class Jakiro(Eagle):
    """The MLP's channels are halved between two experts, which a gate of four numbers mixes twice: by the softmax of
    the first two for row t + 1; and for row t + 2, of the other two, the weightier expert less the other one.

    What the second mix says is the last guess of a draft, at depth D: a draft costs D - 1 evaluations of the layer, and
    children of one node have the same followers at that depth. Tensors: EAGLE's, and `layers.0.mlp.gate.weight`
    [4, C]. Settings: `depth`, D (4). The names are not confirmed by a published file.
    """

    form = "jakiro"

    def __init__(self, tensors: Mapping[str, Tensor], config: Mapping[str, Any], name: str = "") -> None:
        super().__init__(tensors, config, name)
        self.depth = max(2, int(config.get("depth") or 4))
        self.block = Pair(self.tensors, "layers.0.", self.shape)

    @classmethod
    def fresh(cls, channels: int, vocabulary: int, layers: int, generator: torch.Generator, **settings: Any) -> Self:
        """Settings as in config.json, see `Eagle.fresh`."""
        plain = Eagle.fresh(channels, vocabulary, layers, generator, **settings)
        gate = drawn({"layers.0.mlp.gate.weight": (4, channels)}, generator)
        return cls(plain.tensors | gate, plain.config)

    @classmethod
    def suiting(cls, target: Model, ahead: int) -> dict[str, Any]:
        return {"depth": max(2, ahead)}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return super().shapes() | {"layers.0.mlp.gate.weight": (4, self.channels)}

    def enter(self, embedded: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        return super().enter(embedded, rows[..., : self.channels])

    def read_out(self, rows: Tensor, around: Around) -> Tensor:
        return around.lm_head(rows[..., : self.channels])

    def read_second(self, rows: Tensor, around: Around) -> Tensor:
        """What they say of the token after the next."""
        return around.lm_head(rows[..., self.channels :])

    def meant(self, rows: Tensor) -> Tensor:
        return rows[..., : self.channels]

    def memory(self, around: Around) -> Memory:
        return JakiroMemory(self.made(self.served), around)

    def served(self) -> Self:
        twin = super().served()
        twin.block = ServedPair(self.block)
        return twin

    def unrolled(self, rows: Tensor, tokens: Tensor, around: Around, depth: int) -> list[Unrolled]:
        said = super().unrolled(rows, tokens, around, min(depth, self.depth - 1))
        if depth >= self.depth:
            last = said[-1].rows
            second = partial(self.read_second, around=around)
            said.append(replace(said[-1], read=second, meant=last[..., self.channels :]))
        return said


class Pair(Block):
    """A layer whose MLP gives two rows: [..., 2C]."""

    def fed(self, rows: Tensor) -> Tensor:
        inside = self.inside(rows)
        halves = zip(self.gated(inside).chunk(2, -1), self["mlp.down_proj.weight"].chunk(2, -1), strict=True)
        first, second = (F.linear(gated, down) for gated, down in halves)
        mix, other = F.linear(inside, self["mlp.gate.weight"]).chunk(2, -1)
        mix, other = mix.softmax(-1), other.softmax(-1)
        signed = other * (2 * F.one_hot(other.argmax(-1), 2) - 1)
        return torch.cat([rows + each[..., :1] * first + each[..., 1:] * second for each in (mix, signed)], -1)


class ServedPair(Pair, Served):
    """The same in serving."""


class JakiroMemory(ContinuingMemory):
    """Nodes of the last depth are not evaluated: what their parents' second rows say follows them."""

    head: Jakiro

    @classmethod
    def after_all(cls, memories: Sequence[Self], asked: Sequence[Asked]) -> Tensor:
        head, around = memories[0].head, memories[0].around
        last: list[bool] = []
        instead: list[Asked] = []
        for nodes, tokens, parents in asked:
            mine = [len(path_of(node, parents)) == head.depth - 1 for node in nodes]
            last += mine
            above = [parents[node] if deep else node for node, deep in zip(nodes, mine, strict=True)]
            instead.append((above, tokens, parents))
        rows = cls.rows_of(memories, instead)
        first, second = rows.chunk(2, -1)
        return around.lm_head(torch.where(torch.tensor(last, device=rows.device)[:, None], second, first))
