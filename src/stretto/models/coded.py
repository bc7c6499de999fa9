"""Products over weights in blocks, and what stands around them in a layer, each as one call of ggml.

Everything is done for each row by itself, in one order: a row's result is the same bits beside any others, and
whether a layer runs in few calls or in many.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .four_bits import blocks_of
from .ggml import LARGEST, Blocks, Drawing, library
from .quantised import Quantised

if TYPE_CHECKING:
    from .linear import Linear
    from .weights import Layer, Norm


class Coded:
    """`x @ weight.T + bias + add` over blocks; those of one kind stand below those of another."""

    def __init__(self, weight: Sequence[Quantised], bias: Tensor | None) -> None:
        self.weight, self.bias = tuple(weight), bias
        self.parts = [blocks_of(part) for part in self.weight]
        self.outputs = sum(map(len, self.weight))
        self.inputs = self.weight[0].inputs

    def __call__(self, x: Tensor, add: Tensor | None = None) -> Tensor:
        if len(self.parts) == 1 and self.bias is None and add is not None:
            return _run(("sum", *self.form), self._sum, self.outputs, (x, add), self.parts)
        products = [_run(("product", *part.form), _product(part), part.shape[0], (x,), [part]) for part in self.parts]
        product = products[0] if len(products) == 1 else torch.cat(products, 1)
        if self.bias is not None:
            product = product.add_(self.bias)
        return product if add is None else product.add_(add)

    @property
    def form(self) -> tuple[Hashable, ...]:
        """What tells programs over it from others."""
        return tuple(part.form for part in self.parts)

    def _sum(self, drawing: Drawing) -> int:
        x, add = drawing.given(self.inputs), drawing.given(self.outputs)
        return drawing.made("add", drawing.product(self.parts[0], x), add)


class NormedProduct:
    """`linear(norm(rows))`."""

    def __init__(self, norm: Norm, linear: Coded) -> None:
        self.linear, self.gain, self.epsilon = linear, *_norm(norm)
        (self.part,) = linear.parts

    def __call__(self, rows: Tensor) -> Tensor:
        """[N, C] -> [N, O]."""
        key = ("normed", self.epsilon, *self.part.form)
        return _run(key, self._draw, self.linear.outputs, (rows, self.gain), [self.part])

    def _draw(self, drawing: Drawing) -> int:
        return drawing.product(self.part, _normed(drawing, self.linear.inputs, self.epsilon)[1])


class GatedBlock:
    """`rows + down(silu(gate) * up)` of what the norm gives: a whole MLP."""

    def __init__(self, norm: Norm, gate_up: Coded, down: Coded) -> None:
        self.gain, self.epsilon = _norm(norm)
        (self.gate_up,), (self.down,) = gate_up.parts, down.parts
        self.channels = down.outputs

    def __call__(self, rows: Tensor) -> Tensor:
        """[N, C] -> [N, C]."""
        key = ("gated", self.epsilon, *self.gate_up.form, *self.down.form)
        return _run(key, self._draw, self.channels, (rows, self.gain), [self.gate_up, self.down])

    def _draw(self, drawing: Drawing) -> int:
        rows, normed = _normed(drawing, self.channels, self.epsilon)
        inner = drawing.made("swiglu", drawing.product(self.gate_up, normed))
        return drawing.made("add", drawing.product(self.down, inner), rows)


def at_once(layer: Layer, *, gelu: bool) -> Layer:
    """With what can be done in one call of each."""
    qkv, gate_up, down = (_single(linear) for linear in (layer.qkv, layer.gate_up, layer.down))
    if qkv is not None and layer.attention_norm is not None:
        layer = replace(layer, normed_qkv=NormedProduct(layer.attention_norm, qkv))
    if layer.mlp_norm is not None and gate_up is not None and down is not None and not (gelu or layer.mlp_post):
        layer = replace(layer, whole_mlp=GatedBlock(layer.mlp_norm, gate_up, down))
    return layer


def _single(linear: Linear) -> Coded | None:
    """The one product over blocks of one kind that this is, if it is that."""
    kernel = linear.kernels[0]
    return kernel if isinstance(kernel, Coded) and len(kernel.parts) == 1 and kernel.bias is None else None


def _product(part: Blocks) -> Callable[[Drawing], int]:
    return lambda drawing: drawing.product(part, drawing.given(part.inputs))


def _norm(norm: Norm) -> tuple[Tensor, float]:
    """The weights of an RMS norm, and the epsilon below its root."""
    size = norm.gain.shape[-1]
    return (norm.gain / size**0.5).contiguous(), float(norm.floor) ** 2 / size


def _normed(drawing: Drawing, channels: int, epsilon: float) -> tuple[int, int]:
    """Rows that are given, and the same normed."""
    rows, gain = drawing.given(channels), drawing.given(channels, 1)
    return rows, drawing.made("mul", drawing.made("rms_norm", rows, epsilon), gain)


def _run(
    key: Hashable, draw: Callable[[Drawing], int], outputs: int, given: Sequence[Tensor], matrices: Sequence[Blocks]
) -> Tensor:
    """A program over rows and what else is given, then matrices: [N, outputs] float32."""
    first, *others = given
    first = first.contiguous()
    rows, out, ggml = len(first), first.new_empty(len(first), outputs), library()
    held = [each.contiguous() for each in others]
    addresses = [address for matrix in matrices for address in matrix.addresses]
    for start in range(0, rows, LARGEST):
        count = min(rows - start, LARGEST)
        data = [each.data_ptr() + start * each.stride(0) * 4 if each.dim() > 1 else each.data_ptr() for each in held]
        places = [first.data_ptr() + start * first.stride(0) * 4, *data, *addresses]
        ggml.run(key, draw, count, [*places, out.data_ptr() + start * outputs * 4])
    return out
