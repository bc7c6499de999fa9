"""What a GGUF file holds: key-value pairs, and tensors that stay in the mapped file.

The format: magic, version, counts; the pairs, each with the number of its kind; name, shape, kind and place of each
tensor; then, aligned, their bytes. All numbers are little-endian. A large checkpoint lies in several files, of which
the first has the pairs, and each its own tensors.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import ModelError
from ..quantised import Quantised

MAGIC = b"GGUF"
VERSIONS = (2, 3)
FLOATS = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
NUMBERS = {0: "u1", 1: "i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "?", 10: "<u8", 11: "<i8", 12: "<f8"}
STRING, ARRAY = 8, 9  # what else a value may be
PART = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE | re.DOTALL)
AGAIN = "copy it again"
POINTER = b"version https://git-lfs"  # how a file begins that only stands for the real one


@dataclass(frozen=True, slots=True)
class File:
    """A checkpoint as its file, or its files, hold it."""

    paths: list[Path]
    pairs: dict[str, Any]  # numbers, truth values, texts, and lists of these
    tensors: dict[str, Tensor | Quantised]  # as shaped in the network: a matrix is [O, I]; never to be written to

    @property
    def path(self) -> Path:
        """The first of its files."""
        return self.paths[0]


def read(path: Path) -> File:
    """A file, or all files of a checkpoint of which this is one. Raises ModelError where one is missing or broken."""
    files = _parts(path)
    first = _Reader(files[0])
    tensors = dict(first.tensors())
    count = first.pairs.get("split.count", 1)
    if count > 1 and count != len(files):
        hint = f"its parts are read by their names, …-00001-of-{count:05d}.gguf and so on"
        raise ModelError(f"{files[0]} is one of {count} files, and is not named like that", hint=hint)
    for file in files[1:]:
        more = dict(_Reader(file).tensors())
        if twice := more.keys() & tensors.keys():
            raise ModelError(f"{file} holds {min(twice)} a second time", hint="are its parts of one checkpoint?")
        tensors |= more
    wanted = first.pairs.get("split.tensors.count", len(tensors))
    if len(tensors) != wanted:
        raise ModelError(f"{files[0]} and its other parts hold {len(tensors)} tensors, not {wanted}", hint=AGAIN)
    return File(files, first.pairs, tensors)


def _parts(path: Path) -> list[Path]:
    """All files of the checkpoint that this one is of, in order."""
    found = PART.fullmatch(path.name)
    if found is None:
        return [path]
    stem, count = found["stem"], int(found["count"])
    files = [path.with_name(f"{stem}-{number:05d}-of-{count:05d}.gguf") for number in range(1, count + 1)]
    for file in files:
        if not file.is_file():
            raise ModelError(f"{file} is missing", hint=f"copy all {count} parts into one folder")
    return files or [path]


class _Reader:
    """One file, from its first byte to the table of its tensors."""

    def __init__(self, path: Path) -> None:
        self.path = path
        size = path.stat().st_size
        with path.open("rb") as stream:
            begun = stream.read(24)
        if begun[:4] != MAGIC or size < 24:
            hint = "fetch it with git lfs pull" if POINTER.startswith(begun[:16]) and begun else AGAIN
            raise ModelError(f"{path} is no GGUF file", hint=hint)
        version, tensors, pairs = struct.unpack_from("<IQQ", begun, 4)
        if version not in VERSIONS:
            other = "the other order of bytes" if version & 0xFFFF == 0 else f"version {version} of the format"
            raise ModelError(f"{path} is in {other}", hint="convert it again, to version 3, little-endian")
        self._mapped = torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8)
        self._bytes = memoryview(self._mapped.numpy())  # type: ignore[arg-type]  # an array is a buffer
        self._at = 24
        try:
            self.pairs = {self._text(): self._value(self._number("I")) for _ in range(pairs)}
            self._table = [(self._text(), self._shape(), self._numbers("IQ")) for _ in range(tensors)]
        except (struct.error, ValueError, KeyError, MemoryError, OverflowError) as error:
            raise ModelError(f"{path} breaks off or is damaged in its first part", hint=AGAIN) from error
        alignment = self.pairs.get("general.alignment", 32)
        if type(alignment) is not int or alignment <= 0 or alignment % 8:
            raise ModelError(f"{path} asks for an alignment of {alignment!r}", hint=AGAIN)
        self._begin = -(-self._at // alignment) * alignment

    def tensors(self) -> Iterator[tuple[str, Tensor | Quantised]]:
        """All tensors by name. Raises ModelError where one lies outside of the file or is of a kind not known."""
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        size = len(self._bytes)
        for name, shape, (number, place) in self._table:
            if number not in set(GGMLQuantizationType) or not _decodes(GGMLQuantizationType(number)):
                hint = "a file of Q8_0, Q4_K or another usual kind is read"
                raise ModelError(f"{name} of {self.path} is of kind {_kind(number)}, which is not read", hint=hint)
            kind = GGMLQuantizationType(number)
            per_block, bytes_per_block = GGML_QUANT_SIZES[kind]
            *outer, inputs = shape
            if inputs % per_block or place % 4:
                raise ModelError(f"{name} of {self.path} is not made of whole blocks", hint=AGAIN)
            row = inputs // per_block * bytes_per_block
            begin = self._begin + place
            end = begin + prod(outer) * row
            if end > size:
                reason = f"{self.path} has {size:,} bytes instead of at least {end:,}"
                raise ModelError(reason, hint="copy it again; it was cut off")
            held = self._mapped[begin:end]
            if kind.name in FLOATS:
                yield name, held.view(FLOATS[kind.name]).view(shape)
            else:
                yield name, Quantised(held.view(-1, row), kind.name, inputs)

    def _value(self, kind: int) -> Any:
        if kind == STRING:
            return self._text()
        if kind != ARRAY:
            return self._array(kind, 1)[0]
        kind, count = self._numbers("IQ")
        if kind not in (STRING, ARRAY):
            return self._array(kind, count)
        if count > len(self._bytes):
            raise ValueError("there cannot be so many")
        return self._texts(count) if kind == STRING else [self._value(ARRAY) for _ in range(count)]

    def _array(self, kind: int, count: int) -> list[Any]:
        dtype = np.dtype(NUMBERS[kind])
        values = np.frombuffer(self._bytes, dtype, count, self._at)
        self._at += values.nbytes
        found: list[Any] = values.tolist()
        return found

    def _text(self) -> str:
        return self._texts(1)[0]

    def _texts(self, count: int) -> list[str]:
        """Texts one behind another: hundreds of thousands where they are a vocabulary."""
        held, at, found = self._bytes, self._at, []
        length = struct.Struct("<Q").unpack_from
        for _ in range(count):
            begin = at + 8
            at = begin + length(held, at)[0]
            found.append(str(held[begin:at], "utf-8"))
        if at > len(held):
            raise ValueError("it ends before this text does")
        self._at = at
        return found

    def _shape(self) -> tuple[int, ...]:
        count = self._number("I")
        if not 1 <= count <= 4:
            raise ValueError(f"no tensor has {count} dimensions")
        return tuple(reversed(self._numbers(f"{count}Q")))

    def _number(self, form: str) -> int:
        return self._numbers(form)[0]

    def _numbers(self, form: str) -> tuple[int, ...]:
        found = struct.unpack_from("<" + form, self._bytes, self._at)
        self._at += struct.calcsize("<" + form)
        return found


def _kind(number: int) -> str:
    from gguf import GGMLQuantizationType

    return GGMLQuantizationType(number).name if number in set(GGMLQuantizationType) else str(number)


@cache
def _decodes(kind: Any) -> bool:
    """Whether there is a way to the numbers of such a tensor."""
    from gguf import GGML_QUANT_SIZES
    from gguf.quants import dequantize

    if kind.name in FLOATS:
        return True
    try:
        dequantize(np.zeros((1, GGML_QUANT_SIZES[kind][1]), np.uint8), kind)
    except NotImplementedError:
        return False
    return True
