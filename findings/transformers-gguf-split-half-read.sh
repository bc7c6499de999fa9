#!/usr/bin/env bash
# transformers 5.24.0: given the first of several files of a split GGUF checkpoint, it reads that one alone, draws the
# weights of the others at random, and answers.
#
# Guess: the parts name their number (split.count), so the others are read too, or the load is refused.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 transformers==5.24.0 accelerate==1.15.0 gguf==0.19.0 numpy==2.4.6 2>/dev/null

"$folder/venv/bin/python" - "$folder" 2>"$folder/log" <<'PYTHON'
import sys
from importlib.metadata import version
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers

print(*(f"{name} {version(name)}" for name in ("transformers", "torch", "gguf")), sep=" · ", flush=True)
SIZE, INNER, HEADS, LAYERS, TOKENS = 64, 128, 4, 4, 100


def write(file: gguf.GGUFWriter) -> None:
    """The same small model of the kind llama, into one file or several."""
    file.add_context_length(1024)
    file.add_embedding_length(SIZE)
    file.add_block_count(LAYERS)
    file.add_feed_forward_length(INNER)
    file.add_head_count(HEADS)
    file.add_head_count_kv(HEADS)
    file.add_layer_norm_rms_eps(1e-5)
    file.add_vocab_size(TOKENS)
    drawn = np.random.default_rng(0)
    shapes = {"attn_norm": (SIZE,), "attn_q": (SIZE, SIZE), "attn_k": (SIZE, SIZE), "attn_v": (SIZE, SIZE)}
    shapes |= {"attn_output": (SIZE, SIZE), "ffn_norm": (SIZE,), "ffn_gate": (INNER, SIZE), "ffn_up": (INNER, SIZE)}
    shapes |= {"ffn_down": (SIZE, INNER)}
    named = {"token_embd": (TOKENS, SIZE), "output_norm": (SIZE,), "output": (TOKENS, SIZE)}
    named |= {f"blk.{layer}.{name}": shape for layer in range(LAYERS) for name, shape in shapes.items()}
    for name, shape in named.items():
        file.add_tensor(f"{name}.weight", drawn.normal(len(shape) == 1, 0.2, shape).astype(np.float32))
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


@torch.no_grad()
def row(file: Path) -> torch.Tensor:
    """The logits after a text, of the model that is loaded from a file."""
    model = transformers.AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name).eval()
    assert model.config.num_hidden_layers == LAYERS
    return model(torch.arange(1, 13)[None]).logits[0, -1]


folder = Path(sys.argv[1])
for name in ("whole", "split"):
    (folder / name).mkdir()
write(gguf.GGUFWriter(folder / "whole" / "model.gguf", "llama"))
write(gguf.GGUFWriter(folder / "split" / "model.gguf", "llama", split_max_tensors=20))
parts = sorted((folder / "split").iterdir())
fields = gguf.GGUFReader(parts[0]).fields
says = {name: fields[f"split.{name}"].contents() for name in ("count", "tensors.count")}
print("parts:", [part.name for part in parts], "· the first says", says, flush=True)
true, again = row(folder / "whole" / "model.gguf"), row(folder / "whole" / "model.gguf")
first, second = row(parts[0]), row(parts[0])
print(f"whole file, loaded twice: apart by {float((again - true).abs().max())}")
print(f"first part: off by {float((first - true).abs().max()):.2f}, and from itself, loaded again, by "
      f"{float((second - first).abs().max()):.2e}")
assert says == {"count": len(parts), "tensors.count": 3 + 9 * LAYERS} and len(parts) == 2, says
assert torch.equal(true, again)
assert (first - true).abs().max() > 0.5 and not torch.equal(first, second)
print("As found: no error, and two loads of the same file are two models.")
PYTHON
echo "What the log says:"
grep -E "MISSING *\|" "$folder/log" | sort -u | sed 's/ *|.*//' | head -3
grep -ho "those params were newly initialized.*" "$folder/log" | sort -u
