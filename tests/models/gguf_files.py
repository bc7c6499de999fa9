"""Writes small networks of transformers as GGUF files, as converters do, with a vocabulary of words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import dequantize, quantize
from torch import Tensor
from transformers import Gemma3TextConfig, LlamaConfig, PreTrainedModel, Qwen2Config, Qwen3Config
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

VOCABULARY = 48
PARTS = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
WHOLE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
KINDS = {"llama": LlamaConfig, "qwen2": Qwen2Config, "qwen3": Qwen3Config, "gemma3": Gemma3TextConfig}
GEMMA = {  # the same of Gemma 3's layers
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}


def network(architecture: str, **settings: Any) -> PreTrainedModel:
    """A network of random weights."""
    shape = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "vocab_size": VOCABULARY}
    shape |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128, "head_dim": 16}
    if architecture == "gemma3":
        shape |= {"num_hidden_layers": 7, "sliding_window": 4, "query_pre_attn_scalar": 16}
    config = KINDS[architecture](**shape | {"tie_word_embeddings": False} | settings)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)](config)
        for weight in module.parameters():
            weight.data = torch.randn_like(weight) * 0.15 + (1.0 if weight.ndim == 1 else 0.0)
    return module.eval().requires_grad_(False)


def pairs_of(module: PreTrainedModel) -> dict[str, Any]:
    """What a converter writes of the shape of a network."""
    config = module.config
    kind = config.model_type.removesuffix("_text")
    rope = config.rope_parameters
    return {
        "general.architecture": kind,
        f"{kind}.block_count": config.num_hidden_layers,
        f"{kind}.context_length": config.max_position_embeddings,
        f"{kind}.embedding_length": config.hidden_size,
        f"{kind}.feed_forward_length": config.intermediate_size,
        f"{kind}.attention.head_count": config.num_attention_heads,
        f"{kind}.attention.head_count_kv": config.num_key_value_heads,
        f"{kind}.attention.key_length": config.head_dim,
        f"{kind}.attention.value_length": config.head_dim,
        f"{kind}.attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        f"{kind}.rope.freq_base": float(rope.get("full_attention", rope)["rope_theta"]),
        f"{kind}.rope.dimension_count": config.head_dim,
        **({"gemma3.attention.sliding_window": config.sliding_window} if kind == "gemma3" else {}),
        **VOCABULARY_PAIRS,
    }


WORDS = ["<unk>", "<s>", "</s>", "<|end|>", *(f"w{number}" for number in range(4, VOCABULARY))]
VOCABULARY_PAIRS: dict[str, Any] = {
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.tokens": WORDS,
    "tokenizer.ggml.scores": [0.0] * VOCABULARY,
    "tokenizer.ggml.token_type": [2, 3, 3, 3, *[4] * (VOCABULARY - 4)],
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 2,
    "tokenizer.ggml.add_space_prefix": False,
    "tokenizer.chat_template": "{{ bos_token }}{{ messages[0]['content'] }}<|end|>",
}


def tensors_of(module: PreTrainedModel) -> dict[str, np.ndarray]:
    """The weights by their names in a file, and in its order of channels."""
    config, found = module.config, {}
    for name, held in module.state_dict().items():
        weight = held
        part, _, kind = name.rpartition(".")
        if part == "lm_head" and config.tie_word_embeddings:
            continue
        if config.model_type == "llama" and part.endswith(("q_proj", "k_proj")):
            halves = weight.view(-1, 2, config.head_dim // 2, *weight.shape[1:])
            weight = halves.transpose(1, 2).reshape(weight.shape)
        if config.model_type == "gemma3_text" and part.endswith("norm"):
            weight = weight + 1
        if part not in WHOLE:
            _, _, layer, inner = part.split(".", 3)
            parts = PARTS | GEMMA if config.model_type == "gemma3_text" else PARTS
            part = f"blk.{layer}.{parts[inner]}"
        found[f"{WHOLE.get(part, part)}.{kind}"] = weight.numpy()
    return found


def write(path: Path, pairs: Mapping[str, Any], tensors: Mapping[str, np.ndarray], kind: str = "F32") -> Path:
    """A file of pairs and tensors; matrices become of this kind."""
    writer = GGUFWriter(path, pairs.get("general.architecture", "none"))
    writer.kv_data[0].clear()  # the pairs name the architecture, or do not
    for key, value in pairs.items():
        _add(writer, key, value)
    for name, values in tensors.items():
        made = GGMLQuantizationType[kind if values.ndim > 1 else "F32"]
        writer.add_tensor(name, quantize(values, made), raw_dtype=made)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def rounded(module: PreTrainedModel, kind: str) -> PreTrainedModel:
    """The module itself, with the numbers that its matrices have in blocks of a kind."""
    made = GGMLQuantizationType[kind]
    for weight in module.parameters():
        if weight.ndim > 1:
            values = dequantize(quantize(weight.numpy(), made), made)
            weight.data = torch.from_numpy(np.ascontiguousarray(values)).view(weight.shape)
    return module


def said(module: PreTrainedModel, tokens: list[int]) -> Tensor:
    """The module's own logits [T, V]."""
    with torch.inference_mode():
        logits: Tensor = module(input_ids=torch.tensor([tokens])).logits[0]
    return logits
