"""Products by the kernels of ggml, the library under llama.cpp, on matrices in the blocks of their file.

Inputs are rounded to eight bits in groups as long as a block, products are summed as whole numbers within a group, and
groups are summed in float32: each row by itself, so that a row's result does not depend on how many stand beside it.
(Whether that is so is tried where it matters: alike.py.) Some kinds of blocks have kernels that read several
outputs at once, twice as fast; for those the library lays the blocks out anew.

The library is called through ctypes: a matrix is a tensor of its own that lives as long as the kernel, and each
shape of product is a small graph, made once, into which the addresses of matrix, inputs and outputs are written.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections.abc import Callable, Mapping
from ctypes import POINTER, Structure, byref, c_bool, c_char, c_char_p, c_int, c_int32, c_int64, c_size_t, c_void_p
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

LARGEST = 64  # rows of one graph; more are cut
GROUP = 32  # inputs that are summed for `offsets`
HEADER = 1 << 14  # bytes for the descriptions of a graph's tensors
LINE = 64  # bytes to which addresses are rounded up
FLOAT32 = 0  # ggml's number for it
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
    "ggml_concat": (c_void_p, c_void_p, c_void_p, c_void_p, c_int),
    "ggml_mul_mat": (c_void_p, c_void_p, c_void_p, c_void_p),
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
        self.lock = threading.Lock()  # graphs are shared, and hold the addresses of one product at a time
        self._graphs: dict[tuple[int, ...], Graph] = {}
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

    def graph(self, matrix: Blocks, rows: int, threads: int) -> Graph:
        """The graph of a product with matrices like this one."""
        key = (matrix.kind, *matrix.shape, matrix.offsets, matrix.relaid, rows, threads)
        if key not in self._graphs:
            if threads not in self._pools:
                settings = ctypes.create_string_buffer(4096)  # the structure has some 550 bytes
                self.call["threadpool_params_init"](settings, threads)
                self._pools[threads] = self.call["threadpool_new"](settings)
            self._graphs[key] = Graph(self.call, matrix, rows, threads, self._pools[threads])
        return self._graphs[key]


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
    """A matrix in blocks [O, bytes] of ggml's `kind`, which hold `inputs` inputs an output; called, it multiplies.

    `offsets`: how often, behind the blocks for a row's inputs, there are such for the sums of each GROUP of them.
    `relay`: by the kernels of several outputs, whose bits are those of the others for Q4_0 alone.
    """

    def __init__(self, data: Tensor, kind: int, inputs: int, offsets: int = 0, *, relay: bool = False) -> None:
        ggml = library()
        call = ggml.call
        self.shape, self.inputs, self.offsets, self.kind = (len(data), _width(inputs, offsets)), inputs, offsets, kind
        self.relaid = relay and ggml.relaying is not None
        context = call["init"](_Init(1 << 10, None, True))
        self.address = call["new_tensor_2d"](context, kind, self.shape[1], self.shape[0])
        assert call["nbytes"](self.address) == data.nbytes, "blocks of another kind, or for other inputs"
        data = data.contiguous()
        if self.relaid:
            size = call["backend_buft_get_alloc_size"](ggml.relaying, self.address)
            memory = call["backend_buft_alloc_buffer"](ggml.relaying, size)
            call["backend_tensor_alloc"](memory, self.address, call["backend_buffer_get_base"](memory))
            call["backend_tensor_set"](self.address, data.data_ptr(), 0, data.nbytes)
            weakref.finalize(self, call["backend_buffer_free"], memory)
        else:
            self._data = data  # read where it lies
            _at(self.address).data = data.data_ptr()
        weakref.finalize(self, call["free"], context)

    def __call__(self, x: Tensor) -> Tensor:
        """[N, I] float32 -> [N, O] float32."""
        ggml, rows = library(), len(x)
        x, out = x.contiguous(), x.new_empty(rows, self.shape[0])
        threads = torch.get_num_threads()
        with ggml.lock:
            for start in range(0, rows, LARGEST):
                piece = slice(start, start + LARGEST) if rows > LARGEST else slice(None)
                ggml.graph(self, min(rows - start, LARGEST), threads).run(self, x[piece], out[piece])
        return out


class Graph:
    """One product of so many rows; the addresses of what is multiplied are written into it for each."""

    def __init__(
        self, call: Mapping[str, Callable[..., Any]], matrix: Blocks, rows: int, threads: int, pool: int | None
    ) -> None:
        self._context = context = call["init"](_Init(HEADER, None, True))
        groups = matrix.inputs // GROUP
        given = call["new_tensor_2d"](context, FLOAT32, matrix.inputs, rows)
        read, held, views = given, [], []
        if matrix.offsets:
            cut = call["reshape_2d"](context, given, GROUP, groups * rows)
            sums = call["sum_rows"](context, cut)
            level = call["reshape_2d"](context, sums, groups, rows)
            filled = call["pad"](context, level, -groups % GROUP, 0, 0, 0)
            views, held = [(cut, given), (level, sums)], [sums, filled]
            for _ in range(matrix.offsets):
                read = call["concat"](context, read, filled, 0)
                held.append(read)
        product = call["mul_mat"](context, matrix.address, read)
        self._graph = call["new_graph_custom"](context, HEADER // 1024, False)
        call["build_forward_expand"](self._graph, product)
        self._plan = call["graph_plan"](self._graph, threads, pool)
        sizes = [-(-call["nbytes"](tensor) // LINE) * LINE for tensor in held]
        self._scratch = torch.empty(sum(sizes) + self._plan.work_size + 2 * LINE, dtype=torch.uint8)
        start = -(-self._scratch.data_ptr() // LINE) * LINE
        for tensor, size in zip(held, sizes, strict=True):
            _at(tensor).data = start
            start += size
        self._plan.work_data = start
        for view, whole in views:
            _at(view).data = _at(whole).data
        self._given, self._product = _at(given), _at(product)
        self._cut = _at(views[0][0]) if views else self._given
        self._compute, self._by = call["graph_compute"], byref(self._plan)

    def run(self, matrix: Blocks, x: Tensor, out: Tensor) -> None:
        """Write the product into `out` [N, O]; it and `x` [N, I] lie in one piece each."""
        self._given.data = self._cut.data = x.data_ptr()
        self._product.data = out.data_ptr()
        self._product.src[0] = matrix.address
        self._compute(self._graph, self._by)


def _width(inputs: int, offsets: int) -> int:
    """Inputs of a matrix whose offsets stand behind."""
    groups = -(-inputs // GROUP)
    return inputs + offsets * -(-groups // GROUP) * GROUP


def _at(address: int) -> _Tensor:
    return _Tensor.from_address(address)
