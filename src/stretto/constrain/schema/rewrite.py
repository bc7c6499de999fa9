"""A schema in the one form, written as one that masks can hold, and the keywords that this leaves to a judge.

Masks hold what llguidance serves. What has an equal form there is written so: a `oneOf` whose branches share no value
is an `anyOf`, one that has few branches says of each what the others are not, `not` moves inward until it is gone, `if`
and dependencies are alternatives, names are patterns of names. The rest is left out, so that what masks let through is
never less than what is valid, and is marked: see `Rewritten.loose`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ...errors import Unsupported
from .document import PLACE, ROOT, Document, Node
from .facts import disjoint, facts, finite, parts
from .formats import LOOSE, MASKED, PATTERNS, require_known
from .negate import negated
from .validate import Validator

EXACT = 2**53  # whole numbers beyond it turn into their neighbours
FEW = 4  # branches of a oneOf that are told apart by what the others are not
INLINE = 4  # references within references that are written out
COPIED = ("type", "multipleOf", "minLength", "maxLength", "minItems", "maxItems", "required")
BOUNDS = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")
IMPOSSIBLE: Node = {"type": "string", "pattern": "^a$", "maxLength": 0}  # what masks read as false everywhere
WORD = r"[A-Za-z0-9_]"


@dataclass(frozen=True)
class Weak:
    """What is left to the judge as well, where masks refuse it: the next thing to try when a schema is not taken."""

    patterns: bool = False  # names that match several patterns
    regexes: bool = False  # texts that match several patterns
    inline: bool = False  # what stands beside a reference into itself
    counts: bool = False  # how many keys an object has
    joined: bool = False  # all that holds together


@dataclass
class Rewritten:
    """A schema for masks, and what it leaves out."""

    schema: dict[str, Any]
    loose: dict[tuple[int, str], str] = field(default_factory=dict)  # by node's id and keyword: the pointer of what is


class Rewriter:
    """Writes one document."""

    def __init__(self, document: Document, judge: Validator, weak: Weak = Weak()) -> None:
        self.document, self.judge, self.weak = document, judge, weak
        self.found = Rewritten({})
        self._for: list[tuple[Node, str]] = []  # the keyword for which what is made up here stands
        self._wanted = [ROOT]
        self._depth = 0

    def write(self) -> Rewritten:
        """The schema for masks. Raises Unsupported with the pointer of what neither masks nor judge can hold."""
        definitions: dict[str, Node] = {}
        while self._wanted:
            name = self._wanted.pop()
            if name not in definitions:
                definitions[name] = True  # while it is written
                definitions[name] = self.node(self.document.definitions[name])
        root = definitions.pop(ROOT)
        text = repr(definitions) + repr(root)
        if PLACE + ROOT in text:
            definitions[ROOT], root = root, {"$ref": PLACE + ROOT}
        self.found.schema = ({} if root is True else dict(root)) if root is not False else dict(IMPOSSIBLE)  # type: ignore[arg-type]
        if definitions:
            self.found.schema["$defs"] = definitions
        return self.found

    # -- marks ----------------------------------------------------------------------------------------

    def mark(self, node: Node, keyword: str) -> None:
        """A keyword of a node is left to the judge; within what was made up, the keyword that it was made for."""
        pointer = self.document.pointer(node, keyword)
        if self._for:
            node, keyword = self._for[0]
            pointer = self.document.pointer(node, keyword)
        self.found.loose.setdefault((id(node), keyword), pointer)

    @contextmanager
    def made_for(self, node: Node, keyword: str) -> Iterator[None]:
        self._for.append((node, keyword))
        yield
        self._for.pop()

    # -- nodes ----------------------------------------------------------------------------------------

    def node(self, node: Node) -> Node:
        """One schema."""
        if isinstance(node, bool):
            return node
        values = finite(self.document, self.judge, node) if "enum" in node or "const" in node else None
        if values is not None:
            return self._values(values, node)
        found = {name: node[name] for name in COPIED if name in node}
        self._numbers(found, node)
        self._texts(found, node)
        self._holders(found, node)
        self._counts(found, node)
        joined = [*self._joined(found, node)]
        if joined:
            found["allOf"] = [*found.get("allOf", ()), *joined]
        return found

    def _values(self, values: list[Any], node: dict[str, Any]) -> Node:
        """A schema of given values, less those that its other keywords forbid."""
        keyword = "enum" if "enum" in node else "const"
        if any(isinstance(value, int | float) and abs(value) > EXACT for value in flat(values)):
            raise Unsupported(
                f"{self.document.pointer(node, keyword)} has a number beyond 2^53, which no mask holds exactly",
                hint="write it as a text",
            )
        return {"enum": values} if values else False

    def _numbers(self, found: dict[str, Any], node: dict[str, Any]) -> None:
        """Bounds; those that masks round, or let through, are judged as well."""
        found |= {name: node[name] for name in BOUNDS if name in node}
        for name in BOUNDS:
            odd = abs(node.get(name, 0)) > EXACT or (name.startswith("exclusive") and node.get(name) == 0)
            if odd and name in node:
                self.mark(node, name)
        if "multipleOf" in node and not float(node["multipleOf"]).is_integer():
            self.mark(node, "multipleOf")  # exact in decimals, as few judges are

    def _texts(self, found: dict[str, Any], node: dict[str, Any]) -> None:
        """Patterns and formats."""
        if "pattern" in node:
            if masked(node["pattern"]) and not self.weak.regexes:
                found["pattern"] = node["pattern"]
            else:
                self.mark(node, "pattern")
        name = node.get("format")
        if name is None:
            return
        require_known(name, self.document.pointer(node, "format"))
        if name == "idn-hostname":
            raise Unsupported(f"{self.document.pointer(node, 'format')}: {name} is not served", hint="use hostname")
        if name in MASKED and not ("pattern" in found and self.weak.regexes):
            found["format"] = name
        elif name in PATTERNS:
            pattern = {"pattern": f"^({PATTERNS[name]})$"}
            found["allOf"] = [*found.get("allOf", ()), pattern]
        if name in LOOSE:
            self.mark(node, "format")

    def _holders(self, found: dict[str, Any], node: dict[str, Any]) -> None:
        """Keywords that hold schemas as they are."""
        for name in ("items", "additionalProperties"):
            if name in node:
                found[name] = self.node(node[name])
        if "prefixItems" in node:
            found["prefixItems"] = [self.node(each) for each in node["prefixItems"]]
        if "properties" in node:
            found["properties"] = {key: self.node(below) for key, below in node["properties"].items()}
        if "anyOf" in node:
            found["anyOf"] = [self.node(each) for each in node["anyOf"]]
        if "allOf" in node:
            found["allOf"] = [*found.get("allOf", ()), *(self.node(each) for each in node["allOf"])]
        if "patternProperties" in node:
            self._patterns(found, node)
        if "$ref" in node:
            self._reference(found, node)

    def _patterns(self, found: dict[str, Any], node: dict[str, Any]) -> None:
        """Patterns of names; where several are as one, a value need only be valid under one of theirs."""
        written = {key: self.node(below) for key, below in node["patternProperties"].items()}
        if all(map(masked, written)) and not (self.weak.patterns and (len(written) > 1 or self.weak.joined)):
            found["patternProperties"] = written
            return
        self.mark(node, "patternProperties")
        if all(map(masked, written)) and len(written) > 1 and not self.weak.joined:
            found["patternProperties"] = {"|".join(f"({key})" for key in written): {"anyOf": [*written.values()]}}
        elif "additionalProperties" in node:
            self.mark(node, "additionalProperties")
            found.pop("additionalProperties")

    def _reference(self, found: dict[str, Any], node: dict[str, Any]) -> None:
        """A reference; into itself with something beside it, it is written out, where masks want that."""
        if not (self.weak.inline and len(node) > 1):
            self._wanted.append(node["$ref"].removeprefix(PLACE))
            found["$ref"] = node["$ref"]
        elif self._depth < INLINE:
            self._depth += 1
            found["allOf"] = [*found.get("allOf", ()), self.node(self.document.target(node))]
            self._depth -= 1
        else:
            self.mark(node, "$ref")

    def _counts(self, found: dict[str, Any], node: dict[str, Any]) -> None:
        """How many keys an object has: masks hold it where no key may be left out."""
        names, required = {*node.get("properties", ())}, {*node.get("required", ())}
        closed = node.get("additionalProperties") is False and not node.get("patternProperties")
        for name in ("minProperties", "maxProperties"):
            if name not in node or (name == "minProperties" and node[name] <= len(required)):
                continue
            if closed and name == "maxProperties" and node[name] >= len(names):
                continue
            if names <= required and not closed and not self.weak.counts:
                found[name] = int(node[name])
                if name == "maxProperties" or node[name] <= len(required) + 1:
                    continue  # beyond, a key might come twice
            self.mark(node, name)

    # -- keywords that masks do not know --------------------------------------------------------------

    def _joined(self, found: dict[str, Any], node: dict[str, Any]) -> Iterator[Node]:
        """Schemas that hold as well, for keywords that masks do not know."""
        for name, write in WRITTEN.items():
            if name in node:
                made = write(self, node)
                if made is None:
                    self.mark(node, name)
                elif made is not True:
                    with self.made_for(node, name):
                        yield self.node(made)
        if "uniqueItems" in node:
            self._unique(found, node)
        if "contains" in node:
            self._contains(found, node)

    def _one_of(self, node: dict[str, Any]) -> Node | None:
        branches = node["oneOf"]
        beside = [[{key: value for key, value in node.items() if key != "oneOf"}, each] for each in branches]
        whole: list[Node] = [{"allOf": each} for each in beside]
        at = range(len(branches))
        shared = [
            (i, j) for i in at for j in at if i < j and not disjoint(self.document, self.judge, whole[i], whole[j])
        ]
        if not shared:
            return {"anyOf": branches}
        others = [[branches[j if i == k else i] for i, j in shared if k in (i, j)] for k in at]
        against = [[negated(self.document, other) for other in each] for each in others]
        if len(shared) > FEW or any(other is None for each in against for other in each):
            self.mark(node, "oneOf")
            return {"anyOf": branches}
        return {"anyOf": [{"allOf": [branch, *each]} for branch, each in zip(branches, against, strict=True)]}

    def _not(self, node: dict[str, Any]) -> Node | None:
        return negated(self.document, node["not"])

    def _if(self, node: dict[str, Any]) -> Node | None:
        condition, yes, no = node["if"], node.get("then", True), node.get("else", True)
        if yes is True and no is True:
            return True
        otherwise = negated(self.document, condition)
        if otherwise is None:
            self.mark(node, "if")
            return {"anyOf": [{"allOf": [condition, yes]}, no]}
        return {"anyOf": [{"allOf": [condition, yes]}, {"allOf": [otherwise, no]}]}

    def _dependent_schemas(self, node: dict[str, Any]) -> Node | None:
        each = node["dependentSchemas"].items()
        return {"allOf": [{"anyOf": [{"properties": {key: False}}, below]} for key, below in each]}

    def _dependent_required(self, node: dict[str, Any]) -> Node | None:
        each = [(key, names) for key, names in node["dependentRequired"].items() if names]
        if not each:
            return True
        return {"allOf": [{"anyOf": [{"properties": {key: False}}, {"required": names}]} for key, names in each]}

    def _names(self, node: dict[str, Any]) -> Node | None:
        """Names as those of a pattern."""
        names = node["propertyNames"]
        if isinstance(names, bool):
            return True if names else {"properties": {}, "additionalProperties": False}
        values = finite(self.document, self.judge, names)
        if values is not None:
            keys = {value: True for value in values if isinstance(value, str)}
            return {"properties": keys, "additionalProperties": False}
        said = {
            key: value for part in parts(self.document, names) if isinstance(part, dict) for key, value in part.items()
        }
        counted = [
            part for part in parts(self.document, names) if isinstance(part, dict) and part.keys() - {"$ref", "allOf"}
        ]
        if "string" not in (facts(self.document, names) or facts(self.document, {"enum": []})).types:  # type: ignore[union-attr]
            return {"properties": {}, "additionalProperties": False}
        rest = said.keys() - {"$ref", "allOf", "type", "pattern"}
        if len(counted) > 1 or rest or "pattern" not in said or not masked(said["pattern"]) or self.weak.patterns:
            return None if said.keys() - {"type"} else True
        return {"patternProperties": {said["pattern"]: True}, "additionalProperties": False}

    def _unique(self, found: dict[str, Any], node: dict[str, Any]) -> None:
        if found.get("maxItems", 2) < 2:
            return
        values = (
            finite(self.document, self.judge, node["items"]) if "items" in node and "prefixItems" not in node else None
        )
        if values is not None:
            found["maxItems"] = min(found.get("maxItems", len(values)), len(values))
        self.mark(node, "uniqueItems")

    def _contains(self, found: dict[str, Any], node: dict[str, Any]) -> None:
        least = node.get("minContains", 1)
        if least > found.get("minItems", 0):
            found["minItems"] = least
        if node["contains"] is True and "maxContains" in node:
            found["maxItems"] = min(found.get("maxItems", node["maxContains"]), node["maxContains"])
        elif node["contains"] is not True and (least or "maxContains" in node):
            self.mark(node, "contains")

    def _unevaluated(self, node: dict[str, Any]) -> Node | None:
        """Keys that no part of the schema speaks of, where all parts that hold are known."""
        every = [part for part in parts(self.document, node) if isinstance(part, dict)]
        unsure = {"anyOf", "oneOf", "if", "dependentSchemas", "additionalProperties", "not"}
        if any(part.keys() & unsure or (part is not node and "unevaluatedProperties" in part) for part in every):
            return None
        names = {name: True for part in every for name in part.get("properties", ())}
        patterns = {name: True for part in every for name in part.get("patternProperties", ())}
        rest = {"additionalProperties": node["unevaluatedProperties"]}
        return {"properties": names, **({"patternProperties": patterns} if patterns else {}), **rest}

    def _unevaluated_items(self, node: dict[str, Any]) -> Node | None:
        every = [part for part in parts(self.document, node) if isinstance(part, dict)]
        unsure = {"anyOf", "oneOf", "if", "contains", "items", "dependentSchemas", "not"}
        if any(part.keys() & unsure or (part is not node and "unevaluatedItems" in part) for part in every):
            return None
        longest = max((len(part.get("prefixItems", ())) for part in every), default=0)
        return {**({"prefixItems": [True] * longest} if longest else {}), "items": node["unevaluatedItems"]}


WRITTEN: dict[str, Callable[[Rewriter, dict[str, Any]], Node | None]] = {
    "oneOf": Rewriter._one_of,
    "not": Rewriter._not,
    "if": Rewriter._if,
    "dependentSchemas": Rewriter._dependent_schemas,
    "dependentRequired": Rewriter._dependent_required,
    "propertyNames": Rewriter._names,
    "unevaluatedProperties": Rewriter._unevaluated,
    "unevaluatedItems": Rewriter._unevaluated_items,
}


def masked(pattern: str) -> bool:
    """Whether masks hold a pattern: none that looks ahead or behind, remembers, or knows where words end."""
    return not re.search(r"\(\?(?![:])|(?<!\\)(\\\\)*\\([bBk1-9c]|u\{)|\[\^?\]", pattern)


def flat(value: Any) -> Iterator[Any]:
    """A value and all values in it."""
    yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from flat(each)
