"""A schema in the one form, written as one that masks can hold, and the keywords that this leaves to a judge.

Masks hold what llguidance serves. What masks let through is never less than what is valid; keywords of which they hold
less, or nothing, are marked. Keys stand in the order of the schema's own `properties`.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Any

from ...errors import Unsupported
from .alternatives import ALTERNATIVES
from .document import LISTS, PLACE, ROOT, Document, Node
from .facts import finite, parts
from .formats import WRITTEN, longest, require_known
from .numbers import EXACT
from .patterns import CONTROL, masked, spelt_out, unwritable, widened
from .validate import Validator

OPPOSITE = {
    "exclusiveMinimum": ("maximum", "exclusiveMaximum"),
    "exclusiveMaximum": ("minimum", "exclusiveMinimum"),
}
BOUNDS = ("minimum", "maximum", *OPPOSITE)
COPIED = ("type", "minLength", "maxLength", "minItems", "maxItems", "required")
IMPOSSIBLE: Node = {"type": "string", "pattern": "^a$", "maxLength": 0}  # what masks read as false everywhere
Keyword = tuple[int, str]  # the id of a node, and one of its keywords


class Rewriter:
    """Writes schemas of one document."""

    def __init__(self, document: Document, judge: Validator, without: Set[Keyword] = frozenset()) -> None:
        self.loose: dict[Keyword, str] = {}  # what is left to the judge, with its pointer
        self._document, self._judge = document, judge
        self._without = without  # what masks have refused
        self._made: list[tuple[Node, str]] = []  # the keywords for which what is made up here stands
        self._wanted: list[str] | None = None  # definitions that are referred to; None: references say nothing

    def whole(self) -> dict[str, Any]:
        """The whole schema. Raises Unsupported with the pointer of what neither masks nor judge can hold."""
        definitions: dict[str, Node] = {}
        self._wanted = [ROOT]
        while self._wanted:
            name = self._wanted.pop()
            if name not in definitions:
                definitions[name] = True  # while it is written
                definitions[name] = self._node(self._document.definitions[name])
        root = definitions.pop(ROOT)
        if f"{PLACE}{ROOT}'" in f"{definitions}{root}":
            definitions[ROOT], root = root, {"$ref": PLACE + ROOT}
        return _object(root) | ({"$defs": definitions} if definitions else {})

    def alone(self, node: Node) -> dict[str, Any]:
        """One node by itself: its references say nothing."""
        self._wanted = None
        return _object(self._node(node))

    def _mark(self, node: Node, keyword: str) -> None:
        """A keyword of a node is left to the judge; within what was made up, the keyword that it was made for."""
        if self._made:
            node, keyword = self._made[0]
        self.loose.setdefault((id(node), keyword), self._document.pointer(node, keyword))

    def _node(self, node: Node) -> Node:
        self._document.step(node)
        if isinstance(node, bool):
            return node
        if "enum" in node or "const" in node or self._steps(node) > 1:
            values = finite(self._document, self._judge, node, float("inf"))
            if values is not None:
                return self._values(values, node)
        found: dict[str, Any] = {}
        joined: list[Node] = []
        for name in node:
            if (id(node), name) in self._without:
                self._mark(node, name)
            elif name in ALTERNATIVES:
                made, whole = ALTERNATIVES[name](self._document, self._judge, node)
                if not whole:
                    self._mark(node, name)
                self._made.append((node, name))
                joined += [self._node(made)] if made is not True else []
                self._made.pop()
            else:
                joined += self._keyword(found, node, name)
        if joined:
            found["allOf"] = [*found.get("allOf", ()), *joined]
        return found

    def _steps(self, node: dict[str, Any]) -> int:
        """How many steps a number must keep to: together they soon grow too large for masks."""
        return sum("multipleOf" in part for part in parts(self._document, node) if isinstance(part, dict))

    def _values(self, values: list[Any], node: dict[str, Any]) -> Node:
        """Values that are given, less those that the other keywords forbid."""
        where = self._document.pointer(node, *[name for name in ("enum", "const") if name in node][:1])
        leaves = list(_leaves(values))
        if any(isinstance(leaf, int | float) and abs(leaf) > EXACT for leaf in leaves):
            raise Unsupported(
                f"{where} holds a number beyond 2**53, which would turn into a neighbour", hint="write it as a string"
            )
        if any(isinstance(leaf, str) and CONTROL.search(leaf) for leaf in leaves):
            raise Unsupported(
                f"{where} holds a control character that only a number spells", hint="leave the character out"
            )
        return {"enum": values} if values else False

    def _keyword(self, found: dict[str, Any], node: dict[str, Any], name: str) -> Iterator[Node]:
        """Put one keyword down as masks know it; yields what must hold beside it."""
        value = node[name]
        if name in COPIED:
            found[name] = int(value) if isinstance(value, float) else value
        elif name == "items":
            found[name] = self._node(value)
        elif name == "additionalProperties":
            if all(map(masked, node.get("patternProperties", ()))):
                found[name] = self._node(value)
            else:
                self._mark(node, name)
        elif name in LISTS:
            found[name] = [self._node(each) for each in value]
        elif name == "properties":
            found[name] = {key: self._node(below) for key, below in value.items()}
        elif name == "patternProperties":
            self._patterns(found, node)
        elif name == "$ref" and self._wanted is not None:
            self._wanted.append(value.removeprefix(PLACE))
            found[name] = value
        elif name in (*BOUNDS, "multipleOf"):
            self._number(found, node, name)
        elif name == "pattern":
            if self._holds(value, node, name):
                found[name] = spelt_out(value)
        elif name == "format":
            yield from self._format(node, value)
        elif name in ("minProperties", "maxProperties"):
            self._count(found, node, name)

    def _number(self, found: dict[str, Any], node: dict[str, Any], name: str) -> None:
        """Bounds; a whole exclusive one is let through itself where the other one is less than 1 away."""
        value = node[name]
        if abs(value) > EXACT:
            self._mark(node, name)
            return
        found[name] = value
        others = (each[other] for each in self._document.objects for other in OPPOSITE.get(name, ()) if other in each)
        if value == int(value) and any(0 < abs(other - value) < 1 for other in others):
            self._mark(node, name)

    def _holds(self, pattern: str, node: dict[str, Any], name: str) -> bool:
        """Whether masks hold a pattern; marked where they do not, or hold more. Raises Unsupported where less."""
        if unwritable(pattern):
            raise Unsupported(
                f"{self._document.pointer(node, name)} asks for a control character that only a number spells",
                hint="leave the character out",
            )
        if widened(pattern) or not masked(pattern):
            self._mark(node, name)
        return masked(pattern)

    def _format(self, node: dict[str, Any], name: str) -> Iterator[Node]:
        """The pattern of a format."""
        where = self._document.pointer(node, "format")
        require_known(name, where)
        if name in WRITTEN:
            yield {"pattern": f"^({WRITTEN[name]})$", **longest(name)}
        elif name == "regex":
            self._mark(node, "format")
        elif name == "idn-hostname":
            raise Unsupported(f"{where}: {name} is not served", hint="use hostname")

    def _patterns(self, found: dict[str, Any], node: dict[str, Any]) -> None:
        """Patterns of names; where masks do not hold one, any key may come."""
        held = {key: self._holds(key, node, "patternProperties") for key in node["patternProperties"]}
        if all(held.values()):
            same: dict[str, list[Node]] = {}
            for key in held:
                same.setdefault(spelt_out(key), []).append(self._node(node["patternProperties"][key]))
            found["patternProperties"] = {
                key: each[0] if len(each) == 1 else {"allOf": each} for key, each in same.items()
            }

    def _count(self, found: dict[str, Any], node: dict[str, Any], name: str) -> None:
        """How many keys an object has: masks hold it where no key may be left out, and count those that come twice."""
        names, required = {*node.get("properties", ())}, {*node.get("required", ())}
        closed = node.get("additionalProperties") is False and not node.get("patternProperties")
        if (name == "minProperties" and node[name] <= len(required)) or (
            name == "maxProperties" and closed and node[name] >= len(names)
        ):
            return
        if names <= required and not closed:
            found[name] = int(node[name])
            if name == "maxProperties" or node[name] <= len(required) + 1:
                return
        self._mark(node, name)


def _object(schema: Node) -> dict[str, Any]:
    """A schema that is true or false as an object."""
    if isinstance(schema, bool):
        return {} if schema else dict(IMPOSSIBLE)  # type: ignore[arg-type]
    return schema


def _leaves(value: Any) -> Iterator[Any]:
    """The numbers and texts in a value; names of properties as well."""
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list):
        for each in value:
            yield from _leaves(each)
    elif not isinstance(value, bool):
        yield value
