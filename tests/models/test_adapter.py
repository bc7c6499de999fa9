"""Low-rank adapters are merged as their formula says, wherever they stand, or are refused."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import stretto
from models.families import GROUPED, build
from models.gguf_files import network, pairs_of, rounded, tensors_of
from models.gguf_files import write as write_gguf
from models.packed_files import Compressed, repack
from stretto import zoo
from stretto.cli import main
from stretto.errors import InvalidRequest, ModelError, Unsupported
from stretto.models.lean import Lean
from stretto.models.load import load, opened

CPU = torch.device("cpu")
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
QUERIES, DOWN = "model.layers.1.self_attn.q_proj", "model.layers.0.mlp.down_proj"
TABLE, HEAD, NORM = "model.embed_tokens", "lm_head", "model.layers.1.input_layernorm"
SAID = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 12, "target_modules": ["q_proj"]}


def numbers(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))) * 0.3


def low_rank(owner: str, outputs: int, inputs: int, rank: int = 4) -> dict[str, Tensor]:
    return {f"{owner}.lora_A.weight": numbers(rank, inputs), f"{owner}.lora_B.weight": numbers(outputs, rank)}


def product(parts: dict[str, Tensor], owner: str) -> Tensor:
    """B A in float64."""
    return parts[f"{owner}.lora_B.weight"].double() @ parts[f"{owner}.lora_A.weight"].double()


def write(folder: Path, tensors: dict[str, Tensor], **said: Any) -> None:
    folder.mkdir(exist_ok=True)
    save_file({f"base_model.model.{name}": tensor for name, tensor in tensors.items()}, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(SAID | said))


BOTH = low_rank(QUERIES, 32, 32) | low_rank(DOWN, 32, 48)


def checkpoint(folder: Path, family: str = "Llama", **sizes: Any) -> dict[str, Tensor]:
    """A small checkpoint and its weights."""
    module = build(family, **((GROUPED if family != "GPT2" else {}) | sizes))
    module.save_pretrained(folder)
    return {name: weight.double() for name, weight in module.state_dict().items()}


def merged(name: Path, **options: Any) -> Any:
    """The network of a checkpoint with its adapter, before it is fused."""
    held = opened(name, **options)
    return held.plain(None, torch.float32, CPU) or held.stock(None, torch.float32, CPU)


def same(module: Any, weights: dict[str, Tensor]) -> None:
    """Whether the weights of a network are these."""
    found = module.state_dict()
    assert found.keys() == weights.keys()
    for name, weight in weights.items():
        torch.testing.assert_close(found[name].double(), weight, atol=1e-6, rtol=1e-6)


SCALES: dict[str, tuple[dict[str, Any], float, float]] = {  # what it says, and what the two products are multiplied by
    "alpha by rank": ({}, 3.0, 3.0),
    "alpha by the root of the rank": ({"use_rslora": True}, 6.0, 6.0),
    "alpha by pattern": ({"alpha_pattern": {r"layers\.1\..*": 2, "down": 8, "down_proj": 20}}, 0.5, 5.0),
    "the first pattern that matches": ({"alpha_pattern": {"self_attn.q_proj": 4, "q_proj": 8, "proj": 9}}, 1.0, 3.0),
}


@pytest.mark.parametrize("scale", SCALES)
def test_products_are_scaled(scale: str, tmp_path: Path) -> None:
    weights = checkpoint(tmp_path / "base")
    said, of_queries, of_down = SCALES[scale]
    write(tmp_path / "adapter", BOTH, base_model_name_or_path=str(tmp_path / "base"), **said)
    changed = {
        f"{QUERIES}.weight": weights[f"{QUERIES}.weight"] + of_queries * product(BOTH, QUERIES),
        f"{DOWN}.weight": weights[f"{DOWN}.weight"] + of_down * product(BOTH, DOWN),
    }
    same(merged(tmp_path / "adapter"), weights | changed)


def test_ranks_may_differ_by_pattern_and_must_be_those_that_are_said(tmp_path: Path) -> None:
    weights = checkpoint(tmp_path / "base")
    tensors = low_rank(QUERIES, 32, 32, 2) | low_rank(DOWN, 32, 48)
    write(tmp_path / "adapter", tensors, rank_pattern={"q_proj": 2})
    changed = weights[f"{QUERIES}.weight"] + 6 * product(tensors, QUERIES)
    changed_down = weights[f"{DOWN}.weight"] + 3 * product(tensors, DOWN)
    module = merged(tmp_path / "base", adapter=tmp_path / "adapter")
    same(module, weights | {f"{QUERIES}.weight": changed, f"{DOWN}.weight": changed_down})
    write(tmp_path / "adapter", tensors)
    with pytest.raises(ModelError, match=r"rank 2 at .*q_proj"):
        load(tmp_path / "base", adapter=tmp_path / "adapter")


def test_magnitudes_give_outputs_their_length(tmp_path: Path) -> None:
    weights = checkpoint(tmp_path / "base")
    lengths = numbers(32).abs() + 1
    write(
        tmp_path / "adapter", low_rank(QUERIES, 32, 32) | {f"{QUERIES}.lora_magnitude_vector": lengths}, use_dora=True
    )
    changed = weights[f"{QUERIES}.weight"] + 3 * product(BOTH, QUERIES)
    changed *= (lengths.double() / changed.norm(dim=1))[:, None]
    same(merged(tmp_path / "base", adapter=tmp_path / "adapter"), weights | {f"{QUERIES}.weight": changed})


def test_matrices_that_lie_transposed_are_changed_transposed(tmp_path: Path) -> None:
    weights = checkpoint(tmp_path / "base", "GPT2")
    owner = "transformer.h.1.attn.c_attn"
    tensors, lengths = low_rank(owner, 96, 32), numbers(96).abs() + 1
    write(tmp_path / "adapter", tensors | {f"{owner}.lora_magnitude_vector.weight": lengths})
    changed = weights[f"{owner}.weight"].T + 3 * product(tensors, owner)
    changed *= (lengths.double() / changed.norm(dim=1))[:, None]
    same(merged(tmp_path / "base", adapter=tmp_path / "adapter"), weights | {f"{owner}.weight": changed.T})


def test_whole_weights_and_biases_stand_instead(tmp_path: Path) -> None:
    weights = checkpoint(tmp_path / "base", "Qwen2")
    tensors = low_rank(QUERIES, 32, 32) | {
        f"{QUERIES}.lora_B.bias": numbers(32),
        f"{QUERIES}.base_layer.bias": numbers(32) + 1,
        f"{NORM}.weight": numbers(32),
        f"{HEAD}.weight": numbers(97, 32),
    }
    write(tmp_path / "adapter", tensors, bias="all", lora_bias=True)
    changed = {
        f"{QUERIES}.weight": weights[f"{QUERIES}.weight"] + 3 * product(tensors, QUERIES),
        f"{QUERIES}.bias": numbers(32).double() * 4 + 1,
        f"{NORM}.weight": numbers(32).double(),
        f"{HEAD}.weight": numbers(97, 32).double(),
    }
    same(merged(tmp_path / "base", adapter=tmp_path / "adapter"), weights | changed)


def check_tied(base: Path, weights: dict[str, Tensor], channels: int, folder: Path) -> None:
    below, above = numbers(4, 97), numbers(channels, 4)
    write(folder, {f"{TABLE}.lora_embedding_A": below, f"{TABLE}.lora_embedding_B": above})
    changed = weights[f"{TABLE}.weight"] + 3 * (above.double() @ below.double()).T
    module = merged(base, adapter=folder)
    torch.testing.assert_close(module.get_submodule(TABLE).weight.double(), changed, atol=1e-6, rtol=0)
    rows = torch.eye(channels)
    torch.testing.assert_close(module.lm_head(rows).T.double(), weights[f"{TABLE}.weight"], atol=1e-6, rtol=0)
    assert isinstance(load(base, adapter=folder).model, Lean)


def test_a_table_that_is_the_head_too_is_changed_only_where_the_adapter_says(tmp_path: Path) -> None:
    weights = checkpoint(tmp_path / "base", tie_word_embeddings=True)
    check_tied(tmp_path / "base", weights, 32, tmp_path / "adapter")


def test_a_gguf_file_takes_one(tmp_path: Path) -> None:
    module = network("llama", tie_word_embeddings=True, vocab_size=97)
    pairs = pairs_of(module) | {"tokenizer.ggml.model": "none"}
    file = write_gguf(tmp_path / "it.gguf", pairs, tensors_of(module), "Q8_0")
    weights = {name: weight.double() for name, weight in rounded(module, "Q8_0").state_dict().items()}
    check_tied(file, weights, 64, tmp_path / "adapter")
    write(tmp_path / "adapter", low_rank(QUERIES, 64, 64))
    changed = weights[f"{QUERIES}.weight"] + 3 * product(low_rank(QUERIES, 64, 64), QUERIES)
    found = merged(file, adapter=tmp_path / "adapter").get_submodule(QUERIES)
    torch.testing.assert_close(found.weight.double(), changed, atol=1e-6, rtol=0)


def test_matrices_in_blocks_become_floats_where_they_are_changed(tmp_path: Path) -> None:
    checkpoint(tmp_path / "base", hidden_size=64, intermediate_size=128)
    meant = repack(tmp_path / "base", Compressed())
    tensors = low_rank(QUERIES, 64, 64)
    write(tmp_path / "adapter", tensors)
    module = merged(tmp_path / "base", adapter=tmp_path / "adapter")
    stated = meant[f"{QUERIES}.weight"] + 3 * product(tensors, QUERIES)
    torch.testing.assert_close(module.get_submodule(QUERIES).weight.double(), stated, atol=1e-6, rtol=0)
    assert not hasattr(module.get_submodule(DOWN), "weight")
    loaded = load(tmp_path / "base", adapter=tmp_path / "adapter")
    assert isinstance(loaded.model, Lean) and loaded.model.weights.blocks == "Q4_0"


def strong() -> dict[str, Tensor]:
    """For zoo/causal, of such weight that it says other things."""
    name = "model.layers.0.self_attn.q_proj"
    outputs, inputs = load_file(zoo.path("causal") / "model.safetensors")[f"{name}.weight"].shape
    return low_rank(name, outputs, inputs) | {"model.norm.weight": numbers(inputs) * 10}


def test_it_is_found_beside_a_checkpoint_by_itself_and_where_it_is_named(tmp_path: Path) -> None:
    shutil.copytree(zoo.path("causal"), tmp_path / "base")
    write(tmp_path / "adapter", strong(), base_model_name_or_path=str(tmp_path / "base"))
    shutil.copytree(tmp_path / "base", tmp_path / "beside")
    for file in (CONFIG, WEIGHTS):
        shutil.copy(tmp_path / "adapter" / file, tmp_path / "beside" / file)
    plain = stretto.load(tmp_path / "base").generate("The", max_new_tokens=12)
    ways = [
        stretto.load(tmp_path / "base", adapter=tmp_path / "adapter"),
        stretto.load(tmp_path / "adapter"),
        stretto.load(tmp_path / "beside"),
    ]
    answers = [engine.generate("The", max_new_tokens=12) for engine in ways]
    assert answers[0].tokens != plain.tokens
    assert all(answer.tokens == answers[0].tokens for answer in answers)
    assert ways[0].model.name == f"{tmp_path / 'base'} with {tmp_path / 'adapter'}"
    with pytest.raises(InvalidRequest, match="an adapter of its own"):
        load(tmp_path / "beside", adapter=tmp_path / "adapter")


def test_the_command_line_takes_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "adapter", strong())
    told = []
    for options in ([], ["--adapter", str(tmp_path / "adapter")]):
        assert main(["generate", "The", "--max-new-tokens", "12", *options]) == 0
        told.append(capsys.readouterr().out)
    assert told[0] != told[1]


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Tensor], type[Exception]]] = {
    "of the type LOHA": ({"peft_type": "LOHA"}, BOTH, Unsupported),
    "trainable_token_indices": ({"trainable_token_indices": [3]}, BOTH, Unsupported),
    "layer_replication": ({"layer_replication": [[0, 2]]}, BOTH, Unsupported),
    "began with pissa": ({"init_lora_weights": "pissa"}, BOTH, Unsupported),
    "ranknum": ({}, BOTH | {"model.layers.0.self_attn.q_proj.ranknum": torch.ones(1)}, Unsupported),
    "A without B": ({}, {f"{QUERIES}.lora_A.weight": numbers(4, 32)}, ModelError),
    "a product of shape (1, 32)": ({}, low_rank(QUERIES, 1, 32), ModelError),
    "layers.7": ({}, low_rank("model.layers.7.self_attn.q_proj", 32, 32), ModelError),
    "a weight of shape": ({}, {f"{HEAD}.weight": numbers(99, 32)}, ModelError),
    "does not fit at model.layers.1": ({}, low_rank(QUERIES, 32, 48), ModelError),
    "holds nothing": ({}, {}, ModelError),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_not_known_or_does_not_fit_is_refused(reason: str, tmp_path: Path) -> None:
    checkpoint(tmp_path / "base")
    said, tensors, error = REFUSED[reason]
    write(tmp_path / "adapter", tensors, **said)
    with pytest.raises(error, match=re.escape(reason)):
        load(tmp_path / "base", adapter=tmp_path / "adapter")


def test_half_an_adapter_beside_a_checkpoint_is_not_passed_over(tmp_path: Path) -> None:
    checkpoint(tmp_path / "base")
    write(tmp_path / "base", BOTH)
    kept = tmp_path / "kept"
    (tmp_path / "base" / WEIGHTS).rename(kept)
    with pytest.raises(ModelError, match=f"has no {WEIGHTS}"):
        load(tmp_path / "base")
    (tmp_path / "base" / CONFIG).unlink()
    kept.rename(tmp_path / "base" / WEIGHTS)
    with pytest.raises(ModelError, match=f"no {CONFIG}"):
        load(tmp_path / "base")
    write(tmp_path / "alone", BOTH)
    with pytest.raises(ModelError, match="names no checkpoint"):
        load(tmp_path / "alone")
