"""Ways to change logits that steers share, and the checks of tokens that their settings name."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import torch

from ..models.vocabulary import NEVER
from .contract import require

if TYPE_CHECKING:
    from torch import Tensor

    from .contract import Companion
    from .nodes import Nodes


def token_set(tokens: Iterable[int], what: str) -> frozenset[int]:
    """The tokens as a set; raises `InvalidRequest` where one is not a token id."""
    found = frozenset(tokens)
    wrong = [token for token in found if not isinstance(token, int) or isinstance(token, bool) or token < 0]
    require(not wrong, f"{what} holds {wrong[:1]}, which is no token id", "token ids are whole numbers from 0")
    return found


def remove(logits: Tensor, places: list[tuple[int, int]]) -> Tensor:
    """The logits [N, V] without the tokens at the (node, token) places; themselves where there are none."""
    if not places:
        return logits
    flat = torch.tensor([node * logits.shape[-1] + token for node, token in places], device=logits.device)
    return logits.reshape(-1).index_fill(0, flat, -torch.inf).view_as(logits)


def spare(steered: Tensor, logits: Tensor, tokens: Iterable[int]) -> Tensor:
    """The steered logits [N, V], but with those of the tokens as they were."""
    exempt = torch.tensor(list(tokens), dtype=torch.int64, device=logits.device)
    return steered.index_copy(1, exempt, logits.index_select(1, exempt)) if len(exempt) else steered


def contrasted(logits: Tensor, own: Tensor, other: Tensor, strength: float) -> Tensor:
    """The logits [N, V] moved by `strength` away from another reading: by own - other log-probabilities, [N, V] each.

    What has no probability in `own` has none afterwards; what has none in `other` counts as `NEVER`.
    """
    gone = own == -torch.inf
    moved = logits + strength * (own.masked_fill(gone, 0.0) - other.clamp(min=NEVER)).to(logits.dtype)
    return moved.masked_fill(gone, -torch.inf)


def implausible(own: Tensor, share: float) -> Tensor:
    """Which tokens have less than `share` times the highest probability, of log-probabilities [N, V]; 0: none has."""
    floor: Tensor = own.amax(-1, keepdim=True) + (math.log(share) if share else -torch.inf)
    return own < floor


def combined(logits: Tensor, nodes: Nodes, own: float, others: Mapping[Companion, float], share: float) -> Tensor:
    """The logits [N, V] and a weighted sum: `own` times the raw ones, and each companion's by its weight.

    Tokens of less than `share` times the highest raw probability are removed; 0 removes none.
    """
    gone = nodes.raw == -torch.inf
    moved = logits + own * nodes.raw.masked_fill(gone, 0.0).to(logits.dtype)
    for companion, weight in others.items():
        moved = moved + weight * nodes.companions[companion].clamp(min=NEVER).to(logits.dtype)
    if share:
        gone = gone | implausible(nodes.log_probabilities, share)
    return moved.masked_fill(gone | (logits == -torch.inf), -torch.inf)
