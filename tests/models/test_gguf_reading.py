"""What is in a GGUF file is read as it was written, and each way in which one can be broken is one typed error."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType
from gguf.quants import dequantize, quantize

from models.gguf_files import write
from stretto.errors import ModelError
from stretto.models.checkpoint import content_of, find, find_folder
from stretto.models.gguf.file import FLOATS, read
from stretto.models.quantised import Quantised

PAIRS = {"general.architecture": "llama", "a.flag": True, "a.count": 7, "a.share": 0.5, "a.text": "é\n"}
PAIRS |= {"a.texts": ["x", "", "Ġthe"], "a.numbers": [1, -2, 3], "a.nested": [[1, 2], [3]]}
MATRIX = np.random.default_rng(0).standard_normal((6, 64)).astype(np.float32)
TENSORS = {"a.weight": MATRIX, "b.weight": MATRIX[:2] * 2, "a.norm": MATRIX[0]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "it.gguf", PAIRS, TENSORS, "Q8_0")


def test_pairs_are_read(path: Path) -> None:
    assert {key: value for key, value in read(path).pairs.items() if key in PAIRS} == PAIRS


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q4_1"])
def test_tensors_are_read(kind: str, tmp_path: Path) -> None:
    made = GGMLQuantizationType[kind]
    held = read(write(tmp_path / "it.gguf", PAIRS, TENSORS, kind)).tensors
    assert list(held) == list(TENSORS) and torch.equal(held["a.norm"], torch.from_numpy(MATRIX[0]))
    weight = held["a.weight"]
    assert tuple(weight.shape) == (6, 64) and isinstance(weight, Quantised) == (kind not in FLOATS)
    numbers = weight.dense() if isinstance(weight, Quantised) else weight.float()
    assert torch.equal(numbers, torch.from_numpy(dequantize(quantize(MATRIX, made), made)))


def test_nothing_is_copied(path: Path) -> None:
    weights = [each for each in read(path).tensors.values() if isinstance(each, Quantised)]
    assert len({weight.data.untyped_storage().data_ptr() for weight in weights}) == 1


def split(folder: Path, count: int = 2) -> Path:
    """A checkpoint in as many files, of which the last has all tensors but one."""
    said = {"split.count": count, "split.tensors.count": len(TENSORS)}
    names = [f"it-{number:05d}-of-{count:05d}.gguf" for number in range(1, count + 1)]
    write(folder / names[0], PAIRS | said | {"split.no": 0}, {"a.weight": MATRIX})
    for number, name in enumerate(names[1:-1], 1):
        write(folder / name, said | {"split.no": number}, {})
    write(folder / names[-1], said | {"split.no": count - 1}, {name: TENSORS[name] for name in [*TENSORS][1:]})
    return folder / names[0]


def test_a_split_file_is_one(tmp_path: Path) -> None:
    first = split(tmp_path, 3)
    for file in tmp_path.iterdir():
        assert read(file).path == first and read(file).tensors.keys() == TENSORS.keys()
        assert read(file).pairs["a.text"] == PAIRS["a.text"]


def test_parts_must_all_be_there(tmp_path: Path) -> None:
    first = split(tmp_path)
    second = first.with_name("it-00002-of-00002.gguf")
    for change, told in (
        (lambda: write(second, {}, {"a.weight": MATRIX}), "holds a.weight a second time"),
        (lambda: write(second, {}, {"c.weight": MATRIX}), "hold 2 tensors, not 3"),
        (second.unlink, "it-00002-of-00002.gguf is missing"),
        (lambda: first.rename(tmp_path / "renamed.gguf"), "is one of 2 files, and is not named like that"),
    ):
        change()
        with pytest.raises(ModelError, match=told):
            read(first if first.exists() else tmp_path / "renamed.gguf")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda data: b"", "is no GGUF file"),
        (lambda data: b"GGUF", "is no GGUF file"),
        (lambda data: b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
        (lambda data: b"GGML" + data[4:], "is no GGUF file"),
        (lambda data: data[:4] + struct.pack("<I", 1) + data[8:], "version 1 of the format"),
        (lambda data: data[:4] + struct.pack(">I", 3) + data[8:], "the other order of bytes"),
        (lambda data: data[:-100], "instead of at least"),
        (lambda data: data[:300], "breaks off or is damaged"),
    ],
)
def test_a_broken_file_is_told(change: Callable[[bytes], bytes], told: str, path: Path) -> None:
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ModelError, match=told) as caught:
        read(path)
    assert caught.value.hint and "\n" not in str(caught.value)


def test_damage_is_never_another_error(path: Path) -> None:
    """Wherever a file is cut, and whatever byte of its first part is another, it is read or told to be broken."""
    data, chance = path.read_bytes(), random.Random(0)
    for at in chance.sample(range(len(data)), 150):
        path.write_bytes(data[:at])
        with pytest.raises(ModelError):
            read(path)
        torn = bytearray(data)
        torn[at % 600] = chance.randrange(256)
        path.write_bytes(torn)
        try:
            read(path)
        except ModelError as error:
            assert error.hint
    path.write_bytes(data)
    read(path)


def test_kinds_without_a_way_to_their_numbers_are_refused(path: Path) -> None:
    data = path.read_bytes()
    entry = b"a.weight" + struct.pack("<IQQ", 2, 64, 6)
    at = data.index(entry) + len(entry)
    for number, name in ((GGMLQuantizationType.Q8_K, "Q8_K"), (GGMLQuantizationType.I32, "I32"), (250, "250")):
        path.write_bytes(data[:at] + struct.pack("<I", number) + data[at + 4 :])
        with pytest.raises(ModelError, match=f"a.weight of .* is of kind {name}"):
            read(path)


def test_a_file_is_found_by_its_path(path: Path) -> None:
    assert find(path) == path and find(str(path)) == path
    with pytest.raises(ModelError, match=r"nosuch.gguf is no file .hint: check the path"):
        find(path.with_name("nosuch.gguf"))
    with pytest.raises(ModelError, match="is a file, and this is of checkpoints in folders"):
        find_folder(path)
    with pytest.raises(ModelError, match=r"name the file: .*it.gguf"):
        content_of(path.parent)
