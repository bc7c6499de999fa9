"""Published masked-diffusion networks as modules that transformers has: which one, and how their weights reach it.

A network is mapped only where the module computes the same; a config.json that asks for something else is refused.

LLaDA (arXiv 2502.09992) is a Llama with names of its own. LLaDA-MoE (arXiv 2509.24389) is a Qwen3-MoE: queries and
keys normed per head before they turn, experts weighted by a softmax over all of them that is not renormed over the
chosen. LLaDA 2 (arXiv 2512.15745) is a GLM-4-MoE: half of each head turns, experts are scored by sigmoids, chosen with
a bias within the groups whose two best experts score most, weighted without the bias, renormed and scaled, and shared
experts are added; its queries, keys and values are stored as one matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from ..errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers.configuration_utils import PretrainedConfig

Convert = Callable[[str, "Tensor"], Mapping[str, "Tensor"]]  # a stored weight, by name -> those that it holds


class Published(NamedTuple):
    """Where the weights of a checkpoint belong."""

    config: PretrainedConfig  # of the transformers module that computes the same
    names: Mapping[str, str] = {}  # pattern of a weight's name -> the module's name
    convert: Convert | None = None  # comes before the names, where one stored weight holds several


# What each network is known to be: allowed values by key, the first where config.json is silent.
LLADA = {
    "block_type": ("llama",),
    "layer_norm_type": ("rms",),
    "activation_type": ("silu",),
    "rope": (True,),
    "alibi": (False,),
    "attention_layer_norm": (False,),
    "bias_for_layer_norm": (False,),
    "include_bias": (False,),
    "include_qkv_bias": (False, None),
    "input_emb_norm": (False,),
    "scale_logits": (False,),
    "clip_qkv": (None,),
}
LLADA_MOE = {
    "qk_layernorm": (True,),
    "attention_bias": (False, None),
    "clip_qkv": (None,),
    "partial_rotary_factor": (1, None),
    "rope_scaling": (None,),
    "moe_router_score_function": ("softmax", None),
    "moe_router_enable_expert_bias": (False, None),
    "norm_topk_prob": (False, None),
    "routed_scaling_factor": (1, None),
    "shared_expert_intermediate_size": (None,),
}
LLADA2 = {
    "use_qk_norm": (True, None),
    "use_bias": (False, None),
    "use_qkv_bias": (False, None),
    "use_sliding_window": (False, None),
    "rope_scaling": (None,),
    "norm_head": (False, None),
    "score_function": ("sigmoid", None),
    "moe_router_enable_expert_bias": (True, None),
    "norm_topk_prob": (True, None),
}
LLADA_NAMES = {
    r"^model\.transformer\.wte\.": "model.embed_tokens.",
    r"^model\.transformer\.ln_f\.": "model.norm.",
    r"^model\.transformer\.ff_out\.": "lm_head.",
    r"^model\.transformer\.blocks\.(\d+)\.attn_norm\.": r"model.layers.\1.input_layernorm.",
    r"^model\.transformer\.blocks\.(\d+)\.ff_norm\.": r"model.layers.\1.post_attention_layernorm.",
    r"^model\.transformer\.blocks\.(\d+)\.q_proj\.": r"model.layers.\1.self_attn.q_proj.",
    r"^model\.transformer\.blocks\.(\d+)\.k_proj\.": r"model.layers.\1.self_attn.k_proj.",
    r"^model\.transformer\.blocks\.(\d+)\.v_proj\.": r"model.layers.\1.self_attn.v_proj.",
    r"^model\.transformer\.blocks\.(\d+)\.attn_out\.": r"model.layers.\1.self_attn.o_proj.",
    r"^model\.transformer\.blocks\.(\d+)\.ff_proj\.": r"model.layers.\1.mlp.gate_proj.",
    r"^model\.transformer\.blocks\.(\d+)\.up_proj\.": r"model.layers.\1.mlp.up_proj.",
    r"^model\.transformer\.blocks\.(\d+)\.ff_out\.": r"model.layers.\1.mlp.down_proj.",
}
LLADA2_NAMES = {
    r"^model\.word_embeddings\.": "model.embed_tokens.",
    r"^model\.layers\.(\d+)\.attention\.dense\.": r"model.layers.\1.self_attn.o_proj.",
    r"^model\.layers\.(\d+)\.attention\.query_layernorm\.": r"model.layers.\1.self_attn.q_norm.",
    r"^model\.layers\.(\d+)\.attention\.key_layernorm\.": r"model.layers.\1.self_attn.k_norm.",
    r"^model\.layers\.(\d+)\.mlp\.gate\.expert_bias$": r"model.layers.\1.mlp.gate.e_score_correction_bias",
}


def llada(content: Mapping[str, Any], where: str) -> Published:
    """LLaDA, from what its config.json says. Raises ModelError where that is another network, or incomplete."""
    from transformers import LlamaConfig

    _check(content, where, "LLaDA", LLADA)
    with _complete(where, "LLaDA"):
        config = LlamaConfig(
            vocab_size=content.get("embedding_size") or content["vocab_size"],
            hidden_size=content["d_model"],
            num_hidden_layers=content["n_layers"],
            num_attention_heads=content["n_heads"],
            num_key_value_heads=content.get("n_kv_heads") or content["n_heads"],
            intermediate_size=content["mlp_hidden_size"],
            max_position_embeddings=content["max_sequence_length"],
            rms_norm_eps=content.get("rms_norm_eps", 1e-5),
            rope_parameters={"rope_type": "default", "rope_theta": content.get("rope_theta", 10000.0)},
            tie_word_embeddings=bool(content.get("weight_tying")),
            **_tokens(content),
        )
    return Published(config, LLADA_NAMES)


def llada_moe(content: Mapping[str, Any], where: str) -> Published:
    """LLaDA-MoE; its weights have the module's names."""
    from transformers import Qwen3MoeConfig

    _check(content, where, "LLaDA-MoE", LLADA_MOE)
    with _complete(where, "LLaDA-MoE"):
        heads = content["num_attention_heads"]
        config = Qwen3MoeConfig(
            num_key_value_heads=content.get("num_key_value_heads") or heads,
            head_dim=content["hidden_size"] // heads,
            intermediate_size=content["dense_intermediate_size"],
            moe_intermediate_size=content["expert_intermediate_size"],
            num_experts=content["num_experts"],
            norm_topk_prob=False,
            mlp_only_layers=[layer for layer, mixed in enumerate(content["moe_layer_freq"]) if not mixed],
            rope_parameters={"rope_type": "default", "rope_theta": content["rope_theta"]},
            **_common(content),
        )
    return Published(config)


def llada2(content: Mapping[str, Any], where: str) -> Published:
    """LLaDA 2 and 2.1."""
    from transformers import Glm4MoeConfig

    _check(content, where, "LLaDA 2", LLADA2)
    with _complete(where, "LLaDA 2"):
        heads = content["num_attention_heads"]
        config = Glm4MoeConfig(
            num_key_value_heads=content["num_key_value_heads"],
            head_dim=content.get("head_dim") or content["hidden_size"] // heads,
            intermediate_size=content["intermediate_size"],
            first_k_dense_replace=content["first_k_dense_replace"],
            moe_intermediate_size=content["moe_intermediate_size"],
            n_routed_experts=content["num_experts"],
            n_shared_experts=content["num_shared_experts"],
            n_group=content["n_group"],
            topk_group=content["topk_group"],
            norm_topk_prob=content["num_experts_per_tok"] > 1,  # a single one keeps its score
            routed_scaling_factor=content["routed_scaling_factor"],
            use_qk_norm=True,
            rope_parameters={
                "rope_type": "default",
                "rope_theta": content["rope_theta"],
                "partial_rotary_factor": content["partial_rotary_factor"],
            },
            **_common(content),
        )
    rows = [count * config.head_dim for count in (heads, config.num_key_value_heads, config.num_key_value_heads)]

    def cut(name: str, weight: Tensor) -> Mapping[str, Tensor]:
        """Queries, keys and values lie one below the other."""
        fused = ".attention.query_key_value."
        if fused not in name:
            return {name: weight}
        names = [name.replace(fused, f".self_attn.{part}_proj.") for part in "qkv"]
        return dict(zip(names, torch.split(weight, rows), strict=True))

    return Published(config, LLADA2_NAMES, cut)


def _common(content: Mapping[str, Any]) -> dict[str, Any]:
    """What mixtures of experts and transformers call by the same name."""
    keys = ["vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_experts_per_tok"]
    keys += ["hidden_act", "max_position_embeddings", "rms_norm_eps"]
    tied = bool(content.get("tie_word_embeddings"))
    return {key: content[key] for key in keys} | {"tie_word_embeddings": tied} | _tokens(content)


def _tokens(content: Mapping[str, Any]) -> dict[str, Any]:
    return {key: content.get(key) for key in ("eos_token_id", "bos_token_id", "pad_token_id")}


def _check(content: Mapping[str, Any], where: str, network: str, known: Mapping[str, tuple[Any, ...]]) -> None:
    for key, values in known.items():
        if content.get(key, values[0]) not in values:
            raise ModelError(
                f"{where}: a {network} with {key}={content[key]!r} is another network than the one known",
                hint=f"{key}={values[0]!r} is known",
            )


@contextmanager
def _complete(where: str, network: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # a key is missing, or the config class raises over a field of a wrong file
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"{where}: its {network} config lacks or misstates {reason}", hint="is it complete?"
        ) from error
