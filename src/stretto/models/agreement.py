"""Whether a model computes what the transformers module behind it computes, wherever checkpoints can differ.

A few tokens are put at the positions at which the configuration says that something changes: around the end of a
window, of a chunk, of the length that a rotation was made for, and at the last position. The module answers with the
attention that is written in its own modelling file, under the mask that it would build there: its mask function is
asked about the positions, so that no long text has to be read to come beyond a window.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache, PreTrainedModel

from .contract import Model
from .hooks import attending_by, cache_argument, configs_of
from .window import Window

NAME = "stretto_reference"  # of the module's own attention at positions of our choosing
FIRST = 7  # how many of the first positions are looked at
SHARES = (4, 2)  # and these parts of the whole length, for what no field names
LENGTHS = ("window", "position", "chunk", "floor", "context", "length", "_len")  # in the names of fields
_PLACES: ContextVar[Tensor] = ContextVar("positions of the tokens that are compared, [T]")


def gap(model: Model, module: PreTrainedModel) -> float:
    """The largest difference of their logits on probing tokens, as a share of the largest logit."""
    places = probed(module.config.get_text_config(), model.max_positions)
    positions = torch.tensor([places], device=model.device)
    tokens = (torch.arange(len(places), device=model.device)[None] * 31 + 5) % model.vocabulary
    theirs = _theirs(module, tokens, positions)
    cache = model.new_cache(slots=len(places))
    row = cache.open()
    ours = []
    for start, end in _pieces(len(places)):
        window = Window([row], tokens[:, start:end], positions[:, start:end], [end - start])
        logits = model.evaluate(window, cache).logits
        assert logits is not None
        ours.append(logits)
    return float((torch.cat(ours, dim=1) - theirs).abs().max() / theirs.abs().max())


def probed(config: Any, positions: int) -> list[int]:
    """The positions that are compared, ascending; all of them lie below `positions`."""
    last = positions - 1
    named = {length for length in _lengths(vars(config)) if length < positions}
    chosen = {*range(FIRST), *(positions // share for share in SHARES), last - 1, last}
    for length in named:
        chosen |= {length - 1, length, length + 1, 2 * length}
    return sorted(place for place in chosen if 0 <= place <= last)


def _lengths(fields: Mapping[str, Any]) -> Iterator[int]:
    """Whatever a configuration calls a length: of windows, chunks, tables; those of its rotations included."""
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from _lengths(value)
        elif any(word in str(name) for word in LENGTHS) and isinstance(value, int | float) and 1 < value < torch.inf:
            yield int(value)


def _pieces(count: int) -> list[tuple[int, int]]:
    """Windows of several tokens, of a few, and of one."""
    ends = [0, count // 2, count - 1, count]
    return list(pairwise(ends))


def _theirs(module: PreTrainedModel, tokens: Tensor, positions: Tensor) -> Tensor:
    """The module's own logits of tokens [1, T] that stand at positions [1, T]: [1, T, V] float32."""
    token = _PLACES.set(positions[0])
    try:
        with attending_by(configs_of(module), NAME):
            output = module(
                input_ids=tokens,
                position_ids=positions,
                use_cache=True,  # without a cache, gaps between positions are taken for borders of packed texts
                return_dict=True,
                **{cache_argument(module): DynamicCache()},
            )
    finally:
        _PLACES.reset(token)
    logits: Tensor = output.logits.float()
    return logits


def _attention(module: nn.Module, *args: Any, **arguments: Any) -> Any:
    """What the modelling file of an attention module does by itself."""
    return sys.modules[type(module).__module__].eager_attention_forward(module, *args, **arguments)


def _mask(mask_function: Any, dtype: torch.dtype, device: torch.device, **_: Any) -> Tensor:
    """What to add to the scores [1, 1, T, T] of tokens at the positions that are compared."""
    places = _PLACES.get().to(device)
    seen = mask_function(0, 0, places[:, None], places[None, :])
    seen = seen.expand(len(places), len(places))
    shut = torch.full(seen.shape, torch.finfo(dtype).min, dtype=dtype, device=device)
    return torch.where(seen, torch.zeros_like(shut), shut)[None, None]


AttentionInterface.register(NAME, _attention)
AttentionMaskInterface.register(NAME, _mask)
