"""Products by the kernels of ggml, the library under llama.cpp, on matrices in the blocks of their file.

Inputs are rounded to eight bits in groups as long as a block, products are summed as whole numbers within a group, and
groups are summed in float32: each row by itself, so that a row's result does not depend on how many stand beside it.
(Whether that is so is tried where it matters: alike.py.) Some kinds of blocks have kernels that read several
outputs at once, twice as fast; for those the library lays the blocks out anew.

The library is called through ctypes. A matrix is a tensor that lives as long as its kernel; what is done with it is a
small graph, made once for each shape and number of rows, into which the addresses of matrices, inputs and outputs
are written before each run.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections.abc import Callable, Hashable, Mapping, Sequence
from ctypes import (
    POINTER,
    Structure,
    byref,
    c_bool,
    c_char,
    c_char_p,
    c_float,
    c_int,
    c_int32,
    c_int64,
    c_size_t,
    c_void_p,
)
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

LARGEST = 64  # rows of one graph; more are cut
GROUP = 32  # inputs that are summed for `offsets`, and step of the kernel that multiplies by these
HEADER = 1 << 15  # bytes for the descriptions of a program's tensors
NODES = 32  # operations of a program, at most
LINE = 64  # bytes to which addresses are rounded up
FLOAT32, FLOAT16 = 0, 1  # ggml's numbers for them
PARTS = ("base", "cpu")  # of the library, in the order in which they are loaded
SUFFIXES = (".so", ".dylib", ".dll")


class Unavailable(Exception):
    """The library is not installed, or not one that is known here; the message says which."""


class _Init(Structure):
    _fields_ = (("size", c_size_t), ("buffer", c_void_p), ("no_alloc", c_bool))


class _Plan(Structure):
    _fields_ = (
        *(("work_size", c_size_t), ("work_data", c_void_p), ("threads", c_int), ("pool", c_void_p)),
        *(("abort", c_void_p), ("abort_data", c_void_p), ("reference", c_bool)),
    )


class _Traits(Structure):
    _fields_ = (
        *(("name", c_char_p), ("block", c_int64), ("interleaved", c_int64), ("bytes", c_size_t), ("coded", c_bool)),
        *(("to_float", c_void_p), ("from_float", c_void_p)),
    )


class _Tensor(Structure):
    _fields_ = (
        *(("type", c_int), ("buffer", c_void_p), ("ne", c_int64 * 4), ("nb", c_size_t * 4), ("op", c_int)),
        *(("params", c_int32 * 16), ("flags", c_int32), ("src", c_void_p * 10), ("view_src", c_void_p)),
        *(("view_offset", c_size_t), ("data", c_void_p), ("name", c_char * 64), ("extra", c_void_p)),
        ("padding", c_char * 8),
    )


SIGNATURES: dict[str, tuple[Any, ...]] = {  # what each function gives, and what it takes
    "ggml_init": (c_void_p, _Init),
    "ggml_free": (None, c_void_p),
    "ggml_tensor_overhead": (c_size_t,),
    "ggml_new_tensor_2d": (c_void_p, c_void_p, c_int, c_int64, c_int64),
    "ggml_reshape_2d": (c_void_p, c_void_p, c_void_p, c_int64, c_int64),
    "ggml_sum_rows": (c_void_p, c_void_p, c_void_p),
    "ggml_pad": (c_void_p, c_void_p, c_void_p, c_int, c_int, c_int, c_int),
    "ggml_mul_mat": (c_void_p, c_void_p, c_void_p, c_void_p),
    "ggml_mul": (c_void_p, c_void_p, c_void_p, c_void_p),
    "ggml_add": (c_void_p, c_void_p, c_void_p, c_void_p),
    "ggml_rms_norm": (c_void_p, c_void_p, c_void_p, c_float),
    "ggml_swiglu": (c_void_p, c_void_p, c_void_p),
    "ggml_graph_n_nodes": (c_int, c_void_p),
    "ggml_graph_node": (c_void_p, c_void_p, c_int),
    "ggml_nbytes": (c_size_t, c_void_p),
    "ggml_new_graph_custom": (c_void_p, c_void_p, c_size_t, c_bool),
    "ggml_build_forward_expand": (None, c_void_p, c_void_p),
    "ggml_log_set": (None, c_void_p, c_void_p),
    "ggml_backend_reg_dev_get": (c_void_p, c_void_p, c_size_t),
    "ggml_backend_reg_get_proc_address": (c_void_p, c_void_p, c_char_p),
    "ggml_backend_buft_name": (c_char_p, c_void_p),
    "ggml_backend_buft_alloc_buffer": (c_void_p, c_void_p, c_size_t),
    "ggml_backend_buft_get_alloc_size": (c_size_t, c_void_p, c_void_p),
    "ggml_backend_buffer_get_base": (c_void_p, c_void_p),
    "ggml_backend_buffer_free": (None, c_void_p),
    "ggml_backend_tensor_alloc": (c_int, c_void_p, c_void_p, c_void_p),
    "ggml_backend_tensor_set": (None, c_void_p, c_void_p, c_size_t, c_size_t),
    "ggml_get_type_traits": (POINTER(_Traits), c_int),
    "ggml_cpu_init": (None,),
    "ggml_backend_cpu_reg": (c_void_p,),
    "ggml_graph_plan": (_Plan, c_void_p, c_int, c_void_p),
    "ggml_graph_compute": (c_int, c_void_p, POINTER(_Plan)),
    "ggml_threadpool_params_init": (None, c_void_p, c_int),
    "ggml_threadpool_new": (c_void_p, c_void_p),
}


class Library:
    """The functions of ggml, by name without its prefix, and the memory in which it lays blocks out anew."""

    def __init__(self) -> None:
        package = find_spec("libggml")
        if package is None or package.origin is None:
            raise Unavailable("libggml-python is not installed")
        folder = Path(package.origin).parent
        files = [file for part in PARTS for file in sorted(folder.rglob(f"*ggml-{part}.*")) if file.suffix in SUFFIXES]
        if len(files) != len(PARTS):
            raise Unavailable(f"no library of ggml for the CPU in {folder}")
        try:
            self._loaded = [ctypes.CDLL(str(file), mode=ctypes.RTLD_GLOBAL) for file in files]
        except OSError as error:
            raise Unavailable(f"ggml does not load: {error}") from error
        self.call = {name.removeprefix("ggml_"): self._function(name) for name in SIGNATURES}
        if self.call["tensor_overhead"]() < ctypes.sizeof(_Tensor):
            raise Unavailable("this version of ggml describes tensors otherwise")
        self.call["cpu_init"]()
        self._silent = ctypes.CFUNCTYPE(None, c_int, c_char_p, c_void_p)(lambda *said: None)
        self.call["log_set"](ctypes.cast(self._silent, c_void_p), None)
        self.relaying = self._relaying()
        self.lock = threading.Lock()  # programs are shared, and hold the addresses of one call at a time
        self._programs: dict[tuple[Hashable, int, int], Program] = {}
        self._pools: dict[int, int | None] = {1: None}  # one thread needs none

    def _function(self, name: str) -> Callable[..., Any]:
        result, *arguments = SIGNATURES[name]
        for library in self._loaded:
            if hasattr(library, name):
                function: Any = getattr(library, name)
                function.restype, function.argtypes = result, arguments
                return function  # type: ignore[no-any-return]
        raise Unavailable(f"this version of ggml has no {name}")

    def _relaying(self) -> int | None:
        """The kind of memory in which kernels of several outputs find their blocks; None: there is none."""
        registry = self.call["backend_cpu_reg"]()
        device = self.call["backend_reg_dev_get"](registry, 0)
        address = self.call["backend_reg_get_proc_address"](registry, b"ggml_backend_dev_get_extra_bufts")
        kinds = ctypes.CFUNCTYPE(POINTER(c_void_p), c_void_p)(address)(device) if address else []
        for kind in iter(kinds):  # ends with an address of zero
            if not kind or self.call["backend_buft_name"](kind) == b"CPU_REPACK":
                return int(kind) if kind else None
        return None

    def run(self, key: Hashable, draw: Callable[[Drawing], int], rows: int, places: Sequence[int]) -> None:
        """Compute what `draw` draws over so many rows; all that draw under one key draw alike.

        `places` are the addresses of what is read and written, in the order in which they were drawn, the result last.
        """
        threads = torch.get_num_threads()
        with self.lock:
            program = self._programs.get((key, rows, threads))
            if program is None:
                program = Program(self.call, draw, rows, threads, self._pool(threads))
                self._programs[key, rows, threads] = program
            program.run(places)

    def _pool(self, threads: int) -> int | None:
        if threads not in self._pools:
            settings = ctypes.create_string_buffer(4096)  # the structure has some 550 bytes
            self.call["threadpool_params_init"](settings, threads)
            self._pools[threads] = self.call["threadpool_new"](settings)
        return self._pools[threads]


@cache
def library() -> Library:
    """ggml, loaded once. Raises Unavailable."""
    return Library()


def floats(data: Tensor, kind: int, inputs: int) -> Tensor:
    """Blocks [O, bytes] as numbers: [O, inputs] float32. Raises Unavailable."""
    traits = library().call["get_type_traits"](kind).contents
    if not traits.to_float:
        raise Unavailable(f"this version of ggml does not read blocks of kind {kind}")
    convert = ctypes.CFUNCTYPE(None, c_void_p, c_void_p, c_int64)(traits.to_float)
    data, found = data.contiguous(), torch.empty(len(data), inputs)
    convert(data.data_ptr(), found.data_ptr(), found.numel())
    return found


class Blocks:
    """A matrix in blocks [O, bytes] of ggml's `kind`, which hold `inputs` inputs an output.

    `offsets` [O, inputs / GROUP] float16: what the sums of each group of inputs are multiplied by besides.
    `relay`: by the kernels of several outputs, whose bits are those of the others for Q4_0 alone.
    """

    def __init__(
        self, data: Tensor, kind: int, inputs: int, offsets: Tensor | None = None, *, relay: bool = False
    ) -> None:
        ggml = library()
        call = ggml.call
        self.outputs, self.inputs = len(data), inputs
        relaid = relay and ggml.relaying is not None
        context = call["init"](_Init(1 << 11, None, True))
        own = call["new_tensor_2d"](context, kind, inputs, self.outputs)
        assert call["nbytes"](own) == data.nbytes, "blocks of another kind, or for other inputs"
        data = data.contiguous()
        if relaid:
            size = call["backend_buft_get_alloc_size"](ggml.relaying, own)
            memory = call["backend_buft_alloc_buffer"](ggml.relaying, size)
            call["backend_tensor_alloc"](memory, own, call["backend_buffer_get_base"](memory))
            call["backend_tensor_set"](own, data.data_ptr(), 0, data.nbytes)
            weakref.finalize(self, call["backend_buffer_free"], memory)
        else:
            self._data = data  # read where it lies
            _at(own).data = data.data_ptr()
        self.addresses = [own]  # of the matrix, and of its offsets if it has any
        if offsets is not None:
            self._offsets = pad(offsets, (0, -offsets.shape[1] % GROUP))  # in whole steps of the kernel
            self.addresses.append(call["new_tensor_2d"](context, FLOAT16, self._offsets.shape[1], self.outputs))
            _at(self.addresses[1]).data = self._offsets.data_ptr()
        self.form = (kind, self.outputs, inputs, len(self.addresses), relaid)  # what tells programs over it from others
        weakref.finalize(self, call["free"], context)


class Drawing:
    """Operations over so many rows, as they are drawn: each gives the address of a tensor."""

    def __init__(self, call: Mapping[str, Callable[..., Any]], rows: int) -> None:
        self._call, self.rows = call, rows
        self.context = call["init"](_Init(HEADER, None, True))
        self.places: list[list[_Tensor]] = []  # tensors that lie where a call says, in its order
        self.matrices: dict[int, _Tensor] = {}  # and products, by the place of their matrix
        self._given: dict[int, list[_Tensor]] = {}  # those of numbers that are given, by address
        self._sums: dict[int, int] = {}

    def given(self, width: int, rows: int | None = None) -> int:
        """Numbers [rows, width] that the caller gives."""
        tensor: int = self._call["new_tensor_2d"](self.context, FLOAT32, width, self.rows if rows is None else rows)
        self._given[tensor] = [_at(tensor)]
        self.places.append(self._given[tensor])
        return tensor

    def made(self, operation: str, *operands: int | float) -> int:
        """What an operation gives."""
        tensor: int = self._call[operation](self.context, *operands)
        return tensor

    def product(self, matrix: Blocks, x: int) -> int:
        """[rows, I] -> [rows, O]; where the matrix lies are places."""
        own, *offsets = matrix.addresses
        found = self._product(own, x)
        for address in offsets:
            found = self.made("add", found, self._product(address, self._group_sums(x, matrix)))
        return found

    def _product(self, matrix: int, x: int) -> int:
        tensor = self.made("mul_mat", matrix, x)
        self.matrices[len(self.places)] = _at(tensor)
        self.places.append([])
        return tensor

    def _group_sums(self, x: int, matrix: Blocks) -> int:
        """The sums of each group of inputs, filled up as the offsets are."""
        if x not in self._sums:
            groups = matrix.inputs // GROUP
            cut = self.made("reshape_2d", x, GROUP, groups * self.rows)
            if x in self._given:
                self._given[x].append(_at(cut))  # lies where that lies
            sums = self.made("reshape_2d", self.made("sum_rows", cut), groups, self.rows)
            self._sums[x] = self.made("pad", sums, -groups % GROUP, 0, 0, 0)
        return self._sums[x]


class Program:
    """Operations that were drawn, ready to run; where they read and write is told for each run."""

    def __init__(
        self,
        call: Mapping[str, Callable[..., Any]],
        draw: Callable[[Drawing], int],
        rows: int,
        threads: int,
        pool: int | None,
    ) -> None:
        self._drawing = drawing = Drawing(call, rows)
        result = draw(drawing)
        self._graph = call["new_graph_custom"](drawing.context, NODES, False)
        call["build_forward_expand"](self._graph, result)
        self._plan = call["graph_plan"](self._graph, threads, pool)
        held = [call["graph_node"](self._graph, at) for at in range(call["graph_n_nodes"](self._graph))][:-1]
        own = [tensor for tensor in held if not _at(tensor).view_src]
        sizes = [-(-call["nbytes"](tensor) // LINE) * LINE for tensor in own]
        self._scratch = torch.empty(sum(sizes) + self._plan.work_size + 2 * LINE, dtype=torch.uint8)
        start = -(-self._scratch.data_ptr() // LINE) * LINE
        for tensor, size in zip(own, sizes, strict=True):
            _at(tensor).data = start
            start += size
        for tensor in held:
            if _at(tensor).view_src:
                _at(tensor).data = _at(_at(tensor).view_src).data
        self._plan.work_data = start
        self._places = [*drawing.places, [_at(result)]]
        self._compute, self._by = call["graph_compute"], byref(self._plan)

    def run(self, places: Sequence[int]) -> None:
        """Compute, from and to these addresses."""
        matrices = self._drawing.matrices
        for at, (tensors, address) in enumerate(zip(self._places, places, strict=True)):
            for tensor in tensors:
                tensor.data = address
            if not tensors:
                matrices[at].src[0] = address
        self._compute(self._graph, self._by)


def _at(address: int) -> _Tensor:
    return _Tensor.from_address(address)
