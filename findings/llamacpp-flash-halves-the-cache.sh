#!/usr/bin/env bash
# xllamacpp 2026.10.11549 (llama.cpp) on a CPU: asked for a float32 cache, the answers are those of the float16 cache,
# to the bit, as long as flash attention is on; and "auto" means on.
#
# Guess: a file in F32 with --cache-type-k f32 and --cache-type-v f32 is computed in float32 from end to end, so that
# flash attention is off from the plain one by 1e-5 at most; the default cache, float16, costs some 1e-3.
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
file = folder / "model.gguf"
write(file, gguf.GGMLQuantizationType.F32)


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


F32, F16 = xllamacpp.ggml_type.GGML_TYPE_F32, xllamacpp.ggml_type.GGML_TYPE_F16
FLASH = xllamacpp.llama_flash_attn_type
AUTO, ON, PLAIN = (getattr(FLASH, f"LLAMA_FLASH_ATTN_TYPE_{name}") for name in ("AUTO", "ENABLED", "DISABLED"))
seen = {
    (cache, attention): rows(file, cache_type_k=kind, cache_type_v=kind, flash_attn_type=way)
    for cache, kind in (("f32", F32), ("f16", F16))
    for attention, way in (("plain", PLAIN), ("flash", ON), ("auto", AUTO))
}
true = seen["f32", "plain"]
for (cache, attention), each in seen.items():
    print(f"cache {cache}, attention {attention:6}", [f"{one:.1e}" for one in off(each, true)], flush=True)
assert seen["f32", "flash"] == seen["f16", "flash"] == seen["f32", "auto"] == seen["f16", "auto"]
assert max(off(seen["f32", "flash"], true)) > 5e-4, off(seen["f32", "flash"], true)
assert max(off(seen["f16", "plain"], true)) > 5e-4
print("As found: with flash attention both caches give the same bits, off as far as float16 is; float32 needs it off.")
PYTHON
