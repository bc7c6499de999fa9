"""Products by the kernels of ggml, the library under llama.cpp, on matrices in the blocks of their file.

Inputs are rounded to eight bits in groups as long as a block, products are summed as whole numbers within a group, and
groups are summed in float32: each row by itself, so that a row's result does not depend on how many stand beside it.
(Whether that is so is tried where it matters: ../alike.py.) Some kinds of blocks have kernels that read several
outputs at once, twice as fast; for those the library lays the blocks out anew.

The library is called through ctypes. A matrix is a tensor that lives as long as its kernel; what is done with it is a
small graph, made once for each shape and number of rows, into which the addresses of matrices, inputs and outputs
are written before each run.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import (
    POINTER,
    Structure,
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

GROUP = 32  # inputs that are summed for `offsets`
FLOAT32, FLOAT16, INT32, INT64 = 0, 1, 26, 27  # ggml's numbers for them
PARTS = ("base", "cpu")  # of the library, in the order in which they are loaded
SUFFIXES = (".so", ".dylib", ".dll")


class Unavailable(Exception):
    """The library is not installed, or not one that is known here; the message says which."""


class _Init(Structure):
    _fields_ = (("size", c_size_t), ("buffer", c_void_p), ("no_alloc", c_bool))


class Plan(Structure):
    """How a graph is to be computed."""

    _fields_ = (
        *(("work_size", c_size_t), ("work_data", c_void_p), ("threads", c_int), ("pool", c_void_p)),
        *(("abort", c_void_p), ("abort_data", c_void_p), ("reference", c_bool)),
    )


class _Traits(Structure):
    _fields_ = (
        *(("name", c_char_p), ("block", c_int64), ("interleaved", c_int64), ("bytes", c_size_t), ("coded", c_bool)),
        *(("to_float", c_void_p), ("from_float", c_void_p)),
    )


class Description(Structure):
    """A tensor."""

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
    "ggml_new_tensor_3d": (c_void_p, c_void_p, c_int, c_int64, c_int64, c_int64),
    "ggml_reshape_2d": (c_void_p, c_void_p, c_void_p, c_int64, c_int64),
    "ggml_reshape_3d": (c_void_p, c_void_p, c_void_p, c_int64, c_int64, c_int64),
    "ggml_view_3d": (c_void_p, c_void_p, c_void_p, c_int64, c_int64, c_int64, c_size_t, c_size_t, c_size_t),
    "ggml_sum_rows": (c_void_p, c_void_p, c_void_p),
    "ggml_mul_mat": (c_void_p, c_void_p, c_void_p, c_void_p),
    "ggml_out_prod": (c_void_p, c_void_p, c_void_p, c_void_p),
    "ggml_transpose": (c_void_p, c_void_p, c_void_p),
    "ggml_mul": (c_void_p, c_void_p, c_void_p, c_void_p),
    "ggml_add": (c_void_p, c_void_p, c_void_p, c_void_p),
    "ggml_rms_norm": (c_void_p, c_void_p, c_void_p, c_float),
    "ggml_div": (c_void_p, c_void_p, c_void_p, c_void_p),
    "ggml_sqr": (c_void_p, c_void_p, c_void_p),
    "ggml_scale_bias": (c_void_p, c_void_p, c_void_p, c_float, c_float),
    "ggml_swiglu_split": (c_void_p, c_void_p, c_void_p, c_void_p),
    "ggml_concat": (c_void_p, c_void_p, c_void_p, c_void_p, c_int),
    "ggml_rope_ext": (c_void_p, c_void_p, c_void_p, c_void_p, c_void_p, c_int, c_int, c_int, *[c_float] * 6),
    "ggml_set_rows": (c_void_p, c_void_p, c_void_p, c_void_p, c_void_p),
    "ggml_flash_attn_ext": (c_void_p, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p, c_float, c_float, c_float),
    "ggml_graph_overhead_custom": (c_size_t, c_size_t, c_bool),
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
    "ggml_graph_plan": (Plan, c_void_p, c_int, c_void_p),
    "ggml_graph_compute": (c_int, c_void_p, POINTER(Plan)),
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
        if self.call["tensor_overhead"]() < ctypes.sizeof(Description):
            raise Unavailable("this version of ggml describes tensors otherwise")
        self.call["cpu_init"]()
        self._silent = ctypes.CFUNCTYPE(None, c_int, c_char_p, c_void_p)(lambda *said: None)
        self.call["log_set"](ctypes.cast(self._silent, c_void_p), None)
        self.relaying = self._relaying()
        self.lock = threading.Lock()  # programs are shared, and hold the addresses of one call at a time
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

    def pool(self, threads: int) -> int | None:
        """Threads that wait for programs; None: the caller's own alone."""
        if threads not in self._pools:
            settings = ctypes.create_string_buffer(4096)  # the structure has some 550 bytes
            self.call["threadpool_params_init"](settings, threads)
            self._pools[threads] = self.call["threadpool_new"](settings)
        return self._pools[threads]


class _Threads(threading.local):
    count = 0  # 0: as many as torch has


_threads = _Threads()


def threads() -> int:
    """By how many threads programs are to be computed."""
    return _threads.count or torch.get_num_threads()


@contextmanager
def without_torch_threads() -> Iterator[None]:
    """Programs have the threads that torch has, and torch has one.

    For a while after each operation torch's threads wait for the next one without giving up their cores.
    """
    count = torch.get_num_threads()
    if count == 1:
        yield
        return
    _threads.count = count
    torch.set_num_threads(1)
    try:
        yield
    finally:
        _threads.count = 0
        torch.set_num_threads(count)


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

    `offsets` [O, inputs / GROUP] float32: what the sums of each group of inputs are multiplied by besides.
    `relay`: by the kernels of several outputs, whose bits are those of the others for Q4_0 alone.
    """

    def __init__(
        self, data: Tensor, kind: int, inputs: int, offsets: Tensor | None = None, *, relay: bool = False
    ) -> None:
        ggml = library()
        call = ggml.call
        self.outputs, self.inputs = len(data), inputs
        relaid = relay and ggml.relaying is not None
        context = call["init"](start_up(1 << 11, None))
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
            self._offsets = offsets.t().contiguous()  # many outputs are added to at once
            self.addresses.append(call["new_tensor_2d"](context, FLOAT32, self.outputs, len(self._offsets)))
            _at(self.addresses[1]).data = self._offsets.data_ptr()
        self.form = (kind, self.outputs, inputs, len(self.addresses), relaid)  # what tells programs over it from others
        weakref.finalize(self, call["free"], context)


def _at(address: int) -> Description:
    return Description.from_address(address)


def start_up(size: int, address: int | None) -> _Init:
    """Of a context of so many bytes, which lie at an address of ours if there is one; numbers lie elsewhere."""
    return _Init(size, address, True)
