"""Tiny random masked-diffusion checkpoints in their official layouts, and a slow forward that shares nothing with ours.

Weights are written under the published names, with a config.json of the published keys. The forward is one sequence
at a time, straight from the papers: RMS norm, rotary positions in halves, grouped heads, SiLU-gated MLP.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

SIZE, LAYERS, HEADS, KEY_HEADS, INNER, VOCABULARY, MASK, END = 32, 2, 4, 2, 48, 40, 39, 2
WIDTH = SIZE // HEADS
THETA, EPSILON = 100.0, 1e-5
BLOCK = 4


@dataclass(frozen=True)
class Kind:
    """One published layout."""

    config: dict
    block: int | None = None  # how far a position sees
    shift: bool = False  # whether row p speaks of p + 1
    llada: bool = False  # names of weights
    biases: bool = False  # of queries, keys and values
    norms: bool = False  # of each query and key
    key_heads: int = KEY_HEADS


COMMON = {
    "hidden_size": SIZE,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KEY_HEADS,
    "intermediate_size": INNER,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 256,
    "rms_norm_eps": EPSILON,
    "rope_theta": THETA,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "eos_token_id": END,
    "bos_token_id": 1,
    "pad_token_id": 0,
}
LLADA = {
    "model_type": "llada",
    "architectures": ["LLaDAModelLM"],
    "auto_map": {"AutoConfig": "configuration_llada.LLaDAConfig", "AutoModel": "modeling_llada.LLaDAModelLM"},
    "d_model": SIZE,
    "n_layers": LAYERS,
    "n_heads": HEADS,
    "n_kv_heads": HEADS,
    "mlp_hidden_size": INNER,
    "vocab_size": VOCABULARY - 2,
    "embedding_size": VOCABULARY,
    "max_sequence_length": 256,
    "rms_norm_eps": EPSILON,
    "rope_theta": THETA,
    "rope": True,
    "alibi": False,
    "block_type": "llama",
    "layer_norm_type": "rms",
    "activation_type": "silu",
    "attention_layer_norm": False,
    "bias_for_layer_norm": False,
    "include_bias": False,
    "include_qkv_bias": False,
    "input_emb_norm": False,
    "scale_logits": False,
    "weight_tying": False,
    "mask_token_id": MASK,
    "eos_token_id": END,
    "pad_token_id": END,
}
KINDS = {
    "llada": Kind(LLADA, llada=True, key_heads=HEADS),
    "dream": Kind(
        COMMON | {"model_type": "Dream", "architectures": ["DreamModel"], "mask_token_id": MASK},
        shift=True,
        biases=True,
    ),
    "sdar": Kind(
        COMMON
        | {"model_type": "sdar", "architectures": ["SDARForCausalLM"], "mask_token_id": MASK}
        | {"block_size": BLOCK, "head_dim": WIDTH, "attention_bias": False},
        block=BLOCK,
        norms=True,
    ),
    "fast-dllm-v2": Kind(
        COMMON
        | {"model_type": "Fast_dLLM_Qwen", "architectures": ["Fast_dLLM_QwenForCausalLM"], "mask_token_id": MASK}
        | {"bd_size": BLOCK},
        block=BLOCK,
        shift=True,
        biases=True,
    ),
    "own": Kind(
        COMMON
        | {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
        | {"stretto_diffusion": {"mask_token_id": MASK, "block": None}},
    ),
    "own-block": Kind(
        COMMON
        | {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
        | {"stretto_diffusion": {"mask_token_id": MASK, "block": BLOCK}},
        block=BLOCK,
    ),
}

OFFICIAL = {  # the part of a weight -> its published name in a LLaDA, in the others
    "table": ("model.transformer.wte", "model.embed_tokens"),
    "norm": ("model.transformer.ln_f", "model.norm"),
    "head": ("model.transformer.ff_out", "lm_head"),
    "first": ("model.transformer.blocks.{}.attn_norm", "model.layers.{}.input_layernorm"),
    "second": ("model.transformer.blocks.{}.ff_norm", "model.layers.{}.post_attention_layernorm"),
    "q": ("model.transformer.blocks.{}.q_proj", "model.layers.{}.self_attn.q_proj"),
    "k": ("model.transformer.blocks.{}.k_proj", "model.layers.{}.self_attn.k_proj"),
    "v": ("model.transformer.blocks.{}.v_proj", "model.layers.{}.self_attn.v_proj"),
    "out": ("model.transformer.blocks.{}.attn_out", "model.layers.{}.self_attn.o_proj"),
    "q_norm": ("", "model.layers.{}.self_attn.q_norm"),
    "k_norm": ("", "model.layers.{}.self_attn.k_norm"),
    "gate": ("model.transformer.blocks.{}.ff_proj", "model.layers.{}.mlp.gate_proj"),
    "up": ("model.transformer.blocks.{}.up_proj", "model.layers.{}.mlp.up_proj"),
    "down": ("model.transformer.blocks.{}.ff_out", "model.layers.{}.mlp.down_proj"),
}


def weights_of(kind: Kind) -> dict[str, Tensor]:
    """Random weights under their published names."""
    generator = torch.Generator().manual_seed(5)
    keys = kind.key_heads * WIDTH
    shapes = {"table": (VOCABULARY, SIZE), "head": (VOCABULARY, SIZE), "norm": (SIZE,)}
    layer = {"first": (SIZE,), "second": (SIZE,), "q": (SIZE, SIZE), "k": (keys, SIZE), "v": (keys, SIZE)}
    layer |= {"out": (SIZE, SIZE), "gate": (INNER, SIZE), "up": (INNER, SIZE), "down": (SIZE, INNER)}
    if kind.norms:
        layer |= {"q_norm": (WIDTH,), "k_norm": (WIDTH,)}
    weights = {}

    def add(part: str, shape: tuple[int, ...], index: int = 0) -> None:
        name = OFFICIAL[part][0 if kind.llada else 1].format(index)
        weight = 0.3 * torch.randn(shape, generator=generator)
        weights[f"{name}.weight"] = weight + 1 if len(shape) == 1 else weight
        if kind.biases and part in "qkv":
            weights[f"{name}.bias"] = 0.3 * torch.randn(shape[0], generator=generator)

    for part, shape in shapes.items():
        add(part, shape)
    for index in range(LAYERS):
        for part, shape in layer.items():
            add(part, shape, index)
    return weights


def save(name: str, folder: Path, tokenizer: bool = False, **changes: object) -> Path:
    """Write the checkpoint of a kind; `changes` go into its config.json."""
    kind = KINDS[name]
    folder.mkdir(exist_ok=True)
    save_file(weights_of(kind), folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(kind.config | changes))
    if tokenizer:
        words = {f"w{number}": number for number in range(VOCABULARY - 1)} | {"[MASK]": MASK}
        found = Tokenizer(models.WordLevel(words, unk_token="w0"))
        found.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        PreTrainedTokenizerFast(tokenizer_object=found, eos_token="w2", mask_token="[MASK]").save_pretrained(folder)
    return folder


def forward(name: str, tokens: list[int]) -> Tensor:
    """The slow reference: raw logits [T, V] of a whole canvas, row by row as the network gives them."""
    kind = KINDS[name]
    weights = weights_of(kind)

    def apply(part: str, x: Tensor, index: int = 0) -> Tensor:
        official = OFFICIAL[part][0 if kind.llada else 1].format(index)
        bias = weights.get(f"{official}.bias")
        y = x @ weights[f"{official}.weight"].T
        return y if bias is None else y + bias

    def norm(part: str, x: Tensor, index: int = 0) -> Tensor:
        official = OFFICIAL[part][0 if kind.llada else 1].format(index)
        return x / (x.pow(2).mean(-1, keepdim=True) + EPSILON).sqrt() * weights[f"{official}.weight"]

    def turn(x: Tensor) -> Tensor:  # [heads, T, WIDTH]
        angles = torch.arange(len(tokens))[:, None] * THETA ** -(torch.arange(0, WIDTH, 2) / WIDTH)
        first, second = x.chunk(2, -1)
        return torch.cat(
            [first * angles.cos() - second * angles.sin(), second * angles.cos() + first * angles.sin()], -1
        )

    x = weights[OFFICIAL["table"][0 if kind.llada else 1] + ".weight"][tokens]
    for index in range(LAYERS):
        rows = norm("first", x, index)
        q, k, v = (apply(part, rows, index).view(len(tokens), -1, WIDTH).transpose(0, 1) for part in "qkv")
        if kind.norms:
            q, k = norm("q_norm", q, index), norm("k_norm", k, index)
        q, k = turn(q), turn(k)
        read = []
        for head in range(HEADS):
            shared = head * kind.key_heads // HEADS
            scores = q[head] @ k[shared].T / WIDTH**0.5
            for at in range(len(tokens)):
                for to in range(len(tokens)):
                    if kind.block and to // kind.block > at // kind.block:
                        scores[at, to] = -torch.inf
            read.append(scores.softmax(-1) @ v[shared])
        x = x + apply("out", torch.cat(read, -1), index)
        rows = norm("second", x, index)
        x = x + apply("down", torch.nn.functional.silu(apply("gate", rows, index)) * apply("up", rows, index), index)
    return apply("head", norm("norm", x))
