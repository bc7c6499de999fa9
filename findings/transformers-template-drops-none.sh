#!/usr/bin/env bash
# transformers 5.24.0: a chat template never sees a field of a message that is None.
#
# Guess: `apply_chat_template` hands the messages to the template as they are: the usual form of a message with tool
# calls, `"content": None`, has a content that `is none`, just as in plain Jinja, and so templates that ask
# `message.content is none` work.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q transformers==5.24.0 jinja2==3.1.6 2>/dev/null

TRANSFORMERS_VERBOSITY=error "$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import jinja2
import transformers
from tokenizers import Tokenizer, models

print("transformers", version("transformers"), "· jinja2", version("jinja2"))
words = Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words)
call = {"type": "function", "function": {"name": "look", "arguments": {"at": None}}}
messages = [{"role": "assistant", "content": None, "tool_calls": [call], "note": None}]

templates = {
    "is none": "{{ messages[0].content is none }}",
    "is defined": "{{ messages[0].content is defined }}",
    "is string": "{{ messages[0].content is string }}",
    "as text": "{{ messages[0].content }}",
    "fields": "{{ messages[0].keys() | list | join(' ') }}",
    "an argument": "{{ messages[0].tool_calls[0].function.arguments.at is none }}",
    "an option": "{{ documents_of_mine is none }}",
}
seen = {}
for name, template in templates.items():
    plain = jinja2.Environment().from_string(template).render(messages=messages, documents_of_mine=None)
    ours = tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False, documents_of_mine=None)
    seen[name] = (plain, ours)
    print(f"{name:12} plain Jinja {plain!r:37} apply_chat_template {ours!r}")

assert seen == {
    "is none": ("True", "False"),
    "is defined": ("True", "False"),
    "is string": ("False", "False"),
    "as text": ("None", ""),
    "fields": ("role content tool_calls note", "role tool_calls"),
    "an argument": ("True", "True"),
    "an option": ("True", "True"),
}, seen
print("As found: fields of a message that are None are gone, deeper ones and the template's options are not: a")
print("template that asks `is none` takes its other branch, one that asks `is defined` or for truth is right.")
PYTHON
