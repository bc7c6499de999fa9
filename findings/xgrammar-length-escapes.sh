#!/usr/bin/env bash
# xgrammar 0.2.9: a schema's `minLength` or `maxLength` forbids every escape in the string.
#
# Guess: a length bound counts characters. `{"type": "string", "maxLength": 1000}` takes "a\"b" and "a\nb", as the same
# schema without the bound does; and beside `pattern` both keywords hold, as the standard has it.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 xgrammar==0.2.9 2>/dev/null

"$folder/venv/bin/python" - <<'PYTHON'
import json
from importlib.metadata import version

import xgrammar

print("xgrammar", version("xgrammar"))
END = 256
pieces = [bytes([byte]) for byte in range(256)] + [b"<end>"]  # a tokenizer of single bytes and an end
info = xgrammar.TokenizerInfo(pieces, vocab_type=xgrammar.VocabType.RAW, vocab_size=257, stop_token_ids=[END])
compiler = xgrammar.GrammarCompiler(info)


def takes(schema: dict, text: str) -> bool:
    """Whether the schema's grammar takes the whole text, and then the end."""
    matcher = xgrammar.GrammarMatcher(compiler.compile_json_schema(json.dumps(schema)))
    return all(matcher.accept_token(byte) for byte in text.encode()) and matcher.accept_token(END)


seen = {}
for text in ('"ab"', r'"a\"b"', r'"a\nb"', r'"a\\b"', r'"\u00e9"', '"é"'):
    for bound in ({}, {"minLength": 0}, {"minLength": 1}, {"maxLength": 1000}):
        seen[text, json.dumps(bound)] = takes({"type": "string", **bound}, text)
        print(f"{text:10} {json.dumps(bound):19} {'taken' if seen[text, json.dumps(bound)] else 'refused'}")
both = takes({"type": "string", "minLength": 2, "pattern": "^a$"}, '"a"')
print('"a" under minLength 2 and pattern ^a$:', "taken" if both else "refused")

plain = ('"ab"', '"é"')
bounded = ('{"minLength": 1}', '{"maxLength": 1000}')
for (text, bound), taken in seen.items():
    assert taken == (text in plain or bound not in bounded), (text, bound, taken)
assert both
print("As found: with a length bound a string holds no quote, no line break, no backslash; beside a")
print("pattern the bound is dropped, with a warning.")
PYTHON
