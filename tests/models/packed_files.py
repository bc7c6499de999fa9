"""Checkpoints of few bits in the layouts of their formats, written number by number, and the weights they stand for."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.families import GROUPED, build

SIZES: dict[str, Any] = GROUPED | {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
Parts = tuple[dict[str, Tensor], Tensor]  # tensors of a matrix by their last names; the weight they stand for, float64


@dataclass(frozen=True)
class Drawn:
    """Random codes [O, I], zero points and scales [O, G]; G groups of inputs that lie side by side."""

    codes: np.ndarray
    zeros: np.ndarray
    scales: Tensor

    @property
    def dense(self) -> Tensor:
        """[O, I] float64."""
        share = self.codes.shape[1] // self.scales.shape[1]
        zeros = np.repeat(self.zeros, share, axis=1)
        return torch.from_numpy(self.codes - zeros).double() * self.scales.double().repeat_interleave(share, 1)


def drawn(like: Tensor, bits: int, group: int, *, middle: bool, dtype: torch.dtype, least: int = 0) -> Drawn:
    """Of the shape of a weight and about as large; `middle`: zero points lie in the middle of the range of codes."""
    random = np.random.default_rng(like.numel())
    (outputs, inputs), top = like.shape, 1 << bits
    shape = (outputs, inputs // group)
    zeros = np.full(shape, top // 2) if middle else random.integers(max(least, top // 4), 3 * top // 4, shape)
    scales = torch.from_numpy(random.uniform(0.1, 0.3, shape) / top * 2).to(dtype)
    return Drawn(random.integers(0, top, (outputs, inputs)), zeros, scales)


def words(codes: np.ndarray, bits: int) -> Tensor:
    """Codes [N, M] in words of 32 bits along M, the first in the lowest bits: [N, M * bits / 32] int32."""
    count = 32 // bits
    found = np.zeros((len(codes), -(-codes.shape[1] // count)), np.uint32)
    for at in range(codes.shape[1]):
        found[:, at // count] |= (codes[:, at].astype(np.uint32) << np.uint32(at % count * bits)).astype(np.uint32)
    return torch.from_numpy(found.view(np.int32))


@dataclass(frozen=True)
class Gptq:
    """Words of inputs; the first version stores zero points less one."""

    bits: int = 4
    group: int = 32
    middle: bool = True
    version: int = 1
    shuffled: bool = False  # inputs in groups by how large they are, as desc_act leaves them

    @property
    def config(self) -> dict[str, Any]:
        said = {"quant_method": "gptq", "bits": self.bits, "group_size": self.group, "desc_act": self.shuffled}
        return said | ({"checkpoint_format": "gptq_v2"} if self.version == 2 else {}) | {"sym": self.middle}

    def __call__(self, like: Tensor) -> Parts:
        held = drawn(like, self.bits, self.group, middle=self.middle, dtype=torch.float16, least=1)
        order = torch.randperm(like.shape[1], generator=torch.Generator().manual_seed(1))
        order = order if self.shuffled else torch.arange(like.shape[1])
        groups = (torch.arange(like.shape[1]) // self.group)[order]
        codes = held.codes[:, order.numpy()]
        stored = held.zeros - (self.version == 1)
        parts = {
            "qweight": words(codes, self.bits).T.contiguous(),
            "qzeros": words(stored.T, self.bits),
            "scales": held.scales.T.contiguous(),
            "g_idx": groups.int(),
        }
        return parts, held.dense[:, order]


@dataclass(frozen=True)
class Awq:
    """Words of outputs: 0, 2, 4, 6, 1, 3, 5, 7 from the lowest bits up."""

    group: int = 64
    config: dict[str, Any] = field(
        default_factory=lambda: {
            "quant_method": "awq",
            "bits": 4,
            "group_size": 64,
            "zero_point": True,
            "version": "gemm",
        }
    )

    def __call__(self, like: Tensor) -> Parts:
        held = drawn(like, 4, self.group, middle=False, dtype=torch.float16)
        order = np.concatenate([np.array([0, 2, 4, 6, 1, 3, 5, 7]) + start for start in range(0, len(held.codes), 8)])
        parts = {
            "qweight": words(held.codes.T[:, order], 4),
            "qzeros": words(held.zeros.T[:, order], 4),
            "scales": held.scales.T.contiguous(),
        }
        return parts, held.dense


@dataclass(frozen=True)
class Compressed:
    """Codes around 0 with half their range added, in words; zero points in words along outputs."""

    bits: int = 4
    group: int = 32  # 0: one scale for each output
    middle: bool = True
    loose: bool = False  # int-quantized: codes as they are, in bytes
    dtype: torch.dtype = torch.bfloat16

    @property
    def config(self) -> dict[str, Any]:
        weights = {"num_bits": self.bits, "type": "int", "symmetric": self.middle, "group_size": self.group or None}
        scheme = {"targets": ["Linear"], "weights": weights | {"strategy": "group" if self.group else "channel"}}
        form = "int-quantized" if self.loose else "pack-quantized"
        return {"quant_method": "compressed-tensors", "format": form, "config_groups": {"group_0": scheme}}

    def __call__(self, like: Tensor) -> Parts:
        group = self.group or like.shape[1]
        held = drawn(like, self.bits, group, middle=self.middle, dtype=self.dtype)
        half = 1 << self.bits - 1
        if self.loose:
            parts = {"weight": torch.from_numpy((held.codes - half).astype(np.int8)), "input_scale": torch.ones(1)}
        else:
            parts = {"weight_packed": words(held.codes, self.bits), "weight_shape": torch.tensor(like.shape)}
        if not self.middle and self.loose:
            parts["weight_zero_point"] = torch.from_numpy((held.zeros - half).astype(np.int8))
        elif not self.middle:
            parts["weight_zero_point"] = words(held.zeros.T, self.bits).T.contiguous()
        return parts | {"weight_scale": held.scales}, held.dense


@dataclass(frozen=True)
class Fp8:
    """Eight-bit floats times a scale for each block, each output, or all."""

    config: dict[str, Any]
    rows: int  # of a block; 0: all
    columns: int
    name: str = "weight_scale_inv"
    exponents: torch.dtype | None = None  # scales are powers of two, stored as their exponents in this type

    def __call__(self, like: Tensor) -> Parts:
        generator = torch.Generator().manual_seed(like.numel())
        weight = (torch.randn(like.shape, generator=generator) * 60).to(torch.float8_e4m3fn)
        rows, columns = self.rows or like.shape[0], self.columns or like.shape[1]
        shape = (-(-like.shape[0] // rows), -(-like.shape[1] // columns))
        scales = torch.rand(shape, generator=generator) / 400 + 0.001
        if self.exponents:
            scales = torch.exp2(torch.log2(scales).round())
        dense = weight.double()
        for row in range(like.shape[0]):
            for column in range(shape[1]):
                dense[row, column * columns : (column + 1) * columns] *= float(scales[row // rows, column])
        stored = scales.to(torch.float8_e8m0fnu).view(self.exponents) if self.exponents else scales
        stored = stored.reshape(()) if not self.rows and not self.columns else stored
        return {"weight": weight, self.name: stored, "input_scale": torch.ones(1)}, dense


POWERS = {"quant_method": "fp8", "weight_block_size": [32, 32]}
FLOATS = {"quant_method": "compressed-tensors", "format": "float-quantized"}
GROUP = {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "float", "strategy": "channel"}}
BLOCKS = {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "float", "block_structure": [24, 40]}}
FORMATS: dict[str, tuple[Any, str | None]] = {  # how to write it, and the kind of blocks that hold it (None: floats do)
    "gptq": (Gptq(), "Q4_0"),
    "gptq, two bits": (Gptq(bits=2), "Q4_0"),
    "gptq, eight bits": (Gptq(bits=8), "Q8_0"),
    "gptq, zero points": (Gptq(middle=False), "Q4_1"),
    "gptq v2, zero points": (Gptq(middle=False, version=2, group=64), "Q4_1"),
    "gptq, shuffled": (Gptq(shuffled=True), None),
    "gptq, eight bits, zero points": (Gptq(bits=8, middle=False), None),
    "gptq, small groups": (Gptq(group=16), None),
    "awq": (Awq(), "Q4_1"),
    "packed": (Compressed(), "Q4_0"),
    "packed, zero points": (Compressed(middle=False), "Q4_1"),
    "packed, eight bits, by output": (Compressed(bits=8, group=0), "Q8_0"),
    "packed, float32 scales": (Compressed(dtype=torch.float32), "Q4_0"),
    "bytes": (Compressed(bits=8, group=0, loose=True), "Q8_0"),
    "bytes, zero points": (Compressed(bits=8, group=0, middle=False, loose=True), None),
    "fp8, blocks": (Fp8({"quant_method": "fp8", "weight_block_size": [24, 40]}, 24, 40), None),
    "fp8, one scale": (Fp8({"quant_method": "fp8", "weight_block_size": None}, 0, 0), None),
    "fp8, powers": (Fp8(POWERS, 32, 32, exponents=torch.float8_e8m0fnu), None),
    "fp8, powers in bytes": (Fp8(POWERS, 32, 32, exponents=torch.uint8), None),
    "fp8, by output": (Fp8({"quant_method": "fbgemm_fp8"}, 1, 0, "weight_scale"), None),
    "fp8, compressed": (Fp8(FLOATS | {"config_groups": {"group_0": GROUP}}, 1, 0, "weight_scale"), None),
    "fp8, compressed blocks": (Fp8(FLOATS | {"config_groups": {"group_0": BLOCKS}}, 24, 40, "weight_scale"), None),
}


def write(folder: Path, pack: Any, family: str = "Llama", **sizes: Any) -> dict[str, Tensor]:
    """A small checkpoint whose layers' matrices are packed, and its weights by name: as stored, or in float64."""
    module = build(family, **(SIZES | sizes))
    module.save_pretrained(folder)
    return repack(folder, pack)


def repack(folder: Path, pack: Callable[[Tensor], Parts]) -> dict[str, Tensor]:
    """Pack the matrices of the layers of a checkpoint."""
    file, config = folder / "model.safetensors", folder / "config.json"
    stored, meant = {}, {}
    for name, weight in load_file(file).items():
        owner, _, part = name.rpartition(".")
        if not owner.endswith("_proj") or part != "weight":
            stored[name] = meant[name] = weight
            continue
        parts, meant[name] = pack(weight)
        stored |= {f"{owner}.{part}": tensor for part, tensor in parts.items()}
    save_file(stored, file, metadata={"format": "pt"})
    said = json.loads(config.read_text())
    config.write_text(json.dumps(said | {"quantization_config": pack.config}))  # type: ignore[attr-defined]
    return meant
