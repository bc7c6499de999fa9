"""Control vectors: a direction for each of some layers, which is added to the rows that leave it.

Files hold them as llama.cpp and repeng do: tensors `direction.N`, where N counts the layers from 0 and names the rows
that leave that layer: here layer N + 1, as 0 is the embedding.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..errors import InvalidRequest, ModelError, Unsupported
from ..files import replacing
from .contract import Model
from .edits import Edit

if TYPE_CHECKING:
    from torch import Tensor

NAME = re.compile(r"direction\.(\d+)")
ARCHITECTURE = "controlvector"  # what general.architecture is in a GGUF file


class ControlVector:
    """A direction [C] for each of some layers, counted from 1 (0 is the embedding). Equal ones compare equal."""

    def __init__(self, directions: Mapping[int, Any], name: str = "", made_for: str = "") -> None:
        """Directions are whatever numpy reads as C numbers, all of one size. Raises InvalidRequest."""
        self.name = name or f"control vector of {len(directions)} layers"
        self.made_for = made_for  # the kind of network, as config.json names it; empty: not known
        self.directions = {layer: _direction(directions[layer], layer, self.name) for layer in sorted(directions)}
        sizes = {len(direction) for direction in self.directions.values()}
        if len(sizes) != 1:
            told = "has no direction" if not sizes else f"has directions of {min(sizes)} and {max(sizes)} channels"
            raise InvalidRequest(f"{self.name} {told}", hint="one direction for each layer, all of one model")
        self.channels = sizes.pop()
        held = hashlib.sha256()
        for layer, direction in self.directions.items():
            held.update(f"{layer}:".encode() + direction.numpy().tobytes())
        self._digest = held.digest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ControlVector) and self._digest == other._digest

    def __hash__(self) -> int:
        return hash(self._digest)

    def __str__(self) -> str:
        return self.name

    __repr__ = __str__

    @classmethod
    def read(cls, file: str | Path) -> ControlVector:
        """Of a GGUF or a safetensors file. Raises ModelError where it is not there, broken, or holds something else."""
        path = Path(file)
        if not path.is_file():
            raise ModelError(f"there is no file {path}", hint="a control vector is a .gguf or .safetensors file")
        return _read(path.resolve(), path.stat().st_mtime_ns)

    @classmethod
    def of(cls, value: Any) -> ControlVector:
        """Of what other libraries hold one in: `directions`, arrays by layer counted from 0, as repeng's have it."""
        held = getattr(value, "directions", value)
        return cls({layer + 1: held[layer] for layer in held}, made_for=getattr(value, "model_type", ""))

    def write(self, file: str | Path) -> None:
        """To a .gguf file that llama.cpp and repeng read, or to a .safetensors one. Raises InvalidRequest."""
        path, named = Path(file), {f"direction.{layer - 1}": each for layer, each in self.directions.items()}
        if 0 in self.directions:
            raise InvalidRequest(f"{self.name} edits the embedding, which files have no name for", hint="leave it out")
        if path.suffix == ".safetensors":
            from safetensors.torch import save_file

            with replacing(path) as place:
                save_file(named, place, {"made_for": self.made_for})
        elif path.suffix == ".gguf":
            with replacing(path) as place:
                _write_gguf(place, named, self.made_for)
        else:
            raise InvalidRequest(f"{path.name} is neither .gguf nor .safetensors", hint="name it so")


@dataclass(frozen=True, slots=True)
class Added(Edit):
    """Directions times a strength, added to the rows."""

    vector: ControlVector
    strength: float
    first: int  # of the layers that it takes from the vector
    last: int

    @property
    def layers(self) -> tuple[int, ...]:
        return tuple(layer for layer in self.vector.directions if self.first <= layer <= self.last)

    def __call__(self, layer: int, rows: Tensor, earlier: Mapping[int, Tensor]) -> Tensor:
        return rows + (self.strength * self.vector.directions[layer]).to(rows)

    def check(self, model: Model) -> None:
        if self.vector.channels != model.channels:
            raise Unsupported(
                f"{self.vector.name} is of {self.vector.channels} channels, {model.name} has {model.channels}",
                hint="a control vector serves the model that it was made with",
            )
        Edit.check(self, model)


@dataclass(frozen=True, slots=True)
class Random(Edit):
    """The same with random directions of length 1: what a vector is to be compared with."""

    seed: int
    strength: float
    first: int
    last: int

    @property
    def layers(self) -> tuple[int, ...]:
        return tuple(range(self.first, self.last + 1))

    def __call__(self, layer: int, rows: Tensor, earlier: Mapping[int, Tensor]) -> Tensor:
        return rows + (self.strength * unit(self.seed, layer, rows.shape[-1])).to(rows)


@lru_cache(maxsize=256)
def unit(seed: int, number: int, size: int) -> Tensor:
    """A random direction [size] of length 1, the same for the same numbers; not to be written to."""
    chance = np.random.default_rng((seed, number))
    direction = chance.standard_normal(size)
    return torch.from_numpy((direction / np.linalg.norm(direction)).astype(np.float32))


def _direction(values: Any, layer: Any, name: str) -> Tensor:
    if isinstance(values, torch.Tensor):
        values = values.detach().float().cpu().numpy()
    found = torch.from_numpy(np.array(values, dtype=np.float32))
    if (
        not isinstance(layer, int)
        or layer < 0
        or found.dim() != 1
        or not len(found)
        or not bool(found.isfinite().all())
    ):
        raise InvalidRequest(
            f"{name} has for layer {layer!r} no direction: {tuple(found.shape)}", hint="a row of finite numbers"
        )
    return found


@lru_cache(maxsize=32)
def _read(path: Path, changed: int) -> ControlVector:
    """A file as it was at a time."""
    if path.suffix == ".safetensors":
        from .tensors import tensors_of

        tensors: Mapping[str, object] = tensors_of([path])
        made_for = ""
    else:
        from .gguf.file import read

        file = read(path)
        kind = file.pairs.get("general.architecture")
        if kind != ARCHITECTURE:
            raise ModelError(
                f"{path} holds no control vector: its architecture is {kind!r}", hint=f"one says {ARCHITECTURE!r}"
            )
        tensors, made_for = file.tensors, file.pairs.get(f"{ARCHITECTURE}.model_hint", "")
    directions = {}
    for name, tensor in tensors.items():
        match = NAME.fullmatch(name)
        if match is None or not isinstance(tensor, torch.Tensor):
            raise ModelError(
                f"{path} holds {name}, which is no direction", hint="tensors are named direction.N, as F32"
            )
        directions[int(match[1]) + 1] = tensor
    try:
        return ControlVector(directions, str(path), made_for)
    except InvalidRequest as error:
        raise ModelError(error.message, hint=error.hint) from error


def _write_gguf(path: Path, named: Mapping[str, Tensor], made_for: str) -> None:
    from gguf import GGUFWriter

    writer = GGUFWriter(path, ARCHITECTURE)
    writer.add_string(f"{ARCHITECTURE}.model_hint", made_for)
    writer.add_uint32(f"{ARCHITECTURE}.layer_count", len(named))
    for name, tensor in named.items():
        writer.add_tensor(name, tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
