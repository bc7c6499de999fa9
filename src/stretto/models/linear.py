"""Matrix products with fixed weights. Which kernel runs for how many rows is chosen at load (`kernel_choice.py`).

Small windows are bound by reading the weights, so the fewer bytes the better. Kernels, with microseconds for
4096x768 on two AVX-512 cores, weights not in the cache, 1 / 4 / 16 rows:

- `Plain`: torch's own product over the transposed weight                                   585 / 1563 / 1597
- `Packed`: oneDNN's, over weights that it reordered beforehand                               560 / 496 / 731
- `Half`: FBGEMM's, weights kept in float16 and products and sums done in float32             255 / 266 / 603
- `Coded`: ggml's, weights in blocks of four to eight bits, inputs rounded to eight (drawn/coded.py); where a
  checkpoint's weights are blocks, or on request

`Half` is used where float16 holds the weights exactly: that is so for checkpoints stored in float16 and,
but for stray tiny weights, in bfloat16. For small weights the start-up of a kernel (15 microseconds for
`Packed`) costs more than the product, and `Plain` wins for a single row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

from .quantised import Quantised

ROWS = (1, 2, 4, 8, 16, 64)  # row counts that are timed; others take the choice of the next larger one
LIGHT = 64 << 20  # multiplications in a window up to which one thread does them all

Weight = Tensor | tuple[Quantised, ...]  # [O, I]: floats, or blocks, those of one kind below those of another
Matrix = tuple[Weight, Tensor | None]  # weight [O, I], bias [O]


def dense(weight: Weight) -> Tensor:
    """A weight in floats."""
    if isinstance(weight, Tensor):
        return weight
    return weight[0].dense() if len(weight) == 1 else torch.cat([part.dense() for part in weight])


class Kernel(Protocol):
    """One way to compute `x @ weight.T + bias + add`: [N, I] -> [N, O]."""

    def __call__(self, x: Tensor, add: Tensor | None = None) -> Tensor: ...


class Plain:
    """torch's own product; the weight may lie transposed in memory, which suits single rows."""

    def __init__(self, weight: Tensor, bias: Tensor | None, transposed: bool) -> None:
        self.matrix = weight.t().contiguous() if transposed else weight.t()  # [I, O]
        self.bias = bias

    def __call__(self, x: Tensor, add: Tensor | None = None) -> Tensor:
        if add is None:
            return torch.mm(x, self.matrix) if self.bias is None else torch.addmm(self.bias, x, self.matrix)
        product = torch.addmm(add, x, self.matrix)
        return product if self.bias is None else product.add_(self.bias)


class Packed:
    """oneDNN's product over reordered float32 weights."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        # the row count is a hint for the layout: that for 16 rows serves all, that for 1 row only single ones
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), 16)
        self.bias = bias

    def __call__(self, x: Tensor, add: Tensor | None = None) -> Tensor:
        product: Tensor
        if add is None:
            product = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")
        else:
            product = torch.ops.mkldnn._linear_pointwise.binary(x, add, self.weight, self.bias, "add")
        return product


class Half:
    """FBGEMM's product: float16 weights, float32 inputs, products and sums."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight = torch.ops.quantized.linear_prepack_fp16(weight.contiguous(), bias)
        overload = torch.ops.quantized.linear_dynamic_fp16.default
        self.multiply = getattr(overload, "_op", overload)  # without the search for a Python kernel: 2 microseconds

    def __call__(self, x: Tensor, add: Tensor | None = None) -> Tensor:
        product: Tensor = self.multiply(x, self.weight)
        return product if add is None else product.add_(add)


@contextmanager
def threads_for(work: int) -> Iterator[None]:
    """One thread for a window of so little work (in multiplications) that a second hardly helps.

    On a quiet machine the second thread saves a tenth there; on a busy one each of the many products of a
    window would wait for it for milliseconds.
    """
    threads = torch.get_num_threads()
    if work > LIGHT or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class Linear:
    """A product with fixed weights [O, I], by the kernel that is fastest for the number of rows."""

    def __init__(self, kernels: Sequence[Kernel], names: Sequence[str] = (), kinds: Sequence[str] = ()) -> None:
        """`kernels` holds one entry per entry of ROWS, `names` what they are called, `kinds` those of its blocks."""
        self.kernels = tuple(kernels)
        self.names = tuple(names)
        self.kinds = tuple(kinds)
        choice = [next(index for index, count in enumerate(ROWS) if count >= rows) for rows in range(1, ROWS[-1])]
        self._by_rows = [kernels[0], *(kernels[index] for index in choice)]

    def __call__(self, x: Tensor, add: Tensor | None = None) -> Tensor:
        """`x @ weight.T + bias`, plus `add` [N, O] where given: [N, I] -> [N, O]."""
        rows = x.shape[0]
        kernel = self._by_rows[rows] if rows < ROWS[-1] else self.kernels[-1]
        return kernel(x, add)
