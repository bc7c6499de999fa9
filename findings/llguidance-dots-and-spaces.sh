#!/usr/bin/env bash
# llguidance 1.9.1: in a schema's `pattern`, \d and \w are those of ECMA 262 (ASCII alone), while \s, \S and the dot are
# those of Rust: U+0085 is a space and U+FEFF is none, and a dot takes a carriage return, U+2028 and U+2029.
#
# Guess: JSON Schema points to ECMA 262 for patterns, and \d and \w are taken so, though the engine is written in Rust,
# whose own \d and \w are wider; so all escapes and the dot were brought in line with ECMA 262.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q llguidance==1.9.1 2>/dev/null

"$folder/venv/bin/python" - <<'PYTHON'
import json
from importlib.metadata import version

from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper

print("llguidance", version("llguidance"))
END = 256


class Bytes:
    """A tokenizer of single bytes and an end."""

    eos_token_id, bos_token_id, special_token_ids = END, None, [END]
    tokens = [bytes([byte]) for byte in range(256)] + [b"<end>"]

    def __call__(self, text: bytes | str) -> list[int]:
        return list(text if isinstance(text, bytes) else text.encode())


tokenizer = LLTokenizer(TokenizerWrapper(Bytes()))


def takes(pattern: str, text: str) -> bool:
    """Whether a string of JSON, written with as few escapes as may be, passes the mask."""
    grammar = LLMatcher.grammar_from_json_schema({"type": "string", "pattern": pattern})
    written = list(json.dumps(text, ensure_ascii=False).encode())
    return LLMatcher(tokenizer, grammar).validate_tokens(written) == len(written)


# pattern, character, what ECMA 262 says, what was seen
SEEN = [
    (r"^\d$", "\u0663", False, False),
    (r"^\w$", "\u00e9", False, False),
    (r"^\s$", "\u00a0", True, True),
    (r"^\s$", "\u0085", False, True),
    (r"^\s$", "\ufeff", True, False),
    (r"^\S$", "\u0085", True, False),
    (r"^\S$", "\ufeff", False, True),
    (r"^.$", "\n", False, False),
    (r"^.$", "\r", False, True),
    (r"^.$", "\u2028", False, True),
    (r"^.$", "\u2029", False, True),
]
for pattern, character, standard, seen in SEEN:
    found = takes(pattern, character)
    print(f"{pattern:6} U+{ord(character):04X}: ECMA 262 {standard!s:5}  llguidance {found}")
    assert found == seen, (pattern, character)
print("As found: digits and words are ECMA 262's, spaces and the dot are Rust's; neither standard describes all of them.")
PYTHON
