"""ReDiff's first stage (arXiv 2510.19871): a model that fills masks also learns to correct what it sees.

A share of the answer's visible tokens is replaced by random ones, and each token of the answer is asked for, by one of
three terms: masked tokens weigh 1/p as in `stretto.train.masked`, whose bound this term stays; of wrong tokens, and of
right ones that the model sees, the mean counts. The second stage, which learns from the model's own drafts and an
expert's corrections, is not here. The order that decodes such a model is `revise`.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from stretto.errors import InvalidRequest, ModelError
from stretto.files import write_text
from stretto.gym.mixture import Mixture
from stretto.models.masked import OWN, Masking
from stretto.train.batches import Batch
from stretto.train.masked import SEED, SEEN, MaskedBatches, Noised, gentler, logits_at
from stretto.train.tokenizer import load_tokenizer
from stretto.train.trainer import Settings, TokenLosses, Trainer, short_products
from stretto.train.zoo import EARLIER, runs_before, trained

WRONG = 0.05  # share of the visible tokens of an answer that are replaced


@dataclass(frozen=True, slots=True)
class Spoiled(Noised):
    """A batch with masks, and with wrong tokens among those that the model sees."""

    shown: Tensor  # [B, T] int64, the tokens with the wrong ones in their places

    def seen(self, mask: int) -> Tensor:
        """See `Noised.seen`."""
        return torch.where(self.masked, mask, self.shown)

    @property
    def wrong(self) -> Tensor:
        """Where another token than the right one is seen [B, T]."""
        return (self.shown != self.tokens) & ~self.masked


def spoiled(batch: Noised, vocabulary: int, mask: int, generator: torch.Generator, share: float = WRONG) -> Spoiled:
    """With a share of the tokens that are asked for and visible replaced by any of the vocabulary but the mask.

    A token that is drawn as it was stays right.
    """
    if not 0 <= share <= 1:
        raise InvalidRequest(f"a share of {share} is replaced", hint="0 to 1")
    visible = (batch.weights > 0) & ~batch.masked
    chosen = visible & (torch.rand(batch.tokens.shape, generator=generator) < share)
    drawn = torch.randint(vocabulary - 1, batch.tokens.shape, generator=generator)
    drawn += drawn >= mask
    shown = torch.where(chosen, drawn, batch.tokens)
    return Spoiled(batch.tokens, batch.weights, batch.kinds, batch.texts, batch.masked, batch.rates, shown)


class SpoiledBatches(MaskedBatches):
    """See `MaskedBatches`; what is wrong is a function of the number as well."""

    def __init__(
        self, mixture: Mixture, tokenizer: PreTrainedTokenizerFast, seed: int, block: int | None = None
    ) -> None:
        super().__init__(mixture, tokenizer, seed, block)
        self._size, self._mask = len(tokenizer), cast(int, tokenizer.mask_token_id)

    def batch(self, number: int, rows: int, length: int) -> Spoiled:
        """See `Batches.batch`."""
        seed = random.Random(f"wrong/{self._seed}/{number}/{length}").getrandbits(63)
        generator = torch.Generator().manual_seed(seed)
        return spoiled(super().batch(number, rows, length), self._size, self._mask, generator)


def weighed(batch: Spoiled) -> Tensor:
    """What each token's loss is multiplied by [B, T], so that their mean over the answers is the sum of three terms.

    1/p where it is masked; elsewhere the whole over the part that its own set, the wrong or the right, has of it.
    """
    whole = batch.weights.sum()
    wrong, right = ((batch.weights > 0) & ~batch.masked & (batch.wrong == each) for each in (True, False))
    factors = batch.masked / batch.rates
    for part in (wrong, right):
        factors = torch.where(part, whole / (batch.weights * part).sum().clamp(min=1e-9), factors)
    return factors


def refining_losses(masking: Masking) -> TokenLosses:
    """Cross entropy of each token of the answers, weighed as the three terms want it."""

    def losses(model: PreTrainedModel, batch: Batch) -> Tensor:
        assert isinstance(batch, Spoiled), "the wrong tokens are missing"
        asked = batch.weights > 0
        with short_products():
            logits = logits_at(model, batch, asked, masking)
        lost = F.cross_entropy(logits, batch.tokens[asked], reduction="none")
        return (torch.zeros(asked.shape).masked_scatter(asked, lost) * weighed(batch))[:, 1:]

    return losses


def train_refined(out: Path, mixture: Mixture, settings: Settings, begin: Path) -> Path:
    """Train a masked twin of the zoo, in `begin`, to correct what it sees; goes on where it stopped.

    Leaves `out/refined` with log and checkpoint; returns the finished model's folder in it. Raises ModelError where
    there are no weights of such a twin to begin with.
    """
    if not (begin / "model.safetensors").exists():
        raise ModelError(f"{begin} holds no weights to begin with", hint="--model zoo/masked, or a folder like it")
    model = LlamaForCausalLM.from_pretrained(begin, dtype=torch.float32, attn_implementation=SEEN)
    own = getattr(model.config, OWN, None)
    if not own:
        raise ModelError(f"{begin} is no masked twin of the zoo", hint="train one first: stretto train zoo masked")
    masking = Masking(own["mask_token_id"], own["shift"], own["block"])
    tokenizer, earlier = load_tokenizer(begin), runs_before(begin)
    batches = SpoiledBatches(mixture, tokenizer, SEED + len(earlier), masking.block)
    folder = out / "refined"
    trainer = Trainer(model, batches, refining_losses(masking), gentler(settings), folder)
    write_text(folder / EARLIER, json.dumps(earlier))
    return trained(trainer, model, tokenizer, folder)
