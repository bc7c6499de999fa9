"""A Llama-shaped decoder layer over float32 tensors by name: with gradients in training, with a memory in serving."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from torch import Tensor


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

    def tensors(self, wide: int = 1) -> dict[str, tuple[int, ...]]:
        """Names and shapes of attention and MLP; the attention reads `wide` · C channels."""
        read = wide * self.channels
        return {
            "self_attn.q_proj.weight": (self.heads * self.head_size, read),
            "self_attn.k_proj.weight": (self.key_heads * self.head_size, read),
            "self_attn.v_proj.weight": (self.key_heads * self.head_size, read),
            "self_attn.o_proj.weight": (self.channels, self.heads * self.head_size),
            "mlp.gate_proj.weight": (self.inner, self.channels),
            "mlp.up_proj.weight": (self.inner, self.channels),
            "mlp.down_proj.weight": (self.channels, self.inner),
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
        shape = self.shape
        queries, keys, values = (
            _cut(F.linear(rows, self[f"self_attn.{each}_proj.weight"]), shape.head_size) for each in ("q", "k", "v")
        )
        half = torch.arange(0, shape.head_size, 2, device=rows.device, dtype=torch.float32) / shape.head_size
        angles = positions[..., None].float() * shape.theta**-half
        angles = torch.cat([angles, angles], -1)[..., None, :]  # [..., 1, D]
        return turned(queries, angles), turned(keys, angles), values

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, seen: Tensor) -> Tensor:
        """Queries [..., N, H, D] over keys and values [..., S, K, D], as `seen` [..., N, S] says: [..., N, H · D]."""
        group = self.shape.heads // self.shape.key_heads
        keys, values = (each.repeat_interleave(group, -2).transpose(-2, -3) for each in (keys, values))
        mixed = F.scaled_dot_product_attention(queries.transpose(-2, -3), keys, values, seen[..., None, :, :])
        return mixed.transpose(-2, -3).flatten(-2)

    def leave(self, rows: Tensor, mixed: Tensor) -> Tensor:
        """What leaves the layer: the residual rows [..., C] with what attention mixed, and the MLP's part."""
        rows = rows + F.linear(mixed, self["self_attn.o_proj.weight"])
        inside = normed(rows, self["post_attention_layernorm.weight"], self.shape.eps)
        gated = F.silu(F.linear(inside, self["mlp.gate_proj.weight"])) * F.linear(inside, self["mlp.up_proj.weight"])
        return rows + F.linear(gated, self["mlp.down_proj.weight"])


def _cut(rows: Tensor, size: int) -> Tensor:
    """Heads of `size` channels: [..., H * D] -> [..., H, D]."""
    return rows.view(*rows.shape[:-1], -1, size)


def turned(heads: Tensor, angles: Tensor) -> Tensor:
    """Rotary positions, halves against each other: heads [..., H, D], angles [..., 1, D]."""
    first, second = heads.chunk(2, -1)
    return heads * angles.cos() + torch.cat([-second, first], -1) * angles.sin()


class Grown:
    """Rows that are appended to, in one tensor that grows by doubling."""

    def __init__(self, held: Tensor | None = None) -> None:
        self._room = held
        self.size = 0 if held is None else len(held)

    def append(self, rows: Tensor) -> None:
        end = self.size + len(rows)
        if self._room is None or end > len(self._room):
            room = rows.new_empty(max(64, 2 * end), *rows.shape[1:])
            if self._room is not None:
                room[: self.size] = self._room[: self.size]
            self._room = room
        self._room[self.size : end] = rows
        self.size = end

    def __call__(self) -> Tensor:
        assert self._room is not None
        return self._room[: self.size]

    def copy(self) -> Grown:
        return Grown(self().clone() if self.size else None)


class Keys:
    """Keys and values of committed pairs, and of the nodes drafted below them."""

    def __init__(self) -> None:
        self.keys, self.values = Grown(), Grown()
        self.drafted: dict[int, tuple[Tensor, Tensor]] = {}  # node -> [K, D] each

    def over(self, paths: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor, Tensor]:
        """Keys and values [S, K, D] of all that any of N drafted paths sees, and who sees what: [N, S]."""
        nodes = sorted({node for path in paths for node in path})
        seen = torch.ones(len(paths), self.keys.size + len(nodes), dtype=torch.bool)
        for line, path in enumerate(paths):
            mine = set(path)
            seen[line, self.keys.size :] = torch.tensor([node in mine for node in nodes], dtype=torch.bool)
        keys, values = (
            torch.cat([held(), *(self.drafted[node][part][None] for node in nodes)])
            for part, held in enumerate((self.keys, self.values))
        )
        return keys, values, seen.to(keys.device)

    def copy(self) -> Keys:
        twin = Keys()
        twin.keys, twin.values = self.keys.copy(), self.values.copy()
        return twin
