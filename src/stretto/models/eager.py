"""What a transformers module itself says of tokens at positions of our choosing.

It answers with the attention that is written in its own modelling file, under the mask that it would build there: its
mask function is asked about the positions, so that no long text has to be read to come beyond a window.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache, PreTrainedModel

from .hooks import attending_by, cache_argument, configs_of

NAME = "stretto_reference"  # of the module's own attention at positions of our choosing
_PLACES: ContextVar[Tensor] = ContextVar("positions of the tokens that are compared, [T]")


def logits_at(module: PreTrainedModel, tokens: Tensor, positions: Tensor) -> Tensor:
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
