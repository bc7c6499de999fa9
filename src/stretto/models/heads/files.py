"""Folders that hold a head: config.json says the kind; where it does not, the names of the tensors tell the layout."""

from __future__ import annotations

import json
import pickle
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ...errors import ModelError
from ...files import replacing
from ..checkpoint import read_json, weight_files
from ..tensors import tensors_of
from .contract import DraftHead
from .eagle import Eagle
from .eagle3 import Eagle3
from .exit import Eesd, Kangaroo
from .griffin import Griffin
from .hydra import Hydra
from .jakiro import Jakiro
from .layouts import converted, layout_of
from .medusa import Medusa
from .mtp import Mtp

if TYPE_CHECKING:
    from torch import Tensor

KINDS: dict[str, type[DraftHead]] = {
    each.form: each for each in (Medusa, Hydra, Eagle, Eagle3, Griffin, Jakiro, Mtp, Kangaroo, Eesd)
}
CONFIG, WEIGHTS = "config.json", "model.safetensors"
PUBLISHED = ("*_lm_head.safetensors", "pytorch_model.bin", "*_lm_head.pt")  # where there is no model.safetensors


def find_head(name: str) -> DraftHead | None:
    """The head that ships under a name (`zoo/eagle`) or lies in a folder; None where it is something else."""
    from ... import zoo

    folder = zoo.draft_head(name) if name.startswith("zoo/") else Path(name)
    try:
        there = folder is not None and (folder / CONFIG).is_file()
    except (OSError, ValueError):  # it is no path
        there = False
    return read_head(folder) if there and folder is not None and is_head(folder) else None


def is_head(folder: Path) -> bool:
    """Whether a folder's configuration is that of a head, or else its tensors are."""
    if read_json(folder / CONFIG).get("head") in KINDS:
        return True
    try:
        return layout_of(_tensors(folder)) is not None
    except ModelError:  # another kind of file
        return False


def read_head(folder: str | Path) -> DraftHead:
    """The head of a folder. Raises ModelError where there is none, or a broken one."""
    path = Path(folder)
    if not (path / CONFIG).is_file():
        raise ModelError(f"there is no head in {path}", hint="a head is a folder with config.json: stretto train head")
    changed = max(file.stat().st_mtime_ns for file in (path / CONFIG, *_files(path)))
    return _read(path.resolve(), changed)


@lru_cache(maxsize=16)
def _read(folder: Path, changed: int) -> DraftHead:
    """A folder as it was at a time."""
    tensors, said = _tensors(folder), read_json(folder / CONFIG)
    kind = said.get("head")
    if kind not in KINDS:
        layout = layout_of(tensors)
        if layout is None:
            raise ModelError(
                f"{folder} holds no head that is known: {', '.join(sorted(tensors)[:3])} …",
                hint=f"known: {', '.join(KINDS)}",
            )
        kind, tensors, said = converted(layout, tensors, said)
    head = KINDS[kind](tensors, said, folder.name)
    if left := sorted(tensors.keys() - head.shapes()):
        raise ModelError(
            f"{folder} holds more than a {kind} head: {', '.join(left[:3])}", hint="no part of it is left out"
        )
    return head


def _files(folder: Path) -> list[Path]:
    """Files with weights. Raises ModelError."""
    known = ("model.safetensors", "model.safetensors.index.json")
    if not any((folder / name).exists() for name in known):
        for pattern in PUBLISHED:
            if file := min(folder.glob(pattern), default=None):
                return [file]
    return weight_files(folder)


def _tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors by name; they stay in the mapped files until they are used. Raises ModelError."""
    files = _files(folder)
    if files[0].suffix == ".safetensors":
        return tensors_of(files)
    try:
        held = torch.load(files[0], map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, OSError, pickle.UnpicklingError) as error:
        raise ModelError(f"{files[0]} is not readable: {error}", hint="copy it again") from error
    return {name: each for name, each in held.items() if isinstance(each, torch.Tensor)}


def write_head(head: DraftHead, folder: str | Path, dtype: torch.dtype = torch.float32) -> None:
    """Save a head as a folder; those that ship are float16."""
    from safetensors.torch import save_file

    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    with replacing(path / WEIGHTS) as place:
        save_file({name: tensor.to(dtype).contiguous() for name, tensor in head.tensors.items()}, place)
    with replacing(path / CONFIG) as place:
        Path(place).write_text(json.dumps({"head": head.form, **head.config}, indent=1) + "\n")
