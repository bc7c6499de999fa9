"""Recipes of the zoo's masked twins: the causal target learns to fill masks, on its whole canvas or block by block.

Objective (LLaDA, arXiv 2502.09992; MDLM, arXiv 2406.07524): mask each token with a probability p drawn for its text,
and weigh what is lost there by 1/p; the mean over all tokens bounds the text's own negative log-probability from above.
Questions are never masked, answers are followed by end tokens that are masked and learnt like the rest.
Both twins begin with the causal target's weights and keep its shift, the row before a position speaks of it (Dream,
arXiv 2508.15487; Fast-dLLM v2, arXiv 2509.26328), so that all it knew about next tokens still holds.
Blocks (BD3-LM, arXiv 2503.09573): the masked text and the text itself stand side by side in one window, and masked
blocks see the blocks before them in the text itself. The row before a block belongs to that side as well.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AttentionInterface, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from stretto.errors import InvalidRequest, ModelError
from stretto.files import write_text
from stretto.gym.mixture import Mixture
from stretto.models.masked import OWN, Masking
from stretto.train.batches import KINDS, TEXT_SHARES, Batch, Batches, Ids, Weights
from stretto.train.tokenizer import load_tokenizer
from stretto.train.trainer import Settings, TokenLosses, Trainer, short_products
from stretto.train.zoo import EARLIER, ROUND, runs_before, trained

EPSILON = 1e-3  # the least probability of a mask: the weight 1/p stays finite
BLOCK = 16  # positions of a block of the block-diffusion twin
SEEN = "stretto_seen"  # the name under which transformers knows `_seen_attention`
CANVASES = {32: 0.45, 64: 0.3, 128: 0.17, 256: 0.08}  # how many positions an answer is given, and how often
SHORT, LONG = (0.85, 256), (1.0, 512)  # (until fraction, row length): answers are short, canvases are not long
SEED = 2  # of the batches: the causal target and the draft saw others
TEXT_WEIGHT = 0.1  # of real text, of which a model of this size learns little: unweighted it is most of the loss
GENTLER, WARMUP = 0.8, 50  # of the rates; steps: the weights are no fresh ones


@dataclass(frozen=True, slots=True)
class Noised(Batch):
    """A batch with its masks: those positions are hidden from the model, and asked for."""

    masked: Tensor  # [B, T] bool
    rates: Tensor  # [B, T] float32, the probability with which a position was to be masked

    def seen(self, mask: int) -> Tensor:
        """The tokens as the model sees them [B, T]."""
        return torch.where(self.masked, mask, self.tokens)


class MaskedBatches(Batches):
    """Batches whose questions are given, whose answers fill a canvas, and whose masks are a function of the number too.

    `block` draws the noise for each block of so many positions; None: for each text.
    `noise` is the range of times that are drawn (BD3-LM clips it per block size); 0 … 1 is the bound's.
    """

    def __init__(
        self,
        mixture: Mixture,
        tokenizer: PreTrainedTokenizerFast,
        seed: int,
        block: int | None = None,
        noise: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        if not 0 <= noise[0] < noise[1] <= 1:
            raise InvalidRequest(f"noise from {noise[0]} to {noise[1]}", hint="0 ≤ from < to ≤ 1")
        super().__init__(mixture, tokenizer, seed)
        self._block, self._noise = block, noise

    def batch(self, number: int, rows: int, length: int) -> Noised:
        """See `Batches.batch`."""
        plain = super().batch(number, rows, length)
        inside = places(plain.texts)
        plain.weights[inside == 0] = 0.0  # no row speaks of the first token of a text
        plain.weights[torch.isin(plain.kinds, torch.tensor([KINDS.index(name) for name in TEXT_SHARES]))] *= TEXT_WEIGHT
        parts = plain.texts if self._block is None else plain.texts * length + inside // self._block
        parts = parts + parts.amax() * torch.arange(rows)[:, None] + torch.arange(rows)[:, None]
        seed = random.Random(f"masks/{self._seed}/{number}/{length}").getrandbits(63)
        rates, masked = noised(parts, plain.weights > 0, torch.Generator().manual_seed(seed), self._noise)
        return Noised(plain.tokens, plain.weights, plain.kinds, plain.texts, masked, rates)

    def _asked(self, ids: Ids, head: int, rng: np.random.Generator, length: int) -> tuple[Ids, Weights]:
        """Follow the answer with end tokens up to the size of a canvas; only what is generated counts."""
        size = int(rng.choice(list(CANVASES), p=list(CANVASES.values())))
        if self._block is not None:
            whole = -(-len(ids) // self._block) * self._block  # canvases grow by blocks, and end with one
        else:
            whole = head + -(-(len(ids) - head) // size) * size
        ends = max(0, min(whole, length) - len(ids))
        ids = np.concatenate([ids, np.full(ends, self._end)])
        weights = np.ones(len(ids))
        weights[:head] = 0.0
        return ids, weights


def places(texts: Tensor) -> Tensor:
    """Where in its text each position stands, 0, 1, …: [B, T]."""
    at = torch.arange(texts.shape[1]).expand_as(texts)
    starts = F.pad(texts[:, 1:] != texts[:, :-1], (1, 0))
    return at - torch.where(starts, at, 0).cummax(1).values


def noised(
    parts: Tensor, eligible: Tensor, generator: torch.Generator, noise: tuple[float, float] = (0.0, 1.0)
) -> tuple[Tensor, Tensor]:
    """Rates and masks [B, T]: one rate for each part, stratified over the parts, so that few steps see all rates."""
    numbers, index = torch.unique(parts, return_inverse=True)
    strata = torch.randperm(len(numbers), generator=generator)
    times = (strata + torch.rand(len(numbers), generator=generator)) / len(numbers)
    times = noise[0] + (noise[1] - noise[0]) * times
    rates = ((1 - EPSILON) * times + EPSILON)[index]
    return rates, (torch.rand(parts.shape, generator=generator) < rates) & eligible


# -- the forward ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sides:
    """One training window."""

    tokens: Tensor  # [B, N] with masks; N is T, or 2 T where the text itself stands beside
    positions: Tensor  # [B, N]
    visible: Tensor  # [B, N, N] bool: who sees whom
    speaks: Tensor  # [B, T] which row of the window speaks of a position


def sides(batch: Noised, masking: Masking) -> Sides:
    """What one training pass evaluates."""
    size = batch.tokens.shape[1]
    hidden = batch.seen(masking.mask)
    at = torch.arange(size).expand_as(hidden)
    same = batch.texts[:, :, None] == batch.texts[:, None, :]  # [B, T, T]
    source = (at - 1).clamp(min=0) if masking.shift else at
    block = masking.block
    if block is None:
        return Sides(hidden, at, same, source)
    inside = places(batch.texts)
    query, key = (inside // block)[:, :, None], (inside // block)[:, None, :]
    noisy = torch.cat([same & (query == key), same & (query > key)], 2)  # sees [itself ; the text]
    clean = torch.cat([torch.zeros_like(same), same & (query >= key)], 2)
    return Sides(
        torch.cat([hidden, batch.tokens], 1),
        torch.cat([at, at], 1),
        torch.cat([noisy, clean], 1),
        torch.where(inside % block == 0, source + size, source) if masking.shift else source,
    )


def masked_logits(model: PreTrainedModel, batch: Noised, masking: Masking) -> Tensor:
    """Logits of the masked positions, row after row [N, V]; the mask token is never one of them."""
    return logits_at(model, batch, batch.masked, masking)


def logits_at(model: PreTrainedModel, batch: Noised, where: Tensor, masking: Masking) -> Tensor:
    """Logits of the positions `where` [B, T] bool, row after row [N, V]; the mask token is never one of them."""
    window = sides(batch, masking)
    hidden = model.get_decoder()(
        window.tokens, attention_mask=window.visible[:, None], position_ids=window.positions, use_cache=False
    ).last_hidden_state  # [B, N, C]
    rows = window.speaks + torch.arange(len(hidden))[:, None] * hidden.shape[1]
    asked = rows[where]
    padded = F.pad(asked, (0, -len(asked) % ROUND))
    logits = model.get_output_embeddings()(hidden.flatten(0, 1)[padded])[: len(asked)].float()
    return cast(Tensor, logits.index_fill(1, torch.tensor([masking.mask]), -torch.inf))


def masked_losses(masking: Masking) -> TokenLosses:
    """Cross entropy of each masked token over the rate of its mask, 0 elsewhere; its mean bounds the NLL a token."""

    def losses(model: PreTrainedModel, batch: Batch) -> Tensor:
        assert isinstance(batch, Noised), "the masks are missing"
        with short_products():
            logits = masked_logits(model, batch, masking)
        lost = F.cross_entropy(logits, batch.tokens[batch.masked], reduction="none") / batch.rates[batch.masked]
        return torch.zeros(batch.masked.shape).masked_scatter(batch.masked, lost)[:, 1:]

    return losses


def _seen_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    visible: Tensor,
    /,
    *,
    scaling: float,
    **_: object,
) -> tuple[Tensor, None]:
    """Attention along a mask [B, 1, N, N], in float32 as its backward pass is faster so on a CPU."""
    with torch.autocast("cpu", enabled=False):
        seen = F.scaled_dot_product_attention(
            query.float(), key.float(), value.float(), attn_mask=visible, scale=scaling, enable_gqa=True
        )
    return seen.transpose(1, 2), None


AttentionInterface.register(SEEN, _seen_attention)


# -- the bound on likelihood --------------------------------------------------------------------------

Speaks = Callable[[Tensor], Tensor]  # canvases [N, L] -> log-probabilities [N, L, V] of each position


def bound(speaks: Speaks, tokens: Tensor, masks: Tensor, most: int, mask: int) -> Tensor:
    """Of −log p(tokens [L]) in nats, once for each set of ℓ masked positions [N, L]: (most / ℓ) Σ −log p, [N] float64.

    `most` is how many positions may be masked; the others are given.
    """
    logs = speaks(torch.where(masks, mask, tokens))
    lost = -logs.gather(2, tokens.expand(masks.shape)[:, :, None])[:, :, 0].double()
    return torch.where(masks, lost, 0.0).sum(1) * most / masks.sum(1)


def nll_bound(speaks: Speaks, tokens: Tensor, eligible: Tensor, mask: int, *, draws: int = 128, seed: int = 0) -> float:
    """An upper bound on −log p of the eligible tokens [L] given the others, in nats; tight for exact conditionals.

    Each draw masks ℓ of them, ℓ even over 1 … all (stratified) and the positions at random (arXiv 2502.09992).
    """
    where = eligible.nonzero()[:, 0]
    if not len(where) or draws < 1:
        raise InvalidRequest(f"a bound over {len(where)} tokens in {draws} draws", hint="1 or more of both")
    generator = torch.Generator().manual_seed(seed)
    strata = (torch.arange(draws) + torch.rand(draws, generator=generator)) / draws
    counts = (strata * len(where)).long() + 1  # [draws]
    ranks = torch.rand(draws, len(where), generator=generator).argsort(1).argsort(1)
    masks = torch.zeros(draws, len(tokens), dtype=torch.bool)
    masks[:, where] = ranks < counts[:, None]
    return float(bound(speaks, tokens, masks, len(where), mask).mean())


# -- the recipe ---------------------------------------------------------------------------------------


def gentler(settings: Settings) -> Settings:
    """For weights that have learnt something already, and for rows as long as canvases are."""
    return replace(
        settings,
        muon_rate=GENTLER * settings.muon_rate,
        adam_rate=GENTLER * settings.adam_rate,
        warmup_steps=min(WARMUP, settings.warmup_steps),
        hold=0.3,
        lengths=(SHORT, LONG),
    )


def train_masked(
    out: Path, mixture: Mixture, settings: Settings, block: int | None = None, *, begin: Path | None = None
) -> Path:
    """Train the masked twin under `out/masked`, with a `block` the block-diffusion one under `out/block`.

    It begins with the weights in `begin`, causal ones (default: `out/target/model`) or its own of an earlier run, and
    sees its whole canvas, or block, from the first step on. Goes on where it stopped; returns the checkpoint's folder.
    """
    begin = begin or out / "target" / "model"
    if not (begin / "model.safetensors").exists():
        raise ModelError(f"{begin} holds no weights to begin with", hint="--begin FOLDER of a causal zoo model")
    tokenizer = load_tokenizer(begin)
    mask = int(cast(int, tokenizer.mask_token_id))
    model = LlamaForCausalLM.from_pretrained(begin, dtype=torch.float32, attn_implementation=SEEN)
    if not hasattr(model.config, OWN):
        table = model.get_input_embeddings().weight.detach()
        table[mask] = table.mean(0)  # causal training only ever pushed it away
    setattr(model.config, OWN, {"mask_token_id": mask, "block": block, "shift": True})
    folder = out / ("masked" if block is None else "block")
    earlier = runs_before(begin)
    batches = MaskedBatches(mixture, tokenizer, SEED + len(earlier), block)
    trainer = Trainer(model, batches, masked_losses(Masking(mask, True, block)), gentler(settings), folder)
    write_text(folder / EARLIER, json.dumps(earlier))
    return trained(trainer, model, tokenizer, folder)
