"""What an evaluation hands out at single nodes of its trees, as steers see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from ..models.contract import Evaluation
from ..steer.contract import Companion
from ..steer.taps import Taps
from ..tree import Tree, slot_of

if TYPE_CHECKING:
    from torch import Tensor


def taps_at(
    places: Sequence[tuple[int, int]],
    trees: Sequence[Tree],
    starts: Sequence[int],
    evaluation: Evaluation,
    companions: Mapping[Companion, Tensor],
) -> Taps:
    """What there is at (row, node) pairs; `starts` are the slots of the rows' roots in the cache.

    Attention is told along each node's path, by position, so that it does not show what else was drafted.
    """
    rows, slots = [row for row, _ in places], [slot_of(node) for _, node in places]
    along: dict[tuple[int, int], Tensor] = {}
    if evaluation.attention:
        paths = [
            [*range(starts[r] + 1), *(starts[r] + slot_of(node) for node in trees[r].path(at))] for r, at in places
        ]
        longest = max(map(len, paths))
        device = next(iter(evaluation.attention.values())).device
        seen = torch.tensor([[*path, *([0] * (longest - len(path)))] for path in paths], device=device)  # [N, L]
        beyond = torch.tensor([[False] * len(path) + [True] * (longest - len(path)) for path in paths], device=device)
        along = {
            head: given[rows, slots].gather(1, seen).masked_fill(beyond, 0.0)
            for head, given in evaluation.attention.items()
        }
    return Taps(
        hidden={layer: given[rows, slots] for layer, given in evaluation.hidden.items()},
        readout={layer: given[rows, slots] for layer, given in evaluation.readout.items()},
        attention=along,
        companions={companion: given[rows, slots] for companion, given in companions.items()},
    )
