#!/usr/bin/env bash
# llguidance 1.9.1, xgrammar 0.2.9, outlines-core 0.2.14: one schema, one `pattern`, two meanings.
#
# Guess: JSON Schema says that a pattern is searched for, not anchored, and so all three engines take "abc" for the
# patterns `b`, `^a` and `c$`; perhaps one of the three anchors a pattern that has no anchor of its own.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 llguidance==1.9.1 xgrammar==0.2.9 outlines-core==0.2.14 \
    jsonschema==4.26.0 2>/dev/null

"$folder/venv/bin/python" - <<'PYTHON'
import json
import re
from importlib.metadata import version

import jsonschema
import llguidance
import xgrammar
from outlines_core.json_schema import build_regex_from_schema

for name in ("llguidance", "xgrammar", "outlines-core", "jsonschema"):
    print(name, version(name))

END = 256
pieces = [bytes([byte]) for byte in range(256)] + [b"<end>"]  # a tokenizer of single bytes and an end


class Bytes:
    """The same tokenizer, as llguidance wants it."""

    eos_token_id, bos_token_id, tokens, special_token_ids = END, None, pieces, [END]

    def __call__(self, text: bytes | str) -> list[int]:
        return list(text if isinstance(text, bytes) else text.encode())


reader = llguidance.LLTokenizer(llguidance.TokenizerWrapper(Bytes()))
compiler = xgrammar.GrammarCompiler(
    xgrammar.TokenizerInfo(pieces, vocab_type=xgrammar.VocabType.RAW, vocab_size=257, stop_token_ids=[END])
)


def standard(schema: str, text: str) -> bool:
    return jsonschema.Draft202012Validator(json.loads(schema)).is_valid(json.loads(text))


def by_llguidance(schema: str, text: str) -> bool:
    matcher = llguidance.LLMatcher(reader, llguidance.LLMatcher.grammar_from_json_schema(schema))
    return matcher.try_consume_tokens(list(text.encode())) == len(text.encode()) and matcher.is_accepting()


def by_xgrammar(schema: str, text: str) -> bool:
    matcher = xgrammar.GrammarMatcher(compiler.compile_json_schema(schema))
    return all(matcher.accept_token(byte) for byte in text.encode()) and matcher.accept_token(END)


def by_outlines(schema: str, text: str) -> bool:
    return re.fullmatch(build_regex_from_schema(schema), text) is not None


ways = {"jsonschema": standard, "llguidance": by_llguidance, "xgrammar": by_xgrammar, "outlines-core": by_outlines}
cases = [("^abc$", '"abc"'), ("b", '"abc"'), ("^a", '"abc"'), ("c$", '"abc"'), ("^ab|bc$", '"abc"')]
cases += [("^.$", r'"\""'), ("^[^a]$", r'"\\"'), (r"^\s$", r'"\t"'), (r"^\d$", '"٣"')]
seen = []
print(f"{'pattern':10} {'text':8}", *(f"{name:14}" for name in ways))
for pattern, text in cases:
    schema = json.dumps({"type": "string", "pattern": pattern})
    seen.append(tuple(int(way(schema, text)) for way in ways.values()))
    print(f"{pattern:10} {text:8}", *(f"{'taken' if taken else 'refused':14}" for taken in seen[-1]))

found = [(1, 1, 1, 1), *[(1, 1, 0, 0)] * 4, *[(1, 1, 0, 0)] * 3, (1, 0, 0, 1)]
assert seen == found, seen
print("As found: llguidance searches; xgrammar and outlines-core match the whole string whatever anchors it has, and")
print("let no escaped character match a class. A digit of another script is one for two of the four.")
PYTHON
