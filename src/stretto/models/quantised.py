"""Matrices that stay in the few bits of their file: blocks of small integers with scales, as GGUF holds them.

A block holds as many neighbouring inputs of one output as its kind says (32, or 256 for the K kinds), so that
outputs may be chosen, ordered and stacked without a number changing; inputs may not. What a matrix is, is said by
`dense`: float32, bit for bit what the format defines. All else that computes with it is compared with that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Quantised:
    """A matrix [O, I] in blocks."""

    data: Tensor  # [O, bytes] uint8; may lie in a mapped file, and is never written
    kind: str  # as the format calls it, such as Q4_1, Q8_0, Q6_K
    inputs: int  # I

    @property
    def shape(self) -> tuple[int, int]:
        """Outputs and inputs."""
        return len(self.data), self.inputs

    @property
    def nbytes(self) -> int:
        """Bytes of all blocks."""
        return self.data.nbytes

    def __len__(self) -> int:
        return len(self.data)

    def dense(self) -> Tensor:
        """The same numbers: [O, I] float32."""
        from gguf import GGMLQuantizationType
        from gguf.quants import dequantize

        from .drawn.ggml import Unavailable, floats

        number = GGMLQuantizationType[self.kind]
        try:
            return floats(self.data, number.value, self.inputs)
        except Unavailable:
            return torch.from_numpy(dequantize(self.data.numpy(), number))  # the same numbers, slowly

    def rows(self, which: Tensor) -> Quantised:
        """Some outputs [N] int64, in this order."""
        return Quantised(self.data[which], self.kind, self.inputs)

    def looked_up(self, tokens: Tensor) -> Tensor:
        """As an embedding table: the rows of tokens [...] int64, [..., I] float32; no others are made."""
        return self.rows(tokens.flatten()).dense().view(*tokens.shape, self.inputs)


def stacked(parts: Sequence[Quantised]) -> Quantised:
    """Outputs of matrices of one kind and of as many inputs, one below the other."""
    return Quantised(torch.cat([part.data for part in parts]), parts[0].kind, parts[0].inputs)


def rounded(weight: Tensor, kind: str) -> Quantised:
    """Float weights [O, I] in the nearest blocks of a kind; I must be whole blocks."""
    from gguf import GGMLQuantizationType
    from gguf.quants import quantize

    data = quantize(weight.float().contiguous().numpy(), GGMLQuantizationType[kind])
    return Quantised(torch.from_numpy(data), kind, weight.shape[1])


class QuantisedLinear(nn.Module):
    """A product with such a matrix, plain and slow: what it computes is what faster kernels are compared with."""

    def __init__(self, weight: Quantised, bias: Tensor | None = None) -> None:
        super().__init__()
        self.quantised = weight
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        """[..., I] -> [..., O] float32."""
        return F.linear(x, self.quantised.dense(), self.bias)


class QuantisedEmbedding(nn.Module):
    """An embedding table [V, C] in blocks: the rows that are asked for are all that is ever made of it."""

    def __init__(self, table: Quantised) -> None:
        super().__init__()
        self.quantised = table

    def forward(self, tokens: Tensor) -> Tensor:
        """Rows of tokens [...] int64: [..., C] float32."""
        return self.quantised.looked_up(tokens)
