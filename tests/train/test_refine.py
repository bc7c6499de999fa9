"""ReDiff's first stage: which tokens are wrong, what each term counts, and the recipe."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from stretto.engine import Engine
from stretto.errors import InvalidRequest, ModelError
from stretto.models.masked import OWN, Masking
from stretto.train.masked import Noised, masked_losses
from stretto.train.refine import (
    WRONG,
    Spoiled,
    SpoiledBatches,
    refining_losses,
    spoiled,
    train_refined,
    weighed,
)
from stretto.train.tokenizer import load_tokenizer
from stretto.train.trainer import Budget, Settings

MASK = 3
QUICK = Settings(Budget(steps=1), tokens_per_step=512, tokens_at_once=256, log_steps=1)


def noisy(rows: int, size: int, vocabulary: int, prompt: int = 4) -> Noised:
    """Answers of any tokens but the mask, half of them masked."""
    generator = torch.Generator().manual_seed(rows)
    tokens = torch.randint(MASK + 1, vocabulary, (rows, size), generator=generator)
    weights, zeros = torch.ones(rows, size), torch.zeros(rows, size, dtype=torch.int64)
    weights[:, :prompt] = 0
    masked = (torch.rand(rows, size, generator=generator) < 0.5) & (weights > 0)
    return Noised(tokens, weights, zeros, zeros, masked, torch.full((rows, size), 0.5))


def sets(batch: Spoiled) -> list[torch.Tensor]:
    answer = batch.weights > 0
    return [batch.masked, batch.wrong, answer & ~batch.masked & (batch.seen(MASK) == batch.tokens)]


# -- what is wrong ------------------------------------------------------------------------------------


def test_one_visible_token_of_the_answer_in_twenty_is_replaced_by_anything_but_the_mask() -> None:
    batch = noisy(400, 104, vocabulary=64)
    found = spoiled(batch, 64, MASK, torch.Generator().manual_seed(0))
    visible = (batch.weights > 0) & ~batch.masked
    count = int(visible.sum())
    changed = found.wrong.sum() * 63 / 62  # one draw in 63 is the token that stood there, which stays right
    assert abs(float(changed) - WRONG * count) < 3 * math.sqrt(count * WRONG * (1 - WRONG))
    assert not (found.wrong & ~visible).any()
    assert torch.equal(found.seen(MASK) == MASK, batch.masked)  # no mask where none was drawn
    assert torch.equal(found.seen(MASK)[:, :4], batch.tokens[:, :4])  # the prompt is as it was
    drawn = found.shown[found.wrong]
    assert set(drawn.tolist()) == set(range(64)) - {MASK}


def test_a_token_that_is_drawn_as_it_was_stays_right() -> None:
    batch = noisy(20, 24, vocabulary=MASK + 2)  # all tokens are 4, of 0, 1, 2 and 4
    found = spoiled(batch, MASK + 2, MASK, torch.Generator().manual_seed(0), share=1.0)
    visible = (batch.weights > 0) & ~batch.masked
    right = visible & (found.shown == batch.tokens)
    assert 0 < right.sum() < visible.sum() and torch.equal(found.wrong, visible & ~right)


def test_the_three_sets_are_disjoint_and_cover_the_answer() -> None:
    found = spoiled(noisy(50, 64, vocabulary=20), 20, MASK, torch.Generator().manual_seed(1))
    parts = sets(found)
    assert all(part.any() for part in parts)
    assert torch.equal(sum(part.int() for part in parts), (found.weights > 0).int())


def test_nothing_is_replaced_at_a_share_of_none_and_shares_are_checked() -> None:
    batch = noisy(5, 24, vocabulary=20)
    found = spoiled(batch, 20, MASK, torch.Generator().manual_seed(0), share=0.0)
    assert not found.wrong.any() and torch.equal(found.seen(MASK), batch.seen(MASK))
    with pytest.raises(InvalidRequest, match="a share of"):
        spoiled(batch, 20, MASK, torch.Generator(), share=1.5)


def test_batches_are_a_function_of_their_number(mixture, tokenizer) -> None:
    one, again, other = (SpoiledBatches(mixture, tokenizer, 5).batch(number, 8, 256) for number in (1, 1, 2))
    assert torch.equal(one.shown, again.shown) and not torch.equal(one.wrong, other.wrong)
    assert one.wrong.any() and not (one.wrong & (one.weights == 0)).any()
    assert not (one.shown == tokenizer.mask_token_id).any()


# -- what is lost -------------------------------------------------------------------------------------


def test_the_mean_is_the_sum_of_three_terms() -> None:
    """Over the answer: Σ CE/p of masked ones by its size, and means of the wrong and of the right ones."""
    batch = spoiled(noisy(30, 40, vocabulary=20), 20, MASK, torch.Generator().manual_seed(1))
    lost = torch.rand(batch.tokens.shape, generator=torch.Generator().manual_seed(2))
    masked, wrong, right = sets(batch)
    answer = batch.weights.sum()
    terms = (lost[masked] / 0.5).sum() / answer + lost[wrong].mean() + lost[right].mean()
    assert float((lost * weighed(batch) * batch.weights).sum() / answer) == pytest.approx(float(terms))
    heavy = Spoiled(
        *(getattr(batch, name) for name in ("tokens", "weights", "kinds", "texts", "masked", "rates")),
        shown=batch.shown,
    )
    heavy.weights[:15] *= 0.1  # real text weighs less, within each term
    means = [(lost * heavy.weights)[part].sum() / heavy.weights[part].sum() for part in (wrong, right)]
    terms = (lost * heavy.weights)[masked].sum() / 0.5 / heavy.weights.sum() + sum(means)
    assert float((lost * weighed(heavy) * heavy.weights).sum() / heavy.weights.sum()) == pytest.approx(float(terms))


def test_every_token_of_the_answer_is_asked_for_by_what_is_seen(network) -> None:
    batch = spoiled(noisy(3, 24, vocabulary=4096), 4096, MASK, torch.Generator().manual_seed(3), share=0.5)
    with torch.no_grad():
        found = refining_losses(Masking(MASK, True))(network, batch)
        everyone = torch.ones(3, 1, 24, 24, dtype=torch.bool)
        logits = network(batch.seen(MASK), attention_mask=everyone).logits[:, :-1]
    logits[..., MASK] = -torch.inf
    lost = F.cross_entropy(logits.flatten(0, 1), batch.tokens[:, 1:].flatten(), reduction="none").view(3, 23)
    wanted = lost * weighed(batch)[:, 1:] * (batch.weights[:, 1:] > 0)
    assert torch.allclose(found, wanted, rtol=0.02, atol=0.02)  # the loss is in bfloat16


def test_without_wrong_tokens_what_is_lost_at_masks_is_the_plain_objective(network) -> None:
    batch = spoiled(noisy(3, 24, vocabulary=4096), 4096, MASK, torch.Generator(), share=0.0)
    with torch.no_grad():
        found, plain = (losses(Masking(MASK, True))(network, batch) for losses in (refining_losses, masked_losses))
    assert torch.allclose(found[batch.masked[:, 1:]], plain[batch.masked[:, 1:]], rtol=0.02)


# -- the recipe ---------------------------------------------------------------------------------------


def test_a_masked_twin_goes_on_and_decodes(mixture, tokenizer, network, tmp_path: Path) -> None:
    begin = tmp_path / "begin"
    with pytest.raises(ModelError, match="no weights"):
        train_refined(tmp_path, mixture, QUICK, begin)
    tokenizer.save_pretrained(begin)
    network.save_pretrained(begin)
    with pytest.raises(ModelError, match="no masked twin"):
        train_refined(tmp_path, mixture, QUICK, begin)
    config = json.loads((begin / "config.json").read_text())
    config[OWN] = {"mask_token_id": load_tokenizer(begin).mask_token_id, "block": None, "shift": True}
    (begin / "config.json").write_text(json.dumps(config))
    folder = train_refined(tmp_path, mixture, QUICK, begin)
    assert folder == tmp_path / "refined" / "model" and (tmp_path / "refined" / "log.jsonl").exists()
    assert json.loads((folder / "config.json").read_text())[OWN] == config[OWN]
    found = Engine.load(str(folder)).generate("2 + 2", "rediff", max_new_tokens=8)
    assert found.finish in ("end", "length")
