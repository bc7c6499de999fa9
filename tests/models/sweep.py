"""Every causal family of transformers, built small: served as its own forward has it, or refused in one typed line.

`outcome` says which. The test of this name tries a part of them; `python tests/models/sweep.py` tries those named, or
all, and prints a line of the table in docs/models.md for each; `make families` writes that table.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, PreTrainedModel

from stretto.errors import ModelError
from stretto.models.contract import Ability, Model
from stretto.models.fast import lean_or_none
from stretto.models.lean import Lean
from stretto.models.whole import Whole, driven
from stretto.models.window import Window
from stretto.tree import ROOT, Tree, slot_of

VOCABULARY = 97
CPU = torch.device("cpu")
PAGE = Path(__file__).parents[2] / "docs" / "models.md"
TABLE = re.compile(r"^\| family \|.*\n(\|.*\n)+", re.MULTILINE)
FAST, DRIVEN, WHOLE, REFUSED = "fast", "driven", "whole", "refused"
LARGEST = 5_000_000  # parameters of what is still small
WORDS: dict[str, Any] = {  # what families call the sizes of their parts
    "hidden_size d_model n_embd emb_dim embedding_size word_embed_proj_dim lru_width": 32,
    "num_hidden_layers n_layer num_layers n_layers decoder_layers encoder_layers": 2,
    "num_attention_heads n_head num_heads n_heads decoder_attention_heads encoder_attention_heads": 4,
    "intermediate_size ffn_dim decoder_ffn_dim encoder_ffn_dim d_ff n_inner ffn_hidden_size": 48,
    "intermediate_size_mlp shared_intermediate_size": 48,
    "moe_intermediate_size expert_ffn_hidden_size shared_expert_intermediate_size": 24,
    "max_position_embeddings max_positions n_positions n_ctx": 128,
    "num_local_experts num_experts n_routed_experts moe_num_experts": 4,
    "num_experts_per_tok mb_top_k moe_topk": 2,
    "n_shared_experts n_group topk_group first_k_dense_replace zero_expert_num": 1,
    "kv_lora_rank q_lora_rank qk_nope_head_dim qk_rope_head_dim v_head_dim head_dim attention_head_dim": 8,
    "state_size mamba_d_state linear_key_head_dim linear_value_head_dim index_head_dim": 8,
    "mamba_n_heads rotary_dim index_topk": 4,
    "linear_num_key_heads linear_num_value_heads mamba_expand": 2,
    "mamba_d_head qk_head_dim index_n_heads": 16,  # of few indexers many keys have the same score, 0
    "mamba_d_ssm": 64,
    "sliding_window": 8,
    "vocab_size vocab_size_per_layer_input": VOCABULARY,
    "hidden_size_per_layer_input": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "attention_types": [[["global"], 2]],
    "is_decoder": True,
}
SIZES = {word: size for words, size in WORDS.items() for word in words.split()}
LINEAR, FULL, SLIDING, CONVOLUTION = "linear_attention", "full_attention", "sliding_attention", "conv"
INKLING = {
    **{"swa_num_attention_heads": 4, "swa_num_key_value_heads": 2, "swa_head_dim": 8, "sliding_window_size": 8},
    **{"d_rel": 8, "rel_extent": 8, "unpadded_vocab_size": VOCABULARY},
}
FURTHER: dict[str, dict[str, Any]] = {  # what a family needs beside: layers of each of its kinds, chunks that end
    "BailingHybrid": {"layer_types": [LINEAR, FULL], "mlp_layer_types": ["dense", "sparse"]},
    "Bamba": {"attn_layer_indices": [1], "mamba_chunk_size": 8},
    "Dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8.0},
        "ffn_config": {"ffn_hidden_size": 48, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "FalconH1": {"mamba_chunk_size": 8},
    "Gemma3nText": {  # the later layers read the keys of the earlier ones
        **{"num_hidden_layers": 4, "layer_types": [SLIDING, FULL] * 2, "num_kv_shared_layers": 2},
        **{"activation_sparsity_pattern": [0.5, 0.0, 0.0, 0.0], "laurel_rank": 4, "altup_num_inputs": 2},
    },
    "GraniteMoeHybrid": {"layer_types": [LINEAR, FULL], "mamba_chunk_size": 8},
    "Inkling2LoopText": INKLING
    | {
        **{"num_hidden_layers": 6, "n_layers_per_attn_res_block": 2, "loop_gate_rank": 4},
        **{"loop_layer_index_start": 2, "loop_layer_index_end": 4},
    },
    "Inkling2Text": INKLING,
    "Jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "KimiLinear": {
        **{"layer_types": [LINEAR, FULL], "mlp_layer_types": ["dense", "sparse"]},
        **{"linear_head_dim": 8, "linear_num_heads": 4},
    },
    "Lfm2": {"layer_types": [CONVOLUTION, FULL]},
    "Lfm2Moe": {"layer_types": [CONVOLUTION, FULL]},
    "Lfm3": {"layer_types": [CONVOLUTION, SLIDING, FULL], "num_hidden_layers": 3},
    "Mamba2": {"num_heads": 8, "head_dim": 8, "n_groups": 2, "chunk_size": 8},
    "Qwen3Next": {"layer_types": [LINEAR, FULL]},
    "Qwen3_5MoeText": {"layer_types": [LINEAR, FULL]},
    "Qwen3_5Text": {"layer_types": [LINEAR, FULL]},
    "Qwen4ExpText": {
        **{"layer_types": [LINEAR, "indexed_attention"], "indexer_n_heads": 4, "indexer_kv_heads": 1},
        **{"indexer_head_dim": 8, "indexer_budget": 8, "indexer_compress_ratio": 2, "hc_count": 2, "hc_lowrank": 8},
    },
    "RoCBert": {
        **{"pronunciation_vocab_size": 50, "shape_vocab_size": 50},
        **{"pronunciation_embed_dim": 8, "shape_embed_dim": 8},
    },
    "RecurrentGemma": {"num_hidden_layers": 3, "num_key_value_heads": 1},
    "Zamba": {
        **{"num_hidden_layers": 4, "layers_block_type": [LINEAR, "hybrid"] * 2},
        **{"num_key_value_heads": 4, "attention_head_dim": 16},
    },
    "Zamba2": {
        **{"layers_block_type": [LINEAR, "hybrid"], "num_key_value_heads": 4, "attention_head_dim": 16},
        **{"n_mamba_heads": 4, "chunk_size": 8},
    },
    "Zaya": {"num_experts_per_tok": 1, "router_hidden_size": 16},
}


def build(family: str, **settings: Any) -> PreTrainedModel:
    """A tiny random model of a family, by the name of its configuration class."""
    kind = getattr(transformers, f"{family}Config")
    known = {*kind.__dataclass_fields__, *kind.attribute_map}
    sizes = {**SIZES, "num_key_value_heads": 4 if "kv_lora_rank" in known else 2}
    twice = {name for name, other in kind.attribute_map.items() if name in sizes and other in sizes}
    given = {name: size for name, size in sizes.items() if name in known and name not in twice}
    config = kind(**(given | FURTHER.get(family, {}) | settings))
    architecture = MODEL_FOR_CAUSAL_LM_MAPPING[kind]
    with torch.device("meta"):
        size = sum(weight.numel() for weight in architecture._from_config(config).parameters())
    if size > LARGEST:
        raise ValueError(f"{size:,} parameters: its sizes have other names")
    with torch.random.fork_rng():
        torch.manual_seed(len(family))
        module: PreTrainedModel = architecture._from_config(config, attn_implementation="eager")
    return module.eval().requires_grad_(False)


def outcome(module: PreTrainedModel) -> tuple[str, str]:
    """How it is served, and why no better. Anything else that is raised, or other logits, is a fault."""
    tokens = [position * 7 % 90 + 3 for position in range(20)]
    tree = Tree()
    for node, parent in enumerate((ROOT, ROOT, 0, 1, 2)):
        tree.add(11 + node, parent)
    texts = [tokens + tree.path_tokens(node) for node in range(len(tree))]
    with torch.inference_mode():  # before it is driven
        theirs = module(input_ids=torch.tensor([tokens]), use_cache=False).logits[0]
        below = [module(input_ids=torch.tensor([text]), use_cache=False).logits[0, -1] for text in texts]
    reasons: list[str] = []
    try:
        model: Model | None = lean_or_none(module, reasons.append)
        if model is None:
            model, whole = driven(module)
            reasons.insert(0, whole)
    except ModelError as refusal:
        return REFUSED, str(refusal).partition(" (hint: ")[0]
    cache = model.new_cache()
    row = cache.open()
    pieces = ((0, 7), (7, 8), (8, 19))
    windows = [Window.chain([row], [tokens[start:end]], [start], CPU) for start, end in pieces]
    if Ability.TREE not in model.abilities:
        tree, texts, below = Tree(), [], []
    windows.append(Window.forest([row], tokens[-1:], [tree], [19], CPU))
    ours = torch.cat([_logits(model, window, cache) for window in windows])
    expected = torch.stack([*theirs, *below])
    places = [*range(20), *(19 + slot_of(node) for node in range(len(tree)))]
    torch.testing.assert_close(ours[places], expected, atol=1e-4 * float(expected.abs().max()), rtol=0)
    if isinstance(model, Lean):
        return FAST, ""
    return (WHOLE, reasons[0]) if isinstance(model, Whole) else (DRIVEN, reasons[-1])


def _logits(model: Model, window: Window, cache: Any) -> Tensor:
    logits = model.evaluate(window, cache).logits
    assert logits is not None
    return logits[0]


def line(family: str) -> str:
    """What comes of a family, as a line of the table."""
    try:
        module = build(family)
        module(input_ids=torch.tensor([[3, 4, 5, 6, 7]]), use_cache=False)
    except Exception:  # its sizes have other names, or depend on each other
        within = "text_config" in getattr(transformers, f"{family}Config").sub_configs
        why = "a model within it reads the text" if within else "the usual names of sizes make no small one that runs"
        return f"| {family} | not tried | {why} |"
    try:
        how, why = outcome(module)
    except Exception as error:
        how, why = "FAULT", f"{type(error).__name__} {str(error).splitlines()[0]}"
    return f"| {family} | {how} | {why.removeprefix(type(module).__name__ + ' ')} |"


def main(names: list[str]) -> None:
    """Print the lines of these families; of all where none is named, and put them into the page."""
    families = {kind.__name__.removesuffix("Config") for kind in MODEL_FOR_CAUSAL_LM_MAPPING}
    lines = []
    for name in names or sorted(families, key=str.lower):
        lines.append(line(name))
        print(lines[-1], flush=True)
    if not names:
        text = "\n".join(["| family | how | why no better |", "| --- | --- | --- |", *lines, ""])
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(TABLE.sub(lambda _: text, page), encoding="utf-8")


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    main(sys.argv[1:])
