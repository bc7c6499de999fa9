"""A trained encoder–decoder: Arabic names to English ones, the letters that CTranslate2 writes.

What CTranslate2 4.8.5 wrote (float32, without beams) stands in transliterated.json. The weights are those of the shared
data: pre-norm, positions as sines and then cosines, the first of them 1, vocabularies of their own on either side.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import PegasusConfig, PegasusForConditionalGeneration

from stretto.engine import Engine
from stretto.models.encoder_decoder import EncoderDecoder

WROTE: dict[str, str] = json.loads((Path(__file__).parent / "transliterated.json").read_text(encoding="utf-8"))
START, END = 1, 2
LAYERS, CHANNELS, HEADS, LONGEST = 6, 32, 8, 64


@cache
def engine(place: Path) -> tuple[Engine, list[str], list[str]]:
    """An engine, and the letters of source and answer."""
    with np.load(place / "weights_f32.npz") as held:
        weights = {name: torch.from_numpy(held[name]) for name in held.files}
    letters = [
        (place / "float32" / f"{side}_vocabulary.txt").read_text(encoding="utf-8").split("\n")
        for side in ("source", "target")
    ]
    made = Engine(EncoderDecoder(module(weights)))
    made.end_tokens = frozenset({END})
    return made, letters[0], letters[1]


def module(weights: Mapping[str, Tensor]) -> PegasusForConditionalGeneration:
    """The weights in transformers' module of the same form."""
    targets = len(weights["decoder/embeddings/weight"])
    made = PegasusForConditionalGeneration(
        PegasusConfig(
            vocab_size=targets,
            d_model=CHANNELS,
            encoder_layers=LAYERS,
            decoder_layers=LAYERS,
            encoder_attention_heads=HEADS,
            decoder_attention_heads=HEADS,
            encoder_ffn_dim=128,
            decoder_ffn_dim=128,
            activation_function="relu",
            max_position_embeddings=LONGEST,
            scale_embedding=True,
            decoder_start_token_id=START,
        )
    )
    made.config.share_encoder_decoder_embeddings = False
    rates = 10000 ** (-torch.arange(CHANNELS // 2) / (CHANNELS // 2 - 1))
    angles = torch.arange(1, LONGEST + 1)[:, None] * rates
    for name, stack in (("encoder", made.model.encoder), ("decoder", made.model.decoder)):
        stack.embed_tokens = nn.Embedding.from_pretrained(weights[f"{name}/embeddings/weight"])
        stack.embed_positions.weight = nn.Parameter(torch.cat([angles.sin(), angles.cos()], 1))
        put(stack.layer_norm, weights, f"{name}/layer_norm")
        for at, layer in enumerate(stack.layers):
            fill(layer, weights, f"{name}/layer_{at}")
    made.lm_head = nn.Linear(CHANNELS, targets, bias=False)
    made.lm_head.weight = nn.Parameter(weights["decoder/projection/weight"])
    made.final_logits_bias = weights["decoder/projection/bias"][None]
    return made.eval().requires_grad_(False)


def fill(layer: nn.Module, weights: Mapping[str, Tensor], name: str) -> None:
    """One layer: queries, keys and values lie in one matrix, in cross-attention keys and values."""
    own = layer.self_attn
    split(weights, f"{name}/self_attention/linear_0", own.q_proj, own.k_proj, own.v_proj)
    split(weights, f"{name}/self_attention/linear_1", own.out_proj)
    put(layer.self_attn_layer_norm, weights, f"{name}/self_attention/layer_norm")
    if hasattr(layer, "encoder_attn"):
        cross = layer.encoder_attn
        split(weights, f"{name}/attention/linear_0", cross.q_proj)
        split(weights, f"{name}/attention/linear_1", cross.k_proj, cross.v_proj)
        split(weights, f"{name}/attention/linear_2", cross.out_proj)
        put(layer.encoder_attn_layer_norm, weights, f"{name}/attention/layer_norm")
    split(weights, f"{name}/ffn/linear_0", layer.fc1)
    split(weights, f"{name}/ffn/linear_1", layer.fc2)
    put(layer.final_layer_norm, weights, f"{name}/ffn/layer_norm")


def split(weights: Mapping[str, Tensor], name: str, *parts: nn.Linear) -> None:
    """A matrix and its biases, in as many equal parts."""
    for kind in ("weight", "bias"):
        for part, piece in zip(parts, weights[f"{name}/{kind}"].chunk(len(parts)), strict=True):
            setattr(part, kind, nn.Parameter(piece.clone()))


def put(norm: nn.LayerNorm, weights: Mapping[str, Tensor], name: str) -> None:
    norm.weight, norm.bias = nn.Parameter(weights[f"{name}/gamma"]), nn.Parameter(weights[f"{name}/beta"])


@pytest.mark.parametrize(("method", "most"), [("plain", len(WROTE)), ("auto", 20)])
def test_names_are_written_as_ctranslate2_writes_them(shared_data: Path, method: str, most: int) -> None:
    made, source, target = engine(shared_data / "models" / "aren_transliteration")
    names = list(WROTE)[:most]
    answers = made.generate([[source.index(letter) for letter in name] for name in names], method, max_new_tokens=40)
    written = ["".join(target[token] for token in answer.tokens if token != END) for answer in answers]
    assert dict(zip(names, written, strict=True)) == {name: WROTE[name] for name in names}
