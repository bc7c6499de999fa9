#!/usr/bin/env bash
# libggml-python 0.20.2.post1 (ggml's CPU kernels): with float16 keys and values, flash attention for fewer than 64
# queries sums in float16 and is off by 1e-3; for 64 and more it sums in float32 and is off by 1e-6. In float32 the bits
# change at 64 queries too, and for a single one with the number of threads.
#
# Guess: what a query reads is the same, to the bit, whatever the number of queries beside it or of threads, and its
# sums are in float32, so that float16 keys and values cost only their own rounding.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q libggml-python==0.20.2.post1 numpy==2.4.6 2>/dev/null

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import ctypes
import sys
from ctypes import c_bool, c_float, c_int, c_int64, c_size_t, c_void_p
from importlib.metadata import version
from pathlib import Path

import numpy as np

print("libggml-python", version("libggml-python"))
(folder,) = Path(sys.argv[1]).glob("venv/lib/python*/site-packages/libggml/lib64")
base, cpu = (ctypes.CDLL(str(folder / f"libggml-{name}.so"), mode=ctypes.RTLD_GLOBAL) for name in ("base", "cpu"))


class Settings(ctypes.Structure):
    """Of a context: the bytes it has, where they are, whether tensors get none of them."""

    _fields_ = [("size", c_size_t), ("memory", c_void_p), ("no_data", c_bool)]


for name, takes in {
    "ggml_init": [Settings],
    "ggml_new_tensor_4d": [c_void_p, c_int, *[c_int64] * 4],
    "ggml_get_data": [c_void_p],
    "ggml_flash_attn_ext": [*[c_void_p] * 5, *[c_float] * 3],
    "ggml_new_graph": [c_void_p],
}.items():
    getattr(base, name).argtypes, getattr(base, name).restype = takes, c_void_p
base.ggml_build_forward_expand.argtypes = [c_void_p, c_void_p]
cpu.ggml_graph_compute_with_ctx.argtypes = [c_void_p, c_void_p, c_int]
cpu.ggml_cpu_init()

SIZE, HEADS, SHARED, MOST, KEYS = 64, 4, 2, 128, 512
KINDS = {np.float32: 0, np.float16: 1}
numbers = np.random.default_rng(0)
queries = numbers.standard_normal((HEADS, MOST, SIZE)).astype(np.float32)
keys, values = (numbers.standard_normal((SHARED, KEYS, SIZE)).astype(np.float16) for _ in range(2))  # both hold them
mask = np.where(np.arange(KEYS) <= KEYS - MOST + np.arange(MOST)[:, None], 0, -np.inf).astype(np.float16)


def tensor(context: int, data: np.ndarray) -> int:
    """A tensor of three axes with this in it; the library counts axes from the last."""
    made = base.ggml_new_tensor_4d(context, KINDS[data.dtype.type], *data.shape[::-1], 1)
    data = np.ascontiguousarray(data)
    ctypes.memmove(base.ggml_get_data(made), data.ctypes.data, data.nbytes)
    return made


def read(count: int, kind: type, threads: int = 1) -> np.ndarray:
    """What the first queries read of keys and values of a kind: [count, heads, size]."""
    context = base.ggml_init(Settings(64 << 20, None, False))
    parts = [queries[:, :count], keys.astype(kind), values.astype(kind), mask[None, :count]]
    out = base.ggml_flash_attn_ext(context, *(tensor(context, part) for part in parts), SIZE**-0.5, 0.0, 0.0)
    graph = base.ggml_new_graph(context)
    base.ggml_build_forward_expand(graph, out)
    cpu.ggml_graph_compute_with_ctx(context, graph, threads)
    floats = (c_float * (count * HEADS * SIZE)).from_address(base.ggml_get_data(out))
    return np.array(floats).reshape(count, HEADS, SIZE)


wide = [np.repeat(each.astype(np.float64), HEADS // SHARED, 0) for each in (keys, values)]
scores = np.exp(np.einsum("hqs,hks->hqk", queries.astype(np.float64), wide[0]) / SIZE**0.5 + mask.astype(np.float64))
true = np.einsum("hqk,hks->qhs", scores / scores.sum(-1, keepdims=True), wide[1])
off = {}
for kind in KINDS:
    whole = read(MOST, kind)
    for count in (1, 2, 32, 63, 64, 65, 128):
        some = read(count, kind)
        off[kind, count] = float(np.abs(some - true[:count]).max())
        same = "the same bits" if np.array_equal(some, whole[:count]) else "other bits"
        print(f"{kind.__name__}: {count:3} queries off by {off[kind, count]:.1e}, {same} as 128 queries give")
        assert (same == "the same bits") == (count >= 64), (kind, count)
assert all(off[np.float16, count] > 2e-4 for count in (1, 2, 32, 63)), off
assert all(error < 1e-5 for (kind, count), error in off.items() if kind is np.float32 or count >= 64), off
alone, beside = (np.array_equal(read(count, np.float32, 2), read(count, np.float32)) for count in (1, 2))
print(f"two threads give the bits of one: for one query {alone}, for two {beside}")
assert beside and not alone
print("As found: below 64 queries float16 values are summed in float16, and the bits are others for either kind;")
print("one query over 512 keys is cut among the threads, so that their number changes its bits.")
PYTHON
