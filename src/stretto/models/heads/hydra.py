"""Hydra (arXiv 2402.05109): Medusa's heads, each of which also sees the tokens drafted before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import torch
import torch.nn.functional as F

from .contract import Around, DraftHead, Memory, Unrolled, path_of

if TYPE_CHECKING:
    from torch import Tensor


class Hydra(DraftHead):
    """Head i says of token t + 2 + i: U · (R_i z + SiLU(A_i z + b_i)), U being the target's own head.

    z = [row t behind the final norm; embeddings of tokens t + 1 … t + 1 + i], (i + 2) · C numbers. Tensors: `i.enter`
    and `i.gate` [C, (i + 2) · C], `i.bias` [C].
    """

    form = "hydra"

    def __init__(self, tensors: Mapping[str, Tensor], config: Mapping[str, Any], name: str = "") -> None:
        self.depth = sum(each.endswith(".bias") for each in tensors)
        self.channels = len(tensors["0.bias"]) if "0.bias" in tensors else 0
        super().__init__(tensors, config, name)

    @classmethod
    def fresh(cls, channels: int, vocabulary: int, layers: int, generator: torch.Generator, **settings: Any) -> Self:
        """`heads`: how many tokens ahead (4). At first each says what the target says of the token before."""
        heads = int(settings.pop("heads", 4))
        tensors = {}
        for i in range(heads):
            enter = torch.zeros(channels, (i + 2) * channels)
            enter[:, :channels] = torch.eye(channels)
            tensors[f"{i}.enter"] = enter
            tensors[f"{i}.gate"] = torch.zeros(channels, (i + 2) * channels)
            tensors[f"{i}.bias"] = torch.zeros(channels)
        return cls(tensors, {"heads": heads, **settings})

    def shapes(self) -> dict[str, tuple[int, ...]]:
        size, wanted = self.channels, dict[str, tuple[int, ...]]()
        for i in range(max(1, self.depth)):
            wide = (size, (i + 2) * size)
            wanted |= {f"{i}.enter": wide, f"{i}.gate": wide, f"{i}.bias": (size,)}
        return wanted

    def memory(self, around: Around) -> Memory:
        return HydraMemory(self, around)

    def unrolled(self, rows: Tensor, tokens: Tensor, around: Around, depth: int) -> list[Unrolled]:
        size, seen = rows.shape[1], around.final_norm(rows)
        padded = F.pad(tokens, (0, self.depth))
        parts, said = [seen], []
        for i in range(min(depth, self.depth)):
            parts.append(around.embed(padded[:, 1 + i : 1 + i + size]))
            said.append(Unrolled(self.moved(i, torch.cat(parts, -1)), around.lm_head))
        return said

    def moved(self, i: int, z: Tensor) -> Tensor:
        """What head i makes of z [..., (i + 2) · C]: [..., C]."""
        enter, gate, bias = (self.tensors[f"{i}.{each}"] for each in ("enter", "gate", "bias"))
        return F.linear(z, enter) + F.silu(F.linear(z, gate, bias))


class HydraMemory(Memory):
    """The newest row and the token behind it."""

    def __init__(self, head: Hydra, around: Around) -> None:
        self.head = head
        self.around = around
        self._row: Tensor | None = None  # [C]
        self._token = 0

    def read(self, rows: Tensor, following: Sequence[int]) -> None:
        self._row, self._token = self.around.final_norm(rows[-1]).float(), following[-1]

    def after(self, nodes: Sequence[int], tokens: Sequence[int], parents: Sequence[int]) -> Tensor:
        assert self._row is not None
        paths = [[self._token, *(tokens[each] for each in path_of(node, parents))] for node in nodes]
        lines: list[Tensor] = [self._row] * len(nodes)
        for size in {len(path) for path in paths}:  # each head once, for all nodes of its depth
            mine = [at for at, path in enumerate(paths) if len(path) == size]
            seen = self.around.embed(torch.tensor([paths[at] for at in mine], device=self._row.device)).flatten(1)
            moved = self.head.moved(size - 1, torch.cat([self._row.expand(len(mine), -1), seen], -1))
            said = self.around.lm_head(moved)
            for at, line in zip(mine, said, strict=True):
                lines[at] = line
        return torch.stack(lines)

    def forget(self) -> None:
        pass  # nothing is kept of nodes

    def copy(self) -> Memory:
        twin = HydraMemory(self.head, self.around)
        twin._row, twin._token = self._row, self._token
        return twin
