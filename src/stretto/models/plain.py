"""Llama-shaped checkpoints read from their files alone, as the module that the fast path is made of and checked by.

transformers takes seconds to import, and these networks are all alike. So where config.json says nothing but what is
known here, and the weights are those that it calls for, the module below holds them: one screen of plain arithmetic,
equal to transformers' own (a test compares them for each kind). Anything else is left to transformers (stock.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Size, Tensor, nn

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
COUNTS = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "max_position_embeddings"),
)
TABLE, HEAD = "model.embed_tokens.weight", "lm_head.weight"
SILENT = {  # keys of config.json that change no logit here, whatever they say
    *("architectures", "bos_token_id", "eos_token_id", "pad_token_id", "initializer_range", "use_cache"),
    *("dtype", "torch_dtype", "attention_dropout", "pretraining_tp", "transformers_version", "max_window_layers"),
    *("_name_or_path", "is_llama_config", "transformers.js_config", "stretto_diffusion"),
}


@dataclass(frozen=True, slots=True)
class Traits:
    """What the networks of one model type have in common."""

    bias: bool = False  # of queries, keys and values
    head_norm: bool = False  # of queries and keys
    head_dim: int | None = None  # where config.json names none; None: the channels in equal parts
    named: tuple[str, ...] = ()  # keys that config.json must have, since transformers has a usual value for them


KINDS = {
    "llama": Traits(),
    "mistral": Traits(named=("sliding_window",)),
    "qwen2": Traits(bias=True),
    "qwen3": Traits(head_norm=True, head_dim=128),
}


@dataclass(frozen=True)
class Config:
    """The shape of a network, under the names that config.json has for it."""

    model_type: str
    name_or_path: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    max_position_embeddings: int
    head_dim: int
    rms_norm_eps: float
    rope_theta: float
    tied: bool  # whether the head is the embedding table

    def get_text_config(self) -> Config:
        """Itself: there is nothing but text."""
        return self


def read(
    folder: Path,
    content: Mapping[str, Any],
    files: Sequence[Path],
    dtype: torch.dtype | Literal["auto"],
    device: torch.device,
) -> Causal | None:
    """The network in these weight files, or None where they or config.json hold anything that is not known here."""
    config = config_of(content, str(folder))
    named = content.get("dtype", content.get("torch_dtype"))
    held = DTYPES.get(str(named)) if isinstance(dtype, str) else dtype
    if config is None or held is None:
        return None
    with torch.device("meta"):
        module = Causal(config)
    shapes = {name: weight.shape for name, weight in module.state_dict().items()}
    if config.tied:
        del shapes[HEAD]
    weights = _weights(files, shapes, held, device)
    if weights is None:
        return None
    weights.setdefault(HEAD, weights[TABLE])
    module.load_state_dict(weights, assign=True)
    if config.tied:
        module.lm_head.weight = module.model.embed_tokens.weight
    module.model.rotary_emb = Rotary(config, device)
    return module.eval().requires_grad_(False)


def config_of(content: Mapping[str, Any], name: str) -> Config | None:
    """The shape that config.json names; None where it says less than is needed, or more than is known."""
    traits = KINDS.get(str(content.get("model_type")))
    if traits is None or not content.keys() >= {"eos_token_id", *traits.named}:
        return None
    said = {key: value for key, value in content.items() if key not in SILENT and value not in (None, False)}
    rope = said.pop("rope_parameters", None) or {"rope_theta": said.pop("rope_theta", None)}
    if said.pop("model_type").startswith("qwen") and "use_sliding_window" not in said:
        said.pop("sliding_window", None)
        if set(said.get("layer_types", ())) == {"full_attention"}:
            del said["layer_types"]
    counts = {key: said.pop(key, None) for key in COUNTS}
    if not all(type(count) is int and count > 0 for count in counts.values()) or not isinstance(rope, Mapping):
        return None
    rest = {key: said.pop(key, None) for key in ("head_dim", "rms_norm_eps", "hidden_act", "tie_word_embeddings")}
    size = rest["head_dim"] or traits.head_dim or counts["hidden_size"] // counts["num_attention_heads"]
    theta, eps = rope.get("rope_theta"), rest["rms_norm_eps"]
    if said or rope.keys() - {"rope_theta", "rope_type"} or rope.get("rope_type", "default") != "default":
        return None
    if rest["hidden_act"] != "silu" or not isinstance(theta, int | float) or not isinstance(eps, float):
        return None
    if type(size) is not int or size % 2 or counts["num_attention_heads"] % counts["num_key_value_heads"]:
        return None
    if counts["hidden_size"] % counts["num_attention_heads"] or rest["tie_word_embeddings"] not in (None, True):
        return None
    kind, tied = str(content["model_type"]), bool(rest["tie_word_embeddings"])
    return Config(kind, name, **counts, head_dim=size, rms_norm_eps=eps, rope_theta=float(theta), tied=tied)


def _weights(
    files: Sequence[Path], shapes: Mapping[str, Size], dtype: torch.dtype, device: torch.device
) -> dict[str, Tensor] | None:
    """The weights by name; None where one is missing, has another shape, is none of floats or belongs nowhere."""
    found: dict[str, Tensor] = {}
    for file in files:
        try:
            with safe_open(file, framework="pt") as opened:
                for name in opened.keys():  # noqa: SIM118  # it is no mapping
                    found[name] = opened.get_tensor(name)
        except SafetensorError:
            return None
    if {name: weight.shape for name, weight in found.items()} != shapes:
        return None
    if any(weight.dtype not in DTYPES.values() for weight in found.values()):
        return None
    return {name: weight.to(device=device, dtype=dtype) for name, weight in found.items()}


# -- the network ------------------------------------------------------------------------------------


class Norm(nn.Module):
    """An RMS norm, computed in float32."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size))
        self.eps = eps

    def forward(self, rows: Tensor) -> Tensor:
        """[..., size] -> the same."""
        wide = rows.float()
        return self.weight * (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)).to(rows.dtype)


class Rotary(nn.Module):
    """How far each pair of channels turns at a position."""

    rope_type = "default"
    attention_scaling = 1.0

    def __init__(self, config: Config, device: torch.device) -> None:
        super().__init__()
        powers = torch.arange(0, config.head_dim, 2, device=device).float() / config.head_dim
        self.inv_freq = 1.0 / config.rope_theta**powers

    def forward(self, rows: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines of positions [1, T]: each [1, T, size], in the dtype of `rows`."""
        angles = (positions[..., None].float() * self.inv_freq).repeat(1, 1, 2)
        return angles.cos().to(rows.dtype), angles.sin().to(rows.dtype)


class Attention(nn.Module):
    """Grouped heads that see what stands before them."""

    def __init__(self, config: Config, traits: Traits) -> None:
        super().__init__()
        self.head_dim, self.scaling = config.head_dim, config.head_dim**-0.5
        channels, heads, key_heads = config.hidden_size, config.num_attention_heads, config.num_key_value_heads
        self.q_proj = nn.Linear(channels, heads * config.head_dim, bias=traits.bias)
        self.k_proj = nn.Linear(channels, key_heads * config.head_dim, bias=traits.bias)
        self.v_proj = nn.Linear(channels, key_heads * config.head_dim, bias=traits.bias)
        self.o_proj = nn.Linear(heads * config.head_dim, channels, bias=False)
        if traits.head_norm:
            self.q_norm, self.k_norm = (Norm(config.head_dim, config.rms_norm_eps) for _ in range(2))

    def forward(self, rows: Tensor, turn: tuple[Tensor, Tensor], shut: Tensor) -> Tensor:
        """[1, T, C] -> [1, T, C]; what `shut` [T, T] says, no query reads."""
        parts = (self.q_proj(rows), self.k_proj(rows), self.v_proj(rows))
        queries, keys, values = (part.unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for part in parts)
        if hasattr(self, "q_norm"):
            queries, keys = self.q_norm(queries), self.k_norm(keys)
        queries, keys = _turned(queries, *turn), _turned(keys, *turn)
        keys, values = (part.repeat_interleave(queries.shape[1] // keys.shape[1], dim=1) for part in (keys, values))
        scores = (queries @ keys.mT * self.scaling).masked_fill(shut, -torch.inf)
        mixed = scores.float().softmax(-1).to(rows.dtype) @ values
        found: Tensor = self.o_proj(mixed.transpose(1, 2).flatten(2))
        return found


def _turned(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Heads [1, H, T, size] of which the first and the second half of the channels turn together."""
    first, second = heads.chunk(2, dim=-1)
    return heads * cos + torch.cat([-second, first], dim=-1) * sin


class Gated(nn.Module):
    """The MLP."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)
        self.act_fn = F.silu

    def forward(self, rows: Tensor) -> Tensor:
        """[1, T, C] -> [1, T, C]."""
        found: Tensor = self.down_proj(self.act_fn(self.gate_proj(rows)) * self.up_proj(rows))
        return found


class Layer(nn.Module):
    """Attention, then the MLP, each added to the rows that it reads."""

    def __init__(self, config: Config, traits: Traits) -> None:
        super().__init__()
        self.input_layernorm = Norm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config, traits)
        self.post_attention_layernorm = Norm(config.hidden_size, config.rms_norm_eps)
        self.mlp = Gated(config)

    def forward(self, rows: Tensor, turn: tuple[Tensor, Tensor], shut: Tensor) -> Tensor:
        """[1, T, C] -> [1, T, C]."""
        rows = rows + self.self_attn(self.input_layernorm(rows), turn, shut)
        found: Tensor = rows + self.mlp(self.post_attention_layernorm(rows))
        return found


class Decoder(nn.Module):
    """Embedding, layers, final norm, under the names that checkpoints have for them."""

    rotary_emb: Rotary  # made when the weights are read

    def __init__(self, config: Config) -> None:
        super().__init__()
        traits = KINDS[config.model_type]
        table = torch.empty(
            config.vocab_size, config.hidden_size
        )  # a table that drew its numbers would import for long
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, _weight=table)
        self.layers = nn.ModuleList(Layer(config, traits) for _ in range(config.num_hidden_layers))
        self.norm = Norm(config.hidden_size, config.rms_norm_eps)


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
        rows = self.model.embed_tokens(tokens)
        turn = self.model.rotary_emb(rows, positions)
        shut = positions.mT < positions  # [T, T]: what stands behind a query
        for layer in self.model.layers:
            rows = layer(rows, turn, shut)
        logits: Tensor = self.lm_head(self.model.norm(rows)).float()
        return logits
