"""What a head uses of a loaded target: its table, its last norm, its head or the part of it for common tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from ...errors import ModelError, Unsupported
from ..around import Around as Wrapped
from ..contract import Ability, Model
from ..lean import Lean, capped, normed
from ..vocabulary import NEVER
from .block import product
from .contract import Around

if TYPE_CHECKING:
    from torch import Tensor


AT_ONCE = 64  # channels of a head that are looked at together


def lean_of(model: Model) -> Lean:
    """The network itself, of a model that the fast path runs. Raises Unsupported where it shows too little."""
    inner = model
    while isinstance(inner, Wrapped):
        inner = inner.model
    if Ability.HIDDEN not in model.abilities or not isinstance(inner, Lean):
        raise Unsupported(
            f"{model.name} does not show the rows that a head guesses from",
            hint="use a model that the fast path runs, or a drafter that is no head",
        )
    return inner


def bound(model: Model, common: Sequence[int] = ()) -> Around:
    """Of a model that the fast path runs. Raises Unsupported where it shows too little.

    With `common` tokens its head speaks of no others, and in float16: what is guessed may be rounded (FR-Spec, arXiv
    2502.14856). Raises ModelError where one is outside of the vocabulary.
    """
    inner = lean_of(model)
    weights, channels = inner.weights, inner.channels

    def final_norm(hidden: Tensor) -> Tensor:
        rows = hidden.reshape(-1, channels).to(inner.dtype)
        return normed(rows, weights.final_norm).view(hidden.shape)

    def lm_head(rows: Tensor) -> Tensor:
        said = weights.head(rows.reshape(-1, channels).to(inner.dtype)).float()
        return capped(said, weights.logit_cap).view(*rows.shape[:-1], -1)

    def embed(tokens: Tensor) -> Tensor:
        return model.embed(tokens).float()

    if not common:
        return Around(embed, final_norm, lm_head, model.layers)
    if max(common) >= model.vocabulary:
        raise ModelError(f"a head guesses token {max(common)}, which {model.name} has not", hint="train it again")
    tokens = torch.tensor(list(common), device=model.device)
    with torch.inference_mode():
        parts = torch.eye(channels, device=model.device).split_with_sizes(_parts(channels))
        said_of = product(torch.cat([lm_head(part)[:, tokens] for part in parts]).T.half().float().contiguous())

    def common_head(rows: Tensor) -> Tensor:
        said = said_of(rows.reshape(-1, channels).float())
        logits = said.new_full((len(said), model.vocabulary), NEVER).index_copy_(1, tokens, said)
        return logits.view(*rows.shape[:-1], -1)

    return Around(embed, final_norm, common_head, model.layers)


def _parts(size: int) -> list[int]:
    return [min(AT_ONCE, size - start) for start in range(0, size, AT_ONCE)]
