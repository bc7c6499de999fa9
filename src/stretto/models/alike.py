"""Products whose rows have the same bits with any number of rows beside them.

Most kernels sum in another order for one row than for many, for a last row, for an odd number of them. At which counts
they agree differs from machine to machine, so that it is tried, not known (AVX2: oneDNN's packed float32 and torch's
bfloat16 at all, torch's float32 from 4 rows on, FBGEMM's float16 at 3, 4, 6 and 8 and others, but neither 1, 2 nor 7).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

WIDTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)  # row counts that a kernel may be held to

Product = Callable[[Tensor], Tensor]  # [N, I] -> [N, O]


class Alike:
    """A kernel held to row counts (`widths`) at which a row's result has the same bits, whatever stands beside it.

    Other counts are filled up with zeros to the next of them; more rows than the largest are cut. The sum with `add`
    is made afterwards, number by number.
    """

    def __init__(self, kernel: Product, widths: Sequence[int]) -> None:
        self.kernel = kernel
        self.largest = widths[-1]
        self._width = [next(width for width in widths if width >= rows) for rows in range(self.largest + 1)]

    def __call__(self, x: Tensor, add: Tensor | None = None) -> Tensor:
        if len(x) <= self.largest:
            product = self._part(x)
        else:
            product = torch.cat([self._part(x[at : at + self.largest]) for at in range(0, len(x), self.largest)])
        return product if add is None else product.add_(add)

    def _part(self, x: Tensor) -> Tensor:
        rows = len(x)
        more = self._width[rows] - rows
        if more:
            return self.kernel(torch.cat([x, x.new_zeros(more, x.shape[1])]))[:rows]
        return self.kernel(x.contiguous())


def widths_of(kernel: Product, inputs: int, like: Tensor) -> list[int]:
    """The row counts at which this kernel gives each row the bits that it has among the largest count of rows.

    Tried with rows at other places and beside other rows, by one thread and by all. Where even the place matters, (1,):
    rows are then multiplied one by one, which is always alike.
    """
    x = torch.randn(WIDTHS[-1], inputs, generator=torch.Generator().manual_seed(0)).to(like)
    threads = torch.get_num_threads()
    good = set(WIDTHS)
    try:
        for count in {1, threads}:
            torch.set_num_threads(count)
            whole = kernel(x)
            if not torch.equal(kernel(x.flip(0)), whole.flip(0)):
                return [1]
            good &= {width for width in good if torch.equal(kernel(x[-width:].contiguous()), whole[-width:])}
    finally:
        torch.set_num_threads(threads)
    return sorted(good)
