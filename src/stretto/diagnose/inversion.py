"""What a model's log-probabilities give away of its rows, and so of prompts that are hidden (PILS, arXiv 2506.17090).

Logits are W · row, of as few numbers as the model has channels. So are the ratios log p_i − log p_1, whatever the
softmax took off: of a few tokens' ratios all others follow, by a map that answers alone teach. Who hands out
log-probabilities of every token, or of as many chosen ones as there are channels, hands out the row; whoever keeps them
need keep no more. Penalties, biases and masks break this, as a temperature does not: `log_probabilities` are the raw
ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..entry import Entry, Guarantee
from ..errors import InvalidRequest
from ..models.contract import Want
from ..models.reading import read

if TYPE_CHECKING:
    from ..models.contract import Model

ENTRY = Entry(
    name="pils",
    family="diagnostics",
    source="arXiv 2506.17090; dill-lab/PILS",
    parts="",
    guarantee=Guarantee.NONE,
    number=192,
    confirmed=False,  # the published inverter, which writes hidden prompts from these numbers, is not here
    summary="how few log-probabilities tell all others, and so the row behind them",
    command="stretto diagnose --inversion",
)

NOISE = 1e-5  # of the largest singular value: what lies below is rounding
MARGIN = 100  # tokens kept beyond the channels. Published: 100


@dataclass(frozen=True, slots=True)
class Readable:
    """What was found of a model."""

    channels: int
    vocabulary: int
    positions: int
    rank: int  # of the ratios; at most the channels where the head is linear
    kept: int  # tokens whose log-probabilities tell all others
    error: float  # greatest difference of a restored log-probability, nats, at positions that taught nothing


def ratios(log_probabilities: Tensor, tokens: Sequence[int] | None = None) -> Tensor:
    """log p_i − log p_first of all tokens, or of `tokens` against the first of them: [N, V] -> [N, count − 1].

    Raises InvalidRequest where a token is impossible: a mask was on.
    """
    some = log_probabilities.double()
    if tokens is not None:
        some = some[:, list(tokens)]
    if some.shape[-1] < 2 or not bool(some.isfinite().all()):
        raise InvalidRequest("there is no ratio of log-probabilities", hint="two tokens or more, of raw ones: no masks")
    return some[:, 1:] - some[:, :1]


def rank(rows: Tensor, noise: float = NOISE) -> int:
    """How many directions rows [N, D] lie in, but for what is below `noise` of the largest."""
    values = torch.linalg.svdvals(rows.double())
    return int((values > noise * values[0]).sum())


def restored(kept: Tensor, taught: Tensor, tokens: Sequence[int]) -> Tensor:
    """All log-probabilities [N, V] from those of `tokens` [N, count].

    By `taught` [M, V], log-probabilities of the same model elsewhere: M and count at least its channels and one more.
    """
    known, whole = ratios(taught, tokens), ratios(taught)
    ways = torch.linalg.lstsq(known, whole, driver="gelsd").solution  # [count − 1, V − 1]
    found = torch.nn.functional.pad(ratios(kept) @ ways, (1, 0))
    return torch.as_tensor(found.log_softmax(-1))


def chosen(vocabulary: int, count: int, seed: int = 0) -> list[int]:
    """So many tokens, any."""
    return torch.randperm(vocabulary, generator=torch.Generator().manual_seed(seed))[:count].tolist()


def readable(model: Model, texts: Iterable[Sequence[int]], positions: int) -> Readable:
    """What the model's raw log-probabilities over so many positions of texts tell; half of these teach."""
    parts, count = list[Tensor](), 0
    for text in texts:
        if count >= positions:
            break
        cache = model.new_cache()
        for evaluation, _ in read(model, cache, cache.open(), list(text)[: model.max_positions], Want()):
            assert evaluation.logits is not None, "they were wanted"
            parts.append(evaluation.logits[0].double().cpu().log_softmax(-1))
            count += len(parts[-1])
    channels, size = model.channels, model.vocabulary
    least = 2 * (channels + MARGIN)
    if min(count, positions) < least or size <= channels + 1:
        raise InvalidRequest(
            f"{min(count, positions)} positions of {size} tokens do not show the {channels} channels of {model.name}",
            hint=f"{least} positions or more, and a vocabulary larger than its channels",
        )
    found = torch.cat(parts)[:positions]
    tokens = chosen(size, min(size, channels + MARGIN + 1))
    taught, tried = found[: len(found) // 2], found[len(found) // 2 :]
    error = float((restored(tried[:, tokens], taught, tokens) - tried).abs().max())
    return Readable(channels, size, len(found), rank(ratios(found)), len(tokens), error)


def table(found: Readable) -> str:
    """In words."""
    return "\n".join(
        [
            f"channels                        {found.channels}, of a vocabulary of {found.vocabulary}",
            f"directions of log-probabilities {found.rank}, over {found.positions} positions",
            f"tokens that tell all others     {found.kept}, to within {found.error:.2g} nats",
        ]
    )
