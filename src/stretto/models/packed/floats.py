"""FP8: matrices of eight-bit floats, a scale for all of a matrix, for each output, or for each block of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from .contract import Parts, Unreadable

FLOATS = (torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz)


@dataclass(frozen=True)
class Fp8:
    """What is stored is multiplied by its scale, although that is called `weight_scale_inv`."""

    block: tuple[int, int] | None  # outputs and inputs that share a scale; None: as many as there are scales

    marks: ClassVar[tuple[str, ...]] = ("weight_scale_inv", "weight_scale")
    parts: ClassVar[frozenset[str]] = frozenset(("weight", "weight_scale_inv", "weight_scale"))
    beside: ClassVar[frozenset[str]] = frozenset(
        ("activation_scale", "input_scale", "input_scale_ub", "k_scale", "v_scale")
    )

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Fp8:
        """As the configuration says. Raises Unreadable."""
        return cls(block_of(said.get("weight_block_size")))

    def matrix(self, parts: Parts) -> Tensor:
        """Of weight [O, I] and its scales: [O, I] float32."""
        if parts["weight"].dtype not in FLOATS:
            raise Unreadable(f"as {parts['weight'].dtype} with scales, which is no FP8")
        return scaled(parts["weight"], parts[next(name for name in self.marks if name in parts)], self.block)


def block_of(given: Any) -> tuple[int, int] | None:
    """Outputs and inputs of a block. Raises Unreadable."""
    if given is None:
        return None
    sizes = tuple(given) if isinstance(given, list | tuple) else ()
    if len(sizes) != 2 or not all(type(size) is int and size > 0 for size in sizes):
        raise Unreadable(f"in blocks of {given!r}")
    return sizes


def scaled(weight: Tensor, scales: Tensor, block: tuple[int, int] | None) -> Tensor:
    """A matrix [O, I] times its scales [], [1], [O], [O, 1], [O, G] or [blocks, blocks]: [O, I] float32."""
    each = _exponents(scales) if scales.dtype is torch.uint8 else scales.float()
    each = each.reshape(-1, 1) if each.ndim < 2 else each
    for axis, size in enumerate(weight.shape):
        count = each.shape[axis]
        whole = size if count == 1 else 1 if count == size else 0
        share = whole or (block[axis] if block else size // count)
        if -(-size // share) != count:
            raise Unreadable(f"with {count} scales for {size} numbers")
        each = each.repeat_interleave(share, axis).narrow(axis, 0, size)
    return weight.float() * each


def _exponents(stored: Tensor) -> Tensor:
    """Powers of two, stored as their exponents and 127."""
    return torch.exp2(stored.float() - 127)
