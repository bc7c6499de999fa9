"""What is valid where a schema is not: the same said without `not`, as far as there is a form."""

from __future__ import annotations

from typing import Any

from .document import Document, Node

DEEPEST = 8  # references that are looked through
TYPES = ("null", "boolean", "object", "array", "string", "number", "integer")
COUNTS = {
    "minLength": ("string", "maxLength", -1),
    "maxLength": ("string", "minLength", 1),
    "minItems": ("array", "maxItems", -1),
    "maxItems": ("array", "minItems", 1),
    "minProperties": ("object", "maxProperties", -1),
    "maxProperties": ("object", "minProperties", 1),
}
BOUNDS = {
    "minimum": "exclusiveMaximum",
    "exclusiveMinimum": "maximum",
    "maximum": "exclusiveMinimum",
    "exclusiveMaximum": "minimum",
}


def negated(document: Document, node: Node, depth: int = 0) -> Node | None:
    """The schema of all values that are not valid under a node; None where this does not know it."""
    if isinstance(node, bool):
        return not node
    if depth > DEEPEST or "unevaluatedItems" in node or "unevaluatedProperties" in node:
        return None
    branches: list[Node] = []
    for name in node:
        if name in ("then", "else", "minContains", "maxContains"):
            continue  # these are told with the keyword that they belong to
        found = _negated(document, node, name, depth)
        if found is None:
            return None
        branches += found
    branches = [each for each in branches if each is not False]
    return False if not branches else branches[0] if len(branches) == 1 else {"anyOf": branches}


def _negated(document: Document, node: dict[str, Any], name: str, depth: int) -> list[Node] | None:
    """Schemas one of which is valid wherever one keyword does not hold."""
    value = node[name]
    if name == "$ref":
        found = negated(document, document.target(node), depth + 1)
        return None if found is None else [found]
    if name == "type":
        named = {value} if isinstance(value, str) else {*value}
        if "integer" in named and "number" not in named:
            return None
        left = [each for each in TYPES if each not in named and each != "integer"]
        return [{"type": left}] if left else [False]
    if name == "not":
        return [value]
    if name in ("anyOf", "allOf"):
        each = [negated(document, below, depth + 1) for below in value]
        if any(below is None for below in each):
            return None
        return [{"allOf": each}] if name == "anyOf" else [below for below in each if below is not None]
    if name in BOUNDS:
        return [{"type": "number", BOUNDS[name]: value}]
    if name in COUNTS:
        kind, other, step = COUNTS[name]
        return [{"type": kind, other: value + step}] if value + step >= 0 else [False]
    if name == "required":
        return [{"type": "object", "properties": {key: False}} for key in value]
    if name == "properties":
        return [
            {"type": "object", "required": [key], "properties": {key: {"not": below}}} for key, below in value.items()
        ]
    if name == "dependentRequired":
        return [
            {"type": "object", "required": [key], "properties": {other: False}}
            for key, others in value.items()
            for other in others
        ]
    if name == "dependentSchemas":
        return [{"type": "object", "required": [key], "not": below} for key, below in value.items()]
    if name == "items" and value is False and "prefixItems" not in node:
        return [{"type": "array", "minItems": 1}]
    if name == "contains" and "minContains" not in node and "maxContains" not in node:
        return [{"type": "array", "items": {"not": value}}]
    if name == "propertyNames" and isinstance(value, dict) and value.keys() == {"not"}:
        finite = value["not"]
        keys = (
            finite.get("enum", [finite["const"]] if "const" in finite else None) if isinstance(finite, dict) else None
        )
        if keys is not None and finite.keys() <= {"enum", "const", "type"}:  # some key is one of these
            return [{"type": "object", "required": [key]} for key in keys if isinstance(key, str)]
    return None
