#!/usr/bin/env bash
# transformers 5.24.0: a gap in `position_ids` cuts the text in two where no cache is used, and does not where one is.
#
# Guess: `position_ids` turn the rotary embedding and nothing else; tokens see all tokens before them whatever their
# positions are, unless a mask says otherwise; `use_cache` never changes the logits of one forward.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 transformers==5.24.0 2>/dev/null

"$folder/venv/bin/python" - <<'PYTHON'
import torch
import transformers

print("transformers", transformers.__version__, "· torch", torch.__version__)
torch.manual_seed(0)
sizes = {"vocab_size": 100, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2}
config = transformers.LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=2)
model = transformers.LlamaForCausalLM(config).eval()
tokens = torch.randint(0, 100, (1, 10))
plain = torch.arange(10)[None]
places = {
    "a gap of one": torch.where(plain < 5, plain, plain + 1),
    "a step back": torch.where(plain < 5, plain, plain - 1),
    "all moved by 3": plain + 3,
}


@torch.no_grad()
def forward(first: int = 0, **more: object) -> torch.Tensor:
    more = {name: value[:, first:] if torch.is_tensor(value) else value for name, value in more.items()}
    return model(tokens[:, first:], **more).logits


seen = {}
for name, positions in places.items():
    cached = forward(position_ids=positions, use_cache=True)
    bare = forward(position_ids=positions, use_cache=False)
    masked = forward(position_ids=positions, use_cache=False, attention_mask=torch.ones(1, 10, dtype=torch.long))
    alone = forward(5, position_ids=positions, use_cache=False)  # the last five tokens without the first five
    gaps = [float((each - cached).abs().max()) for each in (bare, masked)]
    cut = float((bare[:, 5:] - alone).abs().max())
    seen[name] = (gaps[0] > 1e-3, gaps[1] > 1e-3, cut < 1e-5)
    print(f"{name:15} without a cache off by {gaps[0]:.1e}, with a mask of ones too {gaps[1]:.1e}; "
          f"off from the last five alone by {cut:.1e}")

cut = (True, False, True)
found = {"a gap of one": cut, "a step back": cut, "all moved by 3": (False, False, False)}
assert seen == found, seen
print("As found: without a cache and without a mask, positions that do not go up by one are taken for the borders of")
print("packed texts. A mask of ones, or a cache, switches that off.")
PYTHON
