#!/usr/bin/env bash
# llguidance 1.9.1: a schema that refers to itself is served, but not where the reference has any keyword beside it that
# it reads, as in a tree whose children have at least one entry more. The standard lets keywords stand beside `$ref`.
#
# Guess: from draft 2019-09 on a `$ref` is a keyword like others, so a keyword beside it, or the same written as `allOf`,
# narrows the recursive schema.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q llguidance==1.9.1 jsonschema==4.26.0 2>/dev/null

"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import jsonschema
from llguidance import LLMatcher

print("llguidance", version("llguidance"), "jsonschema", version("jsonschema"))


def tree(child: dict) -> dict:
    """A node with a number and a child that obeys this."""
    return {"type": "object", "properties": {"n": {"type": "integer"}, "child": child}, "additionalProperties": False}


SCHEMAS = {
    "bare": tree({"$ref": "#"}),
    "with a note beside": tree({"$ref": "#", "description": "the next one"}),
    "with a keyword beside": tree({"$ref": "#", "required": ["n"]}),
    "in allOf": tree({"allOf": [{"$ref": "#"}, {"required": ["n"]}]}),
}
seen = {}
for name, schema in SCHEMAS.items():
    jsonschema.Draft202012Validator.check_schema(schema)
    assert jsonschema.Draft202012Validator(schema).is_valid({"n": 1, "child": {"n": 2, "child": {"n": 3}}})
    said = LLMatcher.validate_grammar(LLMatcher.grammar_from_json_schema(schema))
    seen[name] = said.splitlines()[0] if said else ""
    print(f"{name:22} {seen[name] or 'served'}")
narrowed = [seen["with a keyword beside"], seen["in allOf"]]
assert not seen["bare"] and all(narrowed), seen
print("As found: recursion is served for a bare reference, and refused where a keyword narrows it.")
PYTHON
