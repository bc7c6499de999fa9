"""The recipes from the first step to folders that load anywhere."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from stretto import gym
from stretto.cli import main
from stretto.errors import ModelError
from stretto.gym.mixture import Mixture
from stretto.train.batches import Batches
from stretto.train.export import export_zoo
from stretto.train.measure import answers
from stretto.train.trainer import Budget, Settings
from stretto.train.zoo import distilled_from, draft_config, target_config, text_losses, train_draft, train_target

QUICK = Settings(Budget(steps=2), tokens_per_step=512, tokens_at_once=512, log_steps=1)


def test_target_and_draft_are_trained_and_exported(mixture, tokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    with pytest.raises(ModelError, match="train zoo target"):
        export_zoo(tmp_path)
    train_target(tmp_path, mixture, QUICK)
    train_draft(tmp_path, mixture, QUICK)
    one = {kind: {"right": 1, "asked": 2, "answer_tokens": 30.0} for kind in gym.tasks()}
    (tmp_path / "accuracy.json").write_text(json.dumps({"target": one, "draft": one}))
    folder = export_zoo(tmp_path)
    models = {name: AutoModelForCausalLM.from_pretrained(folder / name) for name in ("causal", "draft")}
    assert all(model.dtype == torch.float16 for model in models.values())
    assert models["draft"].num_parameters() <= models["causal"].num_parameters() / 8
    vocabularies = [AutoTokenizer.from_pretrained(folder / name).get_vocab() for name in models]
    assert vocabularies[0] == vocabularies[1] == tokenizer.get_vocab()
    assert "| copy_edit | 50 % | 30 |" in (folder / "causal" / "README.md").read_text()
    went_on = _gone_on_from(folder / "causal", mixture, tmp_path / "again")
    told = (went_on / "causal" / "README.md").read_text()
    assert re.search(r"2 steps of 4096 tokens in \d+ minutes, then 3 steps", told)


def _gone_on_from(begin: Path, mixture: Mixture, out: Path) -> Path:
    """Three more steps from finished weights: near them, but not they."""
    train_target(out, mixture, replace(QUICK, budget=Budget(steps=3)), begin=begin)
    train_draft(out, mixture, QUICK)
    one = {kind: {"right": 1, "asked": 2, "answer_tokens": 30.0} for kind in gym.tasks()}
    (out / "accuracy.json").write_text(json.dumps({"target": one, "draft": one}))
    folder = export_zoo(out)
    before, after = (
        AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).lm_head.weight
        for path in (begin, folder / "causal")
    )
    assert not torch.equal(before, after) and (before - after).abs().mean() < 0.1 * before.abs().mean()
    with pytest.raises(ModelError, match="no weights to begin with"):
        train_target(out, mixture, QUICK, begin=out)
    return folder


def test_training_attention_equals_the_models_own(mixture, tokenizer) -> None:
    torch.manual_seed(0)
    trained, plain = (LlamaForCausalLM(draft_config(tokenizer)) for _ in range(2))
    plain.load_state_dict(trained.state_dict())
    plain.set_attn_implementation("eager")
    tokens = Batches(mixture, tokenizer, 0).batch(0, 2, 128).tokens
    with torch.no_grad():
        assert torch.allclose(trained(tokens).logits, plain(tokens).logits, atol=1e-5)


def test_losses_stand_where_tokens_are_asked_for(mixture, tokenizer) -> None:
    batch = Batches(mixture, tokenizer, 0).batch(0, 2, 128)
    model = LlamaForCausalLM(draft_config(tokenizer))
    losses = text_losses(model, batch)
    assert losses.shape == (2, 127)
    assert torch.equal(losses > 0, batch.weights[:, 1:] > 0)
    with torch.no_grad():
        logits = model(batch.tokens).logits[:, :-1].flatten(0, 1)
    slow = torch.nn.functional.cross_entropy(logits, batch.tokens[:, 1:].flatten(), reduction="none").view(2, 127)
    asked = batch.weights[:, 1:] > 0
    assert torch.allclose(losses[asked], slow[asked], atol=0.05)  # bfloat16 against float32


def test_a_student_that_equals_its_teacher_only_pays_for_the_text(mixture, tokenizer) -> None:
    batch = Batches(mixture, tokenizer, 0).batch(0, 2, 128)
    model = LlamaForCausalLM(draft_config(tokenizer))
    assert torch.allclose(distilled_from(model)(model, batch), 0.2 * text_losses(model, batch), atol=1e-4)


def test_a_batch_of_replies_equals_one_by_one(tokenizer) -> None:
    torch.manual_seed(1)
    model = LlamaForCausalLM(draft_config(tokenizer)).eval()
    model.set_attn_implementation("sdpa")
    model.generation_config.eos_token_id = list(range(0, len(tokenizer), 7))  # an untrained model would never end
    asked = list(gym.questions("list_edit", "test", 3))
    assert answers(model, tokenizer, asked) == [answers(model, tokenizer, [one])[0] for one in asked]


def test_the_command_reports_mistakes_in_one_line(tmp_path: Path, capsys) -> None:
    assert main(["train", "zoo", "export", "--out", str(tmp_path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_target_has_the_planned_size(tokenizer) -> None:
    with torch.device("meta"):
        assert 3e6 < LlamaForCausalLM(target_config(tokenizer)).num_parameters() < 10e6
