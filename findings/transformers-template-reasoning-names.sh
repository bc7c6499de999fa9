#!/usr/bin/env bash
# transformers 5.17.0 and 5.24.0: one message, one template, two prompts. The newer copies a message's reasoning under
# names that the caller never wrote, before the template sees it; of two texts `thinking` is the one that is copied.
#
# Guess: a template sees the fields of a message as they are given, in every version: a template that shows
# `reasoning_content` shows nothing for a message with `reasoning`.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for version in 5.17.0 5.24.0; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/pip" install -q "transformers==$version" jinja2==3.1.6 2>/dev/null
    "$folder/$version/bin/python" - "$version" 2>/dev/null <<'PYTHON'
import sys

import transformers
from tokenizers import Tokenizer, models

print("transformers", transformers.__version__)
tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, unk_token="a")))
fields = "{{ m.items() | rejectattr(0, 'in', ['role', 'content']) | sort | map('join', '=') | join(' ') }}"
tokenizer.chat_template = "{% for m in messages %}" + fields + "{% endfor %}"


def shown(**more: str) -> str:
    """What a template can see of a message beside its role and content."""
    message = {"role": "assistant", "content": "4", **more}
    found = tokenizer.apply_chat_template([message], tokenize=False)
    assert message == {"role": "assistant", "content": "4", **more}
    return found


cases = [{}, {"reasoning": "2+2"}, {"thinking": "2+2"}, {"reasoning_content": "2+2"}]
cases += [{"thinking": "long", "reasoning": "short"}, {"reasoning_content": "", "thinking": "2+2"}]
given = [" ".join("=".join(pair) for pair in sorted(case.items())) for case in cases]
seen = [shown(**case) for case in cases]
for before, after in zip(given, seen):
    print(f"  given: {before or 'neither':32} seen: {after}")
if sys.argv[1] == "5.17.0":
    assert seen == given, seen
else:
    assert seen == [
        "",
        "reasoning=2+2 reasoning_content=2+2 thinking=2+2",
        "reasoning_content=2+2 thinking=2+2",
        "reasoning_content=2+2 thinking=2+2",
        "reasoning=short reasoning_content=long thinking=long",
        "reasoning_content= thinking=2+2",
    ], seen
PYTHON
done
echo "As found: the newer shows reasoning also as reasoning_content and as thinking; an empty"
echo "reasoning_content counts as given, so that the thinking beside it stays unseen by most templates."
