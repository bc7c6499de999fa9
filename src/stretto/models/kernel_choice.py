"""Which kernels multiply by a model's weights: chosen for each shape of matrix, by the clock or a rule.

The clock is asked once on a machine for each shape; its word is kept beside that of windows (machine.py).

With how many rows beside it a row is multiplied changes its last bits in most kernels. Where that must not be, a
kernel is held to the row counts at which it does not (`Alike`), and one kernel serves them all.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import machine
from .alike import WIDTHS, Alike, widths_of
from .drawn.coded import Coded, Floats
from .drawn.ggml import Unavailable, library
from .linear import ROWS, Half, Kernel, Linear, Matrix, Packed, Plain, Weight, dense, threads_for

CODED = {"int8": "Q8_0", "int4": "Q4_1"}  # forms of few bits, and the kind of blocks of each
TURNS = 8  # how often each kernel is timed, at most
BUDGET = 0.015  # seconds per row count after which no further turn begins
RULED = ("half", "packed", "transposed", "plain")  # the order of choice where nothing is timed
TINY = 128 << 10  # bytes; for smaller weights `Plain` is known to win
SMALL = 4 << 20  # bytes; smaller weights may be kept in the form of several kernels, larger ones in one
LARGE = 100 << 20  # bytes of a network whose single rows wait for memory alone
FAR = 8 << 20  # bytes; reading more than this in between makes no difference any more
ROUNDING = 2.0**-24  # relative error that float32 itself makes

Maker = Callable[[Any, Tensor | None], Kernel]  # of a weight [O, I] and its bias [O]


@dataclass(frozen=True, slots=True)
class Wish:
    """How products are to be computed."""

    form: str = ""  # of the weights: float32, or one of CODED (on the CPU); empty: as they are
    bits: bool = False  # a row's result has the same bits whatever stands beside it
    settled: bool = False  # by a rule instead of the clock: each load chooses the same kernels
    tried: bool = False  # this checkpoint was found to compute alike here: nothing of it is tried again


def linears(matrices: Sequence[Matrix], beside: int = 0, wish: Wish = Wish()) -> list[Linear]:
    """Products with matrices of one shape, such as one per layer.

    `beside` is how many bytes of other weights are read between two runs of the same product. Kernels are
    timed over the whole series and after reading as much, because a kernel that is fast on weights in the
    processor's nearest cache may be slow on those that are not. The matrices may be dropped afterwards.
    """
    matrices = [(_in_form(weight, wish), bias) for weight, bias in matrices]
    if any(isinstance(weight, Tensor) for weight, _ in matrices):
        matrices = [(dense(weight), bias) for weight, bias in matrices]
    makers = _makers(matrices)
    if not wish.bits and beside > LARGE and "packed" in makers and "half" not in makers and _no_wider_than_ggml():
        makers = {"straight": Floats}
    if (wish.bits or "coded" in makers) and not wish.tried:
        makers = {name: _held(make, matrices[0]) for name, make in makers.items()}
    single = wish.bits or _bytes(matrices[0]) > SMALL  # one kernel for all row counts
    if len(makers) == 1:
        choice = [*makers] * len(ROWS)
    elif wish.settled:
        choice = _by_rule(makers, alone=not single)
    else:
        choice = _by_clock(makers, matrices, beside, single)
    kernels = [{name: makers[name](*matrix) for name in dict.fromkeys(choice)} for matrix in matrices]
    kinds = [[part.kind for part in weight] if isinstance(weight, tuple) else [] for weight, _ in matrices]
    return [Linear([made[name] for name in choice], choice, held) for made, held in zip(kernels, kinds, strict=True)]


def _by_rule(names: Collection[str], *, alone: bool) -> list[str]:
    """The first of RULED, per entry of ROWS; `alone`: the transposed weight for single rows, where there is one."""
    choice = [next(name for name in RULED if name in names)] * len(ROWS)
    if alone and "transposed" in names:
        choice[0] = "transposed"
    return choice


def _by_clock(makers: Mapping[str, Maker], matrices: Sequence[Matrix], beside: int, single: bool) -> list[str]:
    """The fastest, per entry of ROWS: measured once on a machine, then remembered, so that later loads choose alike."""
    weight, bias = matrices[0]
    assert isinstance(weight, Tensor)  # of blocks there is one kernel
    series = [len(matrices), *weight.shape, bias is not None, beside]
    question = {"kernels": list(makers), "series": series, "single": single, "rows": ROWS}
    question |= machine.facts(weight.device)
    path = machine.place("kernels", json.dumps(question))
    if names := _recalled(path, makers, single):
        return names
    names = _timed(makers, matrices, beside, single)
    machine.remember(path, question | {"choice": names})
    return names


def _recalled(path: Path, names: Collection[str], single: bool) -> list[str] | None:
    """The choice in a file; None where there is none, or it cannot be one."""
    content = machine.recall(path)
    choice = content.get("choice") if isinstance(content, dict) else None
    if not isinstance(choice, list) or len(choice) != len(ROWS) or not all(name in [*names] for name in choice):
        return None
    return None if single and len(set(choice)) > 1 else choice


def _timed(makers: Mapping[str, Maker], matrices: Sequence[Matrix], beside: int, single: bool) -> list[str]:
    """The fastest, per entry of ROWS; the kernels that were made for it are dropped before those that stay are made."""
    tried = matrices[:1] if single else matrices
    trial = {name: [make(*matrix) for matrix in tried] for name, make in makers.items()}
    timings = _timings(trial, inputs_of(matrices[0][0]), beside)
    if single:
        return [_best_of_all(timings)] * len(ROWS)
    return [min(seconds, key=seconds.__getitem__) for seconds in timings]


def _held(make: Maker, matrix: Matrix) -> Maker:
    """The same kernels, each row's bits alike; the widths are those found for the first matrix of their shape."""
    like = matrix[0] if isinstance(matrix[0], Tensor) else torch.zeros(0)
    widths = widths_of(make(*matrix), inputs_of(matrix[0]), like)
    if make is Coded and widths == [*WIDTHS]:  # it cuts what is larger itself
        return make
    return lambda weight, bias: Alike(make(weight, bias), widths)


def _in_form(weight: Weight, wish: Wish) -> Weight:
    """The weight as it is to be held: blocks where it has them, they are wanted, and there are kernels for them."""
    if isinstance(weight, Tensor) or wish.form == "float32":
        return dense(weight)
    try:
        library()
    except Unavailable:
        return dense(weight)
    return weight


def _no_wider_than_ggml() -> bool:
    """Whether ggml is there, and torch's kernels have no wider instructions than those of its wheel."""
    if torch.backends.cpu.get_cpu_capability() != "AVX2":
        return False
    try:
        library()
    except Unavailable:
        return False
    return True


def inputs_of(weight: Weight) -> int:
    """I of [O, I]."""
    return weight.shape[1] if isinstance(weight, Tensor) else weight[0].inputs


def _on_cpu(matrices: Sequence[Matrix]) -> bool:
    return all(
        isinstance(weight, Tensor) and weight.device.type == "cpu" and weight.dtype is torch.float32
        for weight, _ in matrices
    )


def _makers(matrices: Sequence[Matrix]) -> dict[str, Maker]:
    """The kernels that can compute these products here, by name."""
    if isinstance(matrices[0][0], tuple):
        return {"coded": Coded}
    plain: dict[str, Maker] = {"plain": lambda weight, bias: Plain(weight, bias, transposed=False)}
    if not _on_cpu(matrices):
        return plain
    if _bytes(matrices[0]) <= SMALL:
        plain["transposed"] = lambda weight, bias: Plain(weight, bias, transposed=True)
    if _bytes(matrices[0]) <= TINY:
        return {"transposed": plain["transposed"]}
    if hasattr(torch.ops.mkldnn, "_reorder_linear_weight"):
        plain["packed"] = Packed
    if torch.backends.quantized.engine in ("x86", "fbgemm", "onednn") and all(map(_fits_half, matrices)):
        plain["half"] = Half
    return plain


def _bytes(matrix: Matrix) -> int:
    """Of a weight in floats; blocks are never held in several forms."""
    return matrix[0].nbytes if isinstance(matrix[0], Tensor) else 0


def _fits_half(matrix: Matrix) -> bool:
    """Whether float16 holds the weights to within the rounding of float32."""
    weight = dense(matrix[0])
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


def named(linear: Linear) -> str:
    """Which kernels a product runs, from how many rows on."""
    counts = [1, *(rows + 1 for rows in ROWS)]
    changes = [at for at, name in enumerate(linear.names) if at == 0 or name != linear.names[at - 1]]
    return ", ".join(linear.names[at] + (f" from {counts[at]} rows on" if at else "") for at in changes)
