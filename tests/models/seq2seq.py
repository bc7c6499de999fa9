"""Tiny encoder–decoders of transformers, of random weights: one for each form of decoder that is driven."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models
from transformers import GenerationMixin, PreTrainedModel, PreTrainedTokenizerFast

from stretto.engine import Engine
from stretto.models.cache import Cache
from stretto.models.contract import Evaluation, Want
from stretto.models.encoded import Source, Sourced
from stretto.models.table import TableModel
from stretto.models.window import RAW, Window

VOCABULARY = 61
POSITIONS = 48
BINS, FRAMES = 6, 24
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 40,
    "decoder_ffn_dim": 40,
    "init_std": 0.4,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": None,
}
T5: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "d_kv": 6,
    "d_ff": 40,
    "num_layers": 2,  # as many as of the decoder: transformers' own cache of a T5 has places for no more
    "num_decoder_layers": 2,
    "num_heads": 4,
    "relative_attention_max_distance": 20,
    "relative_attention_num_buckets": 8,
    "initializer_factor": 2.0,
    "decoder_start_token_id": 0,
}


def _bart(kind: str, **more: Any) -> PreTrainedModel:
    config = getattr(transformers, f"{kind}Config")(**SIZES, max_position_embeddings=POSITIONS, **more)
    names = {"Marian": "MarianMTModel"}
    made: PreTrainedModel = getattr(transformers, names.get(kind, f"{kind}ForConditionalGeneration"))(config)
    return made


def _whisper() -> PreTrainedModel:
    config = transformers.WhisperConfig(
        **SIZES,
        num_mel_bins=BINS,
        max_source_positions=FRAMES // 2,
        max_target_positions=POSITIONS,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    return transformers.WhisperForConditionalGeneration(config)


KINDS: dict[str, Callable[[], PreTrainedModel]] = {
    "t5": lambda: transformers.T5ForConditionalGeneration(transformers.T5Config(**T5)),
    "t5 gated": lambda: transformers.MT5ForConditionalGeneration(
        transformers.MT5Config(**T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False)
    ),
    "bart": lambda: _bart("Bart", scale_embedding=True),
    "mbart": lambda: _bart("MBart"),
    "marian": lambda: _bart("Marian", scale_embedding=True),
    "pegasus": lambda: _bart("Pegasus"),
    "whisper": _whisper,
}


@cache
def module(kind: str) -> PreTrainedModel:
    """The module, which is not to be changed."""
    torch.manual_seed(len(kind))
    made = KINDS[kind]().eval().requires_grad_(False)
    if hasattr(made, "final_logits_bias"):
        made.final_logits_bias.copy_(torch.randn(1, VOCABULARY))
    return made


@cache
def folder(kind: str) -> Path:
    """A checkpoint of it."""
    place = Path(mkdtemp())
    module(kind).save_pretrained(place)
    return place


@cache
def engine(kind: str) -> Engine:
    """An engine that never ends by itself."""
    made = Engine.load(folder(kind))
    made.end_tokens = frozenset()
    return made


def letters() -> PreTrainedTokenizerFast:
    """A tokenizer of single characters; of the space that begins a text nothing is written."""
    names = ["<pad>", "<s>", "</s>", *map(chr, range(97, 97 + 26)), *map(chr, range(48, 48 + VOCABULARY - 29))]
    names[16] = " "
    made = Tokenizer(models.BPE({name: at for at, name in enumerate(names)}, []))
    made.decoder = decoders.Sequence([decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", bos_token="<s>", eos_token="</s>")


def source(kind: str, seed: int = 0, size: int = 9) -> Any:
    """A prompt, of a few tokens that recur or of random features."""
    drawn = torch.Generator().manual_seed(seed)
    if kind == "whisper":
        return Sourced(torch.randn(BINS, FRAMES, generator=drawn))
    return torch.randint(3, VOCABULARY, (size,), generator=drawn).tolist()


def theirs(kind: str, prompt: Any, **settings: Any) -> list[list[int]]:
    """What transformers itself writes, without the start."""
    given = prompt.source if isinstance(prompt, Sourced) else torch.tensor(prompt)
    made = module(kind)
    found = GenerationMixin.generate(made, given[None], do_sample=False, eos_token_id=None, **settings)
    return [row[1:] for row in found.tolist()]


class SourcedTable(TableModel):
    """A table that reads sources: the token that `chosen(source, output)` names follows. It is its own reader."""

    def __init__(self, vocabulary: int, chosen: Callable[[tuple[int, ...], tuple[int, ...]], int]) -> None:
        def rule(path: tuple[int, ...]) -> list[float]:
            size = path[0]
            token = chosen(path[1 : 1 + size], path[2 + size :]) if len(path) > 1 + size else 0
            return [float(each == token) for each in range(vocabulary)]

        super().__init__(vocabulary, rule)
        self.reader = self

    def read(self, source: Sequence[int], start: Sequence[int] = ()) -> tuple[list[int], list[Source]]:
        """The rows of a source tell how many tokens it has, and which."""
        rows = torch.tensor([[float(each)] for each in (len(source), *source)])
        return [0, *source, self.vocabulary - 1, *start], [Source(rows, 0, room=32)]

    def evaluate(self, window: Window, cache: Cache, want: Want = Want()) -> Evaluation:
        if window.embeds is not None:
            rows = window.embeds[..., 0].long()
            window = replace(window, tokens=torch.where(window.tokens == RAW, rows, window.tokens))
        return super().evaluate(window, cache, want)
