"""Hydra (arXiv 2402.05109): Medusa's heads, each of which also sees the tokens drafted before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import torch
import torch.nn.functional as F

from .block import product
from .contract import Around, Asked, DraftHead, Memory, Unrolled, path_of

if TYPE_CHECKING:
    from torch import Tensor

    from ..linear import Linear


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
        return HydraMemory(self, around, self.made(self._products))

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

    def _products(self) -> list[Linear]:
        """Both matrices of each head as one product."""
        return [product(self.tensors[f"{i}.enter"], self.tensors[f"{i}.gate"]) for i in range(self.depth)]


class HydraMemory(Memory):
    """The newest row and the token behind it."""

    def __init__(self, head: Hydra, around: Around, products: Sequence[Linear]) -> None:
        self.head = head
        self.around = around
        self._products = products
        self._row: Tensor | None = None  # [C]
        self._token = 0

    def read(self, rows: Tensor, following: Sequence[int]) -> None:
        self._row, self._token = self.around.final_norm(rows[-1]).float(), following[-1]

    def after(self, nodes: Sequence[int], tokens: Sequence[int], parents: Sequence[int]) -> Tensor:
        return self.after_all([self], [(nodes, tokens, parents)])

    @classmethod
    def after_all(cls, memories: Sequence[Self], asked: Sequence[Asked]) -> Tensor:
        paths: list[list[int]] = []
        rows: list[Tensor] = []
        for memory, (nodes, tokens, parents) in zip(memories, asked, strict=True):
            assert memory._row is not None
            paths += [[memory._token, *(tokens[each] for each in path_of(node, parents))] for node in nodes]
            rows += [memory._row] * len(nodes)
        by_size: dict[int, list[int]] = {}  # each head once, for all nodes of its depth
        for at, path in enumerate(paths):
            by_size.setdefault(len(path), []).append(at)
        moved = [memories[0]._moved([rows[at] for at in each], [paths[at] for at in each]) for each in by_size.values()]
        said = memories[0].around.lm_head(torch.cat(moved))
        order = [at for each in by_size.values() for at in each]
        return said if len(moved) == 1 else said[sorted(range(len(order)), key=order.__getitem__)]

    def _moved(self, rows: Sequence[Tensor], paths: Sequence[Sequence[int]]) -> Tensor:
        """See `Hydra.moved`: of rows [C] and tokens behind them, as many for each."""
        i, row = len(paths[0]) - 1, torch.stack(list(rows))
        seen = self.around.embed(torch.tensor(paths, device=row.device)).flatten(1)
        entered, gate = self._products[i](torch.cat([row, seen], -1)).chunk(2, 1)
        return entered + F.silu(gate + self.head.tensors[f"{i}.bias"])

    def forget(self) -> None:
        pass  # nothing is kept of nodes

    def copy(self) -> Memory:
        twin = HydraMemory(self.head, self.around, self._products)
        twin._row, twin._token = self._row, self._token
        return twin
