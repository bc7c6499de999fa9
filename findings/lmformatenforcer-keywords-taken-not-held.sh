#!/usr/bin/env bash
# lm-format-enforcer 0.11.3: bounds, multipleOf, uniqueItems, not, prefixItems and formats of a schema are taken without a
# word and not held; an object takes no key that the schema does not name, though the standard lets it; a number as
# `const` is an AttributeError at the first character.
#
# Guess: keywords that it does not implement are refused when the schema is read, as by others of its kind, and an object
# is open unless additionalProperties says otherwise.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q lm-format-enforcer==0.11.3 jsonschema==4.26.0 2>/dev/null

"$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import json
from importlib.metadata import version

from jsonschema import Draft202012Validator
from lmformatenforcer import JsonSchemaParser

print("lm-format-enforcer", version("lm-format-enforcer"))


def takes(schema: dict, text: str) -> bool:
    """Whether each character is allowed after those before it, and the text may end there."""
    parser = JsonSchemaParser(schema)
    for character in text:
        if character not in parser.get_allowed_characters():
            return False
        parser = parser.add_character(character)
    return parser.can_end()


integers = {"type": "array", "items": {"type": "integer"}}
BROKEN = [  # a schema, a value that it forbids
    ({"type": "integer", "minimum": 3}, "2"),
    ({"type": "number", "exclusiveMaximum": 3}, "3"),
    ({"type": "integer", "multipleOf": 2}, "3"),
    ({"type": "integer", "not": {"const": 3}}, "3"),
    (integers | {"uniqueItems": True}, "[1,1]"),
    ({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]}, '["a",1]'),
    ({"type": "string", "format": "date"}, '"x"'),
]
for schema, text in BROKEN:
    valid = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).is_valid(json.loads(text))
    print(f"{json.dumps(schema):92} {text:8} valid {valid}, taken {takes(schema, text)}")
    assert not valid and takes(schema, text)

held = [takes(integers | {"minItems": 2}, "[1]"), takes({"type": "string", "pattern": "b"}, '"c"')]
print("minItems and pattern are held:", held == [False, False])
assert held == [False, False]

named = {"type": "object", "properties": {"a": {"type": "integer"}}}
assert Draft202012Validator(named).is_valid({"b": 2})
print("an open object, a key that is not named: taken", takes(named, '{"b":2}'), "; a named one:", takes(named, '{"a":1}'))
assert takes(named, '{"a":1}') and not takes(named, '{"b":2}')

try:
    takes({"const": 5}, "5")
except AttributeError as error:
    print("const 5: AttributeError:", error)
else:
    raise SystemExit("a number as const is taken now")
print("As found: what is not implemented is not refused but left out, and objects are closed where the standard opens them.")
PYTHON
