"""Tiny heads in the layouts of the projects that publish them."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from stretto.errors import ModelError, Unsupported
from stretto.laws.heads import around
from stretto.laws.inside import CHANNELS, VOCABULARY
from stretto.models.heads.files import find_head, read_head

SIZE, INNER, KEYS = 16, 24, 8
LAYER = {"hidden_size": SIZE, "intermediate_size": INNER, "num_attention_heads": 2, "num_key_value_heads": 1}


def layer(prefix, wide=1):
    return {
        f"{prefix}self_attn.q_proj.weight": (SIZE, wide * SIZE),
        f"{prefix}self_attn.k_proj.weight": (KEYS, wide * SIZE),
        f"{prefix}self_attn.v_proj.weight": (KEYS, wide * SIZE),
        f"{prefix}self_attn.o_proj.weight": (SIZE, SIZE),
        f"{prefix}mlp.gate_proj.weight": (INNER, SIZE),
        f"{prefix}mlp.up_proj.weight": (INNER, SIZE),
        f"{prefix}mlp.down_proj.weight": (SIZE, INNER),
        f"{prefix}post_attention_layernorm.weight": (SIZE,),
    }


def published(folder, shapes, said, file="model.safetensors"):
    tensors = {name: torch.randn(shape) for name, shape in shapes.items()}
    if file.endswith(".safetensors"):
        save_file(tensors, folder / file)
    else:
        torch.save(tensors, folder / file)
    (folder / "config.json").write_text(json.dumps(said))
    return tensors


EAGLE = {"embed_tokens.weight": (20, SIZE), "fc.weight": (SIZE, 2 * SIZE), **layer("layers.0.")}


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_eagle(tmp_path, file):
    tensors = published(tmp_path, EAGLE | {"fc.bias": (SIZE,)}, LAYER, file)
    head = find_head(str(tmp_path))
    assert (head.form, head.channels, head.shape.key_heads, head.shape.head_size) == ("eagle", 16, 1, 8)
    assert torch.equal(head.tensors["fc.bias"], tensors["fc.bias"])


def test_eagle_without_a_bias_of_fc(tmp_path):
    published(tmp_path, EAGLE, LAYER)
    assert not read_head(tmp_path).tensors["fc.bias"].any()


def test_eagle_of_speculators(tmp_path):
    shapes = {"fusion_fc.weight": (SIZE, 2 * SIZE), "fusion_fc.bias": (SIZE,), "lm_head.weight": (20, SIZE)}
    said = {"speculators_model_type": "eagle", "fusion_bias": True, "transformer_layer_config": LAYER}
    tensors = published(tmp_path, {"embed_tokens.weight": (20, SIZE), **shapes, **layer("transformer.")}, said)
    head = find_head(str(tmp_path))
    assert (head.form, head.shape.inner) == ("eagle", INNER)
    for ours, theirs in (("fc.weight", "fusion_fc.weight"), ("fc.bias", "fusion_fc.bias")):
        assert torch.equal(head.tensors[ours], tensors[theirs])
    name = "self_attn.k_proj.weight"
    assert torch.equal(head.tensors[f"layers.0.{name}"], tensors[f"transformer.{name}"])
    (tmp_path / "config.json").write_text(json.dumps(said | {"layernorms": True}))
    with pytest.raises(Unsupported, match="layernorms"):
        read_head(tmp_path)


@pytest.mark.parametrize("prefix", ["layers.0.", "midlayer."])
def test_eagle3(tmp_path, prefix):
    """As its project names the layer, and as speculators does, where the configuration says more."""
    norms = {f"{prefix}{name}.weight": (SIZE,) for name in ("input_layernorm", "hidden_norm")}
    shapes = {"fc.weight": (SIZE, 3 * SIZE), "norm.weight": (SIZE,), "lm_head.weight": (12, SIZE), **norms}
    said = {"draft_vocab_size": 12, "vocab_size": 20, **LAYER}
    if prefix == "layers.0.":
        more = {"norm_before_residual": True, "eagle_aux_hidden_state_layer_ids": [1, 3, 4]}
        said = {"speculators_model_type": "eagle3", "transformer_layer_config": {**LAYER, "vocab_size": 20}, **more}
    published(tmp_path, {**shapes, **layer(prefix, wide=2)}, said)
    tensors = {name: torch.randn(shape) for name, shape in {**shapes, **layer(prefix, wide=2)}.items()}
    others = {"d2t": torch.arange(12) % 5, "t2d": torch.zeros(20, dtype=torch.bool)}
    save_file({**tensors, **others}, tmp_path / "model.safetensors")
    head = find_head(str(tmp_path))
    assert (head.form, head.channels) == ("eagle3", SIZE)
    assert head.taps(8) == ((1, 3, 4) if prefix == "layers.0." else (2, 4, 5))
    rows, embedded = torch.randn(2, 3, SIZE)
    residual, inputs = head.enter(embedded, rows)
    assert torch.equal(residual, inputs[..., SIZE:] if prefix == "layers.0." else rows)
    assert head.read_out(rows, around()).isfinite().sum() == 3 * len(
        set((torch.arange(12) % 5 + torch.arange(12)).tolist())
    )


class ResBlock(nn.Module):
    """Of that project's heads: what goes in, made narrower where it is wide, and a layer's part."""

    def __init__(self, wide: int) -> None:
        super().__init__()
        self.linear = nn.Linear(wide, CHANNELS)
        self.res_connection = nn.Linear(wide, CHANNELS) if wide > CHANNELS else nn.Identity()

    def forward(self, x):
        return self.res_connection(x) + nn.functional.silu(self.linear(x))


class PublishedHydra(nn.Module):
    """Two heads of three blocks, dropout before each block and before the matrices; the later blocks are one object."""

    def __init__(self, dropped: bool) -> None:
        super().__init__()
        drop = [nn.Dropout(0.2)] if dropped else []
        made = [[*drop, ResBlock((i + 2) * CHANNELS), *([*drop, ResBlock(CHANNELS)] * 2)] for i in range(2)]
        self.hydra_mlp = nn.ModuleList([nn.Sequential(*each) for each in made])
        heads = [nn.Linear(CHANNELS, VOCABULARY) for _ in range(2)]
        self.hydra_lm_head = nn.ModuleList([nn.Sequential(*drop, each) if dropped else each for each in heads])


@torch.no_grad()
@pytest.mark.parametrize("dropped", [False, True])
def test_hydra(tmp_path, dropped):
    """It says what the published modules say."""
    torch.manual_seed(0)
    made, of = PublishedHydra(dropped).eval(), around()
    torch.save(made.state_dict(), tmp_path / "hydra_lm_head.pt")
    (tmp_path / "config.json").write_text(json.dumps({"hydra_num_heads": 2, "hydra_num_layers": 3}))
    head = find_head(str(tmp_path))
    assert (head.form, head.depth, head.channels) == ("hydra", 2, CHANNELS)
    rows, tokens = torch.randn(1, 5, CHANNELS), torch.randint(VOCABULARY, (1, 6))
    for i, said in enumerate(head.unrolled(rows, tokens, of, 2)):
        parts = [of.final_norm(rows)[:, : 5 - i], *(of.embed(tokens[:, 1 + j : 6 + j - i]) for j in range(1 + i))]
        expected = made.hydra_lm_head[i](made.hydra_mlp[i](torch.cat(parts, -1)))
        torch.testing.assert_close(said.read(said.rows)[:, : 5 - i], expected, atol=1e-4, rtol=1e-4)
        memory = head.memory(of)
        memory.read(rows[0, : 5 - i], tokens[0, 1 : 6 - i].tolist())
        drafted = tokens[0, 6 - i :].tolist()
        found = memory.after([i - 1], drafted, list(range(-1, i - 1)))
        torch.testing.assert_close(found[0], expected[0, -1], atol=1e-4, rtol=1e-4)


def test_medusa_in_its_own_file(tmp_path):
    shapes = {"0.0.linear.weight": (8, 8), "0.0.linear.bias": (8,), "0.1.weight": (20, 8)}
    published(tmp_path, shapes, {}, "medusa_lm_head.safetensors")
    assert find_head(str(tmp_path)).form == "medusa"


@pytest.mark.parametrize("name", ["layers.0.self_attn.q_proj.bias", "layers.1.self_attn.q_proj.weight", "scale"])
def test_what_is_not_computed_is_refused(tmp_path, name):
    published(tmp_path, EAGLE | {name: (SIZE,)}, LAYER)
    with pytest.raises(ModelError, match=name):
        read_head(tmp_path)


def test_a_layer_whose_heads_are_not_told_is_refused(tmp_path):
    published(tmp_path, EAGLE, {"hidden_size": SIZE, "intermediate_size": INNER})
    with pytest.raises(ModelError, match="num_attention_heads"):
        read_head(tmp_path)


def test_a_checkpoint_is_no_head(tmp_path):
    published(tmp_path, {"embed_tokens.weight": (20, SIZE), "norm.weight": (SIZE,), **layer("layers.0.")}, LAYER)
    assert find_head(str(tmp_path)) is None
    (tmp_path / "pytorch_model.bin").write_bytes(b"no file of torch")
    (tmp_path / "model.safetensors").unlink()
    assert find_head(str(tmp_path)) is None
