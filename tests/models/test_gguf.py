"""GGUF files load as the networks that they hold, and what they say and is not known is refused before work."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models import gguf_files
from models.gguf_files import pairs_of, rounded, said, tensors_of, write
from stretto.engine import Engine
from stretto.errors import InvalidRequest, ModelError
from stretto.models import fast
from stretto.models.contract import Model
from stretto.models.drawn import layer
from stretto.models.drawn.network import Drawn
from stretto.models.load import load
from stretto.models.network import Network
from stretto.models.window import Window

TOKENS = [5, 17, 40, 6, 6, 23, 31, 4, 9, 12]


def logits_of(model: Model) -> torch.Tensor:
    cache = model.new_cache()
    logits = model.evaluate(Window.chain([cache.open()], [TOKENS], [0], model.device), cache).logits
    assert logits is not None
    return logits[0]


def differ(path: Path, module: Any, **options: Any) -> float:
    """The largest difference of a file's logits from those of a module of transformers."""
    return float((logits_of(load(path, **options).model) - said(module, TOKENS)).abs().max())


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("architecture", gguf_files.KINDS)
def test_a_file_is_the_network_that_was_written(architecture: str, tied: bool, tmp_path: Path) -> None:
    module = gguf_files.network(architecture, tie_word_embeddings=tied)
    path = write(tmp_path / "it.gguf", pairs_of(module), tensors_of(module))
    loaded = load(path)
    assert loaded.slow_because == "" and loaded.end_tokens == {2, 3}  # as named, and as it reads
    assert differ(path, module) < 1e-4


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "MXFP4"])
def test_every_kind_of_matrix_is_read(kind: str, tmp_path: Path) -> None:
    module = gguf_files.network("llama")
    path = write(tmp_path / "it.gguf", pairs_of(module), tensors_of(module), kind)
    assert differ(path, rounded(module, kind), weights="float32") < 2e-5
    assert differ(path, rounded(module, kind)) < 0.3  # inputs in eight bits


def test_without_its_fast_path_it_is_the_same(tmp_path: Path) -> None:
    module = gguf_files.network("llama", rope_parameters={"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0})
    scaled = {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}
    path = write(tmp_path / "it.gguf", pairs_of(module) | scaled, tensors_of(module), "Q8_0")
    assert isinstance(load(path, fast=False).model, Network)
    assert differ(path, rounded(module, "Q8_0"), fast=False) < 2e-5


LINEAR = {"rope_type": "linear", "rope_theta": 500.0, "factor": 4.0}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "original_max_position_embeddings": 32}
LLAMA3 |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}


YARN = {"rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0, "original_max_position_embeddings": 32}


@pytest.mark.parametrize(
    ("said_as", "parameters"),
    [
        ({"type": "linear", "factor": 4.0}, LINEAR),
        ({"factor": 4.0}, LINEAR),
        ({"old": 4.0}, LINEAR),
        ({"type": "none", "factor": 4.0}, {"rope_type": "default", "rope_theta": 500.0}),
        ({"type": "yarn", "factor": 4.0, "original_context_length": 32}, YARN),
    ],
)
def test_frequencies_are_scaled(said_as: dict[str, Any], parameters: dict[str, Any], tmp_path: Path) -> None:
    module = gguf_files.network("llama", rope_parameters=parameters)
    names = {"old": "llama.rope.scale_linear"}
    scaled = {names.get(key, f"llama.rope.scaling.{key}"): value for key, value in said_as.items()}
    path = write(tmp_path / "it.gguf", pairs_of(module) | scaled, tensors_of(module))
    assert differ(path, module) < 2e-5


def test_frequencies_are_scaled_one_by_one(tmp_path: Path) -> None:
    module = gguf_files.network("llama", rope_parameters=LLAMA3)
    usual = 500.0 ** (-torch.arange(0, 16, 2).float() / 16)
    factors = usual / module.model.rotary_emb.inv_freq
    assert factors.min() == 1 and factors.max() == 8
    tensors = tensors_of(module) | {"rope_freqs.weight": factors.numpy()}
    assert differ(write(tmp_path / "it.gguf", pairs_of(module), tensors), module) < 2e-5


def test_what_is_missing_is_as_it_is_usual(tmp_path: Path) -> None:
    module = gguf_files.network(
        "llama", num_key_value_heads=4, rope_parameters={"rope_type": "default", "rope_theta": 1e4}
    )
    pairs = pairs_of(module)
    for key in ("attention.head_count_kv", "attention.key_length", "attention.value_length", "rope.freq_base"):
        del pairs[f"llama.{key}"]
    assert differ(write(tmp_path / "it.gguf", pairs, tensors_of(module)), module) < 2e-5


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"general.architecture": "mamba"}, "architecture 'mamba'"),
        ({"general.architecture": None}, "names no architecture"),
        ({"llama.context_length": None}, "has no llama.context_length"),
        ({"llama.attention.layer_norm_rms_epsilon": None}, "has no llama.attention.layer_norm_rms_epsilon"),
        ({"llama.attention.head_count": [4, 8]}, "llama.attention.head_count of .* is"),
        ({"llama.attention.value_length": 8}, "llama.attention.value_length of .* is 8"),
        ({"llama.rope.dimension_count": 8}, "llama.rope.dimension_count of .* is 8"),
        ({"llama.rope.scaling.type": "longrope"}, "'longrope'"),
        ({"llama.rope.scaling.attn_factor": 2.0}, "attn_factor"),
        ({"llama.expert_count": 8}, "llama.expert_count"),
        ({"llama.logit_scale": 2.0}, "llama.logit_scale"),
        ({"llama.rope.freq_base": -1.0}, "llama.rope.freq_base of .* is -1.0"),
        ({"llama.feed_forward_length": 64}, "ffn_gate.weight of .* has the shape"),
        ({"tokenizer.ggml.model": "t5"}, "tokenizer of kind 't5'"),
        ({"tokenizer.ggml.scores": [0.0]}, "1 scores for 48 tokens"),
        ({"tokenizer.ggml.token_type": [1]}, "1 kinds of tokens"),
        ({"tokenizer.ggml.tokens": ["a"] * 48}, "1 different tokens"),
        ({"tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.bos_token_id": 99}, "names none"),
        ({"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-3"}, "did you mean 'gpt-2'"),
        ({"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.merges": ["x y"]}, "merges that do not fit"),
    ],
)
def test_what_a_file_says_and_is_not_known_is_refused(changes: dict[str, Any], told: str, tmp_path: Path) -> None:
    module = gguf_files.network("llama")
    pairs = {key: value for key, value in (pairs_of(module) | changes).items() if value is not None}
    with pytest.raises(ModelError, match=told) as caught:
        load(write(tmp_path / "it.gguf", pairs, tensors_of(module)))
    assert caught.value.hint and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda tensors: tensors.pop("blk.1.attn_q.weight"), "lacks blk.1.attn_q.weight"),
        (lambda tensors: tensors.pop("token_embd.weight"), "has no token_embd.weight"),
        (lambda tensors: tensors.update({"blk.0.attn_q.bias": np.ones(64, np.float32)}), "holds blk.0.attn_q.bias"),
        (lambda tensors: tensors.update({"rope_freqs.weight": np.ones(3, np.float32)}), "rope_freqs.weight"),
    ],
)
def test_tensors_that_do_not_belong_are_refused(change: Callable[..., Any], told: str, tmp_path: Path) -> None:
    module = gguf_files.network("llama")
    tensors = tensors_of(module)
    change(tensors)
    with pytest.raises(ModelError, match=told):
        load(write(tmp_path / "it.gguf", pairs_of(module), tensors))


def test_without_a_vocabulary_prompts_are_ids(tmp_path: Path) -> None:
    module = gguf_files.network("qwen2")
    pairs = {key: value for key, value in pairs_of(module).items() if not key.startswith("tokenizer.")}
    engine = Engine.load(write(tmp_path / "it.gguf", pairs, tensors_of(module)))
    assert engine.generate([5, 6], "plain", max_new_tokens=3).text
    with pytest.raises(InvalidRequest, match="has no tokenizer"):
        engine.encode("w5")


def test_nothing_of_transformers_is_imported(tmp_path: Path) -> None:
    module = gguf_files.network("llama")
    path = write(tmp_path / "it.gguf", pairs_of(module), tensors_of(module), "Q8_0")
    script = f"""
import sys
from stretto.engine import Engine
engine = Engine.load({str(path)!r})
engine.chat("w5", "plain", max_new_tokens=2)
print("transformers" in sys.modules)
"""
    assert (
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "False\n"
    )


def test_a_file_that_was_tried_here_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[Model] = []
    compare = fast._compare

    def told(model: Any, module: Any) -> None:
        tries.append(model)
        compare(model, module)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(fast, "_compare", told)
    module = gguf_files.network("llama")
    path = write(tmp_path / "it.gguf", pairs_of(module), tensors_of(module), "Q8_0")
    first, second = load(path).model, load(path).model
    assert isinstance(second, Drawn) and tries == [first]
    assert torch.equal(logits_of(first), logits_of(second))
    assert load(path, weights="float32").model in tries[1:]  # another form is another question
    assert not isinstance(half := load(path, dtype="bfloat16").model, Drawn) and tries[-1] is half
    os.utime(path, ns=(1, 1))  # and so is another file of that name
    again = load(path).model
    assert tries[-1] is again


def test_a_file_that_fails_is_tried_at_each_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(layer, "NEIGHBOURS", 2)  # what is drawn is another network
    module = gguf_files.network("llama")
    path = write(tmp_path / "it.gguf", pairs_of(module), tensors_of(module), "Q8_0")
    for _ in range(2):
        assert not isinstance(load(path).model, Drawn)
