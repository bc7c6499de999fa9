"""Llama-shaped checkpoints that are read from their files compute what transformers computes, or are left to it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.families import GEMMA, GROUPED, MIXED, MULTIPLIERS, REACH, ROPE, TWO_ROPES, build
from stretto.models import fuse, plain
from stretto.models.checkpoint import content_of, find, weight_files
from stretto.models.eager import logits_at
from stretto.models.lean import Lean
from stretto.models.load import load
from stretto.models.network import Network
from stretto.models.shape import KINDS, config_of
from stretto.models.tensors import tensors_of

CPU = torch.device("cpu")
TOKENS = torch.tensor([[5, 6, 7, 8, 9, 10]])
PLACES = torch.tensor([[0, 1, 2, 6, 40, 127]])  # the fourth sees the third through a window of five, not the second
LONGER = {"factor": 4.0, "original_max_position_embeddings": 32}
LLAMA3 = ROPE | LONGER | {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}
YARN = ROPE | LONGER | {"rope_type": "yarn"}
SHAPES = {
    "llama": {"tie_word_embeddings": True},
    "llama of wide heads": {"head_dim": 12},
    "llama, linear": {"rope_parameters": ROPE | {"rope_type": "linear", "factor": 2.0}},
    "llama, llama3": {"rope_parameters": LLAMA3, "head_dim": 16},
    "llama, yarn": {"rope_parameters": YARN, "head_dim": 16},
    "llama, yarn by parameters": {
        "rope_parameters": YARN | {"mscale": 1.2, "mscale_all_dim": 0.8, "beta_fast": 8.0, "beta_slow": 2.0}
    },
    "mistral": {"sliding_window": None},
    "mistral, sliding": {"sliding_window": REACH},
    "qwen2": {"tie_word_embeddings": True},
    "qwen2, mixed": MIXED | {"use_sliding_window": True, "sliding_window": REACH},
    "qwen3": {"head_dim": 12},
    "phi3": {"sliding_window": REACH},
    "phi3, turning in part": {"rope_parameters": ROPE | {"partial_rotary_factor": 0.5}},
    "granite": MULTIPLIERS,
    "smollm3": {"no_rope_layers": [1, 0, 1], "tie_word_embeddings": True},
    "olmo2": {},
    "gemma": {"head_dim": 12},
    "gemma2": GEMMA | {"final_logit_softcapping": 3.0, "attn_logit_softcapping": 2.0},
    "gemma3": GEMMA | TWO_ROPES,
    "gemma3, capped": GEMMA | TWO_ROPES | {"final_logit_softcapping": 3.0},
}
CLASSES = {"smollm3": "SmolLM3", "gemma3": "Gemma3Text"}


def save(shape: str, folder: Path, dtype: torch.dtype = torch.float32):
    family = re.split(r"\W", shape)[0]
    module = build(CLASSES.get(family, family.capitalize()), **(GROUPED | SHAPES[shape])).to(dtype)
    module.save_pretrained(folder)
    return module


def read(folder: Path, dtype="auto"):
    return plain.read(content_of(folder), tensors_of(weight_files(folder)), str(folder), dtype, CPU)


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


def same(ours, theirs) -> None:
    assert (ours is None) == (theirs is None)
    assert ours is None or (torch.equal(ours.gain, theirs.gain) and torch.equal(ours.floor, theirs.floor))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_fast_path_is_the_same_by_either_reading(shape: str, tmp_path: Path) -> None:
    module = save(shape, tmp_path)
    by_files, by_module = fuse.fuse(read(tmp_path)), fuse.fuse(module)
    assert by_files.name == str(tmp_path) and by_files.parameters == by_module.parameters
    for name in ("embedding_scale", "score_cap", "logit_cap", "gelu", "max_positions"):
        assert getattr(by_files, name) == getattr(by_module, name), name
    for ours, theirs in zip(by_files.rotations, by_module.rotations, strict=True):
        assert torch.equal(ours.frequencies, theirs.frequencies) and ours.amplitude == theirs.amplitude
    for ours, theirs in zip(by_files.layers, by_module.layers, strict=True):
        assert (ours.rotation, ours.scale, ours.reach) == (theirs.rotation, theirs.scale, theirs.reach)
        for name in ("attention_norm", "attention_post", "mlp_norm", "mlp_post"):
            same(getattr(ours, name), getattr(theirs, name))
        for our_norm, their_norm in zip(ours.head_norms, theirs.head_norms, strict=True):
            same(our_norm, their_norm)
        rows = torch.linspace(-1, 1, 32)[None]
        assert torch.equal(ours.qkv(rows), theirs.qkv(rows)) and torch.equal(ours.gate_up(rows), theirs.gate_up(rows))


OLDER = {  # config.json as releases before the fifth wrote it
    "llama, llama3": {"rope_theta": 100.0, "rope_scaling": {key: LLAMA3[key] for key in LLAMA3 if key != "rope_theta"}},
    "gemma3": {
        "rope_theta": 100.0,
        "rope_local_base_freq": 20.0,
        "rope_scaling": {"rope_type": "linear", "factor": 2.0},
        "layer_types": None,
        "sliding_window_pattern": 2,
        "tie_word_embeddings": None,
    },
    "phi3, turning in part": {"rope_theta": 100.0, "rope_scaling": None, "partial_rotary_factor": 0.5},
    "smollm3": {"rope_theta": 100.0, "no_rope_layers": None, "no_rope_layer_interval": 2, "layer_types": None},
    "gemma2": {"rope_theta": 100.0, "layer_types": None},
}


@pytest.mark.parametrize("shape", OLDER)
def test_older_files_are_read_as_transformers_reads_them(shape: str, tmp_path: Path) -> None:
    save(shape, tmp_path)
    content = content_of(tmp_path)
    del content["rope_parameters"]
    content |= OLDER[shape]
    (tmp_path / "config.json").write_text(
        json.dumps({key: content[key] for key in content if content[key] is not None})
    )
    mine, theirs = read(tmp_path, torch.float32), load(tmp_path, fast=False).model.module
    with torch.no_grad():
        torch.testing.assert_close(mine.logits_at(TOKENS, PLACES), logits_at(theirs, TOKENS, PLACES), atol=2e-5, rtol=0)


def test_the_page_names_what_is_read_from_files_alone() -> None:
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    told = page.partition("`model_type` is one of")[2].partition(", if their")[0]
    assert re.findall(r"`(\w+)`", told) == sorted(KINDS)


KEEPS = {
    "key of its own": {"expert_count": 3},
    "another activation": {"hidden_act": "gelu"},
    "a rotation by the length": {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 100.0, "factor": 2.0}},
    "a rotation in part": {"rope_parameters": {"rope_theta": 100.0, "partial_rotary_factor": 0.5}},
    "a rotation that says more": {"rope_parameters": {"rope_theta": 100.0, "factor": 2.0}},
    "rotations by type": {"rope_parameters": {"full_attention": {"rope_theta": 100.0}}},
    "old scaled rotation": {"rope_parameters": None, "rope_theta": 100.0, "rope_scaling": {"type": "linear"}},
    "no base of the rotation": {"rope_parameters": None},
    "quantised": {"quantization_config": {"bits": 4}},
    "biases": {"attention_bias": True},
    "a window": {"sliding_window": 5},
    "layers of a type": {"layer_types": ["full_attention"] * 3},
    "another scale": {"attention_multiplier": 2.0},
    "no heads": {"num_attention_heads": 0},
    "heads in halves": {"num_key_value_heads": 1.5},
    "another kind": {"model_type": "helium"},
}


@pytest.mark.parametrize("change", KEEPS)
def test_what_is_not_known_is_left_to_transformers(change: str, tmp_path: Path) -> None:
    save("llama", tmp_path)
    content = content_of(tmp_path)
    assert config_of(content, "") is not None
    assert config_of(content | KEEPS[change], "") is None


@pytest.mark.parametrize("key", ["eos_token_id", "sliding_window"])
def test_what_transformers_has_a_usual_value_for_must_be_named(key: str, tmp_path: Path) -> None:
    save("mistral", tmp_path)
    content = content_of(tmp_path)
    assert config_of(content, "") is not None
    del content[key]
    assert config_of(content, "") is None


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
