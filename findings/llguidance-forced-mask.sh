#!/usr/bin/env bash
# llguidance 1.9.1: where a text is forced, the mask holds only the token with which the tokenizer would write it; other
# tokens with the right bytes are masked out, and yet consumed and validated without complaint. With white space free the
# same place allows every spelling.
#
# Guess: a mask allows each token whose bytes may follow. With tokens for single bytes and for {" beside them, both { and
# {" may begin an object that has a required key; and whatever a mask leaves out cannot be consumed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q llguidance==1.9.1 2>/dev/null

"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper

print("llguidance", version("llguidance"))
MORE = [b'{"', b'name', b'{"name"']
END = 256 + len(MORE)


class Longest:
    """Single bytes, a few longer tokens, an end; a text is written with the longest tokens that fit."""

    eos_token_id, bos_token_id, special_token_ids = END, None, [END]
    tokens = [bytes([byte]) for byte in range(256)] + MORE + [b"<end>"]

    def __call__(self, text: bytes | str) -> list[int]:
        text, found = text if isinstance(text, bytes) else text.encode(), []
        while text:
            token = max((each for each in range(END) if text.startswith(self.tokens[each])), key=lambda each: len(self.tokens[each]))
            found.append(token)
            text = text[len(self.tokens[token]) :]
        return found


tokenizer = LLTokenizer(TokenizerWrapper(Longest()))
schema = {"type": "object", "properties": {"name": {"type": "integer"}}, "required": ["name"], "additionalProperties": False}


def allowed(free: bool) -> list[bytes]:
    """What the mask at the beginning lets through."""
    matcher = LLMatcher(tokenizer, LLMatcher.grammar_from_json_schema(schema, overrides={"whitespace_flexible": free}))
    bits = matcher.compute_bitmask()
    return [Longest.tokens[token] for token in range(END) if bits[token // 8] >> token % 8 & 1]


fixed, free = allowed(False), allowed(True)
print("mask, no white space:  ", fixed)
print("mask, white space free:", free)
assert fixed == [b'{"name"'] and free == [b"{", b'{"', b'{"name"'], (fixed, free)

for spelling in (list(b'{"name":1}'), [256, 257, *b'":1}'], [258, *b":1}"]):
    matcher = LLMatcher(tokenizer, LLMatcher.grammar_from_json_schema(schema, overrides={"whitespace_flexible": False}))
    valid = matcher.validate_tokens(spelling)
    done = matcher.consume_tokens(spelling)
    print(f"{len(spelling)} tokens: {valid} valid, consumed {done}, complete {matcher.is_accepting()}")
    assert valid == len(spelling) and done and matcher.is_accepting()
print("As found: the mask of a forced place is the tokenizer's own next token alone, so what a model may say depends on")
print("whether white space is free, and a token that is masked out may still be consumed.")
PYTHON
