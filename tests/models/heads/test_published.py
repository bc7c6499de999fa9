"""The published networks, as the library that they stand on computes their parts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRMSNorm, LlamaRotaryEmbedding

from stretto.laws.heads import LAYERS, around
from stretto.laws.inside import CHANNELS, VOCABULARY
from stretto.models.heads.eagle import Eagle
from stretto.models.heads.eagle3 import Eagle3
from stretto.models.heads.hydra import Hydra
from stretto.models.heads.medusa import Medusa
from stretto.models.heads.mtp import Mtp

SIZE = 9
CONFIG = {
    "hidden_size": CHANNELS,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500.0,
    "vocab_size": VOCABULARY,
}


def random(head, seed=1):
    """With random tensors in the place of the first ones, norms and biases too."""
    chance = torch.Generator().manual_seed(seed)
    for name, tensor in head.tensors.items():
        head.tensors[name] = tensor + 0.3 * torch.randn(tensor.shape, generator=chance)
    return head


def layer(head, prefix: str, wide: int = 1) -> LlamaDecoderLayer:
    """The library's own with the head's weights; its norms stand where a class puts them."""
    config = LlamaConfig(**CONFIG, attn_implementation="eager")
    made = LlamaDecoderLayer(config, 0)
    for name in ("q_proj", "k_proj", "v_proj"):
        out = getattr(made.self_attn, name).out_features
        setattr(made.self_attn, name, nn.Linear(wide * CHANNELS, out, bias=False))
    mine = {name.removeprefix(prefix): each for name, each in head.tensors.items() if name.startswith(prefix)}
    left = made.load_state_dict(mine, strict=False)
    assert set(left.missing_keys) <= {"input_layernorm.weight"} and set(left.unexpected_keys) <= {"hidden_norm.weight"}
    return made.eval()


def attended(made: LlamaDecoderLayer, residual: Tensor, inputs: Tensor) -> Tensor:
    """The layer behind its first norm."""
    places = torch.arange(SIZE)[None]
    turns = LlamaRotaryEmbedding(LlamaConfig(**CONFIG))(residual, places)
    mask = torch.full((SIZE, SIZE), -torch.inf).triu(1)[None, None]
    rows = residual + made.self_attn(inputs, position_embeddings=turns, attention_mask=mask)[0]
    return rows + made.mlp(made.post_attention_layernorm(rows))


def norm(gain: Tensor) -> LlamaRMSNorm:
    made = LlamaRMSNorm(CHANNELS, CONFIG["rms_norm_eps"])
    made.weight = nn.Parameter(gain)
    return made


@pytest.fixture
def text() -> tuple[Tensor, Tensor]:
    """Rows of three layers [1, T, 3C], and tokens [1, T + 1]."""
    chance = torch.Generator().manual_seed(4)
    return (
        torch.randn(1, SIZE, LAYERS * CHANNELS, generator=chance),
        torch.randint(VOCABULARY, (1, SIZE + 1), generator=chance),
    )


@torch.no_grad()
def test_eagle(text):
    of, (rows, tokens) = around(), text
    rows = rows[..., :CHANNELS]
    head = random(Eagle.fresh(CHANNELS, VOCABULARY, LAYERS, torch.Generator().manual_seed(0), **CONFIG))
    joined = torch.cat([of.embed(tokens[:, 1:]), of.final_norm(rows)], -1)
    joined = nn.functional.linear(joined, head.tensors["fc.weight"], head.tensors["fc.bias"])
    expected = of.lm_head(attended(layer(head, "layers.0."), joined, joined))
    said = head.unrolled(rows, tokens, of, 1)[0]
    torch.testing.assert_close(said.read(said.rows), expected, atol=1e-3, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("own", [0, 20, VOCABULARY])
def test_eagle3(text, own):
    of, (rows, tokens) = around(), text
    head = random(Eagle3.fresh(CHANNELS, VOCABULARY, LAYERS, torch.Generator().manual_seed(0), **CONFIG))
    extra, meant = {}, torch.arange(VOCABULARY)
    if own:
        extra["lm_head.weight"] = torch.randn(own, CHANNELS)
    if 0 < own < VOCABULARY:
        meant = torch.randperm(VOCABULARY, generator=torch.Generator().manual_seed(3))[:own].sort().values
        extra["d2t"] = meant - torch.arange(own)
    head = Eagle3({**head.tensors, **extra}, head.config)
    row = nn.functional.linear(rows, head.tensors["fc.weight"])
    parts = [
        norm(head.tensors["midlayer.input_layernorm.weight"])(of.embed(tokens[:, 1:])),
        norm(head.tensors["midlayer.hidden_norm.weight"])(row),
    ]
    left = attended(layer(head, "midlayer.", wide=2), row, torch.cat(parts, -1))
    inner = norm(head.tensors["norm.weight"])(left)
    expected = nn.functional.linear(inner, extra["lm_head.weight"]) if own else of.lm_head(inner)
    said = head.unrolled(rows, tokens, of, 1)[0]
    found = said.read(said.rows)
    assert found.shape[-1] == VOCABULARY
    torch.testing.assert_close(found[..., meant], expected, atol=1e-3, rtol=1e-4)
    if own == 20:
        others = torch.ones(VOCABULARY, dtype=torch.bool).scatter(0, meant, False)
        assert (found[..., others] == -torch.inf).all()


@torch.no_grad()
def test_eagle3_reads_what_enters_three_layers():
    head = Eagle3.fresh(CHANNELS, VOCABULARY, LAYERS, torch.Generator(), **CONFIG)
    assert head.taps(32) == (2, 16, 29)


@torch.no_grad()
def test_mtp(text):
    """Norms on both inputs, and the layer whole, with its first norm."""
    of, (rows, tokens) = around(), text
    rows = rows[..., :CHANNELS]
    head = random(Mtp.fresh(CHANNELS, VOCABULARY, LAYERS, torch.Generator().manual_seed(0), **CONFIG))
    parts = [norm(head.tensors["enorm.weight"])(of.embed(tokens[:, 1:])), norm(head.tensors["hnorm.weight"])(rows)]
    joined = nn.functional.linear(torch.cat(parts, -1), head.tensors["eh_proj.weight"])
    made = layer(head, "mtp_block.")
    left = attended(made, joined, made.input_layernorm(joined))
    expected = of.lm_head(norm(head.tensors["shared_head.norm.weight"])(left))
    said = head.unrolled(rows, tokens, of, 1)[0]
    torch.testing.assert_close(said.read(said.rows), expected, atol=1e-3, rtol=1e-4)


@torch.no_grad()
def test_medusa_begins_as_the_target(text):
    """Before any training each head says what the target says of the token before."""
    of, (rows, tokens) = around(), text
    head = Medusa.fresh(CHANNELS, VOCABULARY, LAYERS, torch.Generator(), heads=3)
    for said in head.unrolled(rows[..., :CHANNELS], tokens, of, 3):
        assert torch.equal(said.read(said.rows), of.lm_head(of.final_norm(rows[..., :CHANNELS])))


@torch.no_grad()
def test_hydra_without_its_token_columns_is_medusa():
    """Siblings then get the same guesses; with them, others."""
    of = around()
    head = random(Hydra.fresh(CHANNELS, VOCABULARY, LAYERS, torch.Generator(), heads=3))

    def siblings() -> torch.Tensor:
        memory = head.memory(of)
        memory.read(torch.randn(2, CHANNELS, generator=torch.Generator().manual_seed(2)), [4, 5])
        return memory.after([0, 1], [7, 8], [-1, -1])

    assert not torch.allclose(*siblings())
    for name in ("1.enter", "1.gate"):
        without = head.tensors[name].clone()
        without[:, CHANNELS:] = 0
        head.tensors[name] = without
    assert torch.equal(*siblings())
