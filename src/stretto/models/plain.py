"""Checkpoints read from their files alone, as the module that the fast path is made of and checked by.

transformers takes seconds to import, and these networks are all alike. So where config.json says nothing but what is
known here (shape.py), and the weights are those that it calls for, the module below holds them: two screens of plain
arithmetic, equal to transformers' own (a test compares them for each kind). Anything else is left to transformers
(stock.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import rope
from .quantised import Quantised, QuantisedEmbedding, QuantisedLinear
from .shape import FULL, SLIDING, Config, config_of

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
TABLE, HEAD = "model.embed_tokens.weight", "lm_head.weight"

Weight: TypeAlias = Tensor | Quantised


def read(
    content: Mapping[str, Any],
    weights: Mapping[str, Weight],
    name: str,
    dtype: torch.dtype | Literal["auto"],
    device: torch.device,
) -> Causal | None:
    """The network with these weights, or None where they or config.json hold anything that is not known here."""
    config = config_of(content, name)
    named = content.get("dtype", content.get("torch_dtype"))
    held = DTYPES.get(str(named)) if isinstance(dtype, str) else dtype
    if config is None or held is None:
        return None
    if config.traits.lifted:  # the table scales its rows in its own precision
        scale = float(torch.tensor(config.embedding_multiplier, dtype=held))
        config = replace(config, embedding_multiplier=scale)
    with torch.device("meta"):
        module = Causal(config)
    shapes = {name: tuple(weight.shape) for name, weight in module.state_dict().items()}
    if config.tied:
        del shapes[HEAD]
    if {name: tuple(weight.shape) for name, weight in weights.items()} != shapes:
        return None
    if any(isinstance(weight, Tensor) and weight.dtype not in DTYPES.values() for weight in weights.values()):
        return None
    return filled(module, weights, held, device)


def filled(module: Causal, weights: Mapping[str, Weight], dtype: torch.dtype, device: torch.device) -> Causal:
    """The network with these weights, whose head is its table if none is named; in float32 on the CPU blocks stay."""
    blocks = device.type == "cpu" and dtype is torch.float32
    kept = {name: weight for name, weight in weights.items() if blocks and isinstance(weight, Quantised)}
    rest = {name: in_floats(weight, dtype, device) for name, weight in weights.items() if name not in kept}
    module.load_state_dict(rest, strict=False, assign=True)
    for name, weight in kept.items():
        owner, _, part = name.removesuffix(".weight").rpartition(".")
        bias = rest.get(f"{owner}.{part}.bias")
        made = QuantisedEmbedding(weight) if name == TABLE else QuantisedLinear(weight, bias)
        setattr(module.get_submodule(owner), part, made)
    if HEAD not in weights and TABLE in kept:
        setattr(module, "lm_head", QuantisedLinear(kept[TABLE]))  # noqa: B010  # of another class than it was
    elif HEAD not in weights:
        module.lm_head.weight = module.model.embed_tokens.weight
    module.model.rotary_emb = Rotary(module.config, device)
    return module.eval().requires_grad_(False)


def in_floats(weight: Weight, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The numbers of a weight."""
    return (weight.dense() if isinstance(weight, Quantised) else weight).to(device=device, dtype=dtype)


# -- the network ------------------------------------------------------------------------------------


class Norm(nn.Module):
    """An RMS norm, computed in float32; `lifted`: its weights are added to 1, and multiplied there as well."""

    def __init__(self, size: int, config: Config) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size))
        self.eps, self.lifted = config.rms_norm_eps, config.traits.lifted

    def forward(self, rows: Tensor) -> Tensor:
        """[..., size] -> the same."""
        wide = rows.float()
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        if self.lifted:
            return (wide * (1.0 + self.weight.float())).to(rows.dtype)
        return self.weight * wide.to(rows.dtype)


class Rotary(nn.Module):
    """How far each pair of channels turns at a position, by type of layer."""

    def __init__(self, config: Config, device: torch.device) -> None:
        super().__init__()
        self.rope_type = {each: str(found["rope_type"]) for each, found in config.rope_parameters.items()}
        for each, found in config.rope_parameters.items():
            frequencies, amplitude = rope.frequencies(found, config.head_dim)
            setattr(self, f"{each}_inv_freq", frequencies.to(device))
            setattr(self, f"{each}_attention_scaling", amplitude)

    def forward(self, rows: Tensor, positions: Tensor, layer_type: str) -> tuple[Tensor, Tensor]:
        """Cosines and sines of positions [1, T]: each [1, T, channels that turn], in the dtype of `rows`."""
        angles = (positions[..., None].float() * getattr(self, f"{layer_type}_inv_freq")).repeat(1, 1, 2)
        amplitude = getattr(self, f"{layer_type}_attention_scaling")
        return (angles.cos() * amplitude).to(rows.dtype), (angles.sin() * amplitude).to(rows.dtype)


class Attention(nn.Module):
    """Grouped heads that see what stands before them, or the last of it."""

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        self.head_dim, self.scaling = config.head_dim, config.scaling
        self.layer_type = config.layer_types[layer]
        self.sliding_window = config.sliding_window if self.layer_type == SLIDING else None
        self.use_rope = bool(config.no_rope_layers[layer])
        self.attn_logit_softcapping = config.attn_logit_softcapping
        channels, traits = config.hidden_size, config.traits
        heads, key_heads = config.num_attention_heads, config.num_key_value_heads
        self.sizes = [count * config.head_dim for count in (heads, key_heads, key_heads)]
        if traits.fused:
            self.qkv_proj = nn.Linear(channels, sum(self.sizes), bias=traits.bias)
        else:
            self.q_proj, self.k_proj, self.v_proj = (nn.Linear(channels, size, bias=traits.bias) for size in self.sizes)
        self.o_proj = nn.Linear(self.sizes[0], channels, bias=False)
        self.whole_norm = traits.whole_norm
        if traits.head_norm or traits.whole_norm:
            sizes = self.sizes[:2] if traits.whole_norm else (config.head_dim, config.head_dim)
            self.q_norm, self.k_norm = (Norm(size, config) for size in sizes)

    def forward(self, rows: Tensor, turn: tuple[Tensor, Tensor], shut: Tensor) -> Tensor:
        """[1, T, C] -> [1, T, C]; what `shut` [T, T] says, no query reads."""
        if hasattr(self, "qkv_proj"):
            queries, keys, values = self.qkv_proj(rows).split(self.sizes, dim=-1)
        else:
            queries, keys, values = self.q_proj(rows), self.k_proj(rows), self.v_proj(rows)
        if self.whole_norm:
            queries, keys = self.q_norm(queries), self.k_norm(keys)
        queries, keys, values = (
            part.unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for part in (queries, keys, values)
        )
        if hasattr(self, "q_norm") and not self.whole_norm:
            queries, keys = self.q_norm(queries), self.k_norm(keys)
        if self.use_rope:
            queries, keys = _turned(queries, *turn), _turned(keys, *turn)
        keys, values = (part.repeat_interleave(queries.shape[1] // keys.shape[1], dim=1) for part in (keys, values))
        scores = _capped(queries @ keys.mT * self.scaling, self.attn_logit_softcapping).masked_fill(shut, -torch.inf)
        mixed = scores.float().softmax(-1).to(rows.dtype) @ values
        found: Tensor = self.o_proj(mixed.transpose(1, 2).flatten(2))
        return found


def _turned(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Heads [1, H, T, size]: of the channels that turn, the first and the second half turn together."""
    turning, still = heads.tensor_split((cos.shape[-1],), dim=-1)
    first, second = turning.chunk(2, dim=-1)
    return torch.cat([turning * cos + torch.cat([-second, first], dim=-1) * sin, still], dim=-1)


def _capped(numbers: Tensor, cap: float | None) -> Tensor:
    """Bounded by tanh, where there is a bound."""
    return numbers if cap is None else torch.tanh(numbers / cap) * cap


class Gated(nn.Module):
    """The MLP."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        channels, inner, self.lifted = config.hidden_size, config.intermediate_size, config.traits.lifted
        if config.traits.fused:
            self.gate_up_proj = nn.Linear(channels, 2 * inner, bias=False)
        else:
            self.gate_proj, self.up_proj = (nn.Linear(channels, inner, bias=False) for _ in range(2))
        self.down_proj = nn.Linear(inner, channels, bias=False)

    def act_fn(self, gate: Tensor) -> Tensor:
        """What the gate lets through."""
        return F.gelu(gate, approximate="tanh") if self.lifted else F.silu(gate)

    def forward(self, rows: Tensor) -> Tensor:
        """[1, T, C] -> [1, T, C]."""
        if hasattr(self, "gate_up_proj"):
            gate, up = self.gate_up_proj(rows).chunk(2, dim=-1)
        else:
            gate, up = self.gate_proj(rows), self.up_proj(rows)
        found: Tensor = self.down_proj(self.act_fn(gate) * up)
        return found


class Layer(nn.Module):
    """Attention, then the MLP, each added to the rows that it reads."""

    def __init__(self, config: Config, index: int) -> None:
        super().__init__()
        self.residual_multiplier = config.residual_multiplier
        self.self_attn = Attention(config, index)
        self.mlp = Gated(config)
        self.norms = config.traits.norms
        for name in filter(None, self.norms):
            setattr(self, name, Norm(config.hidden_size, config))

    def forward(self, rows: Tensor, turn: tuple[Tensor, Tensor], shut: Tensor) -> Tensor:
        """[1, T, C] -> [1, T, C]."""
        read = self.self_attn(self._normed(0, rows), turn, shut)
        rows = rows + self._normed(1, read) * self.residual_multiplier
        found = self.mlp(self._normed(2, rows))
        return rows + self._normed(3, found) * self.residual_multiplier

    def _normed(self, place: int, rows: Tensor) -> Tensor:
        name = self.norms[place]
        found: Tensor = getattr(self, name)(rows) if name else rows
        return found


class Decoder(nn.Module):
    """Embedding, layers, final norm, under the names that checkpoints have for them."""

    rotary_emb: Rotary  # made when the weights are read

    def __init__(self, config: Config) -> None:
        super().__init__()
        # a table that drew its numbers would import for long
        table = torch.empty(config.vocab_size, config.hidden_size)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, _weight=table)
        self.layers = nn.ModuleList(Layer(config, index) for index in range(config.num_hidden_layers))
        self.norm = Norm(config.hidden_size, config)


class Causal(nn.Module):
    """A whole network; made by `read`."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    @property
    def base_model(self) -> Decoder:
        """What stands before the head."""
        return self.model

    def get_output_embeddings(self) -> nn.Linear:
        """The head."""
        return self.lm_head

    def logits_at(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Logits of tokens [1, T] that stand at ascending positions [1, T]: [1, T, V] float32."""
        config, base = self.config, self.model
        rows = base.embed_tokens(tokens) * config.embedding_multiplier
        turns = {each: base.rotary_emb(rows, positions, each) for each in config.rope_parameters}
        back = positions.mT - positions  # [T, T] how far before a query a token stands
        shut = {FULL: back < 0, SLIDING: (back < 0) | (back >= (config.sliding_window or 0))}
        for layer, layer_type in zip(base.layers, config.layer_types, strict=True):
            rows = layer(rows, turns[layer_type], shut[layer_type])
        return _capped(self.lm_head(base.norm(rows)).float() / config.logits_scaling, config.final_logit_softcapping)
