"""How the decoders of transformers' encoder–decoders are built: which of their parts does what.

Two forms are known. That of T5: a list of blocks, each a list of layers, with biases by distance in place of positions.
And that of BART, Marian, Pegasus and Whisper: layers of named parts, with a table of positions. In which order norms
stand is not read here: it is tried (encoder_decoder.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ModelError
from .survey import UNBOUNDED

HINT = "stretto drives decoders built as those of T5, BART, Marian, Pegasus or Whisper"


@dataclass(frozen=True, slots=True)
class Part:
    """An attention: what makes queries, keys and values [..., C] -> [..., H * size], and what takes what is read."""

    query: nn.Module
    key: nn.Module
    value: nn.Module
    out: nn.Module
    scale: float
    bias: Tensor | None = None  # [D, H] added to the scores of a key so many places before the query, D - 1 at most


@dataclass(frozen=True, slots=True)
class Block:
    """A decoder layer: three parts with a norm each."""

    own: Part
    own_norm: nn.Module
    cross: Part
    cross_norm: nn.Module
    mlp: Callable[[Tensor], Tensor]
    mlp_norm: nn.Module


@dataclass(frozen=True, slots=True)
class Form:
    """A decoder, and the head behind it."""

    blocks: tuple[Block, ...]
    embed: Callable[[Tensor], Tensor]  # tokens [...] -> [..., C]
    positions: Tensor | None  # [P, C]
    first_norm: nn.Module | None
    last_norm: nn.Module | None
    head: Callable[[Tensor], Tensor]  # [..., C] -> [..., V]
    heads: int
    size: int  # of a head
    length: int  # positions of the decoder


def form_of(module: Any) -> Form:
    """The form of a module's decoder. Raises ModelError where it is not known."""
    decoder = module.get_decoder()
    try:
        return _blocks(module, decoder) if hasattr(decoder, "block") else _layers(module, decoder)
    except AttributeError as error:
        name = type(module).__name__
        raise ModelError(f"{name} has a decoder of another form: {error}", hint=HINT) from error


def _blocks(module: Any, decoder: Any) -> Form:
    """T5 and its kin."""
    config = module.config
    shared = decoder.block[0].layer[0].SelfAttention
    made = []
    for block in decoder.block:
        own, cross, mlp = block.layer
        inner, other = own.SelfAttention, cross.EncDecAttention
        biased = inner if inner.has_relative_attention_bias else shared
        scale = getattr(inner, "scaling", 1.0)
        made.append(
            Block(
                Part(inner.q, inner.k, inner.v, inner.o, scale, _biases(biased)),
                own.layer_norm,
                Part(other.q, other.k, other.v, other.o, scale),
                cross.layer_norm,
                mlp.DenseReluDense,
                mlp.layer_norm,
            )
        )
    head = module.get_output_embeddings()
    factor = config.d_model**-0.5 if getattr(config, "scale_decoder_outputs", False) else 1.0
    return Form(
        blocks=tuple(made),
        embed=decoder.embed_tokens,
        positions=None,
        first_norm=None,
        last_norm=decoder.final_layer_norm,
        head=(lambda rows: head(rows * factor)) if factor != 1.0 else head,
        heads=config.num_heads,
        size=config.d_kv,
        length=UNBOUNDED,
    )


def _biases(attention: Any) -> Tensor:
    """Of each distance from 0 on [D, H]; those behind the last are as the last."""
    table = attention.relative_attention_bias.weight
    behind = -torch.arange(attention.relative_attention_max_distance + 1, device=table.device)
    buckets = attention._relative_position_bucket(
        behind,
        bidirectional=False,
        num_buckets=attention.relative_attention_num_buckets,
        max_distance=attention.relative_attention_max_distance,
    )
    biases: Tensor = table[buckets]
    return biases


def _layers(module: Any, decoder: Any) -> Form:
    """BART and its kin."""
    config = module.config
    positions = getattr(decoder.embed_positions, "weight", None)
    if positions is None:
        raise AttributeError("its positions are no table")
    positions = positions[getattr(decoder.embed_positions, "offset", 0) :]
    factor = getattr(decoder, "embed_scale", 1.0)
    head, bias = module.get_output_embeddings(), getattr(module, "final_logits_bias", None)
    heads = config.decoder_attention_heads
    return Form(
        blocks=tuple(map(_layer, decoder.layers)),
        embed=decoder.embed_tokens if factor == 1.0 else lambda tokens: decoder.embed_tokens(tokens) * factor,
        positions=positions,
        first_norm=getattr(decoder, "layernorm_embedding", None),
        last_norm=getattr(decoder, "layer_norm", None),
        head=head if bias is None else lambda rows: head(rows) + bias[0],
        heads=heads,
        size=config.d_model // heads,
        length=len(positions),
    )


def _layer(layer: Any) -> Block:
    own, cross, first, act, second = layer.self_attn, layer.encoder_attn, layer.fc1, layer.activation_fn, layer.fc2
    return Block(
        Part(own.q_proj, own.k_proj, own.v_proj, own.out_proj, own.scaling),
        layer.self_attn_layer_norm,
        Part(cross.q_proj, cross.k_proj, cross.v_proj, cross.out_proj, cross.scaling),
        layer.encoder_attn_layer_norm,
        lambda rows: second(act(first(rows))),
        layer.final_layer_norm,
    )
