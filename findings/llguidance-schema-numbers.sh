#!/usr/bin/env bash
# llguidance 1.9.1: the numbers of a schema are doubles, and bounds change how a number may be written.
#
# Guess: `const` and `enum` take the very number that the schema writes; an exclusive bound is never met; a bound says
# how great a number may be and leaves the ways of writing it (1e-3, 0.10) alone.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q llguidance==1.9.1 jsonschema==4.26.0 2>/dev/null

"$folder/venv/bin/python" - <<'PYTHON'
import json
from importlib.metadata import version

import jsonschema
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


def takes(schema: dict, text: bytes) -> bool:
    matcher = llguidance.LLMatcher(reader, llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema)))
    assert not matcher.is_error(), matcher.get_error()
    return matcher.try_consume_tokens(list(text)) == len(text) and matcher.is_accepting()



odd = 2**53 + 1  # the first whole number that no double is
number = {"type": "number"}
cases = [
    ({"const": odd}, str(odd), False),
    ({"const": odd}, str(odd - 1), True),  # the only text it does take is another number
    ({"enum": [odd, 5]}, str(odd), False),
    ({"const": 1.0}, "1.0", False),
    ({"const": 1.0}, "1", True),
    ({**number, "exclusiveMinimum": 0, "exclusiveMaximum": 1}, "0", False),
    ({**number, "exclusiveMinimum": 0, "maximum": 0.5}, "0", True),  # the bound is exclusive and is met
    (number, "1e-3", True),
    ({**number, "minimum": 0}, "1e-3", False),
    ({**number, "minimum": 0}, "0.001", True),
    ({**number, "minimum": 0.1, "multipleOf": 0.1}, "0.1", True),
    ({**number, "minimum": 0.1, "multipleOf": 0.1}, "0.10", False),
]
for schema, text, found in cases:
    taken = takes(schema, text.encode())
    valid = jsonschema.Draft202012Validator(schema).is_valid(json.loads(text))
    words = "taken" if taken else "refused"
    print(f"{json.dumps(schema):72} {text:17} {words:8} {'' if taken == valid else f'(the standard: {valid})'}")
    assert taken == found, (schema, text, taken)
print("As found: great integers turn into their neighbours, an exclusive zero is let through below some upper bounds,")
print("and a bounded number has no exponent.")
PYTHON
