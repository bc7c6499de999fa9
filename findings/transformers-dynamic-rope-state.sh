#!/usr/bin/env bash
# transformers 5.24.0: with `rope_type: dynamic` a model's answer depends on what it read before.
#
# Guess: dynamic scaling is a function of the length of the text in the forward; two forwards of the same tokens give
# the same logits, and a text fed token by token into a cache gives those of the text fed at once.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 transformers==5.24.0 2>/dev/null

"$folder/venv/bin/python" - <<'PYTHON'
import torch
import transformers

print("transformers", transformers.__version__, "· torch", torch.__version__)
sizes = {"vocab_size": 100, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2}
torch.manual_seed(0)
texts = {length: torch.randint(0, 100, (1, length)) for length in (20, 40, 64)}


@torch.no_grad()
def off(kind: str) -> list[float]:
    """How far the logits of 40 tokens are from a fresh model's: after 64 tokens, after 20 more, and one by one."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        **sizes, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=32, initializer_range=0.2,
        rope_parameters={"rope_type": kind, "rope_theta": 10_000.0, **({} if kind == "default" else {"factor": 2.0})},
    )
    model = transformers.LlamaForCausalLM(config).eval()
    fresh = model(texts[40]).logits
    model(texts[64])
    after_longer = model(texts[40]).logits
    model(texts[20])
    after_shorter = model(texts[40]).logits
    model(texts[20])
    cache = transformers.DynamicCache(config=config)
    steps = [model(texts[40][:, [place]], cache=cache).logits for place in range(40)]
    return [float((each - fresh).abs().max()) for each in (after_longer, after_shorter, torch.cat(steps, 1))]


seen = {kind: off(kind) for kind in ("default", "linear", "dynamic")}
for kind, (longer, shorter, steps) in seen.items():
    print(f"{kind:8} off after a longer text by {longer:.1e}, after a short one as well {shorter:.1e}, "
          f"token by token {steps:.1e}")
for kind in ("default", "linear"):
    assert max(seen[kind]) < 1e-4, seen
assert seen["dynamic"][0] > 1e-2 and seen["dynamic"][1] < 1e-4 and seen["dynamic"][2] > 1e-2, seen
print("As found: the grown frequencies stay until a text no longer than the checkpoint's own length comes by; and keys")
print("in a cache keep the frequencies of the step that wrote them.")
PYTHON
