#!/usr/bin/env bash
# libggml-python 0.20.2.post1 (ggml's CPU kernels, x86-64): where weights in Q4_K are repacked, a row of a product has
# other bits when the number of rows is no multiple of four; in Q4_0, or where they are not repacked, it never has.
#
# Guess: products with weights in blocks are sums of whole numbers, scaled block by block in one order, so that a row
# has the same bits whatever the number of rows and the layout of the blocks.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q libggml-python==0.20.2.post1 numpy==2.4.6 2>/dev/null

"$folder/venv/bin/python" - "$folder" 2>"$folder/log" <<'PYTHON'
import ctypes
import sys
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int, c_int64, c_size_t, c_void_p
from importlib.metadata import version
from itertools import count, takewhile
from pathlib import Path

import numpy as np

print("libggml-python", version("libggml-python"), flush=True)
(folder,) = Path(sys.argv[1]).glob("venv/lib/python*/site-packages/libggml/lib64")
base, cpu = (ctypes.CDLL(str(folder / f"libggml-{name}.so"), mode=ctypes.RTLD_GLOBAL) for name in ("base", "cpu"))


class Settings(ctypes.Structure):
    """Of a context: the bytes it has, where they are, whether tensors get none of them."""

    _fields_ = [("size", c_size_t), ("memory", c_void_p), ("no_data", c_bool)]


for library, name, takes, gives in (
    (base, "ggml_init", [Settings], c_void_p),
    (base, "ggml_new_tensor_2d", [c_void_p, c_int, c_int64, c_int64], c_void_p),
    (base, "ggml_get_data", [c_void_p], c_void_p),
    (base, "ggml_nbytes", [c_void_p], c_size_t),
    (base, "ggml_mul_mat", [c_void_p] * 3, c_void_p),
    (base, "ggml_new_graph", [c_void_p], c_void_p),
    (base, "ggml_build_forward_expand", [c_void_p] * 2, None),
    (base, "ggml_quantize_chunk", [c_int, c_void_p, c_void_p, *[c_int64] * 3, c_void_p], c_size_t),
    (base, "ggml_backend_reg_dev_get", [c_void_p, c_size_t], c_void_p),
    (base, "ggml_backend_reg_get_proc_address", [c_void_p, c_char_p], c_void_p),
    (base, "ggml_backend_buft_name", [c_void_p], c_char_p),
    (base, "ggml_backend_buft_alloc_buffer", [c_void_p, c_size_t], c_void_p),
    (base, "ggml_backend_buffer_get_base", [c_void_p], c_void_p),
    (base, "ggml_backend_tensor_alloc", [c_void_p] * 3, c_int),
    (base, "ggml_backend_tensor_set", [c_void_p, c_void_p, c_size_t, c_size_t], None),
    (cpu, "ggml_backend_cpu_reg", [], c_void_p),
    (cpu, "ggml_graph_compute_with_ctx", [c_void_p, c_void_p, c_int], c_int),
):
    getattr(library, name).argtypes, getattr(library, name).restype = takes, gives
cpu.ggml_cpu_init()
registry = cpu.ggml_backend_cpu_reg()
device = base.ggml_backend_reg_dev_get(registry, 0)
listed = base.ggml_backend_reg_get_proc_address(registry, b"ggml_backend_dev_get_extra_bufts")
kinds = ctypes.CFUNCTYPE(POINTER(c_void_p), c_void_p)(listed)(device)
held = takewhile(bool, map(kinds.__getitem__, count()))  # the list ends with a null
(repacking,) = (kind for kind in held if base.ggml_backend_buft_name(kind) == b"CPU_REPACK")

OUT, IN, MOST = 256, 512, 64
TYPES = {"Q4_0": 2, "Q4_K": 12}
numbers = np.random.default_rng(0)
inputs = numbers.standard_normal((MOST, IN)).astype(np.float32)
weights = numbers.standard_normal((OUT, IN)).astype(np.float32)


def product(kind: str, rows: int, repacked: bool) -> np.ndarray:
    """The first rows of the inputs times weights in blocks of a kind, [rows, OUT]."""
    context = base.ggml_init(Settings(16 << 20, None, False))
    given = base.ggml_new_tensor_2d(context, 0, IN, rows)
    ctypes.memmove(base.ggml_get_data(given), inputs.ctypes.data, rows * IN * 4)
    holder = base.ggml_init(Settings(1 << 20, None, True)) if repacked else context
    matrix = base.ggml_new_tensor_2d(holder, TYPES[kind], IN, OUT)
    blocks = np.empty(base.ggml_nbytes(matrix), np.uint8)
    base.ggml_quantize_chunk(TYPES[kind], weights.ctypes.data, blocks.ctypes.data, 0, OUT, IN, None)
    if repacked:
        buffer = base.ggml_backend_buft_alloc_buffer(repacking, blocks.nbytes + 4096)
        base.ggml_backend_tensor_alloc(buffer, matrix, base.ggml_backend_buffer_get_base(buffer))
        base.ggml_backend_tensor_set(matrix, blocks.ctypes.data, 0, blocks.nbytes)
    else:
        ctypes.memmove(base.ggml_get_data(matrix), blocks.ctypes.data, blocks.nbytes)
    out = base.ggml_mul_mat(context, matrix, given)
    graph = base.ggml_new_graph(context)
    base.ggml_build_forward_expand(graph, out)
    cpu.ggml_graph_compute_with_ctx(context, graph, 1)
    return np.array((c_float * (rows * OUT)).from_address(base.ggml_get_data(out))).reshape(rows, OUT)


others = {}
for kind in TYPES:
    for repacked in (False, True):
        whole = product(kind, MOST, repacked)
        differ = [rows for rows in range(1, 21) if not np.array_equal(product(kind, rows, repacked), whole[:rows])]
        others[kind, repacked] = differ
        apart = float(np.abs(whole - product(kind, MOST, False)).max())
        layout = "repacked" if repacked else "as it is"
        print(f"{kind}, {layout}: other bits than of {MOST} rows for {differ or 'none'} of 1 to 20 rows; "
              f"off from the plain layout's by {apart:.0e}", flush=True)
assert others["Q4_0", False] == others["Q4_0", True] == others["Q4_K", False] == [], others
assert others["Q4_K", True] == [rows for rows in range(1, 21) if rows % 4], others
print("As found: repacked Q4_K has one order of sums for fours of rows and another for what is left.")
PYTHON
