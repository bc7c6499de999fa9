"""A checkpoint in a folder, as loading sees it: what describes the network, the network itself, and the tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from . import plain
from .checkpoint import content_of, generation_of, read_json, weight_files
from .packed import packing_of, unpacked
from .plain import Weight
from .shape import config_of
from .tensors import tensors_of
from .tokenizer import load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from .masked import Layout
    from .source import Source
    from .tokenizer import Tokenizer

PACKED = "quantization_config"  # the key of config.json that says how weights are packed
OLDER = {"quantize_config.json": "gptq", "quant_config.json": "awq"}  # files that said so before that key did


class Folder:
    """A folder with config.json and model.safetensors.

    Raises ModelError where one is missing or broken, Unsupported where weights are packed in a way that is not known.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        said = content_of(folder)
        self._packing = packing_of(said.get(PACKED) or _older(folder), str(folder))
        self.content = {key: value for key, value in said.items() if key != PACKED}
        self.generation = generation_of(folder)

    @property
    def files(self) -> list[Path]:
        """Those that say what the network is."""
        older = [file for name in OLDER if (file := self._folder / name).is_file()]
        return [self._folder / "config.json", *older, *weight_files(self._folder)]

    def plain(
        self,
        layout: Layout | None,
        dtype: torch.dtype | Literal["auto"],
        device: torch.device,
        *,
        blocks: bool = True,
    ) -> Source | None:
        """The network of a checkpoint that its files alone tell of; None where they do not.

        `blocks`: packed matrices stay in blocks where these hold their numbers, else they become floats.
        """
        if layout is not None and (layout.config or layout.names or layout.convert):
            return None
        if config_of(self.content, str(self._folder)) is None:
            return None
        return plain.read(self.content, self._weights(blocks=blocks), str(self._folder), dtype, device)

    def stock(
        self, layout: Layout | None, dtype: torch.dtype | Literal["auto"], device: torch.device
    ) -> PreTrainedModel:
        """transformers' module."""
        from .stock import load_module

        weights = self._weights(blocks=False) if self._packing else None
        floats = None if weights is None else {name: each for name, each in weights.items() if isinstance(each, Tensor)}
        return load_module(self._folder, layout, dtype, device, floats)

    def tokenizer(self) -> Tokenizer | None:
        """The tokenizer; None where there is none."""
        return load_tokenizer(self._folder)

    def _weights(self, *, blocks: bool) -> dict[str, Weight]:
        """All weights by name."""
        held = tensors_of(weight_files(self._folder))
        if self._packing is None:
            return {**held}
        return unpacked(held, self._packing, str(self._folder), blocks=blocks)


def _older(folder: Path) -> dict[str, Any] | None:
    """What says how weights are packed in a checkpoint whose config.json does not; None where nothing does."""
    for name, method in OLDER.items():
        if (folder / name).is_file():
            return {"quant_method": method} | read_json(folder / name)
    return None
