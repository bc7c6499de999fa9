"""What a head uses of a loaded target: its table, its last norm, its head."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import Unsupported
from ..around import Around as Wrapped
from ..contract import Ability, Model
from ..lean import Lean, capped, normed
from .contract import Around

if TYPE_CHECKING:
    from torch import Tensor


def bound(model: Model) -> Around:
    """Of a model that the fast path runs. Raises Unsupported where it shows too little."""
    inner = model
    while isinstance(inner, Wrapped):
        inner = inner.model
    if Ability.HIDDEN not in model.abilities or not isinstance(inner, Lean):
        raise Unsupported(
            f"{model.name} does not show the rows that a head guesses from",
            hint="use a model that the fast path runs, or a drafter that is no head",
        )
    weights, channels = inner.weights, inner.channels

    def final_norm(hidden: Tensor) -> Tensor:
        rows = hidden.reshape(-1, channels).to(inner.dtype)
        return normed(rows, weights.final_norm).view(hidden.shape)

    def lm_head(rows: Tensor) -> Tensor:
        said = weights.head(rows.reshape(-1, channels).to(inner.dtype)).float()
        return capped(said, weights.logit_cap).view(*rows.shape[:-1], -1)

    def embed(tokens: Tensor) -> Tensor:
        return model.embed(tokens).float()

    return Around(embed, final_norm, lm_head, model.layers)
