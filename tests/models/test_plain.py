"""Llama-shaped checkpoints that are read from their files compute what transformers computes, or are left to it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.families import GROUPED, build
from stretto.models import fuse, plain
from stretto.models.checkpoint import content_of, find, weight_files
from stretto.models.eager import logits_at
from stretto.models.lean import Lean
from stretto.models.load import load
from stretto.models.network import Network

CPU = torch.device("cpu")
TOKENS = torch.tensor([[5, 6, 7, 8, 9, 10]])
PLACES = torch.tensor([[0, 1, 2, 9, 40, 127]])
SHAPES = {
    "llama": {"tie_word_embeddings": True},
    "llama of wide heads": {"head_dim": 12},
    "mistral": {"sliding_window": None},
    "qwen2": {"tie_word_embeddings": True},
    "qwen3": {"head_dim": 12},
}
CLASSES = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3"}


def save(shape: str, folder: Path, dtype: torch.dtype = torch.float32):
    module = build(CLASSES[shape.split()[0]], **GROUPED, **SHAPES[shape]).to(dtype)
    module.save_pretrained(folder)
    return module


def read(folder: Path, dtype="auto"):
    return plain.read(folder, content_of(folder), weight_files(folder), dtype, CPU)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_it_computes_what_transformers_computes(shape: str, dtype: torch.dtype, tmp_path: Path) -> None:
    module = save(shape, tmp_path, dtype)
    mine = read(tmp_path)
    with torch.no_grad():
        ours, theirs = mine.logits_at(TOKENS, PLACES), logits_at(module, TOKENS, PLACES)
    torch.testing.assert_close(ours, theirs, atol=2e-5 if dtype is torch.float32 else 0.15, rtol=0)
    assert ours.dtype is torch.float32 and mine.lm_head.weight.dtype is dtype
    assert sum(map(torch.numel, mine.parameters())) == sum(map(torch.numel, module.parameters()))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_fast_path_is_the_same_by_either_reading(shape: str, tmp_path: Path) -> None:
    module = save(shape, tmp_path)
    by_files, by_module = fuse.fuse(read(tmp_path)), fuse.fuse(module)
    assert by_files.name == str(tmp_path) and by_files.parameters == by_module.parameters
    for ours, theirs in zip(by_files.rotations, by_module.rotations, strict=True):
        assert torch.equal(ours.frequencies, theirs.frequencies) and ours.amplitude == theirs.amplitude
    for ours, theirs in zip(by_files.layers, by_module.layers, strict=True):
        assert (ours.rotation, ours.scale, ours.reach) == (theirs.rotation, theirs.scale, theirs.reach)
        assert torch.equal(ours.mlp_norm.gain, theirs.mlp_norm.gain)
        rows = torch.linspace(-1, 1, 32)[None]
        assert torch.equal(ours.qkv(rows), theirs.qkv(rows)) and torch.equal(ours.gate_up(rows), theirs.gate_up(rows))


KEEPS = {
    "key of its own": {"expert_count": 3},
    "another activation": {"hidden_act": "gelu"},
    "scaled rotation": {"rope_parameters": {"rope_type": "linear", "rope_theta": 100.0, "factor": 2.0}},
    "old scaled rotation": {"rope_parameters": None, "rope_theta": 100.0, "rope_scaling": {"type": "linear"}},
    "no base of the rotation": {"rope_parameters": None},
    "quantised": {"quantization_config": {"bits": 4}},
    "biases": {"attention_bias": True},
    "a window": {"sliding_window": 5},
    "no heads": {"num_attention_heads": 0},
    "heads in halves": {"num_key_value_heads": 1.5},
    "another kind": {"model_type": "granite"},
}


@pytest.mark.parametrize("change", KEEPS)
def test_what_is_not_known_is_left_to_transformers(change: str, tmp_path: Path) -> None:
    save("llama", tmp_path)
    content = content_of(tmp_path)
    assert plain.config_of(content, "") is not None
    assert plain.config_of(content | KEEPS[change], "") is None


@pytest.mark.parametrize("key", ["eos_token_id", "sliding_window"])
def test_what_transformers_has_a_usual_value_for_must_be_named(key: str, tmp_path: Path) -> None:
    save("mistral", tmp_path)
    content = content_of(tmp_path)
    assert plain.config_of(content, "") is not None
    del content[key]
    assert plain.config_of(content, "") is None


def test_other_weights_are_left_to_transformers(tmp_path: Path) -> None:
    save("qwen3", tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    others = [
        {key: value for key, value in weights.items() if key != name},
        weights | {name: weights[name][1:].contiguous()},
        weights | {name: weights[name].to(torch.int8)},
        weights | {"model.layers.1.mlp.gate.weight": weights[name].clone()},
    ]
    for changed in [*others, weights]:
        save_file(changed, tmp_path / "model.safetensors", metadata={"format": "pt"})
        assert (read(tmp_path) is not None) is (changed is weights)


def test_a_wrong_fast_path_is_found_without_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save("llama", tmp_path)
    assert isinstance(load(tmp_path).model, Lean)
    right = Lean._gated
    monkeypatch.setattr(Lean, "_gated", lambda self, gate: right(self, gate) * 1.01)
    loaded = load(tmp_path)
    assert isinstance(loaded.model, Network) and "differ" in loaded.slow_because


SCRIPT = """
import sys, stretto
for name in ("zoo/draft", "zoo/masked"):
    stretto.load(name).generate("Once upon a time", max_new_tokens=2)
assert "transformers" not in sys.modules
"""


def test_the_zoo_needs_no_transformers() -> None:
    subprocess.run([sys.executable, "-c", SCRIPT], check=True)


def test_the_zoo_is_as_transformers_reads_it() -> None:
    folder = find("zoo/draft")
    mine, theirs = read(folder, torch.float32), load(folder, fast=False).model.module
    with torch.no_grad():
        ours = mine.logits_at(TOKENS, PLACES)
    torch.testing.assert_close(ours, logits_at(theirs, TOKENS, PLACES), atol=2e-5, rtol=0)
    assert json.loads((folder / "config.json").read_text())["model_type"] == "llama"
