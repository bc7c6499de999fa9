"""Hydra (arXiv 2402.05109): Medusa's heads, each of which also sees the tokens drafted before it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import torch
import torch.nn.functional as F

from .block import product
from .contract import Around, Asked, Memory, RowHead, Unrolled, path_of

if TYPE_CHECKING:
    from torch import Tensor

    from ..contract import Model
    from ..linear import Linear

FURTHER = re.compile(r"\d+\.(enter_bias|more\.\d+\.(weight|bias)|head\.(weight|bias))")


class Hydra(RowHead):
    """Head i says of token t + 2 + i: U_i · (R_i z + SiLU(A_i z + b_i)).

    z = [row t behind the final norm; embeddings of tokens t + 1 … t + 1 + i], (i + 2) · C numbers. Tensors: `i.enter`
    and `i.gate` [C, (i + 2) · C], `i.bias` [C]. There may be `i.enter_bias` [C] of R_i, and further blocks
    y + SiLU(B y + c), `i.more.j.weight` [C, C] and `i.more.j.bias` [C]. U_i is the target's own head, or
    `i.head.weight` [V, C] and `i.head.bias` [V].
    """

    form = "hydra"

    def __init__(self, tensors: Mapping[str, Tensor], config: Mapping[str, Any], name: str = "") -> None:
        self.depth = sum(each.endswith(".gate") for each in tensors)
        self.channels = len(tensors["0.bias"]) if "0.bias" in tensors else 0
        self._further = {each: len(tensors[each]) for each in tensors if FURTHER.fullmatch(each)}
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

    @classmethod
    def suiting(cls, target: Model, ahead: int) -> dict[str, Any]:
        return {"heads": ahead}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        size, wanted = self.channels, dict[str, tuple[int, ...]]()
        for i in range(max(1, self.depth)):
            wide = (size, (i + 2) * size)
            wanted |= {f"{i}.enter": wide, f"{i}.gate": wide, f"{i}.bias": (size,)}
        for name, first in self._further.items():
            length = first if ".head." in name else size
            wanted[name] = (length, size) if name.endswith(".weight") else (length,)
        return wanted

    def memory(self, around: Around) -> Memory:
        return HydraMemory(self, around, self.made(self._products))

    def unrolled(self, rows: Tensor, tokens: Tensor, around: Around, depth: int) -> list[Unrolled]:
        size, seen = rows.shape[1], self.seen(rows, around)
        padded = F.pad(tokens, (0, self.depth))
        parts, said = [seen], []
        for i in range(min(depth, self.depth)):
            parts.append(around.embed(padded[:, 1 + i : 1 + i + size]))
            said.append(Unrolled(self.moved(i, torch.cat(parts, -1)), self.read_by(i, around)))
        return said

    def seen(self, rows: Tensor, around: Around) -> Tensor:
        """What the target's output rows [..., C] are to it."""
        return around.final_norm(rows).float()

    def moved(self, i: int, z: Tensor) -> Tensor:
        """What head i makes of z [..., (i + 2) · C]: [..., C]."""
        return self.finished(i, F.linear(z, self.tensors[f"{i}.enter"]), F.linear(z, self.tensors[f"{i}.gate"]))

    def finished(self, i: int, entered: Tensor, gate: Tensor) -> Tensor:
        """The same, of the products with its first matrices [..., C]."""
        moved = entered + F.silu(gate + self.tensors[f"{i}.bias"])
        if (bias := self.tensors.get(f"{i}.enter_bias")) is not None:
            moved = moved + bias
        for j in range(sum(name.startswith(f"{i}.more.") for name in self.tensors) // 2):
            moved = moved + F.silu(
                F.linear(moved, *(self.tensors[f"{i}.more.{j}.{each}"] for each in ("weight", "bias")))
            )
        return moved

    def read_by(self, i: int, around: Around) -> Callable[[Tensor], Tensor]:
        """What makes logits of that."""
        own = self.tensors.get(f"{i}.head.weight")
        return around.lm_head if own is None else partial(F.linear, weight=own, bias=self.tensors.get(f"{i}.head.bias"))

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
        self._row, self._token = self.head.seen(rows[-1], self.around), following[-1]

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
        said = memories[0]._read([size - 1 for size in by_size], moved)
        order = [at for each in by_size.values() for at in each]
        return said if len(moved) == 1 else said[sorted(range(len(order)), key=order.__getitem__)]

    def _read(self, heads: Sequence[int], moved: Sequence[Tensor]) -> Tensor:
        """Logits [N, V] of what these heads made."""
        if "0.head.weight" not in self.head.tensors:
            return self.around.lm_head(torch.cat(list(moved)))
        return torch.cat([self.head.read_by(i, self.around)(each) for i, each in zip(heads, moved, strict=True)])

    def _moved(self, rows: Sequence[Tensor], paths: Sequence[Sequence[int]]) -> Tensor:
        """See `Hydra.moved`: of rows [C] and tokens behind them, as many for each."""
        i, row = len(paths[0]) - 1, torch.stack(list(rows))
        seen = self.around.embed(torch.tensor(paths, device=row.device)).flatten(1)
        entered, gate = self._products[i](torch.cat([row, seen], -1)).chunk(2, 1)
        return self.head.finished(i, entered, gate)

    def forget(self) -> None:
        pass  # nothing is kept of nodes

    def copy(self) -> Memory:
        twin = HydraMemory(self.head, self.around, self._products)
        twin._row, twin._token = self._row, self._token
        return twin

    def as_of(self, pairs: int) -> Memory:
        return HydraMemory(self.head, self.around, self._products)  # of earlier rows it needs nothing
