"""Logits to whole numbers, the same on every machine that computed the same logits.

No exponential is computed in floating point, as libraries round these differently: a logit is brought to whole 256ths
below the largest, and a table of whole numbers says how likely that is. It costs 10^-6 bits a token beside the logits
themselves.
"""

from __future__ import annotations

from decimal import Decimal
from functools import cache

import torch
from torch import Tensor

STEPS = 256  # of a natural logarithm
TOP = 1 << 32  # what the likeliest token has; the others are at least 1
PORTION = 1 << 22  # logits at a time: bounds the memory


@cache
def table() -> Tensor:
    """TOP * exp(-n / STEPS) [N], down to 1, rounded down."""
    exact, factor = 1 << 96, int((Decimal(-1) / STEPS).exp() * (1 << 64))
    found = []
    while exact >> 64:
        found.append(exact >> 64)
        exact = exact * factor >> 64
    return torch.tensor(found)


def summed(logits: Tensor, text: Tensor) -> Tensor:
    """The sums [N, V] of the frequencies up to and with each token, of logits [N, V].

    Where `text` [V] is false there is no frequency. Logits that are no numbers make all tokens alike.
    """
    below = (logits.amax(-1, keepdim=True) - logits).mul_(STEPS).add_(0.5).nan_to_num_(nan=0.0)
    found = table().to(logits.device)
    return (found[below.clamp_(0, len(found) - 1).long()] * text).cumsum(-1)


def intervals(logits: Tensor, tokens: list[int], text: Tensor) -> list[tuple[int, int, int]]:
    """Start, size and total of each token [N], of the logits [N, V] that speak of it."""
    found: list[tuple[int, int, int]] = []
    size = max(1, PORTION // logits.shape[-1])
    for at in range(0, len(tokens), size):
        sums = summed(logits[at : at + size], text)
        chosen = torch.tensor(tokens[at : at + size], device=sums.device)[:, None]
        found += zip(*(each.tolist() for each in (*bounds(sums, chosen), sums[:, -1])), strict=True)
    return found


def bounds(sums: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Start and size [N] of each of the tokens [N, 1], by their sums [N, V]."""
    starts = sums.gather(1, (tokens - 1).clamp(0)).mul_(tokens > 0)
    return starts[:, 0], (sums.gather(1, tokens) - starts)[:, 0]
