"""Values judged by the `jsonschema` library, under a schema in the one form or any part of one."""

from __future__ import annotations

from typing import Any, cast

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from .document import LISTS, MAPS, PLACE, ROOT, Document, Node
from .formats import CHECKER
from .patterns import python_pattern

NUMBERS = (int, float)


class Validator:
    """Judges values under the nodes of a document. Patterns mean what ECMA 262 says: digits are those of ASCII."""

    def __init__(self, document: Document) -> None:
        self._patterns: dict[str, str] = {}
        self._document = document
        definitions = {name: self._read(node) for name, node in document.definitions.items()}
        whole = {"$ref": PLACE + ROOT, "$defs": definitions}
        self._whole = Draft202012Validator(whole, format_checker=CHECKER)
        self._known: dict[int, tuple[Node, Draft202012Validator]] = {}

    def valid(self, node: Node, value: Any) -> bool:
        """Whether a value is valid under a node, of the document or made of nodes of it."""
        if isinstance(node, bool):
            return node
        if id(node) not in self._known:
            self._known[id(node)] = (node, self._whole.evolve(schema=self._read(node)))
        return bool(self._known[id(node)][1].is_valid(value))

    def _read(self, node: Any, pointer: str = "#") -> Any:
        """The node with its patterns as Python's `re` reads them."""
        if not isinstance(node, dict):
            return node
        pointer = self._document.pointers.get(id(node), pointer)
        found: dict[str, Any] = {}
        for name, value in node.items():
            below = f"{pointer}/{name}"
            if name == "pattern":
                found[name] = python_pattern(value, below)
            elif name == "patternProperties":
                found[name] = {
                    python_pattern(key, f"{below}/{key}"): self._read(each, below) for key, each in value.items()
                }
            elif name in MAPS:
                found[name] = {key: self._read(each, below) for key, each in value.items()}
            elif name in LISTS:
                found[name] = [self._read(each, below) for each in value]
            else:
                found[name] = value if name in ("enum", "const") else self._read(value, below)
        return found


def equal(left: Any, right: Any) -> bool:
    """Whether two values are the same to JSON Schema: 1 and 1.0 are, 1 and true are not."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, NUMBERS) and isinstance(right, NUMBERS):
        return bool(left == right)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(equal, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(equal(left[key], cast(dict[str, Any], right)[key]) for key in left)
    return type(left) is type(right) and bool(left == right)
