"""Checkpoints of few bits are the numbers that their formats define, in blocks or in floats, or are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.packed_files import FORMATS, Compressed, Gptq, write
from stretto.errors import ModelError, Unsupported
from stretto.models.eager import logits_at
from stretto.models.folder import Folder
from stretto.models.lean import Lean
from stretto.models.load import load
from stretto.models.packed.codes import Codes
from stretto.models.quantised import QuantisedLinear

CPU = torch.device("cpu")
TOKENS = torch.tensor([[5, 6, 7, 8, 9, 10]])
PLACES = torch.arange(6)[None]


def network(folder: Path, **options: Any) -> Any:
    return Folder(folder).plain(None, torch.float32, CPU, **options)


def say(folder: Path, **changes: Any) -> None:
    """Change what config.json says of the packing."""
    file = folder / "config.json"
    said = json.loads(file.read_text())
    said["quantization_config"] |= changes
    file.write_text(json.dumps(said))


@pytest.mark.parametrize("form", FORMATS)
def test_the_numbers_are_those_of_the_format(form: str, tmp_path: Path) -> None:
    pack, kind = FORMATS[form]
    meant = write(tmp_path, pack)
    floats, blocks = network(tmp_path, blocks=False), network(tmp_path)
    for name, weight in meant.items():
        torch.testing.assert_close(floats.state_dict()[name], weight.float(), atol=0, rtol=2**-24)
        part = blocks.get_submodule(name.rpartition(".")[0])
        assert isinstance(part, QuantisedLinear) is (kind is not None and "_proj" in name)
        if isinstance(part, QuantisedLinear):
            assert part.quantised.kind == kind
            rounding = 2e-4 if kind == "Q4_1" or "float32" in form else 0  # scales are .0125 at least
            torch.testing.assert_close(part.quantised.dense(), weight.float(), atol=rounding, rtol=0)


@pytest.mark.parametrize("form", ["gptq", "awq", "packed, eight bits, by output", "fp8, blocks"])
def test_they_run_on_the_fast_path_and_driven(form: str, tmp_path: Path) -> None:
    pack, kind = FORMATS[form]
    write(tmp_path, pack)
    loaded = load(tmp_path)
    assert isinstance(loaded.model, Lean) and loaded.slow_because == ""
    assert loaded.model.weights.blocks == (kind or "")
    exact = load(tmp_path, weights="float32").model
    assert isinstance(exact, Lean) and not exact.weights.blocks
    driven = load(tmp_path, fast=False).model.module
    with torch.no_grad():
        found = logits_at(driven, TOKENS, PLACES)
        stated = network(tmp_path, blocks=False).logits_at(TOKENS, PLACES)
    torch.testing.assert_close(found, stated, atol=1e-4, rtol=0)


def test_experts_that_are_packed_one_by_one_are_read(tmp_path: Path) -> None:
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "head_dim": 16}
    meant = write(tmp_path, Gptq(), "Qwen3Moe", **experts)
    packed = load_file(tmp_path / "model.safetensors")
    assert "model.layers.0.mlp.experts.3.down_proj.qweight" in packed
    module = Folder(tmp_path).stock(None, torch.float32, CPU)
    with torch.no_grad():
        found = logits_at(module, TOKENS, PLACES)
    save_file({name: weight.float() for name, weight in meant.items()}, tmp_path / "model.safetensors")
    said = json.loads((tmp_path / "config.json").read_text())
    del said["quantization_config"]
    (tmp_path / "config.json").write_text(json.dumps(said))
    with torch.no_grad():
        stated = logits_at(Folder(tmp_path).stock(None, torch.float32, CPU), TOKENS, PLACES)
    assert torch.equal(found, stated)


@pytest.mark.parametrize(
    ("form", "file"), [("gptq v2, zero points", "quantize_config.json"), ("awq", "quant_config.json")]
)
def test_older_checkpoints_say_so_in_a_file_of_its_own(form: str, file: str, tmp_path: Path) -> None:
    meant = write(tmp_path, FORMATS[form][0])
    config = tmp_path / "config.json"
    content = json.loads(config.read_text())
    said = content.pop("quantization_config")
    config.write_text(json.dumps(content))
    (tmp_path / file).write_text(json.dumps({key: said[key] for key in said if key != "quant_method"}))
    name = "model.layers.1.mlp.up_proj.weight"
    assert torch.equal(network(tmp_path, blocks=False).state_dict()[name], meant[name].float())


REFUSED: dict[str, dict[str, Any]] = {
    "bitsandbytes": {"quant_method": "bitsandbytes", "load_in_4bit": True},
    "a method without a name": {"quant_method": None},
    "the form marlin of GPTQ": {"checkpoint_format": "marlin"},
    "rotation": {"rotation": "hadamard"},
    "the form gemv of AWQ": {"quant_method": "awq", "version": "gemv"},
    "nvfp4-pack-quantized": {"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized"},
    "transformed": {"quant_method": "compressed-tensors", "transform_config": {"config_groups": {"a": {}}}},
    "3 bits": {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": {"num_bits": 3}}}},
    "in blocks of": {"quant_method": "fp8", "weight_block_size": 128},
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_not_known_is_refused_before_weights_are_read(reason: str, tmp_path: Path) -> None:
    write(tmp_path, Gptq())
    say(tmp_path, **REFUSED[reason])
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(Unsupported, match=reason) as refused:
        load(tmp_path)
    assert "GGUF" in refused.value.hint


def test_zero_points_of_0_are_read_only_where_their_writer_is_known(tmp_path: Path) -> None:
    pack = replace(Gptq(middle=False), version=2)
    meant = write(tmp_path, pack)
    stored = load_file(tmp_path / "model.safetensors")
    name = "model.layers.1.mlp.up_proj"
    stored[f"{name}.qzeros"][0, 0] &= ~0xF
    weight = meant[f"{name}.weight"]
    scale, column = stored[f"{name}.scales"][0, 0].double(), stored[f"{name}.qweight"][:4, 0]
    codes = torch.tensor([int(word) >> shift & 15 for word in column for shift in range(0, 32, 4)])
    weight[0, :32] = codes * scale
    whole_words = {key: each - 0x11111111 for key, each in stored.items() if key.endswith("qzeros")}
    save_file(stored | whole_words, tmp_path / "model.safetensors", metadata={"format": "pt"})
    say(tmp_path, checkpoint_format="gptq")
    with pytest.raises(Unsupported, match="zero points of 0"):
        network(tmp_path)
    say(tmp_path, meta={"quantizer": ["gptqmodel:5.0.0"]})
    assert torch.equal(network(tmp_path, blocks=False).state_dict()[f"{name}.weight"], weight.float())


def test_a_packed_matrix_without_its_scales_is_refused(tmp_path: Path) -> None:
    write(tmp_path, Compressed())
    stored = load_file(tmp_path / "model.safetensors")
    del stored["model.layers.1.mlp.up_proj.weight_scale"]
    save_file(stored, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"up_proj in .* do not fit"):
        load(tmp_path)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scales_that_float16_cannot_hold_make_no_blocks(scale: float) -> None:
    codes = torch.randint(0, 16, (4, 64), dtype=torch.uint8)
    made = Codes(codes, torch.full((1, 1), 8), torch.full((4, 2), scale * 1.3))
    assert made.blocks() is None
    assert replace(made, scales=torch.full((4, 2), 1.3)).blocks() is not None
    torch.testing.assert_close(made.dense(), (codes.float() - 8) * (scale * 1.3))
