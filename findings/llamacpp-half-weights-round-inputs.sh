#!/usr/bin/env bash
# xllamacpp 2026.10.11549 (llama.cpp) on a CPU: weights in BF16 or F16 round what they are multiplied with to the same
# kind, so that three files of the very same numbers give three answers.
#
# Guess: half weights are widened: products of float32 inputs with exact weights, summed in float32. A file whose
# weights F32, F16 and BF16 all hold exactly is answered within 1e-5 in all three.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q xllamacpp==2026.10.11549 gguf==0.19.0 numpy==2.4.6 2>/dev/null

"$folder/venv/bin/python" - "$folder" 2>"$folder/log" <<'PYTHON'
import sys
from importlib.metadata import version
from pathlib import Path

import gguf
import numpy as np
import xllamacpp

print(*(f"{name} {version(name)}" for name in ("xllamacpp", "gguf")), sep=" · ", flush=True)
folder = Path(sys.argv[1])
TOKENS = 258
PROMPTS = [letters.tolist() for letters in np.split(np.random.default_rng(1).integers(97, 123, size=245), (5, 45))]

LETTERS = {byte: chr(byte) for byte in [*range(33, 127), *range(161, 173), *range(174, 256)]}
LETTERS |= {byte: chr(256 + place) for place, byte in enumerate(byte for byte in range(256) if byte not in LETTERS)}
SIZE, INNER, HEADS, LAYERS = 64, 128, 4, 2


def write(path: Path, kind: gguf.GGMLQuantizationType, more: tuple[str, ...] = ()) -> None:
    """A small model of the kind llama; its tokens are the bytes, an end, a pair of letters, and more normal ones."""
    file = gguf.GGUFWriter(str(path), "llama")
    file.add_context_length(1024)
    file.add_embedding_length(SIZE)
    file.add_block_count(LAYERS)
    file.add_feed_forward_length(INNER)
    file.add_head_count(HEADS)
    file.add_layer_norm_rms_eps(1e-5)
    file.add_tokenizer_model("gpt2")
    file.add_tokenizer_pre("gpt-2")
    file.add_token_list([*(LETTERS[byte] for byte in range(256)), "<|endoftext|>", "th", *more])
    file.add_token_types([1] * 256 + [3, 1] + [1] * len(more))  # 3: control, 1: normal
    file.add_token_merges(["t h"])
    file.add_eos_token_id(256)
    file.add_add_bos_token(False)
    for name, weight in weights.items():
        if weight.ndim == 1:  # norms are always F32
            file.add_tensor(name, weight)
        else:
            file.add_tensor(name, gguf.quantize(weight, kind), raw_dtype=kind)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


def drawn(shape: tuple[int, int]) -> np.ndarray:
    """Weights that F32, F16 and BF16 all hold exactly: multiples of 1/256 below 1/2."""
    return (numbers.integers(-127, 128, size=shape) / 256).astype(np.float32)


numbers = np.random.default_rng(0)
weights = {"token_embd.weight": drawn((TOKENS, SIZE)), "output_norm.weight": np.ones(SIZE, np.float32)}
for layer in range(LAYERS):
    weights |= {f"blk.{layer}.{name}_norm.weight": np.ones(SIZE, np.float32) for name in ("attn", "ffn")}
    weights |= {f"blk.{layer}.attn_{name}.weight": drawn((SIZE, SIZE)) for name in ("q", "k", "v", "output")}
    weights |= {f"blk.{layer}.ffn_{name}.weight": drawn((INNER, SIZE)) for name in ("gate", "up")}
    weights[f"blk.{layer}.ffn_down.weight"] = drawn((SIZE, INNER))


def rows(path: Path, **settings: object) -> list[dict[int, float]]:
    """The log-probabilities of every token after each prompt."""
    chosen = xllamacpp.CommonParams()
    chosen.model.path, chosen.n_ctx, chosen.n_parallel, chosen.warmup, chosen.verbosity = str(path), 512, 1, False, 1
    for name, value in settings.items():
        setattr(chosen, name, value)
    server = xllamacpp.Server(chosen)
    found = []
    for prompt in PROMPTS:
        request = {"prompt": prompt, "max_tokens": 1, "temperature": 0, "n_probs": TOKENS, "ignore_eos": True}
        (entry,) = server.handle_completions(request)["choices"][0]["logprobs"]["content"]
        found.append({each["id"]: each["logprob"] for each in entry["top_logprobs"]})
        assert len(found[-1]) == TOKENS
    return found


def off(some: list[dict[int, float]], others: list[dict[int, float]]) -> list[float]:
    """The largest difference, prompt by prompt."""
    return [max(abs(one[token] - other[token]) for token in one) for one, other in zip(some, others)]


F32 = xllamacpp.ggml_type.GGML_TYPE_F32
plain = {"cache_type_k": F32, "cache_type_v": F32}
plain["flash_attn_type"] = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
seen = {}
for name in ("F32", "F16", "BF16"):
    file, kind = folder / f"{name}.gguf", gguf.GGMLQuantizationType[name]
    write(file, kind)
    for tensor in gguf.GGUFReader(file).tensors:  # the numbers are the same
        held = tensor.data if tensor.n_elements == SIZE else gguf.dequantize(tensor.data, tensor.tensor_type)
        assert np.array_equal(held, weights[tensor.name]), tensor.name
    seen[name] = rows(file, **plain)
    print(f"{name:4} off from F32 by", [f"{each:.1e}" for each in off(seen[name], seen["F32"])], flush=True)
assert max(off(seen["BF16"], seen["F32"])) > 5e-3 and max(off(seen["F16"], seen["F32"])) > 5e-4
assert max(off(seen["BF16"], seen["F32"])) > 3 * max(off(seen["F16"], seen["F32"]))
print("As found: the inputs are rounded too, by BF16 more than by F16.")
PYTHON
