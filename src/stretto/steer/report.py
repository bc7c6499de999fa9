"""What is reported of a choice: how likely tokens were, in the model's own eyes and as they were chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from .top_k import TopK
from .truncation import sort_few, truncate, unsorted

if TYPE_CHECKING:
    from torch import Tensor


def log_probability(scores: Tensor, tokens: Sequence[int]) -> list[float]:
    """The log-probability of one token in each row of scores [N, V].

    Of the model's own logits that is the raw log-probability, at temperature 1; of `Choices.steered` that of
    the distribution chosen from. (A greedy choice does not draw: there it says how the steered logits stood.)
    """
    chosen = torch.tensor(tokens, device=scores.device)[:, None]
    values: list[float] = _log_softmax(scores).gather(1, chosen)[:, 0].tolist()
    return values


def top_log_probabilities(scores: Tensor, size: int) -> list[list[tuple[int, float]]]:
    """The `size` likeliest tokens of each row of scores [N, V] with their log-probabilities, likeliest first.

    Lower ids first among equals; fewer where fewer are left. The distributions are those of `log_probability`.
    """
    kept = unsorted(truncate(_log_softmax(scores), (TopK(size),)))
    best = sort_few(kept, kept.values, min(size, scores.shape[-1]))
    return [
        [(token, value) for token, value in zip(ids, values, strict=True) if value > -torch.inf]
        for ids, values in zip(best.ids.tolist(), best.values.tolist(), strict=True)
    ]


def _log_softmax(scores: Tensor) -> Tensor:
    return scores.log_softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32))
