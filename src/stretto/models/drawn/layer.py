"""One decoder layer drawn for ggml: whole among others, or its parts each as a call."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import torch

from .coded import Call, Coded, Floats, gated, normed
from .drawing import Drawing
from .ggml import INT32
from .reader import Part, Readers

if TYPE_CHECKING:
    from torch import Tensor

    from ..linear import Linear
    from ..weights import Weights

NEIGHBOURS = 0  # rotation of channels that lie next to each other


class DrawnLayer:
    """A layer of a network whose products are all over blocks."""

    def __init__(self, weights: Weights, index: int) -> None:
        self.weights, self.layer = weights, weights.layers[index]
        self.size, self.scored = weights.head_size, weights.heads + weights.key_heads
        self.turn: tuple[Tensor, float] | None = None
        if self.layer.rotation is not None:
            rotation = weights.rotations[self.layer.rotation]
            self.turn = 1 / rotation.frequencies, rotation.amplitude  # positions are divided by the first
        products = self.layer.qkv, self.layer.out, self.layer.gate_up, self.layer.down
        self.parts = sum(len(coded(each).parts) for each in products)  # matrices of one kind of blocks

    def draw(self, drawing: Drawing, x: int, positions: int, slots: int, readers: Readers) -> int:
        """Rows [rows, C] -> [rows, C]; keys and values go to `slots` [rows, key heads]."""
        queries, keys, values = self._heads(drawing, x, positions)
        readers.write(keys, values, slots)
        mixed = readers.read(queries, self.layer.scale, self.weights.score_cap)
        return self._mlp(drawing, self._out(drawing, mixed, x))

    # -- parts, each as a call ----------------------------------------------------------------------

    @cached_property
    def heads(self) -> Call:
        """Rows [N, C] and positions [N] -> all heads, those of queries and keys turned: [N, all heads * size]."""
        return Call(lambda drawing: self._together(drawing, self._rows(drawing), drawing.rows_of(kind=INT32)))

    @cached_property
    def raw_heads(self) -> Call:
        """The same, and nothing is turned: rows [N, C] -> [N, all heads * size]."""
        return Call(lambda drawing: self._together(drawing, self._rows(drawing), None))

    @cached_property
    def out(self) -> Call:
        """What heads have read [N, heads * size], and rows [N, C] to which it is added: [N, C]."""

        def draw(drawing: Drawing) -> int:
            mixed = drawing.rows_of(self.weights.heads * self.size)
            return self._out(drawing, mixed, self._rows(drawing))

        return Call(draw)

    @cached_property
    def mlp(self) -> Call:
        """Rows [N, C], and what the MLP adds to them: [N, C]."""
        return Call(lambda drawing: self._mlp(drawing, self._rows(drawing)))

    # -- drawings -----------------------------------------------------------------------------------

    def _rows(self, drawing: Drawing) -> int:
        return drawing.rows_of(self.weights.table.shape[1])

    def _heads(self, drawing: Drawing, x: int, positions: int | None) -> tuple[Part, Part, Part]:
        """Queries, keys and values."""
        product = coded(self.layer.qkv).draw(drawing, normed(drawing, self.layer.attention_norm, x))
        total = (self.scored + self.weights.key_heads) * self.size
        pieces = [(Part(product, 0, total), self.scored)]  # heads with scores
        if self.layer.head_norms:
            pieces, first = [], 0
            for norm in self.layer.head_norms:
                parts, channels = norm.gain.shape
                part = drawing.part(product, (drawing.rows, parts, channels), (total, channels), first)
                count = parts * channels // self.size
                pieces.append((Part(normed(drawing, norm, part), 0, parts * channels), count))
                first += parts * channels
        if self.turn is not None and positions is not None:
            pieces = [(self._turned(drawing, part, count, positions), count) for part, count in pieces]
        values = Part(product, self.scored * self.size, total)
        if len(pieces) == 2:
            return pieces[0][0], pieces[1][0], values
        both = pieces[0][0]
        return both, Part(both.tensor, both.first + self.weights.heads * self.size, both.stride), values

    def _turned(self, drawing: Drawing, part: Part, count: int, positions: int) -> Part:
        assert self.turn is not None
        factors, amplitude = self.turn
        heads = drawing.part(part.tensor, (drawing.rows, count, self.size), (part.stride, self.size), part.first)
        numbers = (self.size, NEIGHBOURS, 0, 1.0, 1.0, 0.0, amplitude, 0.0, 0.0)
        return Part(
            drawing.made("rope_ext", heads, positions, drawing.constant(factors), *numbers), 0, count * self.size
        )

    def _together(self, drawing: Drawing, x: int, positions: int | None) -> int:
        queries, keys, values = self._heads(drawing, x, positions)
        weights, rows = self.weights, drawing.rows
        found, *others = (
            drawing.part(part.tensor, (rows, heads, self.size), (part.stride, self.size), part.first)
            for part, heads in ((queries, weights.heads), (keys, weights.key_heads), (values, weights.key_heads))
        )
        for other in others:
            found = drawing.made("concat", found, other, 1)
        return drawing.made("reshape_2d", found, (self.scored + weights.key_heads) * self.size, rows)

    def _out(self, drawing: Drawing, mixed: int, x: int) -> int:
        product = coded(self.layer.out).draw(drawing, mixed)
        return drawing.made("add", normed(drawing, self.layer.attention_post, product), x)

    def _mlp(self, drawing: Drawing, x: int) -> int:
        both = coded(self.layer.gate_up)
        inner = gated(
            drawing,
            both.draw(drawing, normed(drawing, self.layer.mlp_norm, x)),
            both.outputs // 2,
            gelu=self.weights.gelu,
        )
        product = coded(self.layer.down).draw(drawing, inner)
        return drawing.made("add", normed(drawing, self.layer.mlp_post, product), x)


def drawn_head(weights: Weights) -> Call:
    """Rows [N, C] -> logits [N, V] that no cap bounds yet."""

    def draw(drawing: Drawing) -> int:
        rows = drawing.rows_of(weights.table.shape[1])
        return coded(weights.head).draw(drawing, normed(drawing, weights.final_norm, rows))

    return Call(draw)


def coded(linear: Linear) -> Coded:
    """The kernel of a product that is over blocks."""
    kernel = linear.kernels[0]
    assert isinstance(kernel, Coded)
    return kernel


def in_floats(weights: Weights) -> bool:
    """Whether any of its products is over float32 as it lies."""
    products = [each for layer in weights.layers for each in (layer.qkv, layer.out, layer.gate_up, layer.down)]
    return any(isinstance(each.kernels[0], Floats) for each in (*products, weights.head))


def drawable(weights: Weights) -> bool:
    """Whether all products are over blocks, and there is nothing but such layers."""
    products = [each for layer in weights.layers for each in (layer.qkv, layer.out, layer.gate_up, layer.down)]
    return weights.dtype is torch.float32 and all(
        isinstance(each.kernels[0], Coded) for each in (*products, weights.head)
    )
