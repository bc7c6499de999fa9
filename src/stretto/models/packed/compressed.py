"""compressed-tensors: whole numbers, packed in words or not, or eight-bit floats; what is packed tells how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from .codes import Codes, unpacked
from .contract import Parts, Unreadable
from .floats import FLOATS, block_of, scaled
from .integers import WIDTHS, WORD, grouping

FORMS = ("pack-quantized", "int-quantized", "float-quantized", "naive-quantized", "mixed-precision", "dense")


@dataclass(frozen=True)
class Compressed:
    """Codes stand for numbers around 0; in words, half their range is added to them, and to zero points."""

    widths: tuple[int, ...]  # bits of a code in words
    block: tuple[int, int] | None  # outputs and inputs that share a scale, where scales are of blocks

    marks: ClassVar[tuple[str, ...]] = ("weight_packed", "weight_scale")
    parts: ClassVar[frozenset[str]] = frozenset(
        ("weight", "weight_packed", "weight_shape", "weight_scale", "weight_zero_point", "weight_g_idx")
    )
    beside: ClassVar[frozenset[str]] = frozenset(
        (
            *("input_scale", "input_zero_point", "output_scale", "output_zero_point", "k_scale", "v_scale", "q_scale"),
            *("k_zero_point", "v_zero_point", "q_zero_point"),
        )
    )

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Compressed:
        """As the configuration says. Raises Unreadable."""
        groups = [each for each in (said.get("config_groups") or {}).values() if isinstance(each, Mapping)]
        forms = {str(each["format"]) for each in (said, *groups) if each.get("format")}
        if unknown := sorted(forms - {*FORMS}):
            raise Unreadable(f"in the form {unknown[0]} of compressed-tensors")
        if said.get("transform_config"):
            raise Unreadable("by compressed-tensors for inputs that are transformed first")
        sparse = said.get("sparsity_config")
        if isinstance(sparse, Mapping) and sparse.get("format", "dense") != "dense":
            raise Unreadable(f"in the form {sparse['format']} of compressed-tensors")
        told = [each["weights"] for each in groups if isinstance(each.get("weights"), Mapping)]
        blocks = {block_of(each["block_structure"]) for each in told if each.get("block_structure")}
        if len(blocks) > 1:
            raise Unreadable("by compressed-tensors in blocks of several sizes")
        widths = {each.get("num_bits") for each in told}
        if odd := widths - {*WIDTHS}:
            raise Unreadable(f"by compressed-tensors in {odd.pop()} bits")
        return cls(tuple(sorted(widths)) or WIDTHS, next(iter(blocks), None))

    def matrix(self, parts: Parts) -> Codes | Tensor:
        """Of weight [O, I], or weight_packed [O, words] and weight_shape; scales of outputs, groups, blocks or all."""
        scales = parts["weight_scale"]
        if "weight_packed" in parts:
            codes, half = self._words(parts)
        else:
            codes, half = parts["weight"], 0
        if codes.dtype in FLOATS:
            return scaled(codes, scales, self.block)
        if codes.dtype not in (torch.uint8, torch.int8):
            raise Unreadable(f"by compressed-tensors as {codes.dtype}")
        outputs, inputs = codes.shape
        zeros = self._zeros(parts, outputs, scales)
        if scales.ndim == 2 and scales.shape[0] not in (1, outputs):
            if zeros is not None and zeros.any():
                raise Unreadable("by compressed-tensors in blocks with zero points")
            return scaled(codes.short() - half, scales, self.block)
        if scales.ndim < 2:
            scales = scales.reshape(-1, 1)
        scales = scales.expand(outputs, -1)
        zeros = torch.zeros(1, 1) if zeros is None else zeros.reshape(-1, 1) if zeros.ndim < 2 else zeros
        groups = grouping(parts.get("weight_g_idx"), inputs, scales.shape[1])
        return Codes(codes, zeros.short() + half, scales, groups)

    def _words(self, parts: Parts) -> tuple[Tensor, int]:
        """Unsigned codes [O, I], and what stands for 0 among them."""
        words = parts["weight_packed"]
        outputs, inputs = (int(size) for size in parts["weight_shape"])
        bits = self._bits(inputs, words.shape[1])
        if words.dtype is not torch.int32 or len(words) != outputs:
            raise Unreadable(f"by compressed-tensors as {words.dtype}, {len(words)} for {outputs} outputs")
        return unpacked(words, bits)[:, :inputs].contiguous(), 1 << bits - 1

    def _zeros(self, parts: Parts, outputs: int, scales: Tensor) -> Tensor | None:
        """Zero points without half the range, shaped as scales; packed ones stand in words along outputs."""
        stored = parts.get("weight_zero_point")
        if stored is None or stored.dtype is not torch.int32 or "weight_packed" not in parts:
            return stored
        bits = self._bits(outputs, len(stored))
        return unpacked(stored.T, bits)[:, :outputs].T.short() - (1 << bits - 1)

    def _bits(self, codes: int, words: int) -> int:
        """Of a code, where so many stand in so many words."""
        for bits in self.widths:
            if -(-codes * bits // WORD) == words:
                return bits
        raise Unreadable(f"by compressed-tensors with {codes} codes in {words} words")
