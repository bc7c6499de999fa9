#!/usr/bin/env bash
# CTranslate2 4.8.5: with a sliding window, a prompt longer than the window is answered from other log-probabilities.
#
# Guess: a layer with a window of W lets each token see itself and the W - 1 before it, however long the prompt is, so
# that the first token after a prompt has transformers' own log-probabilities; a text of any length can be scored.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 transformers==5.24.0 ctranslate2==4.8.5 2>/dev/null

cd "$folder"
OMP_NUM_THREADS=1 "$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import ctranslate2
import numpy as np
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
sizes = {"vocab_size": 64, "hidden_size": 64, "intermediate_size": 128, "initializer_range": 0.2}
heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
gemma = {"num_hidden_layers": 6, "head_dim": 16, "query_pre_attn_scalar": 16}
models = {
    "Mistral, window 8": (
        8,
        transformers.MistralForCausalLM(
            transformers.MistralConfig(**sizes, **heads, num_hidden_layers=2, sliding_window=8)
        ),
    ),
    "Gemma 3, window 512": (
        512,
        transformers.Gemma3ForCausalLM(
            transformers.Gemma3TextConfig(**sizes, **heads, **gemma, sliding_window=512)
        ),
    ),
}
tokens = torch.randint(4, 64, (1, 1024))

seen = {}
for name, (window, model) in models.items():
    model.eval().save_pretrained("checkpoint")
    tokenizer.save_pretrained("checkpoint")
    ctranslate2.converters.TransformersConverter("checkpoint").convert("converted", force=True)
    generator = ctranslate2.Generator("converted", compute_type="float32", intra_threads=1)
    for length in (window, window + 1, window + 4, 2 * window):
        text = [f"t{token}" for token in tokens[0, :length].tolist()]
        with torch.no_grad():
            ours = model(tokens[:, :length]).logits[0, -1].log_softmax(-1)
        result = generator.generate_batch(
            [text], max_length=1, include_prompt_in_result=False, end_token=[], return_logits_vocab=True
        )
        theirs = torch.tensor(np.array(result[0].logits[0][0])).reshape(-1).float().log_softmax(-1)
        gap = float((theirs - ours).abs().max())
        try:
            generator.forward_batch([text], return_log_probs=True)
            scored = "scored"
        except ValueError as error:
            scored = f"not scored ({error})"
        seen[name, length - window] = (gap < 1e-4, scored == "scored")
        print(f"{name:20} prompt of {length:4}: first token off by {gap:.6f}; as a whole {scored}")

found = {
    (name, beyond): (beyond <= 1, beyond == 0) for name, (window, _) in models.items() for beyond in (0, 1, 4, window)
}
assert seen == found, seen
print("As found: up to one token past the window all agree; beyond it, the answer begins from other log-probabilities,")
print("and nothing says so. Scoring such a text in one call is an error about a buffer.")
PYTHON
