#!/usr/bin/env bash
# CTranslate2 4.8.5: a Llama 3.1-like checkpoint's scaled rotation is converted without its factor, and is not scaled.
#
# Guess: the converter names "llama3" among the scalings of rotations that it supports, so a checkpoint with
# `rope_type: llama3` gives transformers' own log-probabilities, as one without a scaling does.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 transformers==5.24.0 ctranslate2==4.8.5 2>/dev/null

cd "$folder"
OMP_NUM_THREADS=1 "$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import shutil

import ctranslate2
import numpy as np
import tokenizers
import torch
import transformers

print("ctranslate2", ctranslate2.__version__, "· transformers", transformers.__version__, "· torch", torch.__version__)
torch.manual_seed(0)
words = {f"t{token}": token for token in range(64)}
reader = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="t0"))
tokenizer = transformers.PreTrainedTokenizerFast(
    tokenizer_object=reader, unk_token="t0", bos_token="t1", eos_token="t2", pad_token="t3"
)
sizes = {"vocab_size": 64, "hidden_size": 128, "intermediate_size": 128, "num_hidden_layers": 2}
heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "initializer_range": 0.2}
base = {"rope_theta": 5e5}
bands = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
rotations = {
    "none": {"rope_type": "default", **base},
    "linear, by 8": {"rope_type": "linear", **base, "factor": 8.0},
    "llama3, by 8": {"rope_type": "llama3", **base, **bands, "factor": 8.0},
    "llama3, by 32": {"rope_type": "llama3", **base, **bands, "factor": 32.0},
}
tokens = torch.randint(4, 64, (1, 48))


@torch.no_grad()
def answer(model: transformers.LlamaForCausalLM) -> np.ndarray:
    return model(tokens).logits[0].log_softmax(-1).numpy()


seen = {}
for name, rotation in rotations.items():
    config = transformers.LlamaConfig(**sizes, **heads, rope_parameters=rotation, max_position_embeddings=65536)
    model = transformers.LlamaForCausalLM(config).eval()
    model.save_pretrained("checkpoint")
    tokenizer.save_pretrained("checkpoint")
    ctranslate2.converters.TransformersConverter("checkpoint").convert("converted", force=True)
    generator = ctranslate2.Generator("converted", compute_type="float32", intra_threads=1)
    text = [f"t{token}" for token in tokens[0].tolist()]
    theirs = np.array(generator.forward_batch([text], return_log_probs=True))[0]
    whole = float(np.abs(theirs - answer(model)).max())
    plain = 1 / 5e5 ** (torch.arange(0, 64, 2) / 64)
    model.model.rotary_emb.inv_freq.copy_(plain)  # the same weights as if nothing were scaled
    unscaled = float(np.abs(theirs - answer(model)).max())
    seen[name] = (whole < 1e-3, unscaled < 1e-3)
    print(f"{name:14} off from the checkpoint by {whole:8.5f}, from the checkpoint unscaled by {unscaled:8.5f}")
    shutil.rmtree("converted")

found = {"none": (True, True), "linear, by 8": (True, False)}
found |= dict.fromkeys(("llama3, by 32", "llama3, by 8"), (False, True))
assert seen == found, seen
print("As found: a llama3 scaling is converted without a word, and the converted model computes as if there were none.")
PYTHON
