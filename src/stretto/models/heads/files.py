"""Folders that hold a head: config.json and safetensors, as published; the names of the tensors tell the kind."""

from __future__ import annotations

import json
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
from .hydra import Hydra
from .medusa import Medusa

if TYPE_CHECKING:
    from torch import Tensor

KINDS: dict[str, type[DraftHead]] = {each.form: each for each in (Medusa, Hydra, Eagle, Eagle3)}
SIGNS = {  # whose tensors
    "0.0.linear.bias": "medusa",
    "0.enter": "hydra",
    "layers.0.self_attn.q_proj.weight": "eagle",
    "midlayer.self_attn.q_proj.weight": "eagle3",
}
CONFIG, WEIGHTS = "config.json", "model.safetensors"
MARKS = ("head", "medusa_num_heads", "draft_vocab_size")  # keys of configurations that are heads


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
    """Whether a folder's configuration is that of a head."""
    said = read_json(folder / CONFIG)
    return any(mark in said for mark in MARKS)


def read_head(folder: str | Path) -> DraftHead:
    """The head of a folder. Raises ModelError where there is none, or a broken one."""
    path = Path(folder)
    if not (path / CONFIG).is_file():
        raise ModelError(f"there is no head in {path}", hint="a head is a folder with config.json: stretto train head")
    files = weight_files(path)
    changed = max(file.stat().st_mtime_ns for file in (path / CONFIG, *files))
    return _read(path.resolve(), changed)


@lru_cache(maxsize=16)
def _read(folder: Path, changed: int) -> DraftHead:
    """A folder as it was at a time."""
    tensors: dict[str, Tensor] = tensors_of(weight_files(folder))
    kind = next((kind for sign, kind in SIGNS.items() if sign in tensors), None)
    if kind is None:
        raise ModelError(
            f"{folder} holds no head that is known: {', '.join(sorted(tensors)[:3])} …",
            hint=f"known: {', '.join(KINDS)}",
        )
    return KINDS[kind](tensors, read_json(folder / CONFIG), folder.name)


def write_head(head: DraftHead, folder: str | Path, dtype: torch.dtype = torch.float32) -> None:
    """Save a head as a folder; those that ship are float16."""
    from safetensors.torch import save_file

    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    with replacing(path / WEIGHTS) as place:
        save_file({name: tensor.to(dtype).contiguous() for name, tensor in head.tensors.items()}, place)
    with replacing(path / CONFIG) as place:
        Path(place).write_text(json.dumps({"head": head.form, **head.config}, indent=1) + "\n")
