"""What config.json says of a network that plain.py can hold; where it says anything else, nothing is read from it.

A key that is not there has the value that transformers has for it, or must be there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from . import rope

COUNTS = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "max_position_embeddings"),
)
COMMON = (
    *("model_type", "head_dim", "rms_norm_eps", "tie_word_embeddings"),
    *("rope_parameters", "rope_theta", "rope_scaling"),
)
FACTORS = ("embedding_multiplier", "residual_multiplier", "logits_scaling")
CAPS = ("attn_logit_softcapping", "final_logit_softcapping")
SLIDING, FULL = "sliding_attention", "full_attention"
SILENT = {  # keys of config.json that change no logit here, whatever they say
    *("architectures", "bos_token_id", "eos_token_id", "pad_token_id", "initializer_range", "use_cache"),
    *("dtype", "torch_dtype", "attention_dropout", "pretraining_tp", "transformers_version", "max_window_layers"),
    *("_name_or_path", "is_llama_config", "transformers.js_config", "stretto_diffusion"),
    *("resid_pdrop", "embd_pdrop", "cache_implementation", "_sliding_window_pattern"),
}


Norms = tuple[str | None, str | None, str | None, str | None]
NORMS: dict[str, Norms] = {  # by which family began so: before attention, of what it gives, before and of the MLP
    "llama": ("input_layernorm", None, "post_attention_layernorm", None),
    "gemma2": (
        *("input_layernorm", "post_attention_layernorm"),
        *("pre_feedforward_layernorm", "post_feedforward_layernorm"),
    ),
    "glm4": ("input_layernorm", "post_self_attn_layernorm", "post_attention_layernorm", "post_mlp_layernorm"),
    "olmo2": (None, "post_attention_layernorm", None, "post_feedforward_layernorm"),
}


@dataclass(frozen=True, slots=True)
class Traits:
    """What the networks of one model type have in common, and what their config.json may say."""

    bias: bool = False  # of queries, keys and values
    norms: Norms = NORMS["llama"]
    head_norm: bool = False  # of queries and keys, each head by itself
    whole_norm: bool = False  # of queries and keys, all heads together
    lifted: bool = False  # norms multiply by 1 + weight, rows grow by the root of their channels, gates are GELU
    fused: bool = False  # queries, keys and values in one matrix, gate and up in another
    tied: bool = False  # the head is the table where config.json does not say
    head_dim: int | None = None  # where config.json names none; None: the channels in equal parts
    gate: str = "hidden_act"  # the key that names the activation of the MLP
    pattern: int | None = None  # each so-many-th layer sees all, where layer types are not named; None: as the others
    named: tuple[str, ...] = ()  # keys that must be there, since transformers has a usual value for them
    more: tuple[str, ...] = ()  # further keys that may


WINDOWS = ("use_sliding_window", "sliding_window", "layer_types")
GEMMA = Traits(lifted=True, tied=True, head_dim=256)
SCALED = ("query_pre_attn_scalar", "sliding_window")
LATER_GEMMA = replace(GEMMA, norms=NORMS["gemma2"], gate="hidden_activation", named=SCALED)
KINDS = {
    "llama": Traits(),
    "mistral": Traits(named=("sliding_window",)),
    "qwen2": Traits(bias=True, more=WINDOWS),
    "qwen3": Traits(head_norm=True, head_dim=128, more=WINDOWS),
    "phi3": Traits(fused=True, more=("sliding_window", "partial_rotary_factor", "original_max_position_embeddings")),
    "granite": Traits(named=("attention_multiplier",), more=FACTORS),
    "smollm3": Traits(tied=True, more=(*WINDOWS, "no_rope_layers", "no_rope_layer_interval")),
    "olmo2": Traits(norms=NORMS["olmo2"], whole_norm=True),
    "gemma": GEMMA,
    "gemma2": replace(LATER_GEMMA, pattern=2, named=(*SCALED, *CAPS), more=("layer_types",)),
    "gemma3_text": replace(
        LATER_GEMMA,
        head_norm=True,
        pattern=6,
        more=("layer_types", "sliding_window_pattern", "rope_local_base_freq", "final_logit_softcapping"),
    ),
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
    tied: bool  # whether the head is the embedding table
    scaling: float  # of the scores
    layer_types: tuple[str, ...]  # SLIDING or FULL
    sliding_window: int | None  # positions that a sliding layer sees, its own included
    rope_parameters: Mapping[str, Mapping[str, Any]]  # by type of layer, `rope.known`
    no_rope_layers: tuple[int, ...]  # by layer; 0: it has no rotation
    embedding_multiplier: float = 1.0
    residual_multiplier: float = 1.0
    logits_scaling: float = 1.0
    attn_logit_softcapping: float | None = None
    final_logit_softcapping: float | None = None

    def get_text_config(self) -> Config:
        """Itself: there is nothing but text."""
        return self

    @property
    def traits(self) -> Traits:
        """What it shares with others of its type."""
        return KINDS[self.model_type]


class _Unknown(Exception):
    """config.json says something that is not known here, or too little."""


def config_of(content: Mapping[str, Any], name: str) -> Config | None:
    """The shape that config.json names; None where it says less than is needed, or more than is known."""
    traits = KINDS.get(str(content.get("model_type")))
    if traits is None or not content.keys() >= {"eos_token_id", *traits.named}:
        return None
    said = {key: value for key, value in content.items() if key not in SILENT and value not in (None, False)}
    if said.keys() - {*COMMON, *COUNTS, traits.gate, *traits.named, *traits.more}:
        return None
    try:
        return _config(said, traits, name, content.get("tie_word_embeddings", traits.tied))
    except _Unknown:
        return None


def _config(said: Mapping[str, Any], traits: Traits, name: str, tied: Any) -> Config:
    counts: dict[str, Any] = {key: said.get(key) for key in COUNTS}
    _must(all(type(count) is int and count > 0 for count in counts.values()))
    heads, channels, layers = counts["num_attention_heads"], counts["hidden_size"], counts["num_hidden_layers"]
    _must(heads % counts["num_key_value_heads"] == 0 and channels % heads == 0)
    size = said.get("head_dim", traits.head_dim or channels // heads)
    _must(type(size) is int and size > 0 and size % 2 == 0)
    _must(said.get(traits.gate) == ("gelu_pytorch_tanh" if traits.lifted else "silu"))
    _must(tied in (True, False) and isinstance(said.get("rms_norm_eps"), float))
    factors: dict[str, Any] = {key: _number(said[key]) for key in (*FACTORS, *CAPS) if key in said}
    if traits.lifted:
        factors["embedding_multiplier"] = channels**0.5
    types, window = _layer_types(said, traits, layers)
    return Config(
        model_type=said["model_type"],
        name_or_path=name,
        **counts,
        head_dim=size,
        rms_norm_eps=said["rms_norm_eps"],
        tied=tied,
        scaling=_scaling(said, traits, size),
        layer_types=types,
        sliding_window=window,
        rope_parameters=_ropes(said, traits, types),
        no_rope_layers=_no_rope_layers(said, layers),
        **factors,
    )


def _must(holds: bool) -> None:
    if not holds:
        raise _Unknown


def _number(value: Any) -> float:
    _must(type(value) in (int, float) and value > 0)
    return float(value)


def _scaling(said: Mapping[str, Any], traits: Traits, size: int) -> float:
    """What scores are multiplied by."""
    if "attention_multiplier" in traits.named:
        return _number(said.get("attention_multiplier"))
    scalar = said.get("query_pre_attn_scalar") if "query_pre_attn_scalar" in traits.named else size
    return float(_number(scalar) ** -0.5)


def _layer_types(said: Mapping[str, Any], traits: Traits, layers: int) -> tuple[tuple[str, ...], int | None]:
    """The type of each layer, and the window of those that slide."""
    window = said.get("sliding_window")
    if "use_sliding_window" in traits.more and not said.get("use_sliding_window"):
        window = None
    _must(window is None or (type(window) is int and window > 0))
    given = said.get("layer_types")
    if given is None:
        _must(window is None or "use_sliding_window" not in traits.more)  # its usual pattern is not known here
        pattern = said.get("sliding_window_pattern", traits.pattern) or layers + 1
        _must(type(pattern) is int)
        given = [SLIDING if window and (layer + 1) % pattern else FULL for layer in range(layers)]
    _must(isinstance(given, list) and len(given) == layers and all(each in (SLIDING, FULL) for each in given))
    _must(window is not None or SLIDING not in given)
    return tuple(given), window


def _ropes(said: Mapping[str, Any], traits: Traits, types: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What is said of rotations, by type of layer: in the older form, or in the newer one."""
    given = said.get("rope_parameters")
    older = {key: said[key] for key in ("rope_theta", "rope_scaling", "rope_local_base_freq") if key in said}
    by_type = "rope_local_base_freq" in traits.more
    if given is None:
        scaling = older.get("rope_scaling", {})
        _must(isinstance(scaling, Mapping) and "rope_theta" not in scaling)
        given = {"rope_theta": older.get("rope_theta")} | scaling
        if by_type:
            given = {FULL: given, SLIDING: {"rope_theta": older.get("rope_local_base_freq")}}
    else:
        _must(not older and isinstance(given, Mapping) and (given.keys() <= {FULL, SLIDING}) is by_type)
    ropes = {each: given.get(each) if by_type else given for each in sorted({*types})}
    return {each: _rope(said, parameters) for each, parameters in ropes.items()}


def _rope(said: Mapping[str, Any], parameters: Any) -> dict[str, Any]:
    """Parameters of one rotation, with their type."""
    _must(isinstance(parameters, Mapping))
    found = {key: value for key, value in parameters.items() if value is not None}
    found.setdefault("rope_type", found.pop("type", "default"))
    if "partial_rotary_factor" in said:
        found.setdefault("partial_rotary_factor", said["partial_rotary_factor"])
    _must(rope.known(found))
    _must(found["rope_type"] == "default" or "original_max_position_embeddings" not in said)
    _must("partial_rotary_factor" not in found or said["model_type"] == "phi3")
    return found


def _no_rope_layers(said: Mapping[str, Any], layers: int) -> tuple[int, ...]:
    """Which layers rotate: 1, and which do not: 0."""
    given = said.get("no_rope_layers")
    if given is None:
        interval = said.get("no_rope_layer_interval", 4 if said["model_type"] == "smollm3" else layers + 1)
        _must(type(interval) is int)
        given = [int((layer + 1) % interval != 0) for layer in range(layers)]
    _must(isinstance(given, list) and len(given) == layers and all(each in (0, 1) for each in given))
    return tuple(map(int, given))
