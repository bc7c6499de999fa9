"""Operations of ggml, drawn once for a number of rows and then run as one call.

A drawing goes from tensor to tensor, each named by the address of its description. Those descriptions lie in an array
of ours, so that what changes from run to run (where matrices, keys and values lie, and how many) is written into many
of them at once. Operations run in the order in which they are drawn.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from ctypes import byref
from typing import TYPE_CHECKING

import numpy as np
import torch

from .ggml import FLOAT32, GROUP, INT32, INT64, Blocks, Description, Plan, library, start_up

if TYPE_CHECKING:
    from torch import Tensor

LINE = 64  # bytes to which addresses are rounded up
TYPES = {FLOAT32: torch.float32, INT32: torch.int32, INT64: torch.int64}
WORD = 8  # bytes of the numbers that a description is made of

# where they stand in it
DATA, VIEWED, OFFSET = (getattr(Description, name).offset // WORD for name in ("data", "view_src", "view_offset"))
SIZES, STRIDES, SOURCES = (getattr(Description, name).offset // WORD for name in ("ne", "nb", "src"))


class Drawing:
    """Operations over so many rows."""

    def __init__(self, rows: int, tensors: int = 128) -> None:
        """`tensors`: at most as many, operations and what they read."""
        self._call = call = library().call
        size = tensors * call["tensor_overhead"]() + call["graph_overhead_custom"](tensors, False)
        self._space = torch.zeros(size, dtype=torch.uint8)
        self.words = self._space[: size // WORD * WORD].numpy().view(np.int64)  # the descriptions
        self._start = self._space.data_ptr()
        self.rows, self._left = rows, tensors
        self.context = call["init"](start_up(size, self._start))
        weakref.finalize(self, call["free"], self.context)
        self.graph = call["new_graph_custom"](self.context, tensors, False)
        self.settled: list[tuple[int, int]] = []  # words that say where matrices and constants lie, and what they say
        self.held: list[Tensor] = []  # constants: they lie there as long as somebody holds them
        self.given: list[tuple[int, tuple[int, ...], torch.dtype]] = []
        self.page = 1  # what is made lies on one of two pages, or among what is given
        self.places: list[tuple[int, int, int]] = []  # (tensor, page, first byte on it)
        self.filled = [0, 0, 0]  # bytes of each page
        self.most = [0, 0, 0]
        self._sums: dict[int, int] = {}

    # -- what is read -------------------------------------------------------------------------------

    def rows_of(self, *shape: int, kind: int = FLOAT32) -> int:
        """Numbers [rows, *shape] that whoever runs the program writes, in the order in which they were drawn."""
        tensor = self._tensor(kind, *shape[::-1], self.rows)
        self.given.append((tensor, (self.rows, *shape), TYPES[kind]))
        self._put(tensor, 0)
        return tensor

    def constant(self, numbers: Tensor) -> int:
        """Numbers [...] float32 that never change."""
        numbers = numbers.contiguous()
        self.held.append(numbers)
        tensor = self._tensor(FLOAT32, *numbers.shape[::-1])
        self.settled.append((self.word(tensor, DATA), numbers.data_ptr()))
        self.words[self.settled[-1][0]] = numbers.data_ptr()
        return tensor

    def room(self, *shape: int) -> int:
        """Numbers [rows, *shape] that operations write one part at a time."""
        tensor = self._tensor(FLOAT32, *shape[::-1], self.rows)
        self._put(tensor, self.page)
        return tensor

    def elsewhere(self, kind: int, *sizes: int) -> int:
        """What lies where a run says; sizes and strides too may be told anew."""
        return self._tensor(kind, *sizes)

    # -- what is done -------------------------------------------------------------------------------

    def made(self, operation: str, *operands: int | float | None) -> int:
        """What an operation gives."""
        tensor = self.loose(operation, *operands)
        if not self.words[self.word(tensor, VIEWED)]:
            self._put(tensor, self.page)
        else:
            self.places.append((tensor, -1, 0))
        return tensor

    def loose(self, operation: str, *operands: int | float | None) -> int:
        """The same, which lies where a run says."""
        self._one_more()
        tensor: int = self._call[operation](self.context, *operands)
        self.note(tensor, operation, *operands)
        return tensor

    def now(self, tensor: int) -> int:
        """Make a tensor before whatever is drawn later, though nothing drawn later says that it reads it."""
        self._call["build_forward_expand"](self.graph, tensor)
        return tensor

    def turn(self) -> None:
        """Go on to the other page: what was made before the last turn is written over."""
        self.page = 3 - self.page
        self.filled[self.page] = 0

    def part(self, tensor: int, sizes: tuple[int, int, int], strides: tuple[int, int], first: int = 0) -> int:
        """A view of `sizes` [s2, s1, s0], in numbers; `strides` of s2 and s1, and where it begins."""
        s2, s1, s0 = sizes
        outer, inner = (4 * stride for stride in strides)
        return self.made("view_3d", tensor, s0, s1, s2, inner, outer, 4 * first)

    def product(self, matrix: Blocks, x: int) -> int:
        """[rows, I] -> [rows, O]."""
        own, *offsets = matrix.addresses
        found = self._by("mul_mat", own, x, matrix.form)
        for address in offsets:
            sums = self.made("transpose", self._group_sums(x, matrix))
            found = self.made("add", found, self._by("out_prod", address, sums, matrix.form))
        return found

    # -- for programs -------------------------------------------------------------------------------

    def word(self, tensor: int, field: int) -> int:
        """Where a field of its description stands in `words`."""
        return (tensor - self._start) // WORD + field

    def _tensor(self, kind: int, *sizes: int) -> int:
        self._one_more()
        sizes = (*sizes, *[1] * (3 - len(sizes)))
        tensor: int = self._call["new_tensor_3d"](self.context, kind, *sizes)
        self.note(tensor, "tensor", kind, *sizes)
        return tensor

    def _one_more(self) -> None:
        """Where there is no room ggml would end the process."""
        self._left -= 1
        assert self._left >= 0, "more tensors than this drawing was made for"

    def note(self, tensor: int, operation: str, *operands: object) -> None:
        """A tensor was drawn like that; whoever compares drawings writes it down."""

    def _put(self, tensor: int, page: int) -> None:
        self.places.append((tensor, page, self.filled[page]))
        self.filled[page] += -(-self._call["nbytes"](tensor) // LINE) * LINE
        self.most[page] = max(self.most[page], self.filled[page])

    def _by(self, operation: str, matrix: int, x: int, form: object) -> int:
        self._one_more()
        tensor: int = self._call[operation](self.context, matrix, x)
        self.note(tensor, operation, form, x)
        self._put(tensor, self.page)
        self.settled.append((self.word(tensor, SOURCES), matrix))
        return tensor

    def _group_sums(self, x: int, matrix: Blocks) -> int:
        """The sums of each group of inputs: [rows, groups]."""
        if x not in self._sums:
            groups = matrix.inputs // GROUP
            cut = self.made("reshape_2d", x, GROUP, groups * self.rows)
            self._sums[x] = self.made("reshape_2d", self.made("sum_rows", cut), groups, self.rows)
        return self._sums[x]


class Program:
    """A drawing, ready to run by so many threads."""

    def __init__(self, drawing: Drawing, result: int, threads: int) -> None:
        """`result` [rows, numbers]."""
        ggml = library()
        self.drawing = drawing
        drawing.now(result)
        self._plan: Plan = ggml.call["graph_plan"](drawing.graph, threads, ggml.pool(threads))
        self._plan.reference = True  # every query by itself, over the slots in their order (attention knows other ways)
        starts = [0, drawing.most[0], drawing.most[0] + drawing.most[1]]
        end = starts[2] + drawing.most[2]
        self._scratch = torch.zeros(end + self._plan.work_size + 2 * LINE, dtype=torch.uint8)
        shift = -self._scratch.data_ptr() % LINE
        base, words = self._scratch.data_ptr() + shift, drawing.words
        for tensor, page, first in drawing.places:
            address = base + starts[page] + first
            if page < 0:  # a view
                viewed = int(words[drawing.word(tensor, VIEWED)])
                address = int(words[drawing.word(viewed, DATA)]) + int(words[drawing.word(tensor, OFFSET)])
            words[drawing.word(tensor, DATA)] = address
        self._plan.work_data = base + end
        self.inputs = [self._at(tensor, base - shift, shape, dtype) for tensor, shape, dtype in drawing.given]
        width = int(words[drawing.word(result, SIZES)])
        self.result = self._at(result, base - shift, (drawing.rows, width), torch.float32)
        self.settled = np.array([word for word, _ in drawing.settled], np.int64)
        self._compute, self._by = ggml.call["graph_compute"], byref(self._plan)

    def run(self) -> None:
        """Compute `result` from `inputs`."""
        self._compute(self.drawing.graph, self._by)

    def _at(self, tensor: int, start: int, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """The numbers of a tensor of ours."""
        words = self.drawing.words
        first = int(words[self.drawing.word(tensor, DATA)]) - start
        count = int(np.prod(shape)) * dtype.itemsize
        return self._scratch[first : first + count].view(dtype).view(*shape)
