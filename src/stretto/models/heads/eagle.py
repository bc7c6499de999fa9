"""EAGLE (arXiv 2401.15077): a decoder layer that continues the target's own rows, one token after the other."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
import torch.nn.functional as F

from .block import Block, Keys, Shape, drawn, usual
from .contract import Around, DraftHead, Memory, Unrolled, path_of

if TYPE_CHECKING:
    from torch import Tensor


class Continuing(DraftHead):
    """Goes on by itself: row t + 1 is made of row t and token t + 1 by a layer, and is the row of the next step."""

    block: Block
    continues: ClassVar[bool] = False  # whether its rows are meant to be the target's own behind the final norm

    @abstractmethod
    def seen(self, rows: Tensor, around: Around) -> Tensor:
        """What the target's rows [..., k · C] are to it: [..., C]."""

    @abstractmethod
    def enter(self, embedded: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Of embeddings and rows [..., C]: the residual [..., C], and what attention reads [..., C or 2C]."""

    def read_out(self, rows: Tensor, around: Around) -> Tensor:
        """Logits [..., V] of its rows [..., C]."""
        return around.lm_head(rows)

    def memory(self, around: Around) -> Memory:
        return ContinuingMemory(self, around)

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
            said.append(Unrolled(row, partial(self.read_out, around=around), self.continues))
        return said


class Eagle(Continuing):
    """The layer reads fc([e(token t + 1); row t]), rows being behind the final norm, and gives row t + 1 as it will be;
    the target's own head reads it out.

    The layer has no norm before its attention, and its positions are those of row t. Tensors are named as published:
    `fc.weight` [C, 2C], `fc.bias` [C], and those of `layers.0`; of `embed_tokens` the target's own table serves.
    """

    form = "eagle"
    continues = True

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
        return cls(tensors, config)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return _shapes(self.shape)

    def seen(self, rows: Tensor, around: Around) -> Tensor:
        return around.final_norm(rows).float()

    def enter(self, embedded: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        joined = F.linear(torch.cat([embedded, rows], -1), self.tensors["fc.weight"], self.tensors["fc.bias"])
        return joined, joined


def _shapes(shape: Shape) -> dict[str, tuple[int, ...]]:
    size = shape.channels
    layer = {f"layers.0.{name}": each for name, each in shape.tensors().items()}
    return {"fc.weight": (size, 2 * size), "fc.bias": (size,), **layer}


class ContinuingMemory(Memory):
    """Keys and values of the pairs read, the row that is taken to be next, and the same of drafted nodes."""

    def __init__(self, head: Continuing, around: Around) -> None:
        self.head = head
        self.around = around
        self._keys = Keys()
        self._row: Tensor | None = None  # [C] what the newest token's row is taken to be
        self._rows: dict[int, Tensor] = {}  # of drafted nodes: [C]

    def read(self, rows: Tensor, following: Sequence[int]) -> None:
        head, keys = self.head, self._keys
        embedded = self.around.embed(torch.tensor(list(following), device=rows.device))
        residual, inputs = head.enter(embedded, head.seen(rows, self.around))
        start = keys.keys.size
        places = torch.arange(start, start + len(rows), device=rows.device)
        query, key, value = head.block.heads_of(inputs, places)
        keys.keys.append(key)
        keys.values.append(value)
        seen = places[-1:, None] >= torch.arange(start + len(rows), device=rows.device)  # only the last is gone on from
        mixed = head.block.attend(query[-1:], keys.keys(), keys.values(), seen)
        self._row = head.block.leave(residual[-1:], mixed)[0]

    def after(self, nodes: Sequence[int], tokens: Sequence[int], parents: Sequence[int]) -> Tensor:
        assert self._row is not None
        for level in self._unread(nodes, parents):
            self._evaluate(level, tokens, parents)
        rows = torch.stack([self._rows[node] if node >= 0 else self._row for node in nodes])
        return self.head.read_out(rows, self.around)

    def _unread(self, nodes: Sequence[int], parents: Sequence[int]) -> list[list[int]]:
        """The nodes that must be evaluated, in levels, each below the one before."""
        levels: dict[int, set[int]] = {}
        for node in nodes:
            path = path_of(node, parents)
            for depth, each in enumerate(path):
                if each not in self._rows:
                    levels.setdefault(depth, set()).add(each)
        return [sorted(levels[depth]) for depth in sorted(levels)]

    def _evaluate(self, level: Sequence[int], tokens: Sequence[int], parents: Sequence[int]) -> None:
        """One level of nodes at once; all above it is held."""
        head = self.head
        assert self._row is not None
        paths = [path_of(node, parents) for node in level]
        before = torch.stack([self._rows[path[-2]] if len(path) > 1 else self._row for path in paths])
        embedded = self.around.embed(torch.tensor([tokens[node] for node in level], device=before.device))
        residual, inputs = head.enter(embedded, before)
        places = torch.tensor([self._keys.keys.size + len(path) - 1 for path in paths], device=before.device)
        query, key, value = head.block.heads_of(inputs, places)
        for node, mine, held in zip(level, key, value, strict=True):
            self._keys.drafted[node] = mine, held
        keys, values, seen = self._keys.over(paths)
        left = head.block.leave(residual, head.block.attend(query, keys, values, seen))
        self._rows.update(zip(level, left, strict=True))

    def forget(self) -> None:
        self._rows, self._keys.drafted = {}, {}

    def copy(self) -> Memory:
        twin = ContinuingMemory(self.head, self.around)
        twin._keys, twin._row = self._keys.copy(), self._row
        return twin
