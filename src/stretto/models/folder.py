"""A checkpoint in a folder, as loading sees it: what describes the network, the network itself, and the tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from . import plain
from .checkpoint import content_of, generation_of, weight_files
from .shape import config_of
from .tokenizer import load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from .masked import Layout
    from .source import Source
    from .tokenizer import Tokenizer


class Folder:
    """A folder with config.json and model.safetensors. Raises ModelError where one is missing or broken."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.content, self.generation = content_of(folder), generation_of(folder)

    def plain(self, layout: Layout | None, dtype: torch.dtype | Literal["auto"], device: torch.device) -> Source | None:
        """The network of a checkpoint that its files alone tell of; None where they do not."""
        if layout is not None and (layout.config or layout.names or layout.convert):
            return None
        if config_of(self.content, str(self._folder)) is None:
            return None
        return plain.read(self._folder, self.content, weight_files(self._folder), dtype, device)

    def stock(
        self, layout: Layout | None, dtype: torch.dtype | Literal["auto"], device: torch.device
    ) -> PreTrainedModel:
        """transformers' module."""
        from .stock import load_module

        return load_module(self._folder, layout, dtype, device)

    def tokenizer(self) -> Tokenizer | None:
        """The tokenizer; None where there is none."""
        return load_tokenizer(self._folder)
