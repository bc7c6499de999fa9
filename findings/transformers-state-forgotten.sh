#!/usr/bin/env bash
# transformers 5.24.0: Mamba, Falcon-Mamba and Jamba forget their state where more than one token follows it.
#
# Guess: a cache that a forward handed back is what its text was, and any number of tokens may follow it in one call;
# tokens get the logits that they have one by one, or in one forward over the whole text, up to rounding.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 transformers==5.24.0 2>/dev/null

"$folder/venv/bin/python" - <<'PYTHON'
import inspect

import torch
import transformers

transformers.logging.set_verbosity_error()
print("transformers", transformers.__version__, "· torch", torch.__version__)
COMMON = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2}
ATTENTION = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48, "max_position_embeddings": 128}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2}
HEADS = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_chunk_size": 8}
SIZES = {
    "Mamba": {"state_size": 8},
    "FalconMamba": {"state_size": 8},
    "Jamba": {**ATTENTION, **EXPERTS, "mamba_d_state": 8, "attn_layer_period": 2, "attn_layer_offset": 1},
    "Mamba2": {"state_size": 8, "num_heads": 8, "head_dim": 8, "n_groups": 2, "chunk_size": 8},
    "Bamba": {**ATTENTION, **HEADS, "attn_layer_indices": [1]},
}


def gap(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The largest difference of logits, as a share of the largest."""
    return float((ours - theirs).abs().max() / theirs.abs().max())


@torch.no_grad()
def pieces(model: transformers.PreTrainedModel, tokens: torch.Tensor, cuts: list[int], told: bool) -> torch.Tensor:
    """The logits of a text that comes in pieces, each with the cache that the one before handed back."""
    cache, found = None, []
    for start, end in zip(cuts, cuts[1:]):
        more = {} if cache is None else {"cache": cache}
        if told and "position_ids" in inspect.signature(model.forward).parameters:
            more["position_ids"] = torch.arange(start, end)[None]
        output = model(tokens[:, start:end], use_cache=True, **more)
        cache = output.cache
        found.append(output.logits)
    return torch.cat(found, dim=1)


together, single, untold = {}, {}, {}
for family, sizes in SIZES.items():
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**COMMON, **sizes)
    model = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1 and "A_log" not in name:
                weight.mul_(4.0)  # so that states weigh something
        tokens = torch.arange(16)[None] * 7 % 90 + 3
        whole = model(tokens, use_cache=False).logits
    together[family] = gap(pieces(model, tokens, [0, 10, 13, 16], True), whole)
    single[family] = gap(pieces(model, tokens, [0, *range(10, 17)], True), whole)
    untold[family] = gap(pieces(model, tokens, [0, *range(10, 17)], False), whole)
    print(
        f"{family}: three tokens at a time after a cache are off by {together[family]:.1e} of the largest logit, one at "
        f"a time by {single[family]:.1e}, and by {untold[family]:.1e} without position_ids"
    )
forgetful = {family for family, size in together.items() if size > 1e-3}
assert forgetful == {"Mamba", "FalconMamba", "Jamba"}, forgetful
assert max(single.values()) < 1e-5
assert {family for family, size in untold.items() if size > 1e-5} == {"Bamba"}, "it counts positions from 0 in each call"
print("As found: after a cache, Mamba, Falcon-Mamba and Jamba take several tokens for the beginning of a text, and right")
print("is one at a time; Mamba 2 goes on either way. Bamba must be told its positions wherever a cache is there.")
PYTHON
