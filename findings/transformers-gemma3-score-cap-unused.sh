#!/usr/bin/env bash
# transformers 5.24.0: Gemma 3's config has `attn_logit_softcapping`, and its attention stores it and never uses it, in
# eager attention either; Gemma 2's bounds its scores by the setting of the same name.
#
# Guess: as the config lists it beside `final_logit_softcapping`, eager attention bounds scores by it when it is set.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 transformers==5.24.0 numpy==2.4.6 2>/dev/null

"$folder/venv/bin/python" - <<'PYTHON'
import torch
import transformers

print("transformers", transformers.__version__, "· torch", torch.__version__)
SIZES = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "head_dim": 16}
SIZES |= {"num_attention_heads": 2, "num_key_value_heads": 1, "query_pre_attn_scalar": 1, "pad_token_id": 0}
CAPS = {"attn_logit_softcapping": None, "final_logit_softcapping": None}
KINDS = {
    "Gemma 2": (transformers.Gemma2Config, transformers.Gemma2ForCausalLM),
    "Gemma 3": (transformers.Gemma3TextConfig, transformers.Gemma3ForCausalLM),
    "VaultGemma": (transformers.VaultGemmaConfig, transformers.VaultGemmaForCausalLM),
}
text = torch.arange(1, 25)[None]


@torch.no_grad()
def logits(kind: str, **caps: float) -> torch.Tensor:
    """Of the same weights, with scores, logits, or neither bounded."""
    config_of, model_of = KINDS[kind]
    torch.manual_seed(0)
    config = config_of(**SIZES, initializer_range=0.5, attn_implementation="eager", **(CAPS | caps))
    model = model_of(config).eval()
    assert {model.model.layers[0].self_attn.attn_logit_softcapping} == {caps.get("attn_logit_softcapping")}
    return model(text).logits


off = {}
for kind in KINDS:
    for name in CAPS:
        off[kind, name] = float((logits(kind, **{name: 0.5}) - logits(kind)).abs().max())
        print(f"{kind:10} {name}=0.5 changes logits by {off[kind, name]:.2f}")
assert {key: change > 0 for key, change in off.items()} == {
    key: key != ("Gemma 3", "attn_logit_softcapping") for key in off
}, off
print("As found: no error and no warning; a reader that bounds Gemma 3's scores as its config says computes another model.")
PYTHON
