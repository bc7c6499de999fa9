"""What is left of a schema for the judge: the keywords that masks do not hold, and the way to the values they speak of.

Whatever masks hold is left out, so that a value no such keyword speaks of is never looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .document import LISTS, ONE, PLACE, ROOT, Document, Node, schemas_in

LEFT = "left-"  # begins the names of definitions of which only this is left
COMPANIONS = {  # keywords that mean something with others only
    "contains": ("minContains", "maxContains"),
    "if": ("then", "else"),
    "items": ("prefixItems",),
    "additionalProperties": ("properties", "patternProperties"),
}
WHOLE = ("unevaluatedItems", "unevaluatedProperties")  # mean something with all the others
WAYS = ("$ref", "allOf", "properties", "patternProperties", "additionalProperties", "items", "prefixItems")


def residue(document: Document, loose: Mapping[tuple[int, str], str]) -> tuple[Document, Node]:
    """A document with the schema of what is left, and that schema: valid is what masks let through and this holds."""
    found = _Residue(document, loose).document
    return found, found.definitions.get(LEFT + ROOT, True)


class _Residue:
    """The work on one document."""

    def __init__(self, document: Document, loose: Mapping[tuple[int, str], str]) -> None:
        self._loose = loose
        self._bearing: set[str] = set()  # definitions in which something is left
        while found := {
            name for name, node in document.definitions.items() if name not in self._bearing and self._bears(node)
        }:
            self._bearing |= found
        left = {LEFT + name: self._left(document.definitions[name]) for name in self._bearing}
        self.document = Document({**document.definitions, **left}, document.pointers)

    def _bears(self, node: Node) -> bool:
        """Whether something is left in a node."""
        if isinstance(node, bool):
            return False
        if "$ref" in node and node["$ref"].removeprefix(PLACE) in self._bearing:
            return True
        return any(
            (id(node), name) in self._loose or any(map(self._bears, schemas_in(name, value)))
            for name, value in node.items()
        )

    def _left(self, node: Node) -> Node:
        if isinstance(node, bool) or not self._bears(node):
            return True
        if any(name in node and self._is_left(node, name) for name in WHOLE):
            return node
        found: dict[str, Any] = {}
        for name in node:
            if not self._is_left(node, name):
                continue
            for each in (name, *COMPANIONS.get(name, ())):
                if each in node:
                    found[each] = self._value(node, each)
        return found

    def _is_left(self, node: dict[str, Any], name: str) -> bool:
        if (id(node), name) in self._loose:
            return True
        if name == "$ref":
            return node[name].removeprefix(PLACE) in self._bearing
        return any(map(self._bears, schemas_in(name, node[name])))

    def _value(self, node: dict[str, Any], name: str) -> Any:
        """The value of a keyword, less what masks hold of it where they hold the keyword."""
        value = node[name]
        if name not in WAYS or (id(node), name) in self._loose:
            return value
        if name == "$ref":
            return PLACE + LEFT + value.removeprefix(PLACE)
        if name in ONE:
            return self._left(value)
        return [*map(self._left, value)] if name in LISTS else {key: self._left(each) for key, each in value.items()}
