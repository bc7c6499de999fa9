#!/usr/bin/env bash
# llguidance 1.9.1: whether a consumed end token counts in a roll-back depends on whether the text could have gone on.
#
# Guess: `rollback(n)` undoes the last n consumed tokens, whichever they are: after text and the end token, `rollback(1)`
# takes the end token back and leaves the text.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q llguidance==1.9.1 2>/dev/null

"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import llguidance

print("llguidance", version("llguidance"))
END = 256


class Bytes:
    """A tokenizer of single bytes and an end."""

    eos_token_id, bos_token_id, special_token_ids = END, None, [END]
    tokens = [bytes([byte]) for byte in range(256)] + [b"<end>"]

    def __call__(self, text: bytes | str) -> list[int]:
        return list(text if isinstance(text, bytes) else text.encode())


reader = llguidance.LLTokenizer(llguidance.TokenizerWrapper(Bytes()))


def allowed(tokens: list[int], back: int) -> tuple[bool, str]:
    """Whether tokens, consumed, can be taken back, and which characters may follow then."""
    matcher = llguidance.LLMatcher(reader, llguidance.LLMatcher.grammar_from_regex("a?b?c?d?"))
    assert all(matcher.consume_token(token) for token in tokens)
    done = matcher.rollback(back)
    bits = matcher.compute_bitmask()
    return done, "".join(chr(byte) for byte in range(256) if bits[byte // 8] >> byte % 8 & 1)


seen = {}
for text in ("abc", "abcd"):  # after abc the text might go on, after abcd nothing can
    for end in (False, True):
        for back in (1, 2):
            seen[text, end, back] = allowed([*text.encode(), *[END] * end], back)
            done, following = seen[text, end, back]
            print(f"{text}{' and the end' * end:12} rollback({back}): {done}, may go on with {following!r}")

assert all(done for done, _ in seen.values()), seen
found = {name: following for name, (_, following) in seen.items()}
assert found == {
    ("abc", False, 1): "cd", ("abc", False, 2): "bcd", ("abc", True, 1): "d", ("abc", True, 2): "cd",
    ("abcd", False, 1): "d", ("abcd", False, 2): "cd", ("abcd", True, 1): "d", ("abcd", True, 2): "cd",
}, found  # fmt: skip
print("As found: an end token counts as a token where the text might have gone on, and as none where nothing else could")
print("follow. Whoever always counts it loses a token of a text that was complete.")
PYTHON
