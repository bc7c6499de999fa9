"""A plain sampler of masked-diffusion models, written from the papers: what ours is measured against.

LLaDA's order (arXiv 2502.09992) and Fast-dLLM's dual cache and threshold (arXiv 2505.22618) over transformers' own
module, without anything of ours but the way its config.json is read.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ..errors import ModelError, Unsupported
from ..models.checkpoint import find_folder
from ..models.hooks import cache_argument
from ..models.masked import Masking, recognise
from ..models.stock import load_module


@dataclass(frozen=True, slots=True)
class Settings:
    """How a canvas is filled: the surest position of a block each step, or all that are sure enough."""

    length: int  # tokens of an answer, ≥ 1
    block: int = 32  # positions, ≥ 1
    least: float = 2.0  # probability from which a position is filled; above 1: one a step
    dual: bool = False  # what stands outside of the block is computed once per block; else everything at each step


@dataclass(slots=True)
class Written:
    """Answers to several prompts, and what they took."""

    tokens: list[list[int]]
    rounds: int = 0  # evaluations one after the other
    token_forwards: int = 0  # slots evaluated, padding among them


@dataclass(slots=True, eq=False)
class Kept:
    """What the module takes for its cache: keys and values of all slots, and where the next ones are written."""

    rows: slice = field(default_factory=lambda: slice(None))
    layers: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def update(self, keys: Tensor, values: Tensor, layer_idx: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Fresh keys and values [B, H, T, size] in the place of the old ones -> all of them."""
        if layer_idx in self.layers:
            for old, fresh in zip(self.layers[layer_idx], (keys, values), strict=True):
                old[:, :, self.rows] = fresh
        else:
            self.layers[layer_idx] = keys, values
        return self.layers[layer_idx]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Nothing, so that the module reckons with no past: positions and masks are given to it."""
        return 0

    def get_query_offset(self, layer_idx: int = 0) -> int:
        """The same."""
        return 0

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        """The same."""
        return query_length, 0


class Sampler:
    """Fills canvases side by side.

    Prompts of unequal lengths are padded on the left, so that all answers begin in one column. Padding is hidden from
    attention, and positions count from the first token of each row: a row says what it would say alone. Where a row
    has filled its block, it waits for the others.
    """

    def __init__(self, module: PreTrainedModel, masking: Masking) -> None:
        if masking.block is not None:
            raise Unsupported(
                "the plain sampler is for models that see their whole canvas",
                hint="--model random-masked, zoo/masked, or a LLaDA or Dream",
            )
        self.module = module
        self.masking = masking

    @torch.inference_mode()
    def write(self, prompts: Sequence[Sequence[int]], settings: Settings) -> Written:
        """Answers of exactly so many tokens, greedily."""
        if settings.dual and self.masking.shift:
            raise Unsupported("published dual caches of shifted models fill in another order", hint="leave it out")
        mask, width = self.masking.mask, max(map(len, prompts))
        size, device = width + settings.length, self.module.device
        ids = torch.full((len(prompts), size), mask, device=device)
        starts = torch.tensor([width - len(prompt) for prompt in prompts], device=device)[:, None]
        for row, prompt in zip(ids, prompts, strict=True):
            row[:width] = (mask + 1) % self.module.config.vocab_size  # any token but the mask: nobody sees it
            row[width - len(prompt) : width] = torch.tensor(prompt)
        columns = torch.arange(size, device=device)
        seen, positions = columns >= starts, (columns - starts).clamp(min=0)  # [B, size] each
        done = Written([])
        for begin in range(width, size, settings.block):
            window = slice(begin, min(begin + settings.block, size))
            kept = Kept()
            while bool((ids[:, window] == mask).any()):
                rows = window if kept.layers and settings.dual else slice(0, size)
                kept.rows = rows
                visible = seen[:, None, None, :].expand(-1, 1, rows.stop - rows.start, -1)
                logits = self.module(
                    input_ids=ids[:, rows],
                    attention_mask=visible,
                    position_ids=positions[:, rows],
                    use_cache=settings.dual,
                    **{cache_argument(self.module): kept if settings.dual else None},
                ).logits  # [B, T, V] of every row, as published samplers have it
                if self.masking.shift:
                    logits = torch.cat([logits[:, :1], logits[:, :-1]], dim=1)
                self._fill(ids[:, window], logits[:, window.start - rows.start : window.stop - rows.start], settings)
                done.rounds += 1
                done.token_forwards += ids[:, rows].numel()
        done.tokens = ids[:, width:].tolist()
        return done

    def _fill(self, block: Tensor, logits: Tensor, settings: Settings) -> None:
        """One step, in place: ids [B, n] by logits [B, n, V]."""
        opened = block == self.masking.mask
        logits[..., self.masking.mask] = -torch.inf
        tokens = logits.argmax(-1)
        sure = logits.float().softmax(-1).gather(-1, tokens[..., None])[..., 0]
        sure = sure.where(opened, -torch.inf)
        chosen = sure >= settings.least
        chosen.scatter_(1, sure.argmax(-1, keepdim=True), True)
        chosen &= opened
        block[chosen] = tokens[chosen]


def module_of(name: str, dtype: torch.dtype, device: torch.device) -> tuple[PreTrainedModel, Masking]:
    """transformers' module of a masked-diffusion checkpoint. Raises ModelError for one that continues text."""
    folder = find_folder(name)
    layout = recognise(json.loads((folder / "config.json").read_text(encoding="utf-8")), str(folder))
    if layout is None:
        raise ModelError(f"{name} continues text", hint="--model random-masked, zoo/masked, or a LLaDA or Dream")
    return load_module(folder, layout, dtype, device), layout.masking
