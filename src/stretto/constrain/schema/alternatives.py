"""Keywords that masks do not know, said with those that they do.

Each function takes a schema that has the keyword, and gives a schema of what the keyword asks for, and whether that is
all of it: where it is not, what it lets through is more, never less, and the rest is left to the judge.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .document import Document, Node
from .facts import disjoint, facts, finite, parts, refused, types
from .negate import negated
from .patterns import masked
from .validate import Validator

FEW = 4  # pairs of branches of a oneOf that are told apart by what the others are not
UNSURE = {"anyOf", "oneOf", "if", "dependentSchemas", "not"}  # which of these parts holds is not known
Made = tuple[Node, bool]  # a schema, and whether it says all
NOTHING: Made = (True, True)
JUDGED: Made = (True, False)


def _one_of(document: Document, judge: Validator, node: dict[str, Any]) -> Made:
    """Of branches that share no value, any; else each with what the others are not, if that has a form."""
    branches = node["oneOf"]
    rest = {key: value for key, value in node.items() if key != "oneOf"}
    whole: list[Node] = [{"allOf": [rest, each]} for each in branches]
    at = range(len(branches))
    shared = [(i, j) for i in at for j in at if i < j and not disjoint(document, judge, whole[i], whole[j])]
    if not shared:
        return {"anyOf": branches}, True
    against = [[negated(document, branches[i + j - k]) for i, j in shared if k in (i, j)] for k in at]
    if len(shared) > FEW or any(other is None for each in against for other in each):
        return {"anyOf": branches}, False
    return {"anyOf": [{"allOf": [branch, *each]} for branch, each in zip(branches, against, strict=True)]}, True


def _not(document: Document, judge: Validator, node: dict[str, Any]) -> Made:
    found = negated(document, node["not"])
    if found is not None:
        return found, True
    return {"type": types(refused(document, node["not"]))}, False


def _if(document: Document, judge: Validator, node: dict[str, Any]) -> Made:
    condition, yes, no = node["if"], node.get("then", True), node.get("else", True)
    if yes is True and no is True:
        return NOTHING
    otherwise = negated(document, condition)
    if otherwise is None:
        return {"anyOf": [{"allOf": [condition, yes]}, no]}, False
    return {"anyOf": [{"allOf": [condition, yes]}, {"allOf": [otherwise, no]}]}, True


def _dependent_schemas(document: Document, judge: Validator, node: dict[str, Any]) -> Made:
    return _dependent(document, node, node["dependentSchemas"])


def _dependent_required(document: Document, judge: Validator, node: dict[str, Any]) -> Made:
    named: dict[str, Node] = {key: {"required": names} for key, names in node["dependentRequired"].items() if names}
    return _dependent(document, node, named)


def _dependent(document: Document, node: dict[str, Any], below: dict[str, Node]) -> Made:
    """Where a key is there, a schema holds: where the key must be, it always does."""
    known = facts(document, node)
    must = known.required if known else set()
    each = [then if key in must else {"anyOf": [{"properties": {key: False}}, then]} for key, then in below.items()]
    return ({"allOf": each}, True) if each else NOTHING


def _property_names(document: Document, judge: Validator, node: dict[str, Any]) -> Made:
    """Names out of a list, or of one pattern."""
    names = node["propertyNames"]
    none: Made = ({"properties": {}, "additionalProperties": False}, True)
    if isinstance(names, bool):
        return NOTHING if names else none
    values = finite(document, judge, names)
    if values is not None:
        keys = {value: True for value in values if isinstance(value, str)}
        return {"properties": keys, "additionalProperties": False}, True
    known = facts(document, names)
    if known is None or "string" not in known.types:
        return none
    said = [(key, value) for part in known.parts for key, value in part.items() if key not in ("$ref", "allOf", "type")]
    if not said:
        return NOTHING
    ((key, value), *others) = said
    if others or key != "pattern" or not masked(value):
        return JUDGED
    return {"patternProperties": {value: True}, "additionalProperties": False}, True


def _unevaluated_properties(document: Document, judge: Validator, node: dict[str, Any]) -> Made:
    """Keys that no part of the schema speaks of, where all parts that hold are known."""
    every = [part for part in parts(document, node) if isinstance(part, dict)]
    unsure = UNSURE | {"additionalProperties"}
    if any(part.keys() & unsure or (part is not node and "unevaluatedProperties" in part) for part in every):
        return JUDGED
    found: dict[str, Any] = {"additionalProperties": node["unevaluatedProperties"]}
    for keyword in ("properties", "patternProperties"):
        if names := {name: True for part in every for name in part.get(keyword, ())}:
            found[keyword] = names
    return found, True


def _unevaluated_items(document: Document, judge: Validator, node: dict[str, Any]) -> Made:
    every = [part for part in parts(document, node) if isinstance(part, dict)]
    unsure = UNSURE | {"items", "contains"}
    if any(part.keys() & unsure or (part is not node and "unevaluatedItems" in part) for part in every):
        return JUDGED
    found: dict[str, Any] = {"items": node["unevaluatedItems"]}
    if longest := max(len(part.get("prefixItems", ())) for part in every):
        found["prefixItems"] = [True] * longest
    return found, True


def _unique_items(document: Document, judge: Validator, node: dict[str, Any]) -> Made:
    """No more items than there are values."""
    if node.get("maxItems", 2) < 2:
        return NOTHING
    alike = "items" in node and "prefixItems" not in node
    values = finite(document, judge, node["items"]) if alike else None
    return JUDGED if values is None else ({"maxItems": len(values)}, False)


def _contains(document: Document, judge: Validator, node: dict[str, Any]) -> Made:
    """At least as many items as are to be of a kind."""
    least = node.get("minContains", 1)
    most = {"maxItems": node["maxContains"]} if "maxContains" in node else {}
    if node["contains"] is True:
        return {"minItems": least, **most}, True
    return {"minItems": least} if least else True, not least and not most


ALTERNATIVES: dict[str, Callable[[Document, Validator, dict[str, Any]], Made]] = {
    "oneOf": _one_of,
    "not": _not,
    "if": _if,
    "dependentSchemas": _dependent_schemas,
    "dependentRequired": _dependent_required,
    "propertyNames": _property_names,
    "unevaluatedProperties": _unevaluated_properties,
    "unevaluatedItems": _unevaluated_items,
    "uniqueItems": _unique_items,
    "contains": _contains,
}
