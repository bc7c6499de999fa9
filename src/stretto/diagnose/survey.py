"""A model read over a text: what its layers know, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ..errors import InvalidRequest, Unsupported
from ..models.contract import Ability, Model, Want
from ..models.window import Window
from .spectrum import head_entropy, head_gap, overlap, predictive_rows, read_rows
from .surplus import Probe, Surplus, information_surplus

if TYPE_CHECKING:
    from torch import Tensor

DIRECTIONS = (1, 4, 16, 32)  # sizes of the subspaces that are compared
CONTEXTS = 512  # that are compared: the Gram matrices hold their square


@dataclass(frozen=True, slots=True)
class Reading:
    """What came out of one text: T positions, each with all its following tokens known."""

    hidden: dict[int, Tensor]  # layer -> [T, C]
    readout: dict[int, Tensor]  # layer -> [T, V], read through the final norm and head
    logits: Tensor  # [T, V]
    following: Tensor  # [T, K] the next tokens


@dataclass(frozen=True, slots=True)
class Layer:
    """What one layer's output knows."""

    layer: int  # 0 is the embedding
    surplus: Surplus
    entropy: float  # nats, of the final head on this layer
    gap: float  # nats: KL of the last layer's distribution from this one's
    overlaps: dict[int, float]  # number of directions -> how far similar states mean similar continuations


def survey(
    model: Model,
    texts: Iterable[Sequence[int]],
    layers: Sequence[int],
    *,
    ahead: int = 3,
    positions: int = 2000,
    probe: Probe = Probe(),
    each: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> list[Layer]:
    """Read texts until so many positions are known, then measure each layer; `each` may show progress over layers.

    `ahead` ≥ 2: K, the tokens that follow a position. Raises InvalidRequest where the texts are too short,
    Unsupported where the model hands out no hidden states.
    """
    if Ability.HIDDEN not in model.abilities:
        raise Unsupported(f"{model.name} hands out no hidden states", hint="use another checkpoint")
    wrong = next((layer for layer in layers if not 0 <= layer <= model.layers), None)
    if wrong is not None or ahead < 2:
        raise InvalidRequest(f"layer {wrong}, {ahead} tokens ahead", hint=f"layers 0 to {model.layers}, ahead >= 2")
    reading = read(model, texts, layers, ahead, positions)
    return [_measure(reading, layer, model.vocabulary, probe) for layer in each(layers)]


def read(model: Model, texts: Iterable[Sequence[int]], layers: Sequence[int], ahead: int, positions: int) -> Reading:
    """Evaluate texts one by one until `positions` are known."""
    found: list[Reading] = []
    for tokens in texts:
        known = sum(len(part.logits) for part in found)
        usable = min(len(tokens), model.max_positions) - ahead  # positions whose following tokens are all known
        if known >= positions:
            break
        if usable < 1:
            continue
        size = min(usable, positions - known)
        cache = model.new_cache(1, size)
        window = Window.chain([cache.open()], [tokens[:size]], [0], model.device)
        evaluation = model.evaluate(window, cache, Want(hidden=tuple(layers), readout=tuple(layers)))
        assert evaluation.logits is not None
        following = torch.tensor(list(tokens[: size + ahead])).unfold(0, ahead, 1)[1:]  # [size, K]
        found.append(
            Reading(
                {layer: rows[0] for layer, rows in evaluation.hidden.items()},
                {layer: rows[0] for layer, rows in evaluation.readout.items()},
                evaluation.logits[0],
                following,
            )
        )
    if not found:
        raise InvalidRequest("there is no text to read", hint=f"give texts of more than {ahead} tokens")
    return Reading(
        {layer: torch.cat([part.hidden[layer] for part in found]) for layer in layers},
        {layer: torch.cat([part.readout[layer] for part in found]) for layer in layers},
        torch.cat([part.logits for part in found]),
        torch.cat([part.following for part in found]),
    )


def _measure(reading: Reading, layer: int, vocabulary: int, probe: Probe) -> Layer:
    logits, readout = reading.logits, reading.readout[layer]
    contexts = slice(None, None, max(1, len(logits) // CONTEXTS))
    meant, state = predictive_rows(logits[contexts]), read_rows(readout[contexts])
    return Layer(
        layer,
        information_surplus(reading.hidden[layer], reading.following, vocabulary, probe),
        head_entropy(readout),
        head_gap(logits, readout),
        {size: overlap(meant, state, size) for size in DIRECTIONS if size < len(meant)},
    )
