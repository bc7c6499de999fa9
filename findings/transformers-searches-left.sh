#!/usr/bin/env bash
# transformers 5.24.0: group beams, constrained beams, contrastive search and DoLa are settings of `generate` that the
# installed library no longer carries out.
#
# Guess: `num_beam_groups`, `force_words_ids`, `penalty_alpha` and `dola_layers` work as they did in 4.x, with a warning
# at most: GenerationConfig takes them, and the code that carries them out is part of the package.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 transformers==5.24.0 2>/dev/null

HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error "$folder/venv/bin/python" - <<'PYTHON'
import torch
import transformers

print("transformers", transformers.__version__, "· torch", torch.__version__)
torch.manual_seed(0)
config = transformers.LlamaConfig(
    vocab_size=61, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, pad_token_id=0,
)
model = transformers.LlamaForCausalLM(config).eval()
asked = {
    "beams": {"num_beams": 4},
    "beams in groups": {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.5},
    "constrained beams": {"num_beams": 2, "force_words_ids": [[5]]},
    "contrastive search": {"penalty_alpha": 0.6, "top_k": 4},
    "DoLa": {"dola_layers": "low"},
}
seen = {}
for name, settings in asked.items():
    transformers.GenerationConfig(**settings)  # taken without a word
    try:
        found = model.generate(torch.tensor([[1, 2, 3]]), max_new_tokens=4, do_sample=False, **settings)
        seen[name] = f"{found.shape[1] - 3} tokens"
    except ValueError as error:
        seen[name] = str(error).partition(",")[0]
    print(f"{name:20}{seen[name]}")
assert seen.pop("beams") == "4 tokens"
assert all("trust_remote_code" in told for told in seen.values()), seen
print("As found: each of the four asks for code from the hub, which the caller must trust, and fails without it.")
PYTHON
