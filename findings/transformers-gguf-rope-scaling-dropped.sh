#!/usr/bin/env bash
# transformers 5.24.0: what a GGUF file says about scaled rotations is dropped, whether it is said by keys
# (rope.scaling.*, linear or YaRN) or by a tensor of factors (rope_freqs.weight, as for Llama 3).
#
# Guess: the keys become `rope_parameters` of the config, as those of config.json do, and the factors scale the
# frequencies; what cannot be read is an error.
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
SIZE, INNER, HEADS, LAYERS, TOKENS = 64, 128, 4, 2, 100


def write(path: Path, scaling: dict[str, float] | None = None, factors: np.ndarray | None = None) -> None:
    """The same small model of the kind llama, with or without scaled rotations."""
    file = gguf.GGUFWriter(str(path), "llama")
    if scaling is not None:
        file.add_rope_scaling_type(gguf.RopeScalingType(scaling["rope_type"]))
        file.add_rope_scaling_factor(scaling["factor"])
        file.add_rope_scaling_orig_ctx_len(64)
    if factors is not None:
        file.add_tensor("rope_freqs.weight", factors)
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
def row(file: Path, **config: object) -> torch.Tensor:
    """The logits after a text, of the model that is loaded from a file."""
    model = transformers.AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, **config).eval()
    print(f"{file.stem:10}", model.config.rope_parameters, flush=True)
    return model(torch.arange(1, 41)[None]).logits[0, -1]


folder = Path(sys.argv[1])
linear, yarn = ({"rope_type": name, "factor": 4.0} for name in ("linear", "yarn"))
write(folder / "plain.gguf")
write(folder / "linear.gguf", linear)
write(folder / "yarn.gguf", yarn)
write(folder / "factors.gguf", factors=np.linspace(1, 8, SIZE // HEADS // 2, dtype=np.float32))
for name in ("linear", "yarn"):
    fields = gguf.GGUFReader(folder / f"{name}.gguf").fields
    assert fields["llama.rope.scaling.type"].contents() == name
rows = {name: row(folder / f"{name}.gguf") for name in ("plain", "linear", "yarn", "factors")}
config = transformers.AutoConfig.from_pretrained(folder, gguf_file="linear.gguf")
config.rope_parameters = {**config.rope_parameters, **linear}
meant = row(folder / "linear.gguf", config=config)
for name, each in rows.items():
    print(f"{name:10} off from plain by {float((each - rows['plain']).abs().max()):.2f}")
print(f"linear, with the config told by hand: {float((meant - rows['plain']).abs().max()):.2f}")
assert all(torch.equal(each, rows["plain"]) for each in rows.values())
assert (meant - rows["plain"]).abs().max() > 0.5
print("As found: four files, one answer, to the bit.")
PYTHON
echo "Warnings or errors in the log: $(grep -ciE 'rope|rotar|unexpected' "$folder/log" || true)"
