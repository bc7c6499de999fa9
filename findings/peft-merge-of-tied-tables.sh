#!/usr/bin/env bash
# PEFT 0.21.2: where the embedding table is the head as well, merging an adapter of the table changes what it computes.
#
# Guess: `merge_and_unload` gives a network that computes what the adapter computes beside its base, up to rounding, for
# every network and target.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q transformers==5.24.0 peft==0.21.2 torch==2.13.0 accelerate 2>/dev/null

TRANSFORMERS_VERBOSITY=error "$folder/venv/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

print("peft", version("peft"), "· transformers", version("transformers"), "· torch", version("torch"))
SHAPE = {"vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
TOKENS = torch.tensor([[5, 6, 7, 8, 9, 10]])


@torch.no_grad()
def moved(tied: bool, target: str) -> float:
    """How far merging moves the logits, as a share of how far the adapter moved them."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SHAPE, tie_word_embeddings=tied, initializer_range=0.15)).eval()
    before = model(TOKENS).logits
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", target])).eval()
    for name, weight in adapted.named_parameters():
        if "lora" in name:
            weight += torch.randn_like(weight) * 0.1
    beside = adapted(TOKENS).logits
    merged = adapted.merge_and_unload()(TOKENS).logits
    return float((merged - beside).abs().max() / (before - beside).abs().max())


seen = {(tied, target): moved(tied, target) for tied in (False, True) for target in ("embed_tokens", "lm_head")}
for (tied, target), share in seen.items():
    print(f"head {'is the table' if tied else 'of its own  '} adapter of {target:12} merging moves logits by {share:.1e} of its effect")
assert all(share < 1e-4 for (tied, _), share in seen.items() if not tied), seen
assert all(share > 0.1 for (tied, _), share in seen.items() if tied), seen
print("As found: beside its base an adapter changes one of the two uses of a shared table; merged it changes both.")
PYTHON
