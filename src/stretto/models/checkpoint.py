"""The files of a checkpoint: where they are, what they say, and whether they are whole. No weight is read here."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ..aliases import FILES
from ..errors import ModelError
from ..values import shown

HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?")
HUB_FILES = ["*.json", "model*.safetensors", "adapter_model.safetensors", "*.model", "*.txt", "*.jinja", "*.tiktoken"]


def find(name: str | Path) -> Path:
    """The folder or GGUF file of a checkpoint: as named, in the zoo, or fetched from the hub. Raises ModelError."""
    text = str(name)
    try:
        folder = Path(name).expanduser()
        if folder.is_dir() or (folder.suffix.lower() == ".gguf" and folder.is_file()):
            return folder
    except (OSError, RuntimeError) as error:  # a name too long for a file; the home of a user who is not there
        raise ModelError(f"{shown(text)} is no folder", hint="name one that is there, or zoo/causal") from error
    if text.startswith("zoo/"):
        from ..zoo import path

        return path(text.removeprefix("zoo/"))
    what = "name the folder that holds config.json and model.safetensors"
    if folder.suffix.lower() in FILES or folder.is_file():
        kind = "a file" if folder.is_file() else "no file" if folder.suffix.lower() == ".gguf" else "no folder"
        raise ModelError(f"{text} is {kind}", hint=FILES.get(folder.suffix.lower(), what))
    if isinstance(name, Path) or not HUB_NAME.fullmatch(text):
        raise ModelError(
            f"there is no folder {name}", hint="name a folder that holds config.json and model.safetensors"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(text, allow_patterns=HUB_FILES))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"{text} is neither a folder nor a model that the hub hands out: {reason}",
            hint="check the spelling, or give the path of a local folder, or zoo/causal",
        ) from error


def find_folder(name: str | Path) -> Path:
    """The same where it must be a folder. Raises ModelError for a file."""
    place = find(name)
    if place.is_file():
        hint = "name the folder that holds config.json and model.safetensors"
        raise ModelError(f"{place} is a file, and this is of checkpoints in folders", hint=hint)
    return place


def read_json(file: Path) -> dict[str, Any]:
    """The object in a file. Raises ModelError where there is none."""
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} is not readable JSON: {error}", hint="copy the file again") from error
    if not isinstance(content, dict):
        raise ModelError(f"{file} holds no JSON object", hint="copy the file again")
    return content


def content_of(folder: Path) -> dict[str, Any]:
    """What config.json says. Raises ModelError."""
    file = folder / "config.json"
    if not file.exists():
        held = min(folder.glob("*.gguf"), default=None)
        hint = "name the folder that holds the checkpoint itself" if held is None else f"name the file: {held}"
        raise ModelError(f"{folder} has no config.json", hint=hint)
    return read_json(file)


def generation_of(folder: Path) -> dict[str, Any]:
    """What generation_config.json says; nothing where there is none."""
    file = folder / "generation_config.json"
    return read_json(file) if file.exists() else {}


def weight_files(folder: Path) -> list[Path]:
    """All weight files; they are there and as long as their headers say. Raises ModelError where not."""
    index = folder / "model.safetensors.index.json"
    single = folder / "model.safetensors"
    if single.exists():
        files = [single]
    elif index.exists():
        shards = read_json(index).get("weight_map")
        if not isinstance(shards, dict):
            raise ModelError(f"{index} has no weight_map", hint="copy the file again")
        files = sorted({folder / shard for shard in shards.values()})
    else:
        other = sorted(file.name for file in folder.glob("*.bin"))
        found = f", only {other[0]}" if other else ""
        raise ModelError(
            f"{folder} has no model.safetensors{found}",
            hint="save it with save_pretrained of transformers, which writes safetensors",
        )
    for file in files:
        _check_safetensors(file)
    return files


def _check_safetensors(file: Path) -> None:
    if not file.exists():
        raise ModelError(f"{file} is missing", hint="copy all shards that model.safetensors.index.json names")
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 2 <= length <= size - 8:
                raise ValueError(f"its header cannot be {length} bytes long")
            header = json.loads(stream.read(length))
        ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
        expected = 8 + length + max(ends, default=0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ModelError(f"{file} is not a safetensors file: {error}", hint="copy it again") from error
    if size != expected:
        raise ModelError(f"{file} has {size:,} bytes instead of {expected:,}", hint="copy it again; it was cut off")
