"""EAGLE (arXiv 2401.15077): a decoder layer that continues the target's own rows, one token after the other."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import torch
import torch.nn.functional as F

from .block import Block, Keys, Served, Shape, drawn, product, usual
from .contract import Around, Asked, Memory, RowHead, Unrolled

if TYPE_CHECKING:
    from torch import Tensor


class Continuing(RowHead):
    """Goes on by itself: row t + 1 is made of row t and token t + 1 by a layer, and is the row of the next step."""

    block: Block

    @abstractmethod
    def seen(self, rows: Tensor, around: Around) -> Tensor:
        """What the target's rows [..., k · C] are to it: [..., C]."""

    @abstractmethod
    def enter(self, embedded: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Of embeddings and rows [..., C]: the residual [..., C], and what attention reads [..., C or 2C]."""

    def read_out(self, rows: Tensor, around: Around) -> Tensor:
        """Logits [..., V] of what leaves the layer [..., C]."""
        return around.lm_head(rows)

    def meant(self, rows: Tensor) -> Tensor | None:
        """What of that is to be the target's own rows [..., C] behind the final norm, if any."""
        return None

    def memory(self, around: Around) -> Memory:
        return ContinuingMemory(self.made(self.served), around)

    def served(self) -> Self:
        """The same head with products that suit serving; its inputs are [N, C]."""
        twin = copy(self)
        twin.block = Served(self.block)
        return twin

    def unrolled(self, rows: Tensor, tokens: Tensor, around: Around, depth: int) -> list[Unrolled]:
        batch, size = rows.shape[:2]
        places = torch.arange(size, device=rows.device)
        causal = places[:, None] >= places  # the first step's keys, in every step
        own = places[:, None] == places  # a later step sees no place but its own
        padded, row = F.pad(tokens, (0, depth)), self.seen(rows, around)
        keys: list[Tensor] = []
        values: list[Tensor] = []
        masks: list[Tensor] = []
        said: list[Unrolled] = []
        for step in range(depth):
            residual, inputs = self.enter(around.embed(padded[:, 1 + step : 1 + step + size]), row)
            query, key, value = self.block.heads_of(inputs, (places + step).expand(batch, -1))
            keys.append(key)
            values.append(value)
            masks.append(own if step else causal)
            mask = torch.cat(masks, -1).expand(batch, -1, -1)
            row = self.block.leave(residual, self.block.attend(query, torch.cat(keys, 1), torch.cat(values, 1), mask))
            said.append(Unrolled(row, partial(self.read_out, around=around), self.meant(row)))
        return said


class Eagle(Continuing):
    """The layer reads fc([e(token t + 1); row t]), rows being behind the final norm, and gives row t + 1 as it will be;
    the target's own head reads it out.

    The layer has no norm before its attention, and its positions are those of row t. Tensors are named as published:
    `fc.weight` [C, 2C], `fc.bias` [C], and those of `layers.0`; of `embed_tokens` the target's own table serves.
    """

    form = "eagle"

    def __init__(self, tensors: Mapping[str, Tensor], config: Mapping[str, Any], name: str = "") -> None:
        self.shape = Shape.of(config)
        self.channels = self.shape.channels
        super().__init__(tensors, config, name)
        self.block = Block(self.tensors, "layers.0.", self.shape)
        self._join: Callable[[Tensor], Tensor] = self._joined

    @classmethod
    def fresh(cls, channels: int, vocabulary: int, layers: int, generator: torch.Generator, **settings: Any) -> Self:
        """Settings as in config.json; where nothing is said heads of 64 channels, and an MLP of 2.5 C."""
        config = usual(channels, vocabulary) | settings
        tensors = drawn(_shapes(Shape.of(config)), generator)
        tensors["fc.weight"] *= 0.1
        tensors["fc.weight"][:, channels:] += torch.eye(channels)  # at first the row of before, nearly
        return cls(tensors, config)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return _shapes(self.shape)

    def seen(self, rows: Tensor, around: Around) -> Tensor:
        return around.final_norm(rows).float()

    def enter(self, embedded: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        joined = self._join(torch.cat([embedded, rows], -1))
        return joined, joined

    def meant(self, rows: Tensor) -> Tensor:
        return rows

    def _joined(self, both: Tensor) -> Tensor:
        return F.linear(both, self.tensors["fc.weight"], self.tensors["fc.bias"])

    def served(self) -> Self:
        twin = super().served()
        twin._join = product(self.tensors["fc.weight"], bias=self.tensors["fc.bias"])
        return twin


def _shapes(shape: Shape) -> dict[str, tuple[int, ...]]:
    size = shape.channels
    layer = {f"layers.0.{name}": each for name, each in shape.tensors().items()}
    return {"fc.weight": (size, 2 * size), "fc.bias": (size,), **layer}


class ContinuingMemory(Memory):
    """Keys and values of the pairs read, the row that is taken to be next, and the same of drafted nodes."""

    def __init__(self, head: Continuing, around: Around) -> None:
        assert isinstance(head.block, Served)
        self.head = head
        self.around = around
        self.block = head.block
        self._keys = Keys()
        self._row: Tensor | None = None  # [C] what the newest token's row is taken to be
        self._rows: dict[int, Tensor] = {}  # of drafted nodes: [C]

    def read(self, rows: Tensor, following: Sequence[int]) -> None:
        self.read_all([self], [rows], [following])

    def after(self, nodes: Sequence[int], tokens: Sequence[int], parents: Sequence[int]) -> Tensor:
        return self.after_all([self], [(nodes, tokens, parents)])

    @classmethod
    def read_all(cls, memories: Sequence[Self], rows: Sequence[Tensor], following: Sequence[Sequence[int]]) -> None:
        first, device = memories[0], rows[0].device
        head, around, block = first.head, first.around, first.block
        embedded = around.embed(torch.tensor([token for behind in following for token in behind], device=device))
        residual, inputs = head.enter(embedded, head.seen(_joined(rows), around))
        starts = [memory._keys.size for memory in memories]
        sizes = [len(mine) for mine in rows]
        places = [place for start, size in zip(starts, sizes, strict=True) for place in range(start, start + size)]
        query, key, value = block.heads_of(inputs, torch.tensor(places, device=device))
        mixed, ends, end = [], [], 0
        parts = [part.split_with_sizes(sizes) for part in (key, value)]
        for memory, keys, values in zip(memories, *parts, strict=True):
            memory._keys.append(keys, values)
            end += len(keys)
            ends.append(end - 1)
            mixed.append(block.over(query[end - 1 : end], memory._keys.committed(), None))  # only it is gone on from
        left = block.leave(residual[ends], _joined(mixed))
        for memory, row in zip(memories, left, strict=True):
            memory._row = row

    @classmethod
    def after_all(cls, memories: Sequence[Self], asked: Sequence[Asked]) -> Tensor:
        return memories[0].head.read_out(cls.rows_of(memories, asked), memories[0].around)

    @classmethod
    def rows_of(cls, memories: Sequence[Self], asked: Sequence[Asked]) -> Tensor:
        """What left the layer at the nodes that are asked for: [N, …]."""
        levels = [memory._unread(nodes, parents) for memory, (nodes, _, parents) in zip(memories, asked, strict=True)]
        for depth in range(max(map(len, levels))):
            mine = [at for at, each in enumerate(levels) if depth < len(each)]
            cls._evaluate([memories[at] for at in mine], [levels[at][depth] for at in mine], [asked[at] for at in mine])
        rows = [memory._of(node) for memory, (nodes, _, _) in zip(memories, asked, strict=True) for node in nodes]
        return torch.stack(rows)

    def _of(self, node: int) -> Tensor:
        """The row of a node that is held."""
        assert self._row is not None
        return self._rows[node] if node >= 0 else self._row

    def _unread(self, nodes: Sequence[int], parents: Sequence[int]) -> list[list[int]]:
        """The nodes that must be evaluated, in levels, each below the one before."""
        missing: set[int] = set()
        for wanted in nodes:
            node = wanted
            while node >= 0 and node not in self._rows and node not in missing:
                missing.add(node)
                node = parents[node]
        levels: list[list[int]] = []
        level = dict.fromkeys(missing, 0)
        for node in sorted(missing):
            level[node] = level.get(parents[node], -1) + 1
            if level[node] == len(levels):
                levels.append([])
            levels[level[node]].append(node)
        return levels

    @classmethod
    def _evaluate(cls, memories: Sequence[Self], levels: Sequence[Sequence[int]], asked: Sequence[Asked]) -> None:
        """One level of nodes of each at once; all above it is held."""
        head, around, block = memories[0].head, memories[0].around, memories[0].block
        each = [
            (memory, node, tokens[node], parents[node])
            for memory, level, (_, tokens, parents) in zip(memories, levels, asked, strict=True)
            for node in level
        ]
        before = torch.stack([memory._of(parent) for memory, _, _, parent in each])
        embedded = around.embed(torch.tensor([token for _, _, token, _ in each], device=before.device))
        residual, inputs = head.enter(embedded, before)
        places = [memory._keys.size + len(memory._keys.nodes.get(parent, ())) for memory, _, _, parent in each]
        sizes = [len(level) for level in levels]
        heads = block.heads_of(inputs, torch.tensor(places, device=before.device))
        mixed = []
        parts = [part.split_with_sizes(sizes) for part in heads]
        for memory, level, (_, _, parents), query, key, value in zip(memories, levels, asked, *parts, strict=True):
            memory._keys.draft(level, parents, key, value)
            mixed.append(block.over(query, *memory._keys.seen_by(level)))
        left = block.leave(residual, _joined(mixed))
        for (memory, node, _, _), row in zip(each, left, strict=True):
            memory._rows[node] = row

    def forget(self) -> None:
        self._rows, self._keys.nodes = {}, {}

    def copy(self) -> Memory:
        twin = self.as_of(self._keys.size)
        twin._row = self._row
        return twin

    def as_of(self, pairs: int) -> Self:
        twin = type(self)(self.head, self.around)
        twin._keys = self._keys.copy(pairs)
        return twin


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """Rows one below the other."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))
