"""Medusa (arXiv 2401.10774): heads that each look at the newest row alone, one for every token ahead."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import torch
import torch.nn.functional as F

from .contract import Around, Memory, RowHead, Unrolled, path_of

if TYPE_CHECKING:
    from torch import Tensor

    from ..contract import Model


class Medusa(RowHead):
    """Head i says of token t + 2 + i: U_i · (f + SiLU(A_i f + b_i)), f being row t behind the final norm.

    Tensors are named as published: `i.0.linear.weight` [C, C], `i.0.linear.bias` [C], and `i.1.weight` [V, C]. Without
    the last, the target's own head stands in for U_i.
    """

    form = "medusa"

    def __init__(self, tensors: Mapping[str, Tensor], config: Mapping[str, Any], name: str = "") -> None:
        firsts = [each for each in tensors if each.endswith(".0.linear.bias")]
        self.depth = len(firsts)
        self.channels = len(tensors[firsts[0]]) if firsts else 0
        self._own = [len(tensors[key]) if (key := f"{i}.1.weight") in tensors else 0 for i in range(self.depth)]
        super().__init__(tensors, config, name)

    @classmethod
    def fresh(cls, channels: int, vocabulary: int, layers: int, generator: torch.Generator, **settings: Any) -> Self:
        """`heads`: how many tokens ahead (4). At first each says what the target says of the token before."""
        heads = int(settings.pop("heads", 4))
        tensors = {}
        for i in range(heads):
            tensors[f"{i}.0.linear.weight"] = torch.zeros(channels, channels)
            tensors[f"{i}.0.linear.bias"] = torch.zeros(channels)
        return cls(tensors, {"medusa_num_heads": heads, "medusa_num_layers": 1, **settings})

    @classmethod
    def suiting(cls, target: Model, ahead: int) -> dict[str, Any]:
        return {"heads": ahead}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        size, wanted = self.channels, dict[str, tuple[int, ...]]()
        for i, vocabulary in enumerate(self._own or [0]):
            wanted |= {f"{i}.0.linear.weight": (size, size), f"{i}.0.linear.bias": (size,)}
            if vocabulary:
                wanted[f"{i}.1.weight"] = (vocabulary, size)
        return wanted

    def memory(self, around: Around) -> Memory:
        return MedusaMemory(self, around)

    def unrolled(self, rows: Tensor, tokens: Tensor, around: Around, depth: int) -> list[Unrolled]:
        seen = around.final_norm(rows)
        return [Unrolled(self.moved(i, seen), self.read_by(i, around)) for i in range(min(depth, self.depth))]

    def moved(self, i: int, seen: Tensor) -> Tensor:
        """What head i makes of rows [..., C] behind the final norm."""
        return seen + F.silu(F.linear(seen, self.tensors[f"{i}.0.linear.weight"], self.tensors[f"{i}.0.linear.bias"]))

    def read_by(self, i: int, around: Around) -> Callable[[Tensor], Tensor]:
        """What makes logits of that."""
        own = self.tensors.get(f"{i}.1.weight")
        return around.lm_head if own is None else partial(F.linear, weight=own)


class MedusaMemory(Memory):
    """The newest row, and what the heads said of it."""

    def __init__(self, head: Medusa, around: Around) -> None:
        self.head = head
        self.around = around
        self._row: Tensor | None = None  # [C]
        self._said: list[Tensor] = []  # by head: [V]

    def read(self, rows: Tensor, following: Sequence[int]) -> None:
        self._row, self._said = self.around.final_norm(rows[-1]).float(), []

    def after(self, nodes: Sequence[int], tokens: Sequence[int], parents: Sequence[int]) -> Tensor:
        if not self._said:  # all at once: they cost little more than one
            assert self._row is not None
            moved = [self.head.moved(i, self._row) for i in range(self.head.depth)]
            if any(f"{i}.1.weight" in self.head.tensors for i in range(self.head.depth)):
                self._said = [self.head.read_by(i, self.around)(row) for i, row in enumerate(moved)]
            else:
                self._said = list(self.around.lm_head(torch.stack(moved)))
        return torch.stack([self._said[len(path_of(node, parents))] for node in nodes])

    def forget(self) -> None:
        pass  # what the heads say does not depend on what was drafted

    def copy(self) -> Memory:
        twin = MedusaMemory(self.head, self.around)
        twin._row, twin._said = self._row, list(self._said)
        return twin

    def as_of(self, pairs: int) -> Memory:
        return type(self)(self.head, self.around)  # of earlier rows it needs nothing
