#!/usr/bin/env bash
# CTranslate2 4.8.5: `repetition_penalty` and `no_repeat_ngram_size` do not see the prompt of a decoder-only model.
#
# Guess: both mean what they mean in transformers, from whose checkpoints the models come: what stands in the prompt has
# been said, is penalised and is not repeated. Greedy answers are then the same on both sides.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 transformers==5.24.0 ctranslate2==4.8.5 2>/dev/null

cd "$folder"
OMP_NUM_THREADS=1 "$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import ctranslate2
import tokenizers
import torch
import transformers

print("ctranslate2", ctranslate2.__version__, "· transformers", transformers.__version__, "· torch", torch.__version__)
torch.manual_seed(0)
words = {f"t{token}": token for token in range(64)}
reader = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="t0"))
tokenizer = transformers.PreTrainedTokenizerFast(
    tokenizer_object=reader, unk_token="t0", bos_token="t1", eos_token="t2", pad_token="t3"
)
config = transformers.LlamaConfig(
    vocab_size=64, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, initializer_range=0.15,
)
model = transformers.LlamaForCausalLM(config).eval()
model.save_pretrained("checkpoint")
tokenizer.save_pretrained("checkpoint")
ctranslate2.converters.TransformersConverter("checkpoint").convert("converted")
generator = ctranslate2.Generator("converted", compute_type="float32", intra_threads=1)
PROMPT, NEW = 24, 12


class AnswerAlone(transformers.LogitsProcessor):
    """Another processor, shown the answer without its prompt."""

    def __init__(self, inner: transformers.LogitsProcessor) -> None:
        self.inner = inner

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return self.inner(input_ids[:, PROMPT:], scores)


def answer(prompt: torch.Tensor, *processors: transformers.LogitsProcessor, **settings: object) -> list[int]:
    found = model.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=NEW, do_sample=False, eos_token_id=None,
        pad_token_id=3, logits_processor=[*processors], **settings,
    )
    return found[0, PROMPT:].tolist()


settings = {
    "none": ({}, None),
    "repetition_penalty 1.3": ({"repetition_penalty": 1.3}, transformers.RepetitionPenaltyLogitsProcessor(1.3)),
    "no_repeat_ngram_size 1": ({"no_repeat_ngram_size": 1}, transformers.NoRepeatNGramLogitsProcessor(1)),
}
prompts = torch.randint(4, 64, (20, 1, PROMPT))
seen = {}
for name, (each, processor) in settings.items():
    whole = alone = 0
    for prompt in prompts:
        text = [f"t{token}" for token in prompt[0].tolist()]
        result = generator.generate_batch(
            [text], max_length=NEW, sampling_topk=1, include_prompt_in_result=False, end_token=[], **each
        )
        theirs = result[0].sequences_ids[0]
        whole += theirs == answer(prompt, **each)
        alone += theirs == answer(prompt, *([AnswerAlone(processor)] if processor else []))
    seen[name] = (whole == len(prompts), alone == len(prompts))
    print(f"{name:23} {whole:2} of {len(prompts)} answers are transformers', {alone:2} where it is shown the answer alone")

assert seen == {name: (name == "none", True) for name in settings}, seen
print("As found: a repetition of the prompt costs nothing and is not forbidden; only the answer's own tokens count.")
PYTHON
