"""A schema of any draft, read into one form: that of 2020-12, with each reference leading to a definition of its own.

What comes after knows one dialect: no identifiers, anchors or older spellings are left, nothing that says nothing, and
keywords of a wrong kind, unknown ones and references that lead nowhere have been refused, with their pointers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ...errors import InvalidRequest, Unsupported
from .keywords import KINDS, require_known
from .references import UNSAID, Place, References

Node = dict[str, Any] | bool  # a schema in the one form
DEEPEST = 200  # schemas within schemas
MOST = 1_000_000  # steps that it may take to make a schema ready
ROOT = "root"  # the definition that is the schema itself
PLACE = "#/$defs/"
ONE = (
    *("not", "if", "then", "else", "contains", "propertyNames", "additionalProperties", "items"),
    *("unevaluatedItems", "unevaluatedProperties"),
)
LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
MAPS = ("properties", "patternProperties", "dependentSchemas")
BASE64 = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"  # to draft 7 it asserts something, later not


@dataclass(eq=False)
class Document:
    """A schema in the one form: definitions that name each other by `#/$defs/NAME`, and where all of it came from."""

    definitions: dict[str, Node] = field(default_factory=dict)
    pointers: dict[int, str] = field(default_factory=dict)  # by the id of a node: its place in the caller's schema
    objects: list[dict[str, Any]] = field(default_factory=list)  # all nodes that are no mere true or false
    spelt: dict[tuple[int, str], str] = field(default_factory=dict)  # keywords that were called otherwise there
    steps: int = 0  # that were taken to make the schema ready
    place: str = "#"  # of the newest of these

    def step(self, node: Node, count: int = 1) -> None:
        """Take steps, at a node. Raises Unsupported, with its pointer, where they are more than `MOST`.

        They are counted and not timed: what is refused is refused on every machine.
        """
        self.steps += count
        self.place = self.pointers.get(id(node), self.place)  # a node that was made up has none
        if self.steps > MOST:
            raise Unsupported(
                f"{self.place}: by here the schema has taken more than {MOST:,} steps to make ready",
                hint="name fewer alternatives, or nest if, not and oneOf less",
            )

    @property
    def root(self) -> Node:
        """The schema itself."""
        return self.definitions[ROOT]

    def target(self, node: dict[str, Any]) -> Node:
        """What a node's $ref names."""
        return self.definitions[node["$ref"].removeprefix(PLACE)]

    def pointer(self, node: Node, *steps: str) -> str:
        """Where a node, or something right below it, stands in the caller's schema."""
        steps = (self.spelt.get((id(node), steps[0]), steps[0]), *steps[1:]) if steps else ()
        tail = "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)
        return self.pointers.get(id(node), "#") + tail


def schemas_in(keyword: str, value: Any) -> Iterable[Node]:
    """The schemas right in the value of a keyword."""
    if keyword in ONE:
        return [value]
    return value if keyword in LISTS else value.values() if keyword in MAPS else ()


def read(schema: Any) -> Document:
    """The schema in the one form. Raises InvalidRequest and Unsupported with the pointer of what is wrong."""
    if not isinstance(schema, dict | bool):
        raise InvalidRequest("# is no schema: it is neither an object nor true or false", hint="see json-schema.org")
    return _Reading(schema).document


class _Reading:
    """The work of reading one schema."""

    def __init__(self, schema: Any) -> None:
        self.references = References(schema)
        self.document = Document()
        root = self.references.root
        self._names = {(root.document, root.way): ROOT}
        self._left = [root]
        while self._left:
            place = self._left.pop()
            self.document.definitions[self._names[place.document, place.way]] = self._node(place, 0)

    def _reference(self, place: Place) -> dict[str, Any]:
        """A reference to what stands at a place."""
        key = (place.document, place.way)
        if key not in self._names:
            self._names[key] = f"s{len(self._names)}"
            self._left.append(place)
        return {"$ref": PLACE + self._names[key]}

    def _node(self, place: Place, depth: int) -> Node:
        """The schema at a place."""
        if depth > DEEPEST:
            raise Unsupported(f"{place.pointer} is nested too deep", hint="move parts of it into $defs")
        value = self.references.value(place)
        if isinstance(value, bool):
            return value
        if not isinstance(value, dict):
            raise InvalidRequest(f"{place.pointer} is no schema", hint="a schema is an object, true or false")
        if "$ref" in value and 4 <= place.draft <= 7:  # these drafts ignore what stands beside it
            value = {"$ref": value["$ref"]}
        for name, each in value.items():
            require_known(name, each, f"{place.pointer}/{name}")
        found: dict[str, Any] = {}
        self.document.pointers[id(found)] = place.pointer
        self.document.objects.append(found)
        self.document.step(found, 1 + depth)  # what stands so deep is found from the top
        for keyword, spelt, each in _modern(value, place):
            self._put(found, (keyword, spelt), each, place, depth)
        return found

    def _put(self, found: dict[str, Any], names: tuple[str, str], value: Any, place: Place, depth: int) -> None:
        """One keyword of a node, as it is called now and as it is spelt there, with the schemas in its value."""
        keyword, spelt = names

        def below(*steps: str) -> Node:
            return self._node(self.references.below(place, spelt, *steps), depth + 1)

        if keyword == "$ref":
            found |= self._reference(self.references.follow(value, place, spelt))
        elif keyword == "$dynamicRef":
            led = self._reference(self.references.dynamic(value, place))
            found["allOf"] = [*found.get("allOf", ()), led]
        elif keyword == "contentEncoding":
            made: Node = {"pattern": BASE64}
            self.document.pointers[id(made)] = place.pointer
            self.document.spelt[id(made), "pattern"] = spelt
            found["allOf"] = [*found.get("allOf", ()), made]
        elif keyword in ONE:
            found[keyword] = below()
        elif keyword in LISTS:
            found[keyword] = [*(below(str(at)) for at in range(len(value))), *found.get(keyword, ())]
        elif keyword in MAPS:
            found[keyword] = found.get(keyword, {}) | {name: below(name) for name in value}
        else:
            found[keyword] = value
        if spelt != keyword:
            self.document.spelt[id(found), keyword] = spelt


def _modern(value: dict[str, Any], place: Place) -> Iterator[tuple[str, str, Any]]:
    """The keywords of a schema that say something: as 2020-12 calls them, as they are called here, and their values."""
    listed = isinstance(value.get("items"), list)
    if listed and place.draft == 2020:
        raise InvalidRequest(f"{place.pointer}/items is a list", hint="since 2020-12 it is called prefixItems")
    for name, each in value.items():
        if name in ("minimum", "maximum"):
            exclusive = "exclusive" + name.capitalize()
            yield (exclusive if value.get(exclusive) is True else name), name, each
        elif name in ("exclusiveMinimum", "exclusiveMaximum") and isinstance(each, bool):
            if place.draft not in (4, UNSAID):
                raise InvalidRequest(f"{place.pointer}/{name} is not a number", hint="true and false are of draft 4")
        elif name == "items" and listed:
            if each:
                yield "prefixItems", name, each
        elif name == "additionalItems":
            if listed:
                yield "items", name, each
        elif name == "dependencies":
            lists = {key: below for key, below in each.items() if isinstance(below, list)}
            if lists:
                yield "dependentRequired", name, lists
            if each.keys() - lists.keys():
                yield "dependentSchemas", name, {key: below for key, below in each.items() if key not in lists}
        elif (name, each, place.draft) == ("contentMediaType", "application/json", 7):
            raise Unsupported(
                f"{place.pointer}/{name}: what a text holds is not judged",
                hint="leave it out, or name a later draft in $schema: there it is a note",
            )
        elif (name, each, place.draft) == ("contentEncoding", "base64", 7) or not (
            name not in KINDS
            or name in ("$id", "$anchor", "$dynamicAnchor")
            or (name in ("then", "else") and "if" not in value)
            or (name in ("minContains", "maxContains") and "contains" not in value)
            or (name == "uniqueItems" and not each)
        ):
            yield name, name, each
