"""Trains the probe of DMS: prompts that a model answers by reciting, told from those that it generalises on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from ..engine import Engine, Prompt
from ..errors import InvalidRequest, Unsupported
from ..models.contract import Ability
from ..steer.dms import Probe
from .control_vector import last_rows
from .detector import fit

if TYPE_CHECKING:
    from torch import Tensor

FOLDS = 5


def train_probe(
    engine: Engine,
    recited: Sequence[Prompt],
    general: Sequence[Prompt],
    *,
    layers: Sequence[int] | None = None,
    penalty: float = 1e-2,
) -> tuple[Probe, int]:
    """A probe, and the layer it is of: of the `layers` (None: 1 to the last) the one that best tells prompts apart that
    it was not trained on.

    A logistic regression of the rows at the last tokens, scaled to unit variance; the direction is that from the mean
    of recited prompts to the mean of general ones. Raises Unsupported where the model shows no rows, InvalidRequest for
    fewer than five prompts of a kind.
    """
    model = engine.model
    if Ability.HIDDEN not in model.abilities:
        raise Unsupported(f"{model.name} shows no rows of its layers", hint="use a model of known layers")
    if min(len(recited), len(general)) < FOLDS:
        raise InvalidRequest(f"{len(recited)} and {len(general)} prompts", hint=f"{FOLDS} of each, at least")
    chosen = tuple(range(1, model.layers + 1)) if layers is None else tuple(layers)
    one, other = (last_rows(engine, prompts, chosen) for prompts in (recited, general))
    best = max(chosen, key=lambda layer: _held_out(one[layer], other[layer], penalty))
    weights, bias = _probe(one[best], other[best], penalty)
    direction = other[best].mean(0) - one[best].mean(0)
    return Probe({"weights": weights, "bias": [bias], "direction": direction / direction.norm()}), best


def area(above: Tensor, below: Tensor) -> float:
    """The area under the curve of two kinds of scores: how often one of the first is above one of the second."""
    apart = above[:, None] - below
    return float((apart > 0).double().mean() + (apart == 0).double().mean() / 2)


def _probe(one: Tensor, other: Tensor, penalty: float) -> tuple[Tensor, float]:
    """Weights and bias that are above 0 for the rows of `one`."""
    rows = torch.cat([one, other])
    middle, scale = rows.mean(0), float(rows.std())
    truths = torch.cat([torch.ones(len(one)), torch.zeros(len(other))]).double()
    weights, bias = fit((rows - middle) / scale, truths, penalty)
    return weights / scale, bias - float(weights @ middle) / scale


def _held_out(one: Tensor, other: Tensor, penalty: float) -> float:
    """The area under the curve of rows that were not trained on, in the mean of `FOLDS` parts."""
    found = 0.0
    for fold in range(FOLDS):
        kept = [torch.tensor([at % FOLDS != fold for at in range(len(rows))]) for rows in (one, other)]
        weights, bias = _probe(one[kept[0]], other[kept[1]], penalty)
        found += area(one[~kept[0]] @ weights + bias, other[~kept[1]] @ weights + bias)
    return found / FOLDS
