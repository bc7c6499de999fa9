"""Training lowers the loss, follows its budget, and goes on after a stop exactly where it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from stretto.errors import InvalidRequest
from stretto.train.batches import Batches
from stretto.train.trainer import Budget, Settings, Trainer
from stretto.train.zoo import text_losses

STEPS = 6


def small_model(vocabulary: int) -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            tie_word_embeddings=True,
        )
    )


@pytest.fixture(scope="module")
def batches(mixture, tokenizer) -> Batches:
    return Batches(mixture, tokenizer, seed=1)


def settings(**changes: object) -> Settings:
    usual: dict[str, object] = {
        "budget": Budget(steps=STEPS),
        "tokens_per_step": 512,
        "tokens_at_once": 256,
        "warmup_steps": 2,
        "log_steps": 2,
        "checkpoint_seconds": 0.0,
    }
    return Settings(**(usual | changes))


def test_a_stopped_run_ends_like_one_that_never_stopped(batches, tokenizer, tmp_path: Path) -> None:
    whole = small_model(len(tokenizer))
    Trainer(whole, batches, text_losses, settings(), tmp_path / "whole").run()
    calls = 0

    def killed(model, batch):
        nonlocal calls
        calls += 1
        if calls == 2 * STEPS // 2 + 1:  # two passes a step: in the middle of the fourth
            raise KeyboardInterrupt
        return text_losses(model, batch)

    stopped = small_model(len(tokenizer))
    with pytest.raises(KeyboardInterrupt):
        Trainer(stopped, batches, killed, settings(), tmp_path / "stopped").run()
    resumed = small_model(len(tokenizer))
    trainer = Trainer(resumed, batches, text_losses, settings(), tmp_path / "stopped")
    assert trainer.step == STEPS // 2
    trainer.run()
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_loss_falls_and_is_logged_by_kind(batches, tokenizer, tmp_path: Path) -> None:
    model = small_model(len(tokenizer))
    Trainer(model, batches, text_losses, settings(budget=Budget(steps=30)), tmp_path).run()
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [record["step"] for record in log] == list(range(2, 31, 2))
    assert log[-1]["loss"] < log[0]["loss"] - 0.5
    assert {"prose", "code"} <= set(log[0]["kinds"])


def test_the_budget_is_whichever_limit_comes_first() -> None:
    assert Budget(minutes=2, steps=100).used(seconds=60, step=10) == 0.5
    assert Budget(minutes=2, steps=100).used(seconds=6, step=100) == 1.0
    with pytest.raises(InvalidRequest, match="minutes"):
        Budget().used(1.0, 1)
