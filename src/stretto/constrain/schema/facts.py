"""What a schema says for certain: the types it leaves, the finitely many values, and whether two schemas share none.

All of it is proof: False only means that none was found.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .document import Document, Node
from .numbers import multiples
from .validate import Validator, equal

DEEPEST = 6  # how far a proof looks into what is nested
KINDS = frozenset(("null", "boolean", "object", "array", "string", "integer", "fraction"))
NUMBERS = frozenset(("integer", "fraction"))
MOST = 256  # values of a finite schema
OF_KIND = {  # keywords that values of all other kinds satisfy
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"), NUMBERS),
    **dict.fromkeys(("minLength", "maxLength", "pattern", "format"), frozenset(["string"])),
    **dict.fromkeys(("minItems", "maxItems", "items", "prefixItems", "uniqueItems", "contains"), frozenset(["array"])),
    **dict.fromkeys(("minProperties", "maxProperties", "properties", "patternProperties"), frozenset(["object"])),
    **dict.fromkeys(("required", "additionalProperties", "propertyNames"), frozenset(["object"])),
    **dict.fromkeys(("dependentRequired", "dependentSchemas"), frozenset(["object"])),
    **dict.fromkeys(("minContains", "maxContains"), frozenset[str]()),  # told with `contains`
}


@dataclass(slots=True)
class Facts:
    """What all parts of a schema that hold together say."""

    types: frozenset[str] = KINDS
    values: list[Any] | None = None  # the only ones that there may be; None: no such list
    required: set[str] = field(default_factory=set)
    properties: dict[str, list[Node]] = field(default_factory=dict)
    closed: list[set[str]] = field(default_factory=list)  # names that are the only ones
    parts: list[dict[str, Any]] = field(default_factory=list)


def kinds(types: str | list[str]) -> frozenset[str]:
    """The types of a `type` keyword, whole numbers apart from the others."""
    named = {types} if isinstance(types, str) else {*types}
    return frozenset(named - {"number"} | ({"integer", "fraction"} if "number" in named else set()))


def types(kinds: frozenset[str]) -> list[str]:
    """The types of a `type` keyword that takes values of these kinds, and of others only where no such one does not."""
    number = ["number"] if "fraction" in kinds else ["integer"] if "integer" in kinds else []
    return sorted(kinds - NUMBERS) + number


def parts(document: Document, node: Node, depth: int = 0) -> Iterator[Node]:
    """The node and all that holds wherever it does, through references and allOf."""
    yield node
    if isinstance(node, bool) or depth > 2 * DEEPEST:
        return
    if "$ref" in node:
        yield from parts(document, document.target(node), depth + 1)
    for each in node.get("allOf", ()):
        yield from parts(document, each, depth + 1)


def refused(document: Document, node: Node, depth: int = 0) -> frozenset[str]:
    """The types of all values that are not valid under a schema, or more: values of others are, whatever they are."""
    if isinstance(node, bool):
        return frozenset() if node else KINDS
    if depth > DEEPEST:
        return KINDS
    found = frozenset[str]()
    for name, value in node.items():
        if name == "type":
            found |= KINDS - kinds(value)
        elif name == "$ref":
            found |= refused(document, document.target(node), depth + 1)
        elif name == "allOf":
            found |= frozenset[str]().union(*(refused(document, each, depth + 1) for each in value))
        elif name == "anyOf":
            found |= KINDS.intersection(*(refused(document, each, depth + 1) for each in value))
        else:
            found |= OF_KIND.get(name, KINDS)
    return found


def facts(document: Document, node: Node) -> Facts | None:
    """What a schema says for certain; None where it is plainly false."""
    found = Facts()
    for part in parts(document, node):
        document.step(part)
        if part is False:
            return None
        if part is True:
            continue
        found.parts.append(part)
        if "type" in part:
            found.types &= kinds(part["type"])
        if "not" in part:
            found.types &= refused(document, part["not"])
        for values in [*([part["enum"]] if "enum" in part else []), *([[part["const"]]] if "const" in part else [])]:
            before = [] if found.values is None else found.values
            document.step(part, len(values) * (1 + len(before)) // 10)
            both = [value for value in before if any(equal(value, each) for each in values)]
            found.values = [*values] if found.values is None else both
        found.required |= {*part.get("required", ())}
        for name, below in part.get("properties", {}).items():
            found.properties.setdefault(name, []).append(below)
        if part.get("additionalProperties") is False and "patternProperties" not in part:
            found.closed.append({*part.get("properties", ())})
    return found


def finite(document: Document, judge: Validator, node: Node, most: float = MOST) -> list[Any] | None:
    """All values of a schema, where it names them and they are not more than `most`; else None."""
    found = facts(document, node)
    if found is None:
        return []
    if found.values is None and found.types <= {"null", "boolean"}:
        found.values = [None, False, True]
    if found.values is None and found.types <= NUMBERS:
        steps = [part["multipleOf"] for part in found.parts if "multipleOf" in part]
        outer = (bound(found, "minimum", "maximum"), bound(found, "exclusiveMinimum", "exclusiveMaximum"))
        low, high = (pick(ends) for pick, ends in zip((max, min), zip(*outer, strict=True), strict=True))
        found.values = multiples(steps, (low, high), MOST)
    if found.values is None or len(found.values) > most:
        return None
    document.step(node, len(found.values))
    rest: Node = {name: node[name] for name in node if name != "enum"} if isinstance(node, dict) else node
    return [value for value in found.values if judge.valid(rest, value)]


def bound(found: Facts, low: str, high: str) -> tuple[float, float]:
    """The tightest pair of a lower and an upper bound."""
    lows = [part[low] for part in found.parts if low in part]
    highs = [part[high] for part in found.parts if high in part]
    return max(lows, default=float("-inf")), min(highs, default=float("inf"))


def disjoint(document: Document, judge: Validator, left: Node, right: Node, depth: int = 0) -> bool:
    """Whether no value is valid under both schemas, proven."""
    if depth > DEEPEST:
        return False
    one, other = facts(document, left), facts(document, right)
    if one is None or other is None:
        return True
    for values, against in ((finite(document, judge, left), right), (finite(document, judge, right), left)):
        if values is not None:
            return not any(judge.valid(against, value) for value in values)
    for part, against in [*((part, right) for part in one.parts), *((part, left) for part in other.parts)]:
        for branches in (part.get("anyOf"), part.get("oneOf")):
            if branches and all(disjoint(document, judge, each, against, depth + 1) for each in branches):
                return True
    shared = one.types & other.types
    return all(_apart(document, judge, kind, (one, other), depth) for kind in shared)


def _apart(document: Document, judge: Validator, kind: str, pair: tuple[Facts, Facts], depth: int) -> bool:
    """Whether two schemas share no value of a type, proven."""
    one, other = pair
    both = Facts(parts=[*one.parts, *other.parts])
    if kind in ("integer", "fraction"):
        low, high = bound(both, "minimum", "maximum")
        above, below = bound(both, "exclusiveMinimum", "exclusiveMaximum")
        return max(low, above) > min(high, below) or (
            max(low, above) == min(high, below) and (above >= low or below <= high)
        )
    if kind == "string":
        low, high = bound(both, "minLength", "maxLength")
        return low > high
    if kind == "array":
        low, high = bound(both, "minItems", "maxItems")
        firsts = [[_first(part) for part in each.parts] for each in (one, other)]
        return low > high or (
            low >= 1 and any(disjoint(document, judge, a, b, depth + 1) for a in firsts[0] for b in firsts[1])
        )
    if kind != "object":
        return False
    for here, there in ((one, other), (other, one)):
        for name in here.required:
            if any(name not in names for names in there.closed):
                return True
            lists = (here.properties.get(name, [True]), there.properties.get(name, [True]))
            if any(disjoint(document, judge, a, b, depth + 1) for a in lists[0] for b in lists[1]):
                return True
    return False


def _first(part: dict[str, Any]) -> Node:
    """What the first item of an array must be."""
    found: Node = part["prefixItems"][0] if part.get("prefixItems") else part.get("items", True)
    return found


def impossible(document: Document, judge: Validator, node: Node, depth: int = 0) -> str | None:
    """The pointer of a keyword by which nothing satisfies a schema, proven; None: no proof was found."""
    if isinstance(node, bool):
        return None if node else document.pointer(node)
    found = facts(document, node)
    values = finite(document, judge, node)
    if found is None or values == [] or not found.types:
        names = ("enum", "const", "type", "allOf", "$ref")
        return document.pointer(node, *[name for name in names if name in node][:1])
    if values or depth > DEEPEST:
        return None
    for name in ("anyOf", "oneOf"):
        if name in node and all(impossible(document, judge, each, depth + 1) is not None for each in node[name]):
            return document.pointer(node, name)
    culprits = [_impossible(document, judge, kind, found, depth) for kind in sorted(found.types)]
    return culprits[0] if all(each is not None for each in culprits) else None


def _impossible(document: Document, judge: Validator, kind: str, found: Facts, depth: int) -> str | None:
    """The same for the values of one type."""
    if _apart(document, judge, kind, (found, Facts()), DEEPEST):
        names = {
            "string": ("minLength", "maxLength"),
            "array": ("minItems", "maxItems"),
            "object": ("required",),
        }.get(kind, ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"))
        return next((document.pointer(part, name) for part in found.parts for name in names if name in part), "#")
    if kind == "object":
        for name in sorted(found.required):
            for below in found.properties.get(name, ()):
                if (culprit := impossible(document, judge, below, depth + 1)) is not None:
                    part = next(part for part in found.parts if name in part.get("properties", {}))
                    return document.pointer(part, "properties", name) if isinstance(below, bool) else culprit
    return None
