#!/usr/bin/env bash
# transformers 5.24.0: `top_h` looks at the 100 likeliest tokens only. On a flat distribution it keeps at most 100 tokens
# whatever its setting, and the entropy that it may spend is that of those 100, not of the distribution.
#
# Guess: top-H keeps the largest set of likeliest tokens whose entropy is at most `top_h` times that of the whole
# distribution: at .95, over 1,000 tokens that are nearly alike, several hundred of them.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 transformers==5.24.0 2>/dev/null

HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error "$folder/venv/bin/python" - <<'PYTHON'
import torch
import transformers
from transformers import TopHLogitsWarper

print("transformers", transformers.__version__, "· torch", torch.__version__)
kept = {}
for size in (50, 100, 200, 1000):
    logits = torch.linspace(0, 0.01, size)[None]  # all nearly alike
    for share in (0.5, 0.95, 1.0):
        left = TopHLogitsWarper(share)(torch.zeros(1, 1, dtype=torch.long), logits.clone())
        kept[size, share] = int(left.isfinite().sum())
        print(f"{size:5} tokens, top_h {share:4}: {kept[size, share]:4} kept")
assert kept[1000, 1.0] == kept[200, 1.0] == 100, kept
assert all(kept[1000, share] == kept[100, share] == kept[200, share] for share in (0.5, 0.95, 1.0)), kept
print("As found: what lies beyond the hundred likeliest is cut, and nothing says so; even top_h=1 is no identity.")
PYTHON
