"""A Llama-shaped decoder layer over float32 tensors by name: with gradients in training, with a memory in serving."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from ...errors import ModelError
from ..kernel_choice import Wish, linears
from ..linear import ROWS, Linear

if TYPE_CHECKING:
    from torch import Tensor


ASKED = ("hidden_size", "num_attention_heads", "intermediate_size")  # of a configuration


@dataclass(frozen=True, slots=True)
class Shape:
    """How a layer's matrices are cut, by the names that config.json has for them."""

    channels: int
    inner: int  # of the MLP
    heads: int
    key_heads: int
    head_size: int
    theta: float
    eps: float

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Shape:
        """Raises ModelError where the configuration does not say it."""
        if missing := [each for each in ASKED if not config.get(each)]:
            raise ModelError(
                f"a head's configuration does not say {', '.join(missing)}", hint="copy the numbers of its target there"
            )
        channels, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
        rotation = config.get("rope_parameters") or {}
        return cls(
            channels=channels,
            inner=int(config["intermediate_size"]),
            heads=heads,
            key_heads=int(config.get("num_key_value_heads") or heads),
            head_size=int(config.get("head_dim") or channels // heads),
            theta=float(config.get("rope_theta") or rotation.get("rope_theta") or 10000.0),
            eps=float(config.get("rms_norm_eps") or 1e-6),
        )

    def tensors(self, wide: int = 1, out: int = 1) -> dict[str, tuple[int, ...]]:
        """Names and shapes of attention and MLP; the attention reads `wide` · C channels, the MLP gives `out` · C."""
        read = wide * self.channels
        return {
            "self_attn.q_proj.weight": (self.heads * self.head_size, read),
            "self_attn.k_proj.weight": (self.key_heads * self.head_size, read),
            "self_attn.v_proj.weight": (self.key_heads * self.head_size, read),
            "self_attn.o_proj.weight": (self.channels, self.heads * self.head_size),
            "mlp.gate_proj.weight": (self.inner, self.channels),
            "mlp.up_proj.weight": (self.inner, self.channels),
            "mlp.down_proj.weight": (out * self.channels, self.inner),
            "post_attention_layernorm.weight": (self.channels,),
        }


def usual(channels: int, vocabulary: int) -> dict[str, Any]:
    """A configuration where nothing else is said: heads of 64 channels, an MLP of 2.5 C."""
    return {
        "hidden_size": channels,
        "intermediate_size": 5 * channels // 2,
        "num_attention_heads": max(1, channels // 64),
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "vocab_size": vocabulary,
    }


def drawn(shapes: Mapping[str, tuple[int, ...]], generator: torch.Generator) -> dict[str, Tensor]:
    """First weights: norms 1, biases 0, matrices of unit gain; what a layer adds to its rows is small at first."""
    tensors = {}
    for name, shape in shapes.items():
        scale = shape[-1] ** -0.5 * (0.1 if name.endswith(("o_proj.weight", "down_proj.weight")) else 1.0)
        flat = torch.ones(shape) if name.endswith("norm.weight") else torch.zeros(shape)
        tensors[name] = flat if len(shape) == 1 else scale * torch.randn(shape, generator=generator)
    return tensors


def normed(rows: Tensor, gain: Tensor, eps: float) -> Tensor:
    """RMS norm of rows [..., C]."""
    return rows * (rows.square().mean(-1, keepdim=True) + eps).rsqrt() * gain


class Block:
    """The layer: attention over keys that are handed in, then the MLP."""

    def __init__(self, tensors: Mapping[str, Tensor], prefix: str, shape: Shape) -> None:
        self._of = tensors
        self._prefix = prefix
        self.shape = shape

    def __getitem__(self, name: str) -> Tensor:
        return self._of[self._prefix + name]

    def heads_of(self, rows: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [..., H, D], keys and values [..., K, D] of rows [..., C]; positions [...] turn the first two."""
        size = self.shape.head_size
        parts = (F.linear(rows, self[f"self_attn.{each}_proj.weight"]) for each in ("q", "k", "v"))
        queries, keys, values = (_cut(part, size) for part in parts)
        cosines, sines = self.angles(positions)
        return turned(queries, cosines, sines), turned(keys, cosines, sines), values

    def angles(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines [..., 1, D] of positions [...]; the sines of the first half are negative."""
        size = self.shape.head_size
        half = torch.arange(0, size, 2, device=positions.device, dtype=torch.float32) / size
        angles = positions[..., None].float() * self.shape.theta**-half
        cosines, sines = angles.cos(), angles.sin()
        return torch.cat([cosines, cosines], -1)[..., None, :], torch.cat([-sines, sines], -1)[..., None, :]

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, seen: Tensor) -> Tensor:
        """Queries [..., N, H, D] over keys and values [..., S, K, D], as `seen` [..., N, S] says: [..., N, H · D]."""
        group = self.shape.heads // self.shape.key_heads
        keys, values = (each.repeat_interleave(group, -2).transpose(-2, -3) for each in (keys, values))
        mixed = F.scaled_dot_product_attention(queries.transpose(-2, -3), keys, values, seen[..., None, :, :])
        return mixed.transpose(-2, -3).flatten(-2)

    def leave(self, rows: Tensor, mixed: Tensor) -> Tensor:
        """What leaves the layer: the residual rows [..., C] with what attention mixed, and the MLP's part."""
        return self.fed(rows + F.linear(mixed, self["self_attn.o_proj.weight"]))

    def fed(self, rows: Tensor) -> Tensor:
        """Rows [..., C] and the MLP's part: [..., k · C], as many rows as its last matrix gives."""
        fed = F.linear(self.gated(self.inside(rows)), self["mlp.down_proj.weight"])
        return as_often(rows, fed.shape[-1]) + fed

    def inside(self, rows: Tensor) -> Tensor:
        """What the MLP reads of them."""
        return normed(rows, self["post_attention_layernorm.weight"], self.shape.eps)

    def gated(self, inside: Tensor) -> Tensor:
        """What goes down in it: [..., I]."""
        return F.silu(F.linear(inside, self["mlp.gate_proj.weight"])) * F.linear(inside, self["mlp.up_proj.weight"])


def as_often(rows: Tensor, wide: int) -> Tensor:
    """Rows [..., C] side by side until they are so wide."""
    return rows if rows.shape[-1] == wide else torch.cat([rows] * (wide // rows.shape[-1]), -1)


def _cut(rows: Tensor, size: int) -> Tensor:
    """Heads of `size` channels: [..., H * D] -> [..., H, D]."""
    return rows.view(*rows.shape[:-1], -1, size)


def turned(heads: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Rotary positions, halves against each other: heads [..., H, D], cosines and sines as `Block.angles` has them."""
    return torch.addcmul(heads * cosines, heads.roll(heads.shape[-1] // 2, -1), sines)


class Served(Block):
    """The same layer in serving: what reads one thing is one product, by the fast path's kernels; rows are [N, C]."""

    def __init__(self, block: Block) -> None:
        super().__init__(block._of, block._prefix, block.shape)
        self._qkv = product(*(self[f"self_attn.{each}_proj.weight"] for each in ("q", "k", "v")))
        self._out = product(self["self_attn.o_proj.weight"])
        self._gate_up = product(self["mlp.gate_proj.weight"], self["mlp.up_proj.weight"])
        self._down = product(self["mlp.down_proj.weight"])
        self._turns = torch.empty(0, 2, 1, block.shape.head_size)  # by position

    def heads_of(self, rows: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Block.heads_of`: of rows [N, C]."""
        shape = self.shape
        heads = _cut(self._qkv(rows), shape.head_size)
        turning, values = heads.split_with_sizes([shape.heads + shape.key_heads, shape.key_heads], 1)
        turning = turned(turning, *self.angles(positions))
        queries, keys = turning.split_with_sizes([shape.heads, shape.key_heads], 1)
        return queries, keys, values

    def angles(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """See `Block.angles`; looked up."""
        try:
            cosines, sines = self._turns[positions].unbind(1)
        except IndexError:
            wanted = torch.arange(max(256, 2 * (1 + int(positions.max()))), device=positions.device)
            self._turns = torch.stack(super().angles(wanted), 1)
            cosines, sines = self._turns[positions].unbind(1)
        return cosines, sines

    def over(self, queries: Tensor, held: Tensor, mask: Tensor | None) -> Tensor:
        """Queries [N, H, D] over keys and values [2, K, S, D]; `mask` [N, S] is added to scores: [N, H · D]."""
        count, key_heads, group = len(queries), self.shape.key_heads, self.shape.heads // self.shape.key_heads
        apart = queries.view(count, key_heads, group, -1).permute(1, 2, 0, 3).flatten(1, 2)  # [K, G · N, D]
        if mask is not None and group > 1:
            mask = mask.repeat(group, 1)
        mixed = F.scaled_dot_product_attention(apart[None], held[0][None], held[1][None], mask)[0]
        return mixed.view(key_heads, group, count, -1).permute(2, 0, 1, 3).flatten(1)

    def leave(self, rows: Tensor, mixed: Tensor) -> Tensor:
        """See `Block.leave`: of rows [N, C]."""
        return self.fed(self._out(mixed, rows))

    def fed(self, rows: Tensor) -> Tensor:
        """See `Block.fed`."""
        return self._down(self.gated(self.inside(rows)), as_often(rows, len(self["mlp.down_proj.weight"])))

    def gated(self, inside: Tensor) -> Tensor:
        """See `Block.gated`."""
        gate, up = self._gate_up(inside).chunk(2, 1)
        return F.silu(gate).mul_(up)


def product(*weights: Tensor, bias: Tensor | None = None) -> Linear:
    """What multiplies rows [N, I] by weights [O, I], one below the other.

    In float16, where that holds them, for single rows as well: a target's weights are read in between.
    """
    made = linears([(torch.cat(weights) if len(weights) > 1 else weights[0], bias)], wish=Wish(settled=True))[0]
    return Linear(made.kernels[1:2] * len(ROWS)) if made.names[1] == "half" else made


class Keys:
    """Keys and values of committed pairs, and behind them of the nodes drafted in this round, in one tensor."""

    def __init__(self) -> None:
        self.size = 0  # committed pairs
        self.nodes: dict[int, tuple[int, ...]] = {}  # a drafted node -> the places behind them of those down to it
        self._room: Tensor | None = None  # [2, K, room, D]

    def write(self, start: int, keys: Tensor, values: Tensor) -> None:
        """Put keys and values [n, K, D] at `start`; there is room for as many again when it ends."""
        end = start + len(keys)
        if self._room is None or end > self._room.shape[2]:
            room = keys.new_zeros(2, keys.shape[1], max(128, 2 * end), keys.shape[2])
            if self._room is not None:
                room[:, :, :start] = self._room[:, :, :start]
            self._room = room
        self._room[0, :, start:end] = keys.transpose(0, 1)
        self._room[1, :, start:end] = values.transpose(0, 1)

    def append(self, keys: Tensor, values: Tensor) -> None:
        """The next committed pairs; nothing is drafted below them yet."""
        self.write(self.size, keys, values)
        self.size += len(keys)

    def draft(self, level: Sequence[int], parents: Sequence[int], keys: Tensor, values: Tensor) -> None:
        """Nodes whose parents were drafted before."""
        behind = len(self.nodes)
        self.write(self.size + behind, keys, values)
        for place, node in enumerate(level, start=behind):
            self.nodes[node] = (*self.nodes.get(parents[node], ()), place)

    def seen_by(self, nodes: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Keys and values [2, K, S, D], and what is added to the scores [N, S] for drafted nodes: they see those above
        them. None: all see all."""
        assert self._room is not None
        drafted = len(self.nodes)
        held = self._room[:, :, : self.size + drafted]
        paths = [self.nodes[node] for node in nodes]
        if all(len(path) == drafted for path in paths):
            return held, None
        shut = [[-math.inf] * drafted for _ in paths]
        for line, path in zip(shut, paths, strict=True):
            for place in path:
                line[place] = 0.0
        return held, F.pad(torch.tensor(shut, device=held.device), (self.size, 0))

    def committed(self) -> Tensor:
        """Keys and values [2, K, S, D] of committed pairs."""
        assert self._room is not None
        return self._room[:, :, : self.size]

    def copy(self, pairs: int) -> Keys:
        """Those of the first committed pairs, for another row."""
        twin = Keys()
        if pairs and self._room is not None:
            twin.append(*self._room[:, :, :pairs].transpose(1, 2))
        return twin
