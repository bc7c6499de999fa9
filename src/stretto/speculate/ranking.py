"""The target's ranking of what may follow: the best few of many logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

BLOCK = 64  # tokens of which only the best is looked at first; see `best`
WORTH = 1 << 15  # logits from which on that pays


def best(logits: Tensor, size: int, slots: Sequence[int]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Values and ids [n, size] of the best tokens of n of the rows of logits [N, V], best first.

    Every one of them is in one of the `size` blocks of tokens with the best maximum. On a CPU finding those first
    takes, for 32 nodes, half the time at 4,096 tokens and a sixth at 32,000.
    """
    vocabulary = logits.shape[-1]
    if logits.device.type != "cpu" or vocabulary % BLOCK or vocabulary < 2 * size * BLOCK or logits.numel() < WORTH:
        values, ids = logits[slots].topk(size)
        return values.cpu().numpy(), ids.cpu().numpy()
    blocks = logits.reshape(-1, BLOCK)  # of all rows, end to end
    peaks = blocks.amax(-1).view(len(logits), -1)
    rows = np.array(slots)
    chosen = peaks.index_select(0, torch.from_numpy(rows)).topk(size, sorted=False).indices.numpy()  # [n, size]
    places = torch.from_numpy((rows[:, None] * peaks.shape[1] + chosen).ravel())
    values, found = blocks.index_select(0, places).view(len(rows), -1).topk(size)
    at = found.numpy()  # in the chosen blocks, laid end to end
    return values.numpy(), np.take_along_axis(chosen, at // BLOCK, 1) * BLOCK + at % BLOCK
