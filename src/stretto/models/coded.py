"""Products over weights in blocks, and what stands around them in a layer, each as one call of ggml.

Everything is done for each row by itself, in one order: a row's result is the same bits beside any others.
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


FLOAT = 4  # bytes


class Call:
    """What is drawn, over any number of rows; those that are named and shaped alike share their programs."""

    def __init__(
        self, name: Hashable, draw: Callable[[Drawing], int], outputs: int, parts: Sequence[Blocks], gain: Tensor | None
    ) -> None:
        """`draw` names its places in this order: rows, the gain of their norm if there is one, what is added, `parts`.

        Results have `outputs` numbers.
        """
        self._key = (name, *(part.form for part in parts))
        self._draw, self._outputs, self._parts, self._gain = draw, outputs, parts, gain
        self._settled = [] if gain is None else [gain.data_ptr()]  # lies there as long as it is held
        self._matrices = [address for part in parts for address in part.addresses]

    def __call__(self, x: Tensor, add: Tensor | None = None) -> Tensor:
        """Rows [N, I] float32, and what is added to the results [N, O]: [N, O] float32."""
        given = [each.contiguous() for each in (x, add) if each is not None]
        rows, out, ggml = len(x), x.new_empty(len(x), self._outputs), library()
        for start in range(0, rows, LARGEST):
            first, *added, result = [each.data_ptr() + start * each.shape[1] * FLOAT for each in (*given, out)]
            places = [first, *self._settled, *added, *self._matrices, result]
            ggml.run(self._key, self._draw, min(rows - start, LARGEST), places)
        return out


class Coded:
    """`x @ weight.T + bias + add` over blocks; those of one kind stand below those of another."""

    def __init__(self, weight: Sequence[Quantised], bias: Tensor | None) -> None:
        self.weight, self.bias = tuple(weight), bias
        self.parts = [blocks_of(part) for part in self.weight]
        self._products = [Call("product", _product(part), part.outputs, [part], None) for part in self.parts]
        first = self.parts[0]
        self._sum = Call("sum", _sum(first), first.outputs, [first], None)

    def __call__(self, x: Tensor, add: Tensor | None = None) -> Tensor:
        if len(self.parts) == 1 and self.bias is None and add is not None:
            return self._sum(x, add)
        products = [product(x) for product in self._products]
        product = products[0] if len(products) == 1 else torch.cat(products, 1)
        if self.bias is not None:
            product = product.add_(self.bias)
        return product if add is None else product.add_(add)


def normed_product(norm: Norm, part: Blocks) -> Call:
    """`part(norm(rows))`: [N, C] -> [N, O]."""
    gain, epsilon = _norm(norm)

    def draw(drawing: Drawing) -> int:
        return drawing.product(part, _normed(drawing, part.inputs, epsilon)[1])

    return Call(("normed", epsilon), draw, part.outputs, [part], gain)


def gated_block(norm: Norm, gate_up: Blocks, down: Blocks) -> Call:
    """`rows + down(silu(gate) * up)` of what the norm gives, a whole MLP: [N, C] -> [N, C]."""
    gain, epsilon = _norm(norm)

    def draw(drawing: Drawing) -> int:
        rows, normed = _normed(drawing, gate_up.inputs, epsilon)
        inner = drawing.made("swiglu", drawing.product(gate_up, normed))
        return drawing.made("add", drawing.product(down, inner), rows)

    return Call(("gated", epsilon), draw, down.outputs, [gate_up, down], gain)


def at_once(layer: Layer, *, gelu: bool) -> Layer:
    """With what can be done in one call of each."""
    qkv, gate_up, down = (_single(linear) for linear in (layer.qkv, layer.gate_up, layer.down))
    if qkv is not None and layer.attention_norm is not None:
        layer = replace(layer, normed_qkv=normed_product(layer.attention_norm, qkv))
    if layer.mlp_norm is not None and gate_up is not None and down is not None and not (gelu or layer.mlp_post):
        layer = replace(layer, whole_mlp=gated_block(layer.mlp_norm, gate_up, down))
    return layer


def _single(linear: Linear) -> Blocks | None:
    """The one matrix in blocks of one kind that a product is with, if it is no more than that."""
    kernel = linear.kernels[0]
    if not isinstance(kernel, Coded) or len(kernel.parts) > 1 or kernel.bias is not None:
        return None
    return kernel.parts[0]


def _product(part: Blocks) -> Callable[[Drawing], int]:
    return lambda drawing: drawing.product(part, drawing.given(part.inputs))


def _sum(part: Blocks) -> Callable[[Drawing], int]:
    def draw(drawing: Drawing) -> int:
        x, add = drawing.given(part.inputs), drawing.given(part.outputs)
        return drawing.made("add", drawing.product(part, x), add)

    return draw


def _norm(norm: Norm) -> tuple[Tensor, float]:
    """The weights of an RMS norm, and the epsilon below its root."""
    size = norm.gain.shape[-1]
    return (norm.gain / size**0.5).contiguous(), float(norm.floor) ** 2 / size


def _normed(drawing: Drawing, channels: int, epsilon: float) -> tuple[int, int]:
    """Rows that are given, and the same normed."""
    rows, gain = drawing.given(channels), drawing.given(channels, 1)
    return rows, drawing.made("mul", drawing.made("rms_norm", rows, epsilon), gain)
