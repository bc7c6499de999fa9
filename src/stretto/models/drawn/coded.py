"""Products over weights in blocks, and what stands around them in a layer, each as one call of ggml.

Everything is done for each row by itself, in one order: a row's result is the same bits beside any others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..linear import Plain
from ..quantised import Quantised
from .drawing import Drawing, Program
from .four_bits import blocks_of
from .ggml import FLOAT32, Blocks, library, threads

if TYPE_CHECKING:
    from ..weights import Norm

LARGEST = 64  # rows of one program; more are cut
NARROW = 8  # rows of the widest window in which ggml multiplies floats
GELU = 2 * math.sqrt(2 / math.pi)  # x * sigmoid(GELU * (x + CUBE * x^3)) is tanh-approximated GELU
CUBE = 0.044715

_programs: dict[Hashable, Program] = {}  # by form of the drawing, rows and threads


class Call:
    """What is drawn, over any number of rows; those that are drawn alike share their programs."""

    def __init__(self, draw: Callable[[Drawing], int]) -> None:
        """`draw` begins with what the call is given."""
        self._draw = draw
        trial = _Noted(1)
        draw(trial)
        self._form, self._held = tuple(trial.form), trial.held
        self._settled = np.array([said for _, said in trial.settled], np.int64)

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Rows [N, width] float32 of each input -> [N, O] float32."""
        rows, results = len(inputs[0]), []
        for start in range(0, rows, LARGEST):
            part = [each[start : start + LARGEST] for each in inputs]
            results.append(self._run(part))
        return results[0] if len(results) == 1 else torch.cat(results)

    def _run(self, inputs: Sequence[Tensor]) -> Tensor:
        rows, count = len(inputs[0]), threads()
        key = self._form, rows, count
        with library().lock:
            program = _programs.get(key)
            if program is None:
                drawing = Drawing(rows)
                program = _programs[key] = Program(drawing, self._draw(drawing), count)
            program.drawing.words[program.settled] = self._settled
            for place, each in zip(program.inputs, inputs, strict=True):
                place.copy_(each)
            program.run()
            return program.result.clone()


class _Noted(Drawing):
    """A drawing that writes down what is drawn."""

    def __init__(self, rows: int) -> None:
        self.form: list[tuple[object, ...]] = []
        self._numbers: dict[object, int] = {}
        super().__init__(rows)

    def note(self, tensor: int, operation: str, *operands: object) -> None:
        self._numbers[tensor] = ~len(self.form)  # below 0, to be told from sizes
        self.form.append((operation, *(self._numbers.get(each, each) for each in operands)))


class Coded:
    """`x @ weight.T + bias + add` over blocks; those of one kind stand below those of another."""

    def __init__(self, weight: Sequence[Quantised], bias: Tensor | None) -> None:
        self.weight = tuple(weight)
        self._over([blocks_of(part) for part in self.weight], bias)

    def _over(self, parts: Sequence[Blocks], bias: Tensor | None) -> None:
        self.parts, self.bias = parts, bias
        self.inputs, self.outputs = self.parts[0].inputs, sum(part.outputs for part in self.parts)
        self._product = Call(lambda drawing: self.draw(drawing, drawing.rows_of(self.inputs)))
        self._sum = Call(self._draw_sum)

    def __call__(self, x: Tensor, add: Tensor | None = None) -> Tensor:
        return self._product(x) if add is None else self._sum(x, add)

    def _draw_sum(self, drawing: Drawing) -> int:
        x, add = drawing.rows_of(self.inputs), drawing.rows_of(self.outputs)
        return drawing.made("add", self.draw(drawing, x), add)

    def draw(self, drawing: Drawing, x: int) -> int:
        """[rows, I] -> [rows, O]."""
        found, *others = (drawing.product(part, x) for part in self.parts)
        for other in others:
            found = drawing.made("concat", found, other, 0)
        return found if self.bias is None else drawing.made("add", found, drawing.constant(self.bias))


class Floats(Coded):
    """The same over a float32 matrix where it lies: ggml's kernel reads it at the pace of memory, row by row.

    More rows take arithmetic, at which torch's kernels are faster: they multiply wide windows, over the same memory.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        weight = weight.contiguous()
        self.weight = ()
        self._over([Blocks(weight.view(torch.uint8), FLOAT32, weight.shape[1])], bias)
        self._wide = Plain(weight, bias, transposed=False)

    def __call__(self, x: Tensor, add: Tensor | None = None) -> Tensor:
        return super().__call__(x, add) if len(x) <= NARROW else self._wide(x, add)


def normed(drawing: Drawing, norm: Norm | None, x: int) -> int:
    """RMS norm over the last dimension; None: there is none."""
    if norm is None:
        return x
    size = norm.gain.shape[-1]
    found = drawing.made("rms_norm", x, float(norm.floor) ** 2 / size)
    return drawing.made("mul", found, drawing.constant(norm.gain / size**0.5))


def gated(drawing: Drawing, both: int, inner: int, *, gelu: bool) -> int:
    """What the gate lets through: [rows, gate and up] -> [rows, inner]."""
    gate, up = (drawing.part(both, (1, drawing.rows, inner), (0, 2 * inner), first) for first in (0, inner))
    if not gelu:
        return drawing.made("swiglu_split", gate, up)
    # x * sigmoid(x * f) = silu(x * f) / f; ggml's own GELU looks up a table in float16
    factor = drawing.made("scale_bias", drawing.made("sqr", gate), CUBE * GELU, GELU)
    return drawing.made("div", drawing.made("swiglu_split", drawing.made("mul", factor, gate), up), factor)
