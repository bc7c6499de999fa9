"""The masked twins' recipe: what is masked and weighed, who sees whom in training, and the bound on likelihood."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import LlamaForCausalLM

from stretto.diffuse.canvas import Span
from stretto.diffuse.evaluator import CanvasEvaluator
from stretto.diffuse.refresh.contract import Plan
from stretto.diffuse.views import CanvasView
from stretto.engine import Engine
from stretto.errors import InvalidRequest, ModelError
from stretto.models.contract import masking_of
from stretto.models.load import load
from stretto.models.masked import OWN, Masking
from stretto.models.table import ExactJoint
from stretto.train.batches import KINDS
from stretto.train.export import export_zoo
from stretto.train.masked import (
    EPSILON,
    SEEN,
    TEXT_WEIGHT,
    MaskedBatches,
    Noised,
    bound,
    masked_logits,
    masked_losses,
    nll_bound,
    noised,
    places,
    train_masked,
)
from stretto.train.trainer import Budget, Settings, Trainer
from stretto.train.zoo import draft_config, train_target

MASK = 3
QUICK = Settings(Budget(steps=2), tokens_per_step=512, tokens_at_once=512, log_steps=1)


def by_hand(tokens: torch.Tensor, masked: torch.Tensor, rates: torch.Tensor | None = None) -> Noised:
    """One text a row, everything but the first token eligible."""
    weights = torch.ones(tokens.shape)
    weights[:, 0] = 0
    zeros = torch.zeros_like(tokens)
    return Noised(tokens, weights, zeros, zeros, masked, torch.ones(tokens.shape) if rates is None else rates)


# -- batches ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [None, 8])
def test_questions_are_never_masked_and_answers_are_followed_by_masked_ends(mixture, tokenizer, block) -> None:
    batches = MaskedBatches(mixture, tokenizer, 5, block)
    end, assistant = (tokenizer.convert_tokens_to_ids(mark) for mark in ("<|end|>", "<|assistant|>"))
    ends = 0
    for number in range(3):
        batch = batches.batch(number, 16, 256)
        assert not (batch.masked & (batch.weights == 0)).any()
        assert not (batch.masked & (places(batch.texts) == 0)).any()
        for row, kinds in zip(range(16), batch.kinds, strict=True):
            for text in batch.texts[row].unique():
                here = (batch.texts[row] == text).nonzero()[:, 0]
                if kinds[here[0]] >= KINDS.index("prose"):
                    continue
                tokens, weights = batch.tokens[row, here].tolist(), batch.weights[row, here].tolist()
                head = tokens.index(assistant) + 1
                assert weights == [0.0] * head + [1.0] * (len(tokens) - head) and tokens[-1] == end
                assert block is None or len(tokens) % block == 0
                ends += tokens[-2:] == [end, end] and bool(batch.masked[row, here[-1]])
    assert ends > 10
    again = MaskedBatches(mixture, tokenizer, 5, block).batch(2, 16, 256)
    assert torch.equal(again.masked, batch.masked) and torch.equal(again.rates, batch.rates)


def test_rates_are_one_for_each_text_or_block_and_stratified(mixture, tokenizer) -> None:
    for block in (None, 8):
        batch = MaskedBatches(mixture, tokenizer, 5, block).batch(0, 16, 256)
        inside = places(batch.texts)
        units: dict[tuple[int, ...], set[float]] = {}
        for row, place in np.ndindex(*batch.rates.shape):
            unit = (row, int(batch.texts[row, place]), int(inside[row, place]) // block if block else 0)
            units.setdefault(unit, set()).add(float(batch.rates[row, place]))
        assert all(len(rates) == 1 for rates in units.values())
        times = sorted((min(rates) - EPSILON) / (1 - EPSILON) for rates in units.values())
        assert all(at / len(times) - 1e-6 <= time <= (at + 1) / len(times) + 1e-6 for at, time in enumerate(times))


def test_the_weights_of_masks_add_up_to_the_tokens_on_average() -> None:
    generator = torch.Generator().manual_seed(0)
    parts, eligible = torch.arange(400)[:, None].expand(400, 25), torch.rand(400, 25, generator=generator) < 0.8
    sums = []
    for _ in range(50):
        rates, masked = noised(parts, eligible, generator)
        assert not (masked & ~eligible).any() and rates.min() >= EPSILON
        sums.append(float((masked / rates).sum() / eligible.sum()))
    assert abs(sum(sums) / len(sums) - 1) < 0.02
    clipped, _ = noised(parts, eligible, generator, (0.3, 0.8))
    assert 0.3 <= clipped.min() < 0.32 and 0.78 < clipped.max() <= 0.81
    with pytest.raises(InvalidRequest, match="noise"):
        MaskedBatches.__init__(MaskedBatches.__new__(MaskedBatches), None, None, 0, noise=(0.8, 0.3))


def test_places_count_within_each_text() -> None:
    texts = torch.tensor([[0, 0, 0, 1, 1, 2], [0, 1, 1, 1, 1, 1]])
    assert places(texts).tolist() == [[0, 1, 2, 0, 1, 0], [0, 0, 1, 2, 3, 4]]


# -- who sees whom ----------------------------------------------------------------------------------


def test_blocks_of_one_all_masked_are_next_token_prediction(network) -> None:
    tokens = torch.randint(7, 4096, (2, 24), generator=torch.Generator().manual_seed(1))
    masked = torch.ones_like(tokens, dtype=torch.bool)
    masked[:, 0] = False
    with torch.no_grad():
        logits = masked_logits(network, by_hand(tokens, masked), Masking(MASK, True, 1))
        plain = (
            network(tokens, attention_mask=torch.ones(24, 24).tril().bool()[None, None]).logits[:, :-1].flatten(0, 1)
        )
        loss = masked_losses(Masking(MASK, True, 1))(network, by_hand(tokens, masked)).mean()
    plain[:, MASK] = -torch.inf
    assert torch.allclose(logits, plain, atol=1e-5)
    assert abs(float(loss) - float(F.cross_entropy(plain, tokens[:, 1:].flatten()))) < 0.05  # the loss is in bfloat16


@pytest.mark.parametrize(("block", "shift"), [(None, True), (1, True), (4, True), (8, True), (None, False), (4, False)])
def test_training_sees_what_decoding_sees(network, tokenizer, tmp_path, block, shift) -> None:
    network.config.stretto_diffusion = {"mask_token_id": MASK, "block": block, "shift": shift}
    network.save_pretrained(tmp_path)
    model = load(tmp_path).model
    masking = masking_of(model)
    assert masking is not None and masking.block == block and masking.shift == shift
    generator = torch.Generator().manual_seed(2)
    tokens = torch.randint(7, 4096, (1, 27), generator=generator)
    masked = torch.rand(1, 27, generator=generator) < 0.6
    masked[:, 0] = False
    with torch.no_grad():
        trained = masked_logits(network, by_hand(tokens, masked), masking)
    evaluator = CanvasEvaluator(model, masking, model.new_cache(1))
    at = masked[0].nonzero()[:, 0].numpy()
    for number in range(-(-27 // (block or 27))):  # the blocks before are clean, and this one bears its masks
        span = Span(number * (block or 27), min(27, (number + 1) * (block or 27)))
        wanted = at[(at >= span.start) & (at < span.end)]
        if len(wanted):
            ids = tokens[0].numpy().copy()
            ids[wanted] = MASK
            view = CanvasView(evaluator.open(), ids[: span.end], Plan(np.arange(span.end)), span, wanted)
            logits, _ = evaluator.evaluate([view])
            assert torch.allclose(logits, trained[torch.from_numpy(np.isin(at, wanted))], atol=1e-4)
            evaluator.close(view.memory)


def test_texts_of_a_row_do_not_see_each_other(network) -> None:
    tokens = torch.randint(7, 4096, (1, 20), generator=torch.Generator().manual_seed(3))
    masked = torch.zeros(1, 20, dtype=torch.bool)
    masked[0, [3, 7, 12, 13, 18]] = True
    texts = torch.tensor([[0] * 9 + [1] * 11])
    for block in (None, 4):
        with torch.no_grad():
            whole = masked_logits(network, replace(by_hand(tokens, masked), texts=texts), Masking(MASK, True, block))
            parts = [
                masked_logits(network, by_hand(tokens[:, here], masked[:, here]), Masking(MASK, True, block))
                for here in (slice(0, 9), slice(9, 20))
            ]
        assert torch.allclose(whole, torch.cat(parts), atol=1e-4)


def test_losses_are_weighed_by_the_rate_and_stand_at_their_places(network) -> None:
    tokens = torch.randint(7, 4096, (2, 16), generator=torch.Generator().manual_seed(4))
    masked = torch.zeros(2, 16, dtype=torch.bool)
    masked[0, [2, 9]] = masked[1, 5] = True
    one = masked_losses(Masking(MASK, True))(network, by_hand(tokens, masked))
    half = masked_losses(Masking(MASK, True))(network, by_hand(tokens, masked, torch.full((2, 16), 0.5)))
    assert one.nonzero().tolist() == [[0, 1], [0, 8], [1, 4]]
    assert torch.allclose(half, 2 * one)


# -- the bound --------------------------------------------------------------------------------------


def speaks(world: ExactJoint):
    """Log-probabilities of each position of the joint, for each canvas [N, L]."""

    def ask(canvases: torch.Tensor) -> torch.Tensor:
        rows = [
            [
                world.says(world.prompt + at, {world.prompt + i: int(t) for i, t in enumerate(canvas)})
                for at in range(len(canvas))
            ]
            for canvas in canvases
        ]
        return torch.tensor(rows, dtype=torch.float64).log_softmax(-1)

    return ask


def test_two_tokens_that_agree_cost_ln_two() -> None:
    world = ExactJoint(torch.tensor([[0.5, 0.0], [0.0, 0.5]]))
    tokens, masks = torch.tensor([1, 1]), torch.tensor([[True, False], [False, True], [True, True]])
    assert bound(speaks(world), tokens, masks, 2, 2).tolist() == pytest.approx([0.0, 0.0, 2 * math.log(2)])
    sampled = nll_bound(speaks(world), tokens, torch.ones(2, dtype=torch.bool), 2)  # half of the draws mask both
    assert sampled == pytest.approx(math.log(2))


def test_exact_conditionals_make_the_bound_tight() -> None:
    joint = torch.rand(3, 3, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) ** 3
    world, tokens = ExactJoint(joint), torch.tensor([2, 0, 1, 1])
    exact = 0.0
    for count in range(1, 5):  # each number of masks is as likely, and each set of so many
        sets = [[at in chosen for at in range(4)] for chosen in itertools.combinations(range(4), count)]
        exact += float(bound(speaks(world), tokens, torch.tensor(sets), 4, 3).mean()) / 4
    truth = -math.log(float(world.joint[2, 0, 1, 1]))
    assert exact == pytest.approx(truth)
    eligible = torch.tensor([False, True, True, True])  # of the rest, given the first
    given = truth + math.log(float(world.joint[2].sum()))
    assert nll_bound(speaks(world), tokens, eligible, 3, draws=3000) == pytest.approx(given, abs=0.05)
    with pytest.raises(InvalidRequest, match="0 tokens"):
        nll_bound(speaks(world), tokens, torch.zeros(4, dtype=torch.bool), 3)


# -- the recipe -------------------------------------------------------------------------------------


def test_twins_are_trained_and_exported_and_decode(mixture, tokenizer, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("stretto.train.zoo.target_config", draft_config)
    monkeypatch.setattr("stretto.train.export.MASKED_QUESTIONS", 2)
    monkeypatch.setattr("stretto.train.measure.tasks", lambda: ["sql"])
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    with pytest.raises(ModelError, match="no weights to begin with"):
        train_masked(tmp_path, mixture, QUICK)
    train_target(tmp_path, mixture, QUICK)
    (tmp_path / "accuracy.json").write_text('{"target": {}}')
    for block in (None, 8):
        train_masked(tmp_path, mixture, QUICK, block)
    folder = export_zoo(tmp_path)
    assert json.loads((tmp_path / "accuracy.json").read_text())["block"]["sql"]["asked"] == 2
    for name, block in (("masked", None), ("block", 8)):
        content = json.loads((folder / name / "config.json").read_text())
        assert content[OWN] == {"mask_token_id": tokenizer.mask_token_id, "block": block, "shift": True}
        card = (folder / name / "README.md").read_text()
        assert "one token a step" in card and "| sql |" in card and "upper bound" in card
        found = Engine.load(str(folder / name)).generate("2 + 2", "bd3lm" if block else "llada", max_new_tokens=16)
        assert found.finish in ("end", "length") and MASK not in found.tokens


def test_a_twin_that_was_trained_goes_on(mixture, tokenizer, tmp_path: Path) -> None:
    """And keeps what its mask means: only causal weights know nothing of it."""
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    train_target(tmp_path, mixture, QUICK)
    begin = train_masked(tmp_path, mixture, QUICK)
    (begin / "training.json").write_text(json.dumps([{"steps": 2, "minutes": 1}]))
    none = replace(QUICK, budget=Budget(steps=1), muon_rate=0.0, adam_rate=0.0)
    again = train_masked(tmp_path / "again", mixture, none, begin=begin)
    before, after = (
        LlamaForCausalLM.from_pretrained(folder).get_input_embeddings().weight for folder in (begin, again)
    )
    assert torch.equal(before[MASK], after[MASK])
    assert json.loads((tmp_path / "again/masked/training.json").read_text()) == [{"steps": 2, "minutes": 1}]


def test_real_text_weighs_little(mixture, tokenizer) -> None:
    batch = MaskedBatches(mixture, tokenizer, 1).batch(0, 8, 256)
    real = torch.isin(batch.kinds, torch.tensor([KINDS.index("prose"), KINDS.index("code")]))
    assert real.any() and batch.weights[real].unique().tolist() == pytest.approx([0.0, TEXT_WEIGHT])
    assert set(batch.weights[~real].unique().tolist()) == {0.0, 1.0}


def test_the_loss_falls(mixture, tokenizer, network, tmp_path: Path) -> None:
    settings = replace(QUICK, budget=Budget(steps=24), warmup_steps=2, log_steps=4)
    torch.manual_seed(0)
    model = LlamaForCausalLM(draft_config(tokenizer))
    model.set_attn_implementation(SEEN)
    Trainer(model, MaskedBatches(mixture, tokenizer, 1), masked_losses(Masking(MASK, True)), settings, tmp_path).run()
    log = [json.loads(line)["loss"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert log[-1] < log[0] - 0.5
