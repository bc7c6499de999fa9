"""Tiny random checkpoints of many families, for tests of whatever drives a transformers module.

`FAMILIES` maps a name to a function that builds the module: float32, eval mode, the same weights each time.
Weights are large, and norms and biases are perturbed, so that a forgotten scale or bias shows; sliding
windows are short, so that they close within a test prompt; the rotary base is low, so that all channels turn.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

VOCABULARY = 97
POSITIONS = 128
REACH = 5  # positions that a sliding layer sees, its own included

COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": POSITIONS,
    "initializer_range": 0.15,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
ROPE = {"rope_type": "default", "rope_theta": 100.0}
GROUPED: dict[str, Any] = {"num_key_value_heads": 2, "rope_parameters": ROPE}
MIXED: dict[str, Any] = {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
GEMMA: dict[str, Any] = {
    **GROUPED,
    **MIXED,
    "head_dim": 12,  # not hidden_size / heads
    "query_pre_attn_scalar": 10,
    "sliding_window": REACH,
}
TWO_ROPES: dict[str, Any] = {
    "rope_parameters": {
        "sliding_attention": ROPE | {"rope_theta": 20.0},
        "full_attention": ROPE | {"rope_type": "linear", "factor": 2.0},
    }
}
MULTIPLIERS: dict[str, Any] = {
    "embedding_multiplier": 3.0,
    "residual_multiplier": 0.7,
    "attention_multiplier": 0.2,
    "logits_scaling": 2.0,
}
EXPERTS: dict[str, Any] = {"num_experts_per_tok": 2}
LATENT: dict[str, Any] = {  # keys and values come from one short row
    "num_key_value_heads": 4,
    "rope_parameters": ROPE,
    "kv_lora_rank": 12,
    "q_lora_rank": 10,
    "qk_nope_head_dim": 6,
    "qk_rope_head_dim": 4,
    "v_head_dim": 7,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 12,
    "first_k_dense_replace": 1,
}


def build(family: str, **settings: Any) -> PreTrainedModel:
    """A causal LM of transformers' `family` with random weights."""
    config = getattr(transformers, f"{family}Config")(**deepcopy(COMMON | settings))  # some write into what they get
    head = "LMHeadModel" if family == "GPT2" else "ForCausalLM"
    architecture = getattr(transformers, family.removesuffix("Text") + head)
    with torch.random.fork_rng():
        torch.manual_seed(len(family))
        module: PreTrainedModel = architecture(config).eval().requires_grad_(False)
        for name, weight in module.named_parameters():
            if name.endswith("bias") or "norm" in name or ".ln_" in name:
                weight.add_(0.2 * torch.randn_like(weight))
            elif "embed_positions" in name or "wpe" in name or "sinks" in name:
                weight.copy_(0.3 * torch.randn_like(weight))
        for name, buffer in module.named_buffers():
            if name.endswith("correction_bias"):  # of a router
                buffer.add_(0.2 * torch.randn_like(buffer))
    return module


FAMILIES: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": partial(build, "Llama", **GROUPED),
    "llama_yarn": partial(
        build,
        "Llama",
        num_key_value_heads=2,
        tie_word_embeddings=True,
        rope_parameters=ROPE | {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32},
    ),
    "mistral": partial(build, "Mistral", **GROUPED, sliding_window=REACH),
    "qwen2": partial(
        build, "Qwen2", **GROUPED, **MIXED, use_sliding_window=True, sliding_window=REACH, tie_word_embeddings=True
    ),
    "qwen3": partial(build, "Qwen3", **GROUPED, head_dim=12),
    "gemma2": partial(build, "Gemma2", **GEMMA, final_logit_softcapping=3.0, attn_logit_softcapping=2.0),
    "gemma3": partial(build, "Gemma3Text", **(GEMMA | TWO_ROPES)),
    "phi3": partial(build, "Phi3", **GROUPED, sliding_window=REACH),
    "olmo2": partial(build, "Olmo2", **GROUPED),
    "exaone4": partial(build, "Exaone4", **GROUPED, **MIXED, head_dim=12, sliding_window=REACH),
    "glm4": partial(build, "Glm4", **GROUPED, head_dim=12),
    "smollm3": partial(build, "SmolLM3", **GROUPED, no_rope_layers=[1, 0, 1], tie_word_embeddings=True),
    "starcoder2": partial(build, "Starcoder2", **GROUPED, sliding_window=REACH),
    "gpt2": partial(build, "GPT2"),
    "gpt_neox": partial(
        build, "GPTNeoX", rope_parameters=ROPE | {"partial_rotary_factor": 0.5}, use_parallel_residual=True
    ),
    "mixtral": partial(build, "Mixtral", **GROUPED, **EXPERTS, num_local_experts=4),
    "qwen3_moe": partial(
        build, "Qwen3Moe", **GROUPED, **EXPERTS, num_experts=4, moe_intermediate_size=24, norm_topk_prob=True
    ),
    "olmoe": partial(build, "Olmoe", **GROUPED, **EXPERTS, num_experts=4),
    "glm4_moe": partial(
        build,
        "Glm4Moe",
        num_key_value_heads=2,
        head_dim=12,
        rope_parameters=ROPE | {"partial_rotary_factor": 0.5},
        use_qk_norm=True,
        num_experts_per_tok=3,
        n_routed_experts=8,
        n_group=4,
        topk_group=2,
        n_shared_experts=2,
        first_k_dense_replace=1,
        moe_intermediate_size=12,
        routed_scaling_factor=2.5,
    ),
    "gpt_oss": partial(
        build, "GptOss", **GROUPED, **MIXED, **EXPERTS, head_dim=8, num_local_experts=4, sliding_window=REACH
    ),
    "granite": partial(build, "Granite", **GROUPED, **MULTIPLIERS),
    "ministral3": partial(  # queries grow with the position
        build,
        "Ministral3",
        num_key_value_heads=2,
        head_dim=8,
        rope_parameters=ROPE
        | {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "llama_4_scaling_beta": 0.9},
    ),
    "cohere": partial(build, "Cohere", **GROUPED, logit_scale=0.4, use_qk_norm=True),
    "phi": partial(build, "Phi", rope_parameters=ROPE | {"partial_rotary_factor": 0.5}, qk_layernorm=True),
    "opt": partial(build, "OPT", ffn_dim=48, word_embed_proj_dim=32, init_std=0.15),
}
"""name -> builder of a fresh module"""

OWN_ROTATION: dict[str, Callable[[], PreTrainedModel]] = {
    "llama4": partial(  # chunks of positions instead of a sliding window
        build,
        "Llama4Text",
        **GROUPED,
        **EXPERTS,
        head_dim=8,
        num_local_experts=4,
        intermediate_size_mlp=48,
        interleave_moe_layer_step=2,
        attention_chunk_size=REACH,
        attn_temperature_tuning=False,
        layer_types=["chunked_attention", "chunked_attention", "full_attention"],
        no_rope_layers=[1, 1, 0],
    ),
    "deepseek_v2": partial(build, "DeepseekV2", **LATENT),
    "deepseek_v3": partial(build, "DeepseekV3", **LATENT, n_group=2, topk_group=1),
    "youtu": partial(build, "Youtu", **LATENT),
}
"""name -> builder of a module whose keys cannot be had before rotation"""
