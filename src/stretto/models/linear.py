"""Matrix products with fixed weights; which kernel runs is measured once per shape and row count.

Small windows are bound by reading the weights, so the fewer bytes the better. Kernels, with microseconds for
4096x768 on two AVX-512 cores, weights not in the cache, 1 / 4 / 16 rows:

- `Plain`: torch's own product over the transposed weight                                   585 / 1563 / 1597
- `Packed`: oneDNN's, over weights that it reordered beforehand                               560 / 496 / 731
- `Half`: FBGEMM's, weights kept in float16 and products and sums done in float32             255 / 266 / 603
- `Int8`: FBGEMM's, weights and inputs rounded to eight bits; only on request                 169 / 177 / 265

`Half` is used where float16 holds the weights exactly: that is so for checkpoints stored in float16 and,
but for stray tiny weights, in bfloat16. For small weights the start-up of a kernel (15 microseconds for
`Packed`) costs more than the product, and `Plain` wins for a single row.

With how many rows beside it a row is multiplied changes its last bits in most kernels. Where that must not be, a
kernel is held to the row counts at which it does not (`Alike`), and one kernel serves them all.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .alike import Alike, widths_of

ROWS = (1, 2, 4, 8, 16, 64)  # row counts that are timed; others take the choice of the next larger one
TURNS = 8  # how often each kernel is timed, at most
BUDGET = 0.015  # seconds per row count after which no further turn begins
RULED = ("half", "packed", "transposed", "plain")  # the order of choice where nothing is timed
TINY = 128 << 10  # bytes; for smaller weights `Plain` is known to win
SMALL = 4 << 20  # bytes; smaller weights may be kept in the form of several kernels, larger ones in one
FAR = 8 << 20  # bytes; reading more than this in between makes no difference any more
LIGHT = 64 << 20  # multiplications in a window up to which one thread does them all
ROUNDING = 2.0**-24  # relative error that float32 itself makes

Matrix = tuple[Tensor, Tensor | None]  # weight [O, I], bias [O]


class Kernel(Protocol):
    """One way to compute `x @ weight.T + bias + add`: [N, I] -> [N, O]."""

    def __call__(self, x: Tensor, add: Tensor | None = None) -> Tensor: ...


Maker = Callable[[Tensor, Tensor | None], Kernel]


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


class Int8:
    """FBGEMM's product: weights rounded to eight bits per output channel, inputs per row.

    FBGEMM takes one scale for all rows, and then a row's result would depend on its neighbours. So rows
    are brought to length 1 (largest entry) beforehand, and a guard row fixes the scale.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        scales = weight.abs().amax(dim=1).clamp(min=1e-12).double() / 127
        zeros = torch.zeros(len(weight), dtype=torch.int64)
        with warnings.catch_warnings():  # torch says that quantized tensors will go; there is no other way yet
            warnings.simplefilter("ignore")
            rounded = torch.quantize_per_channel(weight.contiguous(), scales, zeros, 0, torch.qint8)
        self.weight = torch.ops.quantized.linear_prepack(rounded, None)
        self.bias = bias
        self.guard = torch.zeros(1, weight.shape[1])
        self.guard[0, 0], self.guard[0, -1] = 1.0, -1.0
        self.narrow = not torch.cpu._is_vnni_supported()  # without VNNI eight-bit inputs overflow a pair sum

    def __call__(self, x: Tensor, add: Tensor | None = None) -> Tensor:
        largest = torch.linalg.vector_norm(x, ord=torch.inf, dim=1, keepdim=True).clamp_(min=1e-12)
        guarded = torch.cat([x / largest, self.guard])
        product: Tensor = torch.ops.quantized.linear_dynamic(guarded, self.weight, self.narrow)
        product = product[:-1].mul_(largest)
        if self.bias is not None:
            product = product.add_(self.bias)
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

    def __init__(self, kernels: Sequence[Kernel], names: Sequence[str] = ()) -> None:
        """`kernels` holds one entry per entry of ROWS, `names` what they are called."""
        self.kernels = tuple(kernels)
        self.names = tuple(names)
        choice = [next(index for index, count in enumerate(ROWS) if count >= rows) for rows in range(1, ROWS[-1])]
        self._by_rows = [kernels[0], *(kernels[index] for index in choice)]

    def __call__(self, x: Tensor, add: Tensor | None = None) -> Tensor:
        """`x @ weight.T + bias`, plus `add` [N, O] where given: [N, I] -> [N, O]."""
        rows = x.shape[0]
        kernel = self._by_rows[rows] if rows < ROWS[-1] else self.kernels[-1]
        return kernel(x, add)


@dataclass(frozen=True, slots=True)
class Wish:
    """How products are to be computed."""

    int8: bool = False  # by weights and inputs rounded to eight bits; for float32 weights on the CPU
    bits: bool = False  # a row's result has the same bits whatever stands beside it
    settled: bool = False  # by a rule instead of the clock: each load chooses the same kernels


def named(linear: Linear) -> str:
    """Which kernels a product runs, from how many rows on."""
    counts = [1, *(rows + 1 for rows in ROWS)]
    changes = [at for at, name in enumerate(linear.names) if at == 0 or name != linear.names[at - 1]]
    return ", ".join(linear.names[at] + (f" from {counts[at]} rows on" if at else "") for at in changes)


def linears(matrices: Sequence[Matrix], beside: int = 0, wish: Wish = Wish()) -> list[Linear]:
    """Products with matrices of one shape, such as one per layer.

    `beside` is how many bytes of other weights are read between two runs of the same product. Kernels are
    timed over the whole series and after reading as much, because a kernel that is fast on weights in the
    processor's nearest cache may be slow on those that are not. The matrices may be dropped afterwards.
    """
    makers = {"int8": Int8} if wish.int8 else _makers(matrices)
    if wish.bits:
        makers = {name: _held(make, matrices[0]) for name, make in makers.items()}
    large = matrices[0][0].nbytes > SMALL
    if len(makers) == 1:
        choice = [*makers] * len(ROWS)
    elif wish.settled:
        choice = _by_rule(makers, alone=not (wish.bits or large))
    elif wish.bits or large:  # one kernel for all row counts
        trial = {name: [make(*matrices[0])] for name, make in makers.items()}
        choice = [_best_of_all(_timings(trial, matrices[0][0].shape[1], beside))] * len(ROWS)
        del trial  # before the series is made
    else:
        series = {name: [make(*matrix) for matrix in matrices] for name, make in makers.items()}
        timings = _timings(series, matrices[0][0].shape[1], beside)
        choice = [min(seconds, key=seconds.__getitem__) for seconds in timings]
        return [Linear([series[name][index] for name in choice], choice) for index in range(len(matrices))]
    kernels = [{name: makers[name](*matrix) for name in dict.fromkeys(choice)} for matrix in matrices]
    return [Linear([made[name] for name in choice], choice) for made in kernels]


def _by_rule(names: Collection[str], *, alone: bool) -> list[str]:
    """The first of RULED, per entry of ROWS; `alone`: the transposed weight for single rows, where there is one."""
    choice = [next(name for name in RULED if name in names)] * len(ROWS)
    if alone and "transposed" in names:
        choice[0] = "transposed"
    return choice


def _held(make: Maker, matrix: Matrix) -> Maker:
    """The same kernels, each row's bits alike; the widths are those found for the first matrix of their shape."""
    weight = matrix[0]
    widths = widths_of(make(*matrix), weight.shape[1], weight)
    return lambda weight, bias: Alike(make(weight, bias), widths)


def _on_cpu(matrices: Sequence[Matrix]) -> bool:
    return all(weight.device.type == "cpu" and weight.dtype is torch.float32 for weight, _ in matrices)


def _makers(matrices: Sequence[Matrix]) -> dict[str, Maker]:
    """The kernels that can compute these products here, by name."""
    plain: dict[str, Maker] = {"plain": lambda weight, bias: Plain(weight, bias, transposed=False)}
    if not _on_cpu(matrices):
        return plain
    if matrices[0][0].nbytes <= SMALL:
        plain["transposed"] = lambda weight, bias: Plain(weight, bias, transposed=True)
    if matrices[0][0].nbytes <= TINY:
        return {"transposed": plain["transposed"]}
    if hasattr(torch.ops.mkldnn, "_reorder_linear_weight"):
        plain["packed"] = Packed
    if torch.backends.quantized.engine in ("x86", "fbgemm", "onednn") and all(map(_fits_half, matrices)):
        plain["half"] = Half
    return plain


def _fits_half(matrix: Matrix) -> bool:
    """Whether float16 holds the weights to within the rounding of float32."""
    weight = matrix[0]
    error = torch.linalg.vector_norm(weight - weight.half().float())
    return bool(error <= ROUNDING * torch.linalg.vector_norm(weight))


def _timings(series: dict[str, list[Kernel]], inputs: int, beside: int) -> list[dict[str, float]]:
    """Seconds that each series of kernels takes, per entry of ROWS."""
    others = torch.zeros(min(beside, FAR) // 4)
    table = []
    for rows in ROWS:
        with threads_for(rows * beside // 4):
            table.append(_race(series, torch.ones(rows, inputs), others))
    return table


def _race(series: dict[str, list[Kernel]], x: Tensor, others: Tensor) -> dict[str, float]:
    """Seconds that each series takes for `x`: the best of a few turns in alternation."""
    best = dict.fromkeys(series, float("inf"))
    # alone, a thread's own time does not count what others do on a busy machine
    now = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    end = now() + BUDGET
    for _ in range(TURNS):
        for name, kernels in series.items():
            others.sum()
            start = now()
            for kernel in kernels:
                kernel(x)
            best[name] = min(best[name], now() - start)
        if now() > end:
            break
    return best


def _best_of_all(timings: list[dict[str, float]]) -> str:
    """The kernel that loses least against the best one of each row count."""
    losses = {name: sum(best[name] / min(best.values()) for best in timings) for name in timings[0]}
    return min(losses, key=losses.__getitem__)
