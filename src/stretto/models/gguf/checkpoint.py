"""A GGUF file as loading sees it: what describes the network, the network itself, and the tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from ..plain import Causal
from ..stock_tokenizer import LONG_TEXT
from ..tokenizer import PlainTokenizer
from .configuration import TABLE, content_of
from .file import read
from .vocabulary import Vocabulary, tokenizer_of, vocabulary_of
from .weights import divide, floats, network

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from transformers.tokenization_utils_base import PreTrainedTokenizerBase

    from ..masked import Layout

TEMPLATE = "tokenizer.chat_template"


class Checkpoint:
    """A checkpoint in one file, or in one that was split. Raises ModelError where it is broken or not known."""

    def __init__(self, path: Path) -> None:
        self._file = read(path)
        self.files = self._file.paths
        self._vocabulary = vocabulary_of(self._file)
        ends = sorted(self._vocabulary.ends) if self._vocabulary else []
        self.content: Mapping[str, Any] = content_of(self._file) | {"eos_token_id": ends or None}
        self.generation: Mapping[str, Any] = {}

    def plain(
        self,
        layout: Layout | None,
        dtype: torch.dtype | Literal["auto"],
        device: torch.device,
        *,
        blocks: bool = True,
    ) -> Causal:
        """The network; `auto` is the dtype of its table, and float32 where that is in blocks.

        Its blocks stay in the mapped file whatever `blocks` says: their numbers are the file's own.
        """
        return network(self._file, self.content, self._held(dtype), device)

    def stock(
        self, layout: Layout | None, dtype: torch.dtype | Literal["auto"], device: torch.device
    ) -> PreTrainedModel:
        """transformers' module with the same weights."""
        from ..stock import build

        held = self._held(dtype)
        weights = floats(self._file, self.content, held, device)
        module = build(str(self._file.path), self.content, weights, held, device)
        divide(module.base_model.rotary_emb, self._file, self.content)
        return module

    def tokenizer(self) -> PlainTokenizer | None:
        """The tokenizer; None where the file says that it has none."""
        if self._vocabulary is None:
            return None
        begun = f"{TEMPLATE}."
        named = {key.removeprefix(begun): text for key, text in self._file.pairs.items() if key.startswith(begun)}
        usual = self._file.pairs.get(TEMPLATE)
        if named and usual:
            named["default"] = usual
        return VocabularyTokenizer(self._vocabulary, named or usual or None)

    def _held(self, dtype: torch.dtype | Literal["auto"]) -> torch.dtype:
        if isinstance(dtype, torch.dtype):
            return dtype
        table = self._file.tensors[TABLE]
        return table.dtype if isinstance(table, torch.Tensor) else torch.float32


class VocabularyTokenizer(PlainTokenizer):
    """A tokenizer made of the vocabulary of a file."""

    def __init__(self, vocabulary: Vocabulary, template: str | dict[str, str] | None) -> None:
        super().__init__(tokenizer_of(vocabulary), vocabulary.special)
        self.chat_template = template

    @cached_property
    def own(self) -> PreTrainedTokenizerBase:
        """transformers' tokenizer around the same one."""
        from transformers import PreTrainedTokenizerFast

        tokenizer: PreTrainedTokenizerBase = PreTrainedTokenizerFast(
            tokenizer_object=self.backend_tokenizer, clean_up_tokenization_spaces=False, **self.special
        )
        tokenizer.chat_template = self.chat_template
        tokenizer.deprecation_warnings[LONG_TEXT] = True
        return tokenizer
