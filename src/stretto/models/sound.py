"""Are the numbers that a model gives numbers? Asked of every evaluation; where not: where it began.

What is looked at are the model's own logits, before anything is masked, or the rows that leave it where no logits are
wanted. A token may have a logit of −inf; NaN, +inf and a place with nothing but −inf are faults. They come from weights
that are not finite, and from half precision that overflows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..errors import ModelError
from .contract import Ability, Evaluation, Model, Want
from .store import Store
from .window import Window


def sound(found: Evaluation, want: Want, lengths: list[int], rows: Tensor) -> bool:
    """Whether every place has a best logit and no NaN; where no logits are wanted: whether the rows are finite.

    `lengths` are those of the window: what stands in its padding does not count. `rows` [B, T, C] or, without
    padding, [N, C] are those that leave the model.
    """
    if want.logits is False:
        return bool(_real(rows, lengths).isfinite().all())
    if found.logits is not None and not _best(_real(found.logits, lengths) if want.logits is True else found.logits):
        return False
    return not found.readout or all(_best(_real(each, lengths)) for each in found.readout.values())


def _best(logits: Tensor) -> bool:
    """Whether all rows of logits [..., V] have a finite maximum; NaN counts as the largest. A few microseconds."""
    best = logits.amax(-1)
    return math.isfinite((best if best.numel() == 1 else best.sum()).item())  # a sum is finite where all are


def fault(model: Model, again: Callable[[Window, Any, Want], Evaluation], window: Window, cache: Store) -> ModelError:
    """The error of a window that is not sound; `again` evaluates it once more, with those layers that a model shows."""
    first, last = window.layers or (0, model.layers)
    for row, length in zip(window.rows, window.lengths, strict=True):
        cache.truncate(row, cache.length(row, first) - length, first)
    stages: list[tuple[str, Tensor]] = []  # with what is finite of what leaves it, [B, T]
    if Ability.HIDDEN in model.abilities:
        found = again(window, cache, Want(hidden=tuple(range(first, last + 1))))
        assert found.logits is not None
        stages = [(_layer(at, model.layers), found.hidden[at].isfinite().all(-1)) for at in range(first, last + 1)]
        stages.append(("the head", found.logits.amax(-1).isfinite()))
    for stage, finite in stages:
        for at, length in enumerate(window.lengths):
            if not bool(finite[at, :length].all()):
                position = int(window.positions[at, int(finite[at, :length].int().argmin())])
                return _error(model, f"at position {position} what leaves {stage} is not finite")
    return _error(model, f"from position {int(window.positions.min())} on its logits are not finite")


def _real(rows: Tensor, lengths: list[int]) -> Tensor:
    """What is no padding: [B, T, …] -> [N, …]; other rows as they are."""
    if rows.dim() < 3 or min(lengths) == rows.shape[1]:
        return rows
    return torch.cat([row[:length] for row, length in zip(rows, lengths, strict=True)])


def _layer(number: int, of: int) -> str:
    return f"layer {number} of {of}" if number else "the embedding"


def _error(model: Model, what: str) -> ModelError:
    half = model.dtype in (torch.float16, torch.bfloat16)
    hint = "load it with dtype='float32'" if half else "the checkpoint holds weights that are no numbers: copy it again"
    return ModelError(f"{model.name}: {what}, where all before it is", hint=hint)
