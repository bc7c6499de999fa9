"""Tiny random masked-diffusion checkpoints in their official layouts, and a slow forward that shares nothing with ours.

Weights are written under the published names, with a config.json of the published keys. The forward is one sequence
at a time, straight from the papers: RMS norm, rotary positions in halves, grouped heads, SiLU-gated MLP or a mixture
of experts (slow_experts.py).
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

from models.slow_experts import Experts, gated, mix

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
    names: str = "common"  # of weights, a column of OFFICIAL
    biases: bool = False  # of queries, keys and values
    norms: bool = False  # of each query and key
    turned: int = WIDTH  # channels of a head that turn with the position
    key_heads: int = KEY_HEADS
    experts: Experts | None = None


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
LLADA_MOE = {  # published under the model_type of LLaDA, without its mask token
    "model_type": "llada",
    "architectures": ["LLaDAMoEModelLM"],
    "auto_map": {"AutoConfig": "configuration_lladamoe.LLaDAConfig", "AutoModel": "modeling_lladamoe.LLaDAMoEModel"},
    "num_key_value_heads": HEADS,
    "num_experts": 6,
    "num_experts_per_tok": 2,
    "expert_intermediate_size": 12,
    "dense_intermediate_size": INNER,
    "shared_expert_intermediate_size": None,
    "moe_layer_freq": [1, 0],
    "moe_router_enable_expert_bias": False,
    "moe_router_score_function": "softmax",
    "norm_topk_prob": None,
    "routed_scaling_factor": 1,
    "router_num_group": None,
    "router_topk_group": None,
    "qk_layernorm": True,
    "clip_qkv": None,
    "attention_bias": False,
    "partial_rotary_factor": 1,
    "rope_scaling": None,
    "stretto_diffusion": {"mask_token_id": MASK},
}
LLADA2 = {  # published without mask token and block size
    "model_type": "llada2_moe",
    "architectures": ["LLaDA2MoeModelLM"],
    "auto_map": {"AutoModelForCausalLM": "modeling_llada2_moe.LLaDA2MoeModelLM"},
    "head_dim": WIDTH,
    "num_experts": 8,
    "num_experts_per_tok": 3,
    "num_shared_experts": 2,
    "moe_intermediate_size": 12,
    "first_k_dense_replace": 1,
    "n_group": 4,
    "topk_group": 2,
    "routed_scaling_factor": 2.5,
    "norm_topk_prob": True,
    "score_function": "sigmoid",
    "router_dtype": "fp32",
    "moe_router_enable_expert_bias": True,
    "use_bias": False,
    "use_qkv_bias": False,
    "norm_head": False,
    "partial_rotary_factor": 0.5,
    "rotary_dim": WIDTH // 2,
    "rope_scaling": None,
    "use_sliding_window": False,
    "sliding_window": 4096,
    "stretto_diffusion": {"mask_token_id": MASK, "block": BLOCK},
}
KINDS = {
    "llada": Kind(LLADA, names="llada", key_heads=HEADS),
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
    "sdar-moe": Kind(
        COMMON
        | {"model_type": "sdar_moe", "architectures": ["SDARMoeForCausalLM"], "mask_token_id": MASK}
        | {"block_size": BLOCK, "head_dim": WIDTH, "attention_bias": False, "num_experts": 6, "num_experts_per_tok": 2}
        | {"moe_intermediate_size": 12, "norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": []},
        block=BLOCK,
        norms=True,
        experts=Experts(layers=(0, 1), count=6, chosen=2, inner=12, renormed=True),
    ),
    "llada-moe": Kind(
        COMMON | LLADA_MOE,
        norms=True,
        key_heads=HEADS,
        experts=Experts(layers=(0,), count=6, chosen=2, inner=12, renormed=False),
    ),
    "llada2": Kind(
        COMMON | LLADA2,
        names="llada2",
        block=BLOCK,
        norms=True,
        turned=WIDTH // 2,
        experts=Experts(
            layers=(1,),
            count=8,
            chosen=3,
            inner=12,
            renormed=True,
            sigmoid=True,
            groups=(4, 2),
            scale=2.5,
            shared=2,
        ),
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

COLUMNS = ("common", "llada", "llada2")
OFFICIAL = {  # the part of a weight -> its published name in each column
    "table": ("model.embed_tokens", "model.transformer.wte", "model.word_embeddings"),
    "norm": ("model.norm", "model.transformer.ln_f", "model.norm"),
    "head": ("lm_head", "model.transformer.ff_out", "lm_head"),
    "first": ("input_layernorm", "attn_norm", "input_layernorm"),
    "second": ("post_attention_layernorm", "ff_norm", "post_attention_layernorm"),
    "q": ("self_attn.q_proj", "q_proj", "attention.query_key_value"),
    "k": ("self_attn.k_proj", "k_proj", "attention.query_key_value"),
    "v": ("self_attn.v_proj", "v_proj", "attention.query_key_value"),
    "out": ("self_attn.o_proj", "attn_out", "attention.dense"),
    "q_norm": ("self_attn.q_norm", "", "attention.query_layernorm"),
    "k_norm": ("self_attn.k_norm", "", "attention.key_layernorm"),
    "gate": ("mlp.gate_proj", "ff_proj", "mlp.gate_proj"),
    "up": ("mlp.up_proj", "up_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj", "ff_out", "mlp.down_proj"),
}
LAYER = {"common": "model.layers.{}.", "llada": "model.transformer.blocks.{}.", "llada2": "model.layers.{}."}


def official(kind: Kind, part: str, index: int | None = None) -> str:
    """The published name of a part, in a layer or (None) outside of them."""
    name = OFFICIAL[part][COLUMNS.index(kind.names)]
    return name if index is None else LAYER[kind.names].format(index) + name


def expert_name(index: int, part: str) -> str:
    """The published name of "gate", "bias", "3.up" or "shared.down" in the mixture of a layer."""
    inside = {"gate": "gate.weight", "bias": "gate.expert_bias"}
    owner, _, which = part.partition(".")
    folder = "shared_experts" if owner == "shared" else f"experts.{owner}"
    return f"model.layers.{index}.mlp." + inside.get(part, f"{folder}.{which}_proj.weight")


def weights_of(kind: Kind) -> dict[str, Tensor]:
    """Random weights under their published names."""
    generator = torch.Generator().manual_seed(5)
    keys = kind.key_heads * WIDTH
    shapes = {"table": (VOCABULARY, SIZE), "head": (VOCABULARY, SIZE), "norm": (SIZE,)}
    layer = {"first": (SIZE,), "second": (SIZE,), "q": (SIZE, SIZE), "k": (keys, SIZE), "v": (keys, SIZE)}
    layer |= {"out": (SIZE, SIZE), "gate": (INNER, SIZE), "up": (INNER, SIZE), "down": (SIZE, INNER)}
    if kind.norms:
        layer |= {"q_norm": (WIDTH,), "k_norm": (WIDTH,)}
    weights: dict[str, Tensor] = {}

    def draw(*shape: int) -> Tensor:
        return 0.3 * torch.randn(shape, generator=generator)

    def add(part: str, shape: tuple[int, ...], index: int | None = None) -> None:
        name = official(kind, part, index)
        weight = draw(*shape)
        weight = weight + 1 if len(shape) == 1 else weight
        fused = [weights[f"{name}.weight"]] if f"{name}.weight" in weights else []  # one below the other
        weights[f"{name}.weight"] = torch.cat([*fused, weight])
        if kind.biases and part in "qkv":
            weights[f"{name}.bias"] = draw(shape[0])

    def add_experts(experts: Experts, index: int) -> None:
        weights[expert_name(index, "gate")] = draw(experts.count, SIZE)
        if experts.sigmoid:
            weights[expert_name(index, "bias")] = draw(experts.count)
        inner = {str(expert): experts.inner for expert in range(experts.count)}
        for owner, width in (inner | ({"shared": experts.shared * experts.inner} if experts.shared else {})).items():
            for part, shape in {"gate": (width, SIZE), "up": (width, SIZE), "down": (SIZE, width)}.items():
                weights[expert_name(index, f"{owner}.{part}")] = draw(*shape)

    for part, shape in shapes.items():
        add(part, shape)
    for index in range(LAYERS):
        mixed = kind.experts is not None and index in kind.experts.layers
        for part, shape in layer.items():
            if not (mixed and part in ("gate", "up", "down")):
                add(part, shape, index)
        if mixed:
            add_experts(kind.experts, index)
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
    keys = kind.key_heads * WIDTH
    rows_of = {"q": slice(0, SIZE), "k": slice(SIZE, SIZE + keys), "v": slice(SIZE + keys, None)}  # of a fused matrix

    def matrix(part: str, index: int | None = None) -> Tensor:
        weight = weights[f"{official(kind, part, index)}.weight"]
        return weight[rows_of[part]] if kind.names == "llada2" and part in rows_of else weight

    def apply(part: str, x: Tensor, index: int | None = None) -> Tensor:
        bias = weights.get(f"{official(kind, part, index)}.bias")
        y = x @ matrix(part, index).T
        return y if bias is None else y + bias

    def norm(part: str, x: Tensor, index: int | None = None) -> Tensor:
        return x / (x.pow(2).mean(-1, keepdim=True) + EPSILON).sqrt() * matrix(part, index)

    def turn(x: Tensor) -> Tensor:  # [heads, T, WIDTH]
        angles = torch.arange(len(tokens))[:, None] * THETA ** -(torch.arange(0, kind.turned, 2) / kind.turned)
        first, second = x[..., : kind.turned].chunk(2, -1)
        turned = [first * angles.cos() - second * angles.sin(), second * angles.cos() + first * angles.sin()]
        return torch.cat([*turned, x[..., kind.turned :]], -1)

    def feed(x: Tensor, index: int) -> Tensor:
        if kind.experts is not None and index in kind.experts.layers:
            return mix(x, kind.experts, lambda part: weights[expert_name(index, part)])
        return gated(x, *(matrix(part, index) for part in ("gate", "up", "down")))

    x = matrix("table")[tokens]
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
        x = x + feed(norm("second", x, index), index)
    return apply("head", norm("norm", x))
