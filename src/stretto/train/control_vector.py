"""Makes a control vector of two lists of prompts that differ in what is wanted (arXiv 2310.01405, 2312.06681)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from ..engine import Engine, Prompt
from ..errors import InvalidRequest, Unsupported
from ..models.contract import Ability, Want
from ..models.control_vector import ControlVector
from ..models.reading import read
from ..text import sequence
from ..values import checked


@checked
def control_vector(
    engine: Engine,
    positive: Sequence[Prompt],
    negative: Sequence[Prompt],
    *,
    layers: int | Sequence[int] | None = None,
    how: Literal["difference", "component"] = "difference",
) -> ControlVector:
    """The directions that lead from the negative prompts to the positive ones, of some layers (None: 1 to the last).

    What is compared are the rows [C] that leave a layer at the last token of each prompt. `difference`: the mean of the
    positive rows less that of the negative ones. `component`: of the differences of pairs, the first with the first and
    so on, the direction of length 1 in which they are largest, not centred, pointing to the positive ones. Raises
    Unsupported where the model shows no rows, InvalidRequest where there is nothing to compare.
    """
    model = engine.model
    if Ability.HIDDEN not in model.abilities:
        raise Unsupported(f"{model.name} shows no rows of its layers", hint="use a model of known layers")
    chosen = (
        tuple(range(1, model.layers + 1)) if layers is None else tuple([layers] if isinstance(layers, int) else layers)
    )
    if wrong := [layer for layer in chosen if not 0 <= layer <= model.layers]:
        raise InvalidRequest(f"there is no layer {wrong[0]}", hint=f"0 (the embedding) to {model.layers}")
    if not (positive and negative and chosen):
        raise InvalidRequest("there is nothing to compare", hint="give prompts of both kinds, and a layer")
    if how == "component" and len(positive) != len(negative):
        raise InvalidRequest(
            f"{len(positive)} and {len(negative)} prompts make no pairs", hint="as many of each, or how='difference'"
        )
    towards, away = (last_rows(engine, prompts, chosen) for prompts in (positive, negative))
    direct = _component if how == "component" else _difference
    return ControlVector({layer: direct(towards[layer], away[layer]) for layer in chosen})


def last_rows(engine: Engine, prompts: Sequence[Prompt], layers: Sequence[int]) -> dict[int, Tensor]:
    """What leaves each layer at the last token of each prompt: layer -> [N, C] float64."""
    model, want = engine.model, Want(logits=False, hidden=tuple(layers))
    found: dict[int, list[Tensor]] = {layer: [] for layer in layers}
    for prompt in sequence(prompts):
        cache = model.new_cache()
        for evaluation, _ in read(model, cache, cache.open(), engine.encode(prompt), want):
            last = evaluation
        for layer in layers:
            found[layer].append(last.hidden[layer][0, -1].double().cpu())
    return {layer: torch.stack(rows) for layer, rows in found.items()}


def _difference(towards: Tensor, away: Tensor) -> Tensor:
    return towards.mean(0) - away.mean(0)


def _component(towards: Tensor, away: Tensor) -> Tensor:
    differences = towards - away  # [N, C]
    first: Tensor = torch.linalg.svd(differences, full_matrices=False).Vh[0]
    return first if float((differences @ first).mean()) >= 0 else -first
