"""Trains a sparse autoencoder of one layer, and finds the features that make a model repeat itself (2504.14218).

sae = train_sae(engine, prompts, layer=3)                        # seconds on a small model
found = repeat_features(engine, sae, prompts[:8], layer=3, strength=40.0)
steer = Mitigate(sae, 3, tuple(feature for feature, _ in found[:10]))
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import mean
from typing import TYPE_CHECKING

import torch

from ..diagnose.repetition import repeated_grams
from ..engine import Engine, Prompt
from ..errors import InvalidRequest, Unsupported
from ..models.contract import Ability, Want
from ..models.reading import read
from ..steer.features import Induce, Sae

if TYPE_CHECKING:
    from torch import Tensor

BATCH = 256  # rows of a step


def train_sae(
    engine: Engine,
    prompts: Sequence[Prompt],
    *,
    layer: int,
    features: int | None = None,
    sparsity: float = 0.1,
    steps: int = 500,
    rate: float = 2e-3,
    seed: int = 0,
) -> Sae:
    """An autoencoder of the rows that leave a layer at every token of the prompts: `features` of them (None: four for
    each channel), with `sparsity` times the sum of a row's features beside the squared error, rows scaled to unit
    variance of a channel. What a feature writes has length 1 there.

    Raises Unsupported where the model shows no rows, InvalidRequest where there is nothing to read.
    """
    rows = rows_of(engine, prompts, layer)
    scale, generator = float(rows.std()), torch.Generator().manual_seed(seed)
    rows = rows / scale
    channels, count = rows.shape[1], features or 4 * rows.shape[1]
    with torch.inference_mode(False), torch.enable_grad():
        written = torch.nn.functional.normalize(torch.randn(count, channels, generator=generator), dim=1)
        kept = [written.T.clone(), torch.zeros(count), written, rows.mean(0)]
        read_by, bias, written, middle = (each.clone().requires_grad_() for each in kept)
        adam = torch.optim.Adam([read_by, bias, written, middle], lr=rate)
        for _ in range(steps):
            batch = rows[torch.randint(len(rows), (BATCH,), generator=generator)]
            active = ((batch - middle) @ read_by + bias).relu()
            error = (active @ written + middle - batch).square().sum(1)
            loss = (error + sparsity * active.sum(1)).mean()
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
            with torch.no_grad():
                written /= written.norm(dim=1, keepdim=True).clamp(min=1e-6)
    return Sae(
        {"W_enc": read_by, "b_enc": bias * scale, "W_dec": written, "b_dec": middle * scale}, f"sae of layer {layer}"
    )


def repeat_features(
    engine: Engine,
    sae: Sae,
    prompts: Sequence[Prompt],
    *,
    layer: int,
    strength: float,
    features: Iterable[int] | None = None,
    tokens: int = 40,
) -> list[tuple[int, float]]:
    """Features by how much the answers repeat themselves when one of them is induced, most first: the mean share of
    tokens in a greedy answer of so many that stood there before."""
    chosen = range(len(sae["b_enc"])) if features is None else features
    found = []
    for feature in chosen:
        steer = Induce(sae, layer, (feature,), strength)
        answers = engine.generate(list(prompts), "plain", steers=[steer], max_new_tokens=tokens, end_tokens=())
        found.append((feature, mean(repeated_grams(answer.tokens, 1) for answer in answers)))
    return sorted(found, key=lambda each: (-each[1], each[0]))


def rows_of(engine: Engine, prompts: Sequence[Prompt], layer: int) -> Tensor:
    """What leaves a layer at every token of the prompts: [N, C] float32."""
    model = engine.model
    if Ability.HIDDEN not in model.abilities:
        raise Unsupported(f"{model.name} shows no rows of its layers", hint="use a model of known layers")
    if not 0 <= layer <= model.layers:
        raise InvalidRequest(f"there is no layer {layer}", hint=f"0 (the embedding) to {model.layers}")
    if not prompts:
        raise InvalidRequest("there is nothing to read", hint="give prompts")
    rows: list[Tensor] = []
    for prompt in prompts:
        cache, want = model.new_cache(), Want(logits=False, hidden=(layer,))
        for evaluation, _ in read(model, cache, cache.open(), engine.encode(prompt), want):
            rows.append(evaluation.hidden[layer][0].float().cpu())
    return torch.cat(rows).clone()
